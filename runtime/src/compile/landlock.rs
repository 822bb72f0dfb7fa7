//! The kernel's Landlock: which layers are in force, and the ops for them.
//!
//! The rules are made in the new root, before any id changes, so that a path
//! needs no right of the payload's to be named. The process is restricted as soon
//! as it can gain no privileges, and before its filter: where payload and stub
//! init are confined together, both are; else the payload alone, for a stub init
//! in a domain of its own could not signal the payload.

use std::os::unix::ffi::OsStrExt as _;

use skep_sys::abi::{OpenFlags, Resolve, landlock};
use skep_sys::{At, Op};

use super::{Context, absolute, c_path};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Builder, Phase, role};
use crate::report::Report;
use crate::spec::{Landlock, Network, Profile, Spec, Want};

/// What the process is restricted in; 0 where nothing is.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Handled {
    files: u64,
    tcp: u64,
    scoped: u64,
}

impl Handled {
    pub(super) fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// What can be said of the rules without looking at the host.
pub(super) fn check(spec: &Spec) -> Result<()> {
    let rules = &spec.landlock;
    let refuse = |field: &str, what: &str, remedy: &str| {
        Err(Error::new(ErrorKind::InvalidSpec, what).from(spec.origins.of(field)).remedy(remedy))
    };
    if rules.files == Want::Off && !rules.paths.is_empty() {
        return refuse(
            "landlock.paths",
            "there are Landlock rules for paths, and the layer of files is off",
            "Require it (`landlock.files`), or leave the rules out.",
        );
    }
    if rules.tcp == Want::Off && !(rules.bind.is_empty() && rules.connect.is_empty()) {
        return refuse(
            "landlock.tcp",
            "there are Landlock rules for ports, and the layer of TCP is off",
            "Require it (`landlock.tcp`), or leave the rules out.",
        );
    }
    for rule in &rules.paths {
        let field = format!("landlock.paths.{}", rule.path.display());
        absolute(spec, &field, &rule.path)?;
        if rule.access.is_empty() {
            let remedy = "Name one such as `read`, or leave the rule out: what has no rule has no right.";
            return refuse(&field, &format!("the Landlock rule for {} names no right", rule.path.display()), remedy);
        }
    }
    let wanted = [rules.files, rules.tcp, rules.signals, rules.abstract_sockets.unwrap_or(Want::Off)];
    if !spec.no_new_privileges && wanted.contains(&Want::Require) {
        return refuse(
            "landlock",
            "Landlock is required without `no_new_privileges`",
            "Keep `no_new_privileges` (Command::no_new_privileges, --no-new-privileges=yes).",
        );
    }
    Ok(())
}

/// A layer and what this kernel has of it.
struct Layer<'a> {
    item: &'static str,
    field: &'static str,
    want: Want,
    /// What the report says where it is off.
    off: &'static str,
    /// What it restricts, in words.
    rules: String,
    all: u64,
    /// What of that the kernel knows, and the names of the rest.
    known: u64,
    missing: Vec<&'a str>,
}

/// Judges a layer: what of it is in force.
fn judge(context: &Context<'_>, layer: Layer<'_>, report: &mut Report) -> Result<u64> {
    let Layer { item, field, want, off, rules, all, known, missing } = layer;
    let version = context.facts.landlock;
    let lacks = match version {
        0 => "this kernel has no Landlock, or it is not on".to_owned(),
        _ => format!("version {version} of this kernel's Landlock lacks {}", missing.join(" ")),
    };
    match want {
        Want::Off => report.off(item, off),
        Want::IfSupported if !context.spec.no_new_privileges => {
            report.unsupported(item, "not in force: it needs no_new_privileges");
        }
        Want::Require if known != all => {
            return Err(Error::new(ErrorKind::Unsupported, format!("{item} is required: {lacks}"))
                .from(context.spec.origins.of(field))
                .remedy(
                    "Use a newer kernel, boot it with `landlock` among lsm=, or want this only if it is supported.",
                ));
        }
        _ if known == 0 => report.unsupported(item, format!("not in force: {lacks}")),
        _ if known != all => {
            report.applied(item, format!("partly: {rules}; {lacks}"));
            return Ok(known);
        }
        _ => {
            report.applied(item, format!("fully: {rules}"));
            return Ok(known);
        }
    }
    Ok(0)
}

