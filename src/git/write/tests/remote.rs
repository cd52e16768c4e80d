//! Repositories elsewhere: what the remote takes is, and nothing else.

use super::*;

/// A server's bare repository, and its mirror.
fn served() -> (Fixture, PathBuf, Repo) {
    let f = fleet();
    let server = bare(&f);
    let repo = Repo::mirror(&format!("file://{}", server.display()), &f.path("state/git")).unwrap();
    repo.fetch(LIMIT).unwrap();
    be_ben(&f, repo.common_dir());
    (f, server, repo)
}

fn person(repo: &Repo, change: &Change) -> Result<Written, GitError> {
    Writer::new(repo, Hand::Person { say: &|_| {} }).commit(change, ALWAYS)
}

fn head(repo: &Repo) -> String {
    repo.branches().unwrap()["main"].to_string()
}

#[test]
fn a_commit_at_a_url_is_pushed_and_only_then_the_mirrors() {
    let (f, server, repo) = served();
    let seen = f.path("seen");
    script(
        &server.join("hooks/pre-receive"),
        &format!(
            "git --git-dir {} rev-parse main > {}",
            repo.common_dir().display(),
            seen.display()
        ),
    );
    let before = head(&repo);
    for (hand, who) in [
        (Hand::Person { say: &|_| {} }, "Ben"),
        (Hand::Daemon { limit: LIMIT }, "ringfence"),
    ] {
        let written = Writer::new(&repo, hand)
            .commit(&pin(&format!("release: {who}\n")), ALWAYS)
            .unwrap();
        assert_eq!(f.git_in(&server, &["rev-parse", "main"]), written.commit.as_str());
        assert_eq!(f.git_in(&server, &["log", "-1", "--format=%an", "main"]), who);
        assert_eq!(head(&repo), written.commit.as_str());
        assert_eq!(
            written.pushed.unwrap().as_str(),
            format!("file://{}", server.display())
        );
    }
    let first = f.git_in(&server, &["rev-parse", "main^"]);
    assert_ne!(first, before);
    assert_eq!(
        std::fs::read_to_string(seen).unwrap().trim(),
        first,
        "not yet while the server decided"
    );
}

#[test]
fn a_mirror_that_lags_behind_is_fetched_before_anybody_signs() {
    let (f, server, repo) = served();
    let theirs = f.commit("notes.txt", "two\n");
    f.git(&["push", "--quiet", server.to_str().unwrap(), "main"]);
    let only_theirs = |head: &Head<'_>| {
        assert_eq!(
            head.commit(),
            &theirs,
            "a signature for an older one would be in vain"
        );
        Ok(Condition::Holds)
    };
    let writer = Writer::new(&repo, Hand::Person { say: &|_| {} });
    let written = writer.commit(&pin("release: new\n"), &only_theirs).unwrap();
    assert_eq!(f.git_in(&server, &["rev-parse", "main^"]), theirs.as_str());
    assert_eq!(f.git_in(&server, &["rev-parse", "main"]), written.commit.as_str());
}

#[test]
fn a_remote_that_moved_is_fetched_and_asked_again() {
    let (f, server, repo) = served();
    let asked = std::cell::Cell::new(0);
    let writer = Writer::new(&repo, Hand::Person { say: &|_| {} });
    let moves = |h: &Head<'_>| {
        asked.set(asked.get() + 1);
        if asked.get() == 1 {
            f.commit("notes.txt", "two\n");
            f.git(&["push", "--quiet", server.to_str().unwrap(), "main"]);
        } else {
            assert_eq!(h.commit(), &f.head());
        }
        Ok(Condition::Holds)
    };
    let written = writer.commit(&pin("release: new\n"), &moves).unwrap();
    assert_eq!(
        (asked.get(), f.git_in(&server, &["rev-parse", "main^"])),
        (2, f.head().to_string())
    );
    assert_eq!(head(&repo), written.commit.as_str());
    // And one that says something else by now is not overwritten.
    f.git(&["pull", "--quiet", "--ff-only", server.to_str().unwrap(), "main"]);
    let only_while_new = |h: &Head<'_>| {
        if h.file(PIN)?.as_deref() != Some(b"release: new\n") {
            return Ok(Condition::Gone("it names another release".to_owned()));
        }
        f.commit(PIN, "release: by hand\n");
        f.git(&["push", "--quiet", server.to_str().unwrap(), "main"]);
        Ok(Condition::Holds)
    };
    let found = problem(writer.commit(&pin("release: newer\n"), &only_while_new));
    assert!(matches!(found, WriteProblem::Overtaken { .. }), "{found}");
    assert_eq!(f.git_in(&server, &["rev-parse", "main"]), f.head().as_str());
}

