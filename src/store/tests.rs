use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::decide::facts::{Facts, FilesRef, FirstSeen, MoveUnderWay, Quarantine, Release};
use crate::digest::Digest;
use crate::fleet::names::{
    CommitId, ContentId, FilesId, Owner, ReleaseId, RingName, ServiceKey, Slug, SpecHash,
};

fn now() -> Timestamp {
    "2026-11-22T10:00:00.123456789Z".parse().unwrap()
}

fn commit(n: u8) -> CommitId {
    format!("{n:040x}").parse().unwrap()
}

fn release(n: u8) -> ReleaseId {
    ReleaseId(Digest::of_bytes(&[n]))
}

fn spec(n: u8) -> SpecHash {
    SpecHash(Digest::of_bytes(&[n, 1]))
}

fn files(n: u8) -> FilesRef {
    FilesRef {
        id: FilesId(Digest::of_bytes(&[n, 2])),
        commit: commit(n),
    }
}

fn seen(older: Option<bool>) -> FirstSeen {
    FirstSeen { at: now(), older }
}

fn quarantine(n: u8) -> Quarantine {
    Quarantine {
        reason: format!("it fell\n{n}"),
        at: now(),
        request: commit(n),
    }
}

fn ring(n: u8) -> RingName {
    format!("ring-{n}").parse().unwrap()
}

fn slug(n: u8) -> Slug {
    format!("tenant-{n}").parse().unwrap()
}

fn key(n: u8) -> ServiceKey {
    let owner = match n % 3 {
        0 => Owner::Fleet,
        1 => Owner::Ring(ring(n)),
        _ => Owner::Tenant(slug(n)),
    };
    ServiceKey {
        owner,
        service: "web".to_owned(),
    }
}

fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(&dir.path().join("ledger.db")).unwrap()
}

#[derive(Debug, Clone)]
enum Op {
    Accept(u8, u8),
    Saw(u8, Option<bool>),
    Policy(u8, u8),
    Release(u8),
    Moving(u8, Option<u8>),
    Succeeded(u8, u8),
    Failed(u8, u8, bool),
    EndQuarantine(u8, u8),
    Asked(u8, u8, u8),
    Good(u8, u8, u8),
    FilesFailed(u8, u8),
    EndFiles(u8, u8),
    Forgotten(u8),
    GoodSpec(u8, u8),
    FailedSpec(u8, u8),
    Unfail(u8),
    Job(u8, u8),
    ImageVolume(u8, u8),
    VolumeGone(u8),
}

fn op() -> impl Strategy<Value = Op> {
    let n = || 0_u8..4;
    prop_oneof![
        (n(), n()).prop_map(|(a, b)| Op::Accept(a, b)),
        (n(), n()).prop_map(|(a, b)| Op::Policy(a, b)),
        (n(), proptest::option::of(any::<bool>())).prop_map(|(a, b)| Op::Saw(a, b)),
        n().prop_map(Op::Release),
        (n(), proptest::option::of(n())).prop_map(|(a, b)| Op::Moving(a, b)),
        (n(), n()).prop_map(|(a, b)| Op::Succeeded(a, b)),
        (n(), n(), any::<bool>()).prop_map(|(a, b, c)| Op::Failed(a, b, c)),
        (n(), n()).prop_map(|(a, b)| Op::EndQuarantine(a, b)),
        (n(), n(), n()).prop_map(|(a, b, c)| Op::Asked(a, b, c)),
        (n(), n(), n()).prop_map(|(a, b, c)| Op::Good(a, b, c)),
        (n(), n()).prop_map(|(a, b)| Op::FilesFailed(a, b)),
        (n(), n()).prop_map(|(a, b)| Op::EndFiles(a, b)),
        n().prop_map(Op::Forgotten),
        (n(), n()).prop_map(|(a, b)| Op::GoodSpec(a, b)),
        (n(), n()).prop_map(|(a, b)| Op::FailedSpec(a, b)),
        n().prop_map(Op::Unfail),
        (n(), n()).prop_map(|(a, b)| Op::Job(a, b)),
        (n(), n()).prop_map(|(a, b)| Op::ImageVolume(a, b)),
        n().prop_map(Op::VolumeGone),
    ]
}

