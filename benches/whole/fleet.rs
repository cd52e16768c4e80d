//! ringfence on a repository of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crate::run::{Cost, run};
use crate::shape::{self, Shape};

/// What every run of the bench makes, so that the next one can remove it.
pub const LABEL: &str = "dev.ringfence.fleet=ringfence-bench";

/// An instance of this run's own: an engine under load sometimes keeps a network for ever that an earlier one made.
pub fn instance() -> String {
    format!("rf-bench-z{}", std::process::id())
}

pub struct Fleet {
    dir: PathBuf,
    pub shape: Shape,
}

impl Fleet {
    /// A committed fleet, and no state yet.
    pub fn new(dir: &Path, shape: Shape) -> Self {
        let fleet = Self {
            dir: dir.join(format!("fleet-{}", shape.containers())),
            shape,
        };
        let _ = fs::remove_dir_all(&fleet.dir);
        fs::create_dir_all(fleet.repo()).unwrap();
        fleet.git(&["init", "-q", "-b", "main"]);
        let pool = format!("10.{}.0.0/16", shape::RINGFENCE_POOL);
        fleet.write(
            "ringfence.yaml",
            &format!(
                "fleet: ringfence-bench\ninstance: {}\naddress_pool: {{base: {pool}, prefix: 27}}\n",
                instance()
            ),
        );
        fleet.write(
            "rings/rings.yaml",
            "rings:\n  dev: {id: 0, auto_deploy: true, rollout: {observe: 1s}}\n",
        );
        for service in 0..shape.services {
            let text = format!("services:\n  s{service}:\n{}", shape::service("    ", "1", ""));
            fleet.write(&format!("desired/services/s{service}.yaml"), &text);
        }
        for tenant in 0..shape.tenants {
            fleet.tenant(tenant, "");
        }
        fleet.commit("a fleet");
        fleet
    }

    fn repo(&self) -> PathBuf {
        self.dir.join("repo")
    }

    fn tenant(&self, tenant: usize, more: &str) {
        let text = format!("slug: t{tenant}-x\nring: dev\nplan_tier: enterprise\n{more}");
        self.write(&format!("desired/tenants/t{tenant}-x.yaml"), &text);
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.repo().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn git(&self, arguments: &[&str]) {
        let output = hermetic(&mut Command::new("git"), &self.dir)
            .arg("-C")
            .arg(self.repo())
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
    }

    /// Commits all, and gives the moment at which the branch moved.
    fn commit(&self, message: &str) -> SystemTime {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
        fs::metadata(self.repo().join(".git/refs/heads/main"))
            .unwrap()
            .modified()
            .unwrap()
    }

    /// Another value of one variable of one service of one tenant.
    pub fn change(&self, tenant: usize, version: u32) -> SystemTime {
        self.tenant(
            tenant,
            &format!("config_overrides: {{s0: {{VERSION: \"{version}\"}}}}\n"),
        );
        self.commit("another version")
    }

    /// Without the last service.
    pub fn drop_service(&self) {
        let last = self.shape.services - 1;
        fs::remove_file(self.repo().join(format!("desired/services/s{last}.yaml"))).unwrap();
        self.commit("one service less");
    }

    /// Without anything.
    pub fn erase(&self) {
        for tenant in 0..self.shape.tenants {
            self.tenant(tenant, "state: erased\n");
        }
        self.commit("nothing");
    }

    fn command(&self, host: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        hermetic(&mut command, &self.dir)
            .env("DOCKER_HOST", host)
            .arg("-C")
            .arg(self.repo())
            .arg("--state")
            .arg(self.dir.join("state"))
            .args(arguments);
        command
    }

    pub fn apply(&self, host: &str, more: &[&str]) -> Cost {
        run(self.command(host, &["apply"]).args(more))
    }

    /// What the last `apply` left about a fleet at rest.
    fn quiet(&self) -> PathBuf {
        self.dir.join("state/quiet.json")
    }

    /// The next `apply` makes a whole pass.
    pub fn forget_quiet(&self) {
        let _ = fs::remove_file(self.quiet());
    }

    /// Applies until something is left: what was written just now may be written again without its time telling.
    pub fn at_rest(&self, host: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        while !self.quiet().exists() {
            assert!(Instant::now() < end, "a fleet with nothing to do leaves nothing");
            self.apply(host, &[]);
        }
    }

    pub fn daemon(&self, host: &str) -> Daemon<'_> {
        let log = fs::File::create(self.dir.join("daemon.log")).unwrap();
        let child = self
            .command(host, &["run"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Daemon { fleet: self, child }
    }
}

fn hermetic<'c>(command: &'c mut Command, home: &Path) -> &'c mut Command {
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_NAME", "Ana")
        .env("GIT_AUTHOR_EMAIL", "ana@example.org")
        .env("GIT_COMMITTER_NAME", "Ana")
        .env("GIT_COMMITTER_EMAIL", "ana@example.org")
        .env("NO_COLOR", "1")
}

/// `ringfence run`.
pub struct Daemon<'f> {
    fleet: &'f Fleet,
    child: Child,
}

impl Daemon<'_> {
    /// Waits until it says that nothing is left to do.
    pub fn settled(&self) {
        let end = Instant::now() + Duration::from_secs(300);
        loop {
            let output = self
                .fleet
                .command("", &["status", "-o", "json"])
                .output()
                .unwrap();
            let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let synced = |r: &serde_json::Value| r["phase"] == "synced" && r["running"] == r["declared"];
            let rings = status["rings"].as_array();
            if status["daemon"] == true
                && status["settled"] == true
                && rings.is_some_and(|r| r.iter().all(synced))
            {
                return;
            }
            assert!(Instant::now() < end, "the daemon does not settle: {status}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    /// The CPU time of all its threads so far, to the nanosecond.
    pub fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let spent = tasks.flatten().filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(spent.sum())
    }

    /// A line of `/proc/…/status` that is in KiB.
    pub fn memory(&self, line: &str) -> u64 {
        let status = self.proc("status");
        let found = status
            .lines()
            .find_map(|l| l.strip_prefix(line)?.strip_prefix(':'));
        found
            .and_then(|l| l.split_whitespace().next()?.parse().ok())
            .unwrap_or(0)
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
