//! See `skep_fuzz::spec_toml`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz::spec_toml(bytes));
