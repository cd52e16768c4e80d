//! Volumes, files of the release, files in memory and published ports.

use std::io::{Read as _, Write as _};

use serde_json::Value;

use crate::support::fleet::{AGENT, TestFleet, agent_service, text};

const FILE: &str = "desired/services/agent.yaml";

fn with_service(name: &str, lines: &str, tail: &str) -> TestFleet {
    let fleet = TestFleet::one_ring(name);
    fleet
        .on("main")
        .write(
            FILE,
            &format!("services:\n{}{tail}", agent_service("agent", lines)),
        )
        .commit("a service");
    fleet
}

fn mount(fleet: &TestFleet, service: &str, to: &str) -> Value {
    let one = fleet.serving("acme", service);
    let mounts = one["Mounts"].as_array().unwrap().clone();
    mounts
        .into_iter()
        .find(|m| m["Destination"] == to)
        .unwrap_or_else(|| panic!("nothing is mounted at {to}: {}", one["Mounts"]))
}

/// What stands in a file of the serving container.
fn file(fleet: &TestFleet, path: &str) -> String {
    let source = format!("{}:{path}", fleet.id("acme", "agent"));
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("copy");
    fleet.docker_ok(&["cp", "-L", &source, copy.to_str().unwrap()]);
    std::fs::read_to_string(copy).unwrap()
}

fn put(fleet: &TestFleet, path: &str, text: &str) {
    let place = tempfile::tempdir().unwrap();
    let from = place.path().join("file");
    std::fs::write(&from, text).unwrap();
    let to = format!("{}:{path}", fleet.id("acme", "agent"));
    fleet.docker_ok(&["cp", from.to_str().unwrap(), &to]);
}

#[test]
fn a_named_volume_keeps_its_data_over_a_replacement_which_is_stop_first() {
    let fleet = with_service(
        "volume",
        "volumes: [\"data:/data\"]\nenvironment: {AGENT_VERSION: \"1\"}",
        "volumes:\n  data: {}\n",
    );
    fleet.ringfence(&["apply"]).expect(0);
    put(&fleet, "/data/kept", "what it knew");
    let volumes = fleet.volumes();
    fleet
        .on("main")
        .replace(FILE, "AGENT_VERSION: \"1\"", "AGENT_VERSION: \"2\"")
        .commit("version 2");
    fleet.ringfence(&["plan"]).expect(0).says("stop-first");
    let before = fleet.id("acme", "agent");
    fleet.ringfence(&["apply"]).expect(0);
    assert_ne!(fleet.id("acme", "agent"), before);
    assert_eq!(fleet.version("acme", "agent"), "2");
    assert_eq!(file(&fleet, "/data/kept"), "what it knew");
    assert_eq!(fleet.volumes(), volumes);
}

#[test]
fn a_file_of_the_release_is_mounted_read_only_and_its_change_replaces() {
    let fleet = TestFleet::one_ring("held-file");
    let service = agent_service(
        "agent",
        "volumes: [\"./conf/app.conf:/etc/app.conf\", \"./data:/data\"]",
    );
    fleet
        .on("main")
        .write(FILE, &format!("services:\n{service}"))
        .write("desired/services/conf/app.conf", "colour = red\n")
        .commit("a file");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(mount(&fleet, "agent", "/etc/app.conf")["RW"], false);
    assert_eq!(file(&fleet, "/etc/app.conf"), "colour = red\n");
    // What the release does not hold is the tenant's own volume.
    let data = mount(&fleet, "agent", "/data");
    assert_eq!(
        (text(&data["Type"]), data["RW"].clone()),
        ("volume".to_owned(), true.into())
    );
    assert!(
        fleet.volumes().contains(&text(&data["Name"])),
        "it carries the instance's label"
    );
    put(&fleet, "/data/kept", "still here");

    let before = fleet.id("acme", "agent");
    fleet
        .on("main")
        .write("desired/services/conf/app.conf", "colour = blue\n")
        .commit("blue");
    fleet
        .ringfence(&["plan", "--exit-code"])
        .expect(2)
        .says("1 to replace");
    fleet.ringfence(&["apply"]).expect(0);
    assert_ne!(fleet.id("acme", "agent"), before);
    assert_eq!(file(&fleet, "/etc/app.conf"), "colour = blue\n");
    assert_eq!(file(&fleet, "/data/kept"), "still here");
}

