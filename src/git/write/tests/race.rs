//! Two who write at once: nothing of either is lost.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

const ROUNDS: usize = 5;
/// The person goes on through all of our rounds, but so far ahead only: who never rests keeps everybody out.
const AHEAD: usize = 2;

/// Ends the person's loop, also when ours fails.
struct Through<'a>(&'a AtomicBool);

impl Drop for Through<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs ringfence's loop (each round a file of its own) beside a person's until both are through; every commit that
/// either was told of is in the branch's history, and each file says what its last writer wrote.
fn both(f: &Fixture, ours: &Path, branch_at: &Path, human: impl Fn(usize) -> CommitId + Sync) {
    let (done, round_now) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (theirs, written) = std::thread::scope(|scope| {
        let person = scope.spawn(|| {
            let mut made = Vec::new();
            while !done.load(Ordering::SeqCst) {
                if made.len() < AHEAD * (round_now.load(Ordering::SeqCst) + 1) {
                    made.push(human(made.len()));
                } else {
                    std::thread::yield_now();
                }
            }
            made
        });
        let through = Through(&done);
        let mut written = Vec::new();
        for round in 0..ROUNDS {
            round_now.store(round, Ordering::SeqCst);
            let path = format!("rings/approvals/prod/{round}.yaml");
            let change = on(
                "main",
                &[
                    (&path, Some("ring: prod\n")),
                    (PIN, Some(&format!("release: {round}\n"))),
                ],
            );
            match repo_at(ours) {
                Ok(repo) => written.push(
                    Writer::new(&repo, Hand::Person { say: &|_| {} })
                        .commit(&change, ALWAYS)
                        .unwrap()
                        .commit,
                ),
                Err(e) => panic!("{e}"),
            }
        }
        drop(through);
        (person.join().unwrap(), written)
    });
    let history = f.git_in(branch_at, &["rev-list", "--first-parent", "main"]);
    for commit in theirs.iter().chain(&written) {
        assert!(history.lines().any(|l| l == commit.as_str()), "{commit} was lost");
    }
    for round in 0..ROUNDS {
        f.git_in(
            branch_at,
            &[
                "cat-file",
                "-e",
                &format!("main:rings/approvals/prod/{round}.yaml"),
            ],
        );
    }
    assert_eq!(
        f.git_in(branch_at, &["show", &format!("main:{PIN}")]),
        format!("release: {}", ROUNDS - 1)
    );
    assert_eq!(
        f.git_in(branch_at, &["show", "main:notes.txt"]),
        format!("{}", theirs.len() - 1)
    );
    // No commit of the person's took one of ours back.
    for commit in &theirs {
        let touched = f.git_in(branch_at, &["show", "--format=", "--name-only", commit.as_str()]);
        assert_eq!(touched, "notes.txt", "{commit}");
    }
}

fn repo_at(dir: &Path) -> Result<Repo, GitError> {
    match dir.to_str().and_then(|d| d.strip_prefix("mirror:")) {
        Some(rest) => {
            let (url, state) = rest.split_once('|').unwrap();
            Repo::mirror(url, Path::new(state))
        }
        None => Repo::open(dir),
    }
}

/// Repeats a person's command until git, busy with ours, takes it.
fn persist(f: &Fixture, dir: &Path, args: &[&str]) {
    until(&format!("git {args:?} in {}", dir.display()), || {
        f.command(dir, args).output().unwrap().status.success()
    });
}

#[test]
fn in_one_checkout() {
    let f = fleet();
    both(&f, &f.dir(), &f.dir(), |round| {
        f.write("notes.txt", format!("{round}\n"));
        persist(&f, &f.dir(), &["add", "notes.txt"]);
        let mark = format!("human {round}");
        persist(&f, &f.dir(), &["commit", "--quiet", "-m", &mark]);
        f.git(&["rev-list", "-1", &format!("--grep=^{mark}$"), "main"])
            .parse()
            .unwrap()
    });
    assert_eq!(status(&f, &f.dir()), "");
    assert_eq!(locks(&f.dir()), [] as [PathBuf; 0]);
}

/// A person's clone that pulls and pushes until it is taken.
fn pushes(f: &Fixture, clone: &Path, round: usize) -> CommitId {
    std::fs::write(clone.join("notes.txt"), format!("{round}\n")).unwrap();
    f.git_in(
        clone,
        &["commit", "--quiet", "-a", "-m", &format!("human {round}")],
    );
    until("a push", || {
        f.command(clone, &["push", "--quiet", "origin", "main"])
            .output()
            .unwrap()
            .status
            .success()
            || {
                f.git_in(clone, &["pull", "--quiet", "--rebase", "origin", "main"]);
                false
            }
    });
    f.git_in(clone, &["rev-parse", "HEAD"]).parse().unwrap()
}

#[test]
fn in_a_bare_repository_that_a_person_pushes_to() {
    let f = fleet();
    let (dir, clone) = (bare(&f), f.path("clone"));
    f.git_in(
        f.root.path(),
        &["clone", "--quiet", dir.to_str().unwrap(), clone.to_str().unwrap()],
    );
    both(&f, &dir, &dir, |round| pushes(&f, &clone, round));
}

#[test]
fn at_a_url_that_a_person_pushes_to() {
    let f = fleet();
    let (dir, clone) = (bare(&f), f.path("clone"));
    f.git_in(
        f.root.path(),
        &["clone", "--quiet", dir.to_str().unwrap(), clone.to_str().unwrap()],
    );
    let ours = format!("mirror:file://{}|{}", dir.display(), f.path("state").display());
    // Its settings are the mirror's own.
    let repo = repo_at(Path::new(&ours)).unwrap();
    be_ben(&f, repo.common_dir());
    both(&f, Path::new(&ours), &dir, |round| pushes(&f, &clone, round));
}
