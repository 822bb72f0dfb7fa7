//! `--forward-journal=`: the machine's journal, as its systemd-journald(8) sends it (since
//! 256), in a file or directory of the host.
//!
//! systemd-journal-remote(8) writes it. As that reads what the machine says, it runs in a
//! container of its own, with no capability and no network; of the host it sees /usr and
//! the journal's directory. Its socket has a name on the host only until the machine has
//! its mount.

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File, Metadata, Permissions};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::pipe2;
use skep::spec::{Bind, HostName, Init, Mount, MountKind, Origin, Readiness, Secret, UserNamespace};
use skep::{Command, Container, Escaped, Spec};

use crate::events::Events;
use crate::log;
use crate::meaning::Here;
use crate::message::{Failure, because, quoted};

const OPTION: &str = "--forward-journal=";
const PROGRAM: &str = "systemd-journal-remote";
/// Where it is, if not in $PATH.
const PLACES: [&str; 2] = ["/usr/lib/systemd", "/lib/systemd"];
/// Where systemd-journald looks for the socket, and how it is told (journald.conf(5),
/// `ForwardToSocket=`).
const SOCKET: &str = "/run/host/journal/socket";
const CREDENTIAL: &str = "journal.forward_to_socket";
/// The journal's directory, and the receiver's configuration, where it sees them.
const OUTPUT: &str = "/journal";
const CONFIGURATION: &str = "/etc/systemd/journal-remote.conf";
/// The first that knows limits there.
const KNOWS_LIMITS: u32 = 253;
/// How long it may take to begin, and to write down what was sent.
const BEGIN: Duration = Duration::from_secs(20);
const DRAIN: Duration = Duration::from_secs(20);
/// As many as the kernel follows (path_resolution(7)).
const LINKS: u32 = 40;

/// What was typed of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// A file whose name ends in `.journal`, or a directory.
    pub(crate) path: Option<PathBuf>,
    /// Keys of `journal-remote.conf(5)`, each with its option.
    limits: Vec<(&'static str, &'static str, u64)>,
}

impl Wanted {
    pub(crate) fn limit(&mut self, key: &'static str, option: &'static str, value: u64) {
        self.limits.retain(|(known, _, _)| *known != key);
        self.limits.push((key, option, value));
    }

    fn configuration(&self) -> String {
        let lines = self.limits.iter().map(|(key, _, value)| format!("{key}={value}\n"));
        std::iter::once("[Remote]\n".to_owned()).chain(lines).collect()
    }
}

/// The receiver of one machine's journal; dropped, it is stopped, and what it has made
/// for a machine that never ran is removed.
#[derive(Debug)]
pub(crate) struct Receiver {
    container: Container,
    /// What it complains of.
    said: File,
    socket: Option<Socket>,
    made: Vec<PathBuf>,
}

