//! Branches that somebody has checked out.

use super::*;

#[test]
fn after_a_commit_in_a_checkout_status_is_clean_and_the_next_commit_does_not_revert_it() {
    let f = fleet();
    let written = write(&f.dir(), &pin("release: new\n")).unwrap();
    assert_eq!(written.checkout, Some(f.dir().canonicalize().unwrap()));
    assert_eq!(f.head(), written.commit);
    assert_eq!(status(&f, &f.dir()), "");
    assert_eq!(
        std::fs::read_to_string(f.dir().join(PIN)).unwrap(),
        "release: new\n"
    );
    assert_eq!(f.git(&["symbolic-ref", "HEAD"]), "refs/heads/main");
    for log in ["HEAD", "main"] {
        assert_eq!(
            f.git(&["reflog", "-1", "--format=%gs", log]),
            "ringfence: promote staging"
        );
    }
    // The user goes on, in each of the ways to commit.
    f.write("notes.txt", "two\n");
    f.git(&["add", "notes.txt"]);
    f.git(&["commit", "--quiet", "-m", "staged"]);
    f.write("notes.txt", "three\n");
    f.git(&["commit", "--quiet", "-a", "-m", "all"]);
    f.write("notes.txt", "four\n");
    f.git(&["commit", "--quiet", "-m", "only", "notes.txt"]);
    f.git(&["commit", "--quiet", "--amend", "-m", "amended"]);
    assert_eq!(f.git(&["show", &format!("HEAD:{PIN}")]), "release: new");
    assert_eq!(
        f.git(&["log", "--format=%h", "-1", "--", PIN]),
        written.commit.as_str()[..7]
    );
    assert_eq!(status(&f, &f.dir()), "");
}

#[test]
fn all_other_edits_in_a_checkout_stay_as_they_are() {
    let f = fleet();
    f.commit("desired/plans.yaml", "a\n");
    f.write("notes.txt", "staged\n");
    f.git(&["add", "notes.txt"]);
    f.write("notes.txt", "staged, and edited again\n");
    f.write("desired/plans.yaml", "edited\n");
    f.write("rings/pins/prod.yaml", "untracked, beside it\n");
    f.write("new.txt", "added\n");
    f.git(&["add", "new.txt"]);
    f.git(&["rm", "--quiet", "--cached", "ringfence.yaml"]);
    let before = (
        status(&f, &f.dir()),
        f.git(&["diff"]),
        f.git(&["diff", "--cached"]),
    );
    assert_eq!(before.0.lines().count(), 6, "{}", before.0);
    let change = on(
        "main",
        &[
            (PIN, Some("release: new\n")),
            ("rings/holds/prod.yaml", Some("until: x\n")),
        ],
    );
    write(&f.dir(), &change).unwrap();
    let after = (
        status(&f, &f.dir()),
        f.git(&["diff"]),
        f.git(&["diff", "--cached"]),
    );
    assert_eq!(before, after);
    assert_eq!(
        std::fs::read_to_string(f.dir().join("rings/holds/prod.yaml")).unwrap(),
        "until: x\n"
    );
    write(&f.dir(), &on("main", &[("rings/holds/prod.yaml", None)])).unwrap();
    assert!(!f.dir().join("rings/holds").exists());
    assert_eq!(before.0, status(&f, &f.dir()));
}

#[test]
fn a_file_that_was_only_touched_is_no_edit() {
    let f = fleet();
    let file = std::fs::File::options()
        .append(true)
        .open(f.dir().join(PIN))
        .unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(1000))
        .unwrap();
    write(&f.dir(), &pin("release: new\n")).unwrap();
    assert_eq!(status(&f, &f.dir()), "");
}

