//! What people change on what goes on running: limits, networks, volumes, images, files.

use std::sync::Mutex;

use serde_json::Value;

use super::{fleet, name_of, networks_of, reaches, repaired, settled};
use crate::support::fleet::{AGENT, TestFleet, agent, agent_service, tenant, text};

fn limits(one: &Value) -> Value {
    let host = &one["HostConfig"];
    serde_json::json!([
        host["Memory"],
        host["MemorySwap"],
        host["NanoCpus"],
        host["PidsLimit"]
    ])
}

#[test]
fn changed_limits_are_set_back_without_a_restart() {
    let before = Mutex::new((Value::Null, Value::Null));
    repaired(
        "drift-limits",
        |f, id| {
            let web = f.serving("acme", "web");
            *before.lock().unwrap() = (limits(&web), web["State"]["StartedAt"].clone());
            f.docker_ok(&[
                "update",
                "--memory=90m",
                "--memory-swap=90m",
                "--cpus=0.11",
                "--pids-limit=17",
                id,
            ]);
        },
        |f, now| {
            (limits(now), now["State"]["StartedAt"].clone()) == *before.lock().unwrap()
                && f.ringfence(&["events"])
                    .stdout
                    .contains("its limits were changed")
        },
    );
}

#[test]
fn everything_else_that_an_update_changes_is_set_back_too() {
    // Each by itself, in one fleet. An engine leaves weights of disks alone where its kernel has none.
    let fleet = fleet("drift-update");
    let web = fleet.serving("acme", "web");
    let (id, wanted) = (text(&web["Id"]), whole(&web));
    let first = fleet.docker_ok(&["info", "-f", "{{.CgroupVersion}} {{.SwapLimit}}"]) == "1 true";
    let mut changes = vec![
        ("pids_limit", vec!["--pids-limit=-1"]),
        ("cpus", vec!["--cpus=0.11"]),
        ("mem_limit", vec!["--memory=90m", "--memory-swap=-1"]),
    ];
    if first {
        changes.extend([
            ("mem_limit", vec!["--memory-swap=-1"]),
            ("mem_limit", vec!["--memory-swap=300m"]),
            ("mem_reservation", vec!["--memory-reservation=20m"]),
            ("cpu_shares", vec!["--cpu-shares=2"]),
        ]);
    }
    for (name, by_hand) in changes {
        fleet.docker_ok(&[vec!["update"], by_hand, vec![id.as_str()]].concat());
        fleet
            .ringfence(&["apply", "--refresh"])
            .expect(0)
            .says("1 engine call.");
        let told = fleet.ringfence(&["events"]).stdout;
        assert!(
            told.contains(&format!("its limits were changed: {name}")),
            "{told}"
        );
        let now = fleet.serving("acme", "web");
        assert_eq!(whole(&now), wanted, "{name}");
        assert_eq!(now["State"]["StartedAt"], web["State"]["StartedAt"]);
        fleet
            .ringfence(&["apply", "--refresh"])
            .expect(0)
            .says("Nothing to do.");
    }
    // Where the spec has no `cpus`, a quota in the older words is taken away.
    let agent = fleet.id("acme", "agent");
    fleet.docker_ok(&["update", "--cpu-quota=20000", &agent]);
    fleet
        .ringfence(&["apply", "--refresh"])
        .expect(0)
        .says("1 engine call.");
    assert_eq!(fleet.serving("acme", "agent")["HostConfig"]["CpuQuota"], -1);
    // A set of CPUs is not, and is told until the container is made anew.
    fleet.docker_ok(&["update", "--cpuset-cpus=0", &id]);
    fleet
        .ringfence(&["apply", "--refresh"])
        .expect(0)
        .says("was given a limit of its set of CPUs by hand");
}

/// All that an update can change, with values that mean nothing said alike.
fn whole(one: &Value) -> Value {
    let host = &one["HostConfig"];
    let none = |key: &str, means: i64| host[key].as_i64().filter(|n| *n != means && *n > 0);
    serde_json::json!([
        limits(one),
        none("MemoryReservation", -1),
        none("CpuShares", 1024),
        host["CpusetCpus"],
        host["CpusetMems"],
        host["RestartPolicy"],
    ])
}