fn saved(n: u8) -> Release {
    Release::new(
        ContentId(Digest::of_bytes(&[n, 3])),
        commit(n),
        BTreeMap::from([("web:1".to_owned(), format!("id:sha256:{n}"))]),
    )
}

fn moving(n: u8) -> MoveUnderWay {
    MoveUnderWay {
        to: release(n),
        request: commit(n),
        since: now(),
        files: None,
        spent: BTreeSet::new(),
    }
}

fn runs(tenant: u8, r: u8, n: u8) -> TenantRuns {
    TenantRuns {
        slug: slug(tenant),
        ring: ring(r),
        runs: (release(n), files(n)),
    }
}

fn do_it(store: &Store, op: &Op) -> Result<(), StoreError> {
    match *op {
        Op::Accept(a, b) => store.accept(&commit(a), &commit(b), now()),
        Op::Policy(a, b) => store.policies(&BTreeMap::from([(commit(a), commit(b))])),
        Op::Saw(a, older) => store.saw(&BTreeMap::from([(commit(a), seen(older))])),
        Op::Release(a) => store.save_release(&saved(a), now()),
        Op::Moving(a, b) => store.ring_moving(&ring(a), b.map(moving).as_ref(), now()),
        Op::Succeeded(a, b) => store.ring_succeeded(&ring(a), &release(b), now()),
        Op::Failed(a, b, c) => store.ring_failed(&ring(a), &release(b), &quarantine(b), c, now()),
        Op::EndQuarantine(a, b) => store.end_quarantine(&ring(a), &release(b), now()),
        Op::Asked(a, b, c) => store.tenants_asked(&[runs(a, b, c)], now()),
        Op::Good(a, b, c) => store.tenants_good(&[runs(a, b, c)], now()),
        Op::FilesFailed(a, b) => store.tenant_files_failed(&slug(a), &files(b).id, &quarantine(b), now()),
        Op::EndFiles(a, b) => store.end_files_quarantine(&slug(a), &files(b).id, now()),
        Op::Forgotten(a) => store.tenant_forgotten(&slug(a), now()),
        Op::GoodSpec(a, b) => store.good_spec(&[(key(a), spec(b))], now()),
        Op::FailedSpec(a, b) => store.failed_spec(&key(a), &spec(b), now()),
        Op::Unfail(a) => store.unfail_specs(&key(a), now()),
        Op::Job(a, b) => store.job_done(&key(a), &spec(b), now()),
        Op::ImageVolume(a, b) => {
            let volume = (key(a), "/data".to_owned(), format!("v{b}"));
            store.image_volumes(&[volume])
        }
        Op::VolumeGone(a) => store.volumes(&[format!("v{a}")], false),
    }
}

/// What the facts shall be, said a second time and without SQL.
fn model(facts: &mut Facts, op: &Op) {
    match *op {
        Op::Accept(a, b) => {
            facts.accepted = Some(commit(a));
            facts.accepted_policy = Some(commit(b));
            facts.first_accepted.get_or_insert(commit(a));
        }
        Op::Policy(a, b) => drop(facts.policies.insert(commit(a), commit(b))),
        Op::Saw(a, older) => {
            let known = facts.first_seen.entry(commit(a)).or_insert(seen(older));
            known.older = known.older.or(older);
        }
        Op::Release(a) => drop(facts.releases.insert(saved(a).id, saved(a))),
        Op::Moving(a, b) => {
            if b.is_some() || facts.rings.contains_key(&ring(a)) {
                facts.rings.entry(ring(a)).or_default().moving = b.map(moving);
            }
        }
        Op::Succeeded(a, b) => {
            let r = facts.rings.entry(ring(a)).or_default();
            r.moving = None;
            if r.running != Some(release(b)) {
                r.previous = r.running.replace(release(b));
                r.rolled_back = false;
            }
        }
        Op::Failed(a, b, c) => {
            let r = facts.rings.entry(ring(a)).or_default();
            r.moving = None;
            r.rolled_back = c;
            r.quarantine.insert(release(b), quarantine(b));
        }
        Op::EndQuarantine(a, b) => {
            if let Some(r) = facts.rings.get_mut(&ring(a)) {
                r.quarantine.remove(&release(b));
            }
        }
        Op::Asked(a, b, c) => tenant(facts, a, b).asked = Some((release(c), files(c))),
        Op::Good(a, b, c) => tenant(facts, a, b).good = Some((release(c), files(c))),
        Op::FilesFailed(a, b) => {
            if let Some(t) = facts.tenants.get_mut(&slug(a)) {
                t.quarantine.insert(files(b).id, quarantine(b));
            }
        }
        Op::EndFiles(a, b) => {
            if let Some(t) = facts.tenants.get_mut(&slug(a)) {
                t.quarantine.remove(&files(b).id);
            }
        }
        Op::Forgotten(a) => drop(facts.tenants.remove(&slug(a))),
        Op::GoodSpec(a, b) => drop(facts.good_specs.insert(key(a), spec(b))),
        Op::FailedSpec(a, b) => drop(facts.failed_specs.entry(key(a)).or_default().insert(spec(b))),
        Op::Unfail(a) => drop(facts.failed_specs.remove(&key(a))),
        Op::Job(a, b) => drop(facts.jobs_done.entry(key(a)).or_default().insert(spec(b))),
        Op::ImageVolume(a, b) => {
            let of = facts.image_volumes.entry(key(a)).or_default();
            of.insert("/data".to_owned(), format!("v{b}"));
        }
        Op::VolumeGone(a) => facts.image_volumes.retain(|_, of| {
            of.retain(|_, volume| *volume != format!("v{a}"));
            !of.is_empty()
        }),
    }
}

