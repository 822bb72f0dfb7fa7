//! See `skep_fuzz::seccomp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz::seccomp(bytes));
