//! Any bytes, to everything in `protocol` that takes bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| protocol::fuzz::frames(bytes));
