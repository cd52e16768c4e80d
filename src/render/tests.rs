//! Rendering small fleets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::object::{ContainerSpec, HealthSource, RolloutOrder, ServiceObject};
use super::*;
use crate::digest::Digest;
use crate::fleet::names::{CommitId, ContentId};
use crate::fleet::tenants::TenantFiles;
use crate::fleet::tree::Tree;

const IMAGES: [&str; 2] = ["web:1", "db:1"];

fn release(n: u8) -> Release {
    let images = IMAGES.map(|i| {
        (
            i.to_owned(),
            format!("id:sha256:{}", Digest::of_bytes(i.as_bytes()).hex()),
        )
    });
    let commit: CommitId = format!("{n:040x}").parse().unwrap();
    Release::new(ContentId(Digest::of("content", &n)), commit, images.into())
}

/// A fleet with one Compose file and one tenant `acme`.
struct Fleet {
    policy: Policy,
    base: Base,
    files: TenantFiles,
    release: Release,
}

fn fleet(compose: &str, tenant: &str) -> Fleet {
    let tree = Tree::of_files([
        ("ringfence.yaml".to_owned(), "fleet: aither\n".to_owned()),
        (
            "rings/rings.yaml".to_owned(),
            "rings: {dev: {id: 0, branch: main, auto_deploy: true}}\n".to_owned(),
        ),
        (
            "stacks/model-stacks.yaml".to_owned(),
            "stacks: {one: {tier_backends: {fast: {backend: b, model: m}}}, two: {tier_backends: {fast: {backend: b, model: n}}}}\nactive: one\n".to_owned(),
        ),
        ("desired/spirits/work.md".to_owned(), "Work.\n".to_owned()),
        ("desired/services/all.yaml".to_owned(), format!("services:\n{compose}\n")),
        (
            "desired/tenants/acme.yaml".to_owned(),
            format!("slug: acme\nring: dev\nplan_tier: enterprise\n{tenant}\n"),
        ),
    ]);
    let policy = crate::fleet::policy(&tree, "aither").policy.unwrap();
    let base = crate::fleet::base(&tree);
    assert!(!base.findings.has_errors(), "{:?}", base.findings);
    let tenants = crate::fleet::tenants(&tree);
    assert!(!tenants.findings.has_errors(), "{:?}", tenants.findings);
    Fleet {
        policy,
        base: base.base,
        files: tenants.tenants["acme"].clone(),
        release: release(1),
    }
}

impl Fleet {
    fn from(&self) -> super::From<'_> {
        super::From {
            policy: &self.policy,
            ring: &self.policy.rings.0[0],
            base: &self.base,
            release: &self.release,
        }
    }

    fn render(&self, shared: &[(Owner, &str)]) -> Rendered {
        let shared = shared.iter().map(|(owner, service)| SharedName {
            owner: owner.clone(),
            service: (*service).to_owned(),
        });
        tenant(self.from(), &self.files, &shared.collect())
    }

    fn service(&self, name: &str) -> ServiceObject {
        let rendered = self.render(&[]);
        assert!(!rendered.findings.has_errors(), "{:?}", rendered.findings);
        let found = rendered
            .objects
            .services
            .into_values()
            .find(|s| s.key.service == name);
        Arc::unwrap_or_clone(found.unwrap())
    }
}

fn web(keys: &str, tenant: &str) -> ServiceObject {
    fleet(&format!("  web: {{image: 'web:1'{keys}}}"), tenant).service("web")
}

