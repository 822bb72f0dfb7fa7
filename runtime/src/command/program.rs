//! What runs, and the machine that it believes to be on.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::Command;
use crate::spec::{HostName, Init, MachineName, Personality, Profile, Readiness, Secret, Spec, Want};

/// # The program, and what it finds
impl Command {
    /// A container that runs `program`. Without a slash it is looked up in the
    /// container's `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self::of(Profile::Strict, program)
    }

    /// As [`Command::new`], with the defaults of another profile.
    pub fn of(profile: Profile, program: impl AsRef<OsStr>) -> Self {
        Self::from(Spec { command: vec![program.as_ref().to_owned()], ..Spec::of(profile) })
    }

    /// Adds an argument. It is passed as it is: no shell reads it. One that holds
    /// a NUL byte fails the start.
    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.spec.command.push(argument.as_ref().to_owned());
        self
    }

    /// Runs the program as a login shell; see [`Spec::login_shell`].
    pub fn login_shell(&mut self, on: bool) -> &mut Self {
        self.set("login_shell", "Command::login_shell").login_shell = on;
        self
    }

    /// Adds arguments, after those that there are.
    pub fn args<A: AsRef<OsStr>>(&mut self, arguments: impl IntoIterator<Item = A>) -> &mut Self {
        self.spec.command.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable. The embedder's own are never inherited.
    pub fn env(&mut self, name: impl Into<String>, value: impl AsRef<OsStr>) -> &mut Self {
        let name = name.into();
        let value = Secret::new(value.as_ref());
        self.set(format!("environment.{name}"), "Command::env").environment.insert(name, value);
        self
    }

    /// Sets the name; made up otherwise.
    pub fn machine(&mut self, name: MachineName) -> &mut Self {
        self.set("machine", "Command::machine").machine = Some(name);
        self
    }

    /// Sets the hostname; the name otherwise.
    pub fn hostname(&mut self, name: HostName) -> &mut Self {
        self.set("hostname", "Command::hostname").hostname = Some(name);
        self
    }

    /// Sets the working directory, inside; `/` otherwise. It must exist, and the
    /// payload's user must be allowed to enter it. A link of `/proc` that leads to
    /// what a process has open (`/proc/self/fd/3`, `/proc/1/cwd`) is refused.
    pub fn current_dir(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.set("working_directory", "Command::current_dir").working_directory = path.into();
        self
    }

    /// Sets the file mode creation mask, at most 0o777; 0o022 otherwise.
    pub fn umask(&mut self, mask: u32) -> &mut Self {
        self.set("umask", "Command::umask").umask = mask;
        self
    }

    /// Makes the command process 1 itself, or puts it under the stub init.
    pub fn init(&mut self, init: Init) -> &mut Self {
        self.set("init", "Command::init").init = init;
        self
    }

    /// When the container counts as ready.
    pub fn readiness(&mut self, readiness: Readiness) -> &mut Self {
        self.set("readiness", "Command::readiness").readiness = readiness;
        self
    }

    /// Sets a sysctl, by name as `sysctl(8)` writes it, that one of the container's
    /// own namespaces has: `net.*`, `kernel.shm*`, `kernel.msg*`, `kernel.sem`,
    /// `fs.mqueue.*`. Every other fails the start.
    pub fn sysctl(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Self {
        let name = name.into();
        self.set(format!("sysctls.{name}"), "Command::sysctl").sysctls.insert(name, value.into());
        self
    }

    /// Sets what `uname(2)` says that the machine is; what it is otherwise. One that
    /// this machine cannot be fails the start.
    pub fn personality(&mut self, personality: Personality) -> &mut Self {
        self.set("personality", "Command::personality").personality = personality;
        self
    }

    /// Requires an item of the report, by name, such as `masks` or `limit pids`: the
    /// start fails where it is not in force. See [`crate::Report`].
    pub fn require(&mut self, item: impl Into<String>) -> &mut Self {
        let item = item.into();
        self.set(format!("required.{item}"), "Command::require").required.insert(item);
        self
    }

    /// Whether other processes of this user can find the container by its name:
    /// see [`crate::find`]. Off otherwise, and nothing is on disk. While such a
    /// container lives, a watcher stands by to take the entry away.
    pub fn register(&mut self, want: Want) -> &mut Self {
        self.set("register", "Command::register").register = want;
        self
    }
}
