//! Branches that nobody has checked out, and what a commit holds.

use super::*;

#[test]
fn a_branch_that_is_not_checked_out_moves_by_its_ref_and_the_checkout_is_left_alone() {
    let f = fleet();
    f.git(&["branch", "staging"]);
    f.write("notes.txt", "my own edit\n");
    let before = f.git(&["rev-parse", "staging"]);
    let written = write(&f.dir(), &on("staging", &[(PIN, Some("release: new\n"))])).unwrap();
    assert!(written.is_new && !written.signed && written.checkout.is_none());
    assert_eq!(f.git(&["rev-parse", "staging"]), written.commit.as_str());
    assert_eq!(f.git(&["rev-parse", "staging^"]), before);
    assert_eq!(f.git(&["show", &format!("staging:{PIN}")]), "release: new");
    assert_eq!(f.git(&["show", "staging:notes.txt"]), "one");
    assert_eq!(
        f.git(&["log", "-1", "--format=%an <%ae>|%cn|%B", "staging"]),
        "Ben <ben@example.org>|Ben|promote staging\n\nBecause it soaked."
    );
    assert_eq!(
        f.git(&["reflog", "-1", "--format=%gs", "staging"]),
        "ringfence: promote staging"
    );
    assert_eq!(status(&f, &f.dir()), "M notes.txt");
    assert_eq!(f.git(&["show", &format!("HEAD:{PIN}")]), "release: old");
    assert_eq!(locks(&f.dir()), [] as [PathBuf; 0]);
}

#[test]
fn a_bare_repository_takes_it_and_its_shared_modes_stay() {
    let f = fleet();
    let dir = bare(&f);
    f.git_in(&dir, &["config", "core.sharedRepository", "group"]);
    let folders = || -> std::collections::BTreeSet<PathBuf> {
        let entries = std::fs::read_dir(dir.join("objects")).unwrap();
        entries.map(|e| e.unwrap().path()).collect()
    };
    let before = folders();
    let written = write(&dir, &pin("release: new\n")).unwrap();
    assert_eq!(f.git_in(&dir, &["rev-parse", "main"]), written.commit.as_str());
    assert_eq!(f.git_in(&dir, &["show", &format!("main:{PIN}")]), "release: new");
    let after = folders();
    assert_ne!(before, after);
    for folder in after.difference(&before) {
        let mode = std::fs::metadata(folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o070, 0o070, "the group can add objects: {mode:o}");
    }
}

#[test]
fn files_come_and_go_with_their_folders_and_keep_their_modes() {
    let f = fleet();
    f.write("run.sh", "#!/bin/sh\n");
    f.git(&["add", "run.sh"]);
    f.git(&["update-index", "--chmod=+x", "run.sh"]);
    f.git(&["commit", "--quiet", "-m", "run"]);
    let dir = bare(&f);
    let approval = "rings/approvals/prod/4b1d.rel.ana.yaml";
    let change = on(
        "main",
        &[
            (approval, Some("ring: prod\n")),
            (PIN, None),
            ("run.sh", Some("#!/bin/sh\nexit\n")),
        ],
    );
    write(&dir, &change).unwrap();
    assert_eq!(
        f.git_in(&dir, &["ls-tree", "-r", "--format=%(objectmode) %(path)", "main"]),
        format!("100644 notes.txt\n100644 ringfence.yaml\n100644 {approval}\n100755 run.sh")
    );
    f.git_in(&dir, &["fsck", "--strict"]);
    let all: Vec<_> = ["notes.txt", approval, "ringfence.yaml", "run.sh"]
        .map(|p| (p, None))
        .into();
    write(&dir, &on("main", &all)).unwrap();
    assert_eq!(
        f.git_in(&dir, &["ls-tree", "main"]),
        "",
        "an empty tree is one too"
    );
}

#[test]
fn what_the_head_says_already_is_not_committed_again() {
    let f = fleet();
    let head = f.head();
    let written = write(&f.dir(), &pin("release: old\n")).unwrap();
    assert_eq!((written.is_new, &written.commit), (false, &head));
    assert_eq!(f.head(), head);
    let gone = write(&f.dir(), &on("main", &[("rings/holds/prod.yaml", None)])).unwrap();
    assert!(!gone.is_new);
}