/// What this kernel can restrict of what is wanted.
pub(super) fn handled(context: &Context<'_>, report: &mut Report) -> Result<Handled> {
    let (rules, version) = (&context.spec.landlock, context.facts.landlock);
    let all = (1 << landlock::FILES.len()) - 1;
    let known = |(_, (_, since)): &(u32, &(&str, u64))| *since <= version;
    let bits = (0..).zip(&landlock::FILES);
    let files = Layer {
        item: "landlock files",
        field: "landlock.files",
        want: rules.files,
        off: "not asked for",
        rules: format!("{} paths", rules.paths.len()),
        all,
        known: bits.clone().filter(known).fold(0, |all, (bit, _)| all | 1 << bit),
        missing: bits.filter(|right| !known(right)).map(|(_, (name, _))| *name).collect(),
    };
    let (tcp, since) = landlock::TCP;
    let tcp = Layer {
        item: "landlock tcp",
        field: "landlock.tcp",
        want: rules.tcp,
        off: "not asked for",
        rules: format!("bind {}, connect {} ports", rules.bind.len(), rules.connect.len()),
        all: tcp,
        known: if version >= since { tcp } else { 0 },
        missing: vec!["rules for TCP"],
    };
    let scope = |item, field, want, off, bit| Layer {
        item,
        field,
        want,
        off,
        rules: "those of processes outside are out of reach".to_owned(),
        all: bit,
        known: if version >= landlock::SCOPES { bit } else { 0 },
        missing: vec!["scopes"],
    };
    let (want, off) = abstract_sockets(context.spec);
    let sockets = scope("landlock sockets", "landlock.abstract_sockets", want, off, landlock::ABSTRACT_UNIX_SOCKET);
    let mut signals = scope("landlock signals", "landlock.signals", rules.signals, "not asked for", landlock::SIGNAL);
    signals.rules = "processes outside are out of reach".to_owned();
    Ok(Handled {
        files: judge(context, files, report)?,
        tcp: judge(context, tcp, report)?,
        scoped: judge(context, sockets, report)? | judge(context, signals, report)?,
    })
}

/// Abstract names belong to the network namespace: with the caller's, every such
/// socket of the host could be reached (attacks row 73).
fn abstract_sockets(spec: &Spec) -> (Want, &'static str) {
    match (spec.landlock.abstract_sockets, &spec.network) {
        (Some(want), _) => (want, "not asked for"),
        (None, Network::Host) if spec.profile == Profile::Strict && spec.no_new_privileges => (Want::IfSupported, ""),
        (None, Network::Host) => (Want::Off, "abstract sockets of the host can be reached"),
        (None, Network::None) => (Want::Off, "not needed: the network namespace has its own"),
        (None, _) => (Want::Off, "abstract sockets of that network namespace can be reached"),
    }
}

/// Makes the rules. The last op of each rule closes what it opened.
pub(super) fn rules(context: &Context<'_>, handled: Handled, plan: &mut Builder, report: &mut Report) -> Result<()> {
    if handled.is_nothing() {
        return Ok(());
    }
    let mut all = Vec::new();
    let Landlock { paths, bind, connect, .. } = &context.spec.landlock;
    let ruleset = role::RULESET;
    plan.step(Phase::Enter, "make the Landlock rules", context.origin("landlock")).op(Op::LandlockRuleset {
        file_access: handled.files,
        net_access: handled.tcp,
        scoped: handled.scoped,
        into: ruleset,
    });
    for rule in paths.iter().filter(|_| handled.files != 0) {
        let access = rule.access.iter().fold(0, |all, right| all | right.bits()) & handled.files;
        if access == 0 {
            // Rights that this kernel does not restrict.
            continue;
        }
        all.push(shown_path(rule.path.as_os_str().as_bytes(), access));
        let words: Vec<&str> = rule.access.iter().map(|right| right.name()).collect();
        let path = c_path(&rule.path)?;
        let field = format!("landlock.paths.{}", rule.path.display());
        plan.step(Phase::Enter, format!("{}: {}", rule.path.display(), words.join(" ")), context.origin(&field))
            .remedy(
                "A path of a Landlock rule must exist inside. EINVAL: a file has none of the rights of directories.",
            )
            .op(Op::OpenAt2 {
                dir: At::Cwd,
                path: &path,
                flags: OpenFlags::PATH,
                mode: 0,
                resolve: Resolve::NO_MAGICLINKS,
                into: role::ONE,
            })
            .op(Op::LandlockPath { ruleset, parent: role::ONE, access })
            .op(Op::Close { file: role::ONE });
    }
    let ports = [(bind, landlock::BIND_TCP, "bind"), (connect, landlock::CONNECT_TCP, "connect")];
    for (ports, access, what) in ports.into_iter().filter(|(ports, ..)| handled.tcp != 0 && !ports.is_empty()) {
        plan.step(Phase::Enter, format!("{what} TCP ports: {}", ports.len()), context.origin("landlock.tcp"));
        for port in ports {
            plan.op(Op::LandlockPort { ruleset, port: *port, access });
            all.push(shown_port(*port, access));
        }
    }
    report.applied("landlock rules", all.join("; "));
    Ok(())
}

/// A rule, as the report has it.
pub(crate) fn shown_path(path: &[u8], access: u64) -> String {
    let rights = landlock::FILES.iter().enumerate().filter(|(bit, _)| access >> bit & 1 == 1).map(|(_, right)| right.0);
    format!("{}: {}", String::from_utf8_lossy(path), rights.collect::<Vec<_>>().join(","))
}

