//! Whole projects, as people have them.

use super::*;

const SCAFFOLD: &[(&str, &str)] = &[
    (
        "ringfence.yaml",
        "fleet: demo\ninstance: demo\ncontrol_branch: main\n",
    ),
    ("rings/rings.yaml", "rings:\n  dev: {id: 0, auto_deploy: true}\n"),
    (
        "desired/tenants/lab.yaml",
        "slug: lab\nplan_tier: starter\nring: dev\nspirit: default\n",
    ),
    ("desired/spirits/default.md", "Plain.\n"),
];

fn run(files: &[(&str, &str)], beside: &[(&str, &[u8])]) -> Result<(Imported, Vec<String>), Findings> {
    let scaffold: Vec<(String, Vec<u8>)> = SCAFFOLD
        .iter()
        .map(|(p, t)| ((*p).to_owned(), t.as_bytes().to_vec()))
        .collect();
    let files: Vec<ComposeFile> = files
        .iter()
        .map(|(path, text)| ComposeFile {
            name: (*path).to_owned(),
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        })
        .collect();
    let lookup = |path: &str| {
        if let Some((_, bytes)) = beside.iter().find(|(p, _)| *p == path) {
            return Found::File(bytes.to_vec(), false);
        }
        let inside: Vec<_> = beside
            .iter()
            .filter_map(|(p, b)| {
                let name = p.strip_prefix(path)?.strip_prefix('/')?;
                Some((name.to_owned(), b.to_vec(), false))
            })
            .collect();
        if inside.is_empty() {
            Found::Nothing
        } else {
            Found::Folder(inside)
        }
    };
    let imported = import(&scaffold, "demo", &files, &lookup)?;
    let said = imported
        .changes
        .iter()
        .map(|f| format!("{} {} {}", f.code, f.at.as_ref().unwrap(), f.message))
        .collect();
    Ok((imported, said))
}

fn text(imported: &Imported, path: &str) -> String {
    let (bytes, _) = imported
        .files
        .get(&format!("desired/services/{path}"))
        .unwrap_or_else(|| panic!("no {path}: {:?}", imported.files.keys()));
    String::from_utf8(bytes.clone()).unwrap()
}

#[test]
fn a_project_that_needs_nothing_stays_as_it_is() {
    let compose = "# mine\nservices:\n  web:   # said\n    image: nginx\n";
    let (imported, said) = run(&[("compose.yaml", compose)], &[]).unwrap();
    assert_eq!(said, Vec::<String>::new());
    assert_eq!(text(&imported, "compose.yaml"), compose);
    assert_eq!(imported.services, 1);
}