#[test]
fn a_link_a_folder_or_a_file_in_the_place_of_another_is_refused_by_name() {
    let f = fleet();
    std::os::unix::fs::symlink("elsewhere", f.dir().join("rings/holds")).unwrap();
    f.commit("rings/waivers", "a file\n");
    let head = f.head();
    for (path, named) in [
        ("rings/holds/prod.yaml", "rings/holds"),
        ("rings/holds", "rings/holds"),
        ("rings/pins", "rings/pins"),
        ("rings/waivers/prod/1.yaml", "rings/waivers"),
    ] {
        let error = write(&f.dir(), &on("main", &[(path, Some("x\n"))])).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&format!("`{named}` is no ")) && text.contains("`main`"),
            "{text}"
        );
    }
    for path in [
        "../out",
        "a//b",
        "/etc/passwd",
        ".git/config",
        "rings/.GIT/x",
        "a\nb",
        "",
    ] {
        let found = problem(write(&f.dir(), &on("main", &[(path, Some("x\n"))])));
        assert!(matches!(found, WriteProblem::Name { .. }), "{path:?}: {found}");
    }
    for branch in ["", "-x", "a b", "a..b", "HEAD"] {
        let found = problem(write(&f.dir(), &on(branch, &[(PIN, Some("x\n"))])));
        assert!(matches!(found, WriteProblem::Name { .. }), "{branch:?}: {found}");
    }
    assert_eq!(f.head(), head);
    assert_eq!(status(&f, &f.dir()), "");
}

#[test]
fn a_branch_that_is_not_there_is_named_with_the_command_that_makes_it() {
    let f = fleet();
    let text = write(&f.dir(), &on("staging", &[(PIN, Some("x\n"))]))
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("git branch staging") && text.contains(&f.dir().display().to_string()),
        "{text}"
    );
    let empty = Fixture::new();
    assert!(matches!(
        write(&empty.dir(), &pin("x\n")),
        Err(GitError::Empty { .. })
    ));
}

#[test]
fn a_head_that_moves_is_committed_upon_while_the_condition_holds() {
    let f = fleet();
    let dir = bare(&f);
    let asked = std::cell::Cell::new(0);
    let moves_twice = |head: &Head<'_>| {
        assert_eq!(head.file(PIN)?.unwrap(), b"release: old\n");
        assert_eq!(head.file("rings/pins")?, None);
        assert!(head.tree()?.get(PIN).is_some());
        asked.set(asked.get() + 1);
        if asked.get() <= 2 {
            // Just after the head was read: somebody pushes.
            f.commit("notes.txt", format!("{}\n", asked.get()));
            f.git(&["push", "--quiet", dir.to_str().unwrap(), "main"]);
        }
        Ok(Condition::Holds)
    };
    let written = write_if(&dir, &pin("release: new\n"), &moves_twice).unwrap();
    assert_eq!(asked.get(), 3);
    assert_eq!(f.git_in(&dir, &["rev-parse", "main^"]), f.head().as_str());
    assert_eq!(f.git_in(&dir, &["rev-parse", "main"]), written.commit.as_str());
    assert_eq!(f.git_in(&dir, &["show", "main:notes.txt"]), "2");
}

#[test]
fn a_head_that_says_something_else_by_now_is_not_overwritten() {
    let f = fleet();
    let dir = bare(&f);
    let only_while_old = |head: &Head<'_>| {
        if head.file(PIN)?.as_deref() != Some(b"release: old\n") {
            return Ok(Condition::Gone("the pin names another release by now".to_owned()));
        }
        f.commit(PIN, "release: by hand\n");
        f.git(&["push", "--quiet", dir.to_str().unwrap(), "main"]);
        Ok(Condition::Holds)
    };
    let error = write_if(&dir, &pin("release: new\n"), &only_while_old).unwrap_err();
    assert!(
        error.to_string().contains("the pin names another release by now"),
        "{error}"
    );
    assert!(matches!(
        problem::<()>(Err(error)),
        WriteProblem::Overtaken { .. }
    ));
    assert_eq!(f.git_in(&dir, &["rev-parse", "main"]), f.head().as_str());
}

#[test]
fn a_head_that_never_rests_is_given_up_in_the_end() {
    let f = fleet();
    let dir = bare(&f);
    let moves = |_: &Head<'_>| {
        let next = f.git_in(&dir, &["commit-tree", "-p", "main", "-m", "on", "main^{tree}"]);
        f.git_in(&dir, &["update-ref", "refs/heads/main", &next]);
        Ok(Condition::Holds)
    };
    let found = problem(write_if(&dir, &pin("release: new\n"), &moves));
    assert!(matches!(found, WriteProblem::Contended { .. }), "{found}");
}

