//! An embedder whose signals come in the middle of a wait.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(unsafe_code, reason = "a signal handler, a signal to a thread, a pidfd")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use skep_sys::{Cell, Errno, Kernel, Linux, Op, Slot, Slots};

extern "C" fn ignore(_: libc::c_int) {}

#[test]
fn a_wait_that_is_interrupted_lasts_as_long_as_it_should() {
    // SAFETY: zero is a valid sigaction, the handler does nothing; the rest
    // takes and gives numbers.
    let (thread, mut sleeper, pidfd) = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = ignore as *const () as usize;
        libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut());
        let sleeper = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pidfd = libc::syscall(libc::SYS_pidfd_open, sleeper.id(), 0) as i32;
        (libc::pthread_self(), sleeper, pidfd)
    };
    let mut cells = [Cell::Descriptor(pidfd), Cell::Empty];
    let wait = Op::PidfdWait { process: Slot(0), timeout_ms: 300, into: Slot(1) };
    let stop = AtomicBool::new(false);
    let waits: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(3));
                // SAFETY: that thread waits for this one.
                unsafe { libc::pthread_kill(thread, libc::SIGUSR1) };
            }
        });
        // A second of the clock begins in the midst of one of these.
        let waits = (0..4).map(|_| {
            let began = Instant::now();
            (Linux::new().call(&wait, &mut Slots::new(&mut cells)), began.elapsed())
        });
        let waits = waits.collect();
        stop.store(true, Ordering::Relaxed);
        waits
    });
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    // SAFETY: ours.
    unsafe { libc::close(pidfd) };
    for (answer, time) in waits {
        assert_eq!(answer, Err(Errno::ETIMEDOUT));
        assert!((Duration::from_millis(300)..Duration::from_millis(500)).contains(&time), "{time:?}");
    }
}
