//! The document as types.

use std::collections::{BTreeMap, BTreeSet};

use ssh_key::PublicKey;
use ssh_key::public::KeyData;

use super::{Fingerprint, Group, Owners, PATH, Principal, PrincipalKey, PrincipalKind, Principals};
use crate::diagnostic::{Finding, Spanned, did_you_mean};
use crate::fleet::document;
use crate::fleet::names::PrincipalName;
use crate::fleet::read::Reader;
use crate::fleet::tree::Tree;
use crate::fleet::yaml::{Key, Kind, Node};
use crate::text::Safe;

const KINDS: &[(&str, PrincipalKind)] = &[
    ("human", PrincipalKind::Human),
    ("agent", PrincipalKind::Agent),
    ("ci", PrincipalKind::Ci),
];

/// Reads `rings/principals.yaml`; without it there is nobody.
pub fn read(tree: &Tree, reader: &Reader) -> Principals {
    let mut principals = Principals::default();
    let Some(node) = tree
        .get(PATH)
        .and_then(|entry| document::yaml(PATH, entry, reader))
    else {
        return principals;
    };
    let Some(fields) = reader.fields(&node, "principals.yaml") else {
        return principals;
    };
    if let Some(node) = fields.get("principals") {
        for (key, value) in reader.map(node).unwrap_or_default() {
            if let Some(principal) = principal(key, value, reader) {
                principals.all.insert(principal.name.clone(), principal);
            }
        }
    }
    once(&principals, reader);
    if let Some(node) = fields.get("groups") {
        for (key, value) in reader.map(node).unwrap_or_default() {
            if let Some((name, group)) = group(key, value, &principals, reader) {
                principals.groups.insert(name, group);
            }
        }
    }
    principals.owners = fields.get("owners").and_then(|n| owners(n, &principals, reader));
    if let Some(node) = fields.get("revoked") {
        for item in reader.list(node).unwrap_or_default() {
            let help = "write what `ssh-keygen -lf KEY.pub` prints: `SHA256:` and 43 characters";
            let fingerprint = reader.parse(item, "bad-fingerprint", help);
            principals.revoked.extend(fingerprint.map(|f| f.value));
        }
    }
    fields.finish();
    principals
}

fn name(key: &Key, reader: &Reader) -> Option<PrincipalName> {
    let problem = match key.text.parse::<PrincipalName>() {
        Ok(name) if name.as_str() != PrincipalName::SOLO => return Some(name),
        Ok(_) => "`solo` is whoever acts in a fleet without keys".to_owned(),
        Err(problem) => problem,
    };
    reader.error("bad-name", &key.at, problem, "choose a name such as `ana`");
    None
}

fn principal(key: &Key, node: &Node, reader: &Reader) -> Option<Principal> {
    let name = name(key, reader);
    let fields = reader.fields(node, "the principal")?;
    let kind = fields.require("kind").and_then(|n| reader.one_of(n, KINDS));
    let emails = fields
        .get("emails")
        .map(|n| emails(n, reader))
        .unwrap_or_default();
    let keys = fields
        .get("keys")
        .and_then(|n| reader.list(n))
        .unwrap_or_default()
        .iter()
        .filter_map(|n| self::key(n, reader))
        .collect();
    fields.finish();
    Some(Principal {
        name: name?,
        at: key.at.clone(),
        kind: kind?,
        emails,
        keys,
    })
}

fn emails(node: &Node, reader: &Reader) -> BTreeSet<String> {
    let mut emails = BTreeSet::new();
    for email in reader.strings(node).unwrap_or_default() {
        let plain = !email
            .value
            .contains(|c: char| c.is_whitespace() || matches!(c, '<' | '>'));
        if plain && email.value.contains('@') {
            emails.insert(email.value.to_lowercase());
            continue;
        }
        reader.error(
            "bad-email",
            &email.at,
            format!("`{}` is no e-mail address", Safe::new(&email.value)),
            "write the address alone, as in `git config user.email`: `ana@example.org`",
        );
    }
    emails
}

/// A key as text, or with the time in which it counts.
fn key(node: &Node, reader: &Reader) -> Option<PrincipalKey> {
    if !matches!(node.kind, Kind::Map(_)) {
        return Some(PrincipalKey {
            fingerprint: fingerprint(node, reader)?,
            at: node.at.clone(),
            valid_after: None,
            valid_before: None,
        });
    }
    let fields = reader.fields(node, "the key")?;
    let written = fields.require("key");
    let valid_after = fields.get("valid_after").and_then(|n| reader.moment(n));
    let valid_before = fields.get("valid_before").and_then(|n| reader.moment(n));
    fields.finish();
    if let (Some(after), Some(before)) = (&valid_after, &valid_before)
        && before.value <= after.value
    {
        reader.error(
            "bad-validity",
            &before.at,
            "the key stops counting before it begins to",
            "write a `valid_before` later than `valid_after`",
        );
    }
    Some(PrincipalKey {
        fingerprint: fingerprint(written?, reader)?,
        at: written?.at.clone(),
        valid_after: valid_after.map(|t| t.value),
        valid_before: valid_before.map(|t| t.value),
    })
}

