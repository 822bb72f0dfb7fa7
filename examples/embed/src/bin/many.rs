//! A pool of threads that starts hundreds of containers a second.
//!
//! ```text
//! many [STARTS [THREADS]]
//! ```
//!
//! A start is safe from any thread: it changes nothing of this process, and
//! none of its code runs in the child. So a pool needs no lock around it, no
//! helper process, and no care about what the other threads hold.

use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use skep::{Command, ExitStatus, Result};

/// What one job came to.
struct Done {
    status: Result<ExitStatus>,
    time: Duration,
}

/// Threads that take jobs from one queue.
struct Pool {
    /// Holds a few jobs only: who submits waits, rather than the heap growing.
    jobs: mpsc::SyncSender<Command>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    fn new(threads: usize) -> (Self, Receiver<Done>) {
        let (jobs, queue) = mpsc::sync_channel::<Command>(threads);
        let (results, done) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let work = |_| {
            let (queue, results) = (Arc::clone(&queue), results.clone());
            std::thread::spawn(move || {
                // The lock is free again before the job runs.
                let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                while let Ok(mut command) = next() {
                    let begin = Instant::now();
                    let status = command.status();
                    if results.send(Done { status, time: begin.elapsed() }).is_err() {
                        break;
                    }
                }
            })
        };
        let threads = (0..threads).map(work).collect();
        (Self { jobs, threads }, done)
    }

    /// Waits until a thread will soon be free; false when there is none any more.
    fn submit(&self, command: Command) -> bool {
        self.jobs.send(command).is_ok()
    }

    /// Lets the threads finish what was submitted.
    fn finish(self) {
        drop(self.jobs);
        for thread in self.threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).map_while(|text| text.parse::<usize>().ok());
    let (starts, threads) = (numbers.next().unwrap_or(200), numbers.next().unwrap_or(4).max(1));

    let begin = Instant::now();
    let (pool, done) = Pool::new(threads);
    for _ in 0..starts {
        if !pool.submit(Command::new("/usr/bin/true")) {
            break;
        }
    }
    pool.finish();
    let seconds = begin.elapsed().as_secs_f64();

    let mut times = Vec::new();
    for Done { status, time } in done {
        let status = status?;
        assert!(status.success(), "{status}");
        times.push(time);
    }
    times.sort();
    let at = |share: usize| times.get(times.len() * share / 100).map_or(0.0, |time| time.as_secs_f64() * 1e3);
    println!(
        "{} containers from {threads} threads: {:.0} starts per second",
        times.len(),
        times.len() as f64 / seconds
    );
    println!("from start to end: half within {:.1} ms, 95 % within {:.1} ms", at(50), at(95));
    Ok(())
}
