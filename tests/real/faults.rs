//! Every op of a real start made to fail once, in its own process: the error
//! names it, nothing executes, and nothing is left.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use skep::Command;
use skep::spec::{Init, Profile, Want};
use skep::sys::{Errno, OpKind};
use skep_tests::{HostState, Scratch, is_root, turn_to_start};

#[test]
fn row_121_142_a_failing_op_ends_the_start_and_leaves_nothing() {
    let Some(_turn) = turn_to_start() else { return };
    let scratch = Scratch::new();
    let place = scratch.directory("out");
    std::fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let mut commands = vec![Command::new("touch"), Command::new("touch")];
    commands[1].init(Init::Payload);
    if is_root() {
        // Directories of the host that bear its name, and a mount there.
        let mut machine = Command::of(Profile::Nspawn, "touch");
        machine.register(Want::Require).spec_mut().root = commands[0].spec().root.clone();
        commands.push(machine);
    }
    for command in &mut commands {
        command.arg("/out/executed").bind(&place, "/out");
        let plan = command.plan().unwrap();
        let before = HostState::look();
        let every: usize = std::env::var("SKEP_FAULT_STEP").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
        let mut tried = 0;
        for (index, _, op) in plan.ops().step_by(every) {
            // The last of the stub init comes once the payload has been let go.
            if op.kind() == OpKind::Reap {
                continue;
            }
            let error = skep::start_with_fault(&plan, index, Errno::EIO).unwrap_err();
            assert_eq!(error.errno(), Some(Errno::EIO), "{index} {op}: {error}");
            let step = plan.step_of(index).unwrap();
            assert!(error.to_string().contains(step.what.split_whitespace().next().unwrap()), "{index}: {error}");
            assert!(place.exists(), "a directory of this process went with the child of {index} {op}");
            assert!(!place.join("executed").exists(), "{index} {op} failed and the payload ran");
            tried += 1;
        }
        eprintln!("{tried} of {} ops made to fail", plan.ops().count());
        before.assert_unchanged();
    }
}
