//! What the tests on a real kernel share.
//!
//! A test that cannot run here says so on standard error, with the reason, and
//! is counted by whoever reads the lines that start with `SKIP`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use skep::seccomp::Arch;
use skep::spec::{Init, User};
use skep::{Command, ErrorKind, Output};

/// A test's turn: one at a time in a process, for several compare what the
/// whole process and the host have before and after.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A turn, if a strict container can be started here; else says why not.
pub fn turn_to_start() -> Option<MutexGuard<'static, ()>> {
    let turn = turn();
    match able() {
        Ok(()) => Some(turn),
        Err(reason) => {
            skip(&reason);
            None
        }
    }
}

/// Runs a test in a thread with a network of its own, which ends with it; its `lo` is up.
pub fn apart(test: impl FnOnce() + Send + 'static) {
    if !is_root() {
        return skip("only root gives containers interfaces");
    }
    if Process::new("ip").arg("-V").output().is_err() {
        return skip("ip(8) is not installed");
    }
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let ran = std::thread::Builder::new().name(name).spawn(|| {
        if let Err(errno) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
            return skip(&format!("no network namespace can be made: {errno}"));
        }
        ip("link set lo up");
        test();
    });
    if let Err(panic) = ran.unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}

/// Gives this thread, which a test has for itself, mounts of its own: others that run on
/// the host at the same time change nothing of them. They are shared with one another, as
/// a host's are. Read them in `/proc/thread-self`. Nothing where that is not allowed.
pub fn own_mounts() {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    if nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).is_err() {
        return;
    }
    let spread = |how| mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | how, None::<&str>).unwrap();
    spread(MsFlags::MS_PRIVATE);
    // Copies of other machines' would go when theirs do, with the directory.
    let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let theirs = |point: &&str| ["/run/systemd/nspawn/", "/tmp/", "/var/tmp/"].iter().any(|top| point.starts_with(top));
    for point in mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(theirs) {
        let _ = umount2(point, MntFlags::MNT_DETACH);
    }
    spread(MsFlags::MS_SHARED);
}

/// What `ip(8)` says in this thread's network.
pub fn ip(words: &str) -> String {
    let output = Process::new("ip").args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Whether a strict container can be started here, and why not.
///
/// # Panics
///
/// Where one cannot, though the host lets `unshare(1)` do the like: that is a
/// fault, and no reason to skip a test.
pub fn able() -> Result<(), String> {
    static ABLE: OnceLock<Result<(), String>> = OnceLock::new();
    let looked = ABLE.get_or_init(|| {
        let Err(error) = Command::new("true").status() else { return Ok(()) };
        // Said before anything was done.
        let refused = matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::NotPermitted);
        if !(refused && error.errno().is_none()) {
            assert!(!others_can(), "unshare(1) can make namespaces here, and Skep cannot start a container: {error}");
        }
        Err(error.to_string())
    });
    looked.clone()
}

/// Whether another program is let make the namespaces of a container, and mount in them.
fn others_can() -> bool {
    let kinds = ["--user", "--map-root-user", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"];
    let made = Process::new("unshare").args(kinds).args(["--fork", "--mount-proc", "true"]).output();
    made.is_ok_and(|output| output.status.success()) && supported()
}

/// Whether the kernel is one of those that Skep supports: 5.15 and newer.
fn supported() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse().unwrap_or(0_u32));
    (numbers.next(), numbers.next()) >= (Some(5), Some(15))
}

/// Says that a test did not run, and why.
pub fn skip(reason: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    // Not through `eprintln`, which the harness swallows when a test passes.
    let _ = writeln!(std::io::stderr(), "SKIP {name}: {reason}");
}

/// Whether this is root with the capabilities of root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A user of this host that has a group of its own and a home, and its id.
pub fn ordinary_user() -> Option<(String, u32)> {
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    std::fs::read_to_string("/etc/passwd").ok()?.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let (name, uid, gid) = (fields.first()?, fields.get(2)?.parse().ok()?, fields.get(3)?);
        let own = |line: &str| line.starts_with(&format!("{name}:")) && line.split(':').nth(2) == Some(gid);
        let fits = groups.lines().any(own) && (1000..60_000).contains(&uid) && Path::new(fields.get(5)?).is_dir();
        fits.then(|| ((*name).to_owned(), uid))
    })
}

/// Runs a shell script in a strict container and gives its output, checked.
pub fn shell(script: &str) -> String {
    run(Command::new("sh").arg("-c").arg(script))
}

/// Runs a container and gives its standard output; panics with its error output.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("start: {error}"));
    checked(output)
}

