//! Who signed a commit: SSH signatures, verified here, without a child process.

use ssh_key::{PublicKey, SshSig};

use super::repo::oid;
use super::{GitError, Repo};
use crate::digest::Digest;
use crate::fleet::names::CommitId;
use crate::fleet::principals::{Fingerprint, verifiable};

#[cfg(test)]
mod tests;

/// What git signs commits for; a signature for anything else is none.
const NAMESPACE: &str = "git";
/// The bit of a hardware key's flags that says somebody touched it.
const TOUCHED: u8 = 1;
/// Flags and counter of a hardware key, behind its signature, in bytes.
const TRAILER: usize = 5;

const NEXT: &str = "sign with an SSH key: `git config gpg.format ssh` and `git config user.signingkey KEY.pub`; \
    `ssh-keygen -t ed25519` makes one";

/// What the signature of a commit is worth. Whose the key is, `principals.yaml` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    /// There is none.
    Unsigned,
    /// Whoever holds this key signed exactly this commit.
    Good {
        /// The key.
        fingerprint: Fingerprint,
        /// The bytes that it signed. One signature can be spelled in several ways, each of which is another commit: all
        /// of them are one word.
        word: Digest,
    },
    /// It proves nothing.
    Bad {
        /// Why, as half a sentence.
        why: &'static str,
    },
    /// Of a kind that is not verified here.
    Unsupported {
        /// Which kind.
        what: &'static str,
        /// What to do.
        next: &'static str,
    },
}

impl Signature {
    /// What a commit with this signature says, so that it counts once: the bytes that are signed, else the commit's id.
    pub fn word(&self, id: &CommitId) -> Digest {
        match self {
            Self::Good { word, .. } => *word,
            _ => Digest::of("ringfence.unsigned.1", id),
        }
    }
}

impl Repo {
    /// Verifies the signature of a commit. Its author and committer lines play no part.
    pub fn signature(&self, id: &CommitId) -> Result<Signature, GitError> {
        let repo = self.git2()?;
        self.find(&repo, id)?;
        let fault = self.fault("cannot read a commit");
        let odb = repo.odb().map_err(&fault)?;
        let object = odb.read(oid(id)?).map_err(&fault)?;
        Ok(match split(object.data()) {
            Ok(Some((armour, signed))) => verify(&armour, &signed),
            Ok(None) => Signature::Unsigned,
            Err(why) => Signature::Bad { why },
        })
    }
}

/// The signature of a commit object, and the bytes that it is for: all but the signature's header. libgit2's own
/// `extract_signature` is not used: it takes a `gpgsig` in the message for one, ends at a NUL, and leaves out of the
/// signed bytes what begins like the header.
fn split(commit: &[u8]) -> Result<Option<(String, Vec<u8>)>, &'static str> {
    let mut armour: Option<Vec<u8>> = None;
    let mut signed = Vec::with_capacity(commit.len());
    let mut in_signature = false;
    let mut lines = commit.split_inclusive(|b| *b == b'\n');
    for line in lines.by_ref() {
        if line == b"\n" {
            signed.extend_from_slice(line);
            break;
        }
        if let Some(value) = line.strip_prefix(b"gpgsig ") {
            if armour.replace(value.to_vec()).is_some() {
                return Err("it has two signatures");
            }
            in_signature = true;
        } else if let (true, Some(more), Some(armour)) = (in_signature, line.strip_prefix(b" "), &mut armour)
        {
            armour.extend_from_slice(more);
        } else {
            in_signature = false;
            signed.extend_from_slice(line);
        }
    }
    for line in lines {
        signed.extend_from_slice(line);
    }
    let Some(armour) = armour else { return Ok(None) };
    let armour = String::from_utf8(armour).map_err(|_| "its signature is no text")?;
    Ok(Some((armour, signed)))
}

fn verify(armour: &str, signed: &[u8]) -> Signature {
    let unsupported = |what| Signature::Unsupported { what, next: NEXT };
    let bad = |why| Signature::Bad { why };
    if armour.starts_with("-----BEGIN PGP") {
        return unsupported("GPG signatures are not verified");
    }
    if armour.starts_with("-----BEGIN SIGNED MESSAGE") {
        return unsupported("X.509 signatures are not verified");
    }
    let Ok(signature) = SshSig::from_pem(armour.trim_end()) else {
        return bad("its signature cannot be read");
    };
    if let Err(what) = verifiable(signature.public_key()) {
        return unsupported(what);
    }
    if signature.namespace() != NAMESPACE {
        return bad("its signature is for another use than git");
    }
    let key = PublicKey::from(signature.public_key().clone());
    if key.verify(NAMESPACE, signed, &signature).is_err() {
        return bad("its signature is for another commit, or was changed");
    }
    if !touched(&key, signature.signature_bytes()) {
        return bad("its hardware key was not touched");
    }
    Signature::Good {
        fingerprint: Fingerprint::of(key.key_data()),
        word: Digest::of_bytes(signed),
    }
}

/// Whether somebody was there: a hardware key says so in what it signs; of other keys nobody knows.
fn touched(key: &PublicKey, signature: &[u8]) -> bool {
    if !(key.key_data().is_sk_ed25519() || key.key_data().is_sk_ecdsa_p256()) {
        return true;
    }
    let flags = signature
        .len()
        .checked_sub(TRAILER)
        .and_then(|at| signature.get(at));
    flags.is_some_and(|flags| flags & TOUCHED != 0)
}
