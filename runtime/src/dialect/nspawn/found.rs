//! The problems found so far.

use std::path::Path;

use super::lines::Place;
use crate::dialect::{Problem, Problems};

/// Problems of one file, in a bounded number.
pub(super) struct Found<'a> {
    file: &'a Path,
    list: Vec<Problem>,
    stopped: bool,
}

impl<'a> Found<'a> {
    /// How many are listed: more than anybody reads.
    const MOST: usize = 1000;

    pub(super) const fn new(file: &'a Path) -> Self {
        Self { file, list: Vec::new(), stopped: false }
    }

    pub(super) fn add(&mut self, place: Place, key: Option<&str>, message: impl Into<String>, remedy: Option<String>) {
        if self.stopped {
            return;
        }
        let mut problem = Problem {
            file: self.file.to_owned(),
            line: place.line,
            column: place.column,
            key: key.map(str::to_owned),
            message: message.into(),
            remedy,
        };
        if self.list.len() == Self::MOST {
            self.stopped = true;
            problem.message = "there are more problems, which are not listed".to_owned();
            (problem.key, problem.remedy) = (None, None);
        }
        self.list.push(problem);
    }

    /// The last problem: the file holds more than is read.
    pub(super) fn stop(&mut self, place: Place, key: Option<&str>) {
        let message = format!("the file sets more than {} values", super::MAX_VALUES);
        self.add(place, key, message, Some("what follows was not read".to_owned()));
        self.stopped = true;
    }

    /// Whether reading on is pointless.
    pub(super) const fn is_stopped(&self) -> bool {
        self.stopped
    }

    #[cfg(test)]
    pub(super) const fn count(&self) -> usize {
        self.list.len()
    }

    /// `value`, if nothing was found.
    pub(super) fn or<T>(self, value: T) -> Result<T, Problems> {
        if self.list.is_empty() { Ok(value) } else { Err(Problems(self.list)) }
    }
}