#[test]
fn a_rendered_tenant_is_what_it_was() {
    let fleet = fleet(
        "  web: {image: 'web:1', ports: ['8080:80'], environment: {THEME: '${THEME:-light}'}, depends_on: [db], networks: {default: {aliases: [front]}}}\n  db: {image: 'db:1', volumes: ['data:/data']}\nvolumes: {data: {}}",
        "config_overrides: {THEME: dark}\nresources: {memory: 512m}",
    );
    let rendered = fleet.render(&[(Owner::Fleet, "redis")]);
    assert!(!rendered.findings.has_errors(), "{:?}", rendered.findings);
    // The keys of `depends_on` are no strings: the rest is what JSON can hold.
    let json = |r: &Rendered| -> Vec<serde_json::Value> {
        let services = r.objects.services.values();
        services
            .map(|s| json!({"name": s.base_name, "hash": s.hash, "spec": s.spec, "networks": s.networks, "order": s.order}))
            .collect()
    };
    let again = fleet.render(&[(Owner::Fleet, "redis")]);
    let bytes = |r: &Rendered| serde_json::to_string(&json(r)).unwrap();
    assert_eq!(bytes(&rendered), bytes(&again), "equal bytes each time");
    assert_eq!(rendered.objects, again.objects);
    insta::assert_json_snapshot!(json(&rendered));
    insta::assert_json_snapshot!("live", rendered.objects.live.values().collect::<Vec<_>>());
}

#[test]
fn the_hash_of_a_spec_stays_what_it_is() {
    // A change here replaces every container of every fleet.
    let spec = ContainerSpec {
        image: "sha256:00".to_owned(),
        env: BTreeMap::from([("A".to_owned(), "1".to_owned())]),
        ..ContainerSpec::default()
    };
    assert_eq!(
        serde_json::to_string(&spec).unwrap(),
        r#"{"env":{"A":"1"},"image":"sha256:00"}"#
    );
    insta::assert_snapshot!(spec.hash().0.hex());
}

#[test]
fn later_environment_wins() {
    let keys = ", environment: {A: service, B: service, C: service, TENANT_SLUG: mine}";
    let env = &web(keys, "config_overrides: {B: all, C: all, web: {C: own}}")
        .spec
        .env;
    let got = ["A", "B", "C", "TENANT_SLUG"].map(|k| env[k].as_str());
    assert_eq!(got, ["service", "all", "own", "acme"]);
    assert!(!env.contains_key("TENANT_STACK") && !env.contains_key("TENANT_DISPLAY_NAME"));
}

#[test]
fn limits_are_the_tightest_of_service_tenant_and_plan_tier() {
    let limit = |keys: &str, tenant: &str| web(keys, tenant).spec.limits.memory;
    assert_eq!(
        limit(", mem_limit: 256m", "resources: {memory: 1g}"),
        Some(256 << 20)
    );
    assert_eq!(
        limit(", mem_limit: 1g", "resources: {memory: 256m}"),
        Some(256 << 20)
    );
    assert_eq!(limit("", "resources: {memory: 256m}"), Some(256 << 20));
}

#[test]
fn what_may_change_while_it_lives_is_in_no_hash() {
    let compose = "  web: {image: 'web:1'}";
    let base = fleet(compose, "");
    let hash = base.service("web").hash;
    for tenant in [
        "display_name: Other",
        "stack: two",
        "spirit: work",
        "metadata: {a: b}",
    ] {
        let other = fleet(compose, tenant);
        assert_eq!(other.service("web").hash, hash, "{tenant}");
        assert_ne!(
            other.render(&[]).objects.live,
            base.render(&[]).objects.live,
            "{tenant}"
        );
    }
    let mut other = fleet(compose, "");
    other.release = Release {
        commit: release(2).commit,
        ..release(2)
    };
    assert_eq!(
        other.service("web").hash,
        hash,
        "another release with the same spec"
    );
    let linked = base.render(&[(Owner::Fleet, "redis")]);
    let linked = linked.objects.services.values().next().unwrap();
    assert_eq!(linked.hash, hash);
    assert_eq!(
        linked.networks["acme.aither"].links,
        BTreeSet::from([
            "redis.aither:redis".to_owned(),
            "redis.aither:redis.acme.aither".to_owned()
        ])
    );
    let probed = web(", x-ringfence: {probe: {tcp: 80}}", "");
    assert_eq!(probed.hash, hash);
    assert!(matches!(probed.health, HealthSource::Probe(_)));
}

