//! One ref's move, in two steps: prepared (locked, its old value proven), then done or dropped.
//!
//! `git update-ref --stdin` holds the locks and lets go of them when its input ends, so that a ringfence that is killed
//! leaves neither a lock nor a moved ref.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::fleet::names::CommitId;
use crate::git::GitError;
use crate::git::child::Collected;

pub(super) struct Transaction {
    child: Child,
    /// None once it has ended.
    input: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    errors: Option<Collected>,
}

impl Transaction {
    /// Locks `name` at its value `old`; from then on nobody else moves it, and no work tree that has it checked out
    /// changes to another branch. Git's words when it is locked, moved, or a hook says no.
    pub(super) fn prepare(
        mut command: Command,
        name: &str,
        (old, new): (&CommitId, &CommitId),
        reason: &str,
    ) -> Result<Result<Self, String>, GitError> {
        let mut child = command
            // Another git at work is waited for; the default gives up after a tenth of a second.
            .args(["-c", "core.filesRefLockTimeout=3000"])
            .args(["update-ref", "--stdin", "-m", reason])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(GitError::NoGit)?;
        let (Some(mut input), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(GitError::NoGit(std::io::Error::other("it has no pipes")));
        };
        let asked = write!(input, "start\nupdate {name} {new} {old}\nprepare\n").and_then(|()| input.flush());
        let mut transaction = Self {
            errors: child.stderr.take().map(Collected::of),
            child,
            input: Some(input),
            answers: BufReader::new(answers),
        };
        Ok(if asked.is_ok() && transaction.is_told("prepare: ok") {
            Ok(transaction)
        } else {
            Err(transaction.end())
        })
    }

    /// Moves the ref. Git's words when it cannot; then it is where it was.
    pub(super) fn commit(mut self) -> Result<(), String> {
        let asked = self
            .input
            .as_mut()
            .is_some_and(|i| i.write_all(b"commit\n").and_then(|()| i.flush()).is_ok());
        if asked && self.is_told("commit: ok") {
            self.end();
            Ok(())
        } else {
            Err(self.end())
        }
    }

    fn is_told(&mut self, answer: &str) -> bool {
        let mut line = String::new();
        loop {
            line.clear();
            match self.answers.read_line(&mut line) {
                Ok(1..) if line.trim_end() == answer => return true,
                Ok(1..) => {}
                _ => return false,
            }
        }
    }

    /// Ends the child: what was not committed is dropped, and its locks are gone. What it said.
    fn end(&mut self) -> String {
        drop(self.input.take());
        let _ = self.child.wait();
        self.errors.take().map(Collected::text).unwrap_or_default()
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.end();
    }
}