/// A public key's fingerprint. The text is never repeated: it may be a private key by mistake.
fn fingerprint(node: &Node, reader: &Reader) -> Option<Fingerprint> {
    let text = reader.string(node)?;
    let line = text.value.trim();
    if line.contains("PRIVATE KEY") {
        // Its place would show it.
        let (line, _) = text.at.line_col();
        reader.report(
            Finding::about_path("bad-key", PATH, format!("a private key stands in line {line}"))
                .help("make another key, since all who read the repository have this one, and write the line of its `.pub` file"),
        );
        return None;
    }
    let problem = match PublicKey::from_openssh(line) {
        Ok(key) => match verifiable(key.key_data()) {
            Ok(()) => return Some(Fingerprint::of(key.key_data())),
            Err(why) => why,
        },
        Err(_) if line.contains("-cert-v01@openssh.com") || line.starts_with("cert-authority") => {
            "certificates are not judged"
        }
        Err(_) => "no public key can be read here",
    };
    reader.error(
        "bad-key",
        &text.at,
        problem,
        "write the whole line of a `.pub` file: `ssh-ed25519 AAAA… ana@laptop`; `ssh-keygen -t ed25519` makes one",
    );
    None
}

/// Whether signatures of such a key can be verified.
///
/// # Errors
/// Why not, as a sentence.
pub(crate) fn verifiable(key: &KeyData) -> Result<(), &'static str> {
    match key {
        KeyData::Ed25519(_) | KeyData::Ecdsa(_) | KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => {
            Ok(())
        }
        KeyData::Rsa(_) => Err("signatures of RSA keys are not verified"),
        KeyData::Dsa(_) => Err("DSA keys are too weak to sign with"),
        _ => Err("signatures of this kind of key are not verified"),
    }
}

/// A key and an address tell who somebody is: each has one owner.
fn once(principals: &Principals, reader: &Reader) {
    let mut keys: BTreeMap<&Fingerprint, &PrincipalName> = BTreeMap::new();
    let mut emails: BTreeMap<&str, &PrincipalName> = BTreeMap::new();
    // In the order of the file, so that the later one is the one to change.
    let mut all: Vec<_> = principals.all.values().collect();
    all.sort_by_key(|p| p.at.span.start);
    for principal in all {
        for key in &principal.keys {
            if let Some(first) = keys.insert(&key.fingerprint, &principal.name) {
                reader.error(
                    "shared-key",
                    &key.at,
                    format!(
                        "`{}` and `{}` have the same key {}",
                        first, principal.name, key.fingerprint
                    ),
                    "a key tells who signed: write it once, and give everybody a key of their own",
                );
            }
        }
        for email in &principal.emails {
            if let Some(first) = emails.insert(email, &principal.name) {
                reader.error(
                    "shared-email",
                    &principal.at,
                    format!("`{}` and `{}` have the same address `{}`", first, principal.name, Safe::new(email)),
                    "write an address for one principal: it excludes the author of a change from approving it",
                );
            }
        }
    }
}

fn group(key: &Key, node: &Node, principals: &Principals, reader: &Reader) -> Option<(PrincipalName, Group)> {
    let name = name(key, reader)?;
    if principals.all.contains_key(&name) {
        reader.error(
            "bad-name",
            &key.at,
            format!("`{name}` is a principal and a group"),
            "give the group another name: where somebody is named, both are",
        );
    }
    let named = names(node, "the group has no members", reader)?;
    for member in named.iter().filter(|m| !principals.all.contains_key(&m.value)) {
        unknown(principals, member, reader);
    }
    let members = principals.members(named.iter().map(|n| &n.value));
    let at = key.at.clone();
    Some((name, Group { at, members }))
}

fn owners(node: &Node, principals: &Principals, reader: &Reader) -> Option<Owners> {
    let fields = reader.fields(node, "`owners`")?;
    let named = fields
        .require("members")
        .and_then(|n| names(n, "nobody owns the policy", reader));
    let required = fields.get("required");
    let count = required.map_or(Some(1), |n| reader.integer(n, 1..=20));
    fields.finish();
    let named = named?;
    let known = principals.all_known(&named, reader);
    let members = principals.members(named.iter().map(|n| &n.value));
    let count = u32::try_from(count?).ok()?;
    let humans = principals.humans(&members).len();
    if known && humans < count as usize {
        reader.error(
            "impossible-quorum",
            required.map_or(&node.at, |n| &n.at),
            format!("{count} owners must allow a change of policy, but {humans} of them are people"),
            "name more humans as members, or require fewer",
        );
    }
    Some(Owners {
        members,
        required: count,
    })
}

/// A list of names that must not be empty.
pub(in crate::fleet) fn names(
    node: &Node,
    empty: &str,
    reader: &Reader,
) -> Option<Vec<Spanned<PrincipalName>>> {
    let items = reader.list(node)?;
    if items.is_empty() {
        reader.error("empty-list", &node.at, empty, "name principals");
    }
    Some(
        items
            .iter()
            .filter_map(|n| reader.parse(n, "bad-name", "write a name such as `ana`"))
            .collect(),
    )
}

impl Principals {
    /// Whether all of these are principals or groups; reports the others.
    pub(super) fn all_known(&self, names: &[Spanned<PrincipalName>], reader: &Reader) -> bool {
        let strange = names
            .iter()
            .filter(|n| !self.all.contains_key(&n.value) && !self.groups.contains_key(&n.value));
        strange.map(|name| unknown(self, name, reader)).count() == 0
    }
}

fn unknown(principals: &Principals, name: &Spanned<PrincipalName>, reader: &Reader) {
    let known = principals.all.keys().chain(principals.groups.keys());
    let help = did_you_mean(name.value.as_str(), known.map(PrincipalName::as_str)).map_or_else(
        || format!("declare `{}` under `principals` in {PATH}", name.value),
        |near| format!("did you mean `{near}`?"),
    );
    reader.error(
        "unknown-principal",
        &name.at,
        format!("nobody is called `{}`", name.value),
        help,
    );
}
