//! See `skep_fuzz::privilege`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz::privilege(bytes));