/// The output of a container that must have ended well.
pub fn checked(output: Output) -> String {
    assert!(
        output.status.success(),
        "{}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a shell script prints in each kind of process that the guarantees of a
/// strict container are about, and which kind that is.
pub fn everywhere(script: &str) -> Vec<(&'static str, String)> {
    everywhere_with(script, |_| ())
}

/// The same of containers that differ from the strict one in something.
pub fn everywhere_with(script: &str, change: impl Fn(&mut Command)) -> Vec<(&'static str, String)> {
    let of = |init, program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).init(init);
        change(&mut command);
        command
    };
    let shell = ["-c", script];
    let mut other = of(Init::Stub, "sh", &shell);
    other.user(User::Ids { uid: 1000, gid: 1000 });
    let mut said = vec![
        ("payload", run(&mut of(Init::Stub, "sh", &shell))),
        ("payload as process 1", run(&mut of(Init::Payload, "sh", &shell))),
        ("payload of another user", run(&mut other)),
    ];
    for (init, place) in [(Init::Stub, "further process"), (Init::Payload, "further process without a stub init")] {
        let container = of(init, "sleep", &["1000"]).spawn().unwrap_or_else(|error| panic!("start: {error}"));
        let output = container.exec("sh").args(shell).output().unwrap_or_else(|error| panic!("exec: {error}"));
        said.push((place, checked(output)));
    }
    said
}

/// A shell command that makes system calls by perl, and prints for each `ok`, or
/// the number of its error. Calls that this machine does not have are left out.
pub fn calls(calls: &[(&str, &[u64])]) -> String {
    let made = calls.iter().filter_map(|(name, arguments)| {
        let number = Arch::NATIVE.number(name)?;
        let arguments: String = arguments.iter().map(|argument| format!(", {argument}")).collect();
        Some(format!("$r = syscall({number}{arguments}); print \"{name} \", $r < 0 ? $!+0 : \"ok\", \"\\n\";"))
    });
    format!("perl -e '{}'", made.collect::<String>())
}

/// The value of a line of `/proc/PID/status`.
pub fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default().trim()
}

/// A directory of its own, removed at the end.
pub struct Scratch(PathBuf);

/// Lets this user look into every directory below: overlayfs leaves one of mode 0
/// in its work directory.
fn open_up(directory: &Path) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    let _ = std::fs::set_permissions(directory, mode);
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

