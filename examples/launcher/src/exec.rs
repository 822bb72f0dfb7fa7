//! `skep exec`: a further command in a container that runs.

use std::process::ExitCode;

use skep::{Exec, Stdio};

use crate::console::{self, Mode};
use crate::containers;
use crate::events::Events;
use crate::message::Failure;
use crate::run::{Signals, attend};
use crate::typed::Typed;

/// Runs the verb.
pub(crate) fn run(mut typed: Typed) -> Result<ExitCode, Failure> {
    let found = containers::named(&typed, "exec")?;
    let mut words = typed.words.split_off(1);
    if words.first().is_some_and(|word| word == "--") {
        words.remove(0);
    }
    let Some((program, arguments)) = words.split_first() else {
        return Err(Failure::new("the command is missing; write skep exec NAME -- COMMAND"));
    };
    // It says nothing of its own.
    typed.quiet = true;
    let (mode, events) = (Mode::of(&typed), Events::new(&typed)?);
    let signals = Signals::new(mode)?;
    let mut exec = found.exec(program);
    exec.args(arguments);
    if let Some(directory) = &typed.working_directory {
        exec.current_dir(directory);
    }
    streams(&mut exec, mode);
    for (name, value) in &typed.environment {
        match value {
            Some(value) => _ = exec.env(name, value.reveal()),
            None => {
                let Some(own) = std::env::var_os(name) else { continue };
                exec.env(name, own);
            }
        }
    }
    let process = exec.spawn()?;
    attend(process, mode, signals, &events).map(ExitCode::from)
}

fn streams(exec: &mut Exec<'_>, mode: Mode) {
    if mode.has_terminal() {
        let size = console::own_size().unwrap_or_default();
        exec.terminal(size.rows, size.columns).env("TERM", console::own_kind());
    } else if mode == Mode::Pipe {
        exec.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
    } else {
        exec.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    }
}