#[test]
fn a_refused_push_leaves_nothing_and_says_what_the_server_said() {
    let (f, server, repo) = served();
    let before = head(&repo);
    script(
        &server.join("hooks/pre-receive"),
        "echo 'main is protected: \x1b[31mask Ana' >&2; exit 1",
    );
    let error = person(&repo, &pin("release: new\n")).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("main is protected: ") && text.contains("ask Ana"),
        "{text}"
    );
    assert!(
        text.contains("pre-receive hook declined") && text.contains("nothing was changed"),
        "{text}"
    );
    assert!(
        !text.contains('\x1b') && text.contains(&server.display().to_string()),
        "{text}"
    );
    assert!(matches!(
        problem::<()>(Err(error)),
        WriteProblem::NotPushed { .. }
    ));
    assert_eq!(
        (head(&repo), f.git_in(&server, &["rev-parse", "main"])),
        (before.clone(), before.clone())
    );
    repo.fetch(LIMIT).unwrap();
    let refs = f.git_in(repo.common_dir(), &["for-each-ref", "--format=%(objectname)"]);
    assert!(refs.lines().all(|l| l == before), "{refs}");
}

#[test]
fn a_push_whose_answer_was_lost_counts_when_it_arrived() {
    let (f, server, repo) = served();
    // The server is killed after it moved the ref and before it says so.
    script(&server.join("hooks/post-receive"), "kill -9 $PPID");
    let written = person(&repo, &pin("release: new\n")).unwrap();
    assert!(written.is_new && written.pushed.is_some());
    assert_eq!(f.git_in(&server, &["rev-parse", "main"]), written.commit.as_str());
    assert_eq!(f.git_in(&server, &["rev-list", "--count", "main"]), "4", "once");
}

#[test]
fn hooks_of_the_users_own_know_nothing_of_a_mirror() {
    let (f, _, repo) = served();
    let ran = f.path("ran");
    for hook in ["pre-push", "reference-transaction"] {
        script(
            &f.path("hooks").join(hook),
            &format!("echo {hook} >> {}", ran.display()),
        );
    }
    f.git_in(
        repo.common_dir(),
        &["config", "core.hooksPath", f.path("hooks").to_str().unwrap()],
    );
    person(&repo, &pin("release: new\n")).unwrap();
    daemon(&repo, &pin("release: newer\n")).unwrap();
    assert!(!ran.exists());
}

#[test]
fn a_server_that_hangs_ends_at_the_daemons_limit() {
    let (f, server, repo) = served();
    let (begun, done) = (f.path("begun"), f.path("done"));
    script(
        &server.join("hooks/pre-receive"),
        &format!(
            "touch {}; until test -e {}; do sleep 0.02; done; exit 1",
            begun.display(),
            done.display()
        ),
    );
    let limit = Duration::from_secs(2);
    let found = problem(Writer::new(&repo, Hand::Daemon { limit }).commit(&pin("release: new\n"), ALWAYS));
    std::fs::write(&done, "").unwrap();
    assert!(begun.exists());
    assert!(
        matches!(&found, WriteProblem::TimedOut { what, .. } if what.as_str().contains("push")),
        "{found}"
    );
}

/// A checkout of `main` with the server as its `origin`.
fn cloned() -> (Fixture, PathBuf, PathBuf) {
    let f = fleet();
    let server = bare(&f);
    let clone = f.path("clone");
    f.git_in(
        f.root.path(),
        &[
            "clone",
            "--quiet",
            server.to_str().unwrap(),
            clone.to_str().unwrap(),
        ],
    );
    be_ben(&f, &clone);
    (f, server, clone)
}