impl Receiver {
    /// Starts it, if it is asked for, and gives the machine the socket.
    pub(crate) fn start(wanted: &Wanted, spec: &mut Spec) -> Result<Option<Self>, Failure> {
        let Some(path) = &wanted.path else {
            return match wanted.limits.first() {
                Some((_, option, _)) => Err(Failure::new(format!(
                    "{option}: where the journal goes is not said; say it with {OPTION}, or leave the option out"
                ))),
                None => Ok(None),
            };
        };
        let path = Here::default().absolute(path)?;
        let program = program()?;
        if let Some((_, option, _)) = wanted.limits.first() {
            let version = version(&program)?;
            if version < KNOWS_LIMITS {
                return Err(Failure::new(format!(
                    "{option}: {} is of systemd {version}, and limits are known since {KNOWS_LIMITS}; leave the option out, or install a newer one",
                    quoted(&program)
                )));
            }
        }
        let mut made = Made::default();
        let (directory, output, split) = made.place(&path)?;
        let socket = Socket::new()?;
        let (said, complaints) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
            .map_err(|errno| Failure::new(format!("{OPTION}: make a pipe: {errno}; try again")))?;
        let mut command = confined(&program);
        command
            .args([OsStr::new("--output"), output.as_os_str(), OsStr::new(split)])
            .bind(directory, OUTPUT)
            .file(CONFIGURATION, wanted.configuration())
            // The machine has its id in what it sends; files have the host's.
            .bind_ro_try("/etc/machine-id", "/etc/machine-id")
            .env("SYSTEMD_LOG_LEVEL", "warning")
            .env("SYSTEMD_LOG_TARGET", "console")
            .init(Init::Payload)
            .readiness(Readiness::Notify)
            .stderr(complaints)
            .listen_fds([socket.listener.try_clone().map_err(|error| socket.failed(&error))?]);
        if let Some(name) = spec.machine.as_ref().and_then(|name| HostName::new(name.as_str()).ok()) {
            // A file of a directory is called so.
            command.hostname(name);
        }
        let container = command.spawn()?;
        // It has them.
        drop(command);
        let mut receiver =
            Self { container, said: File::from(said), socket: Some(socket), made: std::mem::take(&mut made.0) };
        receiver.begin(&program)?;
        receiver.give(spec);
        Ok(Some(receiver))
    }

    /// Waits until it says that it listens.
    fn begin(&mut self, program: &Path) -> Result<(), Failure> {
        let deadline = Instant::now() + BEGIN;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.container.notification(left)? {
                Some(said) if said.ready => return Ok(()),
                Some(_) => {}
                None => break,
            }
        }
        let how = match self.container.try_wait()? {
            Some(ended) => format!("ended at once: {ended}"),
            None => format!("does not listen after {} seconds", BEGIN.as_secs()),
        };
        let said = self.complaints().map_or_else(String::new, |said| format!(" ({said})"));
        Err(Failure::new(format!(
            "{OPTION}: {} {how}{said}; see that the journal's directory belongs to you, for it has no capabilities",
            quoted(program)
        )))
    }

    /// Has the machine find the socket.
    fn give(&self, spec: &mut Spec) {
        let Some(socket) = &self.socket else { return };
        let target = PathBuf::from(SOCKET);
        let origin = || Origin::Option(OPTION.to_owned());
        spec.origins.note(format!("mounts.{SOCKET}"), origin());
        spec.mounts.retain(|mount| mount.target != target);
        let mut bind = Bind::default();
        (bind.source, bind.recursive) = (socket.path(), false);
        spec.mounts.push(Mount { target, kind: MountKind::Bind(bind) });
        spec.credentials.entry(CREDENTIAL.to_owned()).or_insert_with(|| Secret::new(SOCKET));
        spec.origins.note(format!("credentials.{CREDENTIAL}"), origin());
    }

    /// The machine runs: the socket needs no name any more, and what was made stays.
    pub(crate) fn running(&mut self) {
        self.socket = None;
        self.made.clear();
    }

    /// The machine has ended: once all is written down, the receiver does too.
    pub(crate) fn end(mut self, events: &Events) {
        let why = match self.finish() {
            Ok(None) => None,
            Ok(Some(ended)) => Some(ended.to_string()),
            Err(error) => Some(error.to_string()),
        };
        let said = self.complaints();
        if why.is_some() || said.is_some() {
            let why = why.map_or_else(String::new, |why| format!(": {PROGRAM} ended: {why}"));
            let said = said.map_or_else(String::new, |said| format!(" ({said})"));
            events.warning(&format!("{OPTION}: the journal may not be whole{why}{said}"));
        }
    }

    /// How it failed, if it did.
    fn finish(&mut self) -> Result<Option<skep::ExitStatus>, skep::Error> {
        let deadline = Instant::now() + DRAIN;
        let mut before = None;
        while Instant::now() < deadline && self.container.try_wait()?.is_none() {
            // Asleep without having been awake meanwhile, it has read all that there is.
            let now = asleep(self.container.id());
            if now.is_some() && now == before {
                break;
            }
            before = now;
            std::thread::sleep(Duration::from_millis(20));
        }
        let early = self.container.try_wait()?;
        let ended = self.container.stop(DRAIN)?;
        Ok(early.or_else(|| (!ended.success()).then_some(ended)))
    }

    /// What it said, as one line.
    fn complaints(&mut self) -> Option<String> {
        let mut bytes = [0; 4096];
        // The pipe has no end while it runs, and nobody waits for one.
        let length = self.said.read(&mut bytes).unwrap_or(0);
        let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).take(3).collect();
        (!lines.is_empty()).then(|| Escaped::new(&lines.join("; ")).to_string())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if !self.made.is_empty() {
            let _ = self.container.kill(skep::sys::abi::signal::KILL);
            let _ = self.container.wait();
            drop(Made(std::mem::take(&mut self.made)));
        }
    }
}

