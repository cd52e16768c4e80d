use std::process::Command;

use jiff::Timestamp;
use ssh_key::{Algorithm, HashAlg, PrivateKey, SigningKey};

use super::*;
use crate::fleet::principals::{NotAccepted, Principals, read};
use crate::fleet::read::Reader;
use crate::fleet::tree::Tree;
use crate::git::fixture::Fixture;

fn key(f: &Fixture, name: &str, kind: &[&str]) -> String {
    f.key(name, kind)
}

/// A commit signed by the user's own git with a key.
fn signed(f: &Fixture, name: &str) -> CommitId {
    f.write("desired/plans.yaml", format!("# {name}\n"));
    f.git(&["add", "--all"]);
    f.git_as(name, &["commit", "--quiet", "-m", "signed\n\nwith a body"]);
    f.head()
}

/// Puts an object into the repository as it is.
fn object(f: &Fixture, bytes: &[u8]) -> CommitId {
    let file = f.path("object");
    std::fs::write(&file, bytes).unwrap();
    let file = file.to_str().unwrap();
    f.git(&["hash-object", "-t", "commit", "-w", "--literally", file])
        .parse()
        .unwrap()
}

fn raw(f: &Fixture, id: &CommitId) -> String {
    format!("{}\n", f.git(&["cat-file", "commit", id.as_str()]))
}

fn verified(f: &Fixture, id: &CommitId) -> Signature {
    f.repo().signature(id).unwrap()
}

fn fingerprint(line: &str) -> Fingerprint {
    Fingerprint::of(PublicKey::from_openssh(line).unwrap().key_data())
}

/// Whose key made a good signature.
fn good(signature: &Signature) -> Option<&Fingerprint> {
    match signature {
        Signature::Good { fingerprint, .. } => Some(fingerprint),
        _ => None,
    }
}

fn why(signature: &Signature) -> &'static str {
    match signature {
        Signature::Bad { why } => why,
        other => panic!("{other:?}"),
    }
}

fn principals(text: &str) -> Principals {
    let reader = Reader::new();
    let principals = read(&Tree::of_files([("rings/principals.yaml", text)]), &reader);
    assert!(reader.into_findings().is_empty());
    principals
}

#[test]
fn a_commit_that_git_signed_is_good_and_one_that_it_did_not_sign_is_unsigned() {
    let f = Fixture::new();
    let plain = f.commit("ringfence.yaml", "fleet: aither\n");
    assert_eq!(verified(&f, &plain), Signature::Unsigned);
    for kind in [
        &["ed25519"][..],
        &["ecdsa", "-b", "256"],
        &["ecdsa", "-b", "384"],
        &["ecdsa", "-b", "521"],
    ] {
        let name = kind.join("");
        let line = key(&f, &name, kind);
        let signature = verified(&f, &signed(&f, &name));
        assert_eq!(good(&signature), Some(&fingerprint(&line)), "{kind:?}");
    }
}

#[test]
fn an_rsa_signature_is_not_verified_and_says_what_to_do() {
    let f = Fixture::new();
    key(&f, "rsa", &["rsa", "-b", "2048"]);
    let signature = verified(&f, &signed(&f, "rsa"));
    assert!(
        matches!(signature, Signature::Unsupported { what, next } if what.contains("RSA") && next.contains("ed25519")),
        "{signature:?}"
    );
}

#[test]
fn signatures_of_gpg_and_x509_are_not_verified() {
    let f = Fixture::new();
    let plain = raw(&f, &f.commit("ringfence.yaml", "fleet: aither\n"));
    for (begin, name) in [("PGP SIGNATURE", "GPG"), ("SIGNED MESSAGE", "X.509")] {
        let header = format!("gpgsig -----BEGIN {begin}-----\n \n iHUE\n -----END {begin}-----\n\n");
        let id = object(&f, plain.replacen("\n\n", &format!("\n{header}"), 1).as_bytes());
        let signature = verified(&f, &id);
        assert!(
            matches!(signature, Signature::Unsupported { what, .. } if what.starts_with(name)),
            "{signature:?}"
        );
    }
}

