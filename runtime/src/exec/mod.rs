//! Further processes in a container that runs.

mod confinement;
mod plan;
mod process;
mod run;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use skep_sys::{Errno, Linux};

use crate::cancel::Cancel;
use crate::command::{DEADLINE, Stdio};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Plan;
use crate::run::Limits;
use crate::spec::{Descriptor, ExecSpec, Secret, TerminalSize};
use crate::status::ExitStatus;
use crate::verify::{Verified, verify};
use crate::waiting::Output;
pub(crate) use confinement::{Confinement, Group, SCHEDULED, unsupported};
pub(crate) use process::{Members, number};

pub use plan::compile_exec;
pub(crate) use plan::sum_of_confinement;
pub use process::Process;
pub use run::rehearse_exec;
#[cfg(test)]
pub(crate) use run::rehearsed;

/// A builder of a further process in a container, in the manner of
/// [`std::process::Command`]: see [`crate::Container::exec`].
///
/// What the process is guaranteed to be, by the very calls that confined the
/// payload, and read back from the kernel before its program runs: in all the
/// container's namespaces and cgroups, with its capability sets, securebits,
/// no_new_privs, system-call filter, limits, umask and personality, a session
/// and a session keyring of its own, no descriptor but its streams, and the
/// documented variables beside those given here.
///
/// * The program is looked for in the container.
/// * It becomes this program's own child, with a pidfd, though it is a process
///   of the container: no process stands between. A payload sees its parent as
///   0, and cannot trace it before its program runs.
/// * It ends with the container, and with its handle.
/// * A container whose filter has a [`crate::Listener`] is refused
///   ([`ErrorKind::Unsupported`]): the listener is that of the payload's filter,
///   and answers to nobody else.
/// * A container that is paused is refused ([`ErrorKind::Paused`]): the process
///   would stop half-way, and who starts it with it. One that has ended is
///   [`ErrorKind::Ended`], also when it ends meanwhile.
///
/// What it is not: the Spec's own variables may be secrets and are not kept, so
/// they have to be given again; user and groups are numbers.
///
/// ```no_run
/// let container = skep::Command::new("sleep").arg("60").spawn()?;
/// let output = container.exec("id").arg("-u").output()?;
/// assert_eq!(output.stdout, b"0\n");
/// # Ok::<(), skep::Error>(())
/// ```
#[derive(Debug)]
pub struct Exec<'c> {
    target: Target<'c>,
    asked: Asked,
}

/// What the caller says of the process, whatever container it is for.
#[derive(Debug)]
pub(crate) struct Asked {
    spec: ExecSpec,
    stdio: [Stdio; 3],
    descriptors: BTreeMap<u32, OwnedFd>,
    deadline: Option<Duration>,
    pub(crate) cancel: Option<Cancel>,
}

/// What an exec needs of a container.
#[derive(Debug)]
pub(crate) struct Target<'c> {
    /// Of its process 1.
    pub(crate) pidfd: BorrowedFd<'c>,
    pub(crate) pid: u32,
    /// How its payload is confined.
    pub(crate) confinement: &'c Result<Box<Confinement>>,
    /// Where the container is this process's own.
    pub(crate) members: Option<&'c Members>,
}

impl<'c> Exec<'c> {
    pub(crate) fn new(target: Target<'c>, program: &OsStr) -> Self {
        let spec = ExecSpec { command: vec![program.to_owned()], ..ExecSpec::default() };
        let stdio = [Stdio::null(), Stdio::null(), Stdio::null()];
        let asked = Asked { spec, stdio, descriptors: BTreeMap::new(), deadline: Some(DEADLINE), cancel: None };
        Self { target, asked }
    }

