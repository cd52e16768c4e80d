//! Approvals, rejections and waivers: in whose name, about what, and what would not count.

use std::process::Command;

use serde_json::{Value, json};

use super::{rings, why};
use crate::support::simulated::SimulatedFleet;

/// The facts about prod, which is asked for what runs in staging. A policy id is put in where the facts have none.
fn facts(fleet: &SimulatedFleet, may: &[&str]) -> Value {
    fleet.ringfence(&["promote", "staging"]).expect(0);
    fleet.ringfence(&["apply", "staging"]).expect(0);
    fleet.ringfence(&["promote", "prod"]).expect(0);
    let mut facts = why(fleet, "prod");
    let mv = &mut facts["ring"]["moves"][0];
    if mv["policy"].is_null() {
        mv["policy"] = format!("pol-{}", "ab".repeat(32)).into();
    }
    for gate in mv["gates"].as_array_mut().unwrap() {
        if gate["name"] == "approval" {
            gate["may"] = json!(may);
        }
    }
    facts
}

fn write(fleet: &SimulatedFleet, facts: &Value) -> String {
    let path = fleet.home().join("facts.json");
    std::fs::write(&path, facts.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Makes a key, and sets git up to sign with it; its public half.
fn key(fleet: &SimulatedFleet, name: &str) -> String {
    let path = fleet.home().join(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    std::fs::read_to_string(path.with_extension("pub"))
        .unwrap()
        .trim()
        .to_owned()
}

fn sign_as(fleet: &SimulatedFleet, name: &str) {
    fleet.git(&["config", "gpg.format", "ssh"]);
    let key = fleet.home().join(name);
    fleet.git(&["config", "user.signingkey", key.to_str().unwrap()]);
}

#[test]
fn in_a_fleet_without_keys_an_approval_is_self_approved_and_asks_first() {
    let fleet = rings("approve-solo");
    fleet
        .ringfence(&["approve", "staging"])
        .expect(1)
        .complains("asks for nobody's approval");
    fleet
        .ringfence(&["approve", "prod"])
        .expect(1)
        .complains("`ringfence promote prod` asks for a release");
    let file = write(&fleet, &facts(&fleet, &["solo"]));
    let request = fleet.git(&["rev-parse", "main"]);
    let approve = ["approve", "prod", "--facts", &file];
    let asks = fleet.ringfence(&approve).expect(64).complains("--yes");
    let asks = asks
        .says("self-approved")
        .says("creates 1")
        .says("lineage")
        .says(&request[..8]);
    assert_eq!(fleet.git(&["rev-parse", "main"]), request, "{asks}");
    let written = fleet.ringfence(&[&approve[..], &["--yes", "-m", "seen", "--expires", "2h"]].concat());
    written.expect(0).says("in 2 h");
    let path = format!("rings/approvals/prod/{}.both.solo.yaml", &request[..8]);
    let text = fleet.read(&path);
    assert!(text.contains(&format!("request: \"{request}\"\n")), "{text}");
    assert!(
        text.contains("verdict: approve\nreason: \"seen\"\nexpires: 2"),
        "{text}"
    );
    assert_eq!(fleet.git(&["status", "--porcelain"]), "");
    // The record is one that `check` takes.
    fleet.ringfence(&["check"]).expect(0);
    let no = fleet
        .ringfence(&["reject", "prod", &request[..6], "--facts", &file, "--yes"])
        .expect(0);
    no.says("reject prod");
    assert!(fleet.read(&path).contains("verdict: reject\n"));
}

#[test]
fn a_request_picks_among_moves_and_an_unknown_one_is_refused() {
    let fleet = rings("approve-pick");
    let mut facts = facts(&fleet, &["solo"]);
    let moves = facts["ring"]["moves"].as_array_mut().unwrap();
    let mut other = moves[0].clone();
    other["kind"] = json!("tenants");
    other["from"] = format!("ten-{}", "0".repeat(64)).into();
    other["to"] = format!("ten-{}", "1".repeat(64)).into();
    moves.push(other);
    let file = write(&fleet, &facts);
    let request = fleet.git(&["rev-parse", "main"])[..8].to_owned();
    let both = fleet
        .ringfence(&["approve", "prod", "--facts", &file, "--yes"])
        .expect(1);
    let both = both
        .complains("2 open moves")
        .complains(&format!("ringfence approve prod {request}.ten"));
    assert!(both.stderr.contains(&format!("{request}.both")), "{both}");
    fleet
        .ringfence(&["approve", "prod", "ffff", "--facts", &file, "--yes"])
        .expect(1)
        .complains("is asked for by `ffff`");
    fleet
        .ringfence(&[
            "approve",
            "prod",
            &format!("{request}.ten"),
            "--facts",
            &file,
            "--yes",
        ])
        .expect(0)
        .says(&format!("{request}.ten.solo.yaml"));
}

#[test]
fn facts_of_another_fleet_or_ring_and_what_are_none_are_refused() {
    let fleet = rings("approve-facts");
    let facts = facts(&fleet, &["solo"]);
    let refused = |facts: &Value, text: &str| {
        let file = write(&fleet, facts);
        let answer = fleet.ringfence(&["approve", "prod", "--facts", &file, "--yes"]);
        answer.expect(1).complains(text);
    };
    refused(&json!({"a": 1}), "holds no facts");
    let mut other = facts.clone();
    other["instance"] = "another".into();
    refused(&other, "the facts are of the fleet");
    refused(&why(&fleet, "staging"), "the facts are of ring staging");
    let mut unknown = facts.clone();
    unknown["ring"]["moves"][0]["request"] = "1".repeat(40).into();
    refused(&unknown, "this clone does not have 11111111");
}

#[test]
fn in_a_signed_fleet_the_word_is_that_of_the_key_and_what_would_not_count_is_refused() {
    let fleet = rings("approve-signed");
    let keys = ["ana", "ben", "bot", "eve"].map(|name| key(&fleet, name));
    let principals = format!(
        "principals:\n  ana: {{kind: human, keys: [\"{}\"]}}\n  ben: {{kind: human, keys: [\"{}\"]}}\n  bot: {{kind: agent, keys: [\"{}\"]}}\nowners: {{members: [ana], required: 1}}\n",
        keys[0], keys[1], keys[2]
    );
    fleet
        .on("main")
        .write("rings/principals.yaml", &principals)
        .commit("principals");
    let file = write(&fleet, &{
        sign_as(&fleet, "ana");
        facts(&fleet, &["ben"])
    });
    assert_eq!(fleet.git(&["log", "-1", "--format=%G?"]).len(), 1);
    assert!(
        fleet.git(&["cat-file", "commit", "HEAD"]).contains("gpgsig"),
        "a promotion is signed too"
    );
    let approve = ["approve", "prod", "--facts", &file, "--yes"];
    let refused = |text: &str| {
        let head = fleet.git(&["rev-parse", "main"]);
        fleet.ringfence(&approve).expect(1).complains(text);
        assert_eq!(fleet.git(&["rev-parse", "main"]), head);
    };
    refused("it would not count: ana asked for it");
    sign_as(&fleet, "bot");
    refused("it would not count: bot is no human");
    sign_as(&fleet, "eve");
    refused("no principal has the key SHA256:");
    fleet.git(&["config", "--unset", "user.signingkey"]);
    refused("git has no key to sign with");
    std::fs::rename(fleet.home().join("ben.pub"), fleet.home().join("alone.pub")).unwrap();
    sign_as(&fleet, "alone.pub");
    // The public half alone signs through an agent; there is none here, and nothing is written.
    refused("could not sign the commit");
    sign_as(&fleet, "ben");
    fleet.ringfence(&approve).expect(0).says("signed as ben");
    assert!(fleet.git(&["cat-file", "commit", "HEAD"]).contains("gpgsig"));
    let request = why(&fleet, "prod")["ring"]["moves"][0]["request"].clone();
    let path = format!(
        "rings/approvals/prod/{}.both.ben.yaml",
        &request.as_str().unwrap()[..8]
    );
    assert!(fleet.read(&path).contains("verdict: approve"));
    // Whoever insists may write what does not count, and only owners waive.
    sign_as(&fleet, "ana");
    fleet
        .ringfence(&[&approve[..], &["--anyway"]].concat())
        .expect(0)
        .says("signed as ana");
    sign_as(&fleet, "ben");
    let waive = ["waive", "prod", "lineage", "-m", "x", "--facts", &file, "--yes"];
    fleet.ringfence(&waive).expect(1);
}

#[test]
fn a_gate_is_waived_where_that_counts_and_only_there() {
    let fleet = rings("waive");
    // Nothing has run in staging, and prod has no history: lineage may be waived.
    fleet
        .ringfence(&["promote", "prod", "--release", "main"])
        .expect(0);
    let mut facts = why(&fleet, "prod");
    let mv = &mut facts["ring"]["moves"][0];
    assert_eq!(mv["gates"][1]["name"], "lineage");
    assert_eq!(mv["gates"][1]["may"], json!(["solo"]));
    if mv["policy"].is_null() {
        mv["policy"] = format!("pol-{}", "ab".repeat(32)).into();
    }
    let request = mv["request"].as_str().unwrap()[..8].to_owned();
    let file = write(&fleet, &facts);
    fleet
        .ringfence(&["why", "prod"])
        .expect(0)
        .says("ringfence waive prod lineage -m REASON");
    let waive = |gate, more: &[&str]| {
        let args = [&["waive", "prod", gate, "--facts", &file], more].concat();
        fleet.ringfence(&args)
    };
    waive("approval", &["-m", "x"]).expect(64);
    waive("lineage", &[]).expect(64).complains("--reason");
    waive("lineage", &["-m", "the fire"])
        .expect(64)
        .complains("--yes");
    waive("soak", &["-m", "x", "--yes"])
        .expect(1)
        .complains("no open move to waive soak of");
    waive("lineage", &["-m", "the fire", "--yes"]).expect(0);
    let text = fleet.read(&format!("rings/waivers/prod/{request}.both.lineage.solo.yaml"));
    assert!(text.contains("gate: lineage\nreason: \"the fire\"\n"), "{text}");
    let mut old = facts.clone();
    for gate in old["ring"]["moves"][0]["gates"].as_array_mut().unwrap() {
        gate["may"] = json!([]);
    }
    write(&fleet, &old);
    waive("lineage", &["-m", "x", "--yes"])
        .expect(1)
        .complains("ring prod has a history");
}
