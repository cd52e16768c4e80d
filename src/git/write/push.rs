//! Pushing, fast-forward only.

use super::hand::{At, Hand};
use super::problem::{WriteProblem, words};
use crate::fleet::names::CommitId;
use crate::git::{GitError, location, mirror};
use crate::text::Safe;

/// Where a push goes.
pub(super) struct Remote {
    /// A remote's name, or a URL.
    name: String,
    /// The branch there, in full.
    target: String,
}

/// How a push ended.
pub(super) enum Pushed {
    Taken,
    /// What git and the server said, and whether that was that the branch there has moved on.
    Refused {
        said: Safe,
        moved: bool,
    },
}

impl Remote {
    pub(super) fn url(url: &str, branch: &str) -> Self {
        Self {
            name: url.to_owned(),
            target: format!("refs/heads/{branch}"),
        }
    }

    /// The remote that `git push` would take for the branch.
    pub(super) fn of_branch(at: &At<'_>) -> Result<Self, GitError> {
        let branch = at.branch;
        let upstream = at
            .setting(&format!("branch.{branch}.remote"))?
            .filter(|r| r != ".");
        let mut name = at.setting(&format!("branch.{branch}.pushRemote"))?;
        if name.is_none() {
            name = at.setting("remote.pushDefault")?;
        }
        let mut name = name.or_else(|| upstream.clone());
        if name.is_none() && at.setting("remote.origin.url")?.is_some() {
            name = Some("origin".to_owned());
        }
        let Some(name) = name.filter(|n| !n.starts_with('-')) else {
            return Err(at.problem(WriteProblem::NoRemote));
        };
        let merge = at.setting(&format!("branch.{branch}.merge"))?;
        Ok(Self {
            target: merge
                .filter(|m| upstream.as_ref() == Some(&name) && m.starts_with("refs/heads/"))
                .unwrap_or_else(|| format!("refs/heads/{branch}")),
            name,
        })
    }

    pub(super) fn label(&self) -> Safe {
        Safe::new(&location::redact(&self.name))
    }

    /// Pushes the commit. Never by force: git and the server take it only on top of what is there.
    pub(super) fn push(&self, at: &At<'_>, commit: &CommitId) -> Result<Pushed, GitError> {
        let is_mirror = at.repo.is_mirror();
        let protocols = mirror::protocols(&self.name);
        let mut command = at.command(protocols);
        if is_mirror && matches!(at.hand, Hand::Person { .. }) {
            // The mirror is ringfence's: a hook that a person has for all repositories knows nothing of it. What a URL
            // may be is decided here as for fetching.
            command
                .args([
                    "-c",
                    "core.hooksPath=/dev/null",
                    "-c",
                    "http.followRedirects=false",
                ])
                .env("GIT_ALLOW_PROTOCOL", protocols);
        }
        command
            .args([
                "push",
                "--porcelain",
                "--no-follow-tags",
                "--recurse-submodules=no",
                "--",
            ])
            .arg(&self.name)
            .arg(format!("{commit}:{}", self.target));
        let outcome = at.finish(command, &[], &format!("`git push` to {}", self.label()))?;
        if outcome.ok {
            return Ok(Pushed::Taken);
        }
        let answer = outcome.stdout.lines().find_map(|l| {
            let (_, answer) = l.strip_prefix("!\t")?.split_once('\t')?;
            Some(answer)
        });
        let said: Vec<&str> = outcome
            .stderr
            .lines()
            .filter(|l| !l.starts_with("error: failed to push some refs"))
            .map(|l| l.strip_prefix("remote: ").unwrap_or(l))
            .chain(answer)
            .collect();
        Ok(Pushed::Refused {
            said: words(&said.join("\n")),
            moved: answer.is_some_and(|a| a.starts_with("[rejected]")),
        })
    }
}
