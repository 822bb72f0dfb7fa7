//! Logs of containers that were started with `--detach`: what the command and
//! this program say, in `.logs/NAME.log` below the registry's directory.
//!
//! A log is bounded: full, it becomes `NAME.log.1`, and what had that name goes.
//! Who writes one holds a lock on it, so that nobody removes or reuses the log of
//! a container that runs, or is only about to.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use skep::spec::MachineName;

use crate::message::{Failure, because, print_bytes, quoted};
use crate::typed::Typed;

/// How large each of the two files gets, in bytes.
pub(crate) const LIMIT: u64 = 1 << 20;

/// What this process says and carries, once it has a log.
static OWN: OnceLock<Mutex<Log>> = OnceLock::new();

/// Has all that is said from here on written to `log`.
pub(crate) fn use_for_all(log: Log) {
    let _ = OWN.set(Mutex::new(log));
}

/// Whether this process has a log.
pub(crate) fn is_used() -> bool {
    OWN.get().is_some()
}

/// Writes to this process's log. False where it has none.
pub(crate) fn write(bytes: &[u8]) -> bool {
    let Some(log) = OWN.get() else { return false };
    log.lock().unwrap_or_else(PoisonError::into_inner).write(bytes);
    true
}

fn directory() -> Option<PathBuf> {
    skep::registry_directory().map(|directory| directory.join(".logs"))
}

fn path(directory: &Path, name: &str, end: &str) -> PathBuf {
    directory.join(format!("{name}.log{end}"))
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("{what} {}: {}; see that it is yours and not full", quoted(path), because(error)))
}

/// A directory that is this user's alone; made where it is missing.
fn own_directory(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let data = fs::symlink_metadata(path)?;
    let own = data.is_dir() && data.uid() == nix::unistd::geteuid().as_raw() && data.mode() & 0o077 == 0;
    if own { Ok(()) } else { Err(ErrorKind::PermissionDenied.into()) }
}

/// One that is being written.
pub(crate) struct Log {
    directory: PathBuf,
    name: String,
    file: Flock<File>,
    size: u64,
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits()).open(path)
}

fn lock(file: File) -> io::Result<Flock<File>> {
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno.into())
}

/// Whether `file` is what has that path.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    let id = |data: fs::Metadata| (data.dev(), data.ino());
    matches!((file.metadata().map(id), fs::symlink_metadata(path).map(id)), (Ok(one), Ok(other)) if one == other)
}

impl Log {
    /// An empty one for this container; what an earlier one of the name said, goes.
    pub(crate) fn create(name: &MachineName) -> Result<Self, Failure> {
        let missing =
            || Failure::new("--detach: there is no runtime directory that is this user's own; set XDG_RUNTIME_DIR");
        Self::in_directory(&directory().ok_or_else(missing)?, name.as_str())
    }

    fn in_directory(directory: &Path, name: &str) -> Result<Self, Failure> {
        for directory in directory.parent().into_iter().chain([directory]) {
            own_directory(directory).map_err(|error| failed("make the directory", directory, &error))?;
        }
        let place = path(directory, name, "");
        let begin = Instant::now();
        loop {
            let file = open(&place).map_err(|error| failed("open the log", &place, &error))?;
            let file = match lock(file) {
                Ok(file) => file,
                Err(error) if error.kind() != ErrorKind::WouldBlock => {
                    return Err(failed("lock the log", &place, &error));
                }
                // Who asks whether it is over, or removes it, has it for a moment.
                Err(_) if begin.elapsed() < Duration::from_millis(300) => {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                }
                Err(_) => {
                    let what = format!("a container {name} runs, or is being started");
                    return Err(Failure::new(format!("{what}; choose another name, or end it: skep stop {name}")));
                }
            };
            // Whoever removes old logs may have been faster.
            if !is_at(&file, &place) {
                continue;
            }
            file.set_len(0).map_err(|error| failed("empty the log", &place, &error))?;
            let _ = fs::remove_file(path(directory, name, ".1"));
            return Ok(Self { directory: directory.to_owned(), name: name.to_owned(), file, size: 0 });
        }
    }