#[test]
fn a_linked_work_tree_is_a_checkout_too_from_wherever_it_is_written() {
    let f = fleet();
    let linked = f.path("linked");
    f.git(&[
        "worktree",
        "add",
        "--quiet",
        "-b",
        "develop",
        linked.to_str().unwrap(),
    ]);
    let file = |dir: &Path| std::fs::read_to_string(dir.join(PIN)).unwrap();
    let written = write(&f.dir(), &on("develop", &[(PIN, Some("release: a\n"))])).unwrap();
    assert_eq!(written.checkout, Some(linked.canonicalize().unwrap()));
    assert_eq!(
        (file(&linked), status(&f, &linked)),
        ("release: a\n".to_owned(), String::new())
    );
    assert_eq!(
        (file(&f.dir()), status(&f, &f.dir())),
        ("release: old\n".to_owned(), String::new())
    );
    assert_eq!(
        f.git_in(&linked, &["reflog", "-1", "--format=%gs"]),
        "ringfence: promote staging"
    );
    write(&linked, &pin("release: b\n")).unwrap();
    assert_eq!(
        (file(&f.dir()), status(&f, &f.dir())),
        ("release: b\n".to_owned(), String::new())
    );
    assert_eq!(
        (file(&linked), status(&f, &linked)),
        ("release: a\n".to_owned(), String::new())
    );
    // A bare repository with work trees beside it.
    let bare = bare(&f);
    let beside = f.path("beside");
    f.git_in(
        &bare,
        &["worktree", "add", "--quiet", beside.to_str().unwrap(), "main"],
    );
    write(&bare, &pin("release: c\n")).unwrap();
    assert_eq!(
        (file(&beside), status(&f, &beside)),
        ("release: c\n".to_owned(), String::new())
    );
}

/// Refused with the files' names and a way out; nothing moved, and the edits are as they were.
fn refused(f: &Fixture, change: &Change, named: &[&str]) {
    let before = (f.head(), status(f, &f.dir()), f.git(&["diff", "--cached"]));
    let error = write(&f.dir(), change).unwrap_err();
    let text = error.to_string();
    let WriteProblem::Edited { paths, .. } = problem::<()>(Err(error)) else {
        panic!("{text}");
    };
    assert_eq!(paths, named);
    assert!(
        text.contains("restore --staged --worktree") && text.contains("`main`"),
        "{text}"
    );
    assert_eq!(
        before,
        (f.head(), status(f, &f.dir()), f.git(&["diff", "--cached"]))
    );
    assert_eq!(locks(&f.dir()), [] as [PathBuf; 0]);
}

#[test]
fn edits_on_the_very_paths_refuse_it_by_name() {
    let f = fleet();
    f.write(PIN, "release: mine\n");
    refused(&f, &pin("release: new\n"), &[PIN]);
    f.git(&["add", PIN]);
    refused(&f, &pin("release: new\n"), &[PIN]);
    f.write(PIN, "release: old\n");
    refused(&f, &pin("release: new\n"), &[PIN]);
    // Just what comes is staged, and edited further.
    f.write(PIN, "release: new\n");
    f.git(&["add", PIN]);
    f.write(PIN, "release: newest\n");
    refused(&f, &pin("release: new\n"), &[PIN]);
    f.git(&["checkout", "--quiet", "HEAD", "--", PIN]);
    std::fs::remove_file(f.dir().join(PIN)).unwrap();
    refused(&f, &pin("release: new\n"), &[PIN]);
    refused(&f, &on("main", &[(PIN, None)]), &[PIN]);
    f.git(&["checkout", "--quiet", "HEAD", "--", PIN]);
    f.git(&["update-index", "--assume-unchanged", PIN]);
    f.write(PIN, "release: hidden\n");
    let found = problem(write(&f.dir(), &pin("release: new\n")));
    assert!(matches!(found, WriteProblem::Checkout { .. }), "{found}");
    assert_eq!(
        std::fs::read_to_string(f.dir().join(PIN)).unwrap(),
        "release: hidden\n"
    );
}

