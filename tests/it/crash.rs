//! SIGKILL in the middle of the work, then another start: one outcome.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::support::fleet::{AGENT, TestFleet, agent_service, agent_with, tenant, text};

const KILLS: u64 = 10;

/// splitmix64, for moments that differ from run to run and can be had again.
struct Random(u64);

impl Random {
    /// From `RINGFENCE_SEED`, or the clock; printed, so that a failure can be repeated.
    fn new() -> Self {
        let seed = std::env::var("RINGFENCE_SEED")
            .ok()
            .and_then(|s| s.parse().ok())
            .unwrap_or_else(|| {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                u64::from(now.subsec_nanos())
            });
        #[allow(clippy::print_stdout)]
        {
            println!("RINGFENCE_SEED={seed}");
        }
        Self(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// Whether a moment has come, by the id of the container that served before.
type Reached = fn(&TestFleet, &str) -> bool;

/// The names of a service's containers tell how far its replacement is; these are the moments to kill at. After each, up
/// to a quarter of a second passes, so that calls under way are met as well.
const MOMENTS: [(&str, Reached); 5] = [
    ("at once", |_, _| true),
    ("the new one is made", |f, old| {
        f.containers().values().any(|c| text(&c["Id"]) != old)
    }),
    ("the new one runs", |f, old| {
        f.containers()
            .values()
            .any(|c| text(&c["Id"]) != old && c["State"]["Running"] == true)
    }),
    ("the new one has the name", |f, old| {
        f.containers()
            .iter()
            .any(|(name, c)| text(&c["Id"]) != old && name.matches('.').count() == 2)
    }),
    ("the old one is on its way out", |f, old| {
        f.containers()
            .iter()
            .all(|(name, c)| text(&c["Id"]) != old || name.contains(".old-") || name.contains(".gone-"))
    }),
];

/// The parts that the instance's containers play, by their names, and how each is.
fn parts(fleet: &TestFleet) -> String {
    let of = |(name, one): (&String, &Value)| {
        let part = match name.split('.').nth(3) {
            None => "serving",
            Some(suffix) if suffix.starts_with("old-") => "parked",
            Some(suffix) if suffix.starts_with("gone-") => "leaving",
            Some(_) => "passing",
        };
        format!("{part} {}", text(&one["State"]["Status"]))
    };
    let mut parts: Vec<String> = fleet.containers().iter().map(of).collect();
    parts.sort();
    parts.join(", ")
}

fn label(one: &Value, key: &str) -> String {
    text(&one["Config"]["Labels"][format!("dev.ringfence.{key}")])
}

/// Exactly one container of acme's agent, which serves with this version, and nothing else of ours.
fn one_outcome(fleet: &TestFleet, version: &str, what: &str) {
    let all = fleet.containers();
    let shown: Vec<String> = all
        .iter()
        .map(|(name, c)| {
            format!(
                "{name} running={} spec={}",
                c["State"]["Running"],
                label(c, "spec")
            )
        })
        .collect();
    assert_eq!(fleet.version("acme", "agent"), version, "{what}: {shown:#?}");
    let running: Vec<&String> = all
        .iter()
        .filter(|(_, c)| c["State"]["Running"] == true)
        .map(|(n, _)| n)
        .collect();
    assert_eq!(running.len(), 1, "{what}: {shown:#?}");
    let serving = fleet.serving("acme", "agent");
    assert_eq!(
        serving["HostConfig"]["RestartPolicy"]["Name"], "unless-stopped",
        "{what}"
    );
    // The move has succeeded: the parked one is gone.
    assert_eq!(all.len(), 1, "{what}: {shown:#?}");
}

fn settled(fleet: &TestFleet, version: &str) -> bool {
    let status = fleet.status();
    status["settled"] == true
        && status["rings"][0]["phase"] == "synced"
        && status["rings"][0]["declared"] == status["rings"][0]["running"]
        && fleet.version("acme", "agent") == version
}

fn agent(version: &str) -> String {
    agent_with(version, &[]).replace(
        "services:\n  agent:\n",
        "services:\n  agent:\n    restart: unless-stopped\n",
    )
}

#[test]
fn a_daemon_killed_anywhere_in_a_replacement_comes_to_the_same_end() {
    let fleet = TestFleet::one_ring("crash-replace");
    fleet
        .on("main")
        .write("desired/services/agent.yaml", &agent("0"))
        .commit("agent 0");
    fleet.ringfence(&["apply"]).expect(0);
    // Not ours, though it looks like it.
    let theirs = format!("agent.acme.{}.old-00000000", fleet.instance);
    let theirs = fleet.docker_ok(&["create", "--name", &theirs, AGENT]);
    let _gone = Gone(&fleet, &theirs);
    let mut random = Random::new();
    let mut daemon = fleet.daemon();
    let mut met = BTreeSet::new();
    for n in 1..=KILLS {
        let version = n.to_string();
        let old = fleet.id("acme", "agent");
        let (what, reached) = MOMENTS[usize::try_from(n % 5).unwrap()];
        fleet
            .on("main")
            .write("desired/services/agent.yaml", &agent(&version))
            .commit(&version);
        fleet.eventually(what, |f| reached(f, &old));
        std::thread::sleep(Duration::from_millis(random.below(250)));
        daemon.kill();
        met.insert(parts(&fleet));
        daemon = fleet.daemon();
        fleet.eventually(&format!("{version} serves after a kill when {what}"), |f| {
            settled(f, &version)
        });
        one_outcome(&fleet, &version, &format!("replacement {n}, killed when {what}"));
    }
    assert!(
        met.len() > 1,
        "the kills met the replacement in one state only: {met:?}"
    );
    assert!(
        fleet.docker(&["inspect", &theirs]).status.success(),
        "the stranger is still there"
    );
    assert_eq!(daemon.stop(), 0);
}

/// A container that is not ours, removed at the end.
struct Gone<'f>(&'f TestFleet, &'f str);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.docker(&["rm", "-f", self.1]);
    }
}

#[test]
fn an_apply_killed_in_a_first_deployment_is_finished_by_the_next() {
    let mut random = Random::new();
    for round in 0..3_u64 {
        let fleet = TestFleet::new(&format!("crash-first{round}"));
        let services: String = (1..=4)
            .map(|n| agent_service(&format!("s{n}"), "restart: unless-stopped"))
            .collect();
        fleet
            .on("main")
            .write(
                "rings/rings.yaml",
                "rings:\n  dev: {id: 0, auto_deploy: true, rollout: {observe: 1s}}\n",
            )
            .write("desired/services/all.yaml", &format!("services:\n{services}"))
            .write("desired/tenants/acme.yaml", &tenant("acme", "dev"))
            .write("desired/tenants/beta.yaml", &tenant("beta", "dev"))
            .commit("a fleet");
        let mut apply = fleet
            .command(&["apply"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let many = usize::try_from(random.below(8)).unwrap();
        fleet.eventually("it is at work", |f| f.containers().len() >= many);
        std::thread::sleep(Duration::from_millis(random.below(200)));
        apply.kill().unwrap();
        apply.wait().unwrap();
        fleet.ringfence(&["apply"]).expect(0);
        let all = fleet.containers();
        assert_eq!(all.len(), 8, "{:?}", all.keys());
        let all_run = all.values().all(|c| c["State"]["Running"] == true);
        assert!(all_run, "{:?}", all.keys());
        let specs: BTreeSet<(String, String)> = all
            .values()
            .map(|c| (label(c, "tenant"), label(c, "service")))
            .collect();
        assert_eq!(specs.len(), 8, "each once");
        assert_eq!(fleet.ringfence(&["plan", "--exit-code"]).code, 0);
    }
}

#[test]
fn a_clean_end_leaves_the_containers_and_is_quick_even_in_the_middle_of_work() {
    let fleet = TestFleet::one_ring("crash-term");
    let daemon = fleet.daemon();
    fleet.eventually("it serves", |f| f.synced("dev"));
    let before = fleet.ids();
    // A reader that holds a stream open, and a replacement under way, hold nothing up.
    let mut watch = fleet
        .command(&["status", "--watch", "-o", "json"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let old = fleet.id("acme", "agent");
    fleet
        .on("main")
        .write("desired/services/agent.yaml", &agent("2"))
        .commit("2");
    fleet.eventually("a replacement is under way", |f| {
        f.containers().values().any(|c| text(&c["Id"]) != old)
    });
    let begin = std::time::Instant::now();
    assert_eq!(daemon.stop(), 0);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    let _ = watch.kill();
    let _ = watch.wait();
    let after = fleet.ids();
    let kept = before.values().all(|id| after.values().any(|a| a == id));
    assert!(kept, "what ran goes on: {before:?} {after:?}");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.version("acme", "agent"), "2");
}
