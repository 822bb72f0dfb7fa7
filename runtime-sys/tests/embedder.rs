//! An embedder that does everything at once: allocates, prints, forks, gets
//! signals, while other threads start containers. Its allocator and its signal
//! handler abort when they run in another process than its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(unsafe_code, reason = "an allocator and a signal handler")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use skep::Command;

struct Owned;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static SIGNALS: AtomicUsize = AtomicUsize::new(0);
static OWNER: AtomicUsize = AtomicUsize::new(0);

/// Aborts in any process but the one that set `OWNER`.
fn check() {
    let owner = OWNER.load(Ordering::Relaxed);
    // SAFETY: getpid has no arguments and cannot fail.
    if owner != 0 && owner != unsafe { libc::getpid() } as usize {
        // SAFETY: as above.
        unsafe { libc::abort() }
    }
}

// SAFETY: every method is the system allocator's, after a check.
unsafe impl GlobalAlloc for Owned {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check();
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        check();
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static GLOBAL: Owned = Owned;

extern "C" fn on_signal(_: libc::c_int) {
    check();
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

fn handle(signal: libc::c_int) {
    // SAFETY: zero is a valid sigaction; the handler is async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut());
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Resident memory in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn row_137_starts_from_eight_threads_never_hang_and_leave_nothing() {
    if let Err(reason) = skep_tests::able() {
        return skep_tests::skip(&reason);
    }
    // The whole number takes a minute on two busy cores; CI asks for it.
    let total = std::env::var("SKEP_STARTS").ok().and_then(|text| text.parse().ok()).unwrap_or(400_usize);
    handle(libc::SIGUSR2);
    OWNER.store(std::process::id() as usize, Ordering::Relaxed);
    let before = (descriptors(), resident());
    let (left, stop, began) = (AtomicUsize::new(total), AtomicBool::new(false), Instant::now());
    std::thread::scope(|scope| {
        let busy = |work: fn()| {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    work();
                }
            });
        };
        busy(|| drop((0..50).map(|number| format!("{number}")).collect::<Vec<_>>()));
        busy(|| eprint!(""));
        busy(|| {
            // SAFETY: a signal to oneself, whose handler is set above.
            unsafe { libc::kill(libc::getpid(), libc::SIGUSR2) };
            std::thread::sleep(std::time::Duration::from_micros(300));
        });
        busy(|| drop(std::fs::File::open("/dev/null")));
        let starters: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                        let status = Command::new("true").status().unwrap();
                        assert!(status.success(), "{status}");
                    }
                })
            })
            .collect();
        let ended: Vec<_> = starters.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        stop.store(true, Ordering::Relaxed);
        for end in ended {
            end.unwrap();
        }
    });
    eprintln!(
        "{total} starts in {:?} beside {} allocations and {} signals",
        began.elapsed(),
        ALLOCATIONS.load(Ordering::Relaxed),
        SIGNALS.load(Ordering::Relaxed)
    );
    let after = (descriptors(), resident());
    OWNER.store(0, Ordering::Relaxed);
    assert_eq!(before.0, after.0, "descriptors");
    assert!(after.1 < before.1 + (16 << 10), "resident KiB: {} then {}", before.1, after.1);
    assert!(SIGNALS.load(Ordering::Relaxed) > 0);
}
