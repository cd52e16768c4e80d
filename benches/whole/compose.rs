//! `docker compose` on one project: a network for each tenant, its services on it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Cost, run};
use crate::shape::{self, Shape};

pub const PROJECT: &str = "rf-bench-compose";
pub const LABEL: &str = "com.docker.compose.project=rf-bench-compose";

/// A compose that was found.
pub struct Compose {
    command: Vec<String>,
    pub version: String,
    file: PathBuf,
}

/// What a project looks like.
#[derive(Clone, Copy)]
pub struct Project {
    pub shape: Shape,
    /// The version of the first tenant's first service.
    pub version: u32,
    /// Whether the last service of each tenant is left out.
    pub pruned: bool,
}

impl Compose {
    /// `RINGFENCE_BENCH_COMPOSE`, `docker compose`, `docker-compose`: the first that answers.
    pub fn find(dir: &Path) -> Option<Self> {
        let named = std::env::var("RINGFENCE_BENCH_COMPOSE").ok();
        let candidates = [
            named.map(|path| vec![path]),
            Some(vec!["docker".to_owned(), "compose".to_owned()]),
            Some(vec!["docker-compose".to_owned()]),
        ];
        candidates.into_iter().flatten().find_map(|command| {
            let (program, first) = command.split_first()?;
            let output = Command::new(program)
                .args(first)
                .args(["version", "--short"])
                .output()
                .ok()?;
            let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            (output.status.success() && !version.is_empty()).then(|| Self {
                command: command.clone(),
                version,
                file: dir.join("compose.yaml"),
            })
        })
    }

    pub fn write(&self, project: Project) {
        let mut text = String::from("services:\n");
        for tenant in 0..project.shape.tenants {
            let last = project.shape.services - usize::from(project.pruned);
            for service in 0..last {
                let version = if (tenant, service) == (0, 0) {
                    project.version
                } else {
                    1
                };
                let _ = writeln!(text, "  t{tenant}-s{service}:");
                text += &shape::service(
                    "    ",
                    &version.to_string(),
                    &format!("    networks: [t{tenant}]\n"),
                );
            }
        }
        text += "networks:\n";
        for tenant in 0..project.shape.tenants {
            let subnet = shape::subnet(shape::COMPOSE_POOL, tenant);
            let _ = writeln!(text, "  t{tenant}: {{ipam: {{config: [{{subnet: {subnet}}}]}}}}");
        }
        std::fs::write(&self.file, text).unwrap();
    }

    fn command(&self, host: &str, arguments: &[&str]) -> Command {
        let (program, first) = self.command.split_first().unwrap();
        let mut command = Command::new(program);
        command
            .args(first)
            .args(["-p", PROJECT, "-f"])
            .arg(&self.file)
            .args(arguments)
            .env("DOCKER_HOST", host);
        command
    }

    pub fn up(&self, host: &str) -> Cost {
        run(&mut self.command(host, &["up", "-d", "--remove-orphans"]))
    }

    pub fn down(&self, host: &str) -> Cost {
        run(&mut self.command(host, &["down", "--volumes", "--timeout", "10"]))
    }
}
