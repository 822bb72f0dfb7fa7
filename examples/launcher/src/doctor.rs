//! `skep doctor`: what this host allows to this user, and what to do about the
//! rest.
//!
//! Decisive is what happens, not what a file says: whatever can be tried with a
//! container that ends at once, is tried.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;
use skep::facts::CgroupLayout;
use skep::spec::{CpuLimit, Spec, UserNamespace, Volatile};
use skep::sys::abi::landlock;
use skep::sys::{Kernel, Linux, Op, OwnedSlots, Slot};
use skep::{Command, Escaped, Facts};

use crate::message::{Failure, Paint, halves, print, quoted};
use crate::typed::Typed;

/// How a check came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Ok,
    /// Something does not work that a container can do without.
    Warning,
    /// No strict container without it.
    Missing,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Missing => "missing",
        }
    }

    /// As a column of the table.
    fn shown(self, paint: Paint) -> String {
        let text = format!("{:<8}", self.word());
        match self {
            Self::Ok => paint.good(text),
            Self::Warning => paint.doubtful(text),
            Self::Missing => paint.bad(text),
        }
    }
}

/// One row of the table.
struct Check {
    name: &'static str,
    state: State,
    detail: String,
    remedy: Option<String>,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, state: State::Ok, detail: detail.into(), remedy: None }
    }

    fn warning(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, state: State::Warning, detail: detail.into(), remedy: Some(remedy.into()) }
    }

    /// Something did not start: what the library advises, or else `remedy`.
    fn refused(name: &'static str, state: State, why: Refusal, remedy: &str) -> Self {
        let remedy = why.remedy.unwrap_or_else(|| remedy.to_owned());
        Self { name, state, detail: why.what, remedy: Some(remedy) }
    }

    fn missing(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state: State::Missing, ..Self::warning(name, detail, remedy) }
    }
}

