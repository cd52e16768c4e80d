//! A repository that goes away, breaks or is rewritten changes nothing that runs.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::fleet::{TestFleet, agent};

const AGENT_FILE: &str = "desired/services/agent.yaml";

/// Drift is repaired: the one thing that must go on whatever git does.
#[track_caller]
fn heals(fleet: &TestFleet, version: &str) {
    fleet.docker_ok(&["rm", "-f", &fleet.id("acme", "agent")]);
    fleet.eventually("drift is repaired", |f| {
        f.version("acme", "agent") == version && f.status()["settled"] == true
    });
}

#[track_caller]
fn follows(fleet: &TestFleet, version: &str) {
    fleet
        .on("main")
        .write(AGENT_FILE, &agent(version))
        .commit("another version");
    fleet.eventually("a commit is followed", |f| {
        f.version("acme", "agent") == version && f.synced("dev") && f.conditions().is_empty()
    });
}

#[test]
fn a_repository_that_is_away_is_healed_without_and_followed_when_it_is_back() {
    let fleet = TestFleet::one_ring("repo-away");
    let daemon = fleet.daemon();
    fleet.eventually("it serves", |f| f.synced("dev"));
    let before = fleet.ids();
    let aside = fleet.home().join("aside");
    std::fs::rename(fleet.repo(), &aside).unwrap();
    fleet.eventually("it is told", |f| {
        f.conditions().contains("the repository cannot be read")
    });
    assert_eq!(fleet.ids(), before);
    heals(&fleet, "1");
    // A daemon that starts meanwhile does the same.
    assert_eq!(daemon.stop(), 0);
    let daemon = fleet.daemon();
    heals(&fleet, "1");
    assert!(fleet.conditions().contains("the repository cannot be read"));
    fleet.ringfence(&["apply"]).expect(1).complains("repo");
    std::fs::rename(&aside, fleet.repo()).unwrap();
    follows(&fleet, "2");
    // Deleted for good, and cloned again: another directory of the same name.
    std::fs::rename(fleet.repo(), &aside).unwrap();
    fleet.eventually("it is told", |f| {
        f.conditions().contains("the repository cannot be read")
    });
    let (from, to) = (aside.display().to_string(), fleet.repo().display().to_string());
    let cloned = std::process::Command::new("git")
        .args(["clone", "-q", &from, &to])
        .output()
        .unwrap();
    assert!(cloned.status.success(), "{cloned:?}");
    follows(&fleet, "3");
    assert_eq!(daemon.stop(), 0);
}

/// Writes over a read-only file, and gives what it held.
fn damage(path: &Path, with: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let good = std::fs::read(path).unwrap();
    let mut bad = good.clone();
    with(&mut bad);
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(path, bad).unwrap();
    good
}

fn loose(git: &Path, id: &str) -> PathBuf {
    git.join("objects").join(&id[..2]).join(&id[2..])
}

fn only_pack(git: &Path) -> PathBuf {
    let packs = std::fs::read_dir(git.join("objects/pack")).unwrap();
    let mut packs = packs.flatten().map(|entry| entry.path());
    packs
        .find(|p| p.extension().is_some_and(|e| e == "pack"))
        .unwrap()
}

