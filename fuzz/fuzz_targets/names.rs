//! any text as a name.
#![no_main]

#[path = "../../tests/it/properties.rs"]
#[allow(dead_code)]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &str| {
    properties::names_are_judged(data);
});