#[test]
fn every_key_of_a_spec_changes_its_hash_and_a_default_does_not() {
    let hash = web("", "").hash;
    let changed = [
        ", command: [a]",
        ", entrypoint: [a]",
        ", environment: {A: b}",
        ", labels: {a: b}",
        ", user: '1'",
        ", working_dir: /a",
        ", hostname: a",
        ", tmpfs: /a",
        ", ports: ['80']",
        ", healthcheck: {disable: true}",
        ", restart: always",
        ", mem_limit: 100m",
        ", read_only: true",
        ", init: true",
        ", tty: true",
        ", stdin_open: true",
        ", stop_signal: SIGINT",
        ", stop_grace_period: 11s",
        ", cap_drop: [ALL]",
        ", cap_drop: [ALL], cap_add: [CHOWN]",
        ", security_opt: ['no-new-privileges:true']",
        ", ulimits: {nofile: 1024}",
        ", logging: {driver: local}",
        ", shm_size: 128m",
        ", extra_hosts: {a: 192.0.2.1}",
        ", dns: 9.9.9.9",
        ", dns_search: example.org",
        ", dns_opt: ['timeout:2']",
        ", gpus: all",
        ", group_add: ['1']",
        ", domainname: example.org",
        ", platform: linux/amd64",
        ", cpuset: '0'",
        ", cpu_shares: 512",
        ", blkio_config: {weight: 100}",
        ", oom_score_adj: 5",
        ", ipc: none",
        ", cgroup: private",
        ", sysctls: {net.core.somaxconn: '1'}",
        ", tmpfs: '/a:uid=1'",
        ", volumes: ['/a']",
    ];
    let mut seen = BTreeSet::from([hash.0]);
    for keys in changed {
        assert!(seen.insert(web(keys, "").hash.0), "{keys}");
    }
    for keys in [
        ", restart: 'no'",
        ", read_only: false",
        ", tty: false",
        ", stop_grace_period: 10s",
        ", cap_add: [CHOWN]",
        ", security_opt: ['no-new-privileges:false']",
        ", shm_size: 64m",
        ", cpu_shares: 1024",
        ", oom_score_adj: 0",
        ", dns_opt: ['ndots:1']",
        ", isolation: default",
    ] {
        assert_eq!(web(keys, "").hash, hash, "{keys}");
    }
}

#[test]
fn the_release_is_in_the_hash_only_where_it_is_interpolated() {
    let compose = "  web: {image: 'web:1', environment: {R: '${RINGFENCE_RELEASE}'}}";
    let (one, mut two) = (fleet(compose, ""), fleet(compose, ""));
    two.release = release(2);
    assert_ne!(one.service("web").hash, two.service("web").hash);
    assert_eq!(one.service("web").spec.env["R"], one.release.id.to_string());
}

#[test]
fn the_order_has_its_reason() {
    let order = |keys: &str| {
        fleet(
            &format!("  web: {{image: 'web:1'{keys}}}\nvolumes: {{data: {{}}}}"),
            "",
        )
        .service("web")
        .order
    };
    let stop = |why: &str| RolloutOrder::StopFirst(why.to_owned());
    let start = |asked| RolloutOrder::StartFirst { asked };
    assert_eq!(order(""), start(false));
    assert_eq!(order(", ports: ['80']"), start(false));
    assert_eq!(
        order(", ports: ['8080:80']"),
        stop("host port 8080 cannot be held twice")
    );
    assert_eq!(
        order(", volumes: ['data:/d']"),
        stop("volume data is mounted writable")
    );
    assert_eq!(order(", volumes: ['data:/d:ro']"), start(false));
    let asked = ", x-ringfence: {rollout: {order: start-first}}";
    assert_eq!(order(&format!(", volumes: ['data:/d']{asked}")), start(true));
    assert_eq!(
        order(&format!(", ports: ['8080:80']{asked}")),
        stop("host port 8080 cannot be held twice")
    );
    assert_eq!(
        order(", x-ringfence: {rollout: {order: stop-first}}"),
        stop("the service asks for it")
    );
}

