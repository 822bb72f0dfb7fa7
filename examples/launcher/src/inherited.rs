//! Descriptors that the command gets: those of `--fd=`, and the sockets that a
//! service manager has passed to this program (`sd_listen_fds(3)`).

use std::os::fd::OwnedFd;

use nix::unistd::getppid;
use skep::Command;
use skep::spec::{Descriptor, Origin};

use crate::message::{Failure, quoted};
use crate::typed::Typed;

/// More than that, one container cannot be given.
const MOST: u32 = 256;

/// Copies of them.
pub(crate) struct Inherited {
    /// By the number inside.
    pub(crate) passed: Vec<(u32, OwnedFd)>,
    listen: Vec<OwnedFd>,
    names: Option<String>,
}

impl Inherited {
    pub(crate) fn take(typed: &Typed) -> Result<Self, Failure> {
        let mut passed: Vec<(u32, OwnedFd)> = Vec::new();
        for (from, number) in &typed.descriptors {
            if passed.iter().any(|(other, _)| other == number) {
                let what = format!("--fd=: two descriptors are to be {number} inside; leave one of them out");
                return Err(Failure::new(what));
            }
            let copy = skep::inherited(*from).map_err(|error| {
                let what = format!("--fd=: {error}; pass one that is open: {from}<FILE");
                Failure::new(what)
            })?;
            passed.push((*number, copy));
        }
        Ok(Self { passed, listen: Vec::new(), names: None })
    }

    /// The same, and what a service manager has passed to this very process.
    pub(crate) fn with_sockets(typed: &Typed, detached: bool) -> Result<Self, Failure> {
        let mut all = Self::take(typed)?;
        let variable = |name: &str| std::env::var(name).ok();
        // A supervisor takes what its parent was passed.
        let receiver = if detached { getppid().to_string() } else { std::process::id().to_string() };
        if variable("LISTEN_PID") != Some(receiver) {
            return Ok(all);
        }
        let bad = |name: &str, value: &str, why: &str| {
            Failure::new(format!(
                "${name}={}: {why}; unset LISTEN_PID, or pass sockets as sd_listen_fds(3) says",
                quoted(value)
            ))
        };
        let said = variable("LISTEN_FDS").unwrap_or_default();
        let count = match said.parse::<u32>() {
            Ok(count @ 1..=MOST) => count,
            Ok(0) => return Ok(all),
            _ => return Err(bad("LISTEN_FDS", &said, &format!("not a number of descriptors up to {MOST}"))),
        };
        for number in 3..3 + count {
            let copy = skep::inherited(number).map_err(|error| bad("LISTEN_FDS", &said, &error.to_string()))?;
            all.listen.push(copy);
        }
        if let Some(names) = variable("LISTEN_FDNAMES") {
            if names.split(':').count() != all.listen.len() {
                return Err(bad("LISTEN_FDNAMES", &names, "not as many names as descriptors"));
            }
            all.names = Some(names);
        }
        Ok(all)
    }

    /// Gives them to the command. What its Spec says of a number stays.
    pub(crate) fn give(self, command: &mut Command) -> Result<(), Failure> {
        for (number, file) in self.passed {
            command.give_fd(number, file);
        }
        if self.listen.is_empty() {
            return Ok(());
        }
        let spec = command.spec_mut();
        let taken = |passed: &&Descriptor| (3..).take(self.listen.len()).any(|number| number == passed.number);
        if let Some(passed) = spec.descriptors.iter().find(taken) {
            let from = spec.origins.of("descriptors").map_or_else(String::new, Origin::to_string);
            let what = format!(
                "{from}: descriptor {} is one of the sockets of $LISTEN_FDS; choose another number inside",
                passed.number
            );
            return Err(Failure::new(what));
        }
        command.listen_fds(self.listen);
        let spec = command.spec_mut();
        spec.origins.note("descriptors", Origin::Option("$LISTEN_FDS".to_owned()));
        if let Some(names) = self.names {
            spec.environment.entry("LISTEN_FDNAMES".to_owned()).or_insert_with(|| names.as_str().into());
        }
        Ok(())
    }
}
