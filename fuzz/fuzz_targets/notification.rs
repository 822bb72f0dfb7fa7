//! See `skep_fuzz::notification`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz::notification(bytes));
