//! What the filters of a process answer to what an op calls.
//!
//! Sources: seccomp(2), "Filters", and `seccomp_run_filters` of `kernel/seccomp.c`.

use crate::errno::Errno;
use crate::filter;
use crate::kernel::WaitStatus;
use crate::op::Op;
use crate::raw::nr;

use super::Model;

const SIGSYS: u8 = 31;

impl Model {
    /// Every filter is asked, and the most restrictive answer counts; of equal ones
    /// that of the youngest.
    pub(super) fn filtered(&mut self, op: &Op<'_>) -> Result<(), Errno> {
        for (number, arguments) in calls(op) {
            // What a host is told to have (`credentials`) is not known.
            let known = self.cred().filters.iter().rev().filter(|program| !program.is_empty());
            let answers =
                known.map(|program| filter::answer(program, number, [arguments[0], arguments[1], 0, 0, 0, 0]));
            let answer = answers.min_by_key(|answer| (answer & 0xffff_0000) as i32).unwrap_or(0x7fff_0000);
            match answer & 0xffff_0000 {
                // SECCOMP_RET_ALLOW, SECCOMP_RET_LOG
                0x7fff_0000 | 0x7ffc_0000 => {}
                // SECCOMP_RET_ERRNO; no Spec can ask for the success of 0.
                0x0005_0000 if answer & 0xffff != 0 => return Err(Errno::from_raw((answer & 0xffff).min(4095) as u16)),
                // SECCOMP_RET_TRACE and SECCOMP_RET_USER_NOTIF, and nobody is there.
                0x0005_0000 | 0x7ff0_0000 | 0x7fc0_0000 => return Err(Errno::ENOSYS),
                // SECCOMP_RET_KILL_PROCESS, KILL_THREAD, TRAP
                _ => {
                    self.end(self.current, WaitStatus::Signaled(SIGSYS));
                    return Err(Errno::ESRCH);
                }
            }
        }
        Ok(())
    }
}

/// The calls of the ops that may follow a filter, with the arguments that filters
/// look at.
fn calls(op: &Op<'_>) -> Vec<(usize, [u64; 2])> {
    let of = |numbers: &[usize]| numbers.iter().map(|number| (*number, [0; 2])).collect();
    match op {
        Op::Announce { .. } | Op::Arrive { .. } => of(&[nr::WRITE]),
        Op::SendFile { .. } => of(&[nr::SENDMSG]),
        Op::Close { .. } => of(&[nr::CLOSE]),
        Op::Chdir { path } if path.to_bytes() == b"/" => of(&[nr::CHDIR]),
        Op::Chdir { .. } => of(&[nr::OPENAT2, nr::FCHDIR, nr::CLOSE, nr::GETCWD]),
        Op::CapSet { .. } => of(&[nr::CAPSET]),
        // PR_CAP_AMBIENT_CLEAR_ALL
        Op::AmbientSet { .. } => vec![(nr::PRCTL, [47, 4])],
        // PR_GET_SECUREBITS, PR_GET_NO_NEW_PRIVS
        Op::ProveCredentials { .. } => [(nr::PRCTL, [27, 0]), (nr::PRCTL, [39, 0])]
            .into_iter()
            .chain(of(&[nr::GETRESUID, nr::GETRESGID, nr::CAPGET]))
            .collect(),
        // SECCOMP_SET_MODE_FILTER
        Op::Seccomp { .. } => vec![(nr::SECCOMP, [1, 0])],
        Op::Exec { .. } => of(&[nr::EXECVE]),
        Op::ExecAt { .. } => of(&[nr::EXECVEAT]),
        Op::Exit { .. } => of(&[nr::EXIT_GROUP]),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::stand::Stand;
    use super::*;
    use crate::abi::SeccompFlags;
    use crate::program::Actor;
    use crate::wire::{Blob, Secret, Strings};

    /// A filter that answers `answer` to one call, and lets all others through.
    fn filter(number: usize, answer: u32) -> Vec<u8> {
        let instruction = |code: u16, jf: u8, k: u32| {
            let [c0, c1] = code.to_ne_bytes();
            let [k0, k1, k2, k3] = k.to_ne_bytes();
            [c0, c1, 0, jf, k0, k1, k2, k3]
        };
        let number = u32::try_from(number).unwrap();
        [
            instruction(0x20, 0, 0),
            instruction(0x15, 1, number),
            instruction(0x06, 0, answer),
            instruction(0x06, 0, 0x7fff_0000),
        ]
        .concat()
    }

    fn filtered(answers: &[u32]) -> Stand {
        let mut stand = Stand::root();
        for answer in answers {
            let program = filter(nr::EXECVE, *answer);
            stand.ok(Op::Seccomp { program: Blob(&program), flags: SeccompFlags::NONE, listener: None });
        }
        stand
    }

    #[test]
    fn the_most_restrictive_answer_counts() {
        let programs = Strings::new(b"/usr/bin/true\0").unwrap();
        let exec = Op::Exec { programs, arguments: programs, environment: Secret(Strings::new(b"").unwrap()) };
        for (answers, result) in [
            (&[0x7fff_0000_u32][..], Ok(())),
            (&[0x7fff_0000, 0x7ffc_0000], Ok(())),
            (&[0x0005_0001], Err(Errno::EPERM)),
            (&[0x7fff_0000, 0x0005_0001, 0x7fff_0000], Err(Errno::EPERM)),
            (&[0x0005_0001, 0x0005_000d], Err(Errno::EACCES)),
            (&[0x7fc0_0000], Err(Errno::ENOSYS)),
            (&[0x8000_0000, 0x0005_0001], Err(Errno::ESRCH)),
            (&[0x0005_0001, 0], Err(Errno::ESRCH)),
        ] {
            let mut stand = filtered(answers);
            assert_eq!(stand.ask(exec), result, "{answers:x?}");
            let ended = stand.model.process(Actor::Host).unwrap().ended();
            assert_eq!(ended.is_some(), result == Err(Errno::ESRCH), "{answers:x?}");
        }
    }

    #[test]
    fn an_op_that_calls_something_else_goes_on() {
        let mut stand = filtered(&[0x8000_0000]);
        stand.ok(Op::Chdir { path: c"/usr" });
        stand.ok(Op::Umask { mode: 0o022 });
    }
}
