//! See `skep_fuzz::nspawn`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz::nspawn(bytes));
