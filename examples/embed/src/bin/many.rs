//! Many containers, started from several threads at once.
//!
//! ```text
//! many [STARTS]
//! ```
//!
//! A start is safe from any thread: it changes nothing of this process, and
//! none of its code runs in the child.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const THREADS: usize = 4;

fn main() -> skep::Result<()> {
    let starts = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(200);
    let next = AtomicUsize::new(0);
    let begin = Instant::now();
    let work = || {
        while next.fetch_add(1, Ordering::Relaxed) < starts {
            let status = skep::Command::new("/usr/bin/true").status()?;
            assert!(status.success(), "{status}");
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    let seconds = begin.elapsed().as_secs_f64();
    println!("{starts} containers from {THREADS} threads: {:.0} starts per second", starts as f64 / seconds);
    Ok(())
}
