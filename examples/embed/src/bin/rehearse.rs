//! A container that is planned, read and tested, and never started.
//!
//! A plan is plain data: a pure function of what you ask for and of what is
//! true of the host. So a program can test its containers as it tests its
//! other code: without root, without namespaces, in a millisecond.

use skep::{Command, Facts, Plan, Result};

/// The container of our program: a service that reads one directory.
fn service() -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-m", "http.server", "--directory", "/srv"]).bind_ro("/srv/www", "/srv");
    command
}

/// Its plan on a made-up host: an ordinary user, and every path a directory.
/// [`Command::plan`] makes the one for this host.
fn plan(command: &Command) -> Result<Plan> {
    let spec = command.spec();
    let plan = skep::compile(&spec, &Facts::example(&spec))?;
    // Whatever runs has passed this: each rule by name, on the plan itself.
    Ok(skep::verify(plan)?.plan().clone())
}

fn main() -> Result<()> {
    let plan = plan(&service())?;
    // What is done, in order, and who asked for it; `verbose` has every call.
    println!("{plan}");
    println!("{}", plan.report());
    Ok(())
}

#[cfg(test)]
mod tests {
    use skep::sys::Op;
    use skep::sys::abi::Namespaces;
    use skep::{Outcome, Phase};

    use super::*;

    /// What must stay true of our container, whoever edits `service`.
    #[test]
    fn the_service_can_do_no_harm() {
        let plan = plan(&service()).unwrap();
        let report = plan.report();
        for item in ["capabilities", "no new privileges", "system-call filter", "network"] {
            assert!(matches!(report.of(item), Some(Outcome::Applied(_))), "{item}\n{report}");
        }
        // The same, of the calls themselves.
        let spawned = plan.ops().find_map(|(_, _, op)| match op {
            Op::Spawn { namespaces, .. } => Some(namespaces),
            _ => None,
        });
        assert!(spawned.unwrap().has(Namespaces::NETWORK));
        let payload: Vec<_> = plan.ops().filter(|(_, phase, _)| *phase == Phase::Payload).map(|(_, _, op)| op).collect();
        assert!(payload.iter().any(|op| matches!(op, Op::NoNewPrivs {})));
        assert!(matches!(payload.last(), Some(Op::Exec { .. })));
    }

    /// A mistake shows before there is a host to make it on.
    #[test]
    fn a_mistake_is_found_without_a_host() {
        let error = plan(service().bind("/srv/www", "/proc/1")).unwrap_err();
        assert_eq!(error.kind(), skep::ErrorKind::InvalidSpec);
        assert!(error.to_string().contains("/proc"), "{error}");
    }
}
