//! A change touches what differs, and nothing else.

use crate::support::fleet::{TestFleet, agent_service, tenant};

const TWO_SERVICES: &str = "desired/services/two.yaml";

fn two_services(name: &str) -> TestFleet {
    let fleet = TestFleet::one_ring(name);
    fleet
        .on("main")
        .write(
            TWO_SERVICES,
            &format!(
                "services:\n{}{}",
                agent_service("web", "environment: {THEME: light, DB_PASSWORD: correct-horse-1}"),
                agent_service("worker", "environment: {AGENT_VERSION: \"1\"}")
            ),
        )
        .write("desired/tenants/beta.yaml", &tenant("beta", "dev"))
        .commit("two more services");
    fleet.ringfence(&["apply"]).expect(0);
    fleet
}

#[test]
fn one_changed_variable_of_one_tenant_replaces_exactly_one_container() {
    let fleet = two_services("one-variable");
    let before = fleet.ids();
    assert_eq!(before.len(), 6);
    fleet
        .on("main")
        .write(
            "desired/tenants/acme.yaml",
            &(tenant("acme", "dev") + "config_overrides: {web: {THEME: dark}}\n"),
        )
        .commit("acme likes it dark");
    fleet
        .ringfence(&["plan", "--exit-code"])
        .expect(2)
        .says("acme/web")
        .says("env.THEME: light → dark")
        .says("0 to create, 1 to replace, 0 to repair, 0 to remove");
    fleet.ringfence(&["apply"]).expect(0);
    let after = fleet.ids();
    let touched = |ids: &std::collections::BTreeMap<String, String>,
                   other: &std::collections::BTreeMap<String, String>| {
        let known: Vec<&String> = other.values().collect();
        ids.values().filter(|id| !known.contains(id)).count()
    };
    assert_eq!(after.len(), 6);
    assert_eq!(touched(&after, &before), 1, "{before:#?}\n{after:#?}");
    assert_eq!(fleet.env("acme", "web", "THEME"), "dark");
    assert_eq!(fleet.env("beta", "web", "THEME"), "light");
}

#[test]
fn a_secret_value_is_shown_nowhere_but_its_change_is() {
    let fleet = two_services("secret-value");
    fleet
        .on("main")
        .replace(TWO_SERVICES, "correct-horse-1", "correct-horse-2")
        .commit("another password");
    let mut shown = vec![
        fleet
            .ringfence(&["plan", "--exit-code"])
            .expect(2)
            .says("env.DB_PASSWORD"),
        fleet
            .ringfence(&["plan", "--diff"])
            .expect(0)
            .says("env.DB_PASSWORD"),
        fleet.ringfence(&["plan", "-o", "json"]).expect(0),
        fleet.ringfence(&["apply"]).expect(0),
    ];
    assert_eq!(fleet.env("acme", "web", "DB_PASSWORD"), "correct-horse-2");
    for args in [
        &["status", "-o", "json"][..],
        &["status"],
        &["events", "-o", "json"],
        &["history"],
        &["tenant", "show", "acme"],
        &["tenant", "env", "acme", "-o", "json"],
    ] {
        shown.push(fleet.ringfence(args).expect(0));
    }
    for answer in shown {
        assert!(
            !format!("{answer}").contains("correct-horse"),
            "the password is shown: {answer}"
        );
    }
}

#[test]
fn a_live_value_reaches_the_container_without_a_restart() {
    let fleet = TestFleet::example("live");
    fleet.ringfence(&["apply"]).expect(0);
    let before = fleet.ids();
    let context = fleet.context("dev-lab", "agent");
    assert_eq!(context["display_name"], "Dev lab");
    assert_eq!(context["stack"]["name"], "hyperscaler");
    assert!(
        fleet
            .get("dev-lab", "agent", "http://127.0.0.1:8080/spirit")
            .contains("You are a colleague on a team that ships")
    );

    fleet
        .on("develop")
        .replace("desired/tenants/dev-lab.yaml", "\"Dev lab\"", "\"The lab\"")
        .replace(
            "desired/tenants/dev-lab.yaml",
            "stack: hyperscaler",
            "stack: cloud-only",
        )
        .replace("desired/tenants/dev-lab.yaml", "spirit: work", "spirit: teaching")
        .commit("a name, a stack and a spirit");
    fleet
        .ringfence(&["plan", "--exit-code"])
        .expect(2)
        .says("context.json")
        .says("0 to create, 0 to replace");
    fleet.ringfence(&["apply"]).expect(0);
    let context = fleet.context("dev-lab", "agent");
    assert_eq!(context["display_name"], "The lab");
    assert_eq!(context["stack"]["name"], "cloud-only");
    assert!(
        fleet
            .get("dev-lab", "agent", "http://127.0.0.1:8080/spirit")
            .contains("You are a patient teacher")
    );
    // The shared service sees its tenants' contexts as well.
    let backbone = fleet.context("", "backbone");
    assert!(backbone.to_string().contains("The lab"), "{backbone}");
    assert_eq!(fleet.ids(), before, "nothing was restarted");
    fleet.ringfence(&["plan", "--exit-code"]).expect(0);
}

#[test]
fn a_released_spirit_or_stack_changes_the_live_files_only() {
    let fleet = TestFleet::example("live-release");
    fleet.ringfence(&["apply"]).expect(0);
    let (before, running) = (fleet.ids(), fleet.ring("dev")["running"].clone());
    fleet
        .on("develop")
        .replace(
            "desired/spirits/work.md",
            "on a team that ships",
            "on a team that sails",
        )
        .commit("another spirit");
    fleet.ringfence(&["apply"]).expect(0);
    assert!(
        fleet
            .get("dev-lab", "agent", "http://127.0.0.1:8080/spirit")
            .contains("a team that sails")
    );
    assert_ne!(
        fleet.ring("dev")["running"],
        running,
        "the base is another release"
    );
    assert_eq!(fleet.ids(), before, "and yet nothing was restarted");
}

#[test]
fn a_commit_that_touches_no_content_is_no_release() {
    let fleet = TestFleet::one_ring("no-content");
    fleet.ringfence(&["apply"]).expect(0);
    let (before, running) = (fleet.ids(), fleet.ring("dev")["running"].clone());
    fleet
        .on("main")
        .write("src/app.rs", "fn main() {}\n")
        .commit("source code");
    fleet.ringfence(&["plan", "--exit-code"]).expect(0);
    fleet.ringfence(&["apply"]).expect(0).says("Nothing to do.");
    assert_eq!(fleet.ring("dev")["running"], running);
    assert_eq!(fleet.ids(), before);
}

#[test]
fn a_client_finds_the_service_by_its_name_before_and_after_a_replacement() {
    let fleet = two_services("by-name");
    let url = "http://web:8080/";
    assert!(fleet.get("acme", "worker", url).contains("tenant acme"));
    let web = fleet.id("acme", "web");
    fleet
        .on("main")
        .replace(TWO_SERVICES, "THEME: light", "THEME: blue")
        .commit("blue");
    fleet.ringfence(&["apply"]).expect(0);
    assert_ne!(fleet.id("acme", "web"), web);
    assert!(fleet.get("acme", "worker", url).contains("tenant acme"));
    // And never another tenant's.
    let other = format!("http://web.beta.{}:8080/", fleet.instance);
    let output = fleet.docker(&["exec", &fleet.id("acme", "worker"), "/agent", "get", &other]);
    assert!(!output.status.success(), "acme reaches beta");
}
