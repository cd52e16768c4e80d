//! What only all files together, or tenants, decide; and input that nobody means.

use proptest::prelude::*;

use super::super::*;
use super::{told, tree, vars};
use crate::fleet::tree::EntryKind;

fn read(files: &[(&str, &str)]) -> (ComposeFiles, Findings) {
    let reader = Reader::new();
    let compose = ComposeFiles::read(&tree(files), &reader);
    (compose, told(reader))
}

fn codes(findings: &Findings) -> Vec<&'static str> {
    findings.iter().map(|f| f.code).collect()
}

#[test]
fn values_come_from_the_service_then_the_tenant_then_dotenv_then_the_default() {
    let text = "services:\n  web: {image: i, command: [\"${THEME:-d}\", \"${ONE_VERSION:-d}\", \"${GIVEN:-d}\", \"${NO:-d}\"]}\n  other: {image: i, command: [\"$THEME\"]}\n";
    let (compose, findings) = read(&[("t.yaml", text)]);
    assert!(findings.is_empty());
    let reader = Reader::new();
    let services = compose.resolve(&vars(), &reader);
    assert_eq!(
        services["web"].command.as_deref().unwrap(),
        ["dark", "1.2", "given", "d"]
    );
    assert_eq!(services["other"].command.as_deref().unwrap(), ["light"]);
}

#[test]
fn a_programs_yaml_beside_the_compose_file_that_mounts_it_is_no_compose_file() {
    let app = "services: {s: {image: i, volumes: [\"./prom.yml:/etc/prom.yml\"]}}\n";
    for prom in ["scrape_configs: []\n", "- a list\n", "a: !tag {\n"] {
        let (compose, findings) = read(&[("app.yaml", app), ("prom.yml", prom)]);
        assert_eq!(codes(&findings), ["means-less"], "{prom}");
        assert!(compose.declared().contains_key("s"));
    }
    // One that declares services is meant to be read.
    let (compose, _) = read(&[("app.yaml", app), ("prom.yml", "services: {t: {image: i}}\n")]);
    assert!(compose.declared().contains_key("t"));
}

#[test]
fn a_yaml_file_of_something_else_is_told_and_not_read_and_a_slip_in_a_compose_file_is_an_error() {
    let app = ("app.yaml", "services: {s: {image: i}}\n");
    for (name, text) in [
        ("other.yml", "scrape_configs: []\n"),
        ("pnpm-lock.yaml", "lockfileVersion: 9\npackages: {}\n"),
        ("register.yaml", "name: a\nconfig: {}\n"),
        ("ci.yaml", "name: CI\non: [push]\njobs: {}\n"),
    ] {
        let (compose, findings) = read(&[app, (name, text)]);
        assert_eq!(codes(&findings), ["not-compose"], "{name}");
        assert!(!findings.has_errors() && compose.declared().contains_key("s"));
    }
    let (_, alone) = read(&[("other.yml", "scrape_configs: []\n")]);
    assert!(alone.has_errors(), "what there is must be a Compose file");
    for (name, text) in [
        ("web.yaml", "- web: {image: i}\n"),
        ("web.yaml", "service:\n  web: {image: i}\n"),
        ("web.yaml", "Services: {web: {image: i}}\n"),
        ("web.yaml", "web: {image: i}\n"),
        ("web.yaml", "name: web\n"),
        ("web.yaml", "volumes: {data: {}}\n"),
        ("web.yaml", "x-base: {image: i}\n"),
        ("docker-compose.yml", "apiVersion: v1\nkind: Pod\n"),
    ] {
        let (_, findings) = read(&[app, (name, text)]);
        assert!(findings.has_errors(), "{name}: {text}");
    }
}

#[test]
fn an_image_that_a_tenant_could_change_is_refused_for_that_tenant() {
    let (compose, findings) = read(&[("t.yaml", "services: {s: {image: \"i:${ONE_VERSION:-1}\"}}\n")]);
    assert!(findings.is_empty());
    assert_eq!(compose.declared()["s"].image.value, "i:1.2");
    let reader = Reader::new();
    assert_eq!(compose.resolve(&vars(), &reader).len(), 1);
    let mut other = vars();
    other.common.insert("ONE_VERSION".to_owned(), "9".to_owned());
    let reader = Reader::new();
    assert!(compose.resolve(&other, &reader).is_empty());
    assert_eq!(codes(&told(reader)), ["tenant-image"]);
}