fn tenant(facts: &mut Facts, a: u8, b: u8) -> &mut crate::decide::facts::TenantFacts {
    let t = facts
        .tenants
        .entry(slug(a))
        .or_insert_with(|| crate::decide::facts::TenantFacts {
            ring: ring(b),
            good: None,
            asked: None,
            quarantine: BTreeMap::new(),
        });
    t.ring = ring(b);
    t
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn facts_are_what_was_decided_at_once_and_after_a_restart(ops in proptest::collection::vec(op(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        let mut want = Facts::default();
        for op in &ops {
            match do_it(&store, op) {
                Ok(()) => model(&mut want, op),
                Err(StoreError::UnknownTenant(_)) => {}
                Err(error) => panic!("{op:?}: {error}"),
            }
            prop_assert_eq!(&*store.facts().unwrap(), &want);
        }
        drop(store);
        let again = open(&dir);
        prop_assert_eq!(&*again.facts().unwrap(), &want);
        again.verify().unwrap();
    }
}

#[test]
fn deciding_the_same_again_records_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    for _ in 0..2 {
        store.accept(&commit(1), &commit(1), now()).unwrap();
        store.ring_succeeded(&ring(1), &release(1), now()).unwrap();
        store.good_spec(&[(key(1), spec(1))], now()).unwrap();
    }
    assert_eq!(store.events(&EventQuery::default()).unwrap().len(), 3);
}

#[test]
fn events_are_asked_for_by_ring_tenant_and_place() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    for n in 0..6_u8 {
        let event = NewEvent {
            kind: "test".to_owned(),
            ring: (n % 2 == 0).then(|| "dev".to_owned()),
            tenant: (n % 3 == 0).then(|| "acme".to_owned()),
            message: n.to_string(),
            detail: json!({"b": 1, "a": n}),
            ..NewEvent::default()
        };
        let seen = store.event(&event).unwrap();
        assert_eq!(
            store
                .events(&EventQuery {
                    after: Some(seen.seq - 1),
                    ..EventQuery::default()
                })
                .unwrap(),
            [seen]
        );
    }
    let ask = |q: EventQuery| -> Vec<String> {
        store
            .events(&q)
            .unwrap()
            .into_iter()
            .map(|e| e.event.message)
            .collect()
    };
    let dev = Some("dev".to_owned());
    assert_eq!(
        ask(EventQuery {
            ring: dev.clone(),
            ..EventQuery::default()
        }),
        ["0", "2", "4"]
    );
    assert_eq!(
        ask(EventQuery {
            ring: dev.clone(),
            newest_first: true,
            limit: 2,
            ..EventQuery::default()
        }),
        ["4", "2"]
    );
    assert_eq!(
        ask(EventQuery {
            tenant: Some("acme".to_owned()),
            ..EventQuery::default()
        }),
        ["0", "3"]
    );
    assert_eq!(
        ask(EventQuery {
            ring: dev,
            tenant: Some("acme".to_owned()),
            ..EventQuery::default()
        }),
        ["0"]
    );
    assert_eq!(
        ask(EventQuery {
            after: Some(4),
            ..EventQuery::default()
        }),
        ["4", "5"]
    );
}

