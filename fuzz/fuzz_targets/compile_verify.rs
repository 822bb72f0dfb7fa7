//! See `skep_fuzz::compile_verify`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_fuzz::compile_verify(bytes));