#[test]
fn a_service_with_an_error_is_absent_and_the_others_stay() {
    let text = "services: {a: {image: i, privileged: true}, b: {image: i}}\n";
    let (compose, findings) = read(&[("t.yaml", text)]);
    assert_eq!(codes(&findings), ["not-carried-out"]);
    let reader = Reader::new();
    let services = compose.resolve(&vars(), &reader);
    assert_eq!(services.keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!(
        codes(&told(reader)),
        ["not-carried-out"],
        "who resolves hears why"
    );
}

#[test]
fn a_service_that_uses_a_refused_volume_or_network_is_absent() {
    for (top, uses) in [
        ("volumes: {x: {external: true}}", "volumes: [x:/t]"),
        ("networks: {x: {external: true}}", "networks: [x]"),
        ("secrets: {x: {external: true}}", "secrets: [x]"),
        ("configs: {x: {file: ./none}}", "configs: [x]"),
    ] {
        let text = format!("services:\n  s:\n    image: i\n    {uses}\n{top}\n");
        let (compose, findings) = read(&[("t.yaml", &text)]);
        assert_eq!(findings.count(Severity::Error), 1, "{top}");
        assert!(compose.resolve(&vars(), &Reader::new()).is_empty(), "{top}");
    }
}

#[test]
fn a_volume_that_binds_a_path_is_a_mount_of_that_path() {
    let of = |options: &str, held: &[(&str, &str)]| {
        let text = format!(
            "services: {{s: {{image: i, volumes: [\"x:/t\"]}}}}\nvolumes: {{x: {{driver: local, driver_opts: {options}}}}}\n"
        );
        let mut files = vec![("t.yaml", text.as_str())];
        files.extend(held);
        let (compose, findings) = read(&files);
        let services = compose.resolve(&vars(), &Reader::new());
        let mount = services
            .get("s")
            .map(|s| (s.mounts[0].source.clone(), s.mounts[0].read_only));
        (mount, findings.count(Severity::Error))
    };
    let own = |name: &str| Some((service::MountSource::Volume(name.to_owned()), false));
    assert_eq!(
        of("{type: none, o: bind, device: ./data/db}", &[]),
        (own("data-db"), 0)
    );
    assert_eq!(
        of(
            "{type: none, o: \"rw,bind\", device: \"data/${TENANT_SLUG}\"}",
            &[]
        ),
        (own("data-acme"), 0)
    );
    let (held, errors) = of("{type: none, o: bind, device: ./conf}", &[("conf/a", "a")]);
    assert!(
        matches!(held, Some((service::MountSource::Release(_), true))) && errors == 0,
        "{held:?}"
    );
    for options in [
        "{type: none, o: bind, device: /srv}",
        "{type: nfs, o: \"addr=h\", device: \":/srv\"}",
        "{type: none, o: \"bind,uid=1\", device: ./x}",
        "{type: none, o: bind, device: ./x, more: y}",
    ] {
        assert_eq!(of(options, &[]), (None, 1), "{options}");
    }
}

#[test]
fn a_config_may_hold_a_tenants_values() {
    let text = "services: {s: {image: i, configs: [c]}}\nconfigs: {c: {content: \"for ${TENANT_SLUG}\"}}\n";
    let (compose, findings) = read(&[("t.yaml", text)]);
    assert!(findings.is_empty(), "{findings:?}");
    let services = compose.resolve(&vars(), &Reader::new());
    let service::MountSource::Release(set) = &services["s"].mounts[0].source else {
        panic!("a file of the release")
    };
    assert_eq!(set.files["c"].1.as_ref(), b"for acme");
}

#[test]
fn links_are_never_read_through() {
    let mut files = tree(&[(
        "t.yaml",
        "services: {s: {image: i, volumes: [./link:/t], env_file: link}}\n",
    )]);
    let mut entry = files.get("desired/services/files/token").unwrap().clone();
    entry.kind = EntryKind::Symlink;
    files.insert("desired/services/link", entry.clone());
    files.insert("desired/services/other.yaml", entry);
    let reader = Reader::new();
    ComposeFiles::read(&files, &reader);
    let findings = told(reader);
    assert_eq!(codes(&findings), ["unusable-file", "unusable-file"]);
}

#[test]
fn only_direct_children_are_compose_files() {
    let (compose, findings) = read(&[
        ("a.yaml", "services: {a: {image: i}}"),
        ("b.yml", "services: {b: {image: i}}"),
        ("sub/c.yaml", "not: compose"),
        (".hadolint.yaml", "ignored: [DL3008]"),
        (".yml", ""),
        ("readme.md", "# text"),
    ]);
    assert!(findings.is_empty());
    assert_eq!(compose.declared().keys().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn empty_and_broken_files_are_findings() {
    for (text, want) in [
        ("", "empty-file"),
        ("# nothing\n", "empty-file"),
        ("a: [\n", "syntax"),
        ("services:\n", "missing-key"),
        ("- a\n", "wrong-type"),
        (
            "services: {a: {image: i}}\n---\nservices: {}\n",
            "several-documents",
        ),
        ("services: {a: }\n", "missing-key"),
        ("services: {a: x}\n", "wrong-type"),
    ] {
        let (_, findings) = read(&[("t.yaml", text)]);
        assert!(
            codes(&findings).contains(&want),
            "{text:?}: {:?}",
            codes(&findings)
        );
    }
}

#[test]
fn what_does_not_depend_on_a_tenant_is_read_once() {
    let text =
        "services: {a: {image: i, environment: {A: b}}, b: {image: i, environment: {A: \"$GIVEN\"}}}\n";
    let (compose, _) = read(&[("t.yaml", text)]);
    let fixed = |name: &str| compose.contents.services[name].fixed.is_some();
    assert!(fixed("a") && !fixed("b"));
}

#[test]
fn texts_cannot_be_made_to_grow_without_end() {
    let mut env = String::from("A0=xxxxxxxxxxxxxxxx\n");
    for i in 1..40 {
        let before = i - 1;
        env.push_str(&format!("A{i}=${{A{before}}}${{A{before}}}\n"));
    }
    let (_, findings) = read(&[
        ("t.yaml", "services: {a: {image: i, env_file: grow.env}}\n"),
        ("grow.env", &env),
    ]);
    assert!(codes(&findings).contains(&"interpolation"));
}

#[test]
fn many_long_values_end_at_a_budget() {
    let long = "x".repeat(600_000);
    let mut env = format!("A={long}\n");
    for i in 0..40 {
        env.push_str(&format!("B{i}=$A\n"));
    }
    let (compose, findings) = read(&[("t.yaml", "services: {a: {image: i}}\n"), ("grow.env", &env)]);
    assert!(findings.is_empty());
    assert!(compose.contents.files[0].origin.dotenv.len() == 1);
    let (_, findings) = read(&[
        ("t.yaml", "services: {a: {image: i, env_file: grow.env}}\n"),
        ("grow.env", &env),
    ]);
    assert_eq!(codes(&findings), ["interpolation"], "of a file");
    let list = "\"${L:-}\", ".repeat(40);
    let (compose, _) = read(&[(
        "t.yaml",
        &format!("services: {{a: {{image: i, command: [{list}]}}}}\n"),
    )]);
    let vars = Vars {
        common: BTreeMap::from([("L".to_owned(), long)]),
        ..Vars::default()
    };
    let reader = Reader::new();
    assert!(compose.resolve(&vars, &reader).is_empty());
    assert_eq!(codes(&told(reader)), ["interpolation"], "of a service");
}

#[test]
fn two_sources_of_one_volume_are_told_also_when_only_a_tenant_makes_them_so() {
    let text = "services: {a: {image: i, volumes: [\"./${P}:/t\"]}, b: {image: i, volumes: [data:/t]}}\nvolumes: {data: }\n";
    let (compose, findings) = read(&[("t.yaml", text)]);
    assert!(findings.is_empty());
    for (path, want) in [("other", vec![]), ("data", vec!["volume-clash"])] {
        let vars = Vars {
            common: BTreeMap::from([("P".to_owned(), path.to_owned())]),
            ..Vars::default()
        };
        let reader = Reader::new();
        compose.resolve(&vars, &reader);
        let mut errors = codes(&told(reader));
        errors.retain(|c| *c != "means-less");
        assert_eq!(errors, want, "{path}");
    }
}

fn everything(bytes: &[u8]) {
    let mut files = tree(&[]);
    for (path, entry) in Tree::of_files([
        ("desired/services/x.yaml", bytes),
        ("desired/services/.env", bytes),
    ])
    .iter()
    {
        files.insert(path, entry.clone());
    }
    let reader = Reader::new();
    let compose = ComposeFiles::read(&files, &reader);
    compose.resolve(&vars(), &reader);
}

const WORDS: &[&str] = &[
    "services",
    "a",
    "b",
    "image",
    "nginx",
    "volumes",
    "./x:/y",
    "/x",
    "ports",
    "80:80",
    "environment",
    "A=$A",
    "${A:-b}",
    "depends_on",
    "healthcheck",
    "test",
    "deploy",
    "resources",
    "limits",
    "memory",
    "64m",
    "x-ringfence",
    "probe",
    "tcp",
    "5",
    "configs",
    "secrets",
    "networks",
    "file",
    "content",
    "external",
    "true",
    "null",
    "env_file",
    "command",
    "tmpfs",
];

fn node() -> impl Strategy<Value = String> {
    let word = proptest::sample::select(WORDS).prop_map(|w| format!("{w:?}"));
    word.prop_recursive(6, 40, 5, |inner| {
        let key = proptest::sample::select(WORDS);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|v| format!("[{}]", v.join(", "))),
            proptest::collection::vec((key, inner), 0..5).prop_map(|v| {
                let entries: Vec<String> = v.iter().map(|(k, n)| format!("{k}: {n}")).collect();
                format!("{{{}}}", entries.join(", "))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,200}") {
        everything(&bytes);
        everything(text.as_bytes());
    }

    #[test]
    fn any_shape_of_known_words_is_read_without_a_panic(service in node(), top in node()) {
        everything(format!("services: {{a: {service}, b: {{image: nginx, volumes: {top}}}}}\nvolumes: {top}\nconfigs: {top}\n").as_bytes());
    }

    #[test]
    fn what_is_resolved_had_no_error(service in node()) {
        let text = format!("services: {{a: {service}}}\n");
        let (compose, _) = read(&[("t.yaml", &text)]);
        let reader = Reader::new();
        let services = compose.resolve(&vars(), &reader);
        prop_assert!(services.is_empty() || !told(reader).has_errors());
    }
}