#[test]
fn a_changed_or_removed_event_is_noticed() {
    for (change, at) in [
        ("UPDATE events SET message = 'x' WHERE seq = 2", 2),
        ("UPDATE events SET detail = 'no json' WHERE seq = 3", 3),
        ("DELETE FROM events WHERE seq = 2", 2),
        ("DELETE FROM events WHERE seq = 4", 4),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        for _ in 0..4 {
            store.event(&NewEvent::default()).unwrap();
        }
        assert_eq!(store.verify().unwrap(), 4);
        let db = rusqlite::Connection::open(dir.path().join("ledger.db")).unwrap();
        db.execute(change, []).unwrap();
        assert!(
            matches!(store.verify(), Err(StoreError::Chain { seq }) if seq == at),
            "{change}"
        );
    }
}

#[test]
fn steps_are_open_until_they_end_and_are_forgotten_by_pass() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let first = store
        .step_begin(1, "acme/web", &json!({"create": "x"}), now())
        .unwrap();
    let second = store
        .step_begin(2, "acme/web", &json!({"start": "x"}), now())
        .unwrap();
    store.step_end(first, &StepOutcome::Done, now()).unwrap();
    drop(store);
    let store = open(&dir);
    let open_steps = store.open_steps().unwrap();
    assert_eq!(open_steps.len(), 1);
    assert_eq!((open_steps[0].id, open_steps[0].pass), (second, 2));
    assert_eq!(open_steps[0].call, json!({"start": "x"}));
    assert_eq!(store.forget_old_steps(0).unwrap(), 1, "open ones stay");
    store
        .step_end(second, &StepOutcome::Lost("no answer".to_owned()), now())
        .unwrap();
    assert_eq!(store.forget_old_steps(1).unwrap(), 0, "the newest stay");
    assert_eq!(store.forget_old_steps(0).unwrap(), 1);
}

#[test]
fn known_objects_and_meta_outlive_the_process_and_others_see_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let other = Store::look(&dir.path().join("ledger.db")).unwrap().unwrap();
    assert!(other.known().unwrap().is_empty());
    store
        .know(
            &[
                ("web.acme.x".to_owned(), Some(spec(1))),
                ("acme.x".to_owned(), None),
            ],
            now(),
        )
        .unwrap();
    store.set_meta("k", "v").unwrap();
    assert_eq!(other.known().unwrap(), store.known().unwrap());
    assert_eq!(other.known().unwrap().len(), 2);
    assert_eq!(other.meta("k").unwrap().as_deref(), Some("v"));
    assert!(other.set_meta("k", "w").is_err(), "a looker writes nothing");
}

#[test]
fn names_releases_and_bodies_that_nobody_needs_are_forgotten_after_their_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let later = now() + jiff::SignedDuration::from_hours(1);
    let name = |n: u8| format!("web.acme.{n}");
    let (old, used, shared, new) = (spec(1), spec(2), spec(3), spec(4));
    let written = |of: &[(u8, SpecHash)], at| {
        let of: Vec<_> = of.iter().map(|(n, s)| (name(*n), Some(*s))).collect();
        store.know(&of, at).unwrap();
    };
    written(&[(1, old), (2, used), (3, shared)], now());
    written(&[(4, new), (5, shared)], later);
    store.know(&[("acme.x".to_owned(), None)], now()).unwrap();
    let body = crate::render::object::ContainerSpec::default();
    store
        .keep_specs(&[(old, &body), (used, &body), (shared, &body), (new, &body)])
        .unwrap();
    assert_eq!(
        store.forget_containers(later, &BTreeSet::from([used])).unwrap(),
        2
    );
    let known: Vec<String> = store.known().unwrap().keys().cloned().collect();
    assert_eq!(known, ["acme.x".to_owned(), name(2), name(4), name(5)]);
    let bodies: Vec<_> = store
        .specs(&[old, used, shared, new])
        .unwrap()
        .into_keys()
        .collect();
    let mut stay = vec![used, shared, new];
    stay.sort();
    assert_eq!(bodies, stay);

    for n in 0..5 {
        store.save_release(&saved(n), now()).unwrap();
    }
    let gone = store.forget_releases(2, &BTreeSet::from([saved(0).id])).unwrap();
    assert_eq!(
        BTreeSet::from_iter(gone),
        BTreeSet::from([saved(1).id, saved(2).id])
    );
    let left: BTreeSet<_> = open(&dir).facts().unwrap().releases.keys().copied().collect();
    assert_eq!(left, [0, 3, 4].map(|n| saved(n).id).into());
}

