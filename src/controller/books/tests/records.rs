//! Approvals, waivers and holds, with who is behind them.

use super::*;
use crate::controller::behind::Asker;
use crate::decide::records::Behind;
use crate::fleet::names::PrincipalName;

const REQUEST: &str = "4b1d00aa4b1d00aa4b1d00aa4b1d00aa4b1d00aa";

fn path(name: &str) -> String {
    format!("rings/approvals/prod/4b1d00aa.rel.{name}.yaml")
}

fn approval(more: &str) -> String {
    let digits = "1".repeat(64);
    format!(
        "ring: prod\nrequest: {REQUEST}\nto: rel-{digits}\npolicy: pol-{digits}\nverdict: approve\n{more}"
    )
}

fn name(text: &str) -> PrincipalName {
    text.parse().unwrap()
}

/// Whose word the only approval is.
fn word(desk: &mut Desk) -> Result<PrincipalName, String> {
    let (_, records, _) = desk.pass();
    assert_eq!(records.approvals.len(), 1);
    records.approvals[0].by.clone()
}

#[test]
fn an_approval_is_the_word_of_who_signed_it_when_it_was_first_seen() {
    let mut desk = Desk::signed();
    let commit = desk.by("ana", &path("ana"), &approval(""));
    let seen = desk.now;
    let (_, records, conditions) = desk.pass();
    assert_eq!(conditions, [""; 0]);
    let record = &records.approvals[0];
    assert_eq!(record.by, Ok(name("ana")));
    assert_eq!((&record.commit, record.seen), (&commit, seen));
    desk.later(5);
    desk.f.commit("README.md", "more");
    let (_, later, _) = desk.pass();
    assert_eq!(later.approvals, records.approvals, "whatever comes after it");
    desk.books = books(&desk.f);
    assert_eq!(desk.pass().1.approvals, records.approvals, "and after a restart");
}

#[test]
fn a_look_writes_nothing_down() {
    let mut desk = Desk::signed();
    desk.by("ana", &path("ana"), &approval(""));
    let before = desk.facts();
    let (_, records, _) = desk.look();
    assert_eq!(
        (records.approvals[0].by.clone(), records.approvals[0].seen),
        (Ok(name("ana")), desk.now)
    );
    assert_eq!(desk.facts(), before);
}

#[test]
fn a_word_counts_for_nobody_else_than_who_signed_it() {
    let mut desk = Desk::signed();
    desk.by("ben", &path("ana"), &approval(""));
    let why = word(&mut desk).unwrap_err();
    assert!(why.contains("signed by ben, not by ana"), "{why}");
}

#[test]
fn an_unsigned_word_counts_for_nobody_in_a_fleet_with_keys() {
    let mut desk = Desk::signed();
    desk.f.commit(&path("ana"), approval(""));
    let why = word(&mut desk).unwrap_err();
    assert!(
        why.contains("is not signed") && why.contains("git commit -S"),
        "{why}"
    );
}

#[test]
fn an_agents_word_is_the_agents() {
    let mut desk = Desk::signed();
    desk.by("atlas", &path("atlas"), &approval(""));
    // The gate says that only a human's counts.
    assert_eq!(word(&mut desk), Ok(name("atlas")));
}

#[test]
fn a_key_counts_by_when_the_commit_was_first_seen() {
    let mut desk = Desk::signed();
    let line = desk.people["ana"].clone();
    let until = |at: &str| {
        let key = format!("\"{line}\"");
        desk.principals("owners: {members: [ben], required: 1}\n")
            .replace(&key, &format!("{{key: {key}, valid_before: {at}}}"))
    };
    let (soon, past) = (until("2026-11-22T12:00:00Z"), until("2026-11-22T09:00:00Z"));
    desk.by("ben", PEOPLE, &soon);
    desk.by("ana", &path("ana"), &approval(""));
    assert_eq!(word(&mut desk), Ok(name("ana")));
    desk.later(48);
    assert_eq!(word(&mut desk), Ok(name("ana")), "seen while it counted");
    desk.by("ben", PEOPLE, &past);
    let why = word(&mut desk).unwrap_err();
    assert!(why.contains("counted until"), "{why}");
}

