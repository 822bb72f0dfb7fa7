//! `/proc/PID/stat` (`proc_pid_stat(5)`): one line, whose fields are counted from 1.

use std::fmt::Display;
use std::str::FromStr;

/// The fields of a process, from the third on.
pub(crate) struct Stat(String);

impl Stat {
    /// Of a process by its number, or `self`.
    pub(crate) fn read(process: impl Display) -> std::io::Result<Self> {
        std::fs::read_to_string(format!("/proc/{process}/stat")).map(|text| Self::parse(&text))
    }

    pub(crate) fn parse(text: &str) -> Self {
        // The name, in parentheses, may hold anything.
        Self(text.rsplit_once(')').map_or("", |(_, fields)| fields).to_owned())
    }

    pub(crate) fn field<T: FromStr>(&self, number: usize) -> Option<T> {
        self.0.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
    }

    /// When it started, in ticks since boot, unless it is dead and waits to be
    /// waited for.
    pub(crate) fn start_time(&self) -> Option<u64> {
        let state: char = self.field(3)?;
        if matches!(state, 'Z' | 'X') { None } else { self.field(22) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let text = "7 (a) Z 1 (b) S 1 7 7 0 -1 4194560 86 0 0 0 3 4 5 6 20 -5 1 0 12345 0";
        let stat = Stat::parse(text);
        assert_eq!(stat.field::<char>(3), Some('S'));
        assert_eq!([14, 15, 16, 17].map(|number| stat.field::<u64>(number)), [3, 4, 5, 6].map(Some));
        assert_eq!((stat.field::<i8>(19), stat.start_time()), (Some(-5), Some(12345)));
        assert_eq!((stat.field::<u64>(2), stat.field::<u64>(99)), (None, None));
        assert_eq!(Stat::parse(&text.replace(") S", ") Z")).start_time(), None);
        assert_eq!(Stat::parse("").start_time(), None);
        assert!(Stat::read("self").unwrap().start_time().is_some());
    }
}
