//! See `skep_fuzz::spec_json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz::spec_json(bytes));
