//! A tiny image without registry or builder: one static Rust program in a `docker load` archive.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use ringfence::digest::Digest;
use serde_json::json;

/// The program: what a test needs a container to do.
const PROGRAM: &str = r#"
use std::io::{Read, Write};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let arg = |n: usize| args.get(n).map(String::as_str).unwrap_or("");
    match arg(1) {
        // Answers every HTTP request with what VERSION says.
        "serve" => {
            let listener = std::net::TcpListener::bind(("0.0.0.0", arg(2).parse().unwrap())).unwrap();
            println!("serving {}", arg(2));
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let _ = stream.read(&mut [0; 2048]);
                let body = std::env::var("VERSION").unwrap_or_default();
                let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            }
        }
        // Prints numbered lines, the even ones to standard error.
        "print" => for n in 1..=arg(2).parse::<u32>().unwrap() {
            if n % 2 == 0 { eprintln!("line {n}") } else { println!("line {n}") }
            std::thread::sleep(std::time::Duration::from_millis(20));
        },
        "cat" => print!("{}", std::fs::read_to_string(arg(2)).unwrap()),
        "write" => std::fs::write(arg(2), arg(3)).unwrap(),
        "exists" => std::process::exit(i32::from(!std::path::Path::new(arg(2)).exists())),
        "env" => for (key, value) in std::env::vars() { println!("{key}={value}") },
        "exit" => std::process::exit(arg(2).parse().unwrap()),
        _ => loop { std::thread::park() },
    }
}
"#;

/// Builds the program once a run and target directory.
fn program() -> &'static [u8] {
    static PROGRAM_BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    PROGRAM_BYTES.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let binary = folder.join(format!("tiny-{}", Digest::of_bytes(PROGRAM.as_bytes()).short()));
        if !binary.exists() {
            std::fs::create_dir_all(&folder).unwrap();
            let own = tempfile::tempdir_in(&folder).unwrap();
            let source = own.path().join("tiny.rs");
            std::fs::write(&source, PROGRAM).unwrap();
            let output = Command::new(std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned()))
                .args([
                    "--edition=2021",
                    "-Copt-level=z",
                    "-Cpanic=abort",
                    "-Cstrip=symbols",
                ])
                .args(["-Ctarget-feature=+crt-static", "-o"])
                .arg(own.path().join("tiny"))
                .arg(&source)
                .output()
                .expect("rustc");
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            // Another run may have been faster; a rename leaves a whole file either way.
            std::fs::rename(own.path().join("tiny"), &binary).unwrap();
        }
        std::fs::read(&binary).unwrap()
    })
}

/// The archive of an image named `reference`, with more of its configuration. Equal arguments give equal bytes, and so an
/// equal image id.
pub fn archive(reference: &str, version: &str, more: &serde_json::Value) -> Vec<u8> {
    let layer = tar_of(&[("tiny", 0o755, program())]);
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": {
            "Entrypoint": ["/tiny"],
            "Cmd": ["wait"],
            "Env": [format!("VERSION={version}")],
            // Process 1 without a handler ignores SIGTERM.
            "StopSignal": "SIGKILL",
            "Healthcheck": more["Healthcheck"],
            "Volumes": more["Volumes"],
            // Parallel tests remove their images: none may be another's.
            "Labels": {"org.opencontainers.image.title": reference},
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", Digest::of_bytes(&layer).hex())]},
    });
    let config = config.to_string();
    let config_name = format!("{}.json", Digest::of_bytes(config.as_bytes()).hex());
    let manifest =
        json!([{"Config": config_name, "RepoTags": [reference], "Layers": ["layer.tar"]}]).to_string();
    tar_of(&[
        ("manifest.json", 0o644, manifest.as_bytes()),
        (&config_name, 0o644, config.as_bytes()),
        ("layer.tar", 0o644, &layer),
    ])
}

fn tar_of(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, mode, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(0);
        header.set_cksum();
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}
