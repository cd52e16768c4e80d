//! Whose git writes.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::problem::{WriteProblem, words};
use crate::git::child::{self, Outcome, Patience};
use crate::git::{GitError, Repo};
use crate::text::Safe;

/// ringfence's own name, on what no person wrote.
const NAME: &str = "ringfence";
const EMAIL: &str = "ringfence@localhost";

/// Who writes.
pub enum Hand<'a> {
    /// A person ran a verb: their own git with their name, keys, hooks and settings, at their terminal, with all the
    /// time that a passphrase or a touch of a key needs.
    Person {
        /// Told, after a second, what is waited for.
        say: &'a dyn Fn(&str),
    },
    /// Nobody is there: a hardened git under ringfence's own name, unsigned. What the repository's configuration or
    /// hooks say is not run.
    Daemon {
        /// How long one git may take.
        limit: Duration,
    },
}

impl Hand<'_> {
    pub(super) fn is_person(&self) -> bool {
        matches!(self, Self::Person { .. })
    }
}

/// A place in a repository where the hand's git works.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) hand: &'a Hand<'a>,
    pub(super) repo: &'a Repo,
    pub(super) branch: &'a str,
    pub(super) git_dir: &'a Path,
    pub(super) work_dir: Option<&'a Path>,
}

impl At<'_> {
    /// A git command here. `protocols` are those that the daemon's may speak.
    pub(super) fn command(&self, protocols: &str) -> Command {
        match self.hand {
            Hand::Person { .. } => child::own(self.git_dir, self.work_dir),
            Hand::Daemon { .. } => {
                let mut command = child::command(self.git_dir, protocols);
                for who in ["AUTHOR", "COMMITTER"] {
                    command
                        .env(format!("GIT_{who}_NAME"), NAME)
                        .env(format!("GIT_{who}_EMAIL"), EMAIL);
                }
                command
            }
        }
    }

    /// Runs git here; `what` names it where it takes long.
    pub(super) fn run(&self, args: &[&str], input: &[u8], what: &str) -> Result<Outcome, GitError> {
        let mut command = self.command("");
        command.args(args);
        self.finish(command, input, what)
    }

    pub(super) fn finish(&self, command: Command, input: &[u8], what: &str) -> Result<Outcome, GitError> {
        let (outcome, limit) = match self.hand {
            Hand::Person { say } => {
                let told = || {
                    say(&format!(
                        "waiting for {what}; it may want a passphrase, or a key to be touched (Ctrl-C gives up)"
                    ));
                };
                let outcome = child::feed(command, input, &Patience::Person(&told))?;
                (outcome, Duration::MAX)
            }
            Hand::Daemon { limit } => {
                let end = Instant::now() + *limit;
                (child::feed(command, input, &Patience::Until(end))?, *limit)
            }
        };
        outcome.ok_or_else(|| {
            self.problem(WriteProblem::TimedOut {
                what: Safe::new(what),
                after: limit,
            })
        })
    }

    /// The first line of what git answers; its refusal is an error.
    pub(super) fn ask(&self, args: &[&str], input: &[u8], what: &str) -> Result<String, GitError> {
        let outcome = self.run(args, input, what)?;
        if outcome.ok {
            Ok(outcome.stdout.lines().next().unwrap_or_default().to_owned())
        } else {
            Err(self.problem(WriteProblem::Refused {
                detail: words(&outcome.stderr),
            }))
        }
    }

    /// A value of the configuration, as this hand's git sees it.
    pub(super) fn setting(&self, name: &str) -> Result<Option<String>, GitError> {
        let outcome = self.run(&["config", "--get", name], &[], "`git config`")?;
        let value = outcome.stdout.trim();
        Ok((outcome.ok && !value.is_empty()).then(|| value.to_owned()))
    }

    pub(super) fn problem(&self, problem: WriteProblem) -> GitError {
        GitError::Write {
            repo: self.repo.label(),
            branch: Safe::new(self.branch),
            problem: Box::new(problem),
        }
    }
}
