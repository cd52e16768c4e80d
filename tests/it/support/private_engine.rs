//! An engine that a test may stop, kill and break: the installed `dockerd` once more, beside the one that all share, with
//! its own data, socket and network namespace. Only root can have it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::as_root;

/// How long it may take to answer, or to end.
const DEADLINE: Duration = Duration::from_secs(90);

/// The engine; it and all that it ran are gone when it is dropped.
pub struct PrivateEngine {
    dir: tempfile::TempDir,
    namespace: String,
    dockerd: Option<Child>,
}

impl PrivateEngine {
    /// Starts one.
    ///
    /// # Panics
    /// Where it cannot be had: these tests fail, they do not skip.
    pub fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        as_root("it starts an engine of its own");
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut engine = Self {
            dir: tempfile::tempdir().unwrap(),
            namespace: format!("rf-test-{}-{count}", std::process::id()),
            dockerd: None,
        };
        ran(Command::new("ip").args(["netns", "add", &engine.namespace]));
        ran(Command::new("ip").args(["-n", &engine.namespace, "link", "set", "lo", "up"]));
        // Its own configuration, or it would read the other one's.
        std::fs::write(engine.path("daemon.json"), "{}").unwrap();
        engine.up();
        engine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `unix:///…`
    pub fn address(&self) -> String {
        format!("unix://{}", self.path("docker.sock").display())
    }

    /// Starts it again after [`Self::stop`] or [`Self::kill`], and waits until it answers.
    pub fn up(&mut self) {
        // One that was killed leaves its process id behind, and may refuse its first start.
        for _ in 0..2 {
            let _ = std::fs::remove_file(self.path("pid"));
            let mut child = self.spawn();
            let end = Instant::now() + DEADLINE;
            while Instant::now() < end {
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                if self.docker(&["version"]).status.success() {
                    self.dockerd = Some(child);
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        panic!("the private engine does not start:\n{log}");
    }

    fn spawn(&self) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        // The network namespace alone: with a mount namespace of its own it would not see the cgroups.
        Command::new("nsenter")
            .arg(format!("--net=/var/run/netns/{}", self.namespace))
            .arg("dockerd")
            .arg("--config-file")
            .arg(self.path("daemon.json"))
            .arg("--data-root")
            .arg(self.path("data"))
            .arg("--exec-root")
            .arg(self.path("exec"))
            .arg("--pidfile")
            .arg(self.path("pid"))
            .args(["--storage-driver", &storage_driver(), "-H", &self.address()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("nsenter is installed")
    }

    /// SIGTERM: its containers stop with it.
    pub fn stop(&mut self) {
        let Some(mut child) = self.dockerd.take() else {
            return;
        };
        let pid = rustix::process::Pid::from_child(&child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let end = Instant::now() + DEADLINE;
        while child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "the private engine does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// SIGKILL: its containers go on without it.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.dockerd.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Its command line.
    pub fn docker(&self, args: &[&str]) -> Output {
        Command::new("docker")
            .arg("-H")
            .arg(self.address())
            .args(args)
            .output()
            .expect("the docker command line is installed")
    }

    /// Its own containerd, which outlives a killed engine.
    fn end_containerd(&self) {
        let file = self.path("exec/containerd/containerd.pid");
        let pid = std::fs::read_to_string(file)
            .ok()
            .and_then(|t| t.trim().parse().ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        if self.dockerd.is_some() {
            let ids = String::from_utf8_lossy(&self.docker(&["ps", "-aq"]).stdout).into_owned();
            if !ids.is_empty() {
                self.docker(&["rm", "-f"].into_iter().chain(ids.lines()).collect::<Vec<_>>());
            }
        }
        self.stop();
        self.end_containerd();
        for folder in ["exec/netns", "data"] {
            unmount_below(&self.path(folder));
        }
        let _ = Command::new("ip")
            .args(["netns", "del", &self.namespace])
            .output();
    }
}

/// What is mounted below a folder, the deepest first.
fn unmount_below(folder: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let below = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for mount in below
        .filter(|at| Path::new(at).starts_with(folder))
        .collect::<Vec<_>>()
        .iter()
        .rev()
    {
        let _ = Command::new("umount").arg(mount).output();
    }
}

/// What the shared engine stores with works on this machine.
fn storage_driver() -> String {
    let output = Command::new("docker")
        .args(["info", "--format", "{{.Driver}}"])
        .output()
        .unwrap();
    let driver = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if driver.is_empty() {
        "vfs".to_owned()
    } else {
        driver
    }
}

fn ran(command: &mut Command) {
    let output = command.output().expect("it is installed");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
