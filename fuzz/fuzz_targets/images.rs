//! any text as an image's name.
#![no_main]

#[path = "../../tests/it/properties.rs"]
#[allow(dead_code)]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &str| {
    properties::an_image_is_judged(data);
});
