//! Commits into real repositories, with people at work in them.

mod checkout;
mod crash;
mod propose;
mod race;
mod refs;
mod remote;
mod sign;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::*;
use crate::git::fixture::Fixture;

pub(super) const PIN: &str = "rings/pins/staging.yaml";
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// A fleet with a pin, in a checkout of `main`, whose person is Ben.
pub(super) fn fleet() -> Fixture {
    let f = Fixture::new();
    be_ben(&f, &f.dir());
    f.commit("ringfence.yaml", "fleet: aither\n");
    f.commit("notes.txt", "one\n");
    f.commit(PIN, "release: old\n");
    f
}

/// In the repository's own settings: a test must not depend on the machine's.
pub(super) fn be_ben(f: &Fixture, dir: &Path) {
    for (name, value) in [
        ("user.name", "Ben"),
        ("user.email", "ben@example.org"),
        ("commit.gpgSign", "false"),
        ("core.hooksPath", ".git/hooks"),
    ] {
        f.git_in(dir, &["config", name, value]);
    }
}

/// A bare clone beside it, whose person is Ben too.
pub(super) fn bare(f: &Fixture) -> PathBuf {
    let dir = f.path("bare.git");
    f.git_in(
        f.root.path(),
        &[
            "clone",
            "--quiet",
            "--bare",
            f.dir().to_str().unwrap(),
            dir.to_str().unwrap(),
        ],
    );
    be_ben(f, &dir);
    f.git_in(&dir, &["config", "core.hooksPath", "hooks"]);
    f.git_in(&dir, &["remote", "remove", "origin"]);
    dir
}

pub(super) fn pin(text: &str) -> Change {
    on("main", &[(PIN, Some(text))])
}

pub(super) fn on(branch: &str, files: &[(&str, Option<&str>)]) -> Change {
    Change {
        branch: branch.to_owned(),
        files: files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), text.map(|t| t.as_bytes().to_owned())))
            .collect(),
        message: "promote staging\n\nBecause it soaked.".to_owned(),
        ..Change::default()
    }
}

pub(super) const ALWAYS: Ask<'static> = &|_| Ok(Condition::Holds);

/// A person's commit.
pub(super) fn write(dir: &Path, change: &Change) -> Result<Written, GitError> {
    write_if(dir, change, ALWAYS)
}

pub(super) fn write_if(dir: &Path, change: &Change, condition: Ask<'_>) -> Result<Written, GitError> {
    let repo = Repo::open(dir)?;
    Writer::new(&repo, Hand::Person { say: &|_| {} }).commit(change, condition)
}

pub(super) fn daemon(repo: &Repo, change: &Change) -> Result<Written, GitError> {
    Writer::new(repo, Hand::Daemon { limit: LIMIT }).commit(change, ALWAYS)
}

pub(super) fn problem<T: std::fmt::Debug>(result: Result<T, GitError>) -> WriteProblem {
    match result {
        Err(GitError::Write { problem, .. }) => *problem,
        other => panic!("no write problem: {other:?}"),
    }
}

/// A hook, or any other script.
pub(super) fn script(file: &Path, text: &str) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(file, PermissionsExt::from_mode(0o755)).unwrap();
}

pub(super) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What `git status` says of a checkout.
pub(super) fn status(f: &Fixture, dir: &Path) -> String {
    let text = f.git_in(dir, &["status", "--porcelain", "--untracked-files=all"]);
    text.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

/// All locks of a repository: a commit leaves none.
pub(super) fn locks(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "lock") {
                found.push(path);
            }
        }
    }
    found
}
