//! Section 8: a library inside another program.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use skep::sys::{Op, OpKind};

use super::{HOST, ops, starts};

/// What would change the embedder is asked by nobody but the child.
#[test]
fn row_138_139_143_the_embedder_changes_nothing_of_its_own() {
    use OpKind::{
        Adopt, BlockSignals, CapSet, Chdir, DropBounding, Dumpable, Dup, Exec, Exit, Fchdir, Fork, HostName,
        NoNewPrivs, Personality, ResetSignals, Seccomp, SessionKeyring, SetGroups, SetLimit, SetNs, SetResGid,
        SetResUid, SetSid, SignalFd, Umask, Unshare,
    };
    let own = [
        Adopt,
        BlockSignals,
        CapSet,
        Chdir,
        DropBounding,
        Dumpable,
        Dup,
        Exec,
        Exit,
        Fchdir,
        Fork,
        HostName,
        NoNewPrivs,
        Personality,
        ResetSignals,
        Seccomp,
        SessionKeyring,
        SetGroups,
        SetLimit,
        SetNs,
        SetResGid,
        SetResUid,
        SetSid,
        SignalFd,
        Umask,
        Unshare,
    ];
    for (name, _, verified) in starts() {
        for op in ops(verified.plan(), HOST) {
            assert!(!own.contains(&op.kind()), "{name}: {op}");
            // By its pidfd, one child.
            if let Op::PidfdWait { process, .. } = op {
                assert_ne!(process.0, u16::MAX, "{name}");
            }
        }
    }
}

/// Every blocking point has a descriptor to poll in its place.
#[test]
fn row_144_what_blocks_can_be_polled() {
    fn end(container: &skep::Container) -> BorrowedFd<'_> {
        container.as_fd()
    }
    fn output(container: &mut skep::Container) -> Option<OwnedFd> {
        container.stdout.take().map(OwnedFd::from)
    }
    fn readiness(container: &skep::Container) -> Option<BorrowedFd<'_>> {
        container.notification_fd()
    }
    let _ = (end, output, readiness);
}

#[test]
fn row_146_the_report_has_one_line_an_item() {
    for (name, _, verified) in starts() {
        let items = verified.plan().report().items();
        let names: std::collections::BTreeSet<&str> = items.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(names.len(), items.len(), "{name}");
        for wanted in
            ["capabilities", "no new privileges", "system-call filter", "masks", "init", "keyring", "umask", "session"]
        {
            assert!(names.contains(wanted), "{name}: {wanted}");
        }
        for item in items {
            let words = item.outcome.to_string();
            assert!(!words.contains('\n'), "{name}: {words}");
        }
    }
}

/// "Go on with the call" is one method, whose name says what it is.
#[test]
fn row_104_continue_is_never_an_answer_by_itself() {
    let mut said = Vec::new();
    for source in super::configuration::sources("src") {
        let text = std::fs::read_to_string(&source).unwrap();
        let lines = text.lines().filter(|line| line.contains("fn ") && line.contains("continue"));
        said.extend(lines.map(|line| line.trim().to_owned()));
    }
    assert!(said.len() == 1 && said[0].contains("fn danger_continue"), "{said:#?}");
    for source in super::configuration::sources("../runtime-sys/src") {
        let text = std::fs::read_to_string(&source).unwrap();
        let flag = text.contains("USER_NOTIF_FLAG_CONTINUE");
        assert!(!flag || source.ends_with("listener.rs"), "{}", source.display());
    }
}
