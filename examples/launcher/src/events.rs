//! What `run` tells of a container: lines for people, events for machines.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde_json::{Value, json};
use skep::spec::Spec;
use skep::{Container, Escaped};

use crate::message::{Failure, say};
use crate::typed::Typed;

/// Where the news of a container go.
pub(crate) struct Events {
    machine: String,
    quiet: bool,
    json: bool,
    /// `--status-fd=`.
    descriptor: Option<File>,
}

impl Events {
    pub(crate) fn new(typed: &Typed) -> Result<Self, Failure> {
        let descriptor = typed.status_fd.map(opened).transpose()?;
        Ok(Self { machine: String::new(), quiet: typed.quiet || typed.pipe, json: typed.json, descriptor })
    }

    /// Tells one thing. That nobody listens is no reason to stop a container.
    fn tell(&self, event: &str, fields: impl FnOnce() -> Value, text: impl FnOnce() -> Option<String>) {
        if self.descriptor.is_some() || (self.json && !self.quiet) {
            let mut line = fields();
            line["event"] = event.into();
            line["machine"] = self.machine.as_str().into();
            if let Some(mut descriptor) = self.descriptor.as_ref() {
                let _ = descriptor.write_all(format!("{line}\n").as_bytes());
            }
            if self.json && !self.quiet {
                say(line);
            }
        }
        if !self.json && !self.quiet {
            if let Some(text) = text() {
                say(text);
            }
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

    pub(crate) fn started(&self, container: &Container) {
        self.tell("started", || json!({ "pid": container.id() }), || None);
    }

    /// Asked for, so also when quiet.
    pub(crate) fn report(&self, container: &Container) {
        let told = Self { quiet: false, machine: self.machine.clone(), json: self.json, descriptor: None };
        let items = || json!({ "items": container.report().to_json() });
        told.tell("report", items, || Some(container.report().to_string().trim_end().to_owned()));
        if let Some(mut descriptor) = self.descriptor.as_ref() {
            let line = json!({ "event": "report", "machine": self.machine, "items": container.report().to_json() });
            let _ = descriptor.write_all(format!("{line}\n").as_bytes());
        }
    }

    pub(crate) fn ready(&self) {
        self.tell("ready", || json!({}), || Some(format!("Container {} running: Ready.", self.machine)));
    }

    /// What the payload says of itself.
    pub(crate) fn status(&self, text: &str) {
        let line = || Some(format!("Container {} running: {}", self.machine, Escaped::new(text)));
        self.tell("status", || json!({ "text": text }), line);
    }

    /// How it ended: the event's fields, and the line without the name.
    pub(crate) fn ended(&self, fields: Value, how: &str) {
        self.tell("ended", || fields, || Some(format!("Container {} {how}", self.machine)));
    }

    /// A failure, which standard error gets by another way.
    pub(crate) fn failed(&self, failure: &Failure) {
        let Some(mut descriptor) = self.descriptor.as_ref() else { return };
        for complaint in &failure.0 {
            let _ = descriptor.write_all(format!("{}\n", complaint.event()).as_bytes());
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
            _ => refuse(&format!("cannot be written ({error})")),
        })?;
    let flags = fcntl(&file, FcntlArg::F_GETFL).map_err(|errno| refuse(&format!("cannot be written ({errno})")))?;
    let flags = OFlag::from_bits_retain(flags) & !OFlag::O_NONBLOCK;
    fcntl(&file, FcntlArg::F_SETFL(flags)).map_err(|errno| refuse(&format!("cannot be written ({errno})")))?;
    Ok(file)
}