#[test]
fn a_limit_that_the_engine_cannot_take_away_is_reported() {
    let fleet = fleet("drift-squeezed");
    let agent = fleet.id("acme", "agent");
    fleet.docker_ok(&["update", "--cpus=0.5", "--pids-limit=50", &agent]);
    fleet
        .ringfence(&["apply", "--refresh"])
        .expect(0)
        .says("was given a limit of its cpus by hand");
    let now = fleet.serving("acme", "agent");
    assert_eq!(now["HostConfig"]["PidsLimit"], 0, "that of processes it can");
    assert_eq!(text(&now["Id"]), agent);
    fleet.docker_ok(&["rm", "-f", &agent]);
    fleet.ringfence(&["apply"]).expect(0);
    assert!(!super::conditions(&fleet).contains("by hand"));
}

#[test]
fn limits_changed_while_nothing_runs_are_found_by_a_refresh() {
    let fleet = fleet("drift-refresh");
    let web = fleet.serving("acme", "web");
    fleet.docker_ok(&["update", "--pids-limit=17", &text(&web["Id"])]);
    fleet.ringfence(&["apply"]).expect(0).says("Nothing to do.");
    fleet
        .ringfence(&["apply", "--refresh"])
        .expect(0)
        .says("1 engine call.");
    assert_eq!(limits(&fleet.serving("acme", "web")), limits(&web));
    fleet
        .ringfence(&["apply", "--refresh"])
        .expect(0)
        .says("Nothing to do.");
}

#[test]
fn a_container_put_on_a_strangers_network_is_taken_off_it() {
    let strangers = |f: &TestFleet| format!("strangers.{}", f.instance);
    repaired(
        "drift-added",
        |f, id| {
            f.docker(&["network", "rm", &strangers(f)]);
            f.docker_ok(&["network", "create", &strangers(f)]);
            f.docker_ok(&["network", "connect", &strangers(f), id]);
        },
        |f, now| {
            networks_of(now) == [format!("acme.{}", f.instance)]
                && f.docker(&["network", "rm", &strangers(f)]).status.success()
        },
    );
}

#[test]
fn lost_names_and_links_come_back() {
    let lost = Mutex::new(Value::Null);
    repaired(
        "drift-alias",
        |f, id| {
            let network = format!("acme.{}", f.instance);
            *lost.lock().unwrap() = f.serving("acme", "web")["NetworkSettings"]["Networks"][&network].clone();
            f.docker_ok(&["network", "disconnect", &network, id]);
            f.docker_ok(&["network", "connect", &network, id]);
        },
        |f, now| {
            let now = &now["NetworkSettings"]["Networks"][format!("acme.{}", f.instance)];
            let before = lost.lock().unwrap();
            assert!(
                before["Links"].to_string().contains("hub") && before["Aliases"].to_string().contains("web"),
                "{before}"
            );
            let links = |end: &Value| {
                let mut links: Vec<String> =
                    end["Links"].as_array().into_iter().flatten().map(text).collect();
                links.sort();
                links
            };
            links(now) == links(&before) && now["Aliases"] == before["Aliases"]
        },
    );
}

#[test]
fn a_network_removed_under_stopped_containers_is_made_again_under_them() {
    let fleet = fleet("drift-net-stopped");
    let (agent, web) = (fleet.id("acme", "agent"), fleet.id("acme", "web"));
    let network = format!("acme.{}", fleet.instance);
    fleet.docker_ok(&["stop", "-t", "1", &agent, &web]);
    fleet.docker_ok(&["network", "disconnect", &network, &fleet.id("", "hub")]);
    fleet.docker_ok(&["network", "rm", &network]);
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!((fleet.id("acme", "agent"), fleet.id("acme", "web")), (agent, web));
    assert!(settled(&fleet));
    assert!(reaches(&fleet, "agent", "http://web:8080/healthz"));
    assert!(reaches(&fleet, "agent", "http://hub:8080/healthz"));
    fleet.ringfence(&["apply"]).expect(0).says("Nothing to do.");
}

