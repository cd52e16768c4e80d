//! any text as a size, with digits in front.
#![no_main]

#[path = "../../tests/it/properties.rs"]
#[allow(dead_code)]
mod properties;

libfuzzer_sys::fuzz_target!(|data: (u64, &str)| {
    properties::numbers_are_judged(&format!("{}{}", data.0, data.1));
});
