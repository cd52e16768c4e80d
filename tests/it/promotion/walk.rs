//! A release walks from dev over staging to prod on a real engine, with keys, several people and a daemon; and one that is
//! bad comes back.

use serde_json::json;

use super::AGENT_FILE;
use super::people::{Person, gate, open_move};
use crate::support::fleet::{TestFleet, agent, agent_with, tenant, text};

const RINGS: &str = "rings:
  dev: {id: 0, auto_deploy: true, rollout: {observe: 1s}}
  staging: {id: 1, soak: 2s, rollout: {observe: 1s}}
  prod:
    id: 2
    soak: 3s
    approvals: {required: 2, exclude: [requester, authors]}
    rollout: {observe: 1s}
";

struct People<'f> {
    ana: Person<'f>,
    ben: Person<'f>,
    cat: Person<'f>,
    dan: Person<'f>,
    bot: Person<'f>,
}

/// A signed fleet of three rings with a tenant each. Dan wrote it; ana owns it.
fn signed(fleet: &TestFleet) -> (People<'_>, String) {
    let people = People {
        ana: Person::new(fleet, "ana"),
        ben: Person::new(fleet, "ben"),
        cat: Person::new(fleet, "cat"),
        dan: Person::new(fleet, "dan"),
        bot: Person::new(fleet, "bot"),
    };
    let line = |name: &str, kind: &str, key: &str| {
        format!("  {name}: {{kind: {kind}, emails: [{name}@example.org], keys: [\"{key}\"]}}\n")
    };
    let principals = format!(
        "principals:\n{}{}{}{}{}owners: {{members: [ana], required: 1}}\n",
        line("ana", "human", &people.ana.key),
        line("ben", "human", &people.ben.key),
        line("cat", "human", &people.cat.key),
        line("dan", "human", &people.dan.key),
        line("bot", "agent", &people.bot.key),
    );
    let settings = format!("{}control_branch: main\n", fleet.settings());
    let first = people.dan.commits(
        "a fleet",
        &[
            ("ringfence.yaml", &settings),
            ("rings/rings.yaml", RINGS),
            ("rings/principals.yaml", &principals),
            (AGENT_FILE, &agent("1")),
            ("desired/tenants/one.yaml", &tenant("one", "dev")),
            ("desired/tenants/two.yaml", &tenant("two", "staging")),
            ("desired/tenants/three.yaml", &tenant("three", "prod")),
        ],
    );
    (people, first)
}

/// Waits until the approval gate has counted so many, with this text in its evidence, and all other gates pass.
#[track_caller]
fn waits_for_approval(fleet: &TestFleet, counted: &str, told: &str) {
    fleet.eventually(&format!("prod waits, {counted} ({told})"), |f| {
        let mv = &f.ring("prod")["moves"][0];
        let gates = mv["gates"].as_array().cloned().unwrap_or_default();
        let others = gates
            .iter()
            .all(|g| g["name"] == "approval" || g["state"] == "pass");
        let approval = gate(f, "prod", "approval");
        let evidence = text(&approval["evidence"]);
        others
            && approval["state"] == "unknown"
            && evidence.starts_with(counted)
            && evidence.contains(told)
            && f.in_phase("prod", "waiting")
    });
}

fn may(fleet: &TestFleet) -> serde_json::Value {
    let gates = open_move(fleet, "prod")["gates"].clone();
    crate::support::fleet::named(&gates, "name", "approval")["may"].clone()
}

#[test]
fn a_release_walks_to_prod_by_commits_alone_and_two_others_must_agree() {
    let fleet = TestFleet::new("walk-commits");
    let (people, first) = signed(&fleet);
    let _daemon = fleet.daemon();
    fleet.eventually("dev has it", |f| {
        f.synced("dev") && f.version("one", "agent") == "1"
    });
    people.ana.pins("staging", &first);
    fleet.eventually("staging has it", |f| {
        f.synced("staging") && f.version("two", "agent") == "1"
    });
    people.ana.pins("prod", &first);
    waits_for_approval(&fleet, "0 of 2", "");
    assert_eq!(
        may(&fleet),
        json!(["ben", "cat"]),
        "a first release brings tenant files along, which dan asks for"
    );
    people.ben.approves("prod");
    people.cat.approves("prod");
    fleet.eventually("prod has it", |f| {
        f.synced("prod") && f.version("three", "agent") == "1"
    });
    let serving = fleet.id("three", "agent");

    // The next is dan's work, so that his word does not count any more.
    let second = people.dan.commits("agent 2", &[(AGENT_FILE, &agent("2"))]);
    fleet.eventually("dev has the second", |f| {
        f.synced("dev") && f.version("one", "agent") == "2"
    });
    assert!(fleet.synced("staging"), "nobody has asked for it there");
    people.ana.pins("staging", &second);
    fleet.eventually("staging has the second", |f| {
        f.synced("staging") && f.version("two", "agent") == "2"
    });
    assert!(
        fleet.ring("prod")["moves"].as_array().unwrap().is_empty(),
        "a commit on prod's own branch is no candidate of prod"
    );
    let request = people.ana.pins("prod", &second);
    waits_for_approval(&fleet, "0 of 2", "");
    assert_eq!(open_move(&fleet, "prod")["request"], request);
    assert_eq!(may(&fleet), json!(["ben", "cat"]));
    people.ana.approves("prod");
    waits_for_approval(&fleet, "0 of 2", "ana: ");
    people.bot.approves("prod");
    waits_for_approval(&fleet, "0 of 2", "bot: only a human's word counts");
    people.dan.approves("prod");
    waits_for_approval(&fleet, "0 of 2", "dan: ");
    people.ben.approves("prod");
    waits_for_approval(&fleet, "1 of 2: ben", "");
    assert_eq!(may(&fleet), json!(["cat"]));
    fleet.ringfence(&["why", "prod"]).expect(0).says("cat");
    assert_eq!(fleet.id("three", "agent"), serving, "prod waited untouched");
    people.cat.approves("prod");
    fleet.eventually("prod has the second", |f| {
        f.synced("prod") && f.version("three", "agent") == "2"
    });
    assert_eq!(fleet.ring("prod")["running"], fleet.ring("dev")["running"]);
    fleet.ringfence(&["why", "prod"]).expect(0).says("Nothing waits");
}

