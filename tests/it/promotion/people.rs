//! People of a signed fleet, each with a git of their own that signs with their own key.

use std::process::Command;

use serde_json::Value;

use crate::support::fleet::{Answer, TestFleet, named, text};

/// Somebody with a key.
pub struct Person<'f> {
    fleet: &'f TestFleet,
    name: &'static str,
    /// The public half of the key.
    pub key: String,
}

impl<'f> Person<'f> {
    /// Makes a key, and a git that signs everything with it.
    pub fn new(fleet: &'f TestFleet, name: &'static str) -> Self {
        let path = fleet.home().join(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let settings = format!(
            "[user]\n\tname = {name}\n\temail = {name}@example.org\n\tsigningkey = {}\n[gpg]\n\tformat = ssh\n[commit]\n\tgpgsign = true\n",
            path.display()
        );
        std::fs::write(fleet.home().join(format!("{name}.gitconfig")), settings).unwrap();
        let key = std::fs::read_to_string(path.with_extension("pub")).unwrap();
        Self {
            fleet,
            name,
            key: key.trim().to_owned(),
        }
    }

    fn own(&self, command: &mut Command) {
        let email = format!("{}@example.org", self.name);
        command
            .env(
                "GIT_CONFIG_GLOBAL",
                self.fleet.home().join(format!("{}.gitconfig", self.name)),
            )
            .env("GIT_AUTHOR_NAME", self.name)
            .env("GIT_AUTHOR_EMAIL", &email)
            .env("GIT_COMMITTER_NAME", self.name)
            .env("GIT_COMMITTER_EMAIL", &email);
    }

    /// Writes files, commits them with a signature, and gives the commit's id.
    #[track_caller]
    pub fn commits(&self, message: &str, files: &[(&str, &str)]) -> String {
        for (path, text) in files {
            self.fleet.write(path, text);
        }
        self.fleet.git(&["add", "-A"]);
        self.fleet
            .git_with(&["commit", "-q", "-m", message], |git| self.own(git));
        self.fleet.git(&["rev-parse", "HEAD"])
    }

    /// Runs the binary with their git.
    #[track_caller]
    pub fn ringfence(&self, args: &[&str]) -> Answer {
        self.fleet.ringfence_with(args, |command| self.own(command))
    }

    /// Writes a pin by hand.
    #[track_caller]
    pub fn pins(&self, ring: &str, release: &str) -> String {
        self.commits(
            &format!("{ring}: {}", &release[..8]),
            &[(
                &format!("rings/pins/{ring}.yaml"),
                &format!("release: {release}\nreason: \"by hand\"\n"),
            )],
        )
    }

    /// Writes an approval of the ring's only open move by hand.
    #[track_caller]
    pub fn approves(&self, ring: &str) {
        let mv = open_move(self.fleet, ring);
        let part = |key: &str| text(&mv[key]);
        let (request, to, from) = (part("request"), part("to"), part("from"));
        let kind = match (to.contains("rel-"), to.contains("ten-")) {
            (true, true) => "both",
            (true, false) => "rel",
            _ => "ten",
        };
        let from = if from.is_empty() {
            String::new()
        } else {
            format!("from: {from}\n")
        };
        self.commits(
            &format!("{} approves {}", self.name, &request[..8]),
            &[(
                &format!(
                    "rings/approvals/{ring}/{}.{kind}.{}.yaml",
                    &request[..8],
                    self.name
                ),
                &format!(
                    "ring: {ring}\nrequest: {request}\n{from}to: {to}\npolicy: {}\nverdict: approve\nreason: \"by hand\"\n",
                    part("policy")
                ),
            )],
        );
    }
}

/// The only move that the ring is asked for, as `why` has it.
#[track_caller]
pub fn open_move(fleet: &TestFleet, ring: &str) -> Value {
    let why = fleet.ringfence(&["why", ring, "-o", "json"]).expect(0).json();
    let moves = why["ring"]["moves"].as_array().unwrap();
    assert_eq!(moves.len(), 1, "{why}");
    moves[0].clone()
}

/// A gate of the ring's first open move; `null` without one.
pub fn gate(fleet: &TestFleet, ring: &str, name: &str) -> Value {
    named(&fleet.ring(ring)["moves"][0]["gates"], "name", name)
}
