//! A bare mirror of a URL, fetched by a `git` child.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use git2::{Repository, RepositoryInitOptions};

use super::open::Shared;
use super::repo::unreadable;
use super::{FetchProblem, GitError, Keep, Location, Repo, child, location};
use crate::text::Safe;

const REFSPEC: &str = "+refs/heads/*:refs/heads/*";

impl Repo {
    /// The bare mirror of `url` in `dir`, made (and not yet fetched) when absent. A broken one is moved aside and
    /// made anew at the next [`Repo::fetch`]; until then reading it fails.
    pub fn mirror(url: &str, dir: &Path) -> Result<Self, GitError> {
        if !matches!(Location::parse(url)?, Location::Url(_)) {
            return Err(GitError::Location {
                text: Safe::new(url),
                why: "only a URL has a mirror; a path is read in place",
            });
        }
        if !dir.join("HEAD").exists() && !dir.join("objects").exists() {
            make(url, dir)?;
        }
        let dir = dir.canonicalize().map_err(|e| unreadable(dir, e))?;
        let repo = Self {
            git_dir: dir.clone(),
            common_dir: dir,
            work_dir: None,
            url: Some(url.to_owned()),
            suspect: Arc::default(),
            shared: Shared::default(),
        };
        if let Err(error @ GitError::OtherUser { .. }) = repo.git2().map(drop) {
            return Err(error);
        }
        Ok(repo)
    }

    /// Brings a mirror up to date within `timeout`; of a path, nothing is ever fetched. After an error the refs are
    /// as they were.
    pub fn fetch(&self, timeout: Duration) -> Result<(), GitError> {
        let Some(url) = &self.url else {
            return Ok(());
        };
        let deadline = Instant::now() + timeout;
        clear_leftovers(&self.common_dir, timeout + Duration::from_secs(5));
        // A power cut leaves empty files: then HEAD names nothing, and git sees no repository at all.
        if self.default_branch().is_err() {
            return self.renew(url, deadline, timeout);
        }
        let fetched = self.fetch_once(url, deadline, timeout);
        // What a fetch does not look at may be damaged all the same: reading it told.
        let doubtful = self.suspect.swap(false, Ordering::Relaxed)
            || matches!(
                fetched,
                Err(GitError::Fetch {
                    problem: FetchProblem::Damaged,
                    ..
                })
            );
        if doubtful && !self.is_whole(deadline) {
            return self.renew(url, deadline, timeout);
        }
        fetched
    }

    fn fetch_once(&self, url: &str, deadline: Instant, timeout: Duration) -> Result<(), GitError> {
        let mut command = child::command(&self.common_dir, protocols(url));
        command
            .args([
                "fetch",
                "--quiet",
                "--prune",
                "--no-tags",
                "--no-write-fetch-head",
                "--no-recurse-submodules",
            ])
            .args(["--", url, REFSPEC]);
        match child::run(command, deadline)? {
            Some(outcome) if outcome.ok => self.point_head(url, deadline),
            Some(outcome) => Err(failed(url, &outcome.stderr)),
            None => {
                // The child is gone, and its locks with it.
                clear_leftovers(&self.common_dir, Duration::ZERO);
                Err(GitError::TimedOut {
                    url: Safe::new(&location::redact(url)),
                    after: timeout,
                })
            }
        }
    }

    /// HEAD names the remote's default branch. Asked only while it names none that exists.
    fn point_head(&self, url: &str, deadline: Instant) -> Result<(), GitError> {
        let repo = self.git2()?;
        if repo.head().is_ok() {
            return Ok(());
        }
        let mut command = child::command(&self.common_dir, protocols(url));
        command.args(["ls-remote", "--symref", "--", url, "HEAD"]);
        let Some(outcome) = child::run(command, deadline)?.filter(|o| o.ok) else {
            return Ok(()); // asked again next time
        };
        let named = outcome
            .stdout
            .lines()
            .find_map(|l| l.strip_prefix("ref: ")?.strip_suffix("\tHEAD"));
        match named {
            Some(branch) if branch.starts_with("refs/heads/") => {
                repo.set_head(branch).map_err(self.fault("cannot set HEAD"))
            }
            _ => Ok(()),
        }
    }

    /// Whether every ref's history is there and reads. Only asked after something looked like damage; where git cannot
    /// tell in time, it counts as whole.
    fn is_whole(&self, deadline: Instant) -> bool {
        let mut command = child::command(&self.common_dir, "");
        command.args(["fsck", "--no-dangling", "--no-progress"]);
        !matches!(child::run(command, deadline), Ok(Some(outcome)) if !outcome.ok)
    }