#[test]
fn what_a_power_cut_emptied_keeps_the_accepted_state_until_it_is_mended() {
    let fleet = TestFleet::one_ring("repo-empty-object");
    let daemon = fleet.daemon();
    fleet.eventually("it serves", |f| f.synced("dev"));
    // The branch's own file.
    let head = fleet.repo().join(".git/refs/heads/main");
    let good = damage(&head, Vec::clear);
    fleet.eventually("it is told", |f| {
        f.conditions().contains("the repository cannot be read")
    });
    heals(&fleet, "1");
    std::fs::write(&head, good).unwrap();
    fleet.eventually("it is read again", |f| f.conditions().is_empty());
    // The newest commit's own object, which comes into its place before the branch does.
    let git = fleet.repo().join(".git");
    fleet.write(AGENT_FILE, &agent("2"));
    fleet.git(&["add", "-A"]);
    let tree = fleet.git(&["write-tree"]);
    let commit = fleet.git(&["commit-tree", &tree, "-p", "HEAD", "-m", "version 2"]);
    let good = damage(&loose(&git, &commit), Vec::clear);
    std::fs::write(git.join("refs/heads/main"), format!("{commit}\n")).unwrap();
    fleet.eventually("it is told which", |f| f.conditions().contains(&commit[..8]));
    assert!(
        !fleet.conditions().contains("rewritten"),
        "{}",
        fleet.conditions()
    );
    heals(&fleet, "1");
    std::fs::write(loose(&git, &commit), good).unwrap();
    fleet.eventually("it is followed", |f| {
        f.version("acme", "agent") == "2" && f.conditions().is_empty()
    });
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_pack_with_flipped_bytes_is_never_applied() {
    let fleet = TestFleet::one_ring("repo-bad-pack");
    fleet.ringfence(&["apply"]).expect(0);
    let before = fleet.ids();
    fleet
        .on("main")
        .write(AGENT_FILE, &agent("2"))
        .commit("version 2");
    fleet.git(&["gc", "-q", "--prune=now"]);
    let pack = only_pack(&fleet.repo().join(".git"));
    let good = damage(&pack, |bytes| {
        let end = bytes.len() - 20;
        bytes[12..end].iter_mut().for_each(|byte| *byte ^= 0x55);
    });
    fleet.ringfence(&["apply"]).expect(1);
    let daemon = fleet.daemon();
    fleet.eventually("it is told", |f| f.conditions().contains("cannot be read"));
    assert_eq!(fleet.ids(), before);
    heals(&fleet, "1");
    std::fs::write(&pack, good).unwrap();
    fleet.eventually("it is followed", |f| {
        f.version("acme", "agent") == "2" && f.synced("dev") && f.conditions().is_empty()
    });
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_mirror_that_is_damaged_is_set_aside_and_cloned_again() {
    let fleet = TestFleet::one_ring("mirror-bad-pack");
    let url = format!("file://{}", fleet.repo().display());
    let arguments = ["--repo", &url, "--poll", "1s"];
    let daemon = fleet.daemon_with(|c| {
        c.args(arguments);
    });
    fleet.eventually("it serves", |f| f.synced("dev"));
    let before = fleet.ids();
    assert_eq!(daemon.stop(), 0);
    let mirror = fleet.state().join("git");
    fleet.git(&["--git-dir", mirror.to_str().unwrap(), "repack", "-q", "-a", "-d"]);
    damage(&only_pack(&mirror), |bytes| {
        let end = bytes.len() - 20;
        bytes[12..end].iter_mut().for_each(|byte| *byte ^= 0x55);
    });
    let daemon = fleet.daemon_with(|c| {
        c.args(arguments);
    });
    fleet.eventually("it reads again", |f| {
        f.status()["failed"] == false && f.synced("dev") && f.conditions().is_empty()
    });
    assert_eq!(fleet.ids(), before, "nothing was touched");
    assert!(
        fleet.state().join("git.broken").is_dir(),
        "the damaged one is kept for a look"
    );
    follows(&fleet, "2");
    // A remote that is gone is told, and what was fetched stays.
    let aside = fleet.home().join("aside");
    std::fs::rename(fleet.repo(), &aside).unwrap();
    let status = || {
        let output = fleet
            .command(&["status", "-o", "json", "--repo", &url])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    fleet.eventually("it is told", |_| status().contains("cannot fetch"));
    std::fs::rename(&aside, fleet.repo()).unwrap();
    follows(&fleet, "3");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn locks_that_a_killed_git_left_hold_nothing_up() {
    let fleet = TestFleet::one_ring("stale-locks");
    fleet.ringfence(&["apply"]).expect(0);
    fleet
        .on("main")
        .write(AGENT_FILE, &agent("2"))
        .commit("version 2");
    let (own, kept) = (fleet.repo().join(".git"), fleet.state().join("git"));
    let keep = kept.join("refs/ringfence/keep");
    assert!(keep.join("control").exists(), "what is kept stands in files");
    for lock in [
        own.join("index.lock"),
        own.join("packed-refs.lock"),
        own.join("refs/heads/main.lock"),
        kept.join("packed-refs.lock"),
        keep.join("control.lock"),
        keep.join("tenant/acme.lock"),
        keep.join("good/acme.lock"),
    ] {
        std::fs::write(lock, "").unwrap();
    }
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.version("acme", "agent"), "2");
    assert!(
        own.join("index.lock").exists(),
        "the user's own files are left alone"
    );
    assert!(!keep.join("control.lock").exists());
}

#[test]
fn what_runs_outlives_an_amended_branch_and_gc() {
    let fleet = TestFleet::three_rings("amended");
    fleet.ringfence(&["apply"]).expect(0);
    fleet
        .on("develop")
        .write(AGENT_FILE, &agent("2"))
        .commit("version 2");
    fleet.ringfence(&["apply"]);
    assert_eq!(fleet.version("dev-one", "agent"), "2");
    // What comes in its place does not read: so dev runs what no branch has any more.
    fleet.git(&["switch", "-q", "develop"]);
    fleet.write(AGENT_FILE, "services: {agent: {image: }}\n");
    fleet.git(&["commit", "-q", "-a", "--amend", "-m", "another history"]);
    fleet.git(&["switch", "-q", "main"]);
    fleet.git(&["reflog", "expire", "--expire=now", "--all"]);
    fleet.git(&["gc", "-q", "--prune=now"]);
    fleet.docker_ok(&["rm", "-f", &fleet.id("dev-one", "agent")]);
    fleet.ringfence(&["apply"]).says(AGENT_FILE);
    assert_eq!(fleet.version("dev-one", "agent"), "2");
}

#[test]
fn many_pushes_in_a_row_end_at_the_last_whatever_their_dates_say() {
    let fleet = TestFleet::one_ring("pushes");
    let daemon = fleet.daemon();
    fleet.eventually("it serves", |f| f.synced("dev"));
    for version in 2..32 {
        fleet.write(AGENT_FILE, &agent(&version.to_string()));
        let date = if version % 2 == 0 {
            "2099-01-01T00:00:00Z"
        } else {
            "1970-01-02T00:00:00Z"
        };
        let output = fleet
            .git_command()
            .args(["commit", "-q", "-a", "-m", "a push"])
            .env("GIT_AUTHOR_DATE", date)
            .env("GIT_COMMITTER_DATE", date)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    fleet.eventually("the last one serves", |f| {
        f.version("acme", "agent") == "31" && f.synced("dev") && f.ids().len() == 1
    });
    assert_eq!(daemon.stop(), 0);
}
