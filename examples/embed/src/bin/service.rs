//! A service under tokio that is started again when it fails, until Ctrl-C.
//!
//! `service PROGRAM [ARGUMENT…]`. A service that ends well is left at rest; one
//! that fails is started again after a pause, which doubles from 0.1 to 10
//! seconds and is short again once the service has lived for a minute.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use skep::spec::Readiness;
use skep::tokio::{Container, spawn};
use skep::{Command, Result, Stdio};
use tokio::signal::unix::{SignalKind, signal};

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);
const SETTLED: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(5);

fn service(words: &[OsString]) -> Command {
    let [program, arguments @ ..] = words else { return Command::new("false") };
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::inherit()).stderr(Stdio::inherit());
    command.memory(512 << 20).readiness(Readiness::Notify);
    command
}

/// Starts it, without the limit where this user cannot set one.
async fn start(words: &[OsString]) -> Result<Container> {
    match spawn(service(words)).await {
        Err(error) if error.kind() == skep::ErrorKind::Unsupported => {
            eprintln!("without a memory limit: {error}");
            let mut command = service(words);
            command.spec_mut().resources = Default::default();
            spawn(command).await
        }
        started => started,
    }
}

/// Until it ends: whether that was well.
async fn attend(container: &mut Container) -> Result<bool> {
    // Hears what it says of itself until it says nothing more.
    while let Some(said) = container.notification().await? {
        if said.ready {
            eprintln!("ready");
        }
    }
    let status = container.wait().await?;
    eprintln!("ended: {status}");
    Ok(status.success())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        eprintln!("no signal can be heard here");
        return Ok(ExitCode::FAILURE);
    };
    let mut pause = FIRST;
    loop {
        // A start that is dropped half-way leaves nothing.
        let mut container = tokio::select! {
            started = start(&words) => started?,
            _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
            _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        };
        let born = Instant::now();
        let ended = tokio::select! {
            ended = attend(&mut container) => Some(ended?),
            _ = interrupt.recv() => None,
            _ = terminate.recv() => None,
        };
        match ended {
            Some(true) => return Ok(ExitCode::SUCCESS),
            Some(false) => {}
            None => {
                eprintln!("stopped: {}", container.stop(GRACE).await?);
                return Ok(ExitCode::SUCCESS);
            }
        }
        if born.elapsed() >= SETTLED {
            pause = FIRST;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = LONGEST.min(pause * 2),
            _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
            _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        }
    }
}
