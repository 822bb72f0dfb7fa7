//! What somebody may have meant.

/// Those of `known` that are nearest to `unknown`, nearest first, three at
/// most: a few letters off, or one a part of the other.
pub(crate) fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut near: Vec<(usize, &str)> = known
        .filter_map(|name| {
            let far = distance(name, unknown);
            let part = unknown.len() >= 3 && (name.contains(unknown) || unknown.contains(name));
            let most = 1 + name.len() / 4;
            if far <= most { Some((far, name)) } else { part.then_some((most + 1, name)) }
        })
        .collect();
    near.sort_unstable();
    near.truncate(3);
    near.into_iter().map(|(_, name)| name).collect()
}

/// How many letters to insert, remove, change or exchange with the next to get
/// from one to the other; of each no more than 64 are looked at.
fn distance(one: &str, other: &str) -> usize {
    let start = |text: &str| text.chars().take(64).collect::<String>();
    strsim::osa_distance(&start(one), &start(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (one, other, expected) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("bind", "bind", 0),
            ("paln", "plan", 1),
            ("run", "ruin", 1),
            ("abc", "xyz", 3),
        ] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
        assert_eq!(distance(&"a".repeat(1000), "a"), 63, "no more than so much is looked at");
    }

    #[test]
    fn the_nearest_come_first() {
        let known = ["bind", "bind-ro", "pids", "read-only"];
        assert_eq!(nearest("bind-or", known.into_iter()), ["bind-ro", "bind"]);
        assert_eq!(nearest("only", known.into_iter()), ["read-only"]);
        assert!(nearest("zzzz", known.into_iter()).is_empty());
        assert!(nearest("", known.into_iter()).is_empty());
    }
}
