//! Compose files as people write them, and each key by itself.

use std::fmt::Write as _;

use super::service::*;
use super::*;
use crate::diagnostic::Finding;

mod extends;
mod keys;
mod mounts;
mod options;
mod whole;

const FILES: &[(&str, &str)] = &[
    ("files/nginx.conf", "events {}\n"),
    ("files/site.conf", "server {}\n"),
    ("files/token", "not-a-real-one\n"),
    ("files/one.env", "A=1\nB=from-file\nC=${A}${GIVEN:-}\n"),
    (".env", "ONE_VERSION=1.2\n"),
];

fn tree(files: &[(&str, &str)]) -> Tree {
    Tree::of_files(
        files
            .iter()
            .chain(FILES)
            .map(|(path, text)| (format!("desired/services/{path}"), *text)),
    )
}

fn vars() -> Vars {
    let map = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect::<BTreeMap<_, _>>()
    };
    Vars {
        common: map(&[
            ("TENANT_SLUG", "acme"),
            ("TENANT_DB_NAME", "aither_acme"),
            ("GIVEN", "given"),
            ("THEME", "light"),
        ]),
        of_service: BTreeMap::from([("web".to_owned(), map(&[("THEME", "dark")]))]),
    }
}

fn line(f: &Finding) -> String {
    let at = f.at.as_ref().map(ToString::to_string).unwrap_or_default();
    let help = f.help.as_deref().unwrap_or("-");
    format!(
        "{} {at} [{}] {}\n    {help}\n",
        f.severity.word(),
        f.code,
        f.message
    )
}

fn told(reader: Reader) -> Findings {
    let mut findings = reader.into_findings();
    findings.tidy();
    findings
}

fn show(files: &[(&str, &str)]) -> String {
    let reader = Reader::new();
    let compose = ComposeFiles::read(&tree(files), &reader);
    let read = told(reader);
    let reader = Reader::new();
    let services = compose.resolve(&vars(), &reader);
    let resolved = told(reader);
    let mut out = String::from("READ\n");
    for f in &read {
        out.push_str(&line(f));
    }
    out.push_str("RESOLVED for acme, what is new\n");
    for f in resolved.iter().filter(|f| !read.iter().any(|r| r == *f)) {
        out.push_str(&line(f));
    }
    let _ = writeln!(
        out,
        "DECLARED {:?}",
        compose
            .declared()
            .values()
            .map(|d| format!("{} {} {:?}", d.name, d.image.value, d.scope))
            .collect::<Vec<_>>()
    );
    for s in services.values() {
        let _ = writeln!(out, "SERVICE {} {}", s.name, s.image.value);
        let _ = writeln!(out, "  command {:?} entrypoint {:?}", s.command, s.entrypoint);
        let _ = writeln!(out, "  environment {:?}", s.environment);
        for m in &s.mounts {
            let source = match &m.source {
                MountSource::Release(set) => {
                    format!(
                        "release {:?} {:?}",
                        set.files.keys().collect::<Vec<_>>(),
                        set.single
                    )
                }
                other => format!("{other:?}"),
            };
            let _ = writeln!(out, "  mount {} {source} read_only={}", m.target, m.read_only);
        }
        for p in &s.ports {
            let _ = writeln!(
                out,
                "  port {}:{:?}:{} {:?}",
                p.ip, p.host, p.container, p.protocol
            );
        }
        if s.options != Options::default() || !s.sysctls.is_empty() || !s.links.is_empty() {
            let options = serde_json::to_string(&s.options).unwrap();
            let _ = writeln!(
                out,
                "  options {options} sysctls {:?} links {:?}",
                s.sysctls, s.links
            );
        }
        let depends: Vec<_> = s
            .depends_on
            .iter()
            .map(|(n, d)| (n, d.condition, d.required))
            .collect();
        let _ = writeln!(
            out,
            "  depends {depends:?} names {:?} host {:?}",
            s.aliases, s.hostname
        );
        let _ = writeln!(out, "  health {:?} probe {:?}", s.healthcheck, s.probe);
        let _ = writeln!(
            out,
            "  {:?} {:?} {:?} {:?}",
            s.restart, s.limits, s.scope, s.rollout
        );
        let _ = writeln!(
            out,
            "  labels {:?} profiles {:?} read_only={} init={:?} tty={} signal={:?} grace={}",
            s.labels, s.profiles, s.read_only, s.init, s.tty, s.stop_signal, s.stop_grace_ms
        );
    }
    out
}

macro_rules! fixtures {
    ($($test:ident: $($file:literal),+;)+) => {$(
        #[test]
        fn $test() {
            let files = [$(($file, include_str!(concat!("../../../tests/fleets/compose/", $file)))),+];
            insta::assert_snapshot!(stringify!($test), show(&files));
        }
    )+};
}

fixtures! {
    web_and_database: "01-web-and-database.yaml";
    blog: "02-blog.yml";
    cache: "03-cache.yaml";
    queue_with_anchors: "04-queue.yaml";
    model_server: "05-model-server.yaml";
    reverse_proxy: "06-reverse-proxy.yaml";
    misspelt: "07-misspelt.yaml";
    bad_values: "08-bad-values.yaml";
    bad_mounts: "09-bad-mounts.yaml";
    privileges: "10-privileges.yaml";
    first_version: "11-first-version.yaml";
    graph: "12-graph.yaml";
    env_files: "13-env-files.yaml";
    home_server: "14-home-server.yaml";
    variables: "15-variables.yaml";
    collisions: "01-web-and-database.yaml", "16-collisions.yaml";
    swarm: "17-swarm.yaml";
    postgres_admin: "18-postgres-admin.yml";
    mongo_replica: "19-mongo-replica.yaml";
    mariadb_tuned: "20-mariadb-tuned.yml";
    elastic_stack: "21-elastic-stack.yml";
    kafka: "22-kafka.yaml";
    rabbit_and_workers: "23-rabbit-and-workers.yml";
    nats: "24-nats.yaml";
    ollama_webui: "25-ollama-webui.yml";
    vllm_runtime: "26-vllm-runtime.yml";
    diffusion_devices: "27-diffusion-devices.yml";
    nextcloud: "28-nextcloud.yml";
    media_stack: "29-media-stack.yml";
    home_assistant: "30-home-assistant.yml";
    pihole: "31-pihole.yml";
    dashboard: "32-dashboard.yml";
    gitea: "33-gitea.yaml";
    vaultwarden: "34-vaultwarden.yml";
    mail: "35-mail.yml";
    monitoring: "36-monitoring.yml";
    traefik_labels: "37-traefik-labels.yml";
    react_node_build: "38-react-node-build.yml";
    lamp: "39-lamp.yml";
    batch: "40-batch.yaml";
    windows: "41-windows.yml";
    wrong_types: "42-wrong-types.yml";
    extended: "43-extended.yaml";
    dind: "44-dind.yml";
}
