//! The verbs that tell, and `init`.

use crate::support::fleet::{AGENT, TestFleet};

#[test]
fn the_verbs_that_tell_say_what_the_example_fleet_declares() {
    let fleet = TestFleet::example("verbs");
    fleet
        .ringfence(&["tenant", "list"])
        .expect(0)
        .says("dev-lab")
        .says("canary");
    let list = fleet
        .ringfence(&["tenant", "list", "-o", "json"])
        .expect(0)
        .json();
    assert_eq!(list.as_array().unwrap().len(), 4);
    fleet
        .ringfence(&["tenant", "show", "dev-lab"])
        .expect(0)
        .says("agent, web")
        .says("uncapped");
    let env = fleet
        .ringfence(&["tenant", "env", "dev-lab", "-o", "json"])
        .expect(0)
        .json();
    assert_eq!(env["TENANT_DB_NAME"]["value"], "aither_dev_lab");
    assert_eq!(env["TENANT_STACK"]["in"], "live");
    fleet
        .ringfence(&["tenant", "show", "nobody"])
        .expect(1)
        .complains("nobody");

    fleet
        .ringfence(&["stack", "list"])
        .expect(0)
        .says("cloud-offload *");
    fleet
        .ringfence(&["stack", "preview", "hyperscaler"])
        .expect(0)
        .says("aither-hyperscaler");
    fleet
        .ringfence(&["stack", "preview", "hyperscalr"])
        .expect(1)
        .complains("did you mean `hyperscaler`?");

    fleet.ringfence(&["spirit", "list"]).expect(0).says("teaching");
    fleet
        .ringfence(&["spirit", "render", "dev-lab"])
        .expect(0)
        .says("You are a colleague on a team that ships")
        .complains("desired/spirits/tenants/dev-lab.md");

    fleet.ringfence(&["history"]).expect(0);
    fleet.ringfence(&["apply"]).expect(0);
    fleet
        .ringfence(&["history", "dev"])
        .expect(0)
        .says("dev runs rel-");
    let events = fleet.ringfence(&["events", "-o", "json"]).expect(0).json();
    assert!(!events.as_array().unwrap().is_empty());
    fleet
        .ringfence(&["logs", "dev-lab/agent"])
        .expect(0)
        .says("agent: version 1.0 listens on port 8080");
    fleet
        .ringfence(&["logs", "dev-lab"])
        .expect(0)
        .says("web.dev-lab");
    fleet.ringfence(&["logs", "dev-lab/nothing"]).expect(1);
}

#[test]
fn wrong_calls_are_told_with_64() {
    let fleet = TestFleet::one_ring("usage");
    for args in [
        &["aply"][..],
        &[],
        &["plan", "--no-such-flag"],
        &["apply", "Not A Name"],
        &["logs"],
        &["status", "-o", "xml"],
    ] {
        fleet.ringfence(args).expect(64);
    }
    fleet.ringfence(&["--help"]).expect(0).says("init");
    fleet.ringfence(&["--version"]).expect(0).says("ringfence");
}

#[test]
fn what_init_makes_passes_check_and_runs_at_once() {
    for (name, more) in [("init-three", None), ("init-one", Some("--one-branch"))] {
        let fleet = TestFleet::new(name);
        // The folder's name is the instance's.
        let folder = fleet.home().join(&fleet.instance);
        let at = folder.to_str().unwrap();
        let mut init = vec!["init", at, "--image", AGENT];
        init.extend(more);
        fleet.ringfence(&init).expect(0).says("ringfence -C");
        let on = |args: &[&str]| fleet.ringfence(&[&["--repo", at], args].concat());
        fleet.ringfence(&["check", at]).expect(0);
        on(&["plan", "--exit-code"]).expect(2);
        on(&["apply"]).expect(0);
        on(&["plan", "--exit-code"]).expect(0);
        assert_eq!(fleet.containers().len(), 1);
        assert_eq!(fleet.env("lab", "web", "GREETING"), "hello from the lab");
        fleet.ringfence(&init).expect(1);
    }
}

#[test]
fn what_import_makes_passes_check_and_runs_at_once() {
    let fleet = TestFleet::new("import");
    let project = fleet.home().join(&fleet.instance);
    std::fs::create_dir_all(project.join("conf")).unwrap();
    std::fs::write(project.join("conf/site.conf"), "greeting = hello\n").unwrap();
    std::fs::write(project.join(".env"), "GREETING=from .env\n").unwrap();
    std::fs::write(
        project.join("docker-compose.yml"),
        format!(
            "# our shop\nservices:\n  web:\n    image: {AGENT}\n    privileged: true\n    environment:\n      GREETING: ${{GREETING}}\n      TOKEN: ${{TOKEN}}\n    volumes:\n      - /srv/media:/media\n      - ./conf:/conf:ro\n    cap_drop: [ALL]\n    security_opt: [\"no-new-privileges:true\"]\n    extra_hosts: [\"far:192.0.2.1\"]\n    dns_search: example.org\n  client:\n    image: {AGENT}\n    links: [\"web:shop\"]\n  own:\n    build: .\n"
        ),
    )
    .unwrap();
    let compose = project.join("docker-compose.yml");
    let into = fleet.home().join("made");
    let at = into.to_str().unwrap();
    let args = ["import", compose.to_str().unwrap(), "--into", at];
    fleet
        .ringfence(&args)
        .expect(0)
        .says("docker-compose.yml:5:5: `privileged` is left out")
        .says("docker-compose.yml:10:9: `/srv/media` becomes a volume")
        .says("docker-compose.yml:8:14: the variable `TOKEN` has no value")
        .says("docker-compose.yml:20:5: the service `own` is left out")
        .says("`check` passes");
    let made = std::fs::read_to_string(into.join("desired/services/docker-compose.yml")).unwrap();
    assert!(
        made.starts_with("# our shop\n") && made.contains("    # privileged: true\n"),
        "{made}"
    );
    assert!(
        std::fs::read_to_string(&compose)
            .unwrap()
            .contains("    privileged: true\n"),
        "the user's own file stays"
    );
    let on = |args: &[&str]| fleet.ringfence(&[&["--repo", at], args].concat());
    fleet.ringfence(&["check", at]).expect(0);
    on(&["apply"]).expect(0);
    on(&["plan", "--exit-code"]).expect(0);
    assert_eq!(fleet.env("lab", "web", "GREETING"), "from .env");
    let web = fleet.serving("lab", "web");
    let host = &web["HostConfig"];
    assert_eq!(host["SecurityOpt"][0], "no-new-privileges");
    assert_eq!(host["DnsSearch"][1], "example.org");
    assert!(
        fleet
            .get("lab", "client", "http://shop:8080/context")
            .contains("\"lab\""),
        "a link is a name"
    );
    fleet.ringfence(&args).expect(1).complains("not empty");
    std::fs::write(&compose, "services: {own: {build: .}}\n").unwrap();
    let nowhere = fleet.home().join("nowhere");
    fleet
        .ringfence(&[
            "import",
            compose.to_str().unwrap(),
            "--into",
            nowhere.to_str().unwrap(),
        ])
        .expect(1)
        .complains("nothing of the project can be carried out");
    assert!(!nowhere.exists(), "nothing was written");
}