#[test]
fn a_signature_is_bad_for_any_other_commit() {
    let f = Fixture::new();
    key(&f, "ana", &["ed25519"]);
    let before = f.commit("ringfence.yaml", "fleet: aither\n");
    let text = raw(&f, &signed(&f, "ana"));
    let empty = f.git(&["hash-object", "-t", "tree", "-w", "/dev/null"]);
    let tree = text.lines().next().unwrap();
    for (what, other) in [
        ("message", text.replace("with a body", "with another")),
        ("author", text.replacen("author Ana", "author Ben", 1)),
        ("tree", text.replacen(tree, &format!("tree {empty}"), 1)),
        ("parent", text.replacen(&format!("parent {before}\n"), "", 1)),
        ("header", text.replacen("\ngpgsig ", "\nencoding x\ngpgsig ", 1)),
        ("end", format!("{text}\0more")),
    ] {
        assert_ne!(other, text, "{what}");
        let id = object(&f, other.as_bytes());
        assert!(why(&verified(&f, &id)).contains("another commit"), "{what}");
    }
    let cut = text.replacen("\n U1NIU0lH", "\n V1NIU0lH", 1);
    assert_ne!(cut, text);
    assert!(why(&verified(&f, &object(&f, cut.as_bytes()))).contains("cannot be read"));
}

#[test]
fn a_signature_counts_once_and_in_the_header_only() {
    let f = Fixture::new();
    key(&f, "ana", &["ed25519"]);
    let text = raw(&f, &signed(&f, "ana"));
    let start = text.find("gpgsig ").unwrap();
    let end = text.find("-----END SSH SIGNATURE-----").unwrap() + "-----END SSH SIGNATURE-----\n".len();
    let header = &text[start..end];
    let without = text.replacen(header, "", 1);
    let in_message = format!("{without}{header}");
    assert_eq!(
        verified(&f, &object(&f, in_message.as_bytes())),
        Signature::Unsigned
    );
    let twice = text.replacen(header, &header.repeat(2), 1);
    assert!(why(&verified(&f, &object(&f, twice.as_bytes()))).contains("two signatures"));
    let hidden = text.replacen("\nauthor", "\ngpgsigauthor", 1);
    assert!(
        f.repo()
            .signature(&object(&f, hidden.as_bytes()))
            .map_or(true, |s| matches!(s, Signature::Bad { .. }))
    );
}

#[test]
fn a_signature_for_another_use_is_bad() {
    let f = Fixture::new();
    key(&f, "ana", &["ed25519"]);
    let text = raw(&f, &f.commit("ringfence.yaml", "fleet: aither\n"));
    let payload = f.path("payload");
    std::fs::write(&payload, &text).unwrap();
    let sign = |namespace: &str| {
        let _ = std::fs::remove_file(payload.with_extension("sig"));
        let made = Command::new("ssh-keygen")
            .args(["-q", "-Y", "sign", "-n", namespace, "-f"])
            .args([f.path("ana"), payload.clone()])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let armour = std::fs::read_to_string(payload.with_extension("sig")).unwrap();
        let header = format!("gpgsig {}\n\n", armour.trim_end().replace('\n', "\n "));
        verified(
            &f,
            &object(&f, text.replacen("\n\n", &format!("\n{header}"), 1).as_bytes()),
        )
    };
    assert!(why(&sign("file")).contains("another use"));
    assert!(
        matches!(sign("git"), Signature::Good { .. }),
        "the same bytes for git are good"
    );
}

fn sign(key: &impl SigningKey, data: &[u8]) -> ssh_key::Signature {
    key.try_sign(data).unwrap()
}