impl Scratch {
    /// Makes one, readable for every user.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("skep-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file below it, with its directories.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).unwrap_or_else(|error| panic!("{}: {error}", parent.display()));
        }
        std::fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Makes a directory below it.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Makes a symbolic link below it.
    pub fn link(&self, name: &str, target: &str) {
        let path = self.0.join(name);
        std::os::unix::fs::symlink(target, &path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// A small root file system: the host's /usr as a mount point to bind on,
    /// with the links and directories that programs expect.
    pub fn tree(&self) -> PathBuf {
        let root = self.directory("root");
        for name in ["usr", "etc", "proc", "sys", "dev", "tmp", "run", "var", "root", "srv"] {
            self.directory(&format!("root/{name}"));
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            if Path::new("/").join(name).is_symlink() {
                self.link(&format!("root/{name}"), &format!("usr/{name}"));
            }
        }
        root
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::fs::remove_dir_all(&self.0).is_err() {
            open_up(&self.0);
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// What the host has that a start could leave behind.
#[derive(PartialEq, Eq, Debug)]
pub struct HostState {
    whose: Whose,
    mounts: String,
    cgroups: BTreeSet<PathBuf>,
    interfaces: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
    descriptors: usize,
    children: BTreeSet<String>,
}

/// What is looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Whose {
    /// All that is Skep's; so also what tests beside this one make.
    Everybodys,
    /// What has this in its name, and descendants of this process.
    Named(String),
}

impl Whose {
    fn has(&self, path: &Path) -> bool {
        match self {
            Self::Everybodys => true,
            Self::Named(mark) => path.file_name().is_some_and(|name| name.to_string_lossy().contains(mark)),
        }
    }
}

impl HostState {
    /// Looks.
    pub fn look() -> Self {
        Self::of(Whose::Everybodys)
    }

    /// Looks at what has `mark` in its name (containers must have it in theirs), and at
    /// descendants of this process. Those whose parent ends become its children from here
    /// on, so that it is not for tests that look at its children themselves.
    pub fn marked(mark: &str) -> Self {
        nix::sys::prctl::set_child_subreaper(true).unwrap();
        Self::of(Whose::Named(mark.to_owned()))
    }

    /// Looks again.
    pub fn again(&self) -> Self {
        Self::of(self.whose.clone())
    }

    fn of(whose: Whose) -> Self {
        let mut mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        if let Whose::Named(mark) = &whose {
            mounts = mounts.lines().filter(|line| line.contains(mark.as_str())).collect::<Vec<_>>().join("\n");
        }
        let named = |paths: BTreeSet<PathBuf>| paths.into_iter().filter(|path| whose.has(path)).collect();
        Self {
            mounts,
            cgroups: named(cgroups()),
            interfaces: named(entries(Path::new("/sys/class/net"))),
            files: named(files()),
            descriptors: descriptors(),
            children: children(&whose),
            whose,
        }
    }

    /// Looks until there is nothing more than there was, for at most two
    /// seconds: a watcher that was told to go needs a moment. What others of
    /// before have cleared up meanwhile may be gone.
    #[track_caller]
    pub fn assert_unchanged(&self) {
        let mut now = self.again();
        for _ in 0..200 {
            if now.adds_nothing_to(self) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
            now = self.again();
        }
        assert_eq!(self.mounts, now.mounts, "mounts");
        assert!(now.cgroups.is_subset(&self.cgroups), "cgroups: {:?} then {:?}", self.cgroups, now.cgroups);
        assert!(now.interfaces.is_subset(&self.interfaces), "{:?} then {:?}", self.interfaces, now.interfaces);
        assert!(now.files.is_subset(&self.files), "files: {:?} then {:?}", self.files, now.files);
        assert!(now.children.is_subset(&self.children), "processes: {:?} then {:?}", self.children, now.children);
        assert!(now.descriptors <= self.descriptors, "descriptors: {} then {}", self.descriptors, now.descriptors);
    }

    /// Its cgroups that another has not.
    pub fn cgroups_beside(&self, other: &Self) -> Vec<PathBuf> {
        self.cgroups.difference(&other.cgroups).cloned().collect()
    }

    /// Its processes that are Skep's and that another has not.
    pub fn processes_beside(&self, other: &Self) -> Vec<i32> {
        self.children.difference(&other.children).filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Whether there is nothing more now than there was, except files that the
    /// next start, or `skep::gc`, removes.
    pub fn is_unchanged_but_for_files(&self) -> bool {
        let mut now = self.again();
        now.files.clear();
        now.adds_nothing_to(self)
    }

    fn adds_nothing_to(&self, before: &Self) -> bool {
        self.mounts == before.mounts
            && self.cgroups.is_subset(&before.cgroups)
            && self.interfaces.is_subset(&before.interfaces)
            && self.files.is_subset(&before.files)
            && self.children.is_subset(&before.children)
            && self.descriptors <= before.descriptors
    }
}

/// How many descriptors this process has.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

fn entries(directory: &Path) -> BTreeSet<PathBuf> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// What a start makes outside of memory: an entry of the registry, the file of
/// the locks on ids, directories that bear a machine's name.
fn files() -> BTreeSet<PathBuf> {
    let mut found = entries(Path::new("/run/skep"));
    found.extend(std::env::var_os("XDG_RUNTIME_DIR").iter().flat_map(|base| entries(&Path::new(base).join("skep"))));
    let named = ["/run/systemd/nspawn", "/run/systemd/nspawn/propagate"].into_iter();
    let shared = |path: &PathBuf| path.ends_with("propagate") || path.ends_with("locks");
    found.extend(named.flat_map(|directory| entries(Path::new(directory))).filter(|path| !shared(path)));
    found.extend(Some(PathBuf::from("/run/skep-ids")).filter(|path| path.exists()));
    found
}

/// Names of cgroups that are ours.
fn cgroups() -> BTreeSet<PathBuf> {
    fn walk(directory: &Path, depth: usize, found: &mut BTreeSet<PathBuf>) {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().starts_with("skep-") {
                    found.insert(entry.path());
                } else if depth > 0 {
                    walk(&entry.path(), depth - 1, found);
                }
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(Path::new("/sys/fs/cgroup"), 6, &mut found);
    found
}

/// The number of a process's parent.
fn parent_of(pid: &str) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.to_owned())
}

/// Processes that are Skep's.
fn children(whose: &Whose) -> BTreeSet<String> {
    let own = std::process::id().to_string();
    let descends = |pid: &String| {
        let mut above = Some(pid.clone());
        while let Some(pid) = above.filter(|pid| pid != "0") {
            if pid == own {
                return true;
            }
            above = parent_of(&pid);
        }
        false
    };
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid =
                entry.file_name().into_string().ok().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            line.starts_with(b"skep-init").then_some(pid)
        })
        .filter(|pid| *whose == Whose::Everybodys || descends(pid))
        .collect()
}

/// Whether a program of the host can be used, for comparison.
pub fn has(program: &str) -> bool {
    Process::new(program).arg("--version").output().is_ok()
}

/// The Rust blocks of the README and of the guide, as documentation tests.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../guide/src/embedding.md")]
    struct Embedding;
    #[doc = include_str!("../../guide/src/files.md")]
    struct Files;
    #[doc = include_str!("../../guide/src/hardening.md")]
    struct Hardening;
    #[doc = include_str!("../../guide/src/introduction.md")]
    struct Introduction;
    #[doc = include_str!("../../guide/src/limits.md")]
    struct Limits;
    #[doc = include_str!("../../guide/src/native.md")]
    struct Native;
    #[doc = include_str!("../../guide/src/networking.md")]
    struct Networking;
    #[doc = include_str!("../../guide/src/running.md")]
    struct Running;
    #[doc = include_str!("../../guide/src/terminal.md")]
    struct Terminal;
    #[doc = include_str!("../../guide/src/testing.md")]
    struct Testing;
    #[doc = include_str!("../../guide/src/tour.md")]
    struct Tour;
}
