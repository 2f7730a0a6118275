//! Any bytes, as a program or as what one is made by, to the verifier and every engine.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harness::fuzz::engines(bytes));
