//! A fleet as a user has it: a git repository, a state directory, the real binary, the real engine.
//!
//! ```ignore
//! let fleet = TestFleet::one_ring("my-test");
//! fleet.ringfence(&["apply"]).expect(0);
//! let daemon = fleet.daemon();
//! fleet.on("main").write("desired/services/agent.yaml", &agent("2")).commit("agent 2");
//! fleet.eventually("agent 2 serves", |f| f.synced("dev") && f.version("acme", "agent") == "2");
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ringfence::digest::Digest;
use ringfence::engine::labels;
use serde_json::Value;

use super::engine::{address, remove_instance};

/// The example agent's image: it serves on 8080 and brings its own healthcheck, every 30 s.
pub const AGENT: &str = "ringfence-example-agent:1.0";
/// How long [`TestFleet::eventually`] waits: many fleets share a small machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// A repository, a state directory and an instance of its own. All that carries the instance's label goes at its start
/// (what a killed run has left) and when it is dropped.
pub struct TestFleet {
    /// The instance.
    pub instance: String,
    address: String,
    /// Whether the engine is a real one.
    real: bool,
    dir: tempfile::TempDir,
    commits: AtomicU64,
    /// Held while the test runs: another run of the same test in this checkout waits.
    _alone: File,
}

/// An answer of the binary.
#[derive(Debug)]
pub struct Answer {
    /// What was asked.
    pub asked: String,
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Answer {
    /// Fails unless the exit code is `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code of {self}");
        self
    }

    /// Its standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self}"))
    }

    /// Fails unless standard output has `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "`{text}` is not in {self}");
        self
    }

    /// Fails unless standard error has `text`.
    #[track_caller]
    pub fn complains(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "`{text}` is not in {self}");
        self
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            asked,
            code,
            stdout,
            stderr,
        } = self;
        write!(
            f,
            "`ringfence {asked}`: exit code {code}\n--- stdout\n{stdout}--- stderr\n{stderr}---"
        )
    }
}

/// A commit in the making; see [`TestFleet::on`].
pub struct Change<'f> {
    fleet: &'f TestFleet,
    branch: String,
}

impl Change<'_> {
    /// Writes a file.
    pub fn write(self, path: &str, text: &str) -> Self {
        self.fleet.write(path, text);
        self
    }

    /// Replaces a text in a file; it must be there.
    #[track_caller]
    pub fn replace(self, path: &str, from: &str, to: &str) -> Self {
        let text = self.fleet.read(path);
        assert!(text.contains(from), "`{from}` is not in {path}:\n{text}");
        self.fleet.write(path, &text.replace(from, to));
        self
    }

    /// Removes a file.
    pub fn remove(self, path: &str) -> Self {
        std::fs::remove_file(self.fleet.repo().join(path)).unwrap();
        self
    }

    /// Commits, goes back to `main` and gives the commit's id.
    pub fn commit(self, message: &str) -> String {
        let Self { fleet, branch } = self;
        fleet.git(&["add", "-A"]);
        fleet.git(&["commit", "-q", "-m", message]);
        let id = fleet.git(&["rev-parse", "HEAD"]);
        if branch != "main" {
            fleet.git(&["switch", "-q", "main"]);
        }
        id
    }
}

/// `ringfence run`, killed when dropped.
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard error and output.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGKILL: no chance to tidy up.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and its exit code.
    #[track_caller]
    pub fn stop(mut self) -> i32 {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(
                Instant::now() < end,
                "the daemon does not end on SIGTERM:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            #[allow(clippy::print_stderr)]
            {
                eprintln!("--- the daemon said:\n{}---", self.log());
            }
        }
    }
}

impl TestFleet {
    /// An empty repository on `main` with a `ringfence.yaml` (not committed yet) that names the instance. `name` is unique
    /// among the tests, at most 20 of `a-z0-9-`.
    pub fn new(name: &str) -> Self {
        let address = address();
        ensure_agent(&address);
        Self::on_engine(name, &address, true)
    }

    /// The same on another real engine than everybody's.
    pub fn new_at(name: &str, address: &str) -> Self {
        ensure_agent(address);
        Self::on_engine(name, address, true)
    }

    /// The same on a simulated engine; nothing of it is ever asked by `docker`.
    pub fn simulated(name: &str, address: &str) -> Self {
        Self::on_engine(name, address, false)
    }

