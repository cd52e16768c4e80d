//! Real git repositories for tests, in folders of their own and with nobody's configuration.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Repo;
use crate::fleet::names::CommitId;

/// A temporary folder with a repository `fleet` in it.
pub(crate) struct Fixture {
    pub(crate) root: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let fixture = Self { root };
        std::fs::create_dir(fixture.dir()).unwrap();
        fixture.git(&["init", "--quiet", "--initial-branch=main"]);
        fixture
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.root.path().join("fleet")
    }

    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.dir().display())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn repo(&self) -> Repo {
        Repo::open(&self.dir()).unwrap()
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        self.git_in(&self.dir(), args)
    }

    /// A person's git: not ours, and with nothing of the machine's settings.
    pub(crate) fn command(&self, dir: &Path, args: &[&str]) -> Command {
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(dir)
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.root.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_AUTHOR_NAME", "Ana")
            .env("GIT_AUTHOR_EMAIL", "ana@example.org")
            .env("GIT_COMMITTER_NAME", "Ana")
            .env("GIT_COMMITTER_EMAIL", "ana@example.org")
            .env("GIT_AUTHOR_DATE", "2026-11-22T10:00:00Z")
            .env("GIT_COMMITTER_DATE", "2026-11-22T10:00:00Z");
        command
    }

    pub(crate) fn git_in(&self, dir: &Path, args: &[&str]) -> String {
        let output = self.command(dir, args).output().unwrap();
        assert!(
            output.status.success(),
            "git {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let file = self.dir().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    /// Writes a file and commits everything.
    pub(crate) fn commit(&self, path: &str, text: impl AsRef<[u8]>) -> CommitId {
        self.write(path, text);
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", &format!("change {path}")]);
        self.head()
    }

    /// A new key pair, and the line of its `.pub` file.
    pub(crate) fn key(&self, name: &str, kind: &[&str]) -> String {
        let path = self.path(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-C", name, "-f"])
            .arg(&path)
            .arg("-t")
            .args(kind)
            .status()
            .unwrap();
        assert!(made.success());
        std::fs::read_to_string(path.with_extension("pub"))
            .unwrap()
            .trim()
            .to_owned()
    }

    /// git as somebody runs it whose commits a key signs.
    pub(crate) fn git_as(&self, name: &str, args: &[&str]) -> String {
        let key = format!("user.signingkey={}", self.path(name).display());
        let settings = ["-c", "gpg.format=ssh", "-c", &key, "-c", "commit.gpgsign=true"];
        self.git(&[&settings, args].concat())
    }

    pub(crate) fn head(&self) -> CommitId {
        self.git(&["rev-parse", "HEAD"]).parse().unwrap()
    }
}