#[test]
fn a_revoked_key_counts_no_more_whenever_it_signed() {
    let mut desk = Desk::signed();
    desk.by("ana", &path("ana"), &approval(""));
    assert_eq!(word(&mut desk), Ok(name("ana")));
    let output = std::process::Command::new("ssh-keygen")
        .args(["-lf"])
        .arg(desk.f.path("ana.pub"))
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let print = output
        .split_whitespace()
        .find(|w| w.starts_with("SHA256:"))
        .unwrap();
    let revoked = desk.principals(&format!(
        "owners: {{members: [ben], required: 1}}\nrevoked: [\"{print}\"]\n"
    ));
    desk.by("ben", PEOPLE, &revoked);
    let why = word(&mut desk).unwrap_err();
    assert!(why.contains("revoked"), "{why}");
}

#[test]
fn what_came_again_after_a_revert_is_the_word_of_who_brought_it_again() {
    let mut desk = Desk::signed();
    let first = desk.by("ana", &path("ana"), &approval(""));
    desk.pass();
    desk.f.git_as("ben", &["revert", "--no-edit", "HEAD"]);
    desk.pass();
    desk.f.git_as("ben", &["revert", "--no-edit", "HEAD"]);
    let (_, records, _) = desk.pass();
    assert_ne!(records.approvals[0].commit, first);
    let why = records.approvals[0].by.clone().unwrap_err();
    assert!(why.contains("signed by ben"), "{why}");
}

#[test]
fn a_merge_hands_on_and_a_squash_is_its_own() {
    let mut desk = Desk::signed();
    desk.f.git(&["checkout", "--quiet", "-b", "side"]);
    let side = desk.by("ana", &path("ana"), &approval(""));
    desk.f.git(&["checkout", "--quiet", "main"]);
    desk.f.commit("README.md", "meanwhile");
    desk.f.git(&["merge", "--quiet", "--no-edit", "--no-ff", "side"]);
    let (_, records, _) = desk.pass();
    assert_eq!(records.approvals[0].commit, side);
    assert_eq!(
        records.approvals[0].by,
        Ok(name("ana")),
        "through a forge's merge"
    );
    desk.f.git(&["checkout", "--quiet", "-b", "other"]);
    desk.by("ana", &path("ana"), &approval("reason: again\n"));
    desk.f.git(&["checkout", "--quiet", "main"]);
    desk.f.git(&["merge", "--quiet", "--squash", "other"]);
    desk.f.git(&["commit", "--quiet", "-m", "squashed"]);
    assert!(word(&mut desk).unwrap_err().contains("is not signed"));
}

#[test]
fn another_spelling_of_a_signature_is_the_same_word() {
    let mut desk = Desk::signed();
    let base = desk.f.head();
    desk.by("ana", &path("ana"), &approval(""));
    let (_, first, _) = desk.pass();
    let text = format!("{}\n", desk.f.git(&["cat-file", "commit", "HEAD"]));
    let end = "-----END SSH SIGNATURE-----\n";
    std::fs::write(desk.f.path("object"), text.replacen(end, &format!("{end} \n"), 1)).unwrap();
    let object = desk.f.path("object");
    let object = object.to_str().unwrap();
    let again = desk
        .f
        .git(&["hash-object", "-t", "commit", "-w", "--literally", object]);
    // Withdrawn, and brought back by a merge of the other spelling.
    desk.f.git(&["rm", "--quiet", &path("ana")]);
    desk.f.git(&["commit", "--quiet", "-m", "withdrawn"]);
    desk.pass();
    desk.f.git(&["checkout", "--quiet", "-b", "old", &again]);
    desk.f
        .git(&["merge", "--quiet", "--no-edit", "-s", "ours", "main"]);
    desk.f.git(&["checkout", "--quiet", "main"]);
    desk.f.git(&["merge", "--quiet", "--ff-only", "old"]);
    assert_ne!(base, desk.f.head());
    let (_, second, _) = desk.pass();
    assert_eq!(second.approvals[0].commit.as_str(), again);
    assert_ne!(second.approvals[0].commit, first.approvals[0].commit);
    assert_eq!(
        second.approvals[0].word, first.approvals[0].word,
        "what it let start, it let start"
    );
}