/// How often a process that sleeps has gone to sleep; `None` where it does not.
fn asleep(pid: u32) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let of = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    of("State:").filter(|state| state.starts_with('S'))?;
    Some(format!("{} {}", of("voluntary_ctxt_switches:")?, of("nonvoluntary_ctxt_switches:")?))
}

/// Paths that were made; dropped, they are removed if nothing is in them.
#[derive(Debug, Default)]
struct Made(Vec<PathBuf>);

impl Made {
    /// The directory that the receiver writes to, what it is told of that, and into how
    /// many files.
    fn place(&mut self, path: &Path) -> Result<(PathBuf, OsString, &'static str), Failure> {
        let failed = |path: &Path, error: &std::io::Error, remedy: &str| {
            Failure::new(format!("{OPTION}: {}: {}; {remedy}", quoted(path), because(error)))
        };
        if path.extension().is_some_and(|ending| ending == "journal")
            && let (Some(parent), Some(name)) = (path.parent(), path.file_name())
        {
            let parent = held(parent, "make the directory first")?;
            if path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
                self.0.push(parent.join(name));
            }
            return Ok((parent, Path::new(OUTPUT).join(name).into_os_string(), "--split-mode=none"));
        }
        if path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound)
            && let (Some(parent), Some(name)) = (path.parent(), path.file_name())
        {
            let new = held(parent, "make the directory above it first")?.join(name);
            match DirBuilder::new().mode(0o750).create(&new) {
                Ok(()) => self.0.push(new),
                Err(error) => return Err(failed(path, &error, "see that it can be written")),
            }
        }
        Ok((held(path, "name a directory")?, OUTPUT.into(), "--split-mode=host"))
    }
}

/// A directory of this user's, through no link, on a way that nobody else can lead
/// elsewhere: each directory is root's or this user's, and so is each name in one that all
/// may write in, as in /tmp.
fn held(path: &Path, remedy: &str) -> Result<PathBuf, Failure> {
    let me = nix::unistd::geteuid().as_raw();
    let failed = |why: &dyn std::fmt::Display, remedy: &str| {
        Failure::new(format!("{OPTION}: {}: {why}; {remedy}", quoted(path)))
    };
    let owned = |at: &Path, found: &Metadata, also: u32| match found.uid() {
        owner if owner == me || owner == also => Ok(()),
        owner => {
            let why = format!("{} belongs to user {owner}, who can lead the journal elsewhere", quoted(at));
            Err(failed(&why, "name a directory that is only yours to change"))
        }
    };
    let open_to_all = |at: &Path| {
        let why = format!("everybody can write in {}", quoted(at));
        failed(&why, "name a directory that is only yours to change")
    };
    let names = |path: &Path| path.components().rev().map(|name| name.as_os_str().to_owned()).collect::<Vec<_>>();
    let (mut at, mut rest, mut links) = (PathBuf::from("/"), names(path), 0);
    loop {
        let found = at.symlink_metadata().map_err(|error| failed(&because(&error), remedy))?;
        if !found.is_dir() {
            let why = "neither a directory nor a file whose name ends in .journal";
            return Err(failed(&why, "name one of them"));
        }
        let (all, sticky) = (found.mode() & 0o002 != 0, found.mode() & 0o1000 != 0);
        if all && (!sticky || rest.is_empty()) {
            return Err(open_to_all(&at));
        }
        let Some(name) = rest.pop() else {
            // Its own, as what is written there is to be.
            return owned(&at, &found, me).map(|()| at);
        };
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(name);
        let found = next.symlink_metadata().map_err(|error| failed(&because(&error), remedy))?;
        owned(&next, &found, 0)?;
        if !found.is_symlink() {
            at = next;
            continue;
        }
        links += 1;
        if links > LINKS {
            return Err(failed(&"too many symbolic links", "name the directory itself"));
        }
        let target = std::fs::read_link(&next).map_err(|error| failed(&because(&error), remedy))?;
        rest.extend(names(&target));
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = std::fs::remove_file(path).or_else(|_| std::fs::remove_dir(path));
        }
    }
}

