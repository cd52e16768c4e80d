//! any text as a duration.
#![no_main]

#[path = "../../tests/it/properties.rs"]
#[allow(dead_code)]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &str| {
    properties::numbers_are_judged(data);
});
