//! What the daemon keeps for a person to take.

use std::process::Command;

use super::*;
use crate::git::{Keep, WriteBack};

fn keep(f: &Fixture) -> Keep {
    Keep::open(&f.path("state/git")).unwrap()
}

/// The pin goes back, while it names the loser.
fn back(keep: &Keep, repo: &Repo) -> Result<WriteBack, GitError> {
    back_if(keep, repo, "release: bad\n")
}

fn back_if(keep: &Keep, repo: &Repo, loser: &str) -> Result<WriteBack, GitError> {
    let while_loser = |head: &Head<'_>| {
        Ok(match head.file(PIN)? {
            Some(bytes) if bytes == loser.as_bytes() => Condition::Holds,
            _ => Condition::Gone("the pin names another release".to_owned()),
        })
    };
    keep.write_back(repo, "staging", &pin("release: good\n"), &while_loser, LIMIT)
}

fn proposed(result: Result<WriteBack, GitError>) -> CommitId {
    match result.unwrap() {
        WriteBack::Proposed { commit, .. } => commit,
        WriteBack::Written(written) => panic!("{written:?}"),
    }
}

/// A fleet whose pin names a bad release, with more in it than a fleet's files.
fn bad() -> Fixture {
    let f = fleet();
    f.commit("src/big/deep.bin", vec![b'x'; 50_000]);
    f.commit(PIN, "release: bad\n");
    f
}

