//! The feature `tokio`: waits that hold no thread, starts that can be dropped.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::future::Future;
use std::time::{Duration, Instant};

use skep::spec::Init;
use skep::sys::abi::signal;
use skep::tokio::{output, spawn, status};
use skep::{Command, Stdio};
use skep_tests::{HostState, turn_to_start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// On one thread: what would block it, blocks all.
fn on_one_thread<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ended = runtime.block_on(future);
    // What was handed to other threads is over too.
    runtime.shutdown_timeout(Duration::from_secs(30));
    ended
}

/// What there is before, and what tokio keeps for the life of a process: a pair
/// of sockets for signals.
fn before() -> HostState {
    on_one_thread(async {});
    HostState::look()
}

fn sleeping(seconds: u32) -> Command {
    let mut command = Command::new("sleep");
    command.arg(seconds.to_string());
    command
}

#[test]
fn many_wait_on_one_thread() {
    let Some(_turn) = turn_to_start() else { return };
    let before = before();
    let began = Instant::now();
    on_one_thread(async {
        let sleepers = (0..8_u8).map(|code| {
            tokio::spawn(async move {
                let mut command = Command::new("sh");
                command.args(["-c", &format!("sleep 1; exit {code}")]);
                status(command).await.unwrap().code()
            })
        });
        for (code, sleeper) in (0..8).zip(sleepers.collect::<Vec<_>>()) {
            assert_eq!(sleeper.await.unwrap(), Some(code));
        }
    });
    // One after the other they would take eight; how fast a start is, is not asked.
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    before.assert_unchanged();
}

#[test]
fn output_and_input_are_carried() {
    let Some(_turn) = turn_to_start() else { return };
    on_one_thread(async {
        let mut command = Command::new("sh");
        command.args(["-c", "head -c 300000 /dev/zero; head -c 200000 /dev/zero >&2; exit 3"]);
        let ended = output(command).await.unwrap();
        assert_eq!((ended.stdout.len(), ended.stderr.len(), ended.status.code()), (300_000, 200_000, Some(3)));

        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut container = spawn(command).await.unwrap();
        let mut stdin = container.stdin.take().unwrap();
        stdin.write_all(b"there and back").await.unwrap();
        drop(stdin);
        let mut text = String::new();
        container.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "there and back");
        assert!(container.wait().await.unwrap().success());
        assert!(container.wait().await.unwrap().success(), "and again");
    });
}

#[test]
fn a_stop_is_in_order_and_then_it_is_not() {
    let Some(_turn) = turn_to_start() else { return };
    on_one_thread(async {
        let mut container = spawn(sleeping(1000)).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), container.wait()).await.is_err());
        assert_eq!(container.stop(Duration::from_secs(30)).await.unwrap().signal(), Some(signal::TERM));

        let mut command = Command::new("sh");
        command.args(["-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"]).stdout(Stdio::piped());
        let mut container = spawn(command).await.unwrap();
        let mut word = [0; 5];
        container.stdout.as_mut().unwrap().read_exact(&mut word).await.unwrap();
        assert_eq!(container.stop(Duration::from_millis(100)).await.unwrap().signal(), Some(signal::KILL));
    });
}

#[test]
fn a_further_process_holds_no_thread() {
    let Some(_turn) = turn_to_start() else { return };
    let before = before();
    on_one_thread(async {
        let container = spawn(sleeping(1000)).await.unwrap();
        let echo = |exec: &mut skep::Exec<'_>| _ = exec.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = container.exec("cat", echo).await.unwrap();
        process.stdin.take().unwrap().write_all(b"there and back").await.unwrap();
        let output = process.wait_with_output().await.unwrap();
        assert_eq!((output.stdout.as_slice(), output.status.code()), (&b"there and back"[..], Some(0)));

        let mut process = container.exec("sleep", |exec| _ = exec.arg("1000")).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), process.wait()).await.is_err());
        process.kill(signal::TERM).unwrap();
        assert_eq!(process.wait().await.unwrap().signal(), Some(signal::TERM));
        let error = container.exec("no-such-program", |_| ()).await.unwrap_err();
        assert_eq!(error.kind(), skep::ErrorKind::NotFound);

        // One that is dropped, at every moment.
        let held = container.exec("sleep", |exec| _ = exec.arg("1001")).await.unwrap();
        drop(held);
        for step in 0..20_u64 {
            let start = container.exec("sleep", |exec| _ = exec.arg("1001"));
            let _ = tokio::time::timeout(Duration::from_micros(step * 250), start).await;
        }
        let list = |exec: &mut skep::Exec<'_>| {
            exec.args(["-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; true"]).stdout(Stdio::piped());
        };
        let mut text = String::new();
        for _ in 0..200 {
            let output = container.exec("sh", list).await.unwrap().wait_with_output().await.unwrap();
            text = String::from_utf8_lossy(&output.stdout).into_owned();
            if !text.contains("1001") {
                return;
            }
            // A thread may still be at it.
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{text}");
    });
    before.assert_unchanged();
}

#[test]
fn what_is_dropped_is_stopped_and_leaves_nothing() {
    let Some(_turn) = turn_to_start() else { return };
    let before = before();
    on_one_thread(async {
        let container = spawn(sleeping(1000)).await.unwrap();
        drop(container);
        // At every moment of a start, and after it.
        for step in 0..40_u64 {
            let start = spawn(sleeping(1001));
            let _ = tokio::time::timeout(Duration::from_micros(step * 250), start).await;
        }
    });
    before.assert_unchanged();
    // Without a runtime at its end.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let container = runtime.block_on(spawn(sleeping(1000))).unwrap();
    drop(runtime);
    drop(container);
    before.assert_unchanged();
}

/// Nobody has waited for it; its namespace ends when somebody does.
#[test]
fn a_process_that_nobody_waits_for_holds_up_no_end() {
    let Some(_turn) = turn_to_start() else { return };
    let before = before();
    for init in [Init::Stub, Init::Payload] {
        let began = Instant::now();
        on_one_thread(async {
            let mut command = sleeping(1000);
            command.init(init);
            let mut container = spawn(command).await.unwrap();
            let process = container.exec("sleep", |exec| _ = exec.arg("1000")).await.unwrap();
            container.kill(signal::KILL).unwrap();
            assert_eq!(container.wait().await.unwrap().signal(), Some(9));
            drop(process);
        });
        assert!(began.elapsed() < Duration::from_secs(4), "{init:?}: {:?}", began.elapsed());
    }
    before.assert_unchanged();
}