fn pushed(text: &str) -> Change {
    Change {
        push: true,
        ..pin(text)
    }
}

#[test]
fn a_local_repository_pushes_when_asked_and_is_up_to_date_with_its_remote() {
    let (f, server, clone) = cloned();
    let quiet = write(&clone, &pin("release: a\n")).unwrap();
    assert_eq!(quiet.pushed, None);
    assert_ne!(f.git_in(&server, &["rev-parse", "main"]), quiet.commit.as_str());
    let written = write(&clone, &pushed("release: b\n")).unwrap();
    assert_eq!(written.pushed.as_ref().unwrap().as_str(), "origin");
    for (dir, rev) in [(&server, "main"), (&clone, "main"), (&clone, "origin/main")] {
        assert_eq!(f.git_in(dir, &["rev-parse", rev]), written.commit.as_str());
    }
    assert_eq!(status(&f, &clone), "");
    // Tracked under another name.
    f.git_in(&clone, &["push", "--quiet", "origin", "main:trunk"]);
    f.git_in(&clone, &["fetch", "--quiet", "origin"]);
    f.git_in(
        &clone,
        &["branch", "--quiet", "--set-upstream-to", "origin/trunk"],
    );
    let written = write(&clone, &pushed("release: c\n")).unwrap();
    assert_eq!(
        f.git_in(&server, &["rev-parse", "trunk"]),
        written.commit.as_str()
    );
}

#[test]
fn a_local_commit_that_the_remote_refuses_is_not_made_here_either() {
    let (f, server, clone) = cloned();
    let before = f.git_in(&clone, &["rev-parse", "main"]);
    let unchanged = |why: &str, error: GitError| {
        assert!(error.to_string().contains(why), "{error}");
        assert!(matches!(
            problem::<()>(Err(error)),
            WriteProblem::NotPushed { .. }
        ));
        assert_eq!(
            (f.git_in(&clone, &["rev-parse", "main"]), status(&f, &clone)),
            (before.clone(), String::new())
        );
    };
    script(
        &server.join("hooks/pre-receive"),
        "echo 'not on a Friday' >&2; exit 1",
    );
    unchanged(
        "not on a Friday",
        write(&clone, &pushed("release: new\n")).unwrap_err(),
    );
    std::fs::remove_file(server.join("hooks/pre-receive")).unwrap();
    let theirs = f.commit("notes.txt", "two\n");
    f.git(&["push", "--quiet", server.to_str().unwrap(), "main"]);
    unchanged("git pull", write(&clone, &pushed("release: new\n")).unwrap_err());
    assert_eq!(
        f.git_in(&server, &["rev-parse", "main"]),
        theirs.as_str(),
        "never by force"
    );
    f.git_in(&clone, &["remote", "remove", "origin"]);
    assert!(matches!(
        problem(write(&clone, &pushed("release: new\n"))),
        WriteProblem::NoRemote
    ));
}

#[test]
fn what_the_remote_took_and_the_checkout_did_not_is_said() {
    let (f, server, clone) = cloned();
    // While the push goes on, the user commits.
    script(
        &clone.join(".git/hooks/pre-push"),
        "cd \"$(git rev-parse --show-toplevel)\" && echo two > notes.txt && git commit -qam mine",
    );
    let found = problem(write(&clone, &pushed("release: new\n")));
    assert!(matches!(&found, WriteProblem::OnlyPushed { .. }), "{found}");
    assert!(found.to_string().contains("git pull"), "{found}");
    assert_eq!(
        f.git_in(&server, &["show", &format!("main:{PIN}")]),
        "release: new"
    );
    assert_eq!(f.git_in(&clone, &["log", "-1", "--format=%s"]), "mine");
    assert_eq!(status(&f, &clone), "");
    f.git_in(&clone, &["pull", "--quiet", "--no-rebase", "--no-edit"]);
    assert_eq!(
        f.git_in(&clone, &["show", &format!("main:{PIN}")]),
        "release: new"
    );
}
