//! Images that declare volumes (`VOLUME`), in services that mount nothing there: as with databases.

use std::collections::BTreeSet;

use crate::support::fleet::{AGENT, TestFleet, agent_service, tenant, text};
use crate::support::registry::Registry;

const FILE: &str = "desired/services/db.yaml";
const TENANT: &str = "desired/tenants/acme.yaml";

/// A fleet, and images of its own that declare `/data`; they go with it.
struct Fleet {
    fleet: TestFleet,
    images: Vec<String>,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let ids = self
            .fleet
            .docker_ok(&["ps", "-aq", "--filter", &self.fleet.label()]);
        let remove = ["rm", "-f"].into_iter().chain(ids.lines());
        self.fleet.docker(&remove.collect::<Vec<_>>());
        let images = self.images.iter().map(String::as_str);
        self.fleet
            .docker(&["rmi", "-f"].into_iter().chain(images).collect::<Vec<_>>());
    }
}

impl Fleet {
    fn new(name: &str) -> Self {
        let fleet = TestFleet::one_ring(name);
        let images = ["1", "2"].map(|tag| {
            let image = format!("{}-db:{tag}", fleet.instance);
            let base = fleet.docker_ok(&["create", "--label", &fleet.label()["label=".len()..], AGENT]);
            let label = format!("LABEL version={tag}");
            fleet.docker_ok(&["commit", "-c", "VOLUME /data", "-c", &label, &base, &image]);
            fleet.docker_ok(&["rm", &base]);
            image
        });
        fleet
            .on("main")
            .remove("desired/services/agent.yaml")
            .commit("without the agent");
        Self {
            fleet,
            images: images.into(),
        }
    }

    /// `db` and `other`, of one image, at a version.
    fn services(&self, image: usize, version: &str, more: &str) -> String {
        let image = self.images[image].as_str();
        let own = format!(
            "environment: {{AGENT_VERSION: \"{version}\"{more}}}\nx-ringfence: {{rollout: {{drain: 5ms}}}}"
        );
        let all = agent_service("db", &own) + &agent_service("other", "x-ringfence: {rollout: {drain: 5ms}}");
        format!("services:\n{}", all.replace(AGENT, image))
    }

    fn commit(&self, file: &str, text: &str) {
        self.fleet.on("main").write(file, text).commit("a change");
    }

    /// What a service has at `/data`.
    fn volume(&self, service: &str) -> String {
        let one = self.fleet.serving("acme", service);
        let mounts = one["Mounts"].as_array().unwrap().clone();
        let data = mounts.into_iter().find(|m| m["Destination"] == "/data").unwrap();
        text(&data["Name"])
    }

    fn has(&self, service: &str, file: &str) -> bool {
        let source = format!("{}:/data/{file}", self.fleet.id("acme", service));
        let place = tempfile::tempdir().unwrap();
        let copied = self
            .fleet
            .docker(&["cp", &source, place.path().to_str().unwrap()]);
        copied.status.success()
    }

    fn put(&self, service: &str, file: &str) {
        let place = tempfile::tempdir().unwrap();
        let from = place.path().join(file);
        std::fs::write(&from, "what it knew").unwrap();
        let to = format!("{}:/data/{file}", self.fleet.id("acme", service));
        self.fleet.docker_ok(&["cp", from.to_str().unwrap(), &to]);
    }

    /// All volumes that carry the instance's label, but for the holder's, and all that its containers mount.
    fn all(&self) -> BTreeSet<String> {
        let containers = self.fleet.containers();
        let mounts = containers.values().flat_map(|c| c["Mounts"].as_array().unwrap());
        let mounted = mounts.filter(|m| m["Type"] == "volume").map(|m| text(&m["Name"]));
        let ours = self.fleet.volumes().into_iter();
        let holder = format!("ringfence.{}", self.fleet.instance);
        ours.filter(|name| *name != holder).chain(mounted).collect()
    }
}

