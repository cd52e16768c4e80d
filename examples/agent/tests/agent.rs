//! The program as it is run: its answers, its failures on request, its end.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers outside of #[test] functions are tests too

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

const AGENT: &str = env!("CARGO_BIN_EXE_agent");

/// A running `agent serve` on a port of its own choice.
struct Agent {
    child: Child,
    out: BufReader<ChildStdout>,
    port: u16,
}

impl Agent {
    fn start(live: &Path, env: &[(&str, &str)]) -> Self {
        let mut serving = Command::new(AGENT);
        serving
            .env_clear()
            .env("AGENT_PORT", "0")
            .env("AGENT_LIVE_DIR", live)
            .envs(env.iter().copied());
        let mut child = serving.stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        out.read_line(&mut said).unwrap();
        let port = said
            .trim()
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap_or_else(|_| panic!("no port in {said:?}"));
        Self { child, out, port }
    }

    fn open(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        stream
    }

    fn get(&self, path: &str) -> String {
        read(self.open(path))
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn agent(arguments: &[&str]) -> Output {
    Command::new(AGENT).args(arguments).output().unwrap()
}

#[test]
fn it_tells_its_version_and_its_tenant() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(
        dir.path(),
        &[("AGENT_VERSION", "1.2"), ("TENANT_SLUG", "acme"), ("SECRET", "x")],
    );
    let health = agent.get("/healthz");
    assert!(health.starts_with("HTTP/1.1 200 "), "{health}");
    assert!(
        health.contains(r#""version":"1.2""#) && health.contains(r#""tenant":"acme""#),
        "{health}"
    );
    let env = agent.get("/env");
    assert!(env.contains("TENANT_SLUG") && !env.contains("SECRET"), "{env}");
    assert!(agent.get("/nowhere").starts_with("HTTP/1.1 404 "));
}

#[test]
fn live_files_are_read_at_each_request() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(dir.path(), &[]);
    assert!(agent.get("/context").starts_with("HTTP/1.1 404 "));
    std::fs::write(dir.path().join("context.json"), r#"{"stack":"one"}"#).unwrap();
    assert!(agent.get("/context").ends_with(r#"{"stack":"one"}"#));
    std::fs::write(dir.path().join("context.json"), r#"{"stack":"two"}"#).unwrap();
    assert!(agent.get("/context").ends_with(r#"{"stack":"two"}"#));
    std::fs::write(dir.path().join("spirit.md"), "be kind").unwrap();
    assert!(agent.get("/spirit").ends_with("be kind"));
}

#[test]
fn check_follows_the_health_answer() {
    let dir = tempfile::tempdir().unwrap();
    let well = Agent::start(dir.path(), &[]);
    assert_eq!(agent(&["check", &well.url("/healthz")]).status.code(), Some(0));
    let sick = Agent::start(dir.path(), &[("AGENT_FAIL", "unhealthy")]);
    let output = agent(&["check", &sick.url("/healthz")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("503"));
    assert_eq!(agent(&["get", &sick.url("/")]).status.code(), Some(0));
}

#[test]
fn told_to_exit_it_says_why_and_exits_with_1() {
    let output = Command::new(AGENT).env("AGENT_FAIL", "exit").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("AGENT_FAIL=exit"));
}

#[test]
fn sigterm_ends_an_idle_agent_with_0_and_lets_an_accepted_request_finish() {
    let dir = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(dir.path(), &[]);
    let request = agent.open("/sleep?ms=400");
    // A second request on a later connection is answered, so the first one has been accepted.
    assert!(agent.get("/healthz").starts_with("HTTP/1.1 200 "));
    agent.terminate();
    let answer = read(request);
    assert!(answer.contains(r#""slept_ms":400"#), "{answer}");
    assert_eq!(agent.child.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    agent.out.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("stopped with 0 requests left"), "{rest}");
    assert!(TcpStream::connect(("127.0.0.1", agent.port)).is_err());
}

#[test]
fn a_hammer_counts_every_request_and_every_failure() {
    let dir = tempfile::tempdir().unwrap();
    let well = Agent::start(dir.path(), &[("AGENT_VERSION", "7")]);
    let output = agent(&[
        "hammer",
        &well.url("/healthz"),
        "--every-ms",
        "5",
        "--for-ms",
        "300",
    ]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), told["failed"].as_u64()),
        (Some(0), Some(0)),
        "{told}"
    );
    assert!(told["sent"].as_u64().unwrap() > 0);
    assert_eq!(told["versions"]["7"], told["sent"]);
    let sick = Agent::start(dir.path(), &[("AGENT_FAIL", "unhealthy")]);
    let output = agent(&[
        "hammer",
        &sick.url("/healthz"),
        "--every-ms",
        "5",
        "--for-ms",
        "100",
    ]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(told["errors"]["status: 503"], told["sent"], "{told}");
}

#[test]
fn a_hammer_ends_when_its_file_appears() {
    let dir = tempfile::tempdir().unwrap();
    let well = Agent::start(dir.path(), &[]);
    let file = dir.path().join("stop");
    let mut hammer = Command::new(AGENT);
    hammer
        .args(["hammer", &well.url("/"), "--until"])
        .arg(&file)
        .stdout(Stdio::piped());
    let mut hammer = hammer.spawn().unwrap();
    assert!(hammer.try_wait().unwrap().is_none());
    std::fs::write(&file, "").unwrap();
    let output = hammer.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"failed\":0"));
}

#[test]
fn a_dynamic_build_makes_no_image_and_a_wrong_call_shows_the_usage() {
    let output = agent(&["image", "a:1"]);
    if cfg!(target_feature = "crt-static") {
        assert!(output.status.success());
    } else {
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("scripts/build-agent"));
    }
    for wrong in [
        &["image", "NoTag"][..],
        &["frob"],
        &["get"],
        &["serve", "--frob", "1"],
        &["hammer", "http://x", "--for-ms", "soon"],
    ] {
        assert_eq!(agent(wrong).status.code(), Some(64), "{wrong:?}");
    }
}