/// Runs a command that was shown, as a person would: in a shell, with what is in `path` first.
fn shell(f: &Fixture, dir: &Path, text: &str) -> (bool, String) {
    let path = format!("{}:{}", f.path("bin").display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-c", text])
        .current_dir(dir)
        .env_clear()
        .env("PATH", path)
        .env("HOME", f.root.path())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn a_checked_out_branch_is_proposed_and_the_shown_command_takes_it() {
    let f = bad();
    let (keep, repo, before) = (keep(&f), f.repo(), f.head());
    let Ok(WriteBack::Proposed { commit, why }) = back(&keep, &repo) else {
        panic!("not proposed");
    };
    assert!(why.to_string().contains("only a person writes"), "{why}");
    assert_eq!(keep.proposed().unwrap()["staging"], commit);
    assert_eq!(keep.kept().unwrap().len(), 0, "no commit that is kept");
    assert_eq!((f.head(), status(&f, &f.dir())), (before, String::new()));
    assert_eq!(
        proposed(back(&keep, &repo)),
        commit,
        "the same again is no new commit"
    );
    f.write("notes.txt", "my edit\n");
    let command = keep.taking(&repo, "staging", "main").unwrap();
    assert!(
        command.contains("merge --ff-only FETCH_HEAD") && !command.contains("sudo"),
        "{command}"
    );
    let (ok, said) = shell(&f, f.root.path(), &command);
    assert!(ok, "{command}\n{said}");
    assert_eq!(f.head(), commit);
    assert_eq!(f.git(&["show", &format!("HEAD:{PIN}")]), "release: good");
    assert_eq!(
        f.git(&["log", "-1", "--format=%an <%ae>"]),
        "ringfence <ringfence@localhost>"
    );
    assert_eq!(status(&f, &f.dir()), "M notes.txt");
    f.git(&["fsck", "--strict"]);
    assert!(!f.dir().join(".git/shallow").exists());
    // Taken: what was asked for is there, and the proposal goes.
    let found = problem(back(&keep, &repo));
    assert!(matches!(found, WriteProblem::Overtaken { .. }), "{found}");
    assert!(keep.proposed().unwrap().is_empty());
}

#[test]
fn a_proposal_follows_the_branch_and_is_dropped_when_the_pin_is_another() {
    let f = bad();
    let (keep, repo) = (keep(&f), f.repo());
    let first = proposed(back(&keep, &repo));
    f.commit("notes.txt", "two\n");
    let command = keep.taking(&repo, "staging", "main").unwrap();
    let (ok, _) = shell(&f, f.root.path(), &command);
    assert!(!ok, "it does not stand on the head, and is not taken by force");
    let second = proposed(back(&keep, &repo));
    assert_ne!(first, second);
    f.git(&["commit", "--quiet", "--allow-empty", "-m", "the same files"]);
    let second = proposed(back(&keep, &repo));
    let (ok, said) = shell(&f, f.root.path(), &command);
    assert!(ok, "{said}");
    assert_eq!(
        (f.head(), f.git(&["show", "HEAD:notes.txt"])),
        (second, "two".to_owned())
    );
    f.commit(PIN, "release: worse\n");
    proposed(back_if(&keep, &repo, "release: worse\n"));
    f.commit(PIN, "release: fixed\n");
    let found = problem(back_if(&keep, &repo, "release: worse\n"));
    assert!(matches!(found, WriteProblem::Overtaken { .. }), "{found}");
    assert!(keep.proposed().unwrap().is_empty());
    keep.withdraw("staging").unwrap();
}

#[test]
fn a_branch_that_nobody_has_checked_out_is_written_and_needs_no_proposal() {
    let f = bad();
    let keep = keep(&f);
    proposed(back(&keep, &f.repo()));
    f.git(&["switch", "--quiet", "-c", "work"]);
    let before = keep.taking(&f.repo(), "staging", "main").unwrap();
    let Ok(WriteBack::Written(written)) = back(&keep, &f.repo()) else {
        panic!("not written");
    };
    assert_eq!(f.git(&["rev-parse", "main"]), written.commit.as_str());
    assert!(keep.proposed().unwrap().is_empty());
    assert!(before.ends_with(":refs/heads/main"), "{before}");
}

#[test]
fn a_proposal_for_a_branch_that_is_checked_out_no_more_is_taken_by_a_fetch() {
    let f = bad();
    let (keep, repo) = (keep(&f), f.repo());
    let commit = proposed(back(&keep, &repo));
    f.git(&["switch", "--quiet", "-c", "work"]);
    let command = keep.taking(&repo, "staging", "main").unwrap();
    let (ok, said) = shell(&f, f.root.path(), &command);
    assert!(ok, "{command}\n{said}");
    assert_eq!(f.git(&["rev-parse", "main"]), commit.as_str());
}

#[test]
fn what_a_server_does_not_take_from_the_daemon_is_proposed_in_the_mirror() {
    let f = bad();
    let server = bare(&f);
    let dir = f.path("state/git");
    let repo = Repo::mirror(&format!("file://{}", server.display()), &dir).unwrap();
    repo.fetch(LIMIT).unwrap();
    script(
        &server.join("hooks/pre-receive"),
        "test -e allowed || { echo protected >&2; exit 1; }",
    );
    let keep = Keep::open(&dir).unwrap();
    let commit = proposed(back(&keep, &repo));
    repo.fetch(LIMIT).unwrap();
    assert_eq!(
        proposed(back(&keep, &repo)),
        commit,
        "fetching does not take it away"
    );
    assert_ne!(
        repo.branches().unwrap()["main"],
        commit,
        "it is not the remote's state"
    );
    std::fs::write(server.join("allowed"), "").unwrap();
    let command = keep.taking(&repo, "staging", "main").unwrap();
    let (ok, said) = shell(&f, &f.dir(), &command);
    assert!(ok, "{command}\n{said}");
    assert_eq!(f.git_in(&server, &["rev-parse", "main"]), commit.as_str());
}

mod as_root {
    use super::*;

    #[test]
    fn a_user_takes_a_proposal_of_roots_daemon_through_sudo() {
        assert!(
            rustix::process::geteuid().is_root(),
            "only root can give files away"
        );
        let f = bad();
        let (keep, repo) = (keep(&f), f.repo());
        let commit = proposed(back(&keep, &repo));
        let command = keep.taking_as(12345, &repo, "staging", "main").unwrap();
        assert!(command.contains("sudo git-upload-pack"), "{command}");
        // From now on everything but the state directory is a user's.
        let given = Command::new("chown")
            .args(["-R", "12345:12345"])
            .arg(f.root.path())
            .status()
            .unwrap();
        let kept = Command::new("chown")
            .args(["-R", "0:0"])
            .arg(f.path("state"))
            .status()
            .unwrap();
        assert!(given.success() && kept.success());
        std::fs::set_permissions(f.path("state"), PermissionsExt::from_mode(0o700)).unwrap();
        // `sudo` with the one thing that it does here: what it is given runs as root.
        std::fs::create_dir(f.path("bin")).unwrap();
        let pipe = |name: &str| f.path(name).display().to_string();
        for name in ["in", "out"] {
            let made = Command::new("mkfifo")
                .args(["-m", "666"])
                .arg(f.path(name))
                .status();
            assert!(made.unwrap().success());
        }
        let through = format!(
            "test \"$1\" = git-upload-pack || exit 1\nexec 3<&0; cat <&3 > {} & exec cat {}",
            pipe("in"),
            pipe("out")
        );
        script(&f.path("bin/sudo"), &through);
        let serve = format!(
            "exec git upload-pack {} < {} > {}",
            f.path("state/git").display(),
            pipe("in"),
            pipe("out")
        );
        let mut root = Command::new("sh").args(["-c", &serve]).spawn().unwrap();
        let path = format!("{}:{}", f.path("bin").display(), std::env::var("PATH").unwrap());
        let person = Command::new("setpriv")
            .args([
                "--reuid=12345",
                "--regid=12345",
                "--clear-groups",
                "sh",
                "-c",
                &command,
            ])
            .env("PATH", path)
            .env("HOME", f.root.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .current_dir("/")
            .output()
            .unwrap();
        let _ = root.kill();
        let _ = root.wait();
        let said = String::from_utf8_lossy(&person.stderr);
        assert!(person.status.success(), "{command}\n{said}");
        assert_eq!(
            f.git(&["-c", "safe.directory=*", "rev-parse", "main"]),
            commit.as_str()
        );
    }
}
