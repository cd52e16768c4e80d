//! Files that build on others: `extends` and `include`.

use super::super::*;
use super::{told, tree, vars};

fn resolved(files: &[(&str, &str)]) -> (BTreeMap<String, Arc<Service>>, Vec<String>) {
    let reader = Reader::new();
    let compose = ComposeFiles::read(&tree(files), &reader);
    let mut all = told(reader);
    let reader = Reader::new();
    let services = compose.resolve(&vars(), &reader);
    all.extend(told(reader));
    all.tidy();
    let codes = all
        .iter()
        .filter(|f| f.severity != Severity::Note)
        .map(|f| format!("{} {}", f.code, f.at.as_ref().unwrap()))
        .collect();
    (services, codes)
}

#[test]
fn a_service_begins_as_the_one_that_it_extends() {
    let text = "services:
  base:
    image: i
    command: [a]
    environment: [A=1, B=2]
    volumes: [\"./one:/x\", \"./two:/y\"]
    ports: [80]
    labels: {l: base}
    deploy: {resources: {limits: {memory: 64m, pids: 9}}}
    healthcheck: {test: [CMD, a], interval: 5s}
    depends_on: [db]
  db: {image: d}
  web:
    extends: base
    command: [b]
    environment: {B: 3, C: 4}
    volumes: [\"./three:/y\"]
    ports: [81]
    deploy: {resources: {limits: {memory: 65m}}}
    healthcheck: {test: [CMD, b]}
";
    let (services, codes) = resolved(&[("t.yaml", text)]);
    assert_eq!(codes, Vec::<String>::new());
    let web = &services["web"];
    assert_eq!(web.image.value, "i");
    assert_eq!(web.command.as_deref().unwrap(), ["b"]);
    let env: Vec<_> = web.environment.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(env, ["A=1", "B=3", "C=4"]);
    let mounts: Vec<_> = web
        .mounts
        .iter()
        .map(|m| format!("{:?}{}", m.source, m.target))
        .collect();
    assert_eq!(mounts, ["Volume(\"one\")/x", "Volume(\"three\")/y"]);
    assert_eq!(
        web.ports.iter().map(|p| p.container).collect::<Vec<_>>(),
        [80, 81]
    );
    assert_eq!((web.limits.memory, web.limits.pids), (Some(65 << 20), Some(9)));
    assert!(web.depends_on.contains_key("db"));
    assert!(
        matches!(&web.healthcheck, Some(service::Healthcheck::Set { test: Some(t), interval_ms: Some(5000), .. }) if t[1] == "b")
    );
}

#[test]
fn a_file_of_a_folder_is_extended_with_its_own_paths() {
    let (services, codes) = resolved(&[
        (
            "t.yaml",
            "services: {web: {extends: {file: ./base/common.yml, service: app}, environment: {A: own}}}\n",
        ),
        (
            "base/common.yml",
            "services:\n  app:\n    extends: root\n    env_file: app.env\n    volumes: [\"./conf:/c\", \"./data:/d\", {type: bind, source: ./more, target: /m}]\n  root: {image: i}\n",
        ),
        ("base/app.env", "A=file\nB=file\n"),
        ("base/conf/x", "x"),
    ]);
    assert_eq!(codes, Vec::<String>::new());
    let web = &services["web"];
    assert_eq!(services.len(), 1, "what is extended does not run");
    assert_eq!(
        (web.environment["A"].as_str(), web.environment["B"].as_str()),
        ("own", "file")
    );
    let sources: Vec<_> = web
        .mounts
        .iter()
        .map(|m| match &m.source {
            service::MountSource::Volume(name) => name.clone(),
            service::MountSource::Release(set) => format!("{:?}", set.files.keys().collect::<Vec<_>>()),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(sources, ["[\"x\"]", "base-data", "base-more"]);
}

#[test]
fn what_cannot_be_extended_has_its_place() {
    for (text, want) in [
        (
            "services: {a: {extends: b}, b: {extends: a, image: i}}",
            "extends-cycle",
        ),
        ("services: {a: {extends: a, image: i}}", "extends-cycle"),
        ("services: {a: {extends: nobody, image: i}}", "unknown-service"),
        (
            "services: {a: {extends: {file: ./none.yml, service: b}}}",
            "missing-file",
        ),
        ("services: {a: {extends: {file: ../x.yml, service: b}}}", "path"),
        (
            "services: {a: {extends: {file: /x.yml, service: b}}}",
            "host-path",
        ),
        ("services: {a: {extends: {file: ./x.yml}}}", "missing-key"),
    ] {
        let (services, codes) = resolved(&[("t.yaml", text)]);
        assert!(services.is_empty(), "{text}");
        assert!(
            codes[0].starts_with(&format!("{want} desired/services/t.yaml:1:")),
            "{text}: {codes:?}"
        );
    }
    let many: String = (0..40)
        .map(|i| format!("  s{i}: {{extends: s{}, image: i}}\n", i + 1))
        .collect();
    let (_, codes) = resolved(&[("t.yaml", &format!("services:\n{many}  s40: {{image: i}}\n"))]);
    assert!(codes[0].starts_with("extends-cycle"), "{codes:?}");
}

#[test]
fn an_included_file_has_its_own_folder_and_values() {
    let (services, codes) = resolved(&[
        (
            "t.yaml",
            "include:\n  - ./sub/compose.yaml\n  - {path: other/compose.yaml, env_file: other/x.env}\nservices: {web: {image: i, depends_on: [db]}}\n",
        ),
        (
            "sub/compose.yaml",
            "services: {db: {image: \"d:$V\", volumes: [\"./data:/d\", \"v:/v\"], env_file: own.env}}\nvolumes: {v: }\n",
        ),
        ("sub/.env", "V=2\nONE_VERSION=never\n"),
        ("sub/own.env", "X=${ONE_VERSION}\n"),
        ("other/compose.yaml", "services: {more: {image: \"m:$W\"}}\n"),
        ("other/x.env", "W=3\n"),
    ]);
    assert_eq!(codes, Vec::<String>::new());
    assert_eq!(services["db"].image.value, "d:2");
    assert_eq!(
        services["db"].environment["X"], "1.2",
        "who includes knows better"
    );
    assert_eq!(services["more"].image.value, "m:3");
    let volumes: Vec<_> = services["db"].mounts.iter().map(|m| m.source.clone()).collect();
    assert_eq!(
        volumes,
        ["sub-data", "v"].map(|v| service::MountSource::Volume(v.to_owned()))
    );
}

#[test]
fn files_of_one_include_are_laid_over_each_other() {
    let (services, codes) = resolved(&[
        (
            "t.yaml",
            "include: [{path: [app/compose.yaml, ops/prod.yaml], env_file: app/x.env}]\n",
        ),
        (
            "app/compose.yaml",
            "services:\n  web: {image: \"w:$V\", command: [a, b], environment: {A: 1, B: 1}, volumes: [\"./data:/d\", \"v:/v\"]}\n  db: {image: d}\nvolumes: {v: }\n",
        ),
        (
            "ops/prod.yaml",
            "services:\n  web: {extends: {file: ./common.yaml, service: base}, command: [c], environment: [\"B=2\"], volumes: [\"w:/v\"]}\n  job: {image: j}\nvolumes: {w: }\n",
        ),
        // Paths of every one of the files start from the first one's folder.
        (
            "app/common.yaml",
            "services: {base: {environment: {A: 3, C: 3}}}\n",
        ),
        ("app/x.env", "V=7\n"),
    ]);
    assert_eq!(codes, Vec::<String>::new());
    let web = &services["web"];
    assert_eq!(web.image.value, "w:7");
    let environment: Vec<_> = web.environment.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(
        environment,
        ["A=3", "B=2", "C=3"],
        "what it extends is laid over, too"
    );
    assert_eq!(format!("{:?}", web.command), r#"Some(["c"])"#);
    let mounts: Vec<_> = web
        .mounts
        .iter()
        .map(|m| (m.source.clone(), m.target.clone()))
        .collect();
    let volume = |name: &str| service::MountSource::Volume(name.to_owned());
    assert_eq!(
        mounts,
        [
            (volume("app-data"), "/d".to_owned()),
            (volume("w"), "/v".to_owned())
        ]
    );
    assert_eq!(services.keys().collect::<Vec<_>>(), ["db", "job", "web"]);
}

#[test]
fn what_is_reset_is_gone_and_what_is_overridden_is_not_merged() {
    let base = (
        "base.yaml",
        "services:\n  web: {image: w, command: [a], ports: [\"8080:80\"], environment: {A: 1, B: 1}, volumes: [\"v:/v\"], mem_limit: 64m}\n  db: {image: d}\nvolumes: {v: }\n",
    );
    let over = (
        "over.yaml",
        "services:\n  web: {command: !reset null, ports: !reset [], environment: {A: !reset null, C: 3}, volumes: !override [\"w:/w\"], mem_limit: !reset }\n  db: !reset null\n  no: !reset {image: n}\nvolumes: {w: , x: !reset {}}\n",
    );
    let (services, codes) = resolved(&[
        ("t.yaml", "include: [{path: [base.yaml, over.yaml]}]\n"),
        base,
        over,
    ]);
    assert_eq!(codes, Vec::<String>::new());
    assert_eq!(services.keys().collect::<Vec<_>>(), ["web"]);
    let web = &services["web"];
    assert!(web.command.is_none() && web.ports.is_empty() && web.limits.memory.is_none());
    let environment: Vec<_> = web.environment.keys().map(String::as_str).collect();
    assert_eq!(environment, ["B", "C"]);
    let targets: Vec<_> = web.mounts.iter().map(|m| m.target.as_str()).collect();
    assert_eq!(targets, ["/w"]);

    // The same where a service extends another, and where nothing is laid over anything.
    let own = "services: {web: {extends: {file: base.yaml, service: web}, ports: !reset [], environment: !override {Z: 1}}}\nvolumes: {v: }\n";
    let (services, codes) = resolved(&[("t.yaml", own), base]);
    assert_eq!(codes, ["means-less desired/services/base.yaml:3:3"]);
    assert!(services["web"].ports.is_empty());
    assert_eq!(services["web"].environment.keys().collect::<Vec<_>>(), ["Z"]);
    let alone = "services:\n  web: {image: w, ports: !reset [\"1:1\"], environment: !override {A: 1}}\n  gone: !reset {image: g}\n";
    let (services, codes) = resolved(&[("t.yaml", alone)]);
    assert_eq!(codes, Vec::<String>::new());
    assert!(services["web"].ports.is_empty() && services["web"].environment["A"] == "1");
    assert!(!services.contains_key("gone"));
    // What a service extends does not use it up for the files below, and a third file begins anew.
    let more = (
        "more.yaml",
        "services: {web: {extends: {service: own}, ports: !reset [], labels: !override {b: c}}, own: {image: o}}\n",
    );
    let third = ("third.yaml", "services: {web: {ports: [\"9:9\"]}}\n");
    let labelled = base.1.replace("command: [a]", "labels: {a: b}, command: [a]");
    let include = |files: &str| format!("include: [{{path: [{files}]}}]\n");
    let (services, codes) = resolved(&[
        ("t.yaml", &include("base.yaml, more.yaml")),
        ("base.yaml", &labelled),
        more,
    ]);
    assert_eq!(codes, Vec::<String>::new());
    assert!(services["web"].ports.is_empty());
    assert_eq!(services["web"].labels.keys().collect::<Vec<_>>(), ["b"]);
    let files = [
        ("t.yaml", &*include("base.yaml, more.yaml, third.yaml")),
        ("base.yaml", &*labelled),
        more,
        third,
    ];
    let (services, _) = resolved(&files);
    assert_eq!(services["web"].ports.len(), 1);
    // They say something of a key's value, nothing else.
    for text in [
        "services: {web: {image: w, ports: [!reset \"1:1\"]}}\n",
        "!reset {services: {web: {image: w}}}\n",
        "services: {web: {image: w, labels: !other {}}}\n",
    ] {
        let (_, codes) = resolved(&[("t.yaml", text)]);
        assert!(codes.iter().any(|c| c.starts_with("tag ")), "{text} {codes:?}");
    }
}

#[test]
fn paths_of_other_files_are_settled_before_any_tenant() {
    let other = ("sub/other.yaml", "services: {one: {image: \"o:1\"}}\n");
    let extends = |service: &str, file: &str| {
        format!("services: {{web: {{extends: {{file: \"{file}\", service: \"{service}\"}}}}}}\n")
    };
    for text in [
        extends("${KIND:-one}", "./${WHERE:-sub}/other.yaml"),
        extends("one", "./sub/${ONE_VERSION}.yaml"),
        "include: [\"${WHERE:-sub}/other.yaml\"]\nservices: {web: {image: \"o:1\"}}\n".to_owned(),
        "include: [{path: [\"sub/$ONE_VERSION.yaml\"]}]\nservices: {web: {image: \"o:1\"}}\n".to_owned(),
    ] {
        let files = [("t.yaml", text.as_str()), other, ("sub/1.2.yaml", other.1)];
        let (services, codes) = resolved(&files);
        assert_eq!(codes, Vec::<String>::new(), "{text}");
        assert_eq!(services["web"].image.value, "o:1", "{text}");
    }
    for (text, want) in [
        (extends("$KIND", "./sub/other.yaml"), "missing-variable"),
        (extends("one", "./$TENANT_SLUG.yaml"), "no-variables"),
        // A tenant gives this one.
        (extends("${THEME:-one}", "./sub/other.yaml"), "no-variables"),
        ("include: [\"$WHERE\"]\n".to_owned(), "missing-variable"),
        (
            "include: [\"${GIVEN:-sub}/other.yaml\"]\n".to_owned(),
            "no-variables",
        ),
    ] {
        let (services, codes) = resolved(&[("t.yaml", &text), other]);
        assert!(services.is_empty(), "{text}");
        let codes: Vec<_> = codes.iter().map(|c| c.split(' ').next().unwrap()).collect();
        assert_eq!(codes, [want], "{text}");
    }
}

#[test]
fn a_file_that_another_names_is_read_through_it_only() {
    let template = ("common.yml", "services: {web: {environment: {A: b}}}\n");
    let own = "services: {web: {extends: {file: common.yml, service: web}, image: w}}\n";
    let (services, codes) = resolved(&[("t.yaml", own), template]);
    assert_eq!(codes, Vec::<String>::new(), "one name in both is one service");
    assert_eq!(services["web"].environment["A"], "b");
    // Whole services that are only extended do not run, as with Compose, and a warning says so.
    let whole = ("common.yml", "services: {base: {image: b}, more: {image: m}}\n");
    let own = "services: {web: {extends: {file: ./common.yml, service: base}}}\n";
    let (services, codes) = resolved(&[("t.yaml", own), whole]);
    assert_eq!(codes, ["means-less desired/services/common.yml:1:12"]);
    assert_eq!(services.keys().collect::<Vec<_>>(), ["web"]);
    // With `include` they do, also below another file, or laid over it.
    for (include, want) in [
        ("include: [common.yml]\n", "[\"base\", \"more\", \"web\"]"),
        ("include: [sub/x.yml]\n", "[\"base\", \"more\", \"web\"]"),
    ] {
        let text = format!("{include}{own}");
        let files = [
            ("t.yaml", text.as_str()),
            whole,
            ("sub/x.yml", "include: [../common.yml]\n"),
        ];
        let (services, codes) = resolved(&files);
        assert_eq!(codes, Vec::<String>::new());
        assert_eq!(format!("{:?}", services.keys().collect::<Vec<_>>()), want);
    }
    let (services, codes) = resolved(&[
        ("t.yaml", "include: [{path: [a.yml, b.yml]}]\n"),
        ("a.yml", "services: {web: {image: w, user: a}}\n"),
        ("b.yml", "services: {web: {user: b}}\n"),
    ]);
    assert_eq!(codes, Vec::<String>::new());
    assert_eq!(services["web"].user.as_deref(), Some("b"));
    // Files that extend each other are each read.
    let (services, codes) = resolved(&[
        (
            "a.yml",
            "services: {a: {extends: {file: b.yml, service: b}}, x: {image: x}}\n",
        ),
        (
            "b.yml",
            "services: {b: {image: b}, y: {extends: {file: a.yml, service: x}}}\n",
        ),
    ]);
    assert_eq!(codes, Vec::<String>::new());
    assert_eq!(services.keys().collect::<Vec<_>>(), ["a", "b", "x", "y"]);
    // Files that include each other are told so.
    let (_, codes) = resolved(&[("a.yml", "include: [b.yml]\n"), ("b.yml", "include: [a.yml]\n")]);
    assert!(codes.iter().any(|c| c.starts_with("include-cycle")), "{codes:?}");
}

#[test]
fn includes_end() {
    for (files, want) in [
        (
            vec![
                ("t.yaml", "include: [a/b.yml]\n"),
                ("a/b.yml", "include: [../a/b.yml]\n"),
            ],
            "include-cycle desired/services/a/b.yml:1:11",
        ),
        (
            vec![("t.yaml", "include: [a/none.yml]\n")],
            "missing-file desired/services/t.yaml:1:11",
        ),
        (
            vec![("t.yaml", "include: [\"oci://x/y\"]\n")],
            "host-path desired/services/t.yaml:1:11",
        ),
        (
            vec![("t.yaml", "include: [../../x.yml]\n")],
            "path desired/services/t.yaml:1:11",
        ),
        (
            vec![
                ("t.yaml", "include: [{path: [a/b.yml, a/c.yml]}]\n"),
                ("a/b.yml", "services: {}\n"),
            ],
            "missing-file desired/services/t.yaml:1:28",
        ),
        (
            vec![
                ("t.yaml", "include: [{path: [a/b.yml, a/c.yml]}]\n"),
                ("a/b.yml", "services: {}\n"),
                ("a/c.yml", "include: [b.yml]\n"),
            ],
            "include-cycle desired/services/a/c.yml:1:11",
        ),
        (
            vec![("t.yaml", "include: [{path: []}]\n")],
            "wrong-type desired/services/t.yaml:1:18",
        ),
    ] {
        assert_eq!(resolved(&files).1, [want], "{files:?}");
    }
    let mut files: Vec<(String, String)> = (0..20)
        .map(|i| (format!("d/{i}.yml"), format!("include: [./{}.yml]\n", i + 1)))
        .collect();
    files.push(("t.yaml".to_owned(), "include: [d/0.yml]\n".to_owned()));
    let files: Vec<(&str, &str)> = files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert!(resolved(&files).1[0].starts_with("include-cycle"));
}

#[test]
fn a_config_may_come_from_a_variable() {
    let (services, codes) = resolved(&[(
        "t.yaml",
        "services: {s: {image: i, configs: [c]}}\nconfigs: {c: {environment: GIVEN}}\n",
    )]);
    assert_eq!(codes, Vec::<String>::new());
    let service::MountSource::Release(set) = &services["s"].mounts[0].source else {
        panic!("a file")
    };
    assert_eq!(set.files["c"].1.as_ref(), b"given");
    let (services, codes) = resolved(&[(
        "t.yaml",
        "services: {s: {image: i, configs: [c]}}\nconfigs: {c: {environment: NOBODY}}\n",
    )]);
    assert!(services.is_empty());
    assert_eq!(codes, ["missing-variable desired/services/t.yaml:2:28"]);
}