#[test]
fn a_removed_volume_is_reported_and_an_empty_one_is_made_only_when_asked_for() {
    let fleet = TestFleet::one_ring("drift-volume");
    let service = agent_service("agent", "volumes: [\"data:/data\"]");
    fleet
        .on("main")
        .write(
            "desired/services/agent.yaml",
            &format!("services:\n{service}volumes: {{data: {{}}}}\n"),
        )
        .commit("with a volume");
    fleet.ringfence(&["apply"]).expect(0);
    let volume = format!("data.acme.{}", fleet.instance);
    fleet.docker_ok(&["rm", "-f", &fleet.id("acme", "agent")]);
    fleet.docker_ok(&["volume", "rm", &volume]);
    for verb in ["plan", "apply"] {
        let answer = fleet.ringfence(&[verb]);
        assert!(
            answer
                .stdout
                .contains(&format!("{volume} is gone, with its data")),
            "{answer}"
        );
        assert!(answer.stdout.contains("--adopt"), "{answer}");
    }
    fleet.ringfence(&["apply"]).expect(1);
    assert!(!fleet.volumes().contains(&volume), "no empty one is made unasked");
    assert!(fleet.ids().is_empty(), "nothing starts without its data");
    // From a backup.
    fleet.docker_ok(&[
        "volume",
        "create",
        "--label",
        &fleet.label()["label=".len()..],
        &volume,
    ]);
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.service("acme", "agent")["health"], "healthy");
    // Or empty.
    fleet.docker_ok(&["rm", "-f", &fleet.id("acme", "agent")]);
    fleet.docker_ok(&["volume", "rm", &volume]);
    fleet.ringfence(&["apply"]).expect(1);
    fleet.ringfence(&["apply", "dev", "--adopt"]).expect(0);
    assert!(fleet.volumes().contains(&volume));
    assert_eq!(fleet.service("acme", "agent")["health"], "healthy");
    // An erased tenant's volume is not missed when the tenant comes back.
    fleet
        .on("main")
        .replace(
            "desired/tenants/acme.yaml",
            "ring: dev",
            "ring: dev\nstate: erased",
        )
        .commit("erase");
    fleet.ringfence(&["apply", "--prune"]).expect(0);
    assert!(!fleet.volumes().contains(&volume));
    fleet
        .on("main")
        .replace("desired/tenants/acme.yaml", "\nstate: erased", "")
        .commit("again");
    fleet.ringfence(&["apply"]).expect(0);
    assert!(fleet.volumes().contains(&volume));
}

#[test]
fn an_image_whose_tag_moved_changes_nothing_and_is_kept() {
    let fleet = TestFleet::one_ring("drift-tag");
    let mine = format!("{}:1", fleet.instance);
    fleet.docker_ok(&["tag", AGENT, &mine]);
    fleet
        .on("main")
        .replace("desired/services/agent.yaml", AGENT, &mine)
        .commit("an image of its own");
    fleet.ringfence(&["apply"]).expect(0);
    let before = fleet.ids();
    // Another image gets the name: one that holds nothing.
    let mut import = std::process::Command::new("docker");
    import.args(["-H", &crate::support::engine::address(), "import", "-", &mine]);
    let mut child = import
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &[0; 1024]).unwrap();
    assert!(child.wait().unwrap().success());
    fleet
        .ringfence(&["apply", "--refresh"])
        .expect(0)
        .says("Nothing to do.");
    assert_eq!(fleet.ids(), before);
    // What is made again is made from the image of the release.
    let image = |f: &TestFleet| f.serving("acme", "agent")["Image"].clone();
    let release = image(&fleet);
    fleet.docker_ok(&["rm", "-f", &fleet.id("acme", "agent")]);
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(image(&fleet), release);
    assert_eq!(fleet.version("acme", "agent"), "1");
    fleet.docker_ok(&["rmi", &mine]);
}

#[test]
fn a_tag_of_ours_that_was_removed_is_given_again() {
    let fleet = TestFleet::one_ring("drift-kept");
    let daemon = fleet.daemon();
    fleet.eventually("it serves", |f| f.synced("dev"));
    let repo = format!("ringfence-kept/{}", fleet.instance);
    let tags = |f: &TestFleet| f.docker_ok(&["images", "-q", &repo]).lines().count();
    fleet.eventually("its image is kept", |f| tags(f) == 1);
    let tag = fleet.docker_ok(&["images", "--format", "{{.Repository}}:{{.Tag}}", &repo]);
    fleet.docker_ok(&["rmi", &tag]);
    fleet.eventually("it is kept again", |f| tags(f) == 1);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn edited_live_files_are_written_again() {
    let fleet = TestFleet::one_ring("drift-live");
    let daemon = fleet.daemon();
    fleet.eventually("it serves", |f| f.synced("dev"));
    let before = fleet.context("acme", "agent");
    let live = fleet
        .state()
        .join("files/live")
        .join(format!("acme.{}", fleet.instance));
    // It is written for reading only: who edits it puts another in its place.
    std::fs::remove_file(live.join("context.json")).unwrap();
    std::fs::write(live.join("context.json"), "{\"mine\": true}").unwrap();
    assert_ne!(fleet.context("acme", "agent"), before);
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.context("acme", "agent"), before);
    assert_eq!(daemon.stop(), 0);
    // The same without a daemon.
    std::fs::remove_file(live.join("spirit.md")).unwrap();
    fleet.ringfence(&["apply"]).expect(0);
    assert!(live.join("spirit.md").exists());
}

