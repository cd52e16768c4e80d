//! The key that a person's git signs with.

use std::path::{Path, PathBuf};

use ssh_key::{PrivateKey, PublicKey};

use super::hand::At;
use super::{Change, Writer};
use crate::fleet::principals::Fingerprint;
use crate::git::GitError;
use crate::text::Safe;

/// How to set one up.
const NEXT: &str = "`git config gpg.format ssh` and `git config user.signingkey ~/.ssh/id_ed25519.pub` name an SSH key to sign with";

/// What a person's git signs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SigningKey {
    /// This SSH key.
    Ssh(Fingerprint),
    /// None that could be told, and why: for people, with what to do.
    None(String),
}

impl Writer<'_> {
    /// The key that the person's git would sign a commit with, as `gpg.format`, `user.signingkey` and
    /// `gpg.ssh.defaultKeyCommand` say. Nothing is signed.
    pub fn signing_key(&self) -> Result<SigningKey, GitError> {
        let change = Change::default();
        let at = self.at(&change);
        match at.setting("gpg.format")?.as_deref() {
            Some("ssh") => {}
            Some(other) => {
                let other = Safe::new(other);
                return Ok(SigningKey::None(format!(
                    "git is set up to sign with {other}, and only SSH signatures count; {NEXT}"
                )));
            }
            None => return Ok(SigningKey::None(format!("git is not set up to sign; {NEXT}"))),
        }
        let outcome = at.run(
            &["config", "--type=path", "--get", "user.signingkey"],
            &[],
            "`git config`",
        )?;
        let named = outcome.stdout.trim().to_owned();
        if outcome.ok && !named.is_empty() {
            return Ok(match literal(&named) {
                Some(key) => of_text(key, "user.signingkey"),
                None => of_file(&self.beside(&named)),
            });
        }
        let Some(command) = at.setting("gpg.ssh.defaultKeyCommand")? else {
            return Ok(SigningKey::None(format!("git has no key to sign with; {NEXT}")));
        };
        Ok(of_command(&at, &command))
    }

    /// A path as git takes it, which runs in the work tree.
    fn beside(&self, path: &str) -> PathBuf {
        let dir = self.repo.work_dir.as_deref().unwrap_or(&self.repo.git_dir);
        dir.join(path)
    }
}

/// A key that is written out in full.
fn literal(text: &str) -> Option<&str> {
    match text.strip_prefix("key::") {
        Some(key) => Some(key),
        None => text.starts_with("ssh-").then_some(text),
    }
}

/// The first key that the person's command prints.
fn of_command(at: &At<'_>, command: &str) -> SigningKey {
    let output = std::process::Command::new("sh")
        .args(["-c", command])
        .current_dir(at.work_dir.unwrap_or(at.git_dir))
        .output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    let first = text.as_deref().unwrap_or_default().lines().find_map(literal);
    first.map_or_else(
        || SigningKey::None(format!("gpg.ssh.defaultKeyCommand prints no key; {NEXT}")),
        |key| of_text(key, "gpg.ssh.defaultKeyCommand"),
    )
}

/// A public key's file, or a private one's: with its public half beside it, or inside it.
fn of_file(path: &Path) -> SigningKey {
    let beside = PathBuf::from(format!("{}.pub", path.display()));
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let own = read(path);
    if own.as_deref().is_some_and(|text| text.contains("PRIVATE KEY"))
        && let Some(public) = read(&beside)
    {
        return of_text(&public, &beside.display().to_string());
    }
    match own {
        Some(text) => of_text(&text, &path.display().to_string()),
        None => SigningKey::None(format!(
            "the key {} that git signs with cannot be read; {NEXT}",
            Safe::new(&path.display().to_string())
        )),
    }
}

fn of_text(text: &str, place: &str) -> SigningKey {
    let public = PublicKey::from_openssh(text.trim()).ok();
    let public = public.or_else(|| Some(PrivateKey::from_openssh(text).ok()?.public_key().clone()));
    public.map_or_else(
        || {
            SigningKey::None(format!(
                "{} holds no SSH key that can be read; {NEXT}",
                Safe::new(place)
            ))
        },
        |key| SigningKey::Ssh(Fingerprint::of(key.key_data())),
    )
}