/// A rule, as the report has it.
pub(crate) fn shown_port(port: u16, access: u64) -> String {
    let rights = [(landlock::BIND_TCP, "bind"), (landlock::CONNECT_TCP, "connect")];
    let rights = rights.iter().filter(|(bit, _)| access & bit != 0).map(|right| right.1);
    format!("port {port}: {}", rights.collect::<Vec<_>>().join(","))
}

/// From here on the process has the rights of the rules.
pub(super) fn restrict(context: &Context<'_>, handled: Handled, phase: Phase, plan: &mut Builder) {
    if handled.is_nothing() {
        return;
    }
    plan.step(phase, "be restricted to the Landlock rules", context.origin("landlock"))
        .op(Op::LandlockRestrict { ruleset: role::RULESET })
        .op(Op::Close { file: role::RULESET });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Facts;
    use crate::report::{Outcome, Report};
    use crate::spec::{FileAccess, PathRule};

    fn report(version: u64, change: impl Fn(&mut Spec)) -> Result<Report> {
        let mut spec = Spec { command: vec!["true".into()], ..Spec::default() };
        change(&mut spec);
        let mut facts = Facts::example(&spec);
        facts.landlock = version;
        Ok(crate::compile(&spec, &facts)?.report().clone())
    }

    fn all(want: Want) -> impl Fn(&mut Spec) {
        move |spec| {
            let rules = &mut spec.landlock;
            (rules.files, rules.tcp, rules.signals, rules.abstract_sockets) = (want, want, want, Some(want));
        }
    }

    const ITEMS: [&str; 4] = ["landlock files", "landlock tcp", "landlock sockets", "landlock signals"];

    #[test]
    fn row_107_every_version_has_its_outcome() {
        for (version, expected) in [
            (0, ["not", "not", "not", "not"]),
            (1, ["partly", "not", "not", "not"]),
            (3, ["partly", "not", "not", "not"]),
            (4, ["partly", "fully", "not", "not"]),
            (5, ["fully", "fully", "not", "not"]),
            (6, ["fully", "fully", "fully", "fully"]),
            (99, ["fully", "fully", "fully", "fully"]),
        ] {
            let report = report(version, all(Want::IfSupported)).unwrap();
            let found = ITEMS.map(|item| match report.of(item) {
                Some(Outcome::Applied(text) | Outcome::Unsupported(text)) => {
                    text.split([':', ' ']).next().unwrap().to_owned()
                }
                other => panic!("{item}: {other:?}"),
            });
            assert_eq!(found, expected, "version {version}");
        }
    }

    #[test]
    fn what_is_required_is_had_whole_or_refused() {
        for version in 0..6 {
            let error = report(version, all(Want::Require)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
        }
        let error = report(4, all(Want::Require)).unwrap_err().to_string();
        assert!(error.contains("landlock files is required: version 4") && error.contains("ioctl-dev"), "{error}");
        assert!(report(6, all(Want::Require)).is_ok());
    }

    #[test]
    fn rules_that_nothing_enforces_are_refused() {
        let rule = || vec![PathRule::new("/usr", [FileAccess::Read])];
        type Change = Box<dyn Fn(&mut Spec)>;
        let bad: [Change; 5] = [
            Box::new(move |spec| spec.landlock.paths = rule()),
            Box::new(|spec| spec.landlock.bind = [1].into()),
            Box::new(|spec| (spec.landlock.signals, spec.no_new_privileges) = (Want::Require, false)),
            Box::new(|spec| {
                (spec.landlock.files, spec.landlock.paths) = (Want::Require, vec![PathRule::new("/usr", [])]);
            }),
            Box::new(|spec| {
                (spec.landlock.files, spec.landlock.paths) =
                    (Want::Require, vec![PathRule::new("/a/../b", [FileAccess::Read])]);
            }),
        ];
        for change in bad {
            assert_eq!(report(6, change).unwrap_err().kind(), ErrorKind::InvalidSpec);
        }
    }

    #[test]
    fn abstract_sockets_are_kept_where_the_network_is_the_hosts() {
        let sockets =
            |version, change: fn(&mut Spec)| report(version, change).unwrap().of("landlock sockets").cloned().unwrap();
        assert!(matches!(sockets(6, |_| ()), Outcome::Off(_)));
        assert!(matches!(sockets(6, |spec| spec.network = Network::Host), Outcome::Applied(_)));
        assert!(matches!(sockets(5, |spec| spec.network = Network::Host), Outcome::Unsupported(_)));
        let weak = |spec: &mut Spec| (spec.network, spec.no_new_privileges) = (Network::Host, false);
        assert!(matches!(sockets(6, weak), Outcome::Off(_)));
    }
}