#[test]
fn with_the_ledger_lost_what_stood_there_counts_no_more() {
    let mut desk = Desk::signed();
    desk.by("ana", &path("ana"), &approval(""));
    assert_eq!(word(&mut desk), Ok(name("ana")));
    desk.lose_ledger();
    let why = word(&mut desk).unwrap_err();
    assert!(
        why.contains("older than this ledger") && why.contains("approve again"),
        "{why}"
    );
    // Not by a merge of the old commit either.
    let old = desk.f.head();
    desk.f.git(&["rm", "--quiet", &path("ana")]);
    desk.f.git(&["commit", "--quiet", "-m", "withdrawn"]);
    desk.pass();
    desk.f.git(&["checkout", "--quiet", "-b", "old", old.as_str()]);
    desk.f
        .git(&["merge", "--quiet", "--no-edit", "-s", "ours", "main"]);
    desk.f.git(&["checkout", "--quiet", "main"]);
    desk.f.git(&["merge", "--quiet", "--ff-only", "old"]);
    desk.books = books(&desk.f);
    assert!(word(&mut desk).unwrap_err().contains("older than this ledger"));
    desk.by("ana", &path("ana"), &approval("reason: once more\n"));
    assert_eq!(word(&mut desk), Ok(name("ana")));
}

#[test]
fn in_a_fleet_without_keys_everybody_is_solo_and_the_first_head_is_old_too() {
    let mut desk = Desk::solo();
    desk.f.commit(&path("solo"), approval(""));
    assert!(word(&mut desk).unwrap_err().contains("older than this ledger"));
    desk.f.commit(&path("solo"), approval("reason: now\n"));
    assert_eq!(word(&mut desk), Ok(PrincipalName::solo()));
}

#[test]
fn a_hold_that_cannot_be_read_holds_what_its_file_is_named_after() {
    let mut desk = Desk::signed();
    desk.f.write("rings/holds/tenants/acme.yaml", "reason: {");
    desk.f
        .write("rings/holds/nobody.yaml", "reason: the fair\nuntil: 2026-11-24\n");
    desk.f.write(&path("ana"), "verdict: [");
    let head = desk.by("ben", "rings/holds/prod.yaml", "until: soon\n");
    let (control, records, conditions) = desk.pass();
    assert_eq!(control.commit, head, "and not the whole commit");
    let prod = &records.held_rings[&"prod".parse::<RingName>().unwrap()];
    assert!(prod.holds(desk.now) && prod.hold.is_err());
    assert_eq!(prod.by, Ok(name("ben")));
    let acme = &records.held_tenants[&"acme".parse::<Slug>().unwrap()];
    assert!(
        acme.holds(desk.now) && acme.tell().contains("cannot be read"),
        "{}",
        acme.tell()
    );
    assert_eq!(records.held_rings.len(), 1);
    assert!(
        has(&conditions, "pauses nothing") && has(&conditions, "rings/holds/nobody.yaml"),
        "{conditions:?}"
    );
    assert!(has(&conditions, "a word counts for nothing"), "{conditions:?}");
    assert_eq!(records.approvals, []);
    desk.by(
        "ben",
        "rings/holds/prod.yaml",
        "reason: the fair\nuntil: 2026-11-24\n",
    );
    let (_, records, _) = desk.pass();
    let prod = &records.held_rings[&"prod".parse::<RingName>().unwrap()];
    assert!(prod.hold.is_ok() && prod.holds(desk.now));
}

#[test]
fn a_pass_in_which_nothing_changed_walks_no_history() {
    let mut desk = Desk::signed();
    desk.by("ana", &path("ana"), &approval(""));
    let (_, first, _) = desk.pass();
    // Without its objects nothing can be walked to: all that is asked for is known.
    let head = desk.f.head();
    let hidden = desk.f.path("hidden");
    let facts = desk.facts();
    let asked = Asked {
        facts: &facts,
        person: false,
        accept: None,
        trust: None,
    };
    let branches = BTreeMap::from([("main".to_owned(), head)]);
    std::fs::rename(desk.f.dir().join(".git/objects"), &hidden).unwrap();
    desk.books.begin_pass();
    let mut seen = Seen::new(&facts, desk.now);
    let control = desk.books.control(&branches, &asked, &mut seen).unwrap();
    let policy = control.policy.clone().unwrap();
    let (again, _) = desk.books.records(&control, &policy, &mut seen);
    assert_eq!(again, first);
    assert!(seen.new_ones().is_empty());
}

