//! What `run` tells of a container: lines for people, events for machines.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde_json::{Value, json};
use skep::spec::Spec;
use skep::{Container, Escaped};

use crate::console::Mode;
use crate::message::{Failure, Paint, because, say};
use crate::typed::Typed;

/// Where the news of a container go.
pub(crate) struct Events {
    machine: String,
    quiet: bool,
    /// As quiet as `systemd-nspawn`, which does not say what the payload says of itself.
    terse: bool,
    json: bool,
    /// `--status-fd=`.
    descriptor: Option<File>,
}

impl Events {
    pub(crate) fn new(typed: &Typed) -> Result<Self, Failure> {
        let descriptor = typed.status_fd.map(opened).transpose()?;
        Ok(Self {
            machine: String::new(),
            quiet: typed.quiet || Mode::of(typed) == Mode::Pipe,
            terse: typed.nspawn,
            json: typed.json,
            descriptor,
        })
    }

    /// The container's name.
    pub(crate) fn machine(&self) -> &str {
        &self.machine
    }

    /// Tells one thing, unless it shall be quiet.
    fn tell(&self, event: &str, fields: impl FnOnce() -> Value, text: impl FnOnce() -> Option<String>) {
        if self.quiet {
            self.write(event, fields);
        } else {
            self.tell_all(event, fields, text);
        }
    }

    /// Tells one thing, quiet or not.
    fn tell_all(&self, event: &str, fields: impl FnOnce() -> Value, text: impl FnOnce() -> Option<String>) {
        if self.json {
            let line = self.line(event, fields());
            self.write(event, || line.clone());
            say(line);
        } else {
            self.write(event, fields);
            if let Some(text) = text() {
                say(text);
            }
        }
    }

    /// An event with the fields that all of them have.
    fn line(&self, event: &str, mut fields: Value) -> Value {
        fields["event"] = event.into();
        fields["machine"] = self.machine.as_str().into();
        fields
    }

    /// To the descriptor, if there is one. That nobody listens is no reason to
    /// stop a container.
    fn write(&self, event: &str, fields: impl FnOnce() -> Value) {
        if let Some(mut descriptor) = self.descriptor.as_ref() {
            let _ = descriptor.write_all(format!("{}\n", self.line(event, fields())).as_bytes());
        }
    }

    pub(crate) fn starting(&mut self, machine: String, spec: &Spec) {
        self.machine = machine;
        self.tell(
            "starting",
            || json!({ "root": spec.root.path.to_string_lossy() }),
            || Some(format!("Spawning container {} on {}.", self.machine, crate::meaning::root(spec))),
        );
    }

    /// How to leave the container's terminal.
    pub(crate) fn keys(&self, init: bool) {
        let more = if init { ", ^]^]p and ^]^]r to ask it to power off or reboot" } else { "" };
        let line =
            format!("Press ^] three times within 1s to kill the container{more}, ^]^]z to suspend this program.");
        if !self.quiet && !self.json {
            say(line);
        }
    }

    pub(crate) fn started(&self, container: &Container) {
        self.tell("started", || json!({ "pid": container.id() }), || None);
    }

    /// Was asked for.
    pub(crate) fn report(&self, container: &Container) {
        self.tell_all(
            "report",
            || json!({ "items": container.report().to_json() }),
            || Some(container.report().to_string().trim_end().to_owned()),
        );
    }

    /// Something that the caller may not have meant.
    pub(crate) fn warning(&self, text: &str) {
        let line = || Some(format!("{}: warning: {text}", Paint::stderr().doubtful("skep")));
        self.tell_all("warning", || json!({ "message": text }), line);
    }

    pub(crate) fn ready(&self) {
        let line = || (!self.terse).then(|| format!("Container {} running: Ready.", self.machine));
        self.tell("ready", || json!({}), line);
    }

    /// What the payload says of itself.
    pub(crate) fn status(&self, text: &str) {
        let line = || (!self.terse).then(|| format!("Container {} running: {}", self.machine, Escaped::new(text)));
        self.tell("status", || json!({ "text": text }), line);
    }

    /// How it ended: the event's fields, and the line without the name.
    pub(crate) fn ended(&self, fields: Value, how: &str) {
        self.tell("ended", || fields, || Some(format!("Container {} {how}", self.machine)));
    }

    /// A failure, which standard error gets by another way.
    pub(crate) fn failed(&self, failure: &Failure) {
        for complaint in &failure.0 {
            self.write("error", || complaint.json.clone());
        }
    }
}

/// Opens a descriptor that the caller left open, once more: it belongs to the
/// caller, and the container gets neither.
fn opened(number: u32) -> Result<File, Failure> {
    let refuse = |why: &str| {
        Failure::new(format!("--status-fd=: descriptor {number} {why}; open it for writing: {number}>FILE"))
    };
    // Without waiting: a pipe that nobody reads any more has no one to wait for.
    let file = OpenOptions::new()
        .append(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(format!("/proc/self/fd/{number}"))
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => refuse("is not open"),
            _ => refuse(&format!("cannot be written ({})", because(&error))),
        })?;
    let flags = fcntl(&file, FcntlArg::F_GETFL).map_err(|errno| refuse(&format!("cannot be written ({errno})")))?;
    let flags = OFlag::from_bits_retain(flags) & !OFlag::O_NONBLOCK;
    fcntl(&file, FcntlArg::F_SETFL(flags)).map_err(|errno| refuse(&format!("cannot be written ({errno})")))?;
    Ok(file)
}
