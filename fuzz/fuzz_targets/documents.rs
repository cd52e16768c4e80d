//! a whole fleet with changed files.
#![no_main]

#[path = "../../tests/it/properties.rs"]
#[allow(dead_code)]
mod properties;

libfuzzer_sys::fuzz_target!(|data: Vec<(u8, u16, u16)>| {
    properties::a_fleet_is_judged(&properties::changed(&data));
});