#[test]
fn data_survives_replacements_a_rollback_and_a_stop_and_goes_only_when_it_is_erased() {
    let on = Fleet::new("declared");
    let fleet = &on.fleet;
    let name = |service: &str| format!("{service}-data.acme.{}", fleet.instance);
    let both = BTreeSet::from([name("db"), name("other")]);
    on.commit(FILE, &on.services(0, "1", ""));
    fleet
        .ringfence(&["plan"])
        .expect(0)
        .says(&format!("+ volume    {}", name("db")));
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!((on.volume("db"), on.volume("other")), (name("db"), name("other")));
    on.put("db", "kept");
    assert!(
        on.has("db", "kept") && !on.has("other", "kept"),
        "each has its own"
    );

    // Replaced: a changed variable, another version of the image, and again.
    let other = fleet.id("acme", "other");
    on.commit(FILE, &on.services(0, "2", ""));
    fleet.ringfence(&["plan"]).expect(0).says(&format!(
        "replace, stop-first: volume {} is mounted writable",
        name("db")
    ));
    for (image, version) in [(0, "2"), (1, "3"), (0, "4"), (1, "5")] {
        if version != "2" {
            on.commit(FILE, &on.services(image, version, ""));
        }
        fleet.ringfence(&["apply"]).expect(0);
        assert_eq!(fleet.version("acme", "db"), version);
        assert!(on.has("db", "kept"), "at version {version}");
        assert_eq!(on.all(), both);
    }
    assert_ne!(fleet.id("acme", "other"), other, "its image is another one too");

    // One that fails writes to it as well, and the very container that ran before has it again.
    let before = fleet.id("acme", "db");
    on.commit(FILE, &on.services(1, "6", ", AGENT_FAIL: exit"));
    fleet.ringfence(&["apply"]).expect(3);
    assert_eq!(fleet.id("acme", "db"), before);
    assert!(on.has("db", "kept"));
    assert_eq!(on.all(), both);
    on.commit(FILE, &on.services(1, "5", ""));
    fleet.ringfence(&["apply"]).expect(0);

    // The file says the path itself: the same volume.
    let said = on
        .services(1, "5", "")
        .replace("    environment:", "    volumes: [/data]\n    environment:");
    on.commit(FILE, &said);
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(on.volume("db"), name("db"));
    assert!(on.has("db", "kept"));
    on.commit(FILE, &on.services(1, "5", ""));

    on.commit(TENANT, &(tenant("acme", "dev") + "state: stopped\n"));
    fleet.ringfence(&["apply"]).expect(0);
    assert!(fleet.containers().is_empty());
    assert_eq!(on.all(), both);
    on.commit(TENANT, &tenant("acme", "dev"));
    fleet.ringfence(&["apply"]).expect(0);
    assert!(on.has("db", "kept"));
    assert_eq!(on.all(), both);

    on.commit(TENANT, &(tenant("acme", "dev") + "state: erased\n"));
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(on.all(), BTreeSet::new());
}

#[test]
fn who_asks_for_start_first_gets_it() {
    let on = Fleet::new("declared-first");
    let asked = |version: &str| {
        let text = on.services(0, version, "");
        text.replace("drain: 5ms", "order: start-first, drain: 5ms")
    };
    on.commit(FILE, &asked("1"));
    on.fleet.ringfence(&["apply"]).expect(0);
    on.commit(FILE, &asked("2"));
    on.fleet
        .ringfence(&["plan"])
        .expect(0)
        .says("replace, start-first");
    on.fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(on.fleet.version("acme", "db"), "2");
    assert_eq!(on.volume("db"), format!("db-data.acme.{}", on.fleet.instance));
}

#[test]
fn an_image_from_a_registry_has_its_volume_from_the_first_container_on() {
    let registry = Registry::new();
    registry.push_with("1", "first", &serde_json::json!({"Volumes": {"/data": {}}}));
    let fleet = TestFleet::one_ring("declared-pull");
    let service = format!(
        "services:\n  db:\n    image: {}\n    command: [serve, \"8080\"]\n    x-ringfence: {{probe: {{tcp: 8080}}}}\n",
        registry.reference("1")
    );
    fleet
        .on("main")
        .remove("desired/services/agent.yaml")
        .write(FILE, &service)
        .commit("a database");
    if fleet.is_rootless() {
        // This host's loopback is not the engine's, where the registry is.
        fleet.ringfence(&["apply"]).expect(4).says("connection refused");
        return;
    }
    fleet.ringfence(&["apply"]).expect(0).complains("pulling");
    let name = format!("db-data.acme.{}", fleet.instance);
    let mounts = fleet.serving("acme", "db")["Mounts"].to_string();
    assert!(mounts.contains(&name), "{mounts}");
    assert!(fleet.volumes().contains(&name));
    fleet.ringfence(&["apply"]).expect(0).says("Nothing to do.");
}
