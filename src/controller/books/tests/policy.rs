//! Which policy is in force.

use super::*;
use crate::fleet::policy_id::of_files;

const TWO: &str = "owners: {members: [ana, ben], required: 2}\n";

fn lowered() -> String {
    RINGS.replace("approvals: {required: 1, exclude: [authors]}", "branch: main")
}

/// What a pass says of the policy: how many approvals prod asks for, and what waits.
fn policy(desk: &mut Desk) -> (u32, Vec<String>) {
    let (control, ..) = desk.pass();
    (Desk::quorum(&control), control.conditions)
}

/// The id of the policy at a commit.
fn id(desk: &mut Desk, commit: &CommitId) -> String {
    of_files(&desk.books.tree(commit).unwrap()).full()
}

#[test]
fn a_change_of_policy_needs_an_owner_and_decisions_are_read_meanwhile() {
    for name in ["cleo", "atlas"] {
        let mut desk = Desk::signed();
        let accepted = desk.facts().accepted_policy.unwrap();
        let change = desk.by(name, RINGS_FILE, &lowered());
        desk.f
            .commit("rings/holds/prod.yaml", "reason: the fair\nuntil: 2026-11-24\n");
        let (control, records, _) = desk.pass();
        assert_eq!(Desk::quorum(&control), 1, "the old policy stays in force");
        assert_eq!(control.commit, desk.f.head());
        assert_eq!(records.held_rings.len(), 1);
        let text = control.conditions.join("\n");
        for part in [
            change.short(),
            "0 of 1",
            "may sign: ana, ben",
            &format!("{name} is no owner"),
            "Accepts-policy: pol-",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(
            desk.facts().accepted_policy,
            Some(accepted),
            "and after a restart"
        );
    }
    let mut desk = Desk::signed();
    desk.f.commit(RINGS_FILE, lowered());
    assert_eq!(policy(&mut desk).0, 1, "nobody signed it");
    let mut desk = Desk::signed();
    desk.by("ben", RINGS_FILE, &lowered());
    assert_eq!(policy(&mut desk), (0, vec![]));
}

#[test]
fn a_fleet_whose_file_names_no_owners_asks_any_human_with_a_key() {
    let mut desk = Desk::signed();
    desk.by("ana", PEOPLE, &desk.principals(""));
    assert_eq!(policy(&mut desk).1, [""; 0]);
    desk.by("atlas", RINGS_FILE, &lowered());
    assert_eq!(policy(&mut desk).0, 1);
    desk.by("cleo", RINGS_FILE, RINGS);
    desk.by("cleo", RINGS_FILE, &lowered());
    assert_eq!(policy(&mut desk).0, 0);
}

#[test]
fn a_signature_on_top_of_what_waits_accepts_nothing() {
    let mut desk = Desk::signed();
    desk.by("cleo", RINGS_FILE, &lowered());
    desk.by("ana", "README.md", "nothing to do with it");
    assert_eq!(policy(&mut desk).0, 1);
    // Not even with a change of policy of her own: she may not have seen the other.
    let both = desk.principals("owners: {members: [ana], required: 1}\n");
    desk.by("ana", PEOPLE, &both);
    let (quorum, conditions) = policy(&mut desk);
    assert_eq!(quorum, 1);
    assert!(has(&conditions, "waits for the owners"), "{conditions:?}");
    // Taken back, hers stands directly on what is in force.
    desk.by("cleo", RINGS_FILE, RINGS);
    let back = desk.principals("owners: {members: [ana, ben], required: 1}\n");
    desk.by("cleo", PEOPLE, &back);
    assert_eq!(policy(&mut desk).1, [""; 0]);
    desk.by("ana", PEOPLE, &both);
    assert_eq!(policy(&mut desk).1, [""; 0]);
}

#[test]
fn an_owner_accepts_what_waits_by_its_whole_id() {
    let mut desk = Desk::signed();
    let change = desk.by("cleo", RINGS_FILE, &lowered());
    let id = id(&mut desk, &change);
    let message = |id: &str| format!("Accept the policy\n\nAccepts-policy: {id}");
    desk.commit_by("cleo", &message(&id));
    desk.commit_by("ana", &message(&id.replace("pol-", "pol-0")));
    desk.commit_by("ana", &message(id.get(..12).unwrap()));
    desk.f
        .git(&["commit", "--quiet", "--allow-empty", "-m", &message(&id)]);
    let (quorum, conditions) = policy(&mut desk);
    assert_eq!(
        quorum, 1,
        "not by another's word, another id, a part of it, or unsigned"
    );
    assert!(has(&conditions, &id), "{conditions:?}");
    desk.commit_by("ana", &message(&id));
    assert_eq!(policy(&mut desk), (0, vec![]));
}

#[test]
fn what_was_accepted_once_and_taken_back_is_not_accepted_by_the_old_words() {
    let mut desk = Desk::signed();
    let change = desk.by("ana", RINGS_FILE, &lowered());
    let id = id(&mut desk, &change);
    desk.commit_by("ben", &format!("too\n\nAccepts-policy: {id}"));
    desk.by("ana", RINGS_FILE, RINGS);
    assert_eq!(policy(&mut desk), (1, vec![]));
    // By a commit of one's own, and by a merge of the signed one.
    desk.by("cleo", RINGS_FILE, &lowered());
    assert_eq!(policy(&mut desk).0, 1);
    desk.by("cleo", RINGS_FILE, RINGS);
    desk.f.git(&["checkout", "--quiet", "-b", "old", change.as_str()]);
    desk.f
        .git(&["merge", "--quiet", "--no-edit", "-s", "ours", "main"]);
    desk.f.git(&["checkout", "--quiet", "main"]);
    desk.f.git(&["merge", "--quiet", "--ff-only", "old"]);
    desk.books = books(&desk.f);
    assert_eq!(policy(&mut desk).0, 1);
}

#[test]
fn more_owners_than_one_are_counted_by_who_brought_exactly_this_change() {
    let two = || {
        let mut desk = Desk::signed();
        desk.by("ana", PEOPLE, &desk.principals(TWO));
        assert_eq!(policy(&mut desk).1, [""; 0]);
        desk
    };
    let mut desk = two();
    let change = desk.by("ana", RINGS_FILE, &lowered());
    let (quorum, conditions) = policy(&mut desk);
    assert_eq!(quorum, 1);
    assert!(
        has(&conditions, "1 of 2 (ana) signed") && has(&conditions, "may sign: ben"),
        "{conditions:?}"
    );
    let named = id(&mut desk, &change);
    desk.commit_by("ana", &format!("again\n\nAccepts-policy: {named}"));
    assert_eq!(policy(&mut desk).0, 1, "one owner counts once");
    desk.commit_by("ben", &format!("yes\n\nAccepts-policy: {named}"));
    assert_eq!(policy(&mut desk).0, 0);

    let mut desk = two();
    desk.f.git(&["checkout", "--quiet", "-b", "side"]);
    desk.by("ana", RINGS_FILE, &lowered());
    desk.f.git(&["checkout", "--quiet", "main"]);
    desk.f.commit("README.md", "meanwhile");
    desk.pass();
    desk.f
        .git_as("ben", &["merge", "--quiet", "--no-edit", "--no-ff", "side"]);
    assert_eq!(policy(&mut desk).0, 0, "one wrote it, the other merged it");
}

#[test]
fn a_forges_merge_brings_what_an_owner_signed_and_its_squash_brings_nobodys() {
    let side = |desk: &Desk| {
        desk.f.git(&["checkout", "--quiet", "-b", "side"]);
        desk.by("ana", RINGS_FILE, &lowered());
        desk.f.git(&["checkout", "--quiet", "main"]);
        desk.f.commit("README.md", "meanwhile");
    };
    let mut desk = Desk::signed();
    side(&desk);
    desk.f.git(&["merge", "--quiet", "--no-edit", "--no-ff", "side"]);
    assert_eq!(policy(&mut desk).0, 0);
    let mut desk = Desk::signed();
    side(&desk);
    desk.f.git(&["merge", "--quiet", "--squash", "side"]);
    desk.f.git(&["commit", "--quiet", "-m", "squashed"]);
    assert_eq!(policy(&mut desk).0, 1);
}

#[test]
fn an_owner_who_pulls_a_change_that_waits_has_not_accepted_it() {
    let mut desk = Desk::signed();
    desk.f.git(&["checkout", "--quiet", "-b", "anas"]);
    desk.by("ana", "README.md", "work of her own");
    desk.f.git(&["checkout", "--quiet", "main"]);
    desk.by("cleo", RINGS_FILE, &lowered());
    assert_eq!(policy(&mut desk).0, 1);
    // `git pull` in her clone, and a push: her merge is the new head.
    desk.f.git(&["checkout", "--quiet", "anas"]);
    desk.f
        .git_as("ana", &["merge", "--quiet", "--no-edit", "--no-ff", "main"]);
    desk.f.git(&["checkout", "--quiet", "main"]);
    desk.f.git(&["merge", "--quiet", "--ff-only", "anas"]);
    let (quorum, conditions) = policy(&mut desk);
    assert_eq!(quorum, 1, "{conditions:?}");
    // A merge into a side of hers, which another then merges, neither.
    let mut desk = Desk::signed();
    desk.f.git(&["checkout", "--quiet", "-b", "anas"]);
    desk.by("ana", "README.md", "work of her own");
    desk.f.git(&["checkout", "--quiet", "main"]);
    desk.by("cleo", RINGS_FILE, &lowered());
    desk.f.git(&["checkout", "--quiet", "anas"]);
    desk.f
        .git_as("ana", &["merge", "--quiet", "--no-edit", "--no-ff", "main"]);
    desk.f.git(&["checkout", "--quiet", "main"]);
    desk.f
        .git_as("cleo", &["merge", "--quiet", "--no-edit", "--no-ff", "anas"]);
    assert_eq!(policy(&mut desk).0, 1);
}

#[test]
fn going_to_keys_is_at_once_and_back_to_solo_needs_the_owners() {
    let mut desk = Desk::signed();
    desk.f.commit(PEOPLE, "principals: {}\n");
    let (control, ..) = desk.pass();
    assert!(!control.policy.as_ref().unwrap().principals.is_solo());
    assert!(has(&control.conditions, "waits for the owners"));
    desk.f.git(&["revert", "--no-edit", "HEAD"]);
    desk.by("ana", PEOPLE, "principals: {}\n");
    let (control, ..) = desk.pass();
    assert!(control.policy.unwrap().principals.is_solo());
    desk.f.commit(RINGS_FILE, lowered());
    assert_eq!(policy(&mut desk), (0, vec![]), "solo accepts at once");
}

#[test]
fn each_commit_is_judged_under_the_policy_before_it_however_many_come_at_once() {
    // Cleo makes herself owner, and then changes policy: in one push.
    let mut desk = Desk::signed();
    let mine = desk.principals("owners: {members: [cleo], required: 1}\n");
    desk.by("cleo", PEOPLE, &mine);
    desk.by("cleo", RINGS_FILE, &lowered());
    assert_eq!(policy(&mut desk).0, 1);
    // Ana makes her owner, and then it is hers.
    let mut desk = Desk::signed();
    let hers = desk.principals("owners: {members: [cleo], required: 1}\n");
    desk.by("ana", PEOPLE, &hers);
    desk.by("cleo", RINGS_FILE, &lowered());
    assert_eq!(policy(&mut desk), (0, vec![]));
}

#[test]
fn a_policy_with_errors_is_not_taken_whoever_signed_it() {
    let mut desk = Desk::signed();
    let bad = desk.by("ana", RINGS_FILE, "rings: {dev: {id: 7}}\n");
    let (quorum, conditions) = policy(&mut desk);
    assert_eq!(quorum, 1);
    assert!(
        has(&conditions, &format!("the policy at {} has errors", bad.short())),
        "{conditions:?}"
    );
    assert_eq!(desk.facts().accepted, Some(bad));
    desk.f.git(&["rm", "--quiet", "-r", "rings", "desired"]);
    desk.commit_by("ana", "nothing is left");
    desk.pass();
    assert_ne!(
        desk.facts().accepted,
        Some(desk.f.head()),
        "what declares nothing is no fleet"
    );
}

#[test]
fn a_pin_whose_commit_changes_policy_is_judged_under_the_policy_before() {
    let mut desk = Desk::signed();
    let release = desk.f.head();
    let pin = format!("release: {release}\n");
    desk.f.write("rings/pins/prod.yaml", &pin);
    let both = desk.by("ana", RINGS_FILE, &lowered());
    let (control, ..) = desk.pass();
    assert_eq!(Desk::quorum(&control), 0, "an owner signed it");
    let before = |desk: &mut Desk, commit: &CommitId| {
        let read = desk.books.policy_before(commit, &desk.facts().policies)?;
        let policy = read.policy.as_ref()?;
        Some(
            policy
                .rings
                .get("prod")?
                .approvals
                .as_ref()
                .map_or(0, |a| a.required),
        )
    };
    assert_eq!(before(&mut desk, &both), Some(1));
    let again = desk.by("ana", "rings/pins/prod.yaml", &format!("{pin}reason: alone\n"));
    desk.pass();
    assert_eq!(
        before(&mut desk, &again),
        None,
        "a pin alone is judged under what is in force"
    );
    // A quorum that was lowered before, by nobody who may, helps no pin that changes policy further.
    let mut desk = Desk::signed();
    desk.by("cleo", RINGS_FILE, &lowered());
    desk.f.write("rings/pins/prod.yaml", &pin);
    let more = desk.by("cleo", RINGS_FILE, &format!("{}# more\n", lowered()));
    desk.pass();
    assert_eq!(before(&mut desk, &more), Some(1));
}

#[test]
fn a_rewritten_branch_is_taken_by_accept_alone_where_there_are_keys() {
    let mut desk = Desk::signed();
    let base = desk.f.head();
    desk.by("ana", RINGS_FILE, &lowered());
    let was = desk.f.head();
    desk.pass();
    desk.f.git(&["reset", "--quiet", "--hard", base.as_str()]);
    let rewound = desk.asked(true, None, true).0;
    assert_eq!((&rewound.commit, Desk::quorum(&rewound)), (&was, 0));
    let text = rewound.conditions.join("\n");
    assert!(
        text.contains(&format!("`ringfence accept {}`", base.short())),
        "{text}"
    );
    assert!(!text.contains("ringfence apply"), "{text}");
    let new = desk.by("cleo", RINGS_FILE, &RINGS.replace("required: 1", "required: 2"));
    let kept = desk.asked(true, None, true).0;
    assert_eq!(kept.commit, was, "a person's apply does not");
    let stranger: CommitId = "1".repeat(40).parse().unwrap();
    let other = desk.asked(true, Some(&stranger), true).0;
    assert_eq!(other.commit, was);
    assert!(
        has(&other.conditions, "is not on control branch"),
        "{:?}",
        other.conditions
    );
    // Judging starts at the accepted commit: what comes after it needs the owners.
    let taken = desk.asked(true, Some(&base), true).0;
    assert_eq!((&taken.commit, &taken.policy_commit), (&new, &base));
    assert_eq!(Desk::quorum(&taken), 1);
    assert!(
        has(&taken.conditions, "waits for the owners"),
        "{:?}",
        taken.conditions
    );
    let after = desk.pass().0;
    assert_eq!((after.commit, after.policy_commit), (new, base));
    assert!(!has(&after.conditions, "rewritten"), "{:?}", after.conditions);
}

#[test]
fn in_solo_a_persons_apply_takes_a_rewritten_branch_and_the_daemon_does_not() {
    let mut desk = Desk::solo();
    desk.f.commit("README.md", "one");
    desk.pass();
    let was = desk.f.head();
    desk.f.git(&["commit", "--quiet", "--amend", "-m", "rewritten"]);
    let daemon = desk.pass().0;
    assert_eq!(daemon.commit, was);
    assert!(
        has(&daemon.conditions, "`ringfence apply`"),
        "{:?}",
        daemon.conditions
    );
    let person = desk.asked(true, None, true).0;
    assert_eq!(person.commit, desk.f.head());
    assert_eq!(desk.facts().accepted, Some(desk.f.head()));
}

#[test]
fn judging_starts_where_a_person_trusts_it() {
    let mut desk = Desk::signed();
    let trusted = desk.f.head();
    desk.by("cleo", RINGS_FILE, &lowered());
    desk.lose_ledger();
    let facts = desk.facts();
    let mut seen = Seen::new(&facts, desk.now);
    let branches = desk.books.branches().unwrap();
    let asked = Asked {
        facts: &facts,
        person: false,
        accept: None,
        trust: Some(&trusted),
    };
    let control = desk.books.control(&branches, &asked, &mut seen).unwrap();
    let told = accept(&desk.books, &desk.store, &control, desk.now).unwrap();
    assert_eq!(Desk::quorum(&control), 1);
    assert!(told.unwrap().contains(trusted.short()));
    assert_eq!(desk.facts().first_accepted, Some(trusted));
    assert_eq!(desk.facts().accepted, Some(desk.f.head()));
    // Without it the head is taken as it is.
    desk.lose_ledger();
    assert_eq!(policy(&mut desk).0, 0);
}