    /// That it cannot be written is no reason to stop a container.
    fn write(&mut self, bytes: &[u8]) {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.size > 0 && self.size.saturating_add(length) > LIMIT {
            // Else the old one would grow without bounds.
            if self.rotate().is_err() && self.file.set_len(0).is_err() {
                return;
            }
            self.size = 0;
        }
        if self.file.write_all(bytes).is_ok() {
            self.size = self.size.saturating_add(length);
        }
    }

    /// The name leads to a log that is locked at any time.
    fn rotate(&mut self) -> io::Result<()> {
        let [new, now, old] = ["~", "", ".1"].map(|end| path(&self.directory, &self.name, end));
        let _ = fs::remove_file(&new);
        let file = lock(open(&new)?)?;
        let _ = fs::remove_file(&old);
        fs::hard_link(&now, &old)?;
        fs::rename(&new, &now)?;
        self.file = file;
        Ok(())
    }
}

/// Whether nobody writes it any more.
fn is_over(file: &File) -> bool {
    file.try_clone().is_ok_and(|file| Flock::lock(file, FlockArg::LockSharedNonblock).is_ok())
}

/// Removes the logs of containers that have ended; their names.
pub(crate) fn remove_unused() -> Vec<String> {
    let Some(directory) = directory() else { return Vec::new() };
    let mut removed = Vec::new();
    for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
        let Some(name) = entry.file_name().to_str().and_then(|file| file.strip_suffix(".log")).map(str::to_owned)
        else {
            continue;
        };
        let place = entry.path();
        let locked = OpenOptions::new().read(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(&place).map(lock);
        if let Ok(Ok(file)) = locked
            && is_at(&file, &place)
            && fs::remove_file(&place).is_ok()
        {
            for end in [".1", "~"] {
                let _ = fs::remove_file(path(&directory, &name, end));
            }
            removed.push(name);
        }
    }
    removed
}

/// What a log holds now, the newest last, and the file that is still written to.
fn read(directory: &Path, name: &str) -> io::Result<(Vec<u8>, File)> {
    let mut now = File::open(path(directory, name, ""))?;
    let mut bytes = Vec::new();
    // It may have become the old one meanwhile.
    let old = path(directory, name, ".1");
    if !is_at(&now, &old)
        && let Ok(mut file) = File::open(&old)
    {
        file.read_to_end(&mut bytes)?;
    }
    now.read_to_end(&mut bytes)?;
    Ok((bytes, now))
}

/// The last lines of what a log holds; none where there is none.
pub(crate) fn last_lines(name: &MachineName, most: usize) -> Vec<String> {
    let found = directory().and_then(|directory| read(&directory, name.as_str()).ok());
    let bytes = found.map(|(bytes, _)| bytes).unwrap_or_default();
    String::from_utf8_lossy(tail(&bytes, most)).lines().map(str::to_owned).collect()
}

/// The end of `bytes`, of so many lines.
fn tail(bytes: &[u8], most: usize) -> &[u8] {
    let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut breaks = whole.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    match most.checked_sub(1) {
        None => &[],
        Some(before) => &bytes[breaks.nth(before).unwrap_or(0)..],
    }
}