/// A socket to connect to, in a directory that only its owner reaches, and that is locked
/// as long as he lives.
#[derive(Debug)]
struct Socket {
    directory: PathBuf,
    listener: UnixListener,
    _lock: Flock<File>,
}

/// How its directory is called, and where it is.
const DIRECTORY: &str = "skep-journal-";

fn above_socket() -> PathBuf {
    match nix::unistd::geteuid().is_root() {
        true => PathBuf::from("/run"),
        false => std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from),
    }
}

/// Locks a directory of this user's, which `skep gc` may have removed by then.
fn locked(directory: &Path) -> std::io::Result<Flock<File>> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let file = File::options().read(true).custom_flags(flags.bits()).open(directory)?;
    if file.metadata()?.uid() != nix::unistd::geteuid().as_raw() {
        return Err(ErrorKind::PermissionDenied.into());
    }
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)?;
    if log::is_at(&lock, directory) { Ok(lock) } else { Err(ErrorKind::NotFound.into()) }
}

/// Removes those of launchers that were killed before their machine ran; their paths.
pub(crate) fn remove_unused() -> Vec<String> {
    let all = std::fs::read_dir(above_socket()).into_iter().flatten().flatten();
    let ours = |entry: &std::fs::DirEntry| {
        entry.file_name().to_str().and_then(|name| name.strip_prefix(DIRECTORY)).is_some_and(|rest| rest.len() == 16)
    };
    let unused = all.filter(ours).map(|entry| entry.path()).filter(|directory| {
        locked(directory).is_ok_and(|_lock| {
            remove(directory);
            !directory.exists()
        })
    });
    unused.map(|directory| directory.display().to_string()).collect()
}

impl Socket {
    fn new() -> Result<Self, Failure> {
        let failed = |at: &Path, error: &std::io::Error| {
            Failure::new(format!("{OPTION}: {}: {}; see that it can be written", quoted(at), because(error)))
        };
        let (directory, lock) = loop {
            let directory = above_socket().join(format!("{DIRECTORY}{:016x}", crate::meaning::random()));
            DirBuilder::new().mode(0o700).create(&directory).map_err(|error| failed(&directory, &error))?;
            match locked(&directory) {
                Ok(lock) => break (directory, lock),
                // `skep gc` was faster.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::WouldBlock) => {}
                Err(error) => {
                    remove(&directory);
                    return Err(failed(&directory, &error));
                }
            }
        };
        let made = UnixListener::bind(directory.join("socket")).and_then(|listener| {
            // Whoever sees it in the machine may connect, by whatever ids it has.
            std::fs::set_permissions(directory.join("socket"), Permissions::from_mode(0o666)).map(|()| listener)
        });
        match made {
            Ok(listener) => Ok(Self { directory, listener, _lock: lock }),
            Err(error) => {
                let failure = failed(&directory, &error);
                remove(&directory);
                Err(failure)
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.join("socket")
    }

    fn failed(&self, error: &std::io::Error) -> Failure {
        Failure::new(format!("{OPTION}: {}: {}; try again", quoted(self.path()), because(error)))
    }
}

fn remove(directory: &Path) {
    let _ = std::fs::remove_file(directory.join("socket"));
    let _ = std::fs::remove_dir(directory);
}

impl Drop for Socket {
    fn drop(&mut self) {
        remove(&self.directory);
    }
}

/// The receiver's program, without links.
fn program() -> Result<PathBuf, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).filter(|place| place.is_absolute()).chain(PLACES.map(PathBuf::from));
    places.find_map(|place| place.join(PROGRAM).canonicalize().ok().filter(|file| file.is_file())).ok_or_else(|| {
        Failure::new(format!(
            "{OPTION}: {PROGRAM} is neither in $PATH nor in {}; install it (systemd-journal-remote(8)), or leave the option out",
            PLACES[0]
        ))
    })
}