/// Who stands behind what prod is asked for.
fn behind(desk: &mut Desk, ask: impl FnOnce(&mut Asker<'_, '_, '_>, &mut Books) -> Behind) -> Behind {
    let (control, ..) = desk.pass();
    let facts = desk.facts();
    let mut seen = Seen::new(&facts, desk.now);
    let policy = control.policy.unwrap();
    let mut asker = Asker {
        ring: policy.rings.get("prod").unwrap(),
        policy: &policy,
        seen: &mut seen,
    };
    ask(&mut asker, &mut desk.books)
}

fn names(behind: &Behind) -> Vec<&str> {
    behind.requesters.iter().map(PrincipalName::as_str).collect()
}

fn authors(behind: &Behind) -> Vec<String> {
    let authors = behind.authors.clone().unwrap().unwrap();
    authors.iter().map(ToString::to_string).collect()
}

#[test]
fn behind_a_pin_stand_all_who_signed_it_while_it_names_the_release() {
    let mut desk = Desk::signed();
    let one = desk.by("ana", "desired/plans.yaml", "{}\n");
    let two = desk.by("ana", "desired/plans.yaml", "# two\n{}\n");
    let pin = |release: &CommitId, why: &str| format!("release: {release}\nreason: {why}\n");
    let file = "rings/pins/prod.yaml";
    desk.by("cleo", file, &pin(&one, "first"));
    desk.by("ana", file, &pin(&two, "next"));
    desk.f.git(&["checkout", "--quiet", "-b", "side"]);
    desk.by("ben", file, &pin(&two, "better words"));
    desk.f.git(&["checkout", "--quiet", "main"]);
    desk.f.commit("README.md", "meanwhile");
    desk.f.git(&["merge", "--quiet", "--no-edit", "--no-ff", "side"]);
    let merged = desk.f.head();
    let found = behind(&mut desk, |asker, books| {
        asker.pin(books, &merged, Some(&one), &two)
    });
    assert_eq!(names(&found), ["ana", "ben"], "not who asked for another release");
    assert_eq!(found.unsigned, [""; 0], "a forge's merge only hands on");
    let unsigned = desk.f.commit(file, pin(&two, "and again"));
    let found = behind(&mut desk, |asker, books| {
        asker.pin(books, &unsigned, Some(&one), &two)
    });
    assert_eq!(names(&found), ["ana", "ben"]);
    assert!(has(&found.unsigned, "is not signed"), "{found:?}");
}

#[test]
fn authors_are_known_by_their_addresses_and_only_where_policy_excludes_them() {
    let mut desk = Desk::signed();
    let from = desk.by("ana", "desired/plans.yaml", "{}\n");
    desk.f.write("desired/plans.yaml", "# by two\n{}\n");
    desk.commit_by(
        "ben",
        "two\n\nCo-authored-by: Cleo <CLEO@example.org>\nCo-authored-by: X <x@example.org>",
    );
    let beta = "slug: beta\nring: dev\nplan_tier: starter\n";
    desk.f.write("desired/tenants/beta.yaml", beta);
    // No content: nobody wrote any of the release here.
    let to = desk.commit_by("ben", "beta\n\nCo-authored-by: Ben <ben@example.org>");
    let request = desk.by("ben", "rings/pins/prod.yaml", &format!("release: {to}\n"));
    let found = behind(&mut desk, |asker, books| {
        asker.pin(books, &request, Some(&from), &to)
    });
    // The fixture's author is Ana; Ben signs.
    assert_eq!(authors(&found), ["ana", "cleo"]);
    let found = behind(&mut desk, |asker, books| asker.pin(books, &request, None, &to));
    assert_eq!(
        authors(&found),
        [""; 0],
        "with nothing before, nobody wrote a difference"
    );
    let rings = RINGS.replace(", exclude: [authors]", "");
    desk.by("ben", RINGS_FILE, &rings);
    let found = behind(&mut desk, |asker, books| {
        asker.pin(books, &request, Some(&from), &to)
    });
    assert_eq!(found.authors, None);
    desk.by("ben", RINGS_FILE, "rings: {dev: {id: 0}, prod: {id: 1}}\n");
    let found = behind(&mut desk, |asker, books| {
        asker.pin(books, &request, Some(&from), &to)
    });
    assert_eq!(found, Behind::default(), "nobody's word is asked for");
}

#[test]
fn a_branch_asks_by_the_first_commit_that_has_the_content_of_its_head() {
    let mut desk = Desk::signed();
    let made = desk.by("cleo", "desired/plans.yaml", "{}\n");
    desk.by(
        "ana",
        "desired/tenants/beta.yaml",
        "slug: beta\nring: dev\nplan_tier: starter\n",
    );
    let tip = desk.by("ben", "rings/pins/prod.yaml", &format!("release: {made}\n"));
    let (control, ..) = desk.pass();
    let policy = control.policy.clone().unwrap();
    let ask = desk
        .books
        .ask(policy.rings.get("dev").unwrap(), &control, &policy, Some(&tip))
        .unwrap();
    assert_eq!((ask.request.clone(), ask.commit), (made, tip.clone()));
    let found = behind(&mut desk, |asker, books| {
        asker.candidate(books, &ask.request, None, &tip)
    });
    assert_eq!(names(&found), ["cleo"]);
}

#[test]
fn behind_tenant_files_stand_the_signers_of_every_commit_since_what_runs() {
    let mut desk = Desk::signed();
    let file = "desired/tenants/acme.yaml";
    let tenant = |tier: &str| format!("slug: acme\nring: prod\nplan_tier: {tier}\n");
    desk.by("cleo", file, &tenant("builder"));
    let runs = desk.by("ana", "README.md", "what runs");
    desk.by("ana", file, &tenant("growth"));
    desk.f.write("desired/plans.yaml", "{}\n");
    let request = desk.by("ben", file, &tenant("starter"));
    let tip = desk.by("cleo", "README.md", "newer");
    let acme: Slug = "acme".parse().unwrap();
    let mut asks = None;
    let found = behind(&mut desk, |asker, books| {
        let all = asker.asks(books, &acme, &tip, Some(&runs));
        let behind = all.behind.clone();
        asks = Some(all);
        behind
    });
    assert_eq!(names(&found), ["ana", "ben"]);
    assert_eq!(authors(&found), ["ana"]);
    let asks = asks.unwrap();
    assert_eq!((&asks.request, asks.age), (&request, 1));
    assert_eq!(
        asks.with,
        Some(desk.books.content(&request).unwrap()),
        "one commit changed both"
    );
    // A new tenant: all who made its files, since they came.
    let found = behind(&mut desk, |asker, books| {
        asker.asks(books, &acme, &tip, None).behind
    });
    assert_eq!(names(&found), ["ana", "ben", "cleo"]);
    assert_eq!(
        authors(&found),
        [""; 0],
        "with nothing before, only who asks is out"
    );
    desk.f.git(&["rm", "--quiet", file]);
    let gone = desk.commit_by("cleo", "gone");
    let found = behind(&mut desk, |asker, books| {
        let asks = asker.asks(books, &acme, &gone, Some(&tip));
        assert_eq!((&asks.request, asks.with), (&gone, None));
        asks.behind
    });
    assert_eq!(names(&found), ["cleo"]);
}

#[test]
fn in_a_fleet_without_keys_nobody_stands_behind_anything() {
    let mut desk = Desk::solo();
    let to = desk.f.commit("desired/plans.yaml", "{}\n");
    let request = desk.f.commit("rings/pins/prod.yaml", format!("release: {to}\n"));
    let found = behind(&mut desk, |asker, books| asker.pin(books, &request, None, &to));
    assert_eq!(found, Behind::default());
}
