//! any bytes as any document.
#![no_main]

#[path = "../../tests/it/properties.rs"]
#[allow(dead_code)]
mod properties;

libfuzzer_sys::fuzz_target!(|data: (u8, Vec<u8>)| {
    properties::bytes_are_judged(usize::from(data.0), &data.1);
});
