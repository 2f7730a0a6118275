//! Any bytes, as what a client sends to a whole agent over a model drive.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| outboard_tests::fuzz::session(bytes));
