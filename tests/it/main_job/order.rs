//! What waits for what, jobs that run once, and health from outside.

use crate::support::fleet::{TestFleet, agent_service, text};

const FILE: &str = "desired/services/agent.yaml";

fn with_services(name: &str, services: &[String]) -> TestFleet {
    let fleet = TestFleet::one_ring(name);
    fleet
        .on("main")
        .write(FILE, &format!("services:\n{}", services.concat()))
        .commit("services");
    fleet
}

fn started(fleet: &TestFleet, service: &str) -> jiff::Timestamp {
    text(&fleet.serving("acme", service)["State"]["StartedAt"])
        .parse()
        .unwrap()
}

#[test]
fn a_service_starts_when_what_it_depends_on_is_healthy_and_its_job_is_done() {
    let fleet = with_services(
        "depends",
        &[
            agent_service(
                "a-web",
                "depends_on:\n  db: {condition: service_healthy}\n  migrate: {condition: service_completed_successfully}",
            ),
            agent_service("db", "environment: {AGENT_START_MS: \"1500\"}"),
            // The job needs the database to be there: it fails if it is not waited for.
            format!(
                "  migrate:\n    image: {}\n    command: [check, \"http://db:8080/healthz\"]\n    depends_on:\n      db: {{condition: service_healthy}}\n",
                crate::support::fleet::AGENT
            ),
        ],
    );
    fleet.ringfence(&["apply"]).expect(0);
    let job = fleet.serving("acme", "migrate");
    assert_eq!(job["State"]["ExitCode"], 0);
    let ended: jiff::Timestamp = text(&job["State"]["FinishedAt"]).parse().unwrap();
    assert!(started(&fleet, "db") < started(&fleet, "migrate"));
    assert!(ended <= started(&fleet, "a-web"));
    assert!(fleet.in_phase("dev", "synced"));

    // The job has run: neither the next pass repeats it, nor the loss of its container.
    let before = fleet.ids();
    fleet.ringfence(&["apply"]).expect(0).says("Nothing to do.");
    assert_eq!(fleet.ids(), before);
    fleet.docker_ok(&["rm", &text(&job["Id"])]);
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.id("acme", "migrate"), "", "not repeated");

    // Another spec is another job.
    fleet
        .on("main")
        .replace(
            FILE,
            "command: [check, \"http://db:8080/healthz\"]",
            "command: [get, \"http://db:8080/healthz\"]",
        )
        .commit("another migration");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.serving("acme", "migrate")["State"]["ExitCode"], 0);
}

#[test]
fn a_job_that_fails_holds_up_who_waits_for_it() {
    let fleet = with_services(
        "bad-job",
        &[
            agent_service(
                "web",
                "depends_on:\n  migrate: {condition: service_completed_successfully}",
            ),
            format!(
                "  migrate:\n    image: {}\n    command: [check, \"http://127.0.0.1:1/\"]\n",
                crate::support::fleet::AGENT
            ),
        ],
    );
    fleet.ringfence(&["apply"]).expect(1);
    assert!(fleet.in_phase("dev", "degraded"));
    assert_eq!(fleet.id("acme", "web"), "", "it was not started");
}

/// A rootless engine's containers cannot be probed: that is said, and they are not taken for healthy.
fn unprobed(fleet: &TestFleet) -> bool {
    if !fleet.is_rootless() {
        return false;
    }
    let told = fleet.ringfence(&["apply"]).expect(1);
    told.says("the engine is rootless: the probe of acme/web does not reach its containers");
    assert_ne!(fleet.service("acme", "web")["health"], "healthy");
    true
}

#[test]
fn a_service_without_a_healthcheck_is_probed_from_outside() {
    let probed = |path: &str| {
        format!(
            "  web:\n    image: {}\n    healthcheck: {{disable: true}}\n    environment: {{AGENT_START_MS: \"300\"}}\n    x-ringfence:\n      probe: {{http: \":8080{path}\", interval: 1s}}\n",
            crate::support::fleet::AGENT
        )
    };
    let fleet = with_services("probe", &[probed("/healthz")]);
    if unprobed(&fleet) {
        return;
    }
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.service("acme", "web")["health"], "healthy");
    let good = fleet.id("acme", "web");

    fleet
        .on("main")
        .write(FILE, &format!("services:\n{}", probed("/no-such-page")))
        .commit("a probe that fails");
    fleet.ringfence(&["apply"]);
    assert_eq!(fleet.id("acme", "web"), good);
}

/// What ran before answers as well, and well: only its name tells that it is not the new one.
#[test]
fn a_probe_that_wants_the_release_named_takes_no_other_answer_for_it() {
    let probed = |path: &str, version: &str| {
        format!(
            "  web:\n    image: {}\n    healthcheck: {{disable: true}}\n    environment: {{AGENT_RELEASE: \"${{RINGFENCE_RELEASE}}\", AGENT_VERSION: \"{version}\"}}\n    x-ringfence:\n      probe: {{http: \":8080{path}\", names_release: true, interval: 1s, retries: 2}}\n",
            crate::support::fleet::AGENT
        )
    };
    let fleet = with_services("probe-names", &[probed("/env", "1")]);
    let goes = |path: &str, version: &str, code: i32| {
        fleet
            .on("main")
            .write(FILE, &format!("services:\n{}", probed(path, version)))
            .commit(version);
        fleet.ringfence(&["apply"]).expect(code);
        fleet.id("acme", "web")
    };
    if unprobed(&fleet) {
        return;
    }
    fleet.ringfence(&["apply"]).expect(0);
    let first = fleet.id("acme", "web");
    let second = goes("/env", "2", 0);
    assert_ne!(second, first);
    // This answers 200 and says nothing of a release.
    assert_eq!(goes("/healthz", "3", 3), second, "it went back");
    assert_eq!(fleet.service("acme", "web")["health"], "healthy");
}