    fn on_engine(name: &str, address: &str, real: bool) -> Self {
        // The same test in another checkout is another instance; in this one it is the same, so that what a killed run has
        // left goes away.
        let checkout = Digest::of_bytes(env!("CARGO_TARGET_TMPDIR").as_bytes()).hex();
        let instance = format!("t-{name}-z{}", &checkout[..6]);
        assert!(instance.len() <= 31, "{name} is too long");
        let alone = File::create(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{instance}.lock")))
            .unwrap();
        alone.lock().unwrap();
        if real {
            remove_instance(address, &instance);
        }
        let fleet = Self {
            address: address.to_owned(),
            real,
            dir: tempfile::tempdir().unwrap(),
            commits: AtomicU64::new(0),
            _alone: alone,
            instance,
        };
        for folder in ["repo", "home"] {
            std::fs::create_dir(fleet.dir.path().join(folder)).unwrap();
        }
        fleet.git(&["init", "-q", "-b", "main"]);
        fleet.write("ringfence.yaml", &fleet.settings());
        fleet
    }

    /// One ring `dev` that follows `main`, a service `agent` (version 1) and the tenant `acme`: committed.
    pub fn one_ring(name: &str) -> Self {
        Self::new(name).with_one_ring()
    }

    /// The fleet of [`TestFleet::one_ring`], committed.
    pub fn with_one_ring(self) -> Self {
        let fleet = self;
        fleet
            .on("main")
            .write(
                "rings/rings.yaml",
                "rings:\n  dev: {id: 0, auto_deploy: true, rollout: {observe: 1s}}\n",
            )
            .write("desired/services/agent.yaml", &agent("1"))
            .write("desired/tenants/acme.yaml", &tenant("acme", "dev"))
            .commit("a fleet");
        fleet
    }

    /// The rings dev (`develop`), staging (`staging`) and prod (`main`, approval required), a service `agent` (version 1)
    /// and the tenants `dev-one`, `stage-one`, `prod-one`, on all three branches. Nothing is pinned.
    pub fn three_rings(name: &str) -> Self {
        let fleet = Self::new(name);
        fleet
            .on("main")
            .write(
                "rings/rings.yaml",
                "rings:\n  dev: {id: 0, branch: develop, auto_deploy: true, rollout: {observe: 1s}}\n  \
                 staging: {id: 1, branch: staging, rollout: {observe: 1s}}\n  \
                 prod: {id: 2, branch: main, approval_required: true, rollout: {observe: 1s}}\n",
            )
            .write("desired/services/agent.yaml", &agent("1"))
            .write("desired/tenants/dev-one.yaml", &tenant("dev-one", "dev"))
            .write("desired/tenants/stage-one.yaml", &tenant("stage-one", "staging"))
            .write("desired/tenants/prod-one.yaml", &tenant("prod-one", "prod"))
            .commit("a fleet of three rings");
        fleet.git(&["branch", "develop"]);
        fleet.git(&["branch", "staging"]);
        fleet
    }

    /// This repository's own example fleet, with its branches, as another instance.
    pub fn example(name: &str) -> Self {
        let fleet = Self::new(name);
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for folder in ["rings", "stacks", "desired"] {
            let output = Command::new("cp")
                .arg("-R")
                .arg(root.join(folder))
                .arg(fleet.repo())
                .output()
                .unwrap();
            assert!(output.status.success(), "cp: {output:?}");
        }
        let settings = std::fs::read_to_string(root.join("ringfence.yaml")).unwrap();
        assert!(settings.contains("instance: aither\n"), "{settings}");
        let own = format!("instance: {}\n", fleet.instance);
        fleet
            .on("main")
            .write("ringfence.yaml", &settings.replace("instance: aither\n", &own))
            .commit("the example fleet");
        fleet.git(&["branch", "develop"]);
        fleet.git(&["branch", "staging"]);
        fleet
    }

    /// The `ringfence.yaml` of [`TestFleet::new`].
    pub fn settings(&self) -> String {
        format!("fleet: test\ninstance: {}\n", self.instance)
    }

    /// The repository (its work tree; `main` is checked out).
    pub fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// A directory for whatever else the test needs, and `HOME`.
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// The command `git`, with nothing of the user's.
    pub fn git_command(&self) -> Command {
        let mut git = Command::new("git");
        self.hermetic(&mut git);
        git.current_dir(self.repo());
        git
    }

    /// Runs `git` in the work tree and gives its output, trimmed; it must succeed.
    #[track_caller]
    pub fn git(&self, args: &[&str]) -> String {
        self.git_with(args, |_| {})
    }

    /// The same with a command that is changed first.
    #[track_caller]
    pub fn git_with(&self, args: &[&str], change: impl FnOnce(&mut Command)) -> String {
        // Each later than the last, and the same in each run.
        let date = format!(
            "@{} +0000",
            1_790_000_000 + self.commits.fetch_add(1, Ordering::Relaxed)
        );
        let mut git = self.git_command();
        git.args(args)
            .env("GIT_AUTHOR_DATE", &date)
            .env("GIT_COMMITTER_DATE", &date);
        change(&mut git);
        let output = git.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {args:?}: {stderr}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Goes to a branch (made from where the work tree is, if it is not there yet) to write there and commit.
    pub fn on(&self, branch: &str) -> Change<'_> {
        let known = self
            .git_command()
            .args(["rev-parse", "-q", "--verify", &format!("refs/heads/{branch}")])
            .output()
            .unwrap();
        let at = self.git(&["symbolic-ref", "--short", "HEAD"]);
        if known.status.success() && at != branch {
            self.git(&["switch", "-q", branch]);
        } else if at != branch {
            self.git(&["switch", "-q", "-c", branch]);
        }
        Change {
            fleet: self,
            branch: branch.to_owned(),
        }
    }

    /// Writes a file of the work tree.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.repo().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Reads a file of the work tree.
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.repo().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Commits a pin of `ring` to `release` on `main`.
    pub fn pin(&self, ring: &str, release: &str) -> String {
        self.on("main")
            .write(
                &format!("rings/pins/{ring}.yaml"),
                &format!("release: {release}\nreason: \"a test\"\n"),
            )
            .commit(&format!("pin {ring}"))
    }

    fn hermetic(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_NAME", "Ana")
            .env("GIT_AUTHOR_EMAIL", "ana@example.org")
            .env("GIT_COMMITTER_NAME", "Ana")
            .env("GIT_COMMITTER_EMAIL", "ana@example.org")
            .env("DOCKER_HOST", &self.address)
            .env("NO_COLOR", "1");
    }

    /// Runs a line of shell as a reader of the docs would, `ringfence` on the path, in `dir`: what it printed, and the
    /// directory that it ended in.
    pub fn shell(&self, dir: &Path, line: &str) -> (Output, PathBuf) {
        let binary = Path::new(env!("CARGO_BIN_EXE_ringfence"));
        let path = std::env::var("PATH").unwrap();
        let mut shell = Command::new("sh");
        self.hermetic(&mut shell);
        let ended = self.dir.path().join("ended-in");
        let output = shell
            .arg("-c")
            .arg(format!("{line}\nstatus=$?; pwd >\"$ENDED_IN\"; exit $status"))
            .env("PATH", format!("{}:{path}", binary.parent().unwrap().display()))
            .env("RINGFENCE_STATE", self.state())
            .env("ENDED_IN", &ended)
            .current_dir(dir)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let ended = std::fs::read_to_string(ended).unwrap();
        (output, PathBuf::from(ended.trim_end()))
    }

    /// The binary, on this repository and state directory, with nothing of the user's.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        self.hermetic(&mut command);
        command
            .arg("-C")
            .arg(self.repo())
            .arg("--state")
            .arg(self.state())
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// Runs the binary to its end; one that does not end is killed, and the test fails.
    #[track_caller]
    pub fn ringfence(&self, args: &[&str]) -> Answer {
        self.ringfence_with(args, |_| {})
    }

    /// The same with a command that is changed first.
    #[track_caller]
    pub fn ringfence_with(&self, args: &[&str], change: impl FnOnce(&mut Command)) -> Answer {
        let asked = args.join(" ");
        let (stdout, stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let mut command = self.command(args);
        change(&mut command);
        let mut child = command
            .stdout(stdout.try_clone().unwrap())
            .stderr(stderr.try_clone().unwrap())
            .spawn()
            .unwrap();
        let end = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if Instant::now() > end {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let answer = Answer {
            asked,
            code: status.and_then(|s| s.code()).unwrap_or(-1),
            stdout: whole(stdout),
            stderr: whole(stderr),
        };
        assert!(status.is_some(), "it did not end within {DEADLINE:?}: {answer}");
        answer
    }

    /// Starts `ringfence run` and waits until its socket answers.
    #[track_caller]
    pub fn daemon(&self) -> Daemon {
        self.daemon_with(|_| {})
    }

    /// The same with a command that is changed first: arguments after `run`, variables.
    #[track_caller]
    pub fn daemon_with(&self, change: impl FnOnce(&mut Command)) -> Daemon {
        let log = self.dir.path().join("run.log");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let mut command = self.command(&["run"]);
        change(&mut command);
        let child = command
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let mut daemon = Daemon { child, log };
        let end = Instant::now() + DEADLINE;
        // Without an engine only the daemon has an answer.
        while self.ringfence(&["status", "-o", "json"]).code != 0 || self.status()["daemon"] != true {
            if let Some(status) = daemon.child.try_wait().unwrap() {
                panic!("`ringfence run` ended with {status}:\n{}", daemon.log());
            }
            assert!(Instant::now() < end, "no daemon answers:\n{}", daemon.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        daemon
    }

    /// What a person should know about the whole, as the status says it; one text.
    #[track_caller]
    pub fn conditions(&self) -> String {
        let all = self.status()["conditions"].clone();
        let all = all.as_array().into_iter().flatten();
        all.map(text).collect::<Vec<_>>().join("\n")
    }

    /// `status -o json`.
    #[track_caller]
    pub fn status(&self) -> Value {
        self.ringfence(&["status", "-o", "json"]).expect(0).json()
    }

    /// A ring in the status; `null` if it is not there.
    #[track_caller]
    pub fn ring(&self, name: &str) -> Value {
        named(&self.status()["rings"], "name", name)
    }

    /// A tenant in the status; `null` if it is not there.
    #[track_caller]
    pub fn tenant(&self, slug: &str) -> Value {
        named(&self.status()["tenants"], "slug", slug)
    }

    /// A tenant's service in the status; `null` if it is not there.
    #[track_caller]
    pub fn service(&self, slug: &str, service: &str) -> Value {
        named(&self.tenant(slug)["services"], "name", service)
    }

    /// Whether the ring is in this phase.
    #[track_caller]
    pub fn in_phase(&self, ring: &str, phase: &str) -> bool {
        self.ring(ring)["phase"] == phase
    }

    /// Whether the ring is `synced` and runs what is declared.
    #[track_caller]
    pub fn synced(&self, ring: &str) -> bool {
        let ring = self.ring(ring);
        ring["phase"] == "synced" && ring["declared"] == ring["running"]
    }

    /// Waits until the ledger was written so long ago that its time tells: then an `apply` at rest leaves what it read.
    pub fn ledger_is_old(&self) {
        let ledger = self.state().join("ledger.sqlite");
        self.eventually("the ledger is old enough to tell", |_| {
            let written = std::fs::metadata(&ledger).unwrap().modified().unwrap();
            written.elapsed().is_ok_and(|age| age.as_secs() > 3)
        });
    }

    /// Asks until the answer is yes. Fails with `what` and the status after a deadline.
    #[track_caller]
    pub fn eventually(&self, what: &str, mut ask: impl FnMut(&Self) -> bool) {
        self.eventually_some(what, |fleet| ask(fleet).then_some(()));
    }

    /// Asks until there is an answer.
    #[track_caller]
    pub fn eventually_some<T>(&self, what: &str, mut ask: impl FnMut(&Self) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(answer) = ask(self) {
                return answer;
            }
            assert!(
                Instant::now() < end,
                "did not happen within {DEADLINE:?}: {what}\n{}\n{}",
                self.ringfence(&["status"]),
                self.ringfence(&["events"])
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The `docker` command line on this engine: for looks and disturbances that ringfence itself would not make.
    pub fn docker(&self, args: &[&str]) -> Output {
        Command::new("docker")
            .arg("-H")
            .arg(&self.address)
            .args(args)
            .output()
            .expect("the docker command line is installed")
    }

    /// Its standard output, trimmed; it must succeed.
    #[track_caller]
    pub fn docker_ok(&self, args: &[&str]) -> String {
        let output = self.docker(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {args:?}: {stderr}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Whether the engine is a rootless one: its containers, and what it pulls from, are beyond a network namespace of its
    /// own, so that no probe from this host reaches them and no registry on this host's loopback is reached.
    pub fn is_rootless(&self) -> bool {
        self.docker_ok(&["info", "--format", "{{.SecurityOptions}}"])
            .contains("name=rootless")
    }

    /// All containers of the instance, inspected, by name.
    pub fn containers(&self) -> BTreeMap<String, Value> {
        loop {
            let ids = self.docker_ok(&["ps", "-aq", "--no-trunc", "--filter", &self.label()]);
            if ids.is_empty() {
                return BTreeMap::new();
            }
            let args: Vec<&str> = ["container", "inspect"].into_iter().chain(ids.lines()).collect();
            let output = self.docker(&args);
            // One was removed in between: look again.
            if !output.status.success() {
                continue;
            }
            let all: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
            return all
                .into_iter()
                .map(|one| {
                    (
                        one["Name"].as_str().unwrap().trim_start_matches('/').to_owned(),
                        one,
                    )
                })
                .collect();
        }
    }

    /// `id` by name of all containers: equal before and after means that nothing was touched.
    pub fn ids(&self) -> BTreeMap<String, String> {
        let id = |one: &Value| {
            format!(
                "{} started {}",
                text(&one["Id"]),
                text(&one["State"]["StartedAt"])
            )
        };
        self.containers()
            .iter()
            .map(|(name, one)| (name.clone(), id(one)))
            .collect()
    }

    /// The container that has the service's name (in either spelling), inspected; `null` if there is none. `owner` is a
    /// tenant, `0-<ring>`, or empty for the fleet's.
    pub fn serving(&self, owner: &str, service: &str) -> Value {
        let base = match owner {
            "" => format!("{service}.{}", self.instance),
            owner => format!("{service}.{owner}.{}", self.instance),
        };
        self.containers()
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(&base))
            .map_or(Value::Null, |(_, one)| one)
    }

    /// The id of the serving container; empty if there is none.
    pub fn id(&self, owner: &str, service: &str) -> String {
        text(&self.serving(owner, service)["Id"])
    }

    /// A variable in the serving container's environment; empty if there is none.
    pub fn env(&self, owner: &str, service: &str, key: &str) -> String {
        let one = self.serving(owner, service);
        one["Config"]["Env"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|pair| pair.as_str()?.split_once('='))
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value.to_owned())
            .unwrap_or_default()
    }

    /// The version of the example agent that serves.
    pub fn version(&self, owner: &str, service: &str) -> String {
        self.env(owner, service, "AGENT_VERSION")
    }

    /// What a URL answers from inside the service's container, e.g. `http://web:8080/`: the example agent asks.
    #[track_caller]
    pub fn get(&self, owner: &str, service: &str, url: &str) -> String {
        self.docker_ok(&["exec", &self.id(owner, service), "/agent", "get", url])
    }

    /// The live file `context.json` as the service sees it.
    #[track_caller]
    pub fn context(&self, owner: &str, service: &str) -> Value {
        serde_json::from_str(&self.get(owner, service, "http://127.0.0.1:8080/context")).unwrap()
    }

    /// Names of the instance's volumes.
    pub fn volumes(&self) -> Vec<String> {
        let names = self.docker_ok(&["volume", "ls", "-q", "--filter", &self.label()]);
        names.lines().map(str::to_owned).collect()
    }

    /// The filter that finds all that the instance owns.
    pub fn label(&self) -> String {
        format!("label={}={}", labels::INSTANCE, self.instance)
    }
}

impl Drop for TestFleet {
    fn drop(&mut self) {
        if self.real {
            remove_instance(&self.address, &self.instance);
        }
    }
}

/// A Compose file with the service `agent`: the example agent of that version, checked every second.
pub fn agent(version: &str) -> String {
    agent_with(version, &[])
}

/// The same with more variables, e.g. `("AGENT_FAIL", "unhealthy")`.
pub fn agent_with(version: &str, more: &[(&str, &str)]) -> String {
    let more: String = more
        .iter()
        .map(|(key, value)| format!(", {key}: \"{value}\""))
        .collect();
    format!(
        "services:\n{}",
        agent_service(
            "agent",
            &format!("environment: {{AGENT_VERSION: \"{version}\"{more}}}")
        )
    )
}

/// One service of a Compose file, indented for below `services:`: the example agent, checked every second, with more lines
/// of its own.
pub fn agent_service(name: &str, lines: &str) -> String {
    let own: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "  {name}:\n    image: {AGENT}\n    healthcheck: {{test: [CMD, /agent, check], interval: 1s, timeout: 5s, retries: 2}}\n{own}"
    )
}

/// A tenant file.
pub fn tenant(slug: &str, ring: &str) -> String {
    format!("slug: {slug}\ndisplay_name: \"The {slug}\"\nplan_tier: starter\nring: {ring}\n")
}

/// The element of a JSON array whose `key` is `name`; `null` if there is none.
pub fn named(list: &Value, key: &str, name: &str) -> Value {
    let list = list.as_array().into_iter().flatten();
    list.into_iter()
        .find(|one| one[key] == name)
        .cloned()
        .unwrap_or_default()
}

/// A JSON string's text; empty for anything else.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// What was written to a file of ours.
fn whole(mut file: File) -> String {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Builds the example agent if it is missing, and brings its image to the engine.
fn ensure_agent(address: &str) {
    static DONE: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    if done.contains(address) {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let agent = target.join("agent/agent");
    let run = |command: &mut Command| {
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
    };
    if !agent.exists() {
        run(&mut Command::new(root.join("scripts/build-agent")));
    }
    run(Command::new(agent)
        .args(["load", AGENT])
        .env("DOCKER_HOST", address));
    done.insert(address.to_owned());
}
