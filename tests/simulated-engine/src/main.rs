//! `simulated-engine FOLDER [IMAGE]…`: one that listens on `FOLDER/engine.sock` until standard input ends, with images of
//! these names, each with a healthcheck that passes at once.

use std::io::Read as _;
use std::path::Path;

use simulated_engine::SimulatedEngine;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let Some(folder) = arguments.next() else {
        eprintln!("usage: simulated-engine FOLDER [IMAGE]…");
        std::process::exit(64);
    };
    let engine = SimulatedEngine::start(Path::new(&folder));
    for image in arguments {
        engine.add_image(&image, true);
    }
    println!("DOCKER_HOST={}", engine.address());
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