#[test]
fn a_lock_that_stays_is_named() {
    let f = fleet();
    let dir = bare(&f);
    std::fs::write(dir.join("refs/heads/main.lock"), "").unwrap();
    let found = problem(write(&dir, &pin("release: new\n")));
    assert!(
        matches!(&found, WriteProblem::Locked { detail } if detail.as_str().ends_with("main.lock")),
        "{found}"
    );
}

#[test]
fn a_person_s_hooks_may_refuse_the_ref_but_those_for_prepared_commits_are_not_asked() {
    let f = fleet();
    for hook in [
        "pre-commit",
        "commit-msg",
        "prepare-commit-msg",
        "post-commit",
        "post-merge",
    ] {
        script(&f.dir().join(".git/hooks").join(hook), "touch ../ran; exit 1");
    }
    write(&f.dir(), &pin("release: new\n")).unwrap();
    assert!(!f.path("ran").exists());
    let head = f.head();
    let hook = f.dir().join(".git/hooks/reference-transaction");
    script(
        &hook,
        "test $1 = prepared || exit 0; echo 'not on a Friday' >&2; exit 1",
    );
    let error = write(&f.dir(), &pin("release: newer\n")).unwrap_err();
    assert!(error.to_string().contains("not on a Friday"), "{error}");
    assert_eq!(f.head(), head);
    assert_eq!(
        status(&f, &f.dir()),
        "",
        "refused before the checkout was touched"
    );
}

#[test]
fn nothing_that_a_repository_brings_along_runs_in_the_daemon() {
    let f = fleet();
    let dir = bare(&f);
    let ran = f.path("ran");
    let evil = f.path("evil");
    script(&evil, &format!("echo \"$0 $*\" >> {}", ran.display()));
    for hook in [
        "reference-transaction",
        "pre-commit",
        "commit-msg",
        "post-index-change",
        "pre-push",
    ] {
        script(
            &f.path("hooks").join(hook),
            &format!("echo {hook} >> {}", ran.display()),
        );
    }
    for (name, value) in [
        ("core.hooksPath", f.path("hooks")),
        ("core.fsmonitor", evil.clone()),
        ("core.alternateRefsCommand", evil.clone()),
        ("gpg.program", evil.clone()),
        ("gpg.ssh.program", evil.clone()),
        ("filter.evil.clean", evil.clone()),
    ] {
        f.git_in(&dir, &["config", name, value.to_str().unwrap()]);
    }
    f.git_in(&dir, &["config", "commit.gpgSign", "true"]);
    std::fs::create_dir_all(dir.join("info")).unwrap();
    std::fs::write(dir.join("info/attributes"), "* filter=evil\n").unwrap();
    let repo = Repo::open(&dir).unwrap();
    let written = daemon(&repo, &pin("release: old again\n")).unwrap();
    assert!(written.is_new && !written.signed);
    assert_eq!(std::fs::read_to_string(&ran).unwrap_or_default(), "");
    assert_eq!(
        f.git_in(&dir, &["log", "-1", "--format=%an <%ae> %cn", "main"]),
        "ringfence <ringfence@localhost> ringfence"
    );
    write(&dir, &on("main", &[(PIN, Some("release: x\n"))])).unwrap_err();
    assert!(ran.exists(), "a person's git does run what they set up");
}

#[test]
fn the_daemon_never_writes_where_a_person_works() {
    let f = fleet();
    let head = f.head();
    let found = problem(daemon(&f.repo(), &pin("release: back\n")));
    assert!(matches!(found, WriteProblem::CheckedOut { .. }), "{found}");
    assert_eq!((f.head(), status(&f, &f.dir())), (head, String::new()));
    f.git(&["branch", "staging"]);
    daemon(&f.repo(), &on("staging", &[(PIN, Some("release: back\n"))])).unwrap();
}

mod as_root {
    use super::*;

    fn needs_root() {
        assert!(
            rustix::process::geteuid().is_root(),
            "only root can give files away: leave this out with `--skip as_root::`"
        );
    }

    #[test]
    fn another_users_repository_is_written_by_neither_the_daemon_nor_root() {
        needs_root();
        let f = fleet();
        let dir = bare(&f);
        let repo = Repo::open(&dir).unwrap();
        std::os::unix::fs::chown(&dir, Some(12345), None).unwrap();
        for hand in [Hand::Daemon { limit: LIMIT }, Hand::Person { say: &|_| {} }] {
            let found = problem(Writer::new(&repo, hand).commit(&pin("release: new\n"), ALWAYS));
            assert!(
                matches!(found, WriteProblem::OtherOwner { owner: 12345 }),
                "{found}"
            );
        }
    }
}
