//! The start itself.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use skep_sys::{Linux, Slot};

use super::stdio::{copy, given_streams};
use super::{BeforeStart, Command};
use crate::cancel::Cancel;
use crate::compile::compile;
use crate::container::Container;
use crate::created::Created;
use crate::error::{Error, ErrorKind, Result};
use crate::facts::Facts;
use crate::plan::{Plan, role};
use crate::run::{self, Held, Limits};
use crate::spec::{Ownership, Profile, Spec, UserNamespace};
use crate::status::ExitStatus;
use crate::trees::{Journal, Mounted};
use crate::verify::verify;
use crate::waiting::Output;

/// # Starting
impl Command {
    /// How long the start itself may take; one minute otherwise. The thread
    /// that starts waits no longer, and what had been made is taken back.
    pub fn deadline(&mut self, deadline: Duration) -> &mut Self {
        self.deadline = Some(deadline);
        self
    }

    /// Lets `cancel` end a start, from any thread or signal handler.
    pub fn cancel_with(&mut self, cancel: &Cancel) -> &mut Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Calls `prepare` in every start, in this process and thread, when the
    /// container is made and before its payload is started: to move a network
    /// interface into it, for instance. Where it fails, nothing is started,
    /// all is taken back, and its error is the source of the start's.
    ///
    /// The deadline stands still meanwhile.
    ///
    /// ```no_run
    /// use skep::sys::abi::Namespaces;
    ///
    /// let mut command = skep::Command::new("true");
    /// command.before_start(|created| {
    ///     let network = created.namespace(Namespaces::NETWORK)?;
    ///     // … give it an interface …
    ///     drop(network);
    ///     Ok(())
    /// });
    /// command.spawn()?;
    /// # Ok::<(), skep::Error>(())
    /// ```
    pub fn before_start<F>(&mut self, prepare: F) -> &mut Self
    where
        F: FnMut(&Created) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        self.before_start = BeforeStart(Some(Box::new(prepare)));
        self
    }

    /// What has been asked for so far.
    #[must_use]
    pub fn spec(&self) -> Spec {
        let mut spec = self.spec.clone();
        for (stream, stdio) in spec.stdio.iter_mut().zip(&self.stdio) {
            *stream = stdio.stream();
        }
        spec
    }

    /// What has been asked for, to change it in ways for which there is no
    /// method. `stdio` is what the methods say.
    pub fn spec_mut(&mut self) -> &mut Spec {
        &mut self.spec
    }

    /// The plan that [`Command::spawn`] would run now, verified. Starts nothing.
    ///
    /// # Errors
    ///
    /// As [`compile`] and [`verify`].
    pub fn plan(&self) -> Result<Plan> {
        let spec = self.spec();
        let mounted = crate::trees::image_of(&spec)?;
        let plan = compile(&spec, &look(&spec, mounted.as_ref())?)?;
        Ok(verify(plan)?.plan().clone())
    }

    /// Starts the container and returns once the payload has been executed.
    ///
    /// Safe from any thread: nothing process-wide changes, and the child never
    /// runs a handler, destructor or allocation of this program. It blocks for
    /// the one to five milliseconds of a start, and at most for the deadline.
    ///
    /// # Errors
    ///
    /// What went wrong, where it was asked for, and what to do. A start that
    /// fails leaves nothing behind.
    pub fn spawn(&mut self) -> Result<Container> {
        if self.before_start.0.is_some() {
            return self.create()?.start();
        }
        let (held, journal) = self.half(self.spec())?;
        let container = Container::new(held.start()?)?;
        if let Some(journal) = journal {
            journal.keep();
        }
        Ok(container)
    }

    /// Makes the container and does not start its payload yet.
    ///
    /// # Errors
    ///
    /// As [`Command::spawn`].
    pub fn create(&mut self) -> Result<Created> {
        let mut spec = self.spec();
        spec.hold = true;
        let (held, journal) = self.half(spec)?;
        let created = Created::new(held, journal)?;
        if let BeforeStart(Some(prepare)) = &mut self.before_start
            && let Err(cause) = prepare(&created)
        {
            let what = format!("before the payload was started: {cause}");
            return Err(Error::new(ErrorKind::Cancelled, what).caused_by(cause).leaving(created.abandon()));
        }
        Ok(created)
    }

    /// The first half of a start; where the plan does not hold the child, the
    /// second follows at once.
    fn half(&self, mut spec: Spec) -> Result<(Held<Linux<'static>>, Option<Journal<Linux<'static>>>)> {
        let mut tries = 0;
        crate::trees::make_root(&spec)?;
        let mounted = crate::trees::image_of(&spec)?;
        loop {
            let mut facts = look(&spec, mounted.as_ref())?;
            let journal = crate::trees::make_journal(&spec, &mut facts)?;
            let plan = compile(&spec, &facts)?;
            let verified = verify(plan)?;
            if let Some(tree) = &verified.plan().give {
                crate::trees::give(&mut Linux::new(), tree)
                    .map_err(|error| error.from(spec.origins.of("root.ownership")))?;
            }
            let mut given = self.given(verified.plan())?;
            if let Some(mounted) = &mounted {
                given.push((role::TREE, copy(mounted.tree.as_fd())?));
            }
            let cancel = self.cancel.as_ref().map(Cancel::duplicate).transpose()?;
            match run::create(Linux::new(), verified, given, Limits { deadline: self.deadline, cancel }) {
                Ok(held) => return Ok((held, journal)),
                // Another start was faster; there are more.
                Err(error) if tries < 16 && may_choose_anew(&spec, error.kind()) => tries += 1,
                Err(error) if error.kind() == ErrorKind::NoIdMap && may_give(&spec) => {
                    spec.root.ownership = Ownership::Chown;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts, waits, and gives the status.
    ///
    /// # Errors
    ///
    /// As [`Command::spawn`] and [`Container::wait`].
    pub fn status(&mut self) -> Result<ExitStatus> {
        self.spawn()?.spared().wait()
    }

    /// Starts with piped output, waits, and gives status and output.
    ///
    /// # Errors
    ///
    /// As [`Command::spawn`] and [`Container::wait`].
    pub fn output(&mut self) -> Result<Output> {
        self.pipe_output();
        self.spawn()?.wait_with_output()
    }

    /// Output goes into pipes where nobody has said anything else.
    pub(crate) fn pipe_output(&mut self) {
        for stdio in &mut self.stdio[1..] {
            stdio.pipe_if_null();
        }
    }

    /// The handle of [`Command::cancel_with`].
    #[cfg(feature = "tokio")]
    pub(crate) fn cancel_handle(&self) -> Option<&Cancel> {
        self.cancel.as_ref()
    }

    /// Descriptors that are not made by the plan, by their slots.
    fn given(&self, plan: &Plan) -> Result<Vec<(Slot, OwnedFd)>> {
        let mut given = given_streams(&self.stdio)?;
        for (slot, file) in &self.joins {
            given.push((*slot, copy(file.as_fd())?));
        }
        for passed in &plan.passed {
            let Some(file) = self.descriptors.get(&passed.number) else {
                return Err(Error::new(
                    ErrorKind::InvalidSpec,
                    format!("descriptor {} is to be passed, and nobody gave one", passed.number),
                )
                .from(self.spec.origins.of("descriptors"))
                .remedy("Give it with Command::give_fd."));
            };
            given.push((passed.slot, copy(file.as_fd())?));
        }
        Ok(given)
    }
}

/// The host, and the root as it is mounted.
fn look(spec: &Spec, mounted: Option<&Mounted>) -> Result<Facts> {
    mounted.map_or_else(|| Facts::gather(spec), |mounted| Facts::of_mounted(spec, mounted))
}

/// Whether the id range is the library's choice.
fn picks(spec: &Spec) -> bool {
    matches!(spec.user_namespace, UserNamespace::Auto | UserNamespace::Pick | UserNamespace::Managed)
}

/// Whether what somebody else has by now was this library's own choice.
fn may_choose_anew(spec: &Spec, taken: ErrorKind) -> bool {
    match taken {
        ErrorKind::RangeTaken => picks(spec),
        ErrorKind::NetworkTaken => spec.links.has_auto(),
        _ => false,
    }
}

/// Whether the tree may be given away where its ids cannot be mapped.
fn may_give(spec: &Spec) -> bool {
    // What several containers may share is nobody's to give.
    spec.root.lower.is_empty()
        && match spec.root.ownership {
            Ownership::Auto => true,
            Ownership::Usual => spec.profile == Profile::Nspawn,
            _ => false,
        }
}
