//! The end of a program that has nothing left to do (`exit_group(2)`).

use crate::linux::exit;

/// Ends this process at once: nothing is dropped, nothing that is buffered is
/// written, no handler of `atexit(3)` runs. The kernel takes everything back in
/// one go, for less than what is given back one by one costs: after a start, whose
/// child has shared the memory, each unmapping interrupts other processors.
pub fn leave(status: u8) -> ! {
    exit(status)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::process::Command;

    /// In a process of its own: this test, once more.
    #[test]
    fn nothing_runs_after_it() {
        struct Said;
        impl Drop for Said {
            fn drop(&mut self) {
                super::leave(1);
            }
        }
        if std::env::var_os("SKEP_TEST_LEAVE").is_some() {
            let _said = Said;
            super::leave(41);
        }
        let mut again = Command::new(std::env::current_exe().unwrap());
        let status = again.args(["leave::", "--test-threads=1"]).env("SKEP_TEST_LEAVE", "1").output().unwrap().status;
        assert_eq!(status.code(), Some(41));
    }
}