#[test]
fn the_deadline_is_that_of_the_slowest_service() {
    let slow = "healthcheck: {test: [CMD, a], start_period: 5s, retries: 2, interval: 3s, timeout: 4s}";
    let both = fleet(
        &format!("  web: {{image: 'web:1'}}\n  db: {{image: 'db:1', {slow}}}"),
        "",
    );
    assert_eq!(both.service("web").deadline_ms, 5_000 + 2 * 7_000 + 30_000);
    // Nothing to judge by: the ring's `observe`; the engine's own times where a check names none.
    assert_eq!(web("", "").deadline_ms, 40_000);
    assert_eq!(
        web(", healthcheck: {test: [CMD, a]}", "").deadline_ms,
        3 * 60_000 + 30_000
    );
}

#[test]
fn who_is_waited_for_to_complete_is_a_job() {
    let fleet = fleet(
        "  web: {image: 'web:1', depends_on: {db: {condition: service_completed_successfully}}}\n  db: {image: 'db:1'}",
        "",
    );
    assert!(fleet.service("db").job && !fleet.service("web").job);
    assert_eq!(
        fleet.service("web").depends_on.values().next(),
        Some(&Condition::Completed)
    );
}

#[test]
fn an_image_that_the_release_does_not_have_is_a_finding() {
    let mut fleet = fleet("  web: {image: 'web:1'}", "");
    fleet.release.images.remove("web:1");
    let rendered = fleet.render(&[]);
    let codes: Vec<_> = rendered.findings.iter().map(|f| f.code).collect();
    assert_eq!(codes, ["no-image"]);
    assert!(rendered.objects.services.is_empty());
    fleet
        .release
        .images
        .insert("web:1".to_owned(), "digest:sha256:aa".to_owned());
    assert_eq!(fleet.service("web").spec.image, "web@sha256:aa");
}

#[test]
fn a_shared_service_serves_its_tenants_and_routes_nothing_between_them() {
    let fleet = fleet("  redis: {image: 'db:1', x-ringfence: {scope: fleet}}", "");
    let slug: Slug = "acme".parse().unwrap();
    let serves = [Served {
        slug: &slug,
        context: json!({"slug": "acme"}),
    }];
    let only = scoped(&fleet.base, &fleet.policy.rings.0[0], Scope::Fleet);
    assert_eq!(only, BTreeSet::from(["redis".to_owned()]));
    let with = shared(fleet.from(), &Owner::Fleet, &only, &serves);
    let without = shared(fleet.from(), &Owner::Fleet, &only, &[]);
    let one = |r: &Rendered| r.objects.services.values().next().unwrap().clone();
    let redis = one(&with);
    assert_eq!(
        redis.hash,
        one(&without).hash,
        "a new tenant restarts no backbone"
    );
    assert_eq!(redis.spec.sysctls["net.ipv4.ip_forward"], "0");
    assert_eq!(redis.hash, redis.spec.hash());
    assert_eq!(
        (redis.base_name.as_str(), redis.home_network.as_str()),
        ("redis.aither", "0.aither")
    );
    assert_eq!(
        redis.networks["acme.aither"].aliases,
        BTreeSet::from([
            "redis".to_owned(),
            "redis.acme.aither".to_owned(),
            format!("redis.aither.{}", redis.hash.0.short())
        ])
    );
    assert!(with.objects.live["aither"].files["tenants.json"].contains("\"acme\""));
    assert!(with.objects.live["aither"].files.len() == 1 && !redis.spec.env.contains_key("TENANT_SLUG"));
}
