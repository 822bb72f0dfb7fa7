//! `skep nspawn`: the options, the settings files and the trees of
//! `systemd-nspawn(1)`, with its defaults.
//!
//! The options are those of the one table ([`crate::flags`]); [`options`] says what
//! becomes of each. Here is what `systemd-nspawn` finds out by itself: which tree,
//! under which name, what runs.

pub(crate) mod environment;
#[cfg(test)]
mod keys;
pub(crate) mod mstack;
pub(crate) mod options;
mod rules;
mod tree;
mod version;

use std::process::ExitCode;

use nix::unistd::geteuid;
use skep::Spec;
use skep::spec::{Init, LinkHardware, Network, Secret, UserNamespace, Want};
use skep::sys::abi::{CapabilitySet, cap, signal};

use crate::message::{Failure, say};
use crate::typed::Typed;
use crate::{containers, meaning, quoted};

/// Names of this program by which it is `systemd-nspawn`.
pub(crate) const NAMES: [&str; 2] = ["systemd-nspawn", "nspawn"];

/// The groups that may open sockets for ICMP echo (`icmp(7)`).
const PING: &str = "net.ipv4.ping_group_range";

/// Runs the verb.
pub(crate) fn run(typed: Typed) -> Result<ExitCode, Failure> {
    rules::hold(&typed)?;
    if typed.cleanup {
        tree::name(&typed, &tree::find(&typed)?.path)?;
        return containers::gc(&Typed { words: Vec::new(), ..typed });
    }
    crate::run::run(typed)
}

/// Of the inner end, as `systemd-nspawn` is told.
fn hardware_address() -> Result<Option<LinkHardware>, Failure> {
    const VARIABLE: &str = "SYSTEMD_NSPAWN_NETWORK_MAC";
    let Some(text) = std::env::var_os(VARIABLE).filter(|text| !text.is_empty()) else { return Ok(None) };
    let address = text.to_str().and_then(|text| text.parse::<LinkHardware>().ok());
    match address.filter(|address| address.outside.is_none()) {
        Some(address) => Ok(Some(address)),
        None => Err(Failure::new(format!(
            "${VARIABLE}: {} is not a hardware address; write it as 02:00:00:00:00:01, unset it, or use --network-mac=",
            quoted(&text)
        ))),
    }
}