/// A container for it: nothing of the host but what it is made of.
fn confined(program: &Path) -> Command {
    let mut command = Command::new(program);
    // Its files belong to whoever started this.
    command.user_namespace(UserNamespace::Own);
    let store = Path::new("/nix/store");
    if program.starts_with(store) {
        command.bind_ro(store, store);
    } else if !program.starts_with("/usr") {
        command.bind_ro(program, program);
    }
    command
}

/// Of which systemd it is: `systemd 257 (257.9-1)`.
fn version(program: &Path) -> Result<u32, Failure> {
    let output = confined(program).arg("--version").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = text.split_whitespace().nth(1).map(|word| word.trim_end_matches(|char: char| !char.is_ascii_digit()));
    number.and_then(|number| number.split('.').next()?.parse().ok()).ok_or_else(|| {
        Failure::new(format!("{OPTION}: {} does not say its version; see {PROGRAM} --version", quoted(program)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_lines_of_its_configuration_and_the_last_wins() {
        let mut wanted = Wanted::default();
        wanted.limit("MaxUse", "a", 1 << 20);
        wanted.limit("MaxFiles", "b", 7);
        wanted.limit("MaxUse", "a", 4096);
        assert_eq!(wanted.configuration(), "[Remote]\nMaxFiles=7\nMaxUse=4096\n");
    }

    #[test]
    fn what_was_made_goes_where_nothing_ran() {
        let top = std::env::temp_dir().join(format!("skep-journal-{}", std::process::id()));
        std::fs::create_dir_all(&top).expect("a directory");
        let top = top.canonicalize().expect("a path");
        let mut made = Made::default();
        let (directory, output, split) = made.place(&top.join("new")).expect("is made");
        assert_eq!(
            (directory.as_path(), output.as_os_str(), split),
            (top.join("new").as_path(), OsStr::new("/journal"), "--split-mode=host")
        );
        drop(made);
        assert!(!top.join("new").exists());
        let mut made = Made::default();
        let (directory, output, split) = made.place(&top.join("a.journal")).expect("is made");
        assert_eq!(
            (directory.as_path(), output.as_os_str(), split),
            (top.as_path(), OsStr::new("/journal/a.journal"), "--split-mode=none")
        );
        std::fs::write(top.join("a.journal"), "").expect("a file");
        drop(made);
        assert!(!top.join("a.journal").exists());
        // What was there stays.
        let mut made = Made::default();
        assert!(made.place(&top).is_ok() && made.0.is_empty());
        for (bad, why) in [("no/such", "; make the directory above"), ("no/such.journal", "; make the directory first")]
        {
            let error = made.place(&top.join(bad)).expect_err(bad).to_string();
            assert!(error.contains("no such file") && error.contains(why), "{error}");
        }
        std::fs::write(top.join("file"), "").expect("a file");
        assert!(made.place(&top.join("file")).expect_err("a file").to_string().contains(".journal"));
        std::fs::remove_dir_all(&top).expect("removed");
    }
}
