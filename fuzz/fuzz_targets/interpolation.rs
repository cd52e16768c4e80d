//! any text as a value with variables.
#![no_main]

#[path = "../../tests/it/properties.rs"]
#[allow(dead_code)]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &str| {
    properties::a_value_is_interpolated(data);
});