#[test]
fn files_that_git_does_not_know_are_not_overwritten() {
    let f = fleet();
    f.commit(".gitignore", "*.local.yaml\n");
    let new = |path| on("main", &[(path, Some("x\n"))]);
    f.write("rings/holds/prod.yaml", "mine\n");
    refused(&f, &new("rings/holds/prod.yaml"), &["rings/holds/prod.yaml"]);
    f.write("rings/holds/a.local.yaml", "ignored, and mine\n");
    refused(
        &f,
        &new("rings/holds/a.local.yaml"),
        &["rings/holds/a.local.yaml"],
    );
    f.write("rings/waivers", "a file where a folder has to be\n");
    refused(&f, &new("rings/waivers/prod/1.yaml"), &["rings/waivers"]);
    f.write("rings/approvals/x.yaml/deep", "a folder where a file has to be\n");
    refused(&f, &new("rings/approvals/x.yaml"), &["rings/approvals/x.yaml"]);
    assert_eq!(
        std::fs::read_to_string(f.dir().join("rings/holds/a.local.yaml")).unwrap(),
        "ignored, and mine\n"
    );
}

#[test]
fn a_merge_a_rebase_or_a_bisect_under_way_is_not_disturbed() {
    let begin: [(&str, &[&[&str]], &str); 5] = [
        ("a merge", &[&["merge", "--quiet", "side"]], "merge --abort"),
        ("a rebase", &[&["rebase", "--quiet", "side"]], "rebase --abort"),
        (
            "a cherry-pick",
            &[&["cherry-pick", "side"]],
            "cherry-pick --abort",
        ),
        (
            "a revert",
            &[&["revert", "--no-edit", "HEAD~1"]],
            "revert --abort",
        ),
        (
            "a bisect",
            &[
                &["bisect", "start"],
                &["bisect", "bad"],
                &["bisect", "good", "HEAD~2"],
            ],
            "bisect reset",
        ),
    ];
    for (what, commands, end) in begin {
        let f = fleet();
        f.git(&["branch", "side"]);
        f.commit("notes.txt", "on main\n");
        f.commit("notes.txt", "on main again\n");
        f.git(&["switch", "--quiet", "side"]);
        f.commit("notes.txt", "aside\n");
        f.git(&["switch", "--quiet", "main"]);
        for args in commands {
            f.command(&f.dir(), args).output().unwrap();
        }
        let before = (f.git(&["rev-parse", "main"]), status(&f, &f.dir()));
        let error = write(&f.dir(), &pin("release: new\n")).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&format!("{what} is under way")) && text.contains(end),
            "{what}: {text}"
        );
        assert!(matches!(problem::<()>(Err(error)), WriteProblem::Busy { .. }));
        assert_eq!(before, (f.git(&["rev-parse", "main"]), status(&f, &f.dir())));
        assert!(matches!(
            problem(daemon(&f.repo(), &pin("release: x\n"))),
            WriteProblem::Busy { .. }
        ));
        f.git(&end.split(' ').collect::<Vec<_>>());
        write(&f.dir(), &pin("release: new\n")).unwrap_or_else(|e| panic!("after {end}: {e}"));
    }
}

#[test]
fn a_rebase_that_carries_the_branch_along_counts_for_that_branch() {
    let f = fleet();
    f.commit("notes.txt", "two\n");
    f.git(&["branch", "staging"]);
    f.git(&["switch", "--quiet", "-c", "top"]);
    f.commit("notes.txt", "three\n");
    let mut rebase = f.command(&f.dir(), &["rebase", "--quiet", "-i", "--update-refs", "main~2"]);
    rebase
        .env("GIT_SEQUENCE_EDITOR", "sed -i '1i break'")
        .output()
        .unwrap();
    let found = problem(write(&f.dir(), &on("staging", &[(PIN, Some("release: new\n"))])));
    assert!(matches!(found, WriteProblem::Busy { .. }), "{found}");
    f.git(&["branch", "other"]);
    write(&f.dir(), &on("other", &[(PIN, Some("release: new\n"))])).unwrap();
}

