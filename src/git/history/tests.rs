use crate::fleet::names::CommitId;
use crate::git::fixture::Fixture;
use crate::git::{GitError, Repo};

const APPROVAL: &str = "rings/approvals/prod/4b1d00aa.rel.ana.yaml";
const TENANT: &str = "desired/tenants/acme.yaml";

fn on(f: &Fixture, branch: &str) {
    f.git(&["checkout", "--quiet", branch]);
}

fn branch(f: &Fixture, name: &str) {
    f.git(&["checkout", "--quiet", "-b", name]);
}

fn merge(f: &Fixture, args: &[&str]) -> CommitId {
    f.git(&[&["merge", "--quiet", "--no-edit", "--no-ff"], args].concat());
    f.head()
}

fn introduced(f: &Fixture, path: &str) -> Option<CommitId> {
    f.repo().introduced(&f.head(), path).unwrap()
}

fn changes(f: &Fixture, since: &CommitId) -> Vec<CommitId> {
    f.repo().changes(Some(since), &f.head(), &[TENANT]).unwrap()
}

#[test]
fn what_stands_there_was_brought_by_the_commit_that_last_gave_it_this_content() {
    let f = Fixture::new();
    f.commit("ringfence.yaml", "fleet: aither\n");
    assert_eq!(introduced(&f, APPROVAL), None);
    let first = f.commit(APPROVAL, "one");
    f.commit("README.md", "more");
    assert_eq!(introduced(&f, APPROVAL), Some(first));
    let second = f.commit(APPROVAL, "two");
    assert_eq!(introduced(&f, APPROVAL), Some(second));
}

#[test]
fn what_was_removed_and_came_again_counts_from_its_return() {
    let f = Fixture::new();
    f.commit("ringfence.yaml", "fleet: aither\n");
    f.commit(APPROVAL, "one");
    std::fs::remove_file(f.dir().join(APPROVAL)).unwrap();
    f.commit("README.md", "withdrawn");
    assert_eq!(introduced(&f, APPROVAL), None);
    let again = f.commit(APPROVAL, "one");
    assert_eq!(introduced(&f, APPROVAL), Some(again));
}

#[test]
fn a_merge_hands_on_to_the_side_and_a_squash_is_its_own() {
    let f = Fixture::new();
    f.commit("ringfence.yaml", "fleet: aither\n");
    branch(&f, "side");
    let side = f.commit(APPROVAL, "one");
    on(&f, "main");
    f.commit("README.md", "meanwhile");
    merge(&f, &["side"]);
    assert_eq!(introduced(&f, APPROVAL), Some(side), "through the merge");
    branch(&f, "other");
    f.commit(APPROVAL, "two");
    on(&f, "main");
    f.git(&["merge", "--quiet", "--squash", "other"]);
    f.git(&["commit", "--quiet", "-m", "squashed"]);
    assert_eq!(introduced(&f, APPROVAL), Some(f.head()), "the squash");
}

#[test]
fn the_first_parent_goes_before_a_side_that_has_the_same() {
    let f = Fixture::new();
    f.commit("ringfence.yaml", "fleet: aither\n");
    branch(&f, "side");
    f.commit(APPROVAL, "one");
    on(&f, "main");
    let ours = f.commit(APPROVAL, "one");
    f.commit("README.md", "so that the two differ");
    merge(&f, &["side"]);
    assert_eq!(introduced(&f, APPROVAL), Some(ours));
}

#[test]
fn a_merge_that_writes_what_no_side_has_is_the_one_that_brought_it() {
    let f = Fixture::new();
    f.commit("ringfence.yaml", "fleet: aither\n");
    branch(&f, "side");
    f.commit(APPROVAL, "theirs");
    on(&f, "main");
    f.commit("README.md", "meanwhile");
    f.git(&["merge", "--quiet", "--no-commit", "--no-ff", "side"]);
    let evil = f.commit(APPROVAL, "mine");
    assert_eq!(f.repo().commit(&evil).unwrap().parents.len(), 2);
    assert_eq!(introduced(&f, APPROVAL), Some(evil));
}

#[test]
fn every_commit_since_that_touched_a_path_is_told_and_no_other() {
    let f = Fixture::new();
    f.commit(TENANT, "0");
    let from = f.commit("README.md", "here we are");
    let one = f.commit(TENANT, "1");
    f.commit("README.md", "nothing to do with it");
    let back = f.commit(TENANT, "0");
    assert_eq!(
        changes(&f, &from),
        [back.clone(), one],
        "there and back are two changes"
    );
    assert_eq!(changes(&f, &f.head()), []);
    let all = f.repo().changes(None, &f.head(), &[TENANT, "README.md"]).unwrap();
    assert_eq!(all.len(), 5, "the first commit brought its files");
}

#[test]
fn changes_of_a_merged_side_are_told_with_the_merge() {
    let f = Fixture::new();
    let from = f.commit(TENANT, "0");
    branch(&f, "side");
    let side = f.commit(TENANT, "1");
    on(&f, "main");
    f.commit("README.md", "meanwhile");
    let merged = merge(&f, &["side"]);
    let told = changes(&f, &from);
    assert_eq!(told, [merged, side]);
}

#[test]
fn a_merge_that_takes_an_old_version_again_is_a_change() {
    let f = Fixture::new();
    let old = f.commit(TENANT, "0");
    let from = f.commit(TENANT, "1");
    // The old side is the first parent, as of a merge that was made there; main then goes on to it.
    f.git(&["checkout", "--quiet", "-b", "side", old.as_str()]);
    f.commit("README.md", "an old side");
    let chosen = merge(&f, &["-s", "ours", "main"]);
    on(&f, "main");
    f.git(&["merge", "--quiet", "--ff-only", "side"]);
    assert_eq!(std::fs::read_to_string(f.dir().join(TENANT)).unwrap(), "0");
    assert_eq!(changes(&f, &from), [chosen]);
}

#[test]
fn a_shallow_clone_does_not_say_that_its_end_brought_everything() {
    let f = Fixture::new();
    f.commit(APPROVAL, "one");
    f.commit("README.md", "more");
    let clone = f.path("shallow");
    f.git(&[
        "clone",
        "--quiet",
        "--depth",
        "1",
        &f.url(),
        clone.to_str().unwrap(),
    ]);
    let repo = Repo::open(&clone).unwrap();
    let head = f.head();
    let cut_off = |result: Result<(), GitError>| matches!(result, Err(GitError::Shallow { .. }));
    assert!(cut_off(repo.introduced(&head, APPROVAL).map(drop)));
    assert!(cut_off(repo.changes(None, &head, &[APPROVAL]).map(drop)));
}
