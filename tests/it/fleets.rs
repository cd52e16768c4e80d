//! Whole fleets on disk: `tests/fleets/valid/*`, `tests/fleets/invalid/*`, and the example at the top level.
//!
//! A folder under `invalid` is laid over `valid/minimal` and is named after the code that it must give, with
//! `--which` where a code has several.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringfence::cli::findings::render;
use ringfence::diagnostic::{Findings, Severity};
use ringfence::digest::Digest;
use ringfence::fleet::check::{self, Report, check};
use ringfence::fleet::names::{RingName, Slug};
use ringfence::fleet::tree::{Entry, EntryKind, Tree, is_declared};
use ringfence::fleet::{base, content_id, policy, tenants};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Adds the declared files below `top` to a tree, as a work tree's reader does.
fn lay(tree: &mut Tree, top: &Path) {
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
            if meta.is_dir() {
                if is_declared(&format!("{name}/")) {
                    folders.push(path);
                }
                continue;
            }
            if !is_declared(&name) {
                continue;
            }
            let bytes = if meta.is_symlink() {
                Vec::new()
            } else {
                std::fs::read(&path).unwrap()
            };
            let kind = if meta.is_symlink() {
                EntryKind::Symlink
            } else {
                EntryKind::File
            };
            tree.insert(name, file(kind, &bytes));
        }
    }
}

fn file(kind: EntryKind, bytes: &[u8]) -> Entry {
    Entry {
        kind,
        oid: Digest::of_bytes(bytes).hex(),
        size: bytes.len() as u64,
        bytes: Arc::from(bytes),
    }
}

fn folders(of: &str) -> Vec<(String, PathBuf)> {
    let mut all: Vec<_> = std::fs::read_dir(root().join("tests/fleets").join(of))
        .unwrap()
        .map(|e| e.unwrap())
        .filter(|e| e.path().is_dir())
        .map(|e| (e.file_name().to_str().unwrap().to_owned(), e.path()))
        .collect();
    all.sort();
    all
}

fn minimal() -> Tree {
    let mut tree = Tree::default();
    lay(&mut tree, &root().join("tests/fleets/valid/minimal"));
    tree
}

fn with(files: &[(&str, &str)]) -> Tree {
    let mut tree = minimal();
    for (path, text) in files {
        tree.insert(*path, file(EntryKind::File, text.as_bytes()));
    }
    tree
}

fn codes(findings: &Findings) -> BTreeSet<&'static str> {
    findings.iter().map(|f| f.code).collect()
}

fn example() -> Report {
    let mut tree = Tree::default();
    lay(&mut tree, &root());
    check(&tree, "checkout")
}

#[test]
fn every_valid_fleet_checks_without_a_finding() {
    for (name, path) in folders("valid") {
        let mut tree = Tree::default();
        lay(&mut tree, &path);
        let report = check(&tree, "somewhere");
        assert_eq!(render(&report.findings, false), "", "{name}");
        assert!(report.policy.is_some());
        assert!(report.tenants.values().all(|t| t.tenant.is_some()));
    }
}