#[test]
fn the_file_is_private_and_nothing_else_is_taken_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    drop(open(&dir));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let link = dir.path().join("link.db");
    symlink(&path, &link).unwrap();
    assert!(matches!(Store::open(&link), Err(StoreError::Symlink { .. })));
    assert!(Store::look(&dir.path().join("none.db")).unwrap().is_none());
    for (name, bytes) in [
        ("empty.db", &b""[..]),
        ("text.db", &b"this is no database, but long enough to look at"[..]),
    ] {
        let file = dir.path().join(name);
        fs::write(&file, bytes).unwrap();
        let error = Store::open(&file).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert_eq!(fs::read(&file).unwrap(), bytes, "it is left as it was");
    }
    let foreign = dir.path().join("foreign.db");
    rusqlite::Connection::open(&foreign)
        .unwrap()
        .execute_batch("CREATE TABLE t (a)")
        .unwrap();
    assert!(matches!(Store::open(&foreign), Err(StoreError::Damaged { .. })));
}

#[test]
fn a_newer_schema_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    drop(open(&dir));
    rusqlite::Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    assert!(matches!(
        Store::open(&path),
        Err(StoreError::Newer { found: 99, .. })
    ));
}

#[test]
fn a_ledger_that_nobody_wrote_to_is_looked_through_once() {
    let dir = tempfile::tempdir().unwrap();
    let (path, seal) = (dir.path().join("ledger.db"), dir.path().join("ledger.db-checked"));
    drop(open(&dir));
    drop(open(&dir));
    assert!(
        !seal.exists(),
        "its time does not tell yet whether it was written"
    );
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let date = |path: &std::path::Path, at| {
        fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(at)
            .unwrap();
    };
    date(&path, hour_ago);
    drop(open(&dir));
    let sealed = fs::read_to_string(&seal).unwrap();
    drop(open(&dir));
    assert_eq!(fs::read_to_string(&seal).unwrap(), sealed);
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[4096..end].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    date(&path, hour_ago);
    // Its size and time are those of the one that was looked through.
    assert!(matches!(Store::open(&path), Err(StoreError::Damaged { .. })));
    // With the seal of this very file the look is spared: what is damaged is found when it is read.
    let meta = fs::metadata(&path).unwrap();
    let seal_of = super::seal::Seal::of(&path, &meta, super::schema::VERSION);
    seal_of.set();
    assert!(seal_of.holds());
    date(&seal, hour_ago - std::time::Duration::from_secs(24 * 3600));
    assert!(!seal_of.holds(), "once a day it is looked through again");
    fs::write(dir.path().join("ledger.db-wal"), "x").unwrap();
    let beside = super::seal::Seal::of(&path, &meta, super::schema::VERSION);
    beside.set();
    assert!(!beside.holds(), "transactions wait beside it");
}

#[test]
fn damaged_pages_are_found_when_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    drop(open(&dir));
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[4096..end].fill(0xa5);
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::Damaged { .. })));
}

#[test]
fn a_ledger_removed_while_in_use_is_an_error_and_not_written_into_the_void() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    fs::remove_file(dir.path().join("ledger.db")).unwrap();
    assert!(matches!(
        store.accept(&commit(1), &commit(1), now()),
        Err(StoreError::Gone { .. })
    ));
}

#[test]
fn a_folder_that_cannot_be_written_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let path = if rustix::process::geteuid().is_root() {
        // Root writes everywhere but there.
        std::path::PathBuf::from("/proc/ledger.db")
    } else {
        dir.path().join("ledger.db")
    };
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
}