#[test]
fn a_service_whose_name_has_dots_gets_one_without_and_keeps_the_old_one() {
    let compose = "services:
  ca.example.com:
    image: ca
    container_name: ca.example.com
  db.example.com:
    # its data
    image: db
    container_name: db
  peer.example.com: {image: peer, depends_on: [ca.example.com]}
  web:
    image: web
    depends_on:
      db.example.com: {condition: service_started}
    links: [\"peer.example.com:peer\"]
  app:
    extends: {service: ca.example.com}
    container_name: app
";
    let (imported, said) = run(&[("compose.yaml", compose)], &[]).unwrap();
    let want = "services:
  ca-example-com:
    image: ca
    container_name: ca.example.com
  db-example-com:
    # its data
    hostname: \"db.example.com\"
    image: db
    container_name: db
  peer-example-com: {container_name: \"peer.example.com\", image: peer, depends_on: [ca-example-com]}
  web:
    image: web
    depends_on:
      db-example-com: {condition: service_started}
    links: [\"peer-example-com:peer\"]
  app:
    extends: {service: ca-example-com}
    container_name: app
";
    assert_eq!(text(&imported, "compose.yaml"), want, "{said:#?}");
    assert_eq!(imported.services, 5);
    assert!(said.iter().all(|s| s.starts_with("changed ")), "{said:#?}");
    // Where the name is taken, nothing is made up, and nothing is taken for it.
    let taken =
        "services:\n  a.b:\n    image: x\n  a-b:\n    image: y\n  web: {image: w, depends_on: [a.b]}\n";
    let (imported, said) = run(&[("compose.yaml", taken)], &[]).unwrap();
    assert_eq!(imported.services, 2);
    assert!(said[0].contains("the service `a.b` is left out"), "{said:#?}");
    assert!(
        text(&imported, "compose.yaml").contains("depends_on: []"),
        "{said:#?}"
    );
    // Braces over several lines, and names of another file.
    let (imported, _) = run(
        &[
            ("compose.yaml", "services:\n  a.b: {\n    image: x\n  }\n"),
            ("other.yaml", "services: {web: {image: w, depends_on: [a.b]}}\n"),
        ],
        &[],
    )
    .unwrap();
    let want = "services:\n  a-b: {\n    container_name: \"a.b\", image: x\n  }\n";
    assert_eq!(text(&imported, "compose.yaml"), want);
    assert!(text(&imported, "other.yaml").contains("depends_on: [a-b]"));
}

#[test]
fn what_a_tenant_cannot_have_is_commented_out_with_its_place() {
    let compose = "# mine
version: '3'
services:
  # the proxy
  proxy:
    image: proxy
    container_name: proxy # its name
    privileged: true
    cap_add:
      - NET_ADMIN
      - CHOWN
    volumes:
      - /var/run/docker.sock:/var/run/docker.sock:ro
      - /srv/media:/media
      - /etc/localtime:/etc/localtime
      - ${DATA:-/mnt/pool}/x:/x
      - /lib/modules:/lib/modules
    ports: [\"0.0.0.0:80:80\", 443:443]
    restart: always
    networks: [web, inner]
  app:
    build: .
    depends_on: [proxy]
  client:
    image: client
    network_mode: service:proxy
  more:
    image: more:${TAG}
    environment:
      PASSWORD: ${PASSWORD}
      NEEDED: ${NEEDED:?say it}
      DOLLAR: a${1}
    enviroment: {A: b}
    ports: [\"${PORT}:81\"]
    depends_on: [app, proxy]
networks:
  web:
    external: true
  inner:
";
    let (imported, said) = run(&[("docker-compose.yml", compose)], &[]).unwrap();
    insta::assert_snapshot!(format!(
        "{}\n----- .env\n{}\n----- said\n{}",
        text(&imported, "docker-compose.yml"),
        text(&imported, ".env"),
        said.join("\n")
    ));
}

#[test]
fn one_value_answers_all_that_is_said_of_its_variable() {
    let compose = "services:
  web:
    image: web:${TAG}
    command: serve $DATA
    environment: {A: $KEY, B: \"${KEY:?}\", C: $A1$A2$A3$A4$A5}
    volumes:
      - ${DATA}/a:/a
      - ${DATA}/b:/b
      - {type: bind, source: \"${DATA}/c\", target: /c}
    ports: [\"${PORT}:80\", \"${PORT}:80/udp\"]
  more:
    image: more:${TAG}
    volumes: [\"${DATA}/b:/b\"]
";
    let (imported, said) = run(&[("compose.yaml", compose)], &[]).unwrap();
    assert_eq!(text(&imported, "compose.yaml"), compose);
    assert_eq!(imported.services, 2);
    let dotenv = text(&imported, ".env");
    for line in [
        "TAG=latest\n",
        "DATA=./data\n",
        "KEY=change-me\n",
        "PORT=80\n",
        "A5=\n",
    ] {
        assert!(dotenv.contains(line), "{line}: {dotenv}");
    }
    assert!(said.iter().all(|s| s.starts_with("given ")), "{said:#?}");
    assert_eq!(said.len(), 9, "{said:#?}");
}

#[test]
fn a_mount_or_port_in_its_long_form_is_changed_or_left_out_as_a_whole() {
    let compose = "services:
  web:
    image: web
    volumes:
      - type: bind
        source: /DATA/AppData/$APP/config
        target: /config
      - target: /lib/modules
        type: bind
        source: /lib/modules
        bind: {create_host_path: true}
      - {type: bind, source: /var/run/docker.sock, target: /var/run/docker.sock}
      - type: volume
        source: data
        target: /data
        wibble: x
    ports:
      - target: 80
        published: 80
        host_ip: 10.0.0.1
      - target: 81
volumes: {data: }
";
    let (imported, said) = run(&[("compose.yaml", compose)], &[]).unwrap();
    insta::assert_snapshot!(format!(
        "{}\n----- said\n{}",
        text(&imported, "compose.yaml"),
        said.join("\n")
    ));
}

#[test]
fn configuration_is_copied_and_data_is_not() {
    let compose = "services:
  web:
    image: nginx
    env_file: [web.env, none.env]
    volumes:
      - ./nginx.conf:/etc/nginx/nginx.conf
      - ./conf.d:/etc/nginx/conf.d
      - ./data:/data
      - ./empty:/empty
    secrets: [key]
secrets: {key: {file: ./key.txt}}
";
    let beside: &[(&str, &[u8])] = &[
        (".env", b"A=1\nnot a line\n"),
        ("web.env", b"B=$A\n"),
        ("nginx.conf", b"events {}\n"),
        ("conf.d/site.conf", b"server {}\n"),
        ("data/db", b"\xff\x00data"),
        ("key.txt", b"k"),
    ];
    let (imported, said) = run(&[("compose.yaml", compose)], beside).unwrap();
    assert_eq!(text(&imported, "compose.yaml"), compose);
    assert_eq!(text(&imported, ".env"), "A=1\n# not a line\n");
    let has = |path: &str| imported.files.contains_key(&format!("desired/services/{path}"));
    assert!(has("nginx.conf") && has("conf.d/site.conf") && has("key.txt") && has("none.env"));
    assert!(!has("data/db"));
    let codes: Vec<&str> = said.iter().map(|s| s.split(' ').next().unwrap()).collect();
    assert_eq!(codes.iter().filter(|c| **c == "copied").count(), 5, "{said:#?}");
    assert_eq!(codes.iter().filter(|c| **c == "given").count(), 1, "{said:#?}");
    assert_eq!(codes.iter().filter(|c| **c == "left-out").count(), 2, "{said:#?}");
}

#[test]
fn a_file_that_another_extends_is_taken_along_and_does_not_run() {
    let compose = "services: {web: {extends: {file: common.yml, service: base}}}\n";
    assert!(names_a_sibling(compose));
    let common = b"services:\n  base:\n    image: nginx\n    privileged: true\n  other: {image: other}\n";
    let (imported, said) = run(&[("shop/compose.yaml", compose)], &[("shop/common.yml", common)]).unwrap();
    assert_eq!(imported.services, 1);
    assert!(text(&imported, "shop/common.yml").contains("# privileged: true"));
    assert!(text(&imported, "imported.yaml").contains("\"shop/compose.yaml\""));
    assert!(said[0].starts_with("left-out shop/common.yml:4:5"), "{said:?}");
}

#[test]
fn what_lies_outside_of_the_project_is_an_empty_volume_and_said_to_be_one() {
    let compose = "services: {web: {image: i, volumes: [\"../data:/data\"]}}\n";
    let (imported, said) = run(&[("compose.yaml", compose)], &[]).unwrap();
    assert_eq!(text(&imported, "compose.yaml"), compose);
    assert_eq!(
        said,
        [
            "left-out compose.yaml:1:38 `../data` lies outside of the project: it becomes a volume of the tenant's own, which is empty"
        ]
    );
    let compose = "services: {web: {image: i, volumes: [\"./:/data\"]}}\n";
    let (_, said) = run(&[("compose.yaml", compose)], &[]).unwrap();
    assert_eq!(
        said,
        [
            "changed compose.yaml:1:38 `./` is the whole project: its container sees what is copied of it, read-only"
        ]
    );
}

#[test]
fn a_path_of_the_shells_own_folder_is_one_of_the_project() {
    let compose =
        "services: {web: {image: i, volumes: [\"${PWD}/conf/a.xml:/a.xml\", \"$PWD/data:/data\"]}}\n";
    let (imported, said) = run(&[("compose.yaml", compose)], &[("conf/a.xml", b"<a/>")]).unwrap();
    assert_eq!(text(&imported, "conf/a.xml"), "<a/>");
    assert_eq!(text(&imported, "compose.yaml"), compose);
    assert_eq!(said.len(), 1, "{said:#?}");
    // What a process is told of it on the host does not give it another meaning.
    let compose = compose.replace("image: i,", "image: i, environment: {HERE: \"$PWD\"},");
    let (imported, _) = run(&[("compose.yaml", &compose)], &[("conf/a.xml", b"<a/>")]).unwrap();
    assert_eq!(text(&imported, "compose.yaml"), compose);
    assert!(!imported.files.contains_key("desired/services/.env"));
}

#[test]
fn a_name_whose_variable_has_no_value_stays_as_it_is() {
    let compose = "services: {web: {image: i, container_name: \"${P}_web\", networks: [n]}}\nnetworks: {n: {name: \"${P}_n\"}}\n";
    let (imported, said) = run(&[("compose.yaml", compose)], &[]).unwrap();
    assert_eq!(said, Vec::<String>::new());
    assert_eq!(text(&imported, "compose.yaml"), compose);
    let codes: Vec<_> = imported.remaining.iter().map(|f| f.code).collect();
    assert_eq!(
        codes.iter().filter(|c| **c == "missing-variable").count(),
        2,
        "{codes:?}"
    );
}

#[test]
fn paths_with_variables_that_have_values_are_taken_along() {
    let compose = "services: {web: {extends: {file: \"${F:-common}.yml\", service: \"$KIND\"}, volumes: [\"./${C:-conf}/x:/x:ro\"]}}\n";
    let beside: &[(&str, &[u8])] = &[
        (".env", b"KIND=base\n"),
        ("common.yml", b"services: {base: {image: i}}\n"),
        ("conf/x", b"x"),
    ];
    let (imported, _) = run(&[("compose.yaml", compose)], beside).unwrap();
    assert_eq!(imported.services, 1);
    assert_eq!(text(&imported, "compose.yaml"), compose);
    text(&imported, "common.yml");
    text(&imported, "conf/x");
}

#[test]
fn a_project_of_the_first_format_gets_its_services_line() {
    let (imported, _) = run(
        &[(
            "docker-compose.yml",
            "web:\n  image: nginx\n  links: [db]\ndb:\n  image: db\n",
        )],
        &[],
    )
    .unwrap();
    assert_eq!(
        text(&imported, "docker-compose.yml"),
        "services:\n  web:\n    image: nginx\n    links: [db]\n  db:\n    image: db\n"
    );
}

#[test]
fn many_services_get_a_larger_subnet() {
    for (count, prefix) in [(20, 26), (200, 23)] {
        let compose: String = (0..count).map(|i| format!("  s{i}: {{image: i}}\n")).collect();
        let (imported, _) = run(&[("compose.yaml", &format!("services:\n{compose}"))], &[]).unwrap();
        let (settings, _) = &imported.files["ringfence.yaml"];
        let line = format!("\naddress_pool: {{base: 10.201.0.0/16, prefix: {prefix}}}\n");
        assert!(String::from_utf8_lossy(settings).contains(&line), "{count}");
    }
}

#[test]
fn an_entry_that_is_no_variable_gets_no_value() {
    let compose = "services: {a: {image: a, environment: [\"p:8181\", A=b]}}\n";
    let (imported, said) = run(&[("compose.yaml", compose)], &[]).unwrap();
    assert_eq!(said, Vec::<String>::new());
    assert!(!imported.files.contains_key("desired/services/.env"));
    assert_eq!(imported.remaining.iter().next().unwrap().code, "environment");
}

#[test]
fn an_extends_goes_as_a_whole() {
    let compose = "services:
  web:
    image: w
    extends:
      file: ${ROOT}/none.yml
      service: web
  b: {image: b, extends: {service: nobody}}
";
    let (imported, said) = run(&[("compose.yaml", compose)], &[]).unwrap();
    assert!(
        text(&imported, "compose.yaml")
            .contains("    # extends:\n    #   file: ${ROOT}/none.yml\n    #   service: web\n")
    );
    assert!(text(&imported, "compose.yaml").contains("b: {image: b}"));
    assert!(!said.iter().any(|s| s.contains("each other")), "{said:#?}");
}

#[test]
fn that_nothing_is_left_is_said_of_the_first_file() {
    let beside: &[(&str, &[u8])] = &[(".env", b"A=1\n")];
    let findings = run(&[("compose.yaml", "services: {a: {build: .}}\n")], beside).map(|_| ());
    let places: Vec<_> = findings
        .unwrap_err()
        .iter()
        .map(|f| (f.code, f.path().unwrap().to_owned()))
        .collect();
    assert!(
        places.contains(&("nothing-left", "compose.yaml".to_owned())),
        "{places:?}"
    );
}

#[test]
fn what_is_still_wrong_comes_with_what_was_left_out() {
    let compose = "include: [./sub/other.yaml]\n";
    let other = b"services: {a: {build: .}}\n";
    let findings = run(&[("compose.yaml", compose)], &[("sub/other.yaml", other)]).map(|_| ());
    let codes: Vec<_> = findings.unwrap_err().iter().map(|f| f.code).collect();
    assert!(codes.contains(&"left-out"), "{codes:?}");
}

#[test]
fn what_cannot_be_imported_says_why() {
    for (compose, want) in [
        ("services: {a: [\n", "syntax"),
        ("services: {a: {build: .}}\n", "nothing-left"),
        (
            "services:\n  a:\n    build: .\n  b:\n    network_mode: service:a\n    image: b\n",
            "nothing-left",
        ),
        ("services: {a: {build: ., env_file: odd.env}}\n", "nothing-left"),
        ("", "empty-file"),
        (
            "services: {a: {image: a}}\n---\nservices: {}\n",
            "several-documents",
        ),
    ] {
        let beside: &[(&str, &[u8])] = &[("odd.env", b"A: [\n")];
        let findings = run(&[("compose.yaml", compose)], beside).map(|_| ()).unwrap_err();
        let codes: Vec<_> = findings.iter().map(|f| f.code).collect();
        assert!(codes.contains(&want), "{compose}: {codes:?}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_imported_or_refused_and_what_is_imported_passes(
        lines in proptest::collection::vec(proptest::sample::select(LINES), 0..14),
        noise in "\\PC{0,20}",
    ) {
        let text = format!("services:\n  a:\n    image: i\n{}{noise}\n", lines.concat());
        if let Ok((imported, _)) = run(&[("compose.yaml", &text)], &[]) {
            proptest::prop_assert!(!imported.remaining.has_errors());
        }
    }
}

const LINES: &[&str] = &[
    "    privileged: true\n",
    "    volumes:\n",
    "      - /srv:/srv\n",
    "      - type: bind\n        source: /x\n        target: /y\n",
    "      - ${A}/b:/c\n",
    "    environment: {A: $B, C: \"$\"}\n",
    "    ports: [\"0.0.0.0:80:80\", 1:2]\n",
    "    deploy:\n      replicas: 2\n",
    "  b:\n    build: .\n",
    "  c: {image: c, network_mode: host, depends_on: [a, b]}\n",
    "    <<: *x\n",
    "    restart: &x always\n",
    "    wibble:\n      - a\n",
    "# comment\n",
    "networks: {n: {external: true}}\n",
];

#[test]
fn files_that_declare_a_service_together_are_laid_over_each_other() {
    let (imported, said) = run(
        &[
            (
                "shop/compose.yaml",
                "services:\n  web:\n    image: web:1\n    volumes: [\"./conf:/conf:ro\"]\n  db: {image: db:1}\n",
            ),
            (
                "shop/compose.override.yaml",
                "services:\n  web:\n    privileged: true\n    command: [serve]\n    env_file: ./more.env\n",
            ),
        ],
        &[("shop/conf/a.ini", b"a"), ("shop/more.env", b"X=1\n")],
    )
    .unwrap();
    assert_eq!(imported.services, 2);
    assert_eq!(
        text(&imported, "imported.yaml"),
        "# The Compose files that were imported.\ninclude:\n  - path:\n      - \"shop/compose.yaml\"\n      - \"shop/compose.override.yaml\"\n"
    );
    assert!(text(&imported, "shop/compose.override.yaml").contains("command: [serve]"));
    assert!(
        said.iter()
            .any(|s| s.contains("shop/compose.override.yaml:3") && s.contains("privileged")),
        "{said:#?}"
    );
    for copied in ["shop/conf/a.ini", "shop/more.env"] {
        text(&imported, copied);
    }
}

#[test]
fn what_an_include_lays_over_each_other_starts_from_its_first_files_folder() {
    let (imported, _) = run(
        &[(
            "compose.yaml",
            "include:\n  - path: [app/a.yaml, ops/b.yaml]\nservices: {x: {image: x:1}}\n",
        )],
        &[
            ("app/a.yaml", b"services: {web: {image: w:1}}\n"),
            ("ops/b.yaml", b"services: {web: {env_file: ./w.env}}\n"),
            ("app/w.env", b"X=1\n"),
        ],
    )
    .unwrap();
    assert_eq!(imported.services, 2);
    text(&imported, "app/w.env");
}