#[test]
fn every_rule_has_a_fleet_that_breaks_it() {
    let mut failed = Vec::new();
    for (name, path) in folders("invalid") {
        let mut tree = minimal();
        lay(&mut tree, &path);
        let findings = check(&tree, "somewhere").findings;
        let code = name.split("--").next().unwrap();
        let text = render(&findings, false);
        let snapshot = std::panic::catch_unwind(|| insta::assert_snapshot!(name.as_str(), text));
        if snapshot.is_err() || !codes(&findings).contains(code) {
            failed.push(format!("{name}: {:?}", codes(&findings)));
        }
        for finding in &findings {
            assert!(
                finding.help.is_some() || finding.severity == Severity::Note,
                "{name}: {finding:?} says no next step"
            );
            let at = finding.at.as_ref().unwrap();
            assert!(
                at.span.start <= at.source.text.len(),
                "{name}: {finding:?} has no place"
            );
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_finding_of_a_run_is_told_at_once() {
    let findings = check(
        &with(&[
            ("ringfence.yaml", "fleet: demo\nwibble: 1\n"),
            ("rings/rings.yaml", "rings:\n  dev: {id: 0, x: 1, y: 2}\n"),
            ("desired/plans.yaml", "plan: {}\n"),
            (
                "desired/tenants/acme.yaml",
                "slug: acme\nring: dev\nplan_tier: no\nwobble: 1\n",
            ),
        ]),
        "x",
    )
    .findings;
    let places: Vec<String> = findings
        .iter()
        .filter(|f| f.severity == Severity::Error)
        .map(|f| format!("{} {}", f.at.as_ref().unwrap(), f.code))
        .collect();
    assert_eq!(
        places,
        [
            "desired/plans.yaml:1:1 missing-key",
            "desired/plans.yaml:1:1 unknown-key",
            "desired/tenants/acme.yaml:3:12 unknown-value",
            "desired/tenants/acme.yaml:4:1 unknown-key",
            "ringfence.yaml:2:1 unknown-key",
            "rings/rings.yaml:2:16 unknown-key",
            "rings/rings.yaml:2:22 unknown-key",
        ]
    );
}

#[test]
fn submodules_and_large_files_are_refused_wherever_they_lie() {
    for path in [
        "ringfence.yaml",
        "rings/rings.yaml",
        "rings/other",
        "rings/pins/dev.yaml",
        "stacks/x.yaml",
        "desired/services/data",
        "desired/services/more.yaml",
        "desired/tenants/beta.yaml",
        "desired/secrets/acme/key.age",
        "desired/secrets/nobody/key.age",
        "desired/spirits/tenants/acme.md",
        "desired/spirits/tenants/nobody.md",
        "desired/spirits/x.md",
        "desired/plans.yaml",
    ] {
        let mut tree = minimal();
        tree.insert(path, file(EntryKind::Submodule, b""));
        let findings = check(&tree, "x").findings;
        let found = findings
            .iter()
            .any(|f| f.code == "submodule" && f.path() == Some(path));
        assert!(found, "{path}: {findings:?}");

        let mut large = file(EntryKind::File, b"");
        large.size = (1 << 20) + 1;
        tree.insert(path, large);
        let findings = check(&tree, "x").findings;
        let found = findings
            .iter()
            .any(|f| f.code == "too-large" && f.path() == Some(path));
        assert!(found, "{path}: {findings:?}");
    }
    let spirit = "x".repeat((256 << 10) + 1);
    let findings = check(&with(&[("desired/spirits/x.md", &spirit)]), "x").findings;
    assert!(codes(&findings).contains("too-large"));
}

#[test]
fn an_error_in_the_rings_leaves_no_policy_and_one_in_a_pin_only_no_pin() {
    let read = policy(&with(&[("rings/rings.yaml", "rings:\n  dev: {id: 1}\n")]), "x");
    assert!(read.policy.is_none() && read.findings.has_errors());
    let read = policy(&Tree::default(), "x");
    assert!(read.policy.is_none());
    assert_eq!(codes(&read.findings), BTreeSet::from(["missing-file"]));
    assert!(check(&Tree::default(), "x").findings.has_errors());
    let pin = "release: 8f2c1e00aa11bb22cc33dd44ee55ff6677889900\n";
    let read = policy(
        &with(&[
            ("rings/pins/dev.yaml", "release: 12\n"),
            ("rings/pins/prod.yaml", pin),
        ]),
        "x",
    );
    let pins = read.policy.unwrap().pins;
    assert_eq!(pins.keys().map(RingName::as_str).collect::<Vec<_>>(), ["prod"]);
    assert!(read.findings.has_errors());
    let read = policy(
        &with(&[("rings/pins/prod.yaml", &format!("{pin}wibble: 1\n"))]),
        "x",
    );
    assert!(
        read.policy.unwrap().pins.is_empty(),
        "a pin with any error is none"
    );
}

#[test]
fn the_example_fleet_checks_without_errors() {
    let report = example();
    assert_eq!(render(&report.findings, false), "");
    let names: Vec<&str> = report.tenants.keys().map(String::as_str).collect();
    assert_eq!(names, ["canary", "dev-lab", "platform", "staging"]);
    let stacks: Vec<&str> = report.base.stacks.stacks.keys().map(String::as_str).collect();
    assert_eq!(
        stacks,
        [
            "cloud-dsv4",
            "cloud-offload",
            "cloud-only",
            "dgx-hybrid",
            "elastic-hybrid",
            "hybrid-dsv4",
            "hyperscaler",
            "local-gemma4",
            "local-reasoning",
            "local-ultrathink",
            "ollama-hybrid",
            "ollama-only"
        ]
    );
    for stack in report.base.stacks.stacks.values() {
        assert!(!stack.description.is_empty());
        assert_eq!(stack.preview().len(), 10, "{}", stack.name);
    }
    assert_eq!(
        report
            .base
            .spirits
            .0
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>(),
        ["creative", "default", "teaching", "work"]
    );
}

#[test]
fn the_documents_of_the_design_are_taken_as_they_stand() {
    let rings = include_str!("../../rings/rings.yaml");
    let stack = r#"
stacks:
  hyperscaler:
    description: "TQ 3.5-bit Qwen3.5-35B — 3400+ tok/s, 1M context"
    requires_gpu: true
    vram_estimate_gb: 19
    vllm_tq_env: {VLLM_TQ_MODEL: "Qwen/Qwen3.5-35B-A3B-AWQ", VLLM_TQ_MAX_LEN: "1048576", VLLM_TQ_SERVED_NAME: "aither-hyperscaler"}
    effort_to_tier: {1: fast, 2: fast, 3: fast, 4: balanced, 5: balanced, 6: balanced, 7: deep, 8: deep, 9: agentic, 10: ultra}
    tier_backends:
      fast: {backend: vllm, model: aither-hyperscaler}
      deep: {backend: vllm, model: aither-hyperscaler}
      ultra: {backend: vllm, model: aither-hyperscaler}
"#;
    let tenant = r#"
slug: dev-lab
display_name: "Dev lab"
plan_tier: enterprise
ring: dev
stack: hyperscaler
spirit: work
services: [agent, web]           # by name; default: every tenant-scoped service of its profiles
profiles: [debug]
config_overrides: {LOG_LEVEL: debug, web: {THEME: dark}}       # a map named like a service goes to that service only
packages: {enable: [code-exec], disable: []}
resources: {memory: 1g, cpus: 1.5, pids: 256}      # may only tighten what the plan tier allows
network: {egress: allow}         # or deny
state: running                   # stopped (containers go, data stays), erased (data goes too); a file that is gone = stopped
metadata: {owner: dev@example.org}
created_at: 2026-11-22T00:00:00Z # optional
"#;
    let mut tree = Tree::default();
    lay(&mut tree, &root());
    for (path, text) in [
        ("ringfence.yaml", "fleet: aither\nplatform: [platform]\n"),
        ("rings/rings.yaml", rings),
        ("stacks/model-stacks.yaml", stack),
        ("desired/tenants/dev-lab.yaml", tenant),
    ] {
        tree.insert(path, file(EntryKind::File, text.as_bytes()));
    }
    for slug in ["canary", "staging", "platform"] {
        let text = format!("slug: {slug}\nplan_tier: starter\nring: staging\nstack: hyperscaler\n");
        tree.insert(
            format!("desired/tenants/{slug}.yaml"),
            file(EntryKind::File, text.as_bytes()),
        );
    }
    let report = check(&tree, "x");
    assert!(
        !report.findings.has_errors(),
        "{}",
        render(&report.findings, false)
    );
    // What is left: an undeclared target, and two tiers without a backend.
    insta::assert_snapshot!("design", render(&report.findings, false));
    let rings = report.policy.unwrap().rings.0;
    let asks: Vec<u32> = rings
        .iter()
        .filter_map(|r| Some(r.approvals.as_ref()?.required))
        .collect();
    assert_eq!(asks, [1], "prod alone asks for a word");
    assert_eq!(rings[0].branch.as_ref().unwrap().value, "develop");
    assert_eq!(rings[2].deployment_target.value, "local-docker");
    assert_eq!(rings[2].promote_from.as_ref().unwrap().as_str(), "staging");
}

#[test]
fn the_rings_of_the_example_are_those_of_the_design() {
    // This text must stay valid for ever.
    let rings = r#"rings:
  dev:
    id: 0
    name: "Development"
    description: "Local development ring — all changes land here first"
    environment: development
    branch: develop
    auto_deploy: true
    approval_required: false
    deployment_target: local-docker
    rollback_on_failure: true
  staging:
    id: 1
    name: "Staging"
    description: "Pre-production staging ring — demo.aitherium.com"
    environment: staging
    branch: staging
    auto_deploy: false
    approval_required: false
    deployment_target: docker-remote
  prod:
    id: 2
    name: "Production"
    description: "Live production ring — stable release"
    environment: production
    branch: main
    auto_deploy: false
    approval_required: true
"#;
    assert_eq!(include_str!("../../rings/rings.yaml"), rings);
}

#[test]
fn the_gates_of_a_ring_are_read() {
    let mut tree = Tree::default();
    lay(&mut tree, &root().join("tests/fleets/valid/everything"));
    let rings = policy(&tree, "x").policy.unwrap().rings;
    let prod = rings.get("prod").unwrap();
    assert_eq!(prod.soak_ms, 12 * 3600 * 1000);
    assert_eq!((prod.checks.len(), prod.windows.len()), (4, 2));
    assert_eq!(prod.approvals.as_ref().unwrap().required, 2);
    assert_eq!(prod.promote_from.as_ref().unwrap().as_str(), "dev");
    assert_eq!(
        (prod.rollout.observe_ms, prod.rollout.deadline_ms),
        (30_000, Some(300_000))
    );
    assert_eq!(rings.get("staging").unwrap().soak_ms, 0, "a soak of 0s is none");
}

#[test]
fn tenant_files_and_base_have_their_own_ids() {
    let before = minimal();
    let (content, files) = (content_id(&before), tenants(&before).tenants["acme"].files);
    assert_eq!(content, base(&before).base.content);
    for own in [
        "desired/tenants/acme.yaml",
        "desired/secrets/acme/k.age",
        "desired/spirits/tenants/acme.md",
        "desired/spirits/tenants/acme/web.md",
    ] {
        let after = with(&[(own, "slug: acme\nplan_tier: growth\nring: dev\n")]);
        assert_eq!(content_id(&after), content, "{own}");
        assert_ne!(tenants(&after).tenants["acme"].files, files, "{own}");
    }
    for shared in ["desired/plans.yaml", "stacks/x.yaml", "desired/services/new/.env"] {
        let after = with(&[(shared, "a: 1\n")]);
        assert_ne!(content_id(&after), content, "{shared}");
        assert_eq!(tenants(&after).tenants["acme"].files, files, "{shared}");
    }
    for neither in ["ringfence.yaml", "rings/rings.yaml", "desired/tenants/beta.yaml"] {
        let after = with(&[(neither, "a: 1\n")]);
        assert_eq!(content_id(&after), content, "{neither}");
        assert_eq!(tenants(&after).tenants["acme"].files, files, "{neither}");
    }
    let mut executable = minimal();
    let mut entry = executable.get("stacks/model-stacks.yaml").unwrap().clone();
    entry.kind = EntryKind::Executable;
    executable.insert("stacks/model-stacks.yaml", entry);
    assert_ne!(content_id(&executable), content, "the kind counts");
}

#[test]
fn the_ring_of_a_broken_tenant_file_is_still_known() {
    let read = tenants(&with(&[(
        "desired/tenants/acme.yaml",
        "slug: acme\nring: prod\nplan_tier: starter\nwibble: 1\n",
    )]));
    let acme = &read.tenants["acme"];
    assert!(acme.tenant.is_none());
    assert_eq!(acme.ring.as_ref().unwrap().as_str(), "prod");
}

#[test]
fn what_follows_from_a_tenant_is_the_table_of_the_design() {
    let report = example();
    let policy = report.policy.unwrap();
    let of = |slug: &str| {
        let tenant = report.tenants[slug].tenant.as_ref().unwrap();
        check::derived(&policy.settings, &report.base, tenant)
    };
    insta::assert_json_snapshot!(
        "derived",
        [of("dev-lab").all(), of("platform").all(), of("canary").all()]
    );
    assert_eq!(
        of("dev-lab").packages,
        ["code-exec", "document-store", "scheduled-runs", "web-search"]
    );
    assert_eq!(of("canary").packages, ["document-store", "web-search"]);
    let environment = of("dev-lab").environment();
    assert_eq!(environment.len(), 7);
    assert!(!environment.contains_key("TENANT_STACK"));

    // The id follows the fleet and the slug, and nothing else.
    let tenant = report.tenants["dev-lab"].tenant.as_ref().unwrap();
    let mut other = tenant.clone();
    other.display_name = "Another".into();
    assert_eq!(
        check::derived(&policy.settings, &report.base, &other).tenant_id,
        of("dev-lab").tenant_id
    );
    let mut settings = policy.settings.clone();
    settings.fleet = "another".into();
    assert_ne!(
        check::derived(&settings, &report.base, tenant).tenant_id,
        of("dev-lab").tenant_id
    );
    other.tenant_id = Some("given".into());
    assert_eq!(
        check::derived(&policy.settings, &report.base, &other).tenant_id,
        "given"
    );
    other.slug.value = "dev-lab2".parse::<Slug>().unwrap();
    other.tenant_id = None;
    assert_ne!(
        check::derived(&policy.settings, &report.base, &other).tenant_id,
        of("dev-lab").tenant_id
    );

    let vars = check::tenant_vars(&policy.settings, &report.base, tenant);
    assert_eq!(vars.common["LOG_LEVEL"], "debug");
    assert_eq!(vars.common["TENANT_STACK"], "hyperscaler");
    assert_eq!(vars.common["TENANT_EFFORT_CAP"], "-1");
    assert_eq!(vars.of_service["web"]["THEME"], "dark");
}