#[test]
fn the_same_walk_goes_by_the_verbs_and_each_acts_under_their_own_key() {
    let fleet = TestFleet::new("walk-verbs");
    let (people, _) = signed(&fleet);
    let _daemon = fleet.daemon();
    fleet.eventually("dev has it", |f| {
        f.synced("dev") && f.version("one", "agent") == "1"
    });
    people
        .bot
        .ringfence(&["promote", "staging", "-m", "an agent may ask"])
        .expect(0);
    fleet.eventually("staging has it", |f| {
        f.synced("staging") && f.version("two", "agent") == "1"
    });
    people.ana.ringfence(&["promote", "prod"]).expect(0);
    waits_for_approval(&fleet, "0 of 2", "");
    let said = people.ben.ringfence(&["why", "prod"]).expect(0);
    let said = said.says("ringfence approve prod");
    for name in ["ben", "cat"] {
        assert!(said.stdout.contains(name), "{name} may: {said}");
    }
    let approve = ["approve", "prod", "--yes"];
    people
        .ana
        .ringfence(&approve)
        .expect(1)
        .complains("it would not count: ana asked for it");
    people
        .bot
        .ringfence(&approve)
        .expect(1)
        .complains("bot is no human");
    people
        .ana
        .ringfence(&[&approve[..], &["--anyway"]].concat())
        .expect(0);
    waits_for_approval(&fleet, "0 of 2", "ana: ");
    people.ben.ringfence(&approve).expect(0).says("signed as ben");
    waits_for_approval(&fleet, "1 of 2: ben", "");
    assert_eq!(fleet.id("three", "agent"), "");
    fleet.ringfence(&["apply", "prod"]).expect(4);
    people.cat.ringfence(&approve).expect(0).says("signed as cat");
    fleet.eventually("prod has it", |f| {
        f.synced("prod") && f.version("three", "agent") == "1"
    });
    assert_eq!(fleet.ring("prod")["running"], fleet.ring("dev")["running"]);
}

#[test]
fn a_release_that_fails_in_staging_goes_back_to_the_very_container_and_never_reaches_prod() {
    let fleet = TestFleet::new("walk-back");
    let rings = "rings:\n  dev: {id: 0, auto_deploy: true, rollout: {observe: 1s}}\n  \
                 staging: {id: 1, rollout: {observe: 1s}}\n  prod: {id: 2, rollout: {observe: 1s}}\n";
    // What a tenant of staging gives takes effect with version 2.
    let two = tenant("two", "staging") + "config_overrides: {FAIL: unhealthy}\n";
    fleet
        .on("main")
        .write(
            "ringfence.yaml",
            &format!("{}control_branch: main\n", fleet.settings()),
        )
        .write("rings/rings.yaml", rings)
        .write(AGENT_FILE, &agent("1"))
        .write("desired/tenants/one.yaml", &tenant("one", "dev"))
        .write("desired/tenants/two.yaml", &two)
        .write("desired/tenants/three.yaml", &tenant("three", "prod"))
        .commit("a fleet");
    for ring in ["staging", "prod"] {
        fleet.ringfence(&["apply"]).expect(0);
        fleet.ringfence(&["promote", ring]).expect(0);
    }
    fleet.ringfence(&["apply"]).expect(0);
    let before = (fleet.id("two", "agent"), fleet.id("three", "agent"));
    let good = fleet.ring("staging")["running"].clone();

    fleet
        .on("main")
        .write(AGENT_FILE, &agent_with("2", &[("AGENT_FAIL", "${FAIL:-}")]))
        .commit("version 2");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.version("one", "agent"), "2");
    fleet.ringfence(&["promote", "staging"]).expect(0);
    fleet.ringfence(&["apply"]).expect(3);
    assert_eq!(
        (fleet.id("two", "agent"), fleet.id("three", "agent")),
        before,
        "what served before serves again"
    );
    assert!(
        fleet
            .get("two", "agent", "http://agent:8080/healthz")
            .contains("\"version\":\"1\"")
    );
    assert_eq!(fleet.ring("staging")["running"], good);
    assert!(
        fleet.in_phase("staging", "rolled_back"),
        "{}",
        fleet.ring("staging")
    );

    // Whoever asks for it in prod is told that staging never had it healthy.
    let bad = fleet.ring("dev")["release"]["commit"].clone();
    fleet.pin("prod", bad.as_str().unwrap());
    fleet.ringfence(&["apply", "prod"]).expect(4);
    assert_eq!(gate(&fleet, "prod", "lineage")["state"], "fail");
    assert_eq!(fleet.id("three", "agent"), before.1);
}