#[test]
fn a_checkout_that_is_away_or_one_of_two_is_not_left_behind() {
    let f = fleet();
    let linked = f.path("linked");
    f.git(&[
        "worktree",
        "add",
        "--quiet",
        "-b",
        "develop",
        linked.to_str().unwrap(),
    ]);
    let change = on("develop", &[(PIN, Some("release: new\n"))]);
    std::fs::rename(&linked, f.path("elsewhere")).unwrap();
    let error = write(&f.dir(), &change).unwrap_err();
    assert!(error.to_string().contains("worktree prune"), "{error}");
    assert!(matches!(problem::<()>(Err(error)), WriteProblem::Away { .. }));
    std::fs::rename(f.path("elsewhere"), &linked).unwrap();
    let twin = f.path("twin");
    f.git(&[
        "worktree",
        "add",
        "--quiet",
        "--force",
        twin.to_str().unwrap(),
        "develop",
    ]);
    let found = problem(write(&f.dir(), &change));
    assert!(matches!(found, WriteProblem::CheckedOutTwice { .. }), "{found}");
    f.git(&["worktree", "remove", twin.to_str().unwrap()]);
    write(&f.dir(), &change).unwrap();
}

#[test]
fn line_ends_and_sparse_checkouts_are_as_git_makes_them() {
    let f = fleet();
    f.commit(".gitattributes", "*.yaml text eol=crlf\n");
    f.commit("notes.txt", "two\n");
    write(&f.dir(), &pin("release: new\n")).unwrap();
    assert_eq!(
        std::fs::read_to_string(f.dir().join(PIN)).unwrap(),
        "release: new\r\n"
    );
    assert_eq!(status(&f, &f.dir()), "");
    f.git(&["sparse-checkout", "set", "desired"]);
    assert!(!f.dir().join(PIN).exists());
    write(&f.dir(), &pin("release: newer\n")).unwrap();
    assert!(!f.dir().join(PIN).exists());
    assert_eq!(status(&f, &f.dir()), "");
    f.git(&["sparse-checkout", "disable"]);
    assert_eq!(
        std::fs::read_to_string(f.dir().join(PIN)).unwrap(),
        "release: newer\r\n"
    );
}

#[test]
fn a_checkout_under_a_lock_is_waited_for_and_then_named() {
    let f = fleet();
    let lock = f.dir().join(".git/index.lock");
    std::fs::write(&lock, "").unwrap();
    let found = problem(write(&f.dir(), &pin("release: new\n")));
    assert!(
        matches!(&found, WriteProblem::Locked { detail } if detail.as_str().ends_with("index.lock")),
        "{found}"
    );
    assert_eq!(f.git(&["show", &format!("HEAD:{PIN}")]), "release: old");
    let asked = std::cell::Cell::new(0);
    let ends = |_: &Head<'_>| {
        asked.set(asked.get() + 1);
        if asked.get() == 3 {
            std::fs::remove_file(&lock).unwrap();
        }
        Ok(Condition::Holds)
    };
    write_if(&f.dir(), &pin("release: new\n"), &ends).unwrap();
    assert_eq!((asked.get(), status(&f, &f.dir())), (3, String::new()));
}

#[test]
fn a_branch_that_is_checked_out_while_it_is_written_is_brought_along() {
    let f = fleet();
    f.git(&["branch", "staging"]);
    // The hook runs when the ref is locked: after it was looked where the branch is checked out.
    let (once, hook) = (f.path("once"), f.dir().join(".git/hooks/reference-transaction"));
    script(
        &hook,
        &format!(
            "test $1 = prepared || exit 0; test -e {0} && exit 0; touch {0}; git symbolic-ref HEAD refs/heads/staging",
            once.display()
        ),
    );
    let written = write(&f.dir(), &on("staging", &[(PIN, Some("release: new\n"))])).unwrap();
    assert!(once.exists() && written.checkout.is_some());
    assert_eq!(status(&f, &f.dir()), "");
    assert_eq!(f.git(&["rev-parse", "staging"]), written.commit.as_str());
}
