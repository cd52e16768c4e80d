//! What holds for every input, however odd. The property tests try it on inputs of `proptest`, the fuzz targets of
//! `fuzz/`, which include this file, on those of libFuzzer.

use ringfence::cli::findings::{json, render};
use ringfence::diagnostic::{Findings, Severity};
use ringfence::fleet::check::check;
use ringfence::fleet::compose::Vars;
use ringfence::fleet::names::{CommitId, Instance, RingName, Slug};
use ringfence::fleet::read::Reader;
use ringfence::fleet::tree::Tree;
use ringfence::fleet::values::{duration_ms, nano_cpus, size_bytes};

/// A fleet that uses every kind of document, and nearly every key.
const FLEET: &[(&str, &str)] = &[
    (
        "ringfence.yaml",
        include_str!("../fleets/valid/everything/ringfence.yaml"),
    ),
    (
        "rings/rings.yaml",
        include_str!("../fleets/valid/everything/rings/rings.yaml"),
    ),
    (
        "rings/pins/prod.yaml",
        include_str!("../fleets/valid/everything/rings/pins/prod.yaml"),
    ),
    (
        "stacks/solo.yaml",
        include_str!("../fleets/valid/everything/stacks/solo.yaml"),
    ),
    (
        "stacks/model-stacks.yaml",
        include_str!("../fleets/valid/minimal/stacks/model-stacks.yaml"),
    ),
    (
        "desired/plans.yaml",
        include_str!("../fleets/valid/everything/desired/plans.yaml"),
    ),
    (
        "desired/packages.yaml",
        include_str!("../fleets/valid/everything/desired/packages.yaml"),
    ),
    (
        "desired/tenants/acme.yaml",
        include_str!("../fleets/valid/everything/desired/tenants/acme.yaml"),
    ),
    (
        "desired/spirits/work.md",
        include_str!("../fleets/valid/everything/desired/spirits/work.md"),
    ),
    (
        "desired/services/web.yaml",
        include_str!("../fleets/valid/everything/desired/services/web.yaml"),
    ),
    (
        "desired/services/first.yaml",
        include_str!("../fleets/compose/01-web-and-database.yaml"),
    ),
    (
        "desired/services/model.yaml",
        include_str!("../fleets/compose/05-model-server.yaml"),
    ),
    (
        "desired/services/odd.yaml",
        include_str!("../fleets/compose/15-variables.yaml"),
    ),
    (
        "desired/services/.env",
        "A=1\nB=\"two ${A}\"\n# said\nexport C='3'\n",
    ),
];

/// What people, editors and attackers write where something else was meant.
const ODD: &[&str] = &[
    "",
    "~",
    "null",
    "true",
    "yes",
    "0",
    "-1",
    "1e309",
    ".nan",
    ".inf",
    "0x10",
    "1_000",
    "9223372036854775808",
    "\"",
    "'",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\u{202e}",
    "\u{feff}",
    "é",
    "日本",
    "&a [*a]",
    "*a",
    "<<",
    "!!binary",
    "!x",
    "---",
    "...",
    "{",
    "}",
    "[",
    "]",
    "{}",
    "[]",
    "[[[[[[[[[[",
    "- ",
    ": ",
    ",",
    "#",
    "|",
    ">-",
    "\t",
    "\r",
    "\r\n",
    "\u{85}",
    "\u{2028}",
    "${",
    "${A",
    "${A:-${B:-c}}",
    "$",
    "$$",
    "${A:?}",
    "${1}",
    "../../x",
    "/",
    "//",
    "a:b:c:d",
    "1-2:3-4",
    "99999",
    "unix://",
    "sha256:",
    "@sha256:aa",
    "x-a",
    "x-ringfence",
    "<<: *a",
    "1s1s",
    "-5m",
    "5 m",
    "1ZB",
    "0.0000000001",
    "Mon 25:00..x",
    "2026-11-22T00:00:00Z",
    "a\0b",
];

/// One change to a fleet: what is done, where, and with what.
pub type Change = (u8, u16, u16);

/// The fleet after some changes: pieces of its files are deleted, doubled, swapped, replaced by something odd, or cut.
pub fn changed(changes: &[Change]) -> Tree {
    let mut files: Vec<(&str, Vec<String>)> =
        FLEET.iter().map(|(path, text)| (*path, pieces(text))).collect();
    for (what, at, with) in changes {
        let (at, with) = (usize::from(*at), usize::from(*with));
        let count = files.len();
        let Some((_, pieces)) = files.get_mut(at % count) else {
            continue;
        };
        // The rest of the number says where in the file.
        let here = (at / count).checked_rem(pieces.len());
        let there = with.checked_rem(pieces.len());
        let (Some(here), Some(there)) = (here, there) else {
            continue;
        };
        let odd = ODD.get(with % ODD.len()).copied().unwrap_or_default();
        match what % 8 {
            0 => drop(pieces.remove(here)),
            1 => pieces.insert(there, pieces.get(here).cloned().unwrap_or_default()),
            2 => pieces.swap(here, there),
            3 => pieces.splice(here..=here, [odd.to_owned()]).for_each(drop),
            4 => pieces.insert(here, odd.to_owned()),
            5 => pieces.truncate(here),
            6 => drop(pieces.drain(here.min(there)..here.max(there).min(here.min(there) + 12))),
            _ => {
                let part = pieces.get(here.min(there)..here.max(there)).map(<[_]>::to_vec);
                pieces.extend(part.into_iter().flatten().take(200));
            }
        }
    }
    Tree::of_files(files.into_iter().map(|(path, pieces)| (path, pieces.concat())))
}