/// The Spec that `typed` asks for, by the rules of `systemd-nspawn`.
pub(crate) fn spec(mut typed: Typed) -> Result<Spec, Failure> {
    if let (false, Some(option)) = (typed.quiet, typed.of_unit.first()) {
        say(format_args!("skep: {option} has no effect: there is no unit of its own"));
    }
    if typed.ephemeral == Some(true) && typed.directory.is_none() {
        // What is thrown away need not be copied first.
        typed.directory = typed.template.take();
    }
    let tree::Found { path: tree, is_stack } = tree::find(&typed)?;
    let name = tree::name(&typed, &tree)?;
    let stack = is_stack.then(|| mstack::Stack::read(&tree)).transpose()?;
    typed.profile = Some(skep::spec::Profile::Nspawn);
    // An image is mounted later, and a copy is not made yet.
    let root = (tree.is_dir() && !is_stack).then(|| tree::new_root(&typed, &tree));
    match &mut typed.image {
        Some(image) => *image = tree,
        None if tree.is_file() && typed.directory.is_none() => typed.image = Some(tree),
        None => typed.directory = Some(tree),
    }
    let registers = match (typed.detach, typed.register) {
        (true, _) => Want::Require,
        // Directories of the host bear the name of root's: it is to be one machine's alone.
        (false, Some(Want::Off)) if geteuid().is_root() => Want::IfSupported,
        (false, wanted) => wanted.unwrap_or(Want::IfSupported),
    };
    let named = matches!(typed.machine, Some(Some(_)));
    // Settings are those of the name without what makes it unique.
    typed.machine = Some(Some(name.clone()));
    let (asked, dropped) = (typed.capability, typed.drop_capability);
    let mut spec = meaning::unnamed(typed)?.0;
    if let Some(stack) = stack {
        stack.apply(&mut spec)?;
    }
    let said = |spec: &Spec, field: &str| spec.origins.of(field).is_some();
    if !geteuid().is_root() && !said(&spec, "user_namespace") && spec.user_namespace == UserNamespace::Host {
        // What nobody can have without root is not what is meant.
        spec.user_namespace = UserNamespace::Managed;
        if !said(&spec, "network") && matches!(spec.network, Network::Host) {
            spec.network = Network::None;
            let bounding = &mut spec.capabilities.bounding.0;
            *bounding = CapabilitySet(bounding.0 | (CapabilitySet::EMPTY.with(cap::NET_ADMIN).0 & !dropped.0));
        }
    }
    if spec.user_namespace == UserNamespace::Managed && !matches!(spec.network, Network::None | Network::Own(_)) {
        let what = "--private-users=managed: such ids go with a network of the container's own, and this is another's";
        return Err(Failure::new(format!("{what}; add --private-network")));
    }
    if spec.links.has_pair() && spec.links.hardware.is_none() {
        spec.links.hardware = hardware_address()?;
    }
    let_ping(&mut spec);
    // In a user namespace it is no capability over the host's network.
    let shared = !matches!(spec.network, Network::None | Network::Own(_)) && spec.user_namespace != UserNamespace::Host;
    if shared && !asked.has(cap::NET_BIND_SERVICE) {
        let all = &mut spec.capabilities.bounding.0;
        *all = CapabilitySet(all.0 & !CapabilitySet::EMPTY.with(cap::NET_BIND_SERVICE).0);
    }
    spec.register = registers;
    environment::apply(&mut spec)?;
    if spec.root.ephemeral && !named {
        spec.machine = Some(tree::unique(&name)?);
    }
    if spec.init == Init::Boot {
        if let Some(root) = root {
            tree::holds_a_system(&root)?;
        }
        variables_of_boot(&mut spec);
        return Ok(spec);
    }
    if spec.origins.of("kill_signal").is_none() {
        // In order is only what somebody has said how to do.
        spec.kill_signal = signal::KILL;
    }
    if spec.command.is_empty() {
        spec.login_shell = true;
    }
    Ok(spec)
}

/// Each group of ids that are the container's own may ping, in a network of its own.
fn let_ping(spec: &mut Spec) {
    let whole = match spec.user_namespace {
        UserNamespace::Pick | UserNamespace::Managed => true,
        UserNamespace::Range(range) => range.count >= 1 << 16,
        _ => false,
    };
    if whole && matches!(spec.network, Network::None) {
        spec.sysctls.entry(PING.to_owned()).or_insert_with(|| "0 65535".to_owned());
    }
}

/// As the kernel does with its command line: a word that could be a variable is one for
/// init, and the others are its arguments.
fn variables_of_boot(spec: &mut Spec) {
    let said = |text: &str| {
        let (key, value) = text.split_once('=')?;
        Some((variable(key)?, value.to_owned()))
    };
    for word in std::mem::take(&mut spec.command) {
        match word.to_str().and_then(said) {
            Some((name, value)) => _ = spec.environment.insert(name, Secret::new(value)),
            None => spec.command.push(word),
        }
    }
}

/// The name of a variable, where it can be one.
fn variable(key: &str) -> Option<String> {
    let name = key.replace('-', "_");
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let begins = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    (begins && name.bytes().all(fits)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_boot() {
        let words =
            ["SYSTEMD_LOG_LEVEL=debug", "a-b=c=d", "systemd.unit=x", "=x", "1a=b", "ä=b", "quiet", "a b=c", "e="];
        let mut spec = Spec::default();
        spec.command = words.map(Into::into).into();
        variables_of_boot(&mut spec);
        assert_eq!(spec.command, ["systemd.unit=x", "=x", "1a=b", "ä=b", "quiet", "a b=c"]);
        let set: Vec<_> = spec.environment.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
        assert_eq!(set, [("SYSTEMD_LOG_LEVEL", "debug".as_ref()), ("a_b", "c=d".as_ref()), ("e", "".as_ref())]);
    }
}
