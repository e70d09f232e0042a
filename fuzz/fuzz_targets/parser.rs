#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| septum_fuzz::run("parser", bytes));
