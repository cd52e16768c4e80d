//! any bytes as a Compose file.
#![no_main]

#[path = "../../tests/it/properties.rs"]
#[allow(dead_code)]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    properties::bytes_are_judged(9, data);
});