/// Words, white space and single signs.
fn pieces(text: &str) -> Vec<String> {
    let kind = |c: char| match c {
        _ if c.is_alphanumeric() || matches!(c, '_' | '.' | '/') => 0,
        ' ' => 1,
        _ => 2,
    };
    let mut pieces: Vec<String> = Vec::new();
    let mut last = 3;
    for c in text.chars() {
        match pieces.last_mut().filter(|_| kind(c) == last && last < 2) {
            Some(piece) => piece.push(c),
            None => pieces.push(c.to_string()),
        }
        last = kind(c);
    }
    pieces
}

/// A whole fleet is judged: no panic, every finding has its place inside its file and can be shown to a person and to a
/// program, and there are not more of them than there is text.
pub fn a_fleet_is_judged(tree: &Tree) -> bool {
    let report = check(tree, "somewhere");
    let size: usize = tree.iter().map(|(_, e)| e.bytes.len()).sum();
    assert!(report.findings.iter().count() <= 100 + 4 * size);
    for finding in &report.findings {
        if let Some(at) = &finding.at {
            let text = &at.source.text;
            assert!(
                at.span.start <= at.span.end && at.span.end <= text.len(),
                "{finding:?}"
            );
            assert!(
                text.get(at.span.clone()).is_some(),
                "{finding:?} parts a character"
            );
            // What it points at is what the file has there.
            let whole = tree
                .get(&at.source.path)
                .and_then(|e| std::str::from_utf8(&e.bytes).ok());
            let there = whole.and_then(|w| w.get(at.span.clone()));
            assert!(
                text.is_empty() || whole.is_none() || there == text.get(at.span.clone()),
                "{finding:?} is about a text that is not there"
            );
        }
        assert!(
            finding.help.is_some() || finding.severity != Severity::Error,
            "{finding:?}"
        );
        assert!(finding.message.chars().count() <= 501);
    }
    shown(&report.findings);
    !report.findings.has_errors()
}

fn shown(findings: &Findings) {
    let text = render(findings, false);
    let bad = text
        .chars()
        .find(|c| *c != '\n' && ringfence::text::is_unseen(*c));
    assert!(bad.is_none(), "{bad:?} reaches the terminal:\n{text:?}");
    assert!(serde_json::to_string(&json(findings)).is_ok());
}

/// Any bytes in any document.
pub fn bytes_are_judged(at: usize, bytes: &[u8]) {
    let mut tree = changed(&[]);
    let (path, _) = FLEET[at % FLEET.len()];
    let one = Tree::of_files([(path, bytes)]);
    tree.insert(path, one.get(path).unwrap().clone());
    a_fleet_is_judged(&tree);
}

/// Durations, sizes and CPUs: taken or refused, and what is taken means what its canonical form means.
pub fn numbers_are_judged(text: &str) {
    if let Ok(ms) = duration_ms(text) {
        assert_eq!(duration_ms(&format!("{ms}ms")), Ok(ms), "{text:?}");
    }
    if let Ok(bytes) = size_bytes(text) {
        assert_eq!(size_bytes(&bytes.to_string()), Ok(bytes), "{text:?}");
    }
    if let Ok(nano) = nano_cpus(text) {
        let again = format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000);
        assert_eq!(nano_cpus(&again), Ok(nano), "{text:?}");
    }
}

/// Names: what is taken is printed as it was read, and a fleet of any name has an instance.
pub fn names_are_judged(text: &str) {
    assert!(text.parse::<Slug>().is_ok_and(|s| s.as_str() == text) || text.parse::<Slug>().is_err());
    assert_eq!(text.parse::<RingName>().is_ok(), text.parse::<Slug>().is_ok());
    assert!(
        text.parse::<CommitId>().is_ok_and(|c| c.to_string() == text) || text.parse::<CommitId>().is_err()
    );
    let instance = Instance::of_name(text);
    assert!(
        instance.as_str().parse::<Instance>().is_ok(),
        "{text:?} gives {instance}"
    );
}

/// A service with one value, and what becomes of it.
fn service(image: &str, value: &str) -> Option<(String, String)> {
    let text =
        serde_json::json!({ "services": { "web": { "image": image, "environment": { "VALUE": value } } } });
    let mut tree = changed(&[]);
    let files = [("desired/services/web.yaml", text.to_string())];
    for (path, entry) in Tree::of_files(files).iter() {
        tree.insert(path, entry.clone());
    }
    a_fleet_is_judged(&tree);
    let reader = Reader::new();
    let read = ringfence::fleet::base(&tree).base.services;
    let services = read.resolve_only(&Vars::default(), &reader, &["web".to_owned()].into());
    let web = services.get("web")?;
    Some((web.image.value.clone(), web.environment.get("VALUE")?.clone()))
}

/// Interpolation: any text is judged, and one whose dollars are doubled comes out as it was.
pub fn a_value_is_interpolated(text: &str) {
    let _ = service("web:1", text);
    if let Some((_, value)) = service("web:1", &text.replace('$', "$$")) {
        assert_eq!(value, text);
    }
}

/// Image names: what is taken is asked of the engine as it is written.
pub fn an_image_is_judged(text: &str) {
    if let Some((image, _)) = service(text, "x") {
        assert!(text.contains('$') || image == text, "{image:?} is not {text:?}");
    }
}
