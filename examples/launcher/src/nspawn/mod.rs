//! `skep nspawn`: the options, the settings files and the trees of
//! `systemd-nspawn(1)`, with its defaults.
//!
//! The options are those of the one table ([`crate::flags`]); [`options`] says what
//! becomes of each. Here is what `systemd-nspawn` finds out by itself: which tree,
//! under which name, what runs.

pub(crate) mod options;
mod rules;
mod tree;

use std::process::ExitCode;

use skep::Spec;
use skep::spec::{Init, Network, UserNamespace, Want};
use skep::sys::abi::{CapabilitySet, cap, signal};

use crate::message::{Failure, say};
use crate::typed::Typed;
use crate::{containers, meaning};

/// Names of this program by which it is `systemd-nspawn`.
pub(crate) const NAMES: [&str; 2] = ["systemd-nspawn", "nspawn"];

/// Runs the verb.
pub(crate) fn run(typed: Typed) -> Result<ExitCode, Failure> {
    rules::hold(&typed)?;
    if typed.cleanup {
        tree::name(&typed, &tree::find(&typed)?)?;
        return containers::gc(&Typed { words: Vec::new(), ..typed });
    }
    crate::run::run(typed)
}

/// The Spec that `typed` asks for, by the rules of `systemd-nspawn`.
pub(crate) fn spec(mut typed: Typed) -> Result<Spec, Failure> {
    if let (false, Some(option)) = (typed.quiet, typed.of_unit.first()) {
        say(format_args!("skep: {option} has no effect: there is no unit of its own"));
    }
    let tree = tree::find(&typed)?;
    let name = tree::name(&typed, &tree)?;
    typed.profile = Some(skep::spec::Profile::Nspawn);
    match &mut typed.image {
        Some(image) => *image = tree,
        None if tree.is_file() && typed.directory.is_none() => typed.image = Some(tree),
        None => typed.directory = Some(tree),
    }
    let registers = match typed.detach {
        true => Want::Require,
        false => typed.register.unwrap_or(Want::IfSupported),
    };
    let named = matches!(typed.machine, Some(Some(_)));
    // Settings are those of the name without what makes it unique.
    typed.machine = Some(Some(name.clone()));
    let asked = typed.capability;
    let mut spec = meaning::unnamed(typed)?.0;
    // In a user namespace it is no capability over the host's network.
    let shared = !matches!(spec.network, Network::None | Network::Own(_)) && spec.user_namespace != UserNamespace::Host;
    if shared && !asked.has(cap::NET_BIND_SERVICE) {
        let all = &mut spec.capabilities.bounding.0;
        *all = CapabilitySet(all.0 & !CapabilitySet::EMPTY.with(cap::NET_BIND_SERVICE).0);
    }
    spec.register = registers;
    if spec.root.ephemeral && !named {
        spec.machine = Some(tree::unique(&name)?);
    }
    if spec.init == Init::Boot {
        return Ok(spec);
    }
    if spec.origins.of("kill_signal").is_none() {
        // In order is only what somebody has said how to do.
        spec.kill_signal = signal::KILL;
    }
    if spec.command.is_empty() {
        spec.command = vec!["/bin/sh".into(), "-l".into()];
    }
    Ok(spec)
}
