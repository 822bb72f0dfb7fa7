//! What the tests stand on.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, RwLock, RwLockReadGuard};

/// The launcher's binary.
pub(crate) const SKEP: &str = env!("CARGO_BIN_EXE_skep");

/// Held for reading by whoever starts containers, and for writing by whoever
/// counts what is left of them.
pub(crate) static CONTAINERS: RwLock<()> = RwLock::new(());

/// What a run of the launcher came to.
#[derive(Debug)]
pub(crate) struct Ran {
    /// `None`: a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn command<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>) -> Command {
    let mut command = Command::new(SKEP);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the launcher to its end, with no input.
pub(crate) fn skep<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>) -> Ran {
    ended(command(words).spawn().unwrap())
}

/// Runs it with this input.
pub(crate) fn skep_with(input: &[u8], words: &[&str]) -> (Ran, Vec<u8>) {
    let mut child = command(words).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // A payload that does not read it all is no failure of the test.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    });
    let ran = Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    (ran, output.stdout)
}

/// Waits for the end of a started launcher.
pub(crate) fn ended(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Reads standard output until it holds `text`.
pub(crate) fn until(child: &mut Child, text: &str) {
    let mut seen = Vec::new();
    let stdout = child.stdout.as_mut().unwrap();
    let mut byte = [0];
    while !String::from_utf8_lossy(&seen).contains(text) {
        assert_eq!(stdout.read(&mut byte).unwrap(), 1, "the output ended before {text:?}");
        seen.push(byte[0]);
    }
}

pub(crate) fn send(child: &Child, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, signal).unwrap();
}

/// A machine's name that no other test process has at the same time.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

/// Leave to start containers; `None`, and the reason printed, where none can be.
pub(crate) fn containers(test: &str) -> Option<RwLockReadGuard<'static, ()>> {
    static REASON: OnceLock<Option<String>> = OnceLock::new();
    let guard = CONTAINERS.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let reason = REASON.get_or_init(|| {
        let reason = skep_tests::able().err();
        if reason.is_none() {
            let ran = skep(["run", "-q", "true"]);
            assert_eq!(ran.code, Some(0), "the library starts containers here, and the launcher none: {}", ran.stderr);
        }
        reason
    });
    match reason {
        None => Some(guard),
        Some(reason) => {
            eprintln!("SKIP: {test}: no container can be started here: {reason}");
            None
        }
    }
}

/// A directory that is removed at the end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("skep-launcher-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Makes a file, and gives its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
