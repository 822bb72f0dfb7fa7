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
/// from one to the other.
fn distance(one: &str, other: &str) -> usize {
    const MOST: usize = 64;
    let (one, other): (Vec<u8>, Vec<u8>) = (one.bytes().take(MOST).collect(), other.bytes().take(MOST).collect());
    let mut rows = [[0; MOST + 1]; 3];
    for (column, cost) in rows[0].iter_mut().enumerate() {
        *cost = column;
    }
    for (i, a) in one.iter().enumerate() {
        let [row, before, before_that] = [(i + 1) % 3, i % 3, (i + 2) % 3];
        rows[row][0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let change = rows[before][j] + usize::from(a != b);
            let mut least = change.min(rows[before][j + 1] + 1).min(rows[row][j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && *b == one[i - 1] {
                least = least.min(rows[before_that][j - 1] + 1);
            }
            rows[row][j + 1] = least;
        }
    }
    rows[one.len() % 3][other.len()]
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