/// `skep logs NAME`
pub(crate) fn run(typed: &Typed) -> Result<ExitCode, Failure> {
    crate::containers::at_most(typed, 1, "logs")?;
    let name = typed
        .words
        .first()
        .ok_or_else(|| Failure::new("the container's name is missing; write skep logs NAME, see skep list"))?;
    let name = MachineName::new(name.to_string_lossy()).map_err(|error| {
        Failure::new(format!("{}; give the container's name", skep::Escaped::new(&error.to_string())))
    })?;
    let missing = || {
        let what = "there is no log of it";
        Failure::new(format!("{name}: {what}; start it with --detach, or look at what runs: skep list"))
    };
    let directory = directory().ok_or_else(missing)?;
    let place = path(&directory, name.as_str(), "");
    let seen = |error: io::Error| match error.kind() {
        ErrorKind::NotFound => missing(),
        _ => failed("read the log", &place, &error),
    };
    // Watched before it is read, so that nothing falls between.
    let mut watched = typed.follow.then(|| Watched::new(&place)).transpose().map_err(seen)?;
    let (bytes, mut file) = read(&directory, name.as_str()).map_err(seen)?;
    if !print_bytes(tail(&bytes, typed.lines.unwrap_or(usize::MAX)))? {
        return Ok(ExitCode::SUCCESS);
    }
    while let Some(inotify) = &mut watched {
        // Both looked at first: then what is read now is all that there will be.
        let (full, over) = (!is_at(&file, &place), is_over(&file));
        let mut more = Vec::new();
        file.read_to_end(&mut more).map_err(seen)?;
        if !print_bytes(&more)? {
            break;
        }
        if full {
            let Ok(next) = File::open(&place) else { break };
            (*inotify, file) = (Watched::new(&place).map_err(seen)?, next);
        } else if over || (more.is_empty() && !inotify.wait()) {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells of writes to a file, and of its writer's end.
struct Watched(Inotify);

impl Watched {
    fn new(path: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
        let events = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_ATTRIB;
        inotify.add_watch(path, events)?;
        Ok(Self(inotify))
    }

    /// Until there is something to tell; false where nobody reads any more.
    fn wait(&self) -> bool {
        let stdout = std::io::stdout();
        let mut polled =
            [PollFd::new(self.0.as_fd(), PollFlags::POLLIN), PollFd::new(stdout.as_fd(), PollFlags::empty())];
        let _ = poll(&mut polled, PollTimeout::NONE);
        if polled[0].any() == Some(true) {
            let _ = self.0.read_events();
        }
        polled[1].any() != Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_bounded_and_of_one_writer() {
        let top = std::env::temp_dir().join(format!("skep-log-{}", std::process::id()));
        let _ = fs::remove_dir_all(&top);
        DirBuilder::new().mode(0o700).create(&top).unwrap();
        let directory = top.join("skep").join(".logs");
        DirBuilder::new().mode(0o700).create(top.join("skep")).unwrap();
        let mut log = Log::in_directory(&directory, "web").unwrap();
        let chunk = vec![b'x'; 60_000];
        for count in 0..100 {
            log.write(format!("{count}\n").as_bytes());
            log.write(&chunk);
            log.write(b"\n");
        }
        let sizes: Vec<u64> =
            ["", ".1"].map(|end| path(&directory, "web", end)).map(|file| file.metadata().unwrap().len()).into();
        assert!(sizes.iter().all(|size| *size <= LIMIT) && sizes[1] > LIMIT / 2, "{sizes:?}");
        let (all, file) = read(&directory, "web").unwrap();
        let text = String::from_utf8(all).unwrap();
        assert!(text.contains("\n98\nxx") && text.contains("\n99\nxx") && !text.contains("\n50\n"));
        assert!(!is_over(&file));
        let second = Log::in_directory(&directory, "web").err().unwrap().to_string();
        assert!(second.contains("runs, or is being started; choose another name"), "{second}");
        // Nobody but the user could have put anything there.
        assert_eq!(directory.metadata().unwrap().mode() & 0o777, 0o700);
        drop(log);
        assert!(is_over(&file));
        let log = Log::in_directory(&directory, "web").unwrap();
        assert_eq!(read(&directory, "web").unwrap().0, b"", "the next start begins anew");
        drop(log);
        let _ = fs::remove_dir_all(&top);
    }

    #[test]
    fn the_last_lines() {
        for (text, most, expected) in [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 2, "b\nc"),
            ("a\nb\n", 9, "a\nb\n"),
            ("a\n", 1, "a\n"),
            ("a\n", 0, ""),
            ("", 3, ""),
            ("\n\n", 1, "\n"),
        ] {
            assert_eq!(tail(text.as_bytes(), most), expected.as_bytes(), "{text:?} {most}");
        }
    }
}
