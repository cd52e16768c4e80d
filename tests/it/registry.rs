//! Images from a registry: resolved to a digest once, pulled before anything stops, and never needed to keep what runs.

use crate::support::fleet::TestFleet;
use crate::support::registry::Registry;

const SERVICE: &str = "desired/services/tiny.yaml";

fn compose(image: &str, value: &str) -> String {
    format!(
        "services:\n  tiny:\n    image: {image}\n    restart: unless-stopped\n    environment: {{VALUE: \"{value}\"}}\n    x-ringfence: {{probe: {{tcp: 8080}}}}\n    command: [serve, \"8080\"]\n"
    )
}

fn fleet(name: &str, image: &str) -> TestFleet {
    let fleet = TestFleet::one_ring(name);
    fleet
        .on("main")
        .remove("desired/services/agent.yaml")
        .write(SERVICE, &compose(image, "one"))
        .commit("an image from a registry");
    fleet
}

/// The exact image that the service's container was made from.
fn image(fleet: &TestFleet) -> String {
    fleet.serving("acme", "tiny")["Config"]["Image"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn an_image_is_pulled_by_the_digest_that_its_tag_had_when_the_content_was_first_seen() {
    let registry = Registry::new();
    let first = registry.push("1", "first");
    let fleet = fleet("registry-digest", &registry.reference("1"));
    fleet.ringfence(&["apply"]).expect(0).complains("pulling");
    assert!(image(&fleet).ends_with(&first), "{} is {first}", image(&fleet));

    // The tag moves: what runs is the release's image, whatever is applied.
    let second = registry.push("1", "second");
    let before = fleet.ids();
    fleet.ringfence(&["apply"]).expect(0).says("Nothing to do.");
    assert_eq!(fleet.ids(), before);

    // Another content is another release: the engine's own image is taken as it is, so the tag is asked for only with
    // `pull_policy: always`.
    let always = compose(&registry.reference("1"), "two") + "    pull_policy: always\n";
    fleet.on("main").write(SERVICE, &always).commit("always");
    fleet.ringfence(&["apply"]).expect(0);
    assert!(image(&fleet).ends_with(&second), "{} is {second}", image(&fleet));
}

#[test]
fn an_image_that_cannot_be_had_leaves_the_old_container_running() {
    let mut registry = Registry::new();
    registry.push("1", "first");
    let fleet = fleet("registry-gone", &registry.reference("1"));
    fleet.ringfence(&["apply"]).expect(0);
    let before = fleet.ids();

    fleet
        .on("main")
        .write(SERVICE, &compose(&registry.reference("2"), "two"))
        .commit("a tag that nobody pushed");
    let answer = fleet.ringfence(&["apply"]).expect(4);
    assert!(
        answer.stdout.contains("tiny:2") && answer.stdout.contains("`tiny`"),
        "image and service are named: {answer}"
    );
    assert_eq!(fleet.ids(), before, "the old one runs on");

    // The registry is away altogether: the same, and healing what runs needs it not.
    registry.stop();
    fleet.docker_ok(&["rm", "-f", &fleet.id("acme", "tiny")]);
    fleet.ringfence(&["apply"]).expect(4);
    assert_eq!(fleet.env("acme", "tiny", "VALUE"), "one");
}

#[test]
fn a_push_and_resolve_bring_the_image_that_was_missing() {
    let registry = Registry::new();
    registry.push("1", "first");
    let fleet = fleet("registry-resolve", &registry.reference("1"));
    fleet.ringfence(&["apply"]).expect(0);
    fleet
        .on("main")
        .write(SERVICE, &compose(&registry.reference("2"), "two"))
        .commit("a tag that comes later");
    fleet.ringfence(&["apply"]).expect(4);
    registry.push("2", "second");
    fleet.ringfence(&["apply", "dev", "--resolve"]).expect(0);
    assert_eq!(fleet.env("acme", "tiny", "VALUE"), "two");
    assert!(registry.asked("manifests 2") >= 2, "it was asked again");
}

#[test]
fn a_private_registry_is_asked_with_the_login_that_docker_has_for_it() {
    // `ana:s~?>c~?>`: its base64 inside the header's own has characters that the two alphabets write differently.
    const LOGIN: &str = "YW5hOnN+Pz5jfj8+";
    let registry = Registry::new();
    let digest = registry.push("1", "first");
    registry.guard(LOGIN);
    let fleet = fleet("registry-login", &registry.reference("1"));
    fleet
        .ringfence(&["apply"])
        .expect(4)
        .says(&format!("docker login {}", registry.host()));
    assert!(fleet.ids().is_empty(), "nothing was made");

    let config = fleet.home().join(".docker/config.json");
    let write = |login: &str| {
        std::fs::create_dir_all(config.parent().unwrap()).unwrap();
        let text = serde_json::json!({"auths": {registry.host(): {"auth": login}}});
        std::fs::write(&config, text.to_string()).unwrap();
    };
    write("YW5hOndyb25n"); // ana:wrong
    fleet
        .ringfence(&["apply", "dev", "--resolve"])
        .expect(4)
        .says("the login that this user has is not enough");
    write(LOGIN);
    fleet.ringfence(&["apply", "dev", "--resolve"]).expect(0);
    assert!(image(&fleet).ends_with(&digest), "{}", image(&fleet));
}
