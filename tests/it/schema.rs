//! The schemas that editors and programs use: they know the keys that the readers know, take what the readers take, and
//! describe what the verbs print.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jsonschema::Validator;
use ringfence::diagnostic::{Finding, Findings};
use ringfence::fleet::check::check;
use ringfence::fleet::schema::DOCUMENTS;
use ringfence::fleet::tree::{Tree, is_declared};
use serde_json::{Map, Value, json};

use crate::support::fleet::TestFleet;

/// A key and a value that nothing knows.
const STRANGE: &str = "zzzzzzzzzzzz";

fn fleets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fleets")
}

/// The declared files below a folder.
fn files(top: &Path) -> Vec<(String, Vec<u8>)> {
    let mut left = vec![top.to_owned()];
    let mut found = Vec::new();
    while let Some(path) = left.pop() {
        let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
        if !path.is_dir() {
            found.push((name, std::fs::read(&path).unwrap()));
        } else if name.is_empty() || is_declared(&format!("{name}/")) {
            left.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
    }
    found.retain(|(name, _)| is_declared(name));
    found.sort();
    found
}

fn findings_with(path: &str, text: &str) -> Findings {
    let mut all = files(&fleets().join("valid/minimal"));
    all.retain(|(name, _)| name != path);
    all.push((path.to_owned(), text.as_bytes().to_vec()));
    check(&Tree::of_files(all), "somewhere").findings
}

fn schema(name: &str) -> Value {
    DOCUMENTS.iter().find(|d| d.name == name).unwrap().schema()
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::options()
        .should_validate_formats(true)
        .build(schema)
        .unwrap()
}

/// The document that a file is, and what it says.
fn document(path: &str, bytes: &[u8]) -> Option<(&'static str, Value)> {
    let text = std::str::from_utf8(bytes).unwrap();
    if path.starts_with("desired/spirits/") {
        let lines = text.strip_prefix("---\n")?.lines();
        let front: String = lines
            .take_while(|l| *l != "---")
            .map(|l| format!("{l}\n"))
            .collect();
        return (!front.is_empty()).then(|| ("spirit", serde_saphyr::from_str(&front).unwrap()));
    }
    if Path::new(path).extension().is_none_or(|e| e != "yaml") {
        return None;
    }
    let value: Value = serde_saphyr::from_str(text).ok()?;
    let name = match path {
        "ringfence.yaml" => "ringfence",
        "rings/rings.yaml" => "rings",
        "rings/principals.yaml" => "principals",
        "desired/plans.yaml" => "plans",
        "desired/packages.yaml" => "packages",
        _ if path.starts_with("rings/pins/") => "pin",
        _ if path.starts_with("rings/approvals/") => "approval",
        _ if path.starts_with("rings/waivers/") => "waiver",
        _ if path.starts_with("rings/holds/") => "hold",
        _ if path.starts_with("desired/tenants/") => "tenant",
        _ if path.starts_with("desired/services/") => "compose",
        _ if value.get("stacks").is_some() => "stacks",
        _ => "stack",
    };
    Some((name, value))
}

fn complaints(schema: &Value, value: &Value) -> Vec<String> {
    let validator = validator(schema);
    let errors = validator.iter_errors(value);
    errors.map(|e| format!("{}: {e}", e.instance_path())).collect()
}

#[test]
fn the_schemas_take_every_document_that_check_takes() {
    let mut seen = BTreeSet::new();
    let mut folders: Vec<PathBuf> = std::fs::read_dir(fleets().join("valid"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    folders.push(Path::new(env!("CARGO_MANIFEST_DIR")).to_owned());
    let mut documents: Vec<(String, &str, Value)> = Vec::new();
    for folder in folders {
        for (path, bytes) in files(&folder) {
            let told = format!("{}/{path}", folder.display());
            documents.extend(document(&path, &bytes).map(|(name, value)| (told, name, value)));
        }
    }
    for entry in std::fs::read_dir(fleets().join("compose")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read(&path).unwrap();
        let inside = "desired/services/more.compose.yaml";
        let taken = !findings_with(inside, std::str::from_utf8(&text).unwrap()).has_errors();
        if let Some((name, value)) = document(inside, &text).filter(|_| taken) {
            documents.push((path.display().to_string(), name, value));
        }
    }
    for (path, name, value) in documents {
        seen.insert(name);
        let found = complaints(&schema(name), &value);
        assert!(found.is_empty(), "{path} is no {name}: {found:#?}");
    }
    let all: BTreeSet<&str> = DOCUMENTS.iter().map(|d| d.name).collect();
    assert_eq!(seen, all, "a schema that no fixture tries");
}

#[test]
fn the_schemas_refuse_what_check_refuses_for_its_shape() {
    for (name, wrong) in [
        ("ringfence", json!({"flet": "x"})),
        ("rings", json!({"rings": {}})),
        ("rings", json!({"rings": {"dev": {"id": 0, "soak": "5"}}})),
        (
            "rings",
            json!({"rings": {"dev": {"id": 0, "rollout": {"canary": "10%"}}}}),
        ),
        ("pin", json!({"release": "main"})),
        ("principals", json!({"principals": {"ana": {"kind": "robot"}}})),
        ("principals", json!({"groups": {"release": []}})),
        ("principals", json!({"revoked": ["MD5:00"]})),
        ("approval", json!({"ring": "dev", "verdict": "approve"})),
        ("waiver", json!({"gate": "health"})),
        ("hold", json!({"reason": "x"})),
        ("tenant", json!({"slug": "acme", "ring": "dev"})),
        (
            "tenant",
            json!({"slug": "Acme", "ring": "dev", "plan_tier": "growth"}),
        ),
        (
            "tenant",
            json!({"slug": "acme", "ring": "dev", "plan_tier": "free"}),
        ),
        ("stack", json!({"tier_backends": {}})),
        ("plans", json!({"plans": {"starter": {"effort_cap": 0}}})),
        ("packages", json!({"packages": {"x": {"from": "free"}}})),
        (
            "compose",
            json!({"services": {"web": {"image": "a:1", "privileged": true}}}),
        ),
        (
            "compose",
            json!({"services": {"web": {"image": "a:1", "x-ringfence": {"scop": "ring"}}}}),
        ),
        ("spirit", json!({"effort_cap": 11})),
    ] {
        assert!(
            !complaints(&schema(name), &wrong).is_empty(),
            "{name} takes {wrong}"
        );
    }
}

/// A step from a map or list to what is in it.
#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Item,
}

/// The maps that a schema knows, each with the way to it.
fn maps(root: &Value, node: &Value, way: &[Step], found: &mut Vec<(Vec<Step>, Value)>) {
    let node = resolved(root, node);
    for branch in node["anyOf"].as_array().into_iter().flatten() {
        maps(root, branch, way, found);
    }
    let further = |step: Step| [way, &[step]].concat();
    if !node["items"].is_null() {
        maps(root, &node["items"], &further(Step::Item), found);
    }
    let keyed = !node["properties"].is_null() || !node["additionalProperties"].is_null();
    if !keyed {
        return;
    }
    found.push((way.to_vec(), node.clone()));
    for (key, value) in node["properties"].as_object().into_iter().flatten() {
        maps(root, value, &further(Step::Key(key.clone())), found);
    }
    if node["additionalProperties"].is_object() {
        let names = resolved(root, &node["propertyNames"]);
        let any = names["enum"][0].as_str().unwrap_or("sample").to_owned();
        maps(
            root,
            &node["additionalProperties"],
            &further(Step::Key(any)),
            found,
        );
    }
}

fn resolved(root: &Value, node: &Value) -> Value {
    match node["$ref"].as_str() {
        Some(to) => resolved(root, root.pointer(to.trim_start_matches('#')).unwrap()),
        None => node.clone(),
    }
}

/// A document with nothing but the way to a map, and that map.
fn planted(name: &str, way: &[Step], leaf: Value) -> (String, Findings) {
    let mut value = leaf;
    for (depth, step) in way.iter().enumerate().rev() {
        value = match step {
            Step::Item => json!([value]),
            Step::Key(key) => {
                let mut map = Map::from_iter([(key.clone(), value)]);
                // Only a service with an image is read further.
                if name == "compose" && depth == 2 && matches!(&way[0], Step::Key(k) if k == "services") {
                    map.entry("image").or_insert_with(|| "a:1".into());
                }
                Value::Object(map)
            }
        };
    }
    let path = match name {
        "ringfence" => "ringfence.yaml",
        "rings" => "rings/rings.yaml",
        "principals" => "rings/principals.yaml",
        "pin" => "rings/pins/dev.yaml",
        "approval" => "rings/approvals/dev/4b1d00aa.rel.ana.yaml",
        "waiver" => "rings/waivers/dev/4b1d00aa.rel.soak.ana.yaml",
        "hold" => "rings/holds/dev.yaml",
        "tenant" => "desired/tenants/beta.yaml",
        "stacks" => "stacks/model-stacks.yaml",
        "stack" => "stacks/other.yaml",
        "plans" => "desired/plans.yaml",
        "packages" => "desired/packages.yaml",
        "compose" => "desired/services/more.compose.yaml",
        "spirit" => "desired/spirits/more.md",
        _ => panic!("where does a {name} stand?"),
    };
    let text = if name == "spirit" {
        format!("---\n{value}\n---\nBe kind.\n")
    } else {
        value.to_string()
    };
    let findings = findings_with(path, &text);
    let own = findings.iter().filter(|f| f.path() == Some(path)).cloned();
    (text.clone(), own.collect())
}

/// What a finding points at.
fn pointed(finding: &Finding) -> &str {
    let at = finding.at.as_ref().unwrap();
    at.source
        .text
        .get(at.span.clone())
        .unwrap_or_default()
        .trim_matches('"')
}

fn words(text: &str, before: &str) -> Option<BTreeSet<String>> {
    let list = text.split_once(before)?.1;
    Some(list.split(", ").map(|w| w.trim_matches('`').to_owned()).collect())
}

fn is_refused(root: &Value, node: &Value) -> bool {
    let node = resolved(root, node);
    node["not"].as_object().is_some_and(Map::is_empty) || node["enum"] == json!([null, false, "", [], {}])
}

/// No key can be added to a reader or to a schema without the other noticing.
#[test]
fn every_map_has_the_keys_that_its_reader_knows() {
    for document in DOCUMENTS {
        let (name, root) = (document.name, document.schema());
        let mut found = Vec::new();
        maps(&root, &root, &[], &mut found);
        for (way, map) in found {
            let (text, findings) = planted(name, &way, json!({ STRANGE: "1" }));
            let unknown = findings
                .iter()
                .find(|f| f.code == "unknown-key" && pointed(f) == STRANGE);
            if map["additionalProperties"] != json!(false) {
                let few = !resolved(&root, &map["propertyNames"])["enum"].is_null();
                assert!(
                    unknown.is_none() || few,
                    "{name} {way:?}: the keys are not free\n{text}"
                );
                continue;
            }
            let help = unknown.and_then(|f| f.help.as_deref());
            let help =
                help.unwrap_or_else(|| panic!("{name} {way:?}: {STRANGE} is taken\n{text}\n{findings:?}"));
            let known = words(help, "known here: ").unwrap();
            let keys = map["properties"].as_object().unwrap().keys().cloned().collect();
            assert_eq!(
                known, keys,
                "{name} {way:?}: reader (left) and schema (right) differ"
            );
        }
    }
}

#[test]
fn keys_are_refused_and_words_are_known_in_the_schema_as_in_the_reader() {
    for document in DOCUMENTS {
        let (name, root) = (document.name, document.schema());
        let mut found = Vec::new();
        maps(&root, &root, &[], &mut found);
        for (way, map) in found {
            for (key, node) in map["properties"].as_object().into_iter().flatten() {
                let with = |value: &str| planted(name, &way, json!({ key: value })).1;
                let said = with(STRANGE);
                let refuses = |said: &Findings| said.iter().any(|f| f.code == "not-carried-out");
                let place = format!("{name} {way:?} {key}");
                if is_refused(&root, node) {
                    let strange = said.iter().any(|f| f.code == "unknown-key" && pointed(f) == *key);
                    assert!(refuses(&said) || strange, "{place}: the reader takes it");
                    continue;
                }
                let node = resolved(&root, node);
                // In Compose a variable may stand in place of a word.
                let words_of = [&node["enum"], &node["anyOf"][0]["enum"]];
                let Some(list) = words_of.into_iter().find_map(Value::as_array) else {
                    let about = said
                        .iter()
                        .find(|f| f.code == "not-carried-out" && pointed(f) == *key);
                    assert!(about.is_none(), "{place}: the schema takes it: {about:?}");
                    continue;
                };
                let list: BTreeSet<String> =
                    list.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                let told = said.iter().find(|f| f.code == "unknown-value");
                let Some(told) = told else {
                    assert!(said.has_errors(), "{place}: the reader takes any word");
                    continue;
                };
                let known = words(&told.message, "is none of ").unwrap();
                assert!(
                    list.is_subset(&known),
                    "{place}: {list:?} are not all in {known:?}"
                );
                for word in known.difference(&list) {
                    assert!(refuses(&with(word)), "{place}: the schema does not know {word}");
                }
            }
        }
    }
}

#[test]
fn required_keys_are_required_by_the_reader() {
    for document in DOCUMENTS {
        let (name, root) = (document.name, document.schema());
        let mut found = Vec::new();
        maps(&root, &root, &[], &mut found);
        for (way, map) in found {
            let (_, findings) = planted(name, &way, json!({ "x-nothing": 1 }));
            for key in map["required"].as_array().into_iter().flatten() {
                let needs = format!("needs `{}`", key.as_str().unwrap());
                let told = findings
                    .iter()
                    .any(|f| f.code == "missing-key" && f.message.contains(&needs));
                assert!(told, "{name} {way:?}: {key} is not required");
            }
        }
    }
}

/// What a verb prints with `-o json` is what its schema says.
fn describes(fleet: &TestFleet, name: &str, printed: &Value) {
    let schema = fleet.ringfence(&["schema", name]).expect(0).json();
    let found = complaints(&schema, printed);
    assert!(found.is_empty(), "{name}: {found:#?} in {printed}");
}

/// What `why` says of prod, in a file; with a policy, where it names none.
fn facts_of_prod(fleet: &TestFleet) -> String {
    let mut facts = fleet.ringfence(&["why", "prod", "-o", "json"]).expect(0).json();
    let policy = &mut facts["ring"]["moves"][0]["policy"];
    if policy.is_null() {
        *policy = format!("pol-{}", "0".repeat(64)).into();
    }
    let path = fleet.home().join("facts.json");
    std::fs::write(&path, facts.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_verbs_print_what_their_schemas_say() {
    let fleet = TestFleet::example("schemas");
    let list = fleet.ringfence(&["schema", "-o", "json"]).expect(0).json();
    let mut left: BTreeSet<String> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["name"].as_str().unwrap().to_owned())
        .filter(|n| n.starts_with("output-"))
        .collect();
    let mut try_one = |name: &str, args: &[&str], code: i32| {
        let printed = fleet
            .ringfence(&[args, &["-o", "json"]].concat())
            .expect(code)
            .json();
        describes(&fleet, name, &printed);
        left.remove(name);
    };
    let made = fleet.home().join("made-by-init");
    let repo = fleet.repo();
    let compose = fleet.home().join("compose.yaml");
    std::fs::write(
        &compose,
        "services:\n  web: {image: \"web:1\", privileged: true}\n",
    )
    .unwrap();
    let imported = fleet.home().join("imported");
    try_one("output-schema", &["schema"], 0);
    try_one("output-init", &["init", made.to_str().unwrap()], 0);
    try_one(
        "output-import",
        &[
            "import",
            compose.to_str().unwrap(),
            "--into",
            imported.to_str().unwrap(),
        ],
        0,
    );
    try_one("output-check", &["check", repo.to_str().unwrap()], 0);
    // Before anything runs, and after.
    for change in ["output-plan", "output-apply", "output-plan", "output-status"] {
        let verb = change.trim_start_matches("output-");
        try_one(change, &[verb], 0);
    }
    for (name, args) in [
        ("output-history", &["history"][..]),
        ("output-events", &["events", "-n", "500"]),
        ("output-tenant-list", &["tenant", "list"]),
        ("output-tenant-show", &["tenant", "show", "dev-lab"]),
        ("output-tenant-env", &["tenant", "env", "dev-lab"]),
        ("output-stack-list", &["stack", "list"]),
        ("output-stack-preview", &["stack", "preview", "hyperscaler"]),
        ("output-spirit-list", &["spirit", "list"]),
        ("output-spirit-render", &["spirit", "render", "dev-lab"]),
    ] {
        try_one(name, args, 0);
    }
    for (name, args) in [
        ("output-why", &["why", "dev"][..]),
        ("output-why", &["why", "dev-lab"]),
        ("output-promote", &["promote", "staging"]),
        ("output-promote", &["promote", "staging"]),
        ("output-promote", &["promote", "prod", "--release", "main"]),
        (
            "output-rollback",
            &["rollback", "dev", "--to", "develop", "--yes"],
        ),
        ("output-hold", &["hold", "prod", "-m", "a look"]),
        ("output-resume", &["resume", "prod"]),
        ("output-resume", &["resume", "prod"]),
        ("output-why", &["why", "prod"]),
    ] {
        try_one(name, args, 0);
    }
    let facts = facts_of_prod(&fleet);
    for verb in ["approve", "reject"] {
        let args = [verb, "prod", "--facts", &facts, "--yes"];
        try_one(&format!("output-{verb}"), &args, 0);
    }
    let waive = [
        "waive", "prod", "lineage", "-m", "new", "--facts", &facts, "--yes",
    ];
    try_one("output-waive", &waive, 0);
    try_one("output-error", &["tenant", "show", "nobody"], 1);
    // What has gone wrong is told in the same shape: a finding, a tenant whose file has errors.
    let slip = "slug: dev-lab\nring: dev\nplan_tier: free\n";
    fleet
        .on("develop")
        .write("desired/tenants/dev-lab.yaml", slip)
        .commit("a slip");
    fleet.write("desired/tenants/dev-lab.yaml", slip);
    try_one("output-check", &["check", repo.to_str().unwrap()], 1);
    try_one("output-tenant-list", &["tenant", "list"], 0);
    try_one("output-plan", &["plan"], 0);
    fleet.on("main");
    // From the very first commit on, since that is the one that was accepted.
    let root = fleet.git(&["rev-list", "--max-parents=0", "HEAD"]);
    fleet.git(&["reset", "-q", "--soft", &root]);
    fleet.git(&["commit", "-q", "--amend", "-m", "another history"]);
    try_one("output-accept", &["accept", "main"], 0);
    assert!(left.is_empty(), "no verb was asked for {left:?}");
}
