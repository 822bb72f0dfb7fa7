//! Options that contradict each other.

use crate::message::Failure;
use crate::typed::Typed;

/// Refuses what cannot be meant together.
pub(crate) fn hold(typed: &Typed) -> Result<(), Failure> {
    let rules = [
        (
            typed.cleanup && typed.ephemeral == Some(true),
            "--cleanup: an ephemeral tree leaves nothing; leave --ephemeral out",
        ),
        (
            typed.cleanup && typed.machine.is_none() && typed.directory.is_none() && typed.mstack.is_none(),
            "--cleanup: which machine it was is not said; name it with --machine= or --directory=",
        ),
        (
            typed.ephemeral == Some(true) && typed.template.is_some() && typed.directory.is_some(),
            "--template: what is made of it is thrown away with --ephemeral; leave one of them or --directory= out",
        ),
        (
            typed.mstack.is_some() && (typed.directory.is_some() || typed.image.is_some()),
            "--mstack=: --directory= or --image= names the root already; leave one of them out",
        ),
        (
            typed.mstack.is_some() && typed.template.is_some(),
            "--template: a copy of it is a directory, and --mstack= names layers; leave one of them out",
        ),
        (
            typed.mstack.is_some() && typed.ephemeral == Some(true),
            "--ephemeral: a stack says itself where changes go (--mstack=); leave one of them out, or say --volatile=overlay",
        ),
        (
            typed.template.is_some() && typed.image.is_some(),
            "--template: a copy of it is a directory, and --image= names an image; leave one of them out",
        ),
        (
            typed.template.is_some()
                && typed.directory.is_none()
                && !matches!(typed.machine, Some(Some(_)))
                && typed.ephemeral != Some(true),
            "--template: which tree is to be made of it is not said; name it with --directory= or --machine=",
        ),
        (
            typed.system && !nix::unistd::geteuid().is_root(),
            "--system: that scope is root's; run as root, or leave it out",
        ),
    ];
    match rules.into_iter().find(|(broken, _)| *broken) {
        Some((_, what)) => Err(Failure::new(what)),
        None => Ok(()),
    }
}
