//! Names that somebody may have meant.

/// How many letters to insert, remove or change to get from one name to the
/// other, whatever their case; more than two is not counted.
fn distance(known: &str, given: &str) -> usize {
    const FAR: usize = 3;
    let lower = |text: &str| text.to_ascii_lowercase().into_bytes();
    if known.len().abs_diff(given.len()) >= FAR {
        return FAR;
    }
    let (known, given) = (lower(known), lower(given));
    let mut row: Vec<usize> = (0..=given.len()).collect();
    for (i, a) in known.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in given.iter().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[given.len()].min(FAR)
}

/// What a remedy proposes in place of `given`: the nearest of `known`, in order.
pub(super) fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str> + Clone) -> Vec<&'a str> {
    let far = |name: &str| {
        let distance = distance(name, given);
        (distance <= 2 && distance < name.len().div_ceil(2)).then_some(distance)
    };
    match known.clone().filter_map(far).min() {
        Some(least) => known.filter(|name| far(name) == Some(least)).collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_near_is_proposed() {
        let known = ["memory", "mount", "mounts", "cpu", "no", "a"];
        for (given, expected) in [
            ("memroy", &["memory"][..]),
            ("Mount", &["mount"]),
            ("mountt", &["mount", "mounts"]),
            ("cpus", &["cpu"]),
            ("xx", &[]),
            ("b", &[]),
            ("", &[]),
            ("something else", &[]),
        ] {
            assert_eq!(nearest(given, known.into_iter()), expected, "{given}");
        }
    }
}
