//! A verb's commit on the control branch: shown, asked for, made, and told.

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _, Write as _};

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::error::CliError;
use super::fleet::Fleet;
use super::out::Out;
use super::signer::{Signer, say};
use crate::fleet::decisions::Reason;
use crate::fleet::names::PrincipalName;
use crate::git::{Change, Condition, GitError, Hand, Head, Writer, Written};
use crate::text::Safe;

/// What every verb takes that commits.
#[derive(Debug, Clone, Args)]
pub(crate) struct Committing {
    /// Do not ask.
    #[arg(short = 'y', long)]
    pub(super) yes: bool,
    /// Push it to the branch's remote too, first (a repository named by URL is always pushed to).
    #[arg(long)]
    pub(super) push: bool,
}

/// What a verb wants to write: one file, or its end.
pub(super) struct Decision {
    /// Where.
    pub(super) path: String,
    /// What it holds afterwards; none: it goes.
    pub(super) text: Option<String>,
    /// The commit's first line.
    pub(super) subject: String,
    /// Why.
    pub(super) reason: Option<Reason>,
    /// What to do next, a line each.
    pub(super) next: Vec<String>,
}

/// What the verbs print that commit a decision.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Decided<'a> {
    /// The file that was written or removed.
    path: &'a str,
    /// What it holds now; none: it is gone.
    text: Option<&'a str>,
    /// The branch.
    branch: &'a str,
    /// The commit; the branch's head where it said all of it already.
    commit: String,
    /// Whether anything was committed.
    changed: bool,
    /// In whose name.
    principal: Option<&'a str>,
    /// Whether it is signed.
    signed: bool,
    /// The remote that took it.
    pushed: Option<String>,
    /// What to do next.
    next: &'a [String],
}

impl Fleet {
    /// What a file of the control branch holds now.
    pub(super) fn at_head(&self, path: &str) -> Result<Option<String>, CliError> {
        let head = self
            .repo
            .resolve(&format!("refs/heads/{}", self.control_branch))?;
        let tree = self.repo.tree(&head)?;
        let entry = tree.get(path);
        Ok(entry.map(|entry| String::from_utf8_lossy(&entry.bytes).into_owned()))
    }

    /// Shows a decision, asks, and commits it. Where nobody can be asked, `must` refuses.
    pub(super) fn put(
        &self,
        decision: &Decision,
        signer: &Signer,
        committing: &Committing,
        (question, must): (&str, bool),
        out: Out,
    ) -> Result<u8, CliError> {
        let before = self.at_head(&decision.path)?;
        if !out.json() {
            Out::print(&decision.shown(&self.control_branch));
        }
        committing.ask(question, must)?;
        self.commit(decision, before.as_deref(), signer, committing, out)
    }

    /// Commits a decision, if its file still holds what `before` says, and tells of it.
    fn commit(
        &self,
        decision: &Decision,
        before: Option<&str>,
        signer: &Signer,
        committing: &Committing,
        out: Out,
    ) -> Result<u8, CliError> {
        let reason = decision.reason.as_ref().map(|r| format!("\n\n{}", r.as_str()));
        let change = Change {
            branch: self.control_branch.clone(),
            files: BTreeMap::from([(
                decision.path.clone(),
                decision.text.as_ref().map(|text| text.as_bytes().to_vec()),
            )]),
            message: format!("{}{}", decision.subject, reason.unwrap_or_default()),
            signing: signer.signing,
            push: committing.push,
        };
        let expected = before.map(str::as_bytes);
        let unchanged = |head: &Head<'_>| -> Result<Condition, GitError> {
            let now = head.file(&decision.path)?;
            Ok(if now.as_deref() == expected {
                Condition::Holds
            } else {
                Condition::Gone(format!("somebody else changed {} meanwhile", decision.path))
            })
        };
        let writer = Writer::new(&self.repo, Hand::Person { say: &say });
        let written = writer.commit(&change, &unchanged)?;
        self.tell(decision, &written, signer, out)?;
        Ok(0)
    }

    /// Says that a file is as it shall be.
    pub(super) fn nothing_to_do(
        &self,
        path: &str,
        said: &str,
        next: &[String],
        out: Out,
    ) -> Result<u8, CliError> {
        if out.json() {
            let head = self
                .repo
                .resolve(&format!("refs/heads/{}", self.control_branch))?;
            Out::print_json(&Decided {
                path,
                text: self.at_head(path)?.as_deref(),
                branch: &self.control_branch,
                commit: head.to_string(),
                changed: false,
                principal: None,
                signed: false,
                pushed: None,
                next,
            })?;
            return Ok(0);
        }
        Out::print(&format!("Nothing to do: {said}.\n"));
        for line in next {
            Out::print(&format!("Next: {line}\n"));
        }
        Ok(0)
    }

    fn tell(
        &self,
        decision: &Decision,
        written: &Written,
        signer: &Signer,
        out: Out,
    ) -> Result<(), CliError> {
        if out.json() {
            return Out::print_json(&Decided {
                path: &decision.path,
                text: decision.text.as_deref(),
                branch: &self.control_branch,
                commit: written.commit.to_string(),
                changed: written.is_new,
                principal: signer.name.as_ref().map(PrincipalName::as_str),
                signed: written.signed,
                pushed: written.pushed.as_ref().map(ToString::to_string),
                next: &decision.next,
            });
        }
        let branch = Safe::new(&self.control_branch);
        if !written.is_new {
            Out::print(&format!(
                "Nothing to do: {} on {branch} says so already.\n",
                decision.path
            ));
            return Ok(());
        }
        let mut more = String::new();
        if written.signed {
            more += &format!(", signed as {}", signer.told());
        }
        if let Some(remote) = &written.pushed {
            more += &format!(", pushed to {remote}");
        }
        Out::print(&format!(
            "Committed {} on {branch}{more}: {}\n",
            written.commit.short(),
            decision.subject
        ));
        for line in &decision.next {
            Out::print(&format!("Next: {line}\n"));
        }
        Ok(())
    }
}

impl Decision {
    /// What will be written, for people.
    fn shown(&self, branch: &str) -> String {
        let branch = Safe::new(branch);
        let Some(text) = &self.text else {
            return format!("removes {} on {branch}\n", self.path);
        };
        let lines = text.lines().map(|line| format!("    {}\n", Safe::new(line)));
        format!("writes {} on {branch}:\n{}", self.path, lines.collect::<String>())
    }
}

impl Committing {
    /// Asks. Without a terminal, nobody is there to say yes: `must` refuses then, else it goes on.
    fn ask(&self, question: &str, must: bool) -> Result<(), CliError> {
        if self.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            if !must {
                return Ok(());
            }
            return Err(
                CliError::usage("nobody is at a terminal to say yes; nothing was written")
                    .hint("`--yes` says it"),
            );
        }
        let mut stderr = std::io::stderr().lock();
        write!(stderr, "{question} [y/N] ")?;
        stderr.flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
            return Ok(());
        }
        Err(CliError::new("not confirmed; nothing was written"))
    }
}

/// A reason from the command line.
pub(super) fn reason(text: &str) -> Result<Reason, CliError> {
    text.parse()
        .map_err(|why| CliError::usage(format!("{why}: say in a sentence or two why, with `-m`")))
}

/// The line that says where to look.
pub(super) fn look(name: &str) -> String {
    format!("`ringfence why {name}` says what it waits for")
}
