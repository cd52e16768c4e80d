use crate::fleet::names::CommitId;
use crate::git::fixture::Fixture;

const ONE: &str = "rings/approvals/prod/4b1d00aa.rel.ana.yaml";
const TWO: &str = "rings/holds/prod.yaml";

fn introducers(f: &Fixture, until: Option<&CommitId>) -> Vec<(String, Option<CommitId>)> {
    let paths = [ONE, TWO].map(str::to_owned);
    let found = f.repo().introducers(&f.head(), "rings", &paths, until).unwrap();
    found.into_iter().collect()
}

fn merge(f: &Fixture, from: &str) -> CommitId {
    f.git(&["merge", "--quiet", "--no-edit", "--no-ff", from]);
    f.head()
}

#[test]
fn one_walk_finds_what_a_walk_for_each_path_finds() {
    let f = Fixture::new();
    f.commit("ringfence.yaml", "fleet: aither\n");
    let one = f.commit(ONE, "one");
    f.commit("README.md", "more");
    f.git(&["checkout", "--quiet", "-b", "side"]);
    let two = f.commit(TWO, "two");
    f.git(&["checkout", "--quiet", "main"]);
    let rings = f.commit("rings/rings.yaml", "rings: {}\n");
    merge(&f, "side");
    f.commit("README.md", "and more");
    let both = [(ONE.to_owned(), Some(one)), (TWO.to_owned(), Some(two))];
    assert_eq!(introducers(&f, None), both);
    for (path, commit) in &both {
        assert_eq!(f.repo().introduced(&f.head(), path).unwrap(), *commit);
    }
    let since = introducers(&f, Some(&rings));
    assert_eq!(since[0], (ONE.to_owned(), None), "unchanged since then");
    assert_eq!(since[1], both[1]);
}

#[test]
fn what_went_and_came_again_since_is_new() {
    let f = Fixture::new();
    f.commit(ONE, "one");
    let known = f.head();
    f.git(&["rm", "--quiet", ONE]);
    f.git(&["commit", "--quiet", "-m", "withdrawn"]);
    f.git(&["revert", "--no-edit", "HEAD"]);
    assert_eq!(introducers(&f, Some(&known)), [(ONE.to_owned(), Some(f.head()))]);
}

#[test]
fn a_merge_brings_what_its_other_sides_have() {
    let f = Fixture::new();
    let base = f.commit("README.md", "0");
    f.git(&["checkout", "--quiet", "-b", "side"]);
    let side = f.commit("side", "1");
    f.git(&["checkout", "--quiet", "main"]);
    let ours = f.commit("README.md", "1");
    let merged = merge(&f, "side");
    let repo = f.repo();
    assert_eq!(repo.brought(&merged).unwrap(), [merged.clone(), side.clone()]);
    assert_eq!(repo.brought(&ours).unwrap(), vec![ours.clone()]);
    assert_eq!(
        repo.first_parents(&base, &merged).unwrap(),
        Some(vec![ours, merged.clone()])
    );
    assert_eq!(
        repo.first_parents(&side, &merged).unwrap(),
        None,
        "it came from the side"
    );
    assert_eq!(repo.first_parents(&merged, &merged).unwrap(), Some(vec![]));
}

#[test]
fn a_clean_merge_wrote_nothing_and_an_evil_one_did() {
    let f = Fixture::new();
    f.commit("desired/plans.yaml", "0\n");
    f.git(&["checkout", "--quiet", "-b", "side"]);
    f.commit("desired/packages.yaml", "1\n");
    f.git(&["checkout", "--quiet", "main"]);
    f.commit("desired/plans.yaml", "1\n");
    let clean = merge(&f, "side");
    let written = |id: &CommitId| {
        f.repo()
            .written(id, &["desired", "stacks"])
            .unwrap()
            .into_iter()
            .collect::<Vec<_>>()
    };
    assert_eq!(written(&clean), [""; 0]);
    f.git(&["checkout", "--quiet", "side"]);
    f.commit("desired/packages.yaml", "2\n");
    f.git(&["checkout", "--quiet", "main"]);
    f.commit("README.md", "meanwhile");
    f.git(&["merge", "--quiet", "--no-commit", "--no-ff", "side"]);
    let evil = f.commit("desired/plans.yaml", "mine\n");
    assert_eq!(f.repo().parents_of(&evil).unwrap().len(), 2);
    assert_eq!(written(&evil), ["desired/plans.yaml"]);
}

#[test]
fn authors_and_trailers_are_read_from_the_message() {
    let f = Fixture::new();
    f.write("README.md", "0");
    f.git(&["add", "--all"]);
    f.git(&["commit", "--quiet", "-m", "with others\n\nand a text: not a trailer\n\nco-authored-by: Ben <ben@example.org>\nAccepts-policy: pol-1\nCo-authored-by: nobody"]);
    let authors: Vec<String> = f.repo().authors(&f.head()).unwrap().into_iter().collect();
    assert_eq!(authors, ["ana@example.org", "ben@example.org"]);
    assert_eq!(f.repo().trailers(&f.head(), "accepts-policy").unwrap(), ["pol-1"]);
}
