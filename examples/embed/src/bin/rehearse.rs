//! A container that is planned, read, rehearsed and tested, and never started.
//!
//! A plan is plain data: a pure function of what you ask for and of what is
//! true of the host. And the library has a kernel in memory that refuses what
//! Linux refuses. So a program can test its containers as it tests its other
//! code: without root, without namespaces, in a millisecond.

use skep::sys::{Actor, Model};
use skep::{Command, Facts, Result, Verified};

/// The container of our program: a service that reads one directory.
fn service() -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-m", "http.server", "--directory", "/srv"]).bind_ro("/srv/www", "/srv");
    command
}

/// A host to rehearse on: an ordinary user's, with what the service needs.
fn host() -> Model {
    Model::as_user(1000).file("/usr/bin/python3", "a program").file("/srv/www/index.html", "Welcome")
}

/// The plan, checked: each rule has a name, and nothing else ever runs.
fn plan(command: &Command) -> Result<Verified> {
    let spec = command.spec();
    // On a real host the facts come from `Facts::gather`.
    let facts = Facts::example(&spec).on(&mut host());
    skep::verify(skep::compile(&spec, &facts)?)
}

fn main() -> Result<()> {
    let verified = plan(&service())?;
    // What is done, in order, and who asked for it; `verbose` has every call.
    println!("{}", verified.plan());
    println!("{}", verified.plan().report());

    let mut model = host();
    skep::rehearse(&mut model, &verified)?;
    if let Some(payload) = model.process(Actor::Payload) {
        println!("executed: {:?}", payload.exec());
        println!("its mounts:\n  {}", payload.mountinfo().join("\n  "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use skep::sys::{Errno, Faulty, Stage};
    use skep::{ErrorKind, Outcome};

    use super::*;

    /// What must stay true of our container, whoever edits `service`.
    #[test]
    fn the_service_reads_its_directory_and_can_do_no_harm() {
        let verified = plan(&service()).unwrap();
        let report = verified.plan().report();
        for item in ["system-call filter", "network"] {
            assert!(matches!(report.of(item), Some(Outcome::Applied(_))), "{item}\n{report}");
        }

        let mut model = host();
        skep::rehearse(&mut model, &verified).unwrap();
        let payload = model.process(Actor::Payload).unwrap();
        assert_eq!(payload.read("/srv/index.html").as_deref(), Some(b"Welcome".as_slice()));
        assert_eq!(payload.read("/etc/hostname"), None, "nothing else of the host");
        let credentials = payload.credentials();
        assert!(credentials.no_new_privs && credentials.permitted.0 == 0, "{credentials:?}");
        let mounts = payload.mountinfo();
        let served = mounts.iter().find(|line| line.contains(" /srv ")).unwrap();
        assert!(served.contains(" ro,"), "{served}");
    }

    /// A start that fails half-way leaves nothing: here the 40th call.
    #[test]
    fn a_start_that_fails_is_taken_back() {
        let verified = plan(&service()).unwrap();
        let mut kernel = Faulty::new(host(), 40, Errno::ENOMEM);
        let error = skep::rehearse(&mut kernel, &verified).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ENOMEM), "{error}");
        let mut model = kernel.into_inner();
        model.act_as(Actor::Host);
        assert_eq!(model.host_changes(), Vec::<String>::new());
    }

    /// A mistake shows before there is a host to make it on.
    #[test]
    fn a_mistake_is_found_without_a_host() {
        let error = plan(service().bind("/srv/www", "/proc/1")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSpec);
        assert!(error.to_string().contains("/proc"), "{error}");
    }
}
