//! An image without a builder: a `docker load` tar with one layer, which holds one file. Times and owners are fixed, so
//! that equal bytes give an equal image id, and the id (the digest of the config) is known without asking an engine.

use std::fmt::Write as _;
use std::io;

use serde_json::json;
use sha2::{Digest, Sha256};

/// What the image is to be called and to carry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// `name:tag`.
    pub tag: String,
    /// `KEY=VALUE`, in order.
    pub env: Vec<String>,
    /// Leave the healthcheck out.
    pub no_healthcheck: bool,
}

/// A finished image.
pub struct Image {
    /// `sha256:…`, as the engine will call it.
    pub id: String,
    config: Vec<u8>,
    layer: Vec<u8>,
}

impl Image {
    /// Makes the image that holds `binary` as `/agent`.
    pub fn new(request: &Request, binary: &[u8]) -> io::Result<Self> {
        let layer = archive(&[("agent", 0o755, binary)])?;
        let second = 1_000_000_000_u64;
        let healthcheck = json!({
            "Test": ["CMD", "/agent", "check"],
            "Interval": second, "Timeout": 2 * second, "StartPeriod": 5 * second, "Retries": 3,
        });
        let mut config = json!({
            "User": "10001:10001",
            "Entrypoint": ["/agent"],
            "Cmd": ["serve"],
            "Env": request.env,
            "ExposedPorts": {"8080/tcp": {}},
            "StopSignal": "SIGTERM",
            "WorkingDir": "/",
        });
        if let (false, Some(fields)) = (request.no_healthcheck, config.as_object_mut()) {
            fields.insert("Healthcheck".to_owned(), healthcheck);
        }
        let config = serde_json::to_vec(&json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(&layer))]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "agent image"}],
        }))?;
        Ok(Self {
            id: format!("sha256:{}", hex(&config)),
            config,
            layer,
        })
    }

    /// The tar that `docker load` takes.
    pub fn tar(&self, tag: &str) -> io::Result<Vec<u8>> {
        let name = format!("{}.json", self.id.trim_start_matches("sha256:"));
        let manifest =
            serde_json::to_vec(&json!([{"Config": name, "RepoTags": [tag], "Layers": ["layer.tar"]}]))?;
        archive(&[
            ("manifest.json", 0o644, &manifest),
            (&name, 0o644, &self.config),
            ("layer.tar", 0o644, &self.layer),
        ])
    }
}

/// A tar of these files (name, mode, bytes), owned by root and from 1970.
fn archive(files: &[(&str, u32, &[u8])]) -> io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, mode, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        builder.append_data(&mut header, name, *bytes)?;
    }
    builder.into_inner()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// This machine's architecture, as the image specification spells it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

/// Refuses what is no `name:tag`.
pub fn check_tag(tag: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/:".contains(c);
    let good = tag.rsplit_once(':').is_some_and(|(name, version)| {
        !name.is_empty()
            && name.chars().all(allowed)
            && !version.is_empty()
            && version
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    });
    if good {
        Ok(())
    } else {
        Err(format!(
            "{tag}: an image is named NAME:TAG, e.g. ringfence-example-agent:1.0"
        ))
    }
}

/// Whether an ELF program asks for an interpreter (the dynamic loader), which an image with nothing else in it lacks.
/// Nothing if these bytes are no 64-bit little-endian ELF file.
pub fn needs_loader(program: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    if program.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let number = |at: usize, size: usize| -> Option<usize> {
        let bytes = program.get(at..at.checked_add(size)?)?;
        bytes.iter().rev().try_fold(0_usize, |sum, byte| {
            Some(sum.checked_mul(256)? + usize::from(*byte))
        })
    };
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for index in 0..count {
        let kind = number(table.checked_add(index * size)?, 4)?;
        if u32::try_from(kind).ok()? == PT_INTERP {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn request(env: &[&str]) -> Request {
        Request {
            tag: "ringfence-example-agent:1.0".to_owned(),
            env: env.iter().map(|&pair| pair.to_owned()).collect(),
            no_healthcheck: false,
        }
    }

    #[test]
    fn equal_input_gives_equal_bytes_and_any_difference_another_id() {
        let one = Image::new(&request(&["A=1"]), b"program").unwrap();
        let same = Image::new(&request(&["A=1"]), b"program").unwrap();
        assert_eq!(one.id, same.id);
        assert_eq!(one.tar("a:1").unwrap(), same.tar("a:1").unwrap());
        let bare = Request {
            no_healthcheck: true,
            ..request(&["A=1"])
        };
        for other in [
            Image::new(&request(&["A=2"]), b"program").unwrap(),
            Image::new(&request(&["A=1"]), b"programs").unwrap(),
            Image::new(&bare, b"program").unwrap(),
        ] {
            assert_ne!(one.id, other.id);
        }
    }

    #[test]
    fn the_tar_holds_a_config_whose_digest_is_the_id_and_the_layer_that_it_names() {
        let image = Image::new(&request(&[]), b"program").unwrap();
        let tar = image.tar("a:1").unwrap();
        let mut files = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            assert_eq!(
                (entry.header().mtime().unwrap(), entry.header().uid().unwrap()),
                (0, 0)
            );
            let name = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.insert(name, bytes);
        }
        let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], "a:1");
        let config = &files[manifest[0]["Config"].as_str().unwrap()];
        assert_eq!(image.id, format!("sha256:{}", hex(config)));
        let config: serde_json::Value = serde_json::from_slice(config).unwrap();
        let layer = &files[manifest[0]["Layers"][0].as_str().unwrap()];
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", hex(layer)));
        assert_eq!(config["config"]["User"], "10001:10001");
        assert_eq!(config["config"]["StopSignal"], "SIGTERM");
        let mut inner = tar::Archive::new(layer.as_slice());
        let agent = inner.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(
            (
                agent.path().unwrap().display().to_string().as_str(),
                agent.header().mode().unwrap()
            ),
            ("agent", 0o755)
        );
    }

    #[test]
    fn tags_need_a_name_and_a_version() {
        for good in ["a:1", "ringfence-example-agent:1.0", "reg.example:5000/a/b:v1"] {
            assert!(check_tag(good).is_ok(), "{good}");
        }
        for wrong in ["a", "a:", ":1", "A:1", "a b:1", "a:1/2"] {
            assert!(check_tag(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_program_that_needs_a_loader_is_told_from_one_that_does_not() {
        let mut program = vec![0_u8; 64 + 56];
        program[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (program[32], program[54], program[56]) = (64, 56, 1);
        program[64] = 1;
        assert_eq!(needs_loader(&program), Some(false));
        program[64] = 3;
        assert_eq!(needs_loader(&program), Some(true));
        assert_eq!(needs_loader(b"#!/bin/sh"), None);
        program.truncate(64);
        assert_eq!(needs_loader(&program), None);
    }
}