/// A commit signed as a hardware key does, by a key of which we have the private half.
fn of_hardware(f: &Fixture, flags: u8) -> (Signature, String) {
    let name = format!("ana{flags}");
    key(f, &name, &["ed25519"]);
    let private = PrivateKey::from_openssh(std::fs::read(f.path(&name)).unwrap()).unwrap();
    let point = private.public_key().key_data().ed25519().unwrap();
    let wire = [&b"sk-ssh-ed25519@openssh.com"[..], &point.0, b"ssh:"]
        .map(|part| [&u32::try_from(part.len()).unwrap().to_be_bytes(), part].concat())
        .concat();
    let public = PublicKey::from_bytes(&wire).unwrap();
    let text = raw(f, &f.commit("ringfence.yaml", format!("fleet: {name}\n")));
    let message = SshSig::signed_data("git", HashAlg::Sha512, text.as_bytes()).unwrap();
    let trailer = [flags, 0, 0, 0, 7];
    let sha256 = |bytes: &[u8]| *crate::digest::Digest::of_bytes(bytes).bytes();
    let data = [&sha256(b"ssh:")[..], &trailer, &sha256(&message)].concat();
    let bytes = [sign(&private, &data).as_bytes(), &trailer].concat();
    let signature = ssh_key::Signature::new(Algorithm::SkEd25519, bytes).unwrap();
    let armour = SshSig::new(public.key_data().clone(), "git", HashAlg::Sha512, signature)
        .unwrap()
        .to_pem(ssh_key::LineEnding::LF)
        .unwrap();
    let header = format!("gpgsig {}\n\n", armour.trim_end().replace('\n', "\n "));
    let id = object(f, text.replacen("\n\n", &format!("\n{header}"), 1).as_bytes());
    (verified(f, &id), public.to_openssh().unwrap())
}

#[test]
fn a_hardware_key_counts_when_it_was_touched() {
    let f = Fixture::new();
    let (signature, line) = of_hardware(&f, 1);
    assert_eq!(good(&signature), Some(&fingerprint(&line)));
    let (signature, _) = of_hardware(&f, 0);
    assert!(why(&signature).contains("not touched"));
}

#[test]
fn the_key_says_who_it_is_whatever_name_the_commit_has() {
    let f = Fixture::new();
    // The fixture's author and committer is Ana, of whom we have the address.
    let (ana, ben, stranger) = (
        key(&f, "ana", &["ed25519"]),
        key(&f, "ben", &["ed25519"]),
        key(&f, "mallory", &["ed25519"]),
    );
    let people = format!(
        "principals:\n  ana: {{kind: human, emails: [ana@example.org], keys: [\"{ana}\"]}}\n  ben: {{kind: human, keys: [{{key: \"{ben}\", valid_before: 2026-12-01}}]}}\n"
    );
    let people_now = principals(&people);
    let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
    let who = |people: &Principals, name: &str, seen: Timestamp| {
        let Signature::Good { fingerprint, .. } = verified(&f, &signed(&f, name)) else {
            panic!("{name} signs");
        };
        people.signer(&fingerprint, seen).map(|p| p.name.to_string())
    };
    assert_eq!(
        who(&people_now, "ben", now),
        Ok("ben".to_owned()),
        "the author line says Ana"
    );
    assert_eq!(
        who(&people_now, "mallory", now),
        Err(NotAccepted::Unknown(fingerprint(&stranger)))
    );
    let later: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
    assert!(matches!(
        who(&people_now, "ben", later),
        Err(NotAccepted::Expired { .. })
    ));
    let after = principals(&format!("{people}revoked: [\"{}\"]\n", fingerprint(&ana)));
    assert_eq!(
        who(&after, "ana", now),
        Err(NotAccepted::Revoked(fingerprint(&ana)))
    );
}

#[test]
fn two_spellings_of_one_signature_are_one_word() {
    let f = Fixture::new();
    key(&f, "ana", &["ed25519"]);
    let first = signed(&f, "ana");
    let text = raw(&f, &first);
    // Blank lines behind the armour: other bytes, and so another commit.
    let end = "-----END SSH SIGNATURE-----\n";
    let again = text.replacen(end, &format!("{end} \n \n"), 1);
    let second = object(&f, again.as_bytes());
    assert_ne!(first, second);
    let word = |id: &CommitId| verified(&f, id).word(id);
    assert!(
        good(&verified(&f, &second)).is_some(),
        "{:?}",
        verified(&f, &second)
    );
    assert_eq!(word(&first), word(&second));
    let other = f.commit("README.md", "more");
    assert_ne!(word(&first), word(&other));
    assert_ne!(
        word(&other),
        word(&f.commit("README.md", "again")),
        "each unsigned one is its own"
    );
}