/// Runs the verb.
pub(crate) fn run(typed: &Typed) -> Result<ExitCode, Failure> {
    if let Some(word) = typed.words.first() {
        return Err(Failure::new(format!("{}: skep doctor takes no arguments; see skep doctor --help", quoted(word))));
    }
    let mut limited = Spec::default();
    // So that the cgroups of v1 are looked at.
    limited.resources.pids = Some(1);
    let mut facts = Facts::gather(&limited)?;
    if !facts.privileged() {
        // Looked at only for a Spec that asks for them.
        let mut spec = Spec::default();
        spec.user_namespace = UserNamespace::Subordinate;
        let ranges = Facts::gather(&spec)?;
        (facts.subuid, facts.subgid) = (ranges.subuid, ranges.subgid);
        facts.id_map_helpers = ranges.id_map_helpers;
    }
    let strict = strict(&facts);
    let can_start = strict.state == State::Ok;
    let mut checks = vec![strict, kernel(&facts)];
    checks.extend(features(&facts));
    checks.extend([user_namespaces(&facts), memfd(noexec()), subordinate(&facts, can_start), overlay(can_start)]);
    checks.extend(limits(&facts, can_start));
    checks.extend([keyrings(&facts), seccomp(), landlock_version()]);
    let cannot: &[&str] = if facts.privileged() { &[] } else { CANNOT };
    if typed.json {
        let rows: Vec<_> = checks
            .iter()
            .map(|check| json!({ "check": check.name, "state": check.state.word(), "detail": check.detail, "remedy": check.remedy }))
            .collect();
        print(format_args!("{:#}\n", json!({ "strict": can_start, "checks": rows, "cannot": cannot })))?;
    } else {
        print(table(&checks, cannot, can_start, Paint::stdout()))?;
    }
    Ok(if can_start { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn table(checks: &[Check], cannot: &[&str], can_start: bool, paint: Paint) -> String {
    let mut text = String::new();
    for check in checks {
        let state = check.state.shown(paint);
        let _ = writeln!(text, "{state} {:<26} {}", check.name, Escaped::new(&check.detail));
        if let Some(remedy) = &check.remedy {
            let _ = writeln!(text, "{:<8} {:<26} → {}", "", "", Escaped::new(remedy));
        }
    }
    if !cannot.is_empty() {
        text.push_str("\nAs an ordinary user you cannot, whatever the host allows:\n");
        for line in cannot {
            let _ = writeln!(text, "  - {line}");
        }
    }
    text.push_str(if can_start {
        "\nA strict container can be started here.\n"
    } else {
        "\nNo strict container can be started here; the rows marked `missing` say why.\n"
    });
    text
}

/// What the kernel refuses to a process that is not root outside.
const CANNOT: &[&str] = &[
    "map ids of a host file system's bind (the kernel refuses id-mapped mounts of it): files keep their owners",
    "make device nodes: /dev is bound from the host's",
    "map a range of ids that /etc/subuid does not give you: --private-users=pick, identity or BASE:COUNT",
    "run without a user namespace: --private-users=no",
    "mount disk images",
    "make or own networks on the host: --network=none or host is what there is",
    "set memory, cpu or pids limits in a cgroup that was not delegated to you",
];

/// Why a container did not start, or failed.
struct Refusal {
    what: String,
    remedy: Option<String>,
}

impl Refusal {
    /// With what it is about, before it.
    fn of(mut self, subject: &str) -> Self {
        self.what = format!("{subject}: {}", self.what);
        self
    }
}

/// Starts `true` in a container, and tells how long that took.
fn start(change: impl FnOnce(&mut Spec)) -> Result<Duration, Refusal> {
    let mut command = Command::new("true");
    command.deadline(Duration::from_secs(10));
    change(command.spec_mut());
    let begin = Instant::now();
    match command.status() {
        Ok(status) if status.success() => Ok(begin.elapsed()),
        Ok(status) => Err(Refusal { what: format!("`true` ended with {status}"), remedy: None }),
        Err(error) => {
            let (what, remedy) = halves(&error);
            Err(Refusal { what, remedy })
        }
    }
}

fn strict(facts: &Facts) -> Check {
    let name = "strict container";
    let who = if facts.privileged() { "with privileges" } else { "without privileges" };
    match start(|_| ()) {
        Ok(took) => Check::ok(
            name,
            format!("uid {}, {who}: started and ended in {:.1} ms", facts.uid, took.as_secs_f64() * 1000.0),
        ),
        Err(error) => {
            let why = error.of(&format!("uid {}, {who}", facts.uid));
            Check::refused(name, State::Missing, why, "the rows below name the cause")
        }
    }
}

/// The oldest kernel that a strict container can be started on.
const FLOOR: (u32, u32) = (5, 15);

fn kernel(facts: &Facts) -> Check {
    let (major, minor) = facts.kernel;
    if facts.kernel >= FLOOR {
        Check::ok("kernel", format!("Linux {major}.{minor}; {}.{} or newer is needed", FLOOR.0, FLOOR.1))
    } else {
        Check::missing(
            "kernel",
            format!("Linux {major}.{minor}"),
            format!("use Linux {}.{} or newer", FLOOR.0, FLOOR.1),
        )
    }
}

/// A feature, its first kernel, and what is so without it.
const FEATURES: &[(&str, (u32, u32), &str)] = &[
    ("id-mapped overlay", (5, 19), "root cannot combine -x (ephemeral) with a range of ids"),
    ("user xattrs on tmpfs", (6, 6), "programs cannot keep user. attributes on a tmpfs"),
    ("mounts into detached trees", (6, 15), "the root is attached first; nothing else differs"),
    (
        "status of a reaped process",
        (6, 15),
        "a host program that reaps all its children loses the status, unless a stub init runs",
    ),
];

fn features(facts: &Facts) -> impl Iterator<Item = Check> {
    let kernel = facts.kernel;
    FEATURES.iter().map(move |(name, (major, minor), without)| {
        if kernel >= (*major, *minor) {
            Check::ok(name, format!("since Linux {major}.{minor}"))
        } else {
            Check::warning(name, format!("needs Linux {major}.{minor}"), format!("without it: {without}"))
        }
    })
}

fn user_namespaces(facts: &Facts) -> Check {
    let name = "user namespaces";
    if facts.max_user_namespaces == 0 {
        return Check::missing(
            name,
            "switched off: user.max_user_namespaces is 0",
            "sysctl user.max_user_namespaces=10000",
        );
    }
    match facts.restricted_by {
        Some(sysctl) if !facts.privileged() => {
            let value = u8::from(!sysctl.contains("apparmor"));
            let remedy = format!("sysctl {sysctl}={value}, or an AppArmor profile with `userns,` for this program");
            Check::missing(name, format!("refused to ordinary users by {sysctl}"), remedy)
        }
        _ => Check::ok(name, format!("allowed, up to {}", facts.max_user_namespaces)),
    }
}

/// `vm.memfd_noexec` (kernel `admin-guide/sysctl/vm.rst`); 0 before Linux 6.3.
fn noexec() -> u8 {
    let value = std::fs::read_to_string("/proc/sys/vm/memfd_noexec").unwrap_or_default();
    value.trim().parse().unwrap_or(0)
}

fn memfd(noexec: u8) -> Check {
    let name = "executable memfds";
    match noexec {
        2 => Check::missing(name, "vm.memfd_noexec is 2", "sysctl vm.memfd_noexec=1"),
        _ => Check::ok(name, "allowed"),
    }
}

fn subordinate(facts: &Facts, can_start: bool) -> Check {
    let name = "range of ids";
    if facts.privileged() {
        let picked = match facts.free_range {
            Some(range) => format!("a free one is picked, such as {}+{}", range.base, range.count),
            None if !facts.has_every_id() => "none is free in this user namespace: your own id is mapped".to_owned(),
            None => {
                return Check::missing(name, "none is free", "end containers, or name a range: --private-users=BASE");
            }
        };
        if !facts.range_lock && facts.has_every_id() {
            let remedy = "the lock is a file in /run: be uid 0 with a /run that can be written, such as a tmpfs";
            return Check::missing(name, "no range can be kept from other containers", remedy);
        }
        return Check::ok(name, picked);
    }
    let (Some(uids), Some(gids)) = (facts.subuid, facts.subgid) else {
        let remedy = "only your own id can be mapped (the default); for more: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 NAME";
        return Check::warning(name, "/etc/subuid and /etc/subgid give you none", remedy);
    };
    if facts.id_map_helpers.is_none() {
        return Check::warning(
            name,
            "newuidmap and newgidmap are not installed",
            "install them (Debian: package uidmap)",
        );
    }
    let ranges = format!("uids {}+{}, gids {}+{}", uids.base, uids.count, gids.base, gids.count);
    match start(|spec| spec.user_namespace = UserNamespace::Subordinate) {
        Ok(_) => Check::ok(name, format!("{ranges}, by --private-users=subordinate")),
        Err(error) if can_start => {
            let remedy = "check the set-user-id bit of newuidmap, and both files";
            Check::refused(name, State::Warning, error.of(&ranges), remedy)
        }
        Err(_) => Check::warning(name, ranges, "not tried, as no container can be started"),
    }
}

fn overlay(can_start: bool) -> Check {
    let name = "ephemeral root (-x)";
    if !can_start {
        return Check::warning(name, "not tried", "no container can be started");
    }
    let changed = |spec: &mut Spec| {
        let root = &mut spec.root;
        (root.path, root.volatile, root.ephemeral) = ("/".into(), Volatile::No, true);
    };
    match start(changed) {
        Ok(_) => Check::ok(name, "the host's own root, with changes in memory"),
        Err(error) => Check::refused(
            name,
            State::Warning,
            error,
            "the kernel needs overlayfs in user namespaces (5.11), and its module loaded; --volatile=yes needs neither",
        ),
    }
}

fn limits(facts: &Facts, can_start: bool) -> Vec<Check> {
    let cgroups = &facts.cgroups;
    let layout = match cgroups.layout {
        CgroupLayout::None => {
            Check::warning("cgroups", "no cgroup file system is mounted", "mount cgroup2 on /sys/fs/cgroup")
        }
        CgroupLayout::Legacy => Check::ok("cgroups", "v1"),
        CgroupLayout::Hybrid => Check::ok("cgroups", "hybrid: v1 for the controllers, v2 beside them"),
        CgroupLayout::Unified => match cgroups.unified.iter().find(|group| group.writable) {
            Some(group) => Check::ok("cgroups", format!("v2; groups can be made below {}", group.path.display())),
            None => Check::warning(
                "cgroups",
                "v2, and no group that this user may use",
                "start in a delegated one: systemd-run --user --scope -p Delegate=yes skep …",
            ),
        },
        _ => Check::ok("cgroups", "of a kind that this program does not know"),
    };
    type Change = fn(&mut Spec);
    let tries: [(&str, Change); 3] = [
        ("limit --memory=", |spec| spec.resources.memory = Some(64 << 20)),
        ("limit --cpus=", |spec| spec.resources.cpu = Some(CpuLimit { quota: 100_000, period: 100_000 })),
        ("limit --pids=", |spec| spec.resources.pids = Some(64)),
    ];
    let rows = tries.into_iter().map(|(name, change)| {
        if !can_start {
            return Check::warning(name, "not tried", "no container can be started");
        }
        match start(change) {
            Ok(_) => Check::ok(name, "can be set"),
            Err(error) => {
                let remedy = "containers start without it; a start that asks for it fails";
                Check::refused(name, State::Warning, error, remedy)
            }
        }
    });
    std::iter::once(layout).chain(rows).collect()
}

fn keyrings(facts: &Facts) -> Check {
    if facts.keyrings {
        Check::ok("keyrings", "each container has a session keyring of its own")
    } else {
        Check::ok("keyrings", "the kernel has none, or a filter keeps them from this program, and from its containers")
    }
}

fn seccomp() -> Check {
    let actions = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    if actions.split_whitespace().any(|action| action == "errno") {
        Check::ok("seccomp", format!("actions: {}", actions.trim()))
    } else {
        Check::missing("seccomp", "the kernel has no system-call filters", "use a kernel with CONFIG_SECCOMP_FILTER")
    }
}

fn landlock_version() -> Check {
    let mut slots = OwnedSlots::new(1);
    let asked = Linux::new().call(&Op::LandlockVersion { into: Slot(0) }, &mut slots.slots());
    match asked.map(|()| slots.value(Slot(0)).unwrap_or(0)) {
        Ok(version) if version >= landlock::SCOPES => Check::ok("landlock", format!("version {version}")),
        Ok(version) => Check::warning(
            "landlock",
            format!("version {version}, without scopes"),
            "with the host's network its abstract sockets can be reached (Linux 6.12 keeps them)",
        ),
        Err(errno) => {
            let lsm = if Path::new("/sys/kernel/security/lsm").exists() {
                "; /sys/kernel/security/lsm lists what is on"
            } else {
                ""
            };
            Check::warning(
                "landlock",
                format!("{errno}{lsm}"),
                "boot with `landlock` among lsm=: without, `--landlock=` is refused",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordinary() -> Facts {
        Facts::example(&Spec::default())
    }

    #[test]
    fn restrictions_are_named_with_their_remedy() {
        let mut facts = ordinary();
        assert_eq!(user_namespaces(&facts).state, State::Ok);
        facts.restricted_by = Some("kernel.unprivileged_userns_clone");
        let check = user_namespaces(&facts);
        assert_eq!(
            (check.state, check.remedy.as_deref().map(|text| text.contains("clone=1"))),
            (State::Missing, Some(true))
        );
        facts.max_user_namespaces = 0;
        assert!(user_namespaces(&facts).detail.contains("max_user_namespaces"));
        assert_eq!([0, 1, 2].map(|noexec| memfd(noexec).state), [State::Ok, State::Ok, State::Missing]);
    }

    #[test]
    fn floors() {
        let mut facts = ordinary();
        let warnings = |facts: &Facts| features(facts).filter(|check| check.state == State::Warning).count();
        for (kernel, state, expected) in [
            ((5, 14), State::Missing, 4),
            ((5, 15), State::Ok, 4),
            ((6, 1), State::Ok, 3),
            ((6, 12), State::Ok, 2),
            ((6, 18), State::Ok, 0),
        ] {
            facts.kernel = kernel;
            assert_eq!((super::kernel(&facts).state, warnings(&facts)), (state, expected), "{kernel:?}");
        }
    }

    #[test]
    fn no_range_is_a_warning_only() {
        let mut facts = ordinary();
        facts.subuid = None;
        assert_eq!(subordinate(&facts, true).state, State::Warning);
        facts.id_map_helpers = None;
        assert_eq!(subordinate(&facts, true).state, State::Warning);
    }

    #[test]
    fn every_row_but_a_good_one_has_a_remedy() {
        let checks = [Check::ok("a", "b\n"), Check::warning("c", "d", "e"), Check::missing("f", "g", "h")];
        let text = table(&checks, CANNOT, false, Paint::stdout());
        assert_eq!(text.matches('→').count(), 2);
        assert!(text.contains("b\\n"), "escaped: {text}");
    }
}