    /// The same for this container.
    #[cfg(feature = "tokio")]
    pub(crate) const fn of(target: Target<'c>, asked: Asked) -> Self {
        Self { target, asked }
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn into_asked(self) -> Asked {
        self.asked
    }

    /// Adds an argument.
    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.asked.spec.command.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(&mut self, arguments: impl IntoIterator<Item = A>) -> &mut Self {
        self.asked.spec.command.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable. The embedder's own are never inherited.
    pub fn env(&mut self, name: impl Into<String>, value: impl AsRef<OsStr>) -> &mut Self {
        self.asked.spec.environment.insert(name.into(), Secret::new(value.as_ref()));
        self
    }

    /// Who the process is, inside; the payload's user otherwise.
    pub fn user(&mut self, uid: u32, gid: u32) -> &mut Self {
        self.asked.spec.user = Some((uid, gid));
        self
    }

    /// Supplementary groups, inside; the payload's otherwise.
    pub fn groups(&mut self, groups: impl IntoIterator<Item = u32>) -> &mut Self {
        self.asked.spec.groups.get_or_insert_default().extend(groups);
        self
    }

    /// Sets the working directory, inside; `/` otherwise.
    pub fn current_dir(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.asked.spec.working_directory = path.into();
        self
    }

    /// Gives the process a terminal of its own, of the container's devpts, for
    /// all three streams: see [`crate::Command::terminal`].
    pub fn terminal(&mut self, rows: u16, columns: u16) -> &mut Self {
        self.asked.spec.terminal = Some(TerminalSize::new(rows, columns));
        self.asked.stdio = [Stdio::terminal(), Stdio::terminal(), Stdio::terminal()];
        self
    }

    /// Standard input.
    pub fn stdin(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.asked.stdio[0] = stdio.into();
        self
    }

    /// Standard output.
    pub fn stdout(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.asked.stdio[1] = stdio.into();
        self
    }

    /// Standard error.
    pub fn stderr(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.asked.stdio[2] = stdio.into();
        self
    }

    /// Passes a descriptor: the process has it under this number, from 3 on. A
    /// directory is refused; see [`crate::Command::fd`].
    pub fn fd(&mut self, number: u32, file: impl Into<OwnedFd>) -> &mut Self {
        self.asked.spec.descriptors.retain(|passed| passed.number != number);
        self.asked.spec.descriptors.push(Descriptor::new(number));
        self.asked.descriptors.insert(number, file.into());
        self
    }

    /// How long it may take until the program runs; one minute otherwise.
    pub fn deadline(&mut self, deadline: Duration) -> &mut Self {
        self.asked.deadline = Some(deadline);
        self
    }

    /// Lets `cancel` end the attempt, from any thread or signal handler: as
    /// [`crate::Command::cancel_with`]. The container goes on.
    pub fn cancel_with(&mut self, cancel: &Cancel) -> &mut Self {
        self.asked.cancel = Some(cancel.clone());
        self
    }

    /// What has been asked for so far.
    #[must_use]
    pub fn spec(&self) -> ExecSpec {
        let mut spec = self.asked.spec.clone();
        for (stream, stdio) in spec.stdio.iter_mut().zip(&self.asked.stdio) {
            *stream = stdio.stream();
        }
        spec
    }

    /// The plan that [`Exec::spawn`] would run now, verified. Starts nothing.
    ///
    /// # Errors
    ///
    /// As [`compile_exec`] and [`verify`].
    pub fn plan(&self) -> Result<Plan> {
        Ok(self.verified(self.confinement()?)?.plan().clone())
    }

    fn confinement(&self) -> Result<&'c Confinement> {
        match self.target.confinement {
            Ok(confinement) => Ok(confinement),
            Err(error) => Err(error.clone()),
        }
    }

    fn verified(&self, container: &Confinement) -> Result<Verified> {
        verify(plan::compile_in(container, &self.spec())?)
    }

    /// Starts the process and returns once its program has been executed.
    ///
    /// # Errors
    ///
    /// What went wrong, and what to do. What fails leaves nothing behind and
    /// the container as it was.
    pub fn spawn(&mut self) -> Result<Process> {
        let known = self.confinement()?;
        let container = &known.beside(self.target.pid);
        let verified = self.verified(container)?;
        self.alive(Duration::ZERO)?;
        if known.paused() || container.paused() {
            return Err(Error::new(ErrorKind::Paused, "the container is paused, and a process in it would be too")
                .remedy("Let it go on first (Container::resume)."));
        }
        let mut given = crate::command::given_streams(&self.asked.stdio)?;
        for passed in &verified.plan().passed {
            if let Some(file) = self.asked.descriptors.get(&passed.number) {
                given.push((passed.slot, crate::command::copy(file.as_fd())?));
            }
        }
        let pidfd = self
            .target
            .pidfd
            .try_clone_to_owned()
            .map_err(|error| Error::system("duplicate the container's pidfd", crate::watcher::errno_of(&error)))?;
        let target = run::Target { pidfd, pid: self.target.pid };
        let cancel = self.asked.cancel.as_ref().map(Cancel::duplicate).transpose()?;
        let limits = Limits { deadline: self.asked.deadline, cancel };
        match run::enter(Linux::new(), verified, given, target, limits) {
            Ok(slots) => {
                let process = Process::new(slots)?;
                self.target.members.into_iter().for_each(|members| members.add(&process));
                Ok(process)
            }
            Err(error) if error.kind() == ErrorKind::Cancelled => Err(error),
            Err(error) => {
                // An end of the container meanwhile fails any call; these, a
                // moment before its pidfd tells.
                let telling = [None, Some(Errno::ESRCH), Some(Errno::EPERM), Some(Errno::ENOMEM), Some(Errno::ENODEV)];
                let moment = if telling.contains(&error.errno()) { 200 } else { 0 };
                self.alive(Duration::from_millis(moment)).and(Err(error))
            }
        }
    }

    /// An error where the container has ended, or does within `moment`.
    fn alive(&self, moment: Duration) -> Result<()> {
        if crate::waiting::has_ended(self.target.pidfd.as_fd(), Some(moment))? {
            return Err(Error::new(ErrorKind::Ended, "the container has ended"));
        }
        Ok(())
    }

    /// Starts, waits, and gives the status.
    ///
    /// # Errors
    ///
    /// As [`Exec::spawn`] and [`Process::wait`].
    pub fn status(&mut self) -> Result<ExitStatus> {
        self.spawn()?.wait()
    }

    /// Starts with piped output, waits, and gives status and output.
    ///
    /// # Errors
    ///
    /// As [`Exec::spawn`] and [`Process::wait`].
    pub fn output(&mut self) -> Result<Output> {
        for stdio in &mut self.asked.stdio[1..] {
            stdio.pipe_if_null();
        }
        self.spawn()?.wait_with_output()
    }
}