#[test]
fn a_deleted_live_directory_is_made_anew_and_mounted_anew() {
    let fleet = fleet("drift-live-gone");
    let (before, context) = (fleet.ids(), fleet.context("acme", "agent"));
    let of_acme: Vec<String> = ["agent", "web"].map(|s| fleet.id("acme", s)).into();
    let live = fleet
        .state()
        .join("files/live")
        .join(format!("acme.{}", fleet.instance));
    std::fs::remove_dir_all(&live).unwrap();
    fleet
        .ringfence(&["plan"])
        .expect(0)
        .says("it sees a directory at /run/ringfence that was deleted");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.context("acme", "agent"), context);
    let after = fleet.ids();
    assert!(
        of_acme
            .iter()
            .all(|old| !after.values().any(|id| id.starts_with(old.as_str())))
    );
    let others = |ids: &std::collections::BTreeMap<String, String>| {
        let mut ids = ids.clone();
        ids.retain(|name, _| !name.to_lowercase().contains(".acme."));
        ids
    };
    assert_eq!(others(&before), others(&after), "nobody else's");
    assert_eq!(after.len(), before.len());
    fleet.ringfence(&["apply"]).expect(0).says("Nothing to do.");
    // What is written from now on is seen.
    fleet
        .on("main")
        .replace("desired/tenants/acme.yaml", "The acme", "Another")
        .commit("another name");
    fleet.ringfence(&["apply"]).expect(0);
    assert_ne!(fleet.context("acme", "agent"), context);
    assert_eq!(fleet.ids(), after, "without a restart");
}

/// A port that nobody has now.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn on_port(service: &str, port: u16, more: &str) -> String {
    let lines = format!("ports: [\"127.0.0.1:{port}:8080\"]\n{more}");
    format!("services:\n{}", agent_service(service, &lines))
}

#[test]
fn a_service_that_is_renamed_takes_its_host_port_with_it_and_gives_it_back() {
    let fleet = TestFleet::new("drift-port");
    let port = free_port();
    fleet
        .on("main")
        .write(
            "rings/rings.yaml",
            "rings:\n  dev: {id: 0, auto_deploy: true, rollout: {observe: 1s}}\n",
        )
        .write("desired/services/web.yaml", &on_port("web", port, ""))
        .write("desired/tenants/acme.yaml", &tenant("acme", "dev"))
        .commit("web");
    fleet.ringfence(&["apply"]).expect(0);
    let web = fleet.id("acme", "web");
    // A release that renames it, and fails: it gives the port back.
    fleet
        .on("main")
        .write(
            "desired/services/web.yaml",
            &on_port("site", port, "environment: {AGENT_FAIL: unhealthy}"),
        )
        .commit("site, which fails");
    fleet.ringfence(&["apply"]).expect(3);
    assert_eq!(fleet.id("acme", "web"), web, "it came back");
    assert_eq!(fleet.service("acme", "web")["health"], "healthy");
    let answers = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(answers());
    // And one that does not.
    fleet
        .on("main")
        .write("desired/services/web.yaml", &on_port("site", port, ""))
        .commit("site");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.service("acme", "site")["health"], "healthy");
    assert!(answers());
    let names: Vec<String> = fleet.containers().values().map(name_of).collect();
    assert_eq!(names, [format!("site.acme.{}", fleet.instance)]);
}

#[test]
fn what_stays_the_same_stays() {
    // The aliases that tell our joining from a hand's change with the version, and cut nobody.
    let fleet = TestFleet::one_ring("drift-same");
    fleet.ringfence(&["apply"]).expect(0);
    let before = fleet.ids();
    fleet.on("main").write("README.md", "text").commit("no change");
    fleet
        .ringfence(&["apply", "--refresh"])
        .expect(0)
        .says("Nothing to do.");
    assert_eq!(fleet.ids(), before);
    fleet
        .on("main")
        .write("desired/services/agent.yaml", &agent("2"))
        .commit("2");
    fleet.ringfence(&["apply"]).expect(0);
    fleet
        .ringfence(&["apply", "--refresh"])
        .expect(0)
        .says("Nothing to do.");
}
