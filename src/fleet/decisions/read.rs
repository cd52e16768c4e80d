//! Reads the decisions of a tree.

use super::{
    APPROVALS, Approval, Binding, Decisions, HOLDS, Hold, Moved, Reason, Verdict, WAIVERS, WaivableGate,
    Waiver,
};
use crate::diagnostic::{At, Finding, Source, Spanned};
use crate::fleet::document;
use crate::fleet::names::{CommitId, PolicyId, PrincipalName, RingName};
use crate::fleet::read::{Fields, Reader};
use crate::fleet::rings::{Ring, Rings};
use crate::fleet::tree::{Entry, Tree};
use crate::fleet::yaml::Node;
use crate::text::Safe;

const APPROVAL_NAME: &str = "rings/approvals/<ring>/<request>.<rel|ten|both>.<principal>.yaml";
const WAIVER_NAME: &str = "rings/waivers/<ring>/<request>.<rel|both>.<gate>.<principal>.yaml";
const HOLD_NAMES: [&str; 2] = ["rings/holds/<ring>.yaml", "rings/holds/tenants/<slug>.yaml"];

/// Reads all approvals, waivers and holds.
pub fn read(tree: &Tree, rings: &Rings, reader: &Reader) -> Decisions {
    let mut decisions = Decisions::default();
    for (path, entry) in files(tree, APPROVALS) {
        let approval = whole(reader, || approval(path, entry, rings, reader));
        decisions.approvals.extend(approval.map(|a| (path.to_owned(), a)));
    }
    for (path, entry) in files(tree, WAIVERS) {
        let waiver = whole(reader, || waiver(path, entry, rings, reader));
        decisions.waivers.extend(waiver.map(|w| (path.to_owned(), w)));
    }
    for (path, entry) in files(tree, HOLDS) {
        if let Some(slug) = document::stem(path, "rings/holds/tenants/", ".yaml").map(str::parse) {
            let Ok(slug) = slug else {
                document::unknown_file(path, HOLD_NAMES, reader);
                continue;
            };
            let hold = whole(reader, || hold(path, entry, reader));
            decisions.held_tenants.extend(hold.map(|h| (slug, h)));
        } else if let Some(name) = document::stem(path, HOLDS, ".yaml") {
            let Some(ring) = known_ring(path, name, rings, reader) else {
                continue;
            };
            let hold = whole(reader, || hold(path, entry, reader));
            decisions.held_rings.extend(hold.map(|h| (ring.name.clone(), h)));
        } else {
            document::unknown_file(path, HOLD_NAMES, reader);
        }
    }
    decisions
}

fn files<'a>(tree: &'a Tree, folder: &'a str) -> impl Iterator<Item = (&'a str, &'a Entry)> {
    tree.below(folder)
        .filter(|(path, _)| !document::is_for_people(path))
}

/// What was read without an error; with one it is absent.
fn whole<T>(reader: &Reader, read: impl FnOnce() -> Option<T>) -> Option<T> {
    let before = reader.errors();
    read().filter(|_| reader.errors() == before)
}

fn known_ring<'r>(path: &str, name: &str, rings: &'r Rings, reader: &Reader) -> Option<&'r Ring> {
    let ring = rings.get(name);
    if ring.is_none() {
        rings.unknown(&about(path), name, reader);
    }
    ring
}

/// A place for what is wrong with a file's name.
fn about(path: &str) -> At {
    At::new(&Source::new(path, ""), 0..0)
}

/// A file's name, taken apart: `<ring>/<request>.<kind>.(<gate>.)<principal>.yaml`.
struct Name<'p> {
    path: &'p str,
    ring: &'p str,
    parts: Vec<&'p str>,
}

impl<'p> Name<'p> {
    fn new(path: &'p str, folder: &str, parts: usize) -> Option<Self> {
        let (ring, file) = path.strip_prefix(folder)?.split_once('/')?;
        let name = Self {
            path,
            ring,
            parts: file.strip_suffix(".yaml")?.split('.').collect(),
        };
        (name.parts.len() == parts && !file.contains('/')).then_some(name)
    }

    /// Whose word it is.
    fn principal(&self, reader: &Reader) -> Option<PrincipalName> {
        match self.parts.last().copied().unwrap_or_default().parse() {
            Ok(name) => Some(name),
            Err(problem) => {
                let finding = Finding::about_path("file-name", self.path, problem);
                reader.report(finding.help("name the file after the principal who signs it"));
                None
            }
        }
    }
}

/// Reports a part that says another thing than the document.
fn agrees(named: Option<&str>, at: &At, said: &str, what: &str, reader: &Reader) {
    let named = named.unwrap_or_default();
    if named != said {
        reader.error(
            "file-name",
            at,
            format!(
                "the {what} is `{said}`, but by the file's name `{}`",
                Safe::new(named)
            ),
            "correct the one that is wrong; a record counts only where both say the same",
        );
    }
}