#[test]
fn configs_env_files_and_tmpfs_are_as_the_compose_file_says() {
    let fleet = TestFleet::one_ring("configs");
    let lines = "configs: [{source: app, target: /etc/app.ini}]\nenv_file: [./app.env]\ntmpfs: [\"/scratch:size=1m\"]";
    fleet
        .on("main")
        .write(
            FILE,
            &format!(
                "services:\n{}configs:\n  app: {{file: ./app.ini}}\n",
                agent_service("agent", lines)
            ),
        )
        .write("desired/services/app.ini", "[app]\n")
        .write("desired/services/app.env", "FROM_FILE=yes\nAGENT_VERSION=7\n")
        .commit("configs");
    fleet.ringfence(&["check"]).expect(0);
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(file(&fleet, "/etc/app.ini"), "[app]\n");
    assert_eq!(fleet.env("acme", "agent", "FROM_FILE"), "yes");
    assert_eq!(fleet.version("acme", "agent"), "7");
    assert_eq!(mount(&fleet, "agent", "/scratch")["Type"], "tmpfs");
    fleet.ringfence(&["plan", "--exit-code"]).expect(0);

    fleet
        .on("main")
        .write("desired/services/app.env", "FROM_FILE=no\nAGENT_VERSION=7\n")
        .commit("the file of variables");
    fleet
        .ringfence(&["plan"])
        .expect(0)
        .says("env.FROM_FILE: yes → no");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.env("acme", "agent", "FROM_FILE"), "no");
}

#[test]
fn a_published_port_answers_on_the_hosts_own_address_and_is_replaced_stop_first() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let fleet = with_service(
        "port",
        &format!("ports: [\"{port}:8080\"]\nenvironment: {{AGENT_VERSION: \"1\"}}"),
        "",
    );
    fleet.ringfence(&["apply"]).expect(0);
    let bindings = fleet.serving("acme", "agent")["HostConfig"]["PortBindings"]["8080/tcp"].clone();
    assert_eq!(bindings[0]["HostIp"], "127.0.0.1", "{AGENT} {bindings}");
    let ask = || {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask().contains("\"version\":\"1\""));
    fleet
        .on("main")
        .replace(FILE, "AGENT_VERSION: \"1\"", "AGENT_VERSION: \"2\"")
        .commit("version 2");
    fleet
        .ringfence(&["plan"])
        .expect(0)
        .says("stop-first")
        .says("port");
    fleet.ringfence(&["apply"]).expect(0);
    assert!(ask().contains("\"version\":\"2\""));
}

#[test]
fn a_stop_first_replacement_that_fails_brings_the_old_one_back() {
    let fleet = with_service(
        "stop-first-back",
        "volumes: [\"data:/data\"]\nenvironment: {AGENT_VERSION: \"1\"}",
        "volumes:\n  data: {}\n",
    );
    fleet.ringfence(&["apply"]).expect(0);
    put(&fleet, "/data/kept", "what it knew");
    let old = fleet.id("acme", "agent");
    fleet
        .on("main")
        .replace(
            FILE,
            "AGENT_VERSION: \"1\"",
            "AGENT_VERSION: \"2\", AGENT_FAIL: exit",
        )
        .commit("version 2 is bad");
    fleet.ringfence(&["apply"]).expect(3);
    assert_eq!(fleet.id("acme", "agent"), old, "the very same container");
    assert_eq!(fleet.serving("acme", "agent")["State"]["Running"], true);
    assert_eq!(file(&fleet, "/data/kept"), "what it knew");
}
