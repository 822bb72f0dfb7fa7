//! Names that somebody may have meant.

/// How many letters to insert, remove, change or exchange with the next to get
/// from one name to the other, whatever their case; more than two is not counted.
fn distance(known: &str, given: &str) -> usize {
    const FAR: usize = 3;
    if known.len().abs_diff(given.len()) >= FAR {
        return FAR;
    }
    strsim::osa_distance(&known.to_ascii_lowercase(), &given.to_ascii_lowercase()).min(FAR)
}

/// What a remedy proposes in place of `given`: the nearest of `known`, in order.
pub(crate) fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str> + Clone) -> Vec<&'a str> {
    let far = |name: &str| {
        let distance = distance(name, given);
        (distance <= 2 && distance < name.len().div_ceil(2)).then_some(distance)
    };
    match known.clone().filter_map(far).min() {
        Some(least) => known.filter(|name| far(name) == Some(least)).collect(),
        None => Vec::new(),
    }
}

/// That one of the nearest may be meant, else what to do otherwise.
pub(super) fn remedy<'a>(given: &str, known: impl Iterator<Item = &'a str> + Clone, otherwise: &str) -> String {
    match nearest(given, known).as_slice() {
        [] => otherwise.to_owned(),
        near => format!("did you mean {}?", near.join(" or ")),
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