fn approval(path: &str, entry: &Entry, rings: &Rings, reader: &Reader) -> Option<Spanned<Approval>> {
    let Some(name) = Name::new(path, APPROVALS, 3) else {
        document::unknown_file(path, [APPROVAL_NAME], reader);
        return None;
    };
    known_ring(path, name.ring, rings, reader)?;
    let principal = name.principal(reader);
    let node = document::yaml(path, entry, reader)?;
    let fields = reader.fields(&node, "the approval")?;
    let binding = binding(&fields, &name, reader);
    let verdict = fields
        .require("verdict")
        .and_then(|n| reader.one_of(n, Verdict::WORDS));
    let reason = fields.get("reason").and_then(|n| reason(n, reader));
    let expires = fields.get("expires").and_then(|n| reader.moment(n));
    fields.finish();
    let approval = Approval {
        binding: binding?,
        principal: principal?,
        verdict: verdict?,
        reason,
        expires: expires.map(|e| e.value),
    };
    Some(Spanned::new(approval, node.at))
}

fn waiver(path: &str, entry: &Entry, rings: &Rings, reader: &Reader) -> Option<Spanned<Waiver>> {
    let Some(name) = Name::new(path, WAIVERS, 4) else {
        document::unknown_file(path, [WAIVER_NAME], reader);
        return None;
    };
    known_ring(path, name.ring, rings, reader)?;
    let principal = name.principal(reader);
    let node = document::yaml(path, entry, reader)?;
    let fields = reader.fields(&node, "the waiver")?;
    let binding = binding(&fields, &name, reader);
    let gate = fields.require("gate");
    let at = gate.map(|n| n.at.clone());
    let gate = gate.and_then(|n| reader.one_of(n, WaivableGate::WORDS));
    let reason = fields.require("reason").and_then(|n| reason(n, reader));
    let expires = fields.get("expires").and_then(|n| reader.moment(n));
    fields.finish();
    let waiver = Waiver {
        binding: binding?,
        principal: principal?,
        gate: gate?,
        reason: reason?,
        expires: expires.map(|e| e.value),
    };
    let at = at.unwrap_or_else(|| node.at.clone());
    agrees(
        name.parts.get(2).copied(),
        &at,
        waiver.gate.word(),
        "gate",
        reader,
    );
    if let Moved::Files(_) = waiver.binding.to {
        reader.error(
            "contradiction",
            &at,
            format!("a move of tenant files has no `{}` gate", waiver.gate.word()),
            "remove the waiver; it is approved and needs nothing else",
        );
    }
    Some(Spanned::new(waiver, node.at))
}

fn binding(fields: &Fields<'_, '_>, name: &Name<'_>, reader: &Reader) -> Option<Binding> {
    let ends = "write `rel-` or `ten-` and 64 hexadecimal digits, or one of each with a `+` between";
    let ring = fields
        .require("ring")
        .and_then(|n| reader.parse::<RingName>(n, "bad-name", "name the ring that the file stands for"));
    let request = fields.require("request").and_then(|n| {
        reader.parse::<CommitId>(n, "bad-commit", "write all 40 digits that `git rev-parse` prints")
    });
    let from = fields
        .get("from")
        .map(|n| reader.parse::<Moved>(n, "bad-id", ends));
    let to = fields
        .require("to")
        .and_then(|n| reader.parse::<Moved>(n, "bad-id", ends));
    let policy = fields
        .require("policy")
        .and_then(|n| reader.parse::<PolicyId>(n, "bad-id", "write `pol-` and 64 hexadecimal digits"));
    let (ring, request, to) = (ring?, request?, to?);
    agrees(Some(name.ring), &ring.at, ring.value.as_str(), "ring", reader);
    agrees(
        name.parts.first().copied(),
        &request.at,
        request.value.short(),
        "request",
        reader,
    );
    agrees(
        name.parts.get(1).copied(),
        &to.at,
        to.value.word(),
        "kind of move",
        reader,
    );
    // A `from` that cannot be read is not one that is not there.
    let from = match from {
        Some(from) => Some(from?),
        None => None,
    };
    if let Some(from) = from.as_ref().filter(|f| f.value.word() != to.value.word()) {
        reader.error(
            "contradiction",
            &from.at,
            "`from` and `to` are not of one kind",
            "both are a release, both are tenant files, or both are both",
        );
    }
    Some(Binding {
        ring: ring.value,
        request: request.value,
        from: from.map(|f| f.value),
        to: to.value,
        policy: policy?.value,
    })
}

fn hold(path: &str, entry: &Entry, reader: &Reader) -> Option<Spanned<Hold>> {
    let node = document::yaml(path, entry, reader)?;
    let fields = reader.fields(&node, "the hold")?;
    let reason = fields.require("reason").and_then(|n| reason(n, reader));
    let until = fields.require("until").and_then(|n| reader.moment(n));
    fields.finish();
    let hold = Hold {
        reason: reason?,
        until: until?.value,
    };
    Some(Spanned::new(hold, node.at))
}

fn reason(node: &Node, reader: &Reader) -> Option<Reason> {
    let reason = reader.parse(node, "bad-reason", "say in a sentence or two why")?;
    Some(reason.value)
}