    /// Clones the mirror anew, carries over what was kept, and only then moves the damaged one aside (one such is held
    /// back for a look): while the remote does not answer, what can still be read of it stays.
    fn renew(&self, url: &str, deadline: Instant, timeout: Duration) -> Result<(), GitError> {
        let dir = &self.common_dir;
        let aside = beside(dir, "broken");
        tracing::warn!(cache = %dir.display(), aside = %aside.display(), "the mirror is damaged and is made anew");
        let gone = |path: &Path| match std::fs::remove_dir_all(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(unreadable(path, e)),
            _ => Ok(()),
        };
        let fresh = Self {
            git_dir: beside(dir, "fresh"),
            common_dir: beside(dir, "fresh"),
            ..self.clone()
        };
        gone(&fresh.common_dir)?;
        make(url, &fresh.common_dir)?;
        if let Err(error) = fresh.fetch_once(url, deadline, timeout) {
            self.suspect.store(true, Ordering::Relaxed);
            return Err(error);
        }
        if let (Ok(old), Ok(new)) = (Self::open(dir), Keep::open(&fresh.common_dir)) {
            rescue(&old, &new);
        }
        gone(&aside)?;
        std::fs::rename(dir, &aside).map_err(|e| unreadable(dir, e))?;
        std::fs::rename(&fresh.common_dir, dir).map_err(|e| unreadable(dir, e))
    }
}

/// What was kept by refs in the damaged cache, as far as it can still be read.
fn rescue(old: &Repo, new: &Keep) {
    let Ok(names) = old
        .git2()
        .and_then(|repo| old.refs_below(&repo, super::keep::PREFIX))
    else {
        return;
    };
    for (name, commit) in names {
        let from = if new.repo().commit(&commit).is_ok() {
            new.repo()
        } else {
            old
        };
        if let Err(error) = new.keep(from, &name, &commit) {
            tracing::warn!(%error, name, %commit, "a kept commit was lost with the damaged mirror");
        }
    }
}

fn beside(dir: &Path, word: &str) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{word}"));
    dir.with_file_name(name)
}

fn make(url: &str, dir: &Path) -> Result<(), GitError> {
    std::fs::create_dir_all(dir).map_err(|e| unreadable(dir, e))?;
    Repository::init_opts(
        dir,
        RepositoryInitOptions::new()
            .bare(true)
            .external_template(false)
            .initial_head("main"),
    )
    .and_then(|repo| repo.config()?.set_str("ringfence.url", &location::redact(url)))
    .map_err(|e| GitError::Git {
        repo: Safe::new(&dir.display().to_string()),
        doing: "cannot make the mirror",
        detail: Safe::new(e.message()),
    })
}

/// What git may speak: to a network URL the two that are safe, to `file:///` only that.
pub(super) fn protocols(url: &str) -> &'static str {
    if url.starts_with("file://") {
        "file"
    } else {
        "https:ssh"
    }
}

/// Removes locks and half packs that a killed child left behind: nobody else writes here, and no child lives longer
/// than `age`.
pub(super) fn clear_leftovers(dir: &Path, age: Duration) {
    let is_old = |path: &Path| {
        let modified = std::fs::symlink_metadata(path).and_then(|m| m.modified());
        modified.is_ok_and(|at| {
            age.is_zero()
                || SystemTime::now()
                    .duration_since(at)
                    .is_ok_and(|since| since >= age)
        })
    };
    let mut folders = vec![
        (dir.to_owned(), false),
        (dir.join("objects/pack"), false),
        (dir.join("refs"), true),
    ];
    while let Some((folder, deep)) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                if deep {
                    folders.push((path, true));
                }
            } else if (name.ends_with(".lock") || name.starts_with("tmp_")) && is_old(&path) {
                tracing::info!(path = %path.display(), "removed what a killed git left behind");
                let _ = std::fs::remove_file(&path);
            }
        }
    }
}

fn failed(url: &str, stderr: &str) -> GitError {
    let text = stderr.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| text.contains(w));
    let problem = if has(&[
        "host key verification failed",
        "remote host identification has changed",
    ]) {
        FetchProblem::HostKey
    } else if has(&["certificate", "ssl_error", "tls connect"]) {
        FetchProblem::Tls
    } else if has(&["redirect", "http 30", "error: 301", "error: 302"]) {
        FetchProblem::Redirect
    } else if has(&[
        "authentication failed",
        "permission denied",
        "could not read username",
        "could not read password",
        "error: 401",
        "error: 403",
        "access denied",
    ]) {
        FetchProblem::Denied
    } else if has(&[
        "not found",
        "does not appear to be a git repository",
        "does not exist",
    ]) {
        FetchProblem::Missing
    } else if has(&[
        "could not resolve host",
        "connection refused",
        "connection timed out",
        "failed to connect",
        "no route to host",
        "network is unreachable",
        "couldn't connect",
    ]) {
        FetchProblem::Unreachable
    } else if has(&[
        "loose object",
        "is corrupt",
        "bad object",
        "did not send all necessary objects",
        "sha1 collision",
        "inflate:",
        "missing blob",
        "missing tree",
        "missing commit",
        "unable to read",
        "is empty",
        "invalid sha1 pointer",
        "broken ref",
        "bad ref",
        "cannot lock ref",
        "packfile",
    ]) {
        FetchProblem::Damaged
    } else {
        FetchProblem::Other
    };
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let detail = if lines.is_empty() {
        "git said nothing".to_owned()
    } else {
        lines.into_iter().take(6).collect::<Vec<_>>().join("; ")
    };
    GitError::Fetch {
        url: Safe::new(&location::redact(url)),
        problem,
        detail: Safe::new(&location::redact(&detail)),
    }
}