/// The child of the next test: appends and says so, until it is killed. Without the variable it does nothing.
#[test]
fn append_until_killed() {
    let Some(path) = std::env::var_os("RINGFENCE_TEST_APPEND") else {
        return;
    };
    let store = Store::open(path.as_ref()).unwrap();
    loop {
        let event = store.event(&NewEvent::default()).unwrap();
        println!("\nacknowledged {}", event.seq);
    }
}

#[test]
fn no_acknowledged_event_is_lost_when_the_process_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let mut acknowledged = 0_u64;
    for round in 1..=4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "store::tests::append_until_killed",
                "--exact",
                "--nocapture",
                "--test-threads=1",
            ])
            .env("RINGFENCE_TEST_APPEND", &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut seen = 0;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.by_ref().map_while(Result::ok) {
            if let Some(n) = line.strip_prefix("acknowledged ") {
                acknowledged = n.parse().unwrap();
                seen += 1;
                if seen == round * 25 {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        assert!(seen >= round * 25);
        assert!(open(&dir).verify().unwrap() >= acknowledged);
    }
}

#[test]
fn a_state_directory_is_private_and_held_by_one() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a/state");
    assert!(StateDir::read(&path).unwrap().is_none());
    let held = StateDir::open(&path, "/srv/fleet/.git", false).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    assert_eq!(held.holder().len(), 32);
    let error = StateDir::open(&path, "/srv/fleet/.git", false).unwrap_err();
    assert!(
        matches!(error, StoreError::Locked { pid: Some(pid), .. } if pid == std::process::id()),
        "{error}"
    );
    let view = StateDir::read(&path).unwrap().unwrap();
    assert_eq!(view.pid, Some(std::process::id()));
    assert_eq!(view.holder.as_deref(), Some(held.holder()));
    let id = held.holder().to_owned();
    drop(held);
    assert_eq!(StateDir::read(&path).unwrap().unwrap().pid, None);
    assert_eq!(
        StateDir::open(&path, "/srv/fleet/.git", false).unwrap().holder(),
        id,
        "the holder stays the same"
    );
}

#[test]
fn another_clone_takes_a_state_directory_over_only_when_told() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("state");
    drop(StateDir::open(&path, "/one/.git", false).unwrap());
    let error = StateDir::open(&path, "/two/.git", false).unwrap_err().to_string();
    assert!(
        error.contains("/one/.git") && error.contains("/two/.git") && error.contains("--takeover"),
        "{error}"
    );
    drop(StateDir::open(&path, "/two/.git", true).unwrap());
    drop(StateDir::open(&path, "/two/.git", false).unwrap());
    assert!(StateDir::open(&path, "/one/.git", false).is_err());
}

#[test]
fn a_link_or_a_broken_holder_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("state");
    drop(StateDir::open(&path, "x", false).unwrap());
    let link = root.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(matches!(
        StateDir::open(&link, "x", false),
        Err(StoreError::Symlink { .. })
    ));
    fs::write(path.join("holder"), "nonsense").unwrap();
    assert!(matches!(
        StateDir::open(&path, "x", false),
        Err(StoreError::Holder { .. })
    ));
}

#[test]
fn only_the_success_of_another_release_clears_that_a_ring_went_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let ring = ring(1);
    store.ring_succeeded(&ring, &release(1), now()).unwrap();
    store.ring_moving(&ring, Some(&moving(2)), now()).unwrap();
    store
        .ring_failed(&ring, &release(2), &quarantine(2), true, now())
        .unwrap();
    store.ring_moving(&ring, Some(&moving(1)), now()).unwrap();
    store.ring_succeeded(&ring, &release(1), now()).unwrap();
    let facts = store.facts().unwrap();
    let seen = facts.rings.get(&ring).unwrap();
    assert!(seen.rolled_back && seen.moving.is_none() && seen.previous.is_none());
    store.ring_succeeded(&ring, &release(3), now()).unwrap();
    let facts = store.facts().unwrap();
    let seen = facts.rings.get(&ring).unwrap();
    assert_eq!(
        (seen.running, seen.previous, seen.rolled_back),
        (Some(release(3)), Some(release(1)), false)
    );
    assert!(seen.quarantine.contains_key(&release(2)));
}
