//! The engine room on a real engine, and on servers that are none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use ringfence::digest::Digest;
use ringfence::engine::{Engine, EngineError, EventKind, LogSource, labels};
use ringfence::fleet::compose::service::{
    DeviceRequest, Healthcheck, Limits, Logging, Options, Protocol, Restart, Ulimit,
};
use ringfence::fleet::names::{Owner, ReleaseId, ServiceKey};
use ringfence::plan::seen::{EngineHealth, SeenContainer, SeenLimits, State};
use ringfence::render::object::{
    Attachment, ContainerSpec, HealthSource, MountFrom, MountSpec, NetworkObject, PortSpec, RolloutOrder,
    ServiceObject,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::engine::{TestEngine, eventually};

fn acme() -> Owner {
    Owner::Tenant("acme".parse().unwrap())
}

/// A service `web` of the tenant acme; its network is made.
async fn web(test: &TestEngine, command: &[&str]) -> ServiceObject {
    let home = test.network(&acme()).await;
    let image = test.image("web", "1", "one").await;
    let id = test.engine.image(&image).await.unwrap().unwrap().id;
    object(
        test,
        &home,
        ContainerSpec {
            image: id,
            command: Some(command.iter().map(|&word| word.to_owned()).collect()),
            ..ContainerSpec::default()
        },
    )
}

fn object(test: &TestEngine, home: &str, spec: ContainerSpec) -> ServiceObject {
    let hash = spec.hash();
    ServiceObject {
        key: ServiceKey {
            owner: acme(),
            service: "web".to_owned(),
        },
        ring: "staging".to_owned(),
        release: ReleaseId(Digest::of_bytes(b"release")),
        image_name: "web:1".to_owned(),
        spec: Arc::new(spec),
        hash,
        base_name: format!("web.acme.{}", test.instance),
        domain: acme().domain(&test.instance),
        networks: BTreeMap::from([(home.to_owned(), Attachment::default())]),
        home_network: home.to_owned(),
        depends_on: BTreeMap::new(),
        order: RolloutOrder::StartFirst { asked: false },
        drain_ms: 1000,
        health: HealthSource::Engine,
        deadline_ms: 60_000,
        job: false,
    }
}

async fn seen(test: &TestEngine, id: &str) -> Option<SeenContainer> {
    let look = test.engine.observe().await.unwrap();
    look.containers.into_iter().find(|container| container.id == id)
}

async fn ended(test: &TestEngine, id: &str) {
    eventually("the container ends", async || {
        seen(test, id).await.filter(|c| c.state == State::Exited)
    })
    .await;
}

#[tokio::test]
async fn a_container_lives_from_create_to_remove() {
    let test = TestEngine::new("life").await;
    let mut web = web(&test, &["wait"]).await;
    web.networks
        .get_mut(&web.home_network)
        .unwrap()
        .aliases
        .insert("front".to_owned());
    web.networks
        .get_mut(&web.home_network)
        .unwrap()
        .links
        .insert(format!("redis.{}:redis", test.instance));
    let name = format!("{}.12345678", web.base_name);
    let id = test.engine.create_container(&name, &web).await.unwrap();
    assert_eq!(id.len(), 64);

    let born = seen(&test, &id).await.unwrap();
    assert_eq!((born.state, born.health), (State::Created, EngineHealth::None));
    assert_eq!(born.name, name);
    assert_eq!(born.owner, Some(acme()));
    assert_eq!(born.service.as_deref(), Some("web"));
    assert_eq!(born.spec, Some(web.hash));
    assert_eq!(born.image_id, web.spec.image);
    assert_eq!(born.networks, BTreeSet::from([web.home_network.clone()]));
    assert_eq!(born.ring.as_deref(), Some("staging"));
    let details = test.engine.inspect(&id).await.unwrap().unwrap();
    assert_eq!(
        (details.started_at, details.finished_at, details.exit_code),
        (None, None, None)
    );
    assert_eq!(details.restart, Restart::No);

    test.engine.start(&id).await.unwrap();
    test.engine.start(&id).await.expect("one that runs is no error");
    assert_eq!(seen(&test, &id).await.unwrap().state, State::Running);
    let details = test.engine.inspect(&id).await.unwrap().unwrap();
    let (aliases, links) = &details.networks[&web.home_network];
    assert_eq!(aliases, &BTreeSet::from(["front".to_owned()]));
    assert_eq!(links, &BTreeSet::from([format!("redis.{}:redis", test.instance)]));
    assert!(details.addresses[&web.home_network].starts_with("10.201."));
    assert!(details.started_at.is_some() && details.finished_at.is_none());

    // To a name that differs in the case of one letter, and again.
    let cased = format!("web.Acme.{}", test.instance);
    test.engine.rename(&id, &web.base_name).await.unwrap();
    test.engine.rename(&id, &cased).await.unwrap();
    test.engine
        .rename(&id, &cased)
        .await
        .expect("its own name is no error");
    assert_eq!(seen(&test, &id).await.unwrap().name, cased);

    test.engine.set_restart(&id, Restart::OnFailure(3)).await.unwrap();
    assert_eq!(
        test.engine.inspect(&id).await.unwrap().unwrap().restart,
        Restart::OnFailure(3)
    );

    test.docker_ok(&["pause", &id]);
    assert_eq!(seen(&test, &id).await.unwrap().state, State::Paused);
    test.engine.unpause(&id).await.unwrap();
    test.engine
        .unpause(&id)
        .await
        .expect("one that is not frozen is no error");

    let running = test.engine.remove(&id).await.unwrap_err();
    assert!(matches!(running, EngineError::Conflict { .. }), "{running:?}");
    test.engine.stop(&id, 1500).await.unwrap();
    test.engine
        .stop(&id, 1500)
        .await
        .expect("one that does not run is no error");
    assert_eq!(seen(&test, &id).await.unwrap().state, State::Exited);
    let details = test.engine.inspect(&id).await.unwrap().unwrap();
    assert_eq!(details.exit_code, Some(137));
    assert!(details.finished_at.is_some());

    test.engine.remove(&id).await.unwrap();
    test.engine
        .remove(&id)
        .await
        .expect("one that is gone is no error");
    assert_eq!(seen(&test, &id).await, None);
    assert_eq!(test.engine.inspect(&id).await.unwrap(), None);
    let gone = test.engine.start(&id).await.unwrap_err();
    assert!(matches!(gone, EngineError::NotFound { .. }), "{gone:?}");
}

#[tokio::test]
async fn all_of_a_spec_reaches_the_engine() {
    let test = TestEngine::new("spec").await;
    let mut web = web(&test, &["wait"]).await;
    let digest = Digest::of_bytes(b"content");
    let content = test.files().join("content").join(digest.hex());
    std::fs::create_dir_all(&content).unwrap();
    std::fs::write(content.join("app.conf"), "from the release").unwrap();
    std::fs::create_dir_all(test.files().join("live/acme")).unwrap();
    let volume = format!("data.acme.{}", test.instance);
    test.engine
        .create_volume(&volume, &test.labels(&acme()))
        .await
        .unwrap();
    let mount = |from| MountSpec {
        from,
        read_only: false,
        no_copy: false,
    };
    web.spec = Arc::new(ContainerSpec {
        entrypoint: Some(vec!["/tiny".to_owned(), "cat".to_owned()]),
        command: Some(vec!["/etc/app.conf".to_owned()]),
        env: BTreeMap::from([
            ("B".to_owned(), "2=x".to_owned()),
            ("A".to_owned(), "1".to_owned()),
        ]),
        labels: BTreeMap::from([
            ("org.example".to_owned(), "yes".to_owned()),
            ("com.docker.compose.project".to_owned(), "acme".to_owned()),
            (labels::TENANT.to_owned(), "someone-else".to_owned()),
        ]),
        user: Some("10001:10001".to_owned()),
        working_dir: Some("/data".to_owned()),
        hostname: Some("box".to_owned()),
        mounts: BTreeMap::from([
            (
                "/etc/app.conf".to_owned(),
                mount(MountFrom::Content {
                    digest,
                    file: Some("app.conf".to_owned()),
                }),
            ),
            (
                "/etc/all".to_owned(),
                mount(MountFrom::Content { digest, file: None }),
            ),
            (
                "/run/ringfence".to_owned(),
                mount(MountFrom::Live("acme".to_owned())),
            ),
            (
                "/etc/hosts.host".to_owned(),
                mount(MountFrom::Host("/etc/hosts".to_owned())),
            ),
            ("/data".to_owned(), mount(MountFrom::Volume(volume.clone()))),
            (
                "/tmp".to_owned(),
                mount(MountFrom::Tmpfs {
                    size: Some(1 << 20),
                    mode: Some(0o1770),
                    options: BTreeSet::new(),
                }),
            ),
        ]),
        ports: BTreeSet::from([PortSpec {
            container: 80,
            protocol: Protocol::Udp,
            ip: "127.0.0.1".to_owned(),
            host: None,
        }]),
        healthcheck: Some(Healthcheck::Disabled),
        restart: Restart::UnlessStopped,
        limits: Limits {
            memory: Some(64 << 20),
            memory_reservation: Some(32 << 20),
            nano_cpus: Some(500_000_000),
            pids: Some(50),
        },
        read_only: true,
        init: Some(true),
        stop_signal: Some("SIGINT".to_owned()),
        stop_grace_ms: Some(2500),
        sysctls: BTreeMap::from([("net.ipv4.ip_forward".to_owned(), "0".to_owned())]),
        ..(*web.spec).clone()
    });
    let id = test.engine.create_container(&web.base_name, &web).await.unwrap();
    let made: serde_json::Value = serde_json::from_str(&test.docker_ok(&["inspect", &id])).unwrap();
    let (config, host) = (&made[0]["Config"], &made[0]["HostConfig"]);
    assert_eq!(config["User"], "10001:10001");
    assert_eq!(config["Hostname"], "box");
    assert_eq!(config["Healthcheck"]["Test"][0], "NONE");
    assert_eq!(
        (&config["StopSignal"], &config["StopTimeout"]),
        (&"SIGINT".into(), &3.into())
    );
    assert_eq!(config["Labels"]["org.example"], "yes");
    assert!(
        config["Labels"]["com.docker.compose.project"].is_null(),
        "or Compose would remove it"
    );
    assert_eq!(
        config["Labels"][labels::TENANT],
        "acme",
        "a file cannot say whose the container is"
    );
    assert_eq!(
        (&host["Memory"], &host["MemorySwap"]),
        (&(64u64 << 20).into(), &(64u64 << 20).into())
    );
    assert_eq!(
        (&host["NanoCpus"], &host["PidsLimit"]),
        (&500_000_000u64.into(), &50.into())
    );
    assert_eq!(
        (&host["ReadonlyRootfs"], &host["Init"]),
        (&true.into(), &true.into())
    );
    assert_eq!(host["LogConfig"]["Config"]["max-size"], "10m");
    assert_eq!(host["DnsSearch"][0], format!("acme.{}", test.instance));
    assert_eq!(host["DnsOptions"][0], "ndots:1");
    assert_eq!(host["PortBindings"]["80/udp"][0]["HostIp"], "127.0.0.1");
    assert_eq!(host["Sysctls"]["net.ipv4.ip_forward"], "0");
    for mount in made[0]["Mounts"].as_array().unwrap() {
        assert_eq!(
            mount["RW"],
            mount["Type"] != "bind",
            "only binds are read-only here: {mount}"
        );
    }
    assert_eq!(made[0]["Mounts"].as_array().unwrap().len(), 6);
    let details = test.engine.inspect(&id).await.unwrap().unwrap();
    let limits = SeenLimits {
        memory: 64 << 20,
        memory_swap: 64 << 20,
        memory_reservation: 32 << 20,
        nano_cpus: 500_000_000,
        pids: 50,
        ..SeenLimits::default()
    };
    assert_eq!(
        (&details.limits, details.restart),
        (&limits, Restart::UnlessStopped)
    );

    test.engine.set_restart(&id, Restart::No).await.unwrap();
    test.engine.start(&id).await.unwrap();
    ended(&test, &id).await;
    assert_eq!(
        test.engine.last_lines(&id, 5).await.unwrap(),
        ["from the release"]
    );
    let details = test.engine.inspect(&id).await.unwrap().unwrap();
    assert_eq!(details.limits, limits, "a new restart policy changes no limit");
    assert_eq!(details.exit_code, Some(0));
}

#[tokio::test]
async fn what_few_services_ask_for_reaches_the_engine_too() {
    let test = TestEngine::new("options").await;
    let mut web = web(&test, &["wait"]).await;
    let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let options = Options {
        cap_drop: BTreeSet::from(["ALL".to_owned()]),
        cap_add: BTreeSet::from(["CHOWN".to_owned()]),
        no_new_privileges: true,
        ulimits: BTreeMap::from([("nofile".to_owned(), Ulimit { soft: 99, hard: 100 })]),
        logging: Some(Logging {
            driver: "local".to_owned(),
            options: BTreeMap::from([("max-size".to_owned(), "1m".to_owned())]),
        }),
        shm_size: Some(1 << 20),
        hosts: strings(&["far:192.0.2.1", "host:host-gateway"]),
        dns: strings(&["192.0.2.53"]),
        dns_search: strings(&["example.org"]),
        dns_opt: strings(&["timeout:1"]),
        group_add: strings(&["44"]),
        domainname: Some("example.org".to_owned()),
        cpuset: Some("0".to_owned()),
        cpu_shares: Some(512),
        oom_score_adj: Some(100),
        ipc: Some("private".to_owned()),
        ..Options::default()
    };
    Arc::make_mut(&mut web.spec).options = options.clone();
    Arc::make_mut(&mut web.spec).mounts.insert(
        "/scratch".to_owned(),
        MountSpec {
            from: MountFrom::Tmpfs {
                size: Some(1 << 20),
                mode: Some(0o700),
                options: BTreeSet::from(["uid=10001".to_owned()]),
            },
            read_only: false,
            no_copy: false,
        },
    );
    let id = test.engine.create_container(&web.base_name, &web).await.unwrap();
    let made: serde_json::Value = serde_json::from_str(&test.docker_ok(&["inspect", &id])).unwrap();
    let (config, host) = (&made[0]["Config"], &made[0]["HostConfig"]);
    let list = |value: &serde_json::Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
    assert!(list(&host["CapDrop"])[0].ends_with("ALL"), "{host}");
    assert!(list(&host["CapAdd"])[0].ends_with("CHOWN"), "{host}");
    assert_eq!(list(&host["SecurityOpt"]), ["no-new-privileges"]);
    assert_eq!(host["Ulimits"][0]["Hard"], 100);
    assert_eq!(
        (
            &host["LogConfig"]["Type"],
            &host["LogConfig"]["Config"]["max-file"]
        ),
        (&"local".into(), &"3".into())
    );
    assert_eq!(host["ShmSize"], 1 << 20);
    assert_eq!(list(&host["ExtraHosts"]), options.hosts);
    assert_eq!(list(&host["Dns"]), options.dns);
    assert_eq!(
        list(&host["DnsSearch"]),
        [format!("acme.{}", test.instance), "example.org".to_owned()],
        "the tenant's own domain stays the first"
    );
    assert_eq!(list(&host["DnsOptions"]), ["ndots:1", "timeout:1"]);
    assert_eq!(list(&host["GroupAdd"]), ["44"]);
    assert_eq!(config["Domainname"], "example.org");
    assert_eq!(
        (&host["CpusetCpus"], &host["CpuShares"], &host["OomScoreAdj"]),
        (&"0".into(), &512.into(), &100.into())
    );
    let tmpfs = host["Tmpfs"]["/scratch"].as_str().unwrap();
    assert!(
        tmpfs.contains("uid=10001") && tmpfs.contains("mode=700"),
        "{tmpfs}"
    );
    test.engine.start(&id).await.unwrap();
    test.docker_ok(&["kill", &id]);
    test.engine.remove(&id).await.unwrap();

    // Asked for, and checked by the engine: an image of another platform is no container of this one.
    Arc::make_mut(&mut web.spec).options = Options {
        platform: Some("linux/s390x".to_owned()),
        ..Options::default()
    };
    let refused = test
        .engine
        .create_container(&web.base_name, &web)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("platform"), "{refused}");
    Arc::make_mut(&mut web.spec).options.platform = None;
    Arc::make_mut(&mut web.spec).options.devices = vec![DeviceRequest {
        driver: String::new(),
        count: Some(-1),
        ids: Vec::new(),
        capabilities: vec!["gpu".to_owned()],
        options: BTreeMap::new(),
    }];
    let id = test.engine.create_container(&web.base_name, &web).await.unwrap();
    let made: serde_json::Value = serde_json::from_str(&test.docker_ok(&["inspect", &id])).unwrap();
    let request = &made[0]["HostConfig"]["DeviceRequests"][0];
    assert_eq!(
        (&request["Count"], &request["Capabilities"][0][0]),
        (&(-1).into(), &"gpu".into())
    );
    test.engine.remove(&id).await.unwrap();
}

#[tokio::test]
async fn health_is_seen_in_the_list() {
    let test = TestEngine::new("health").await;
    let home = test.network(&acme()).await;
    let image = test.image_with_healthcheck("web", "1", "one").await;
    let known = test.engine.image(&image).await.unwrap().unwrap();
    assert!(known.has_healthcheck && known.repo_digests.is_empty());
    let web = object(
        &test,
        &home,
        ContainerSpec {
            image: known.id,
            ..ContainerSpec::default()
        },
    );
    let id = test.engine.create_container(&web.base_name, &web).await.unwrap();
    test.engine.start(&id).await.unwrap();
    let health = async |wanted: EngineHealth| {
        eventually("its health", async || {
            seen(&test, &id).await.filter(|c| c.health == wanted)
        })
        .await;
    };
    health(EngineHealth::Unhealthy).await;
    test.docker_ok(&["exec", &id, "/tiny", "write", "/healthy", "yes"]);
    health(EngineHealth::Healthy).await;
}

#[tokio::test]
async fn further_networks_are_connected_and_disconnected() {
    let test = TestEngine::new("net").await;
    let web = web(&test, &["wait"]).await;
    let ring = test.network(&Owner::Ring("staging".parse().unwrap())).await;
    let id = test.engine.create_container(&web.base_name, &web).await.unwrap();
    let more = Attachment {
        aliases: BTreeSet::from(["redis".to_owned()]),
        links: BTreeSet::new(),
    };
    test.engine.connect(&ring, &id, &more).await.unwrap();
    test.engine.start(&id).await.unwrap();
    test.engine
        .connect(&ring, &id, &more)
        .await
        .expect("connected already is no error");
    let both = BTreeSet::from([ring.clone(), web.home_network.clone()]);
    assert_eq!(seen(&test, &id).await.unwrap().networks, both);
    assert_eq!(
        test.engine.inspect(&id).await.unwrap().unwrap().networks[&ring].0,
        more.aliases
    );

    let look = test.engine.observe().await.unwrap();
    let mine: Vec<_> = look.networks.iter().filter(|network| network.ours).collect();
    assert_eq!(mine.len(), 2);
    let of_ring = mine.iter().find(|network| network.name == ring).unwrap();
    assert_eq!(of_ring.owner, Some(Owner::Ring("staging".parse().unwrap())));
    assert!(
        look.networks
            .iter()
            .any(|network| !network.ours && network.name == "bridge")
    );

    let busy = test.engine.remove_network(&of_ring.id).await.unwrap_err();
    assert!(matches!(busy, EngineError::Conflict { .. }), "{busy:?}");
    test.engine.disconnect(&ring, &id).await.unwrap();
    test.engine
        .disconnect(&ring, &id)
        .await
        .expect("disconnected already is no error");
    test.engine.remove_network(&of_ring.id).await.unwrap();
    test.engine
        .remove_network(&of_ring.id)
        .await
        .expect("gone already is no error");
    let none = test.engine.connect(&ring, &id, &more).await.unwrap_err();
    assert!(matches!(none, EngineError::NotFound { .. }), "{none:?}");
}

#[tokio::test]
async fn what_is_taken_is_told_apart() {
    let test = TestEngine::new("taken").await;
    let mut web = web(&test, &["serve", "80"]).await;
    let publish = |host| {
        BTreeSet::from([PortSpec {
            container: 80,
            protocol: Protocol::Tcp,
            ip: "127.0.0.1".to_owned(),
            host,
        }])
    };
    Arc::make_mut(&mut web.spec).ports = publish(None);
    let id = test.engine.create_container(&web.base_name, &web).await.unwrap();
    test.engine.start(&id).await.unwrap();
    let bound = test.docker_ok(&["port", &id, "80/tcp"]);
    assert!(bound.starts_with("127.0.0.1:"), "{bound}");

    let name = test
        .engine
        .create_container(&web.base_name, &web)
        .await
        .unwrap_err();
    assert!(matches!(name, EngineError::NameTaken { .. }), "{name:?}");
    Arc::make_mut(&mut web.spec).ports = publish(bound.rsplit(':').next().and_then(|port| port.parse().ok()));
    let other = test
        .engine
        .create_container(&format!("{}.other", web.base_name), &web)
        .await
        .unwrap();
    let name = test.engine.rename(&other, &web.base_name).await.unwrap_err();
    assert!(matches!(name, EngineError::NameTaken { .. }), "{name:?}");
    let taken = test.engine.start(&other).await.unwrap_err();
    assert!(matches!(taken, EngineError::PortTaken { .. }), "{taken:?}");
    assert!(taken.says_nothing_about_the_release());
    assert_eq!(seen(&test, &other).await.unwrap().state, State::Created);

    Arc::make_mut(&mut web.spec).image = format!("sha256:{}", "0".repeat(64));
    let image = test
        .engine
        .create_container(&format!("{}.third", web.base_name), &web)
        .await
        .unwrap_err();
    assert!(matches!(image, EngineError::ImageMissing { .. }), "{image:?}");
    assert_eq!(test.engine.image("nobody-has-this:1").await.unwrap(), None);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_the_releases_fault() {
    let test = TestEngine::new("nothere").await;
    let mut web = web(&test, &["wait"]).await;
    Arc::make_mut(&mut web.spec).entrypoint = Some(vec!["/nothing".to_owned()]);
    let id = test.engine.create_container(&web.base_name, &web).await.unwrap();
    let error = test.engine.start(&id).await.unwrap_err();
    assert!(!error.says_nothing_about_the_release(), "{error:?}");
    let details = test.engine.inspect(&id).await.unwrap().unwrap();
    assert!(
        details.exit_code.is_some_and(|code| code != 0) && !details.error.is_empty(),
        "{details:?}"
    );
}

#[tokio::test]
async fn a_network_is_made_once_and_overlaps_with_none() {
    let test = TestEngine::new("overlap").await;
    let name = test.network(&acme()).await;
    let look = test.engine.observe().await.unwrap();
    let network = look.networks.iter().find(|network| network.name == name).unwrap();
    assert_eq!((network.ours, network.owner.clone()), (true, Some(acme())));
    let again = NetworkObject {
        name: format!("other.{}", test.instance),
        owner: acme(),
    };
    let overlap = test
        .engine
        .create_network(&again, &network.subnets[0])
        .await
        .unwrap_err();
    assert!(matches!(overlap, EngineError::Overlap { .. }), "{overlap:?}");
    let same = NetworkObject { name, owner: acme() };
    // A subnet that nobody else has, or the overlap would be told first.
    let twice = test
        .engine
        .create_network(&same, "10.254.253.0/29")
        .await
        .unwrap_err();
    assert!(matches!(twice, EngineError::NameTaken { .. }), "{twice:?}");
}

#[tokio::test]
async fn the_first_holder_of_a_volume_stays_its_holder() {
    let test = TestEngine::new("vol").await;
    let name = format!("ringfence.{}", test.instance);
    let mut first = test.labels(&Owner::Fleet);
    first.insert("dev.ringfence.holder".to_owned(), "one".to_owned());
    assert_eq!(test.engine.create_volume(&name, &first).await.unwrap(), first);
    let second = BTreeMap::from([("dev.ringfence.holder".to_owned(), "two".to_owned())]);
    assert_eq!(test.engine.create_volume(&name, &second).await.unwrap(), first);
    let look = test.engine.observe().await.unwrap();
    assert_eq!(look.volumes.len(), 1);
    assert_eq!((&look.volumes[0].name, &look.volumes[0].labels), (&name, &first));
    test.engine.remove_volume(&name).await.unwrap();
    test.engine
        .remove_volume(&name)
        .await
        .expect("gone already is no error");
    assert!(test.engine.observe().await.unwrap().volumes.is_empty());
}

#[tokio::test]
async fn two_instances_do_not_see_each_other() {
    let (one, two) = (TestEngine::new("one").await, TestEngine::new("two").await);
    let web = web(&one, &["wait"]).await;
    one.engine.create_container(&web.base_name, &web).await.unwrap();
    assert_eq!(one.engine.observe().await.unwrap().containers.len(), 1);
    let look = two.engine.observe().await.unwrap();
    assert!(look.containers.is_empty() && look.volumes.is_empty());
    let network = look
        .networks
        .iter()
        .find(|network| network.name == web.home_network)
        .unwrap();
    assert!(!network.ours && network.owner.is_none() && !network.subnets.is_empty());
}

#[tokio::test]
async fn events_tell_what_happened_since_they_were_asked_for() {
    let test = TestEngine::new("events").await;
    let web = web(&test, &["wait"]).await;
    // Not polled before all is over: what happens between the call and the first poll is not lost.
    let events = test.engine.events();
    let id = test.engine.create_container(&web.base_name, &web).await.unwrap();
    test.engine.start(&id).await.unwrap();
    test.engine
        .rename(&id, &format!("{}.gone", web.base_name))
        .await
        .unwrap();
    test.engine.stop(&id, 0).await.unwrap();
    test.engine.remove(&id).await.unwrap();
    futures_util::pin_mut!(events);
    let mut actions = Vec::new();
    let mut connected = false;
    while !(connected && actions.last().is_some_and(|last| last == "destroy")) {
        let event = tokio::time::timeout(Duration::from_secs(30), events.next())
            .await
            .unwrap_or_else(|_| panic!("no destroy after {actions:?}"))
            .unwrap()
            .unwrap();
        match event.kind {
            EventKind::Container => {
                assert_eq!((event.id.as_str(), event.owner), (id.as_str(), Some(acme())));
                assert_eq!(event.service.as_deref(), Some("web"));
                actions.push(event.action);
            }
            EventKind::Network if event.action == "connect" => {
                connected |= event.container.as_deref() == Some(&id) && event.name == web.home_network;
            }
            _ => {}
        }
    }
    for action in ["create", "start", "rename", "die"] {
        assert!(
            actions.iter().any(|seen| seen == action),
            "{action} in {actions:?}"
        );
    }
}

#[tokio::test]
async fn the_last_lines_of_both_streams_come_in_order() {
    let test = TestEngine::new("logs").await;
    let web = web(&test, &["print", "6"]).await;
    let id = test.engine.create_container(&web.base_name, &web).await.unwrap();
    test.engine.start(&id).await.unwrap();
    ended(&test, &id).await;
    assert_eq!(
        test.engine.last_lines(&id, 3).await.unwrap(),
        ["line 4", "line 5", "line 6"]
    );
    let lines: Vec<_> = test
        .engine
        .logs(&id, None, true)
        .map(Result::unwrap)
        .collect()
        .await;
    assert_eq!(lines.len(), 6);
    assert!(lines.iter().all(|line| line.at.is_some()));
    assert_eq!(
        (lines[0].source, lines[1].source),
        (LogSource::Stdout, LogSource::Stderr)
    );

    let mut terminal = web.clone();
    Arc::make_mut(&mut terminal.spec).tty = true;
    let id = test
        .engine
        .create_container(&format!("{}.tty", web.base_name), &terminal)
        .await
        .unwrap();
    test.engine.start(&id).await.unwrap();
    ended(&test, &id).await;
    assert_eq!(
        test.engine.last_lines(&id, 2).await.unwrap(),
        ["line 5", "line 6"]
    );
    let gone = test.engine.last_lines(&"0".repeat(64), 2).await.unwrap_err();
    assert!(matches!(gone, EngineError::NotFound { .. }), "{gone:?}");
}

#[tokio::test]
async fn images_are_known_by_their_content() {
    let test = TestEngine::new("image").await;
    let one = test.image("a", "1", "one").await;
    let two = test.image("a", "2", "two").await;
    let (first, second) = (
        test.engine.image(&one).await.unwrap().unwrap(),
        test.engine.image(&two).await.unwrap().unwrap(),
    );
    assert_ne!(first.id, second.id);
    assert!(first.env.contains(&"VERSION=one".to_owned()) && !first.has_healthcheck);
    let name = one.split(':').next().unwrap();
    test.engine.tag(&second.id, name, "1").await.unwrap();
    assert_eq!(test.engine.image(&one).await.unwrap().unwrap().id, second.id);
    test.docker_ok(&["rmi", &first.id]);
    assert_eq!(test.engine.image(&first.id).await.unwrap(), None);
    let bad = test.engine.load(b"no archive".to_vec()).await.unwrap_err();
    assert!(!matches!(bad, EngineError::NotFound { .. }), "{bad:?}");
    // No registry is there: the engine cannot say whether the image exists.
    let pull = test
        .engine
        .pull("127.0.0.1:1/nobody/nothing:1", None, |_| {})
        .await
        .unwrap_err();
    assert!(matches!(pull, EngineError::Registry { .. }), "{pull:?}");
    let digest = test
        .engine
        .registry_digest("127.0.0.1:1/nobody/nothing:1")
        .await
        .unwrap_err();
    assert!(digest.says_nothing_about_the_release(), "{digest:?}");
}

#[tokio::test]
async fn the_engine_says_who_it_is() {
    let test = TestEngine::new("info").await;
    let info = test.engine.info().await.unwrap();
    assert!(!info.id.is_empty() && info.cpus > 0 && info.memory > 0);
    assert!(info.api.starts_with("1.") && !info.version.is_empty());
    assert_eq!(test.engine.info().await.unwrap(), info);
}

type Asked = std::sync::Arc<std::sync::Mutex<Vec<String>>>;

/// A server on a socket that answers `/version` as an engine does and everything else with `answer`.
fn server(answer: &'static str) -> (tempfile::TempDir, Engine, Asked) {
    server_of(move |_| answer.to_owned())
}

/// The same with an answer for each request line.
fn server_of(answer: impl Fn(&str) -> String + Send + 'static) -> (tempfile::TempDir, Engine, Asked) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let asked = Asked::default();
    let log = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 8192];
            let n = stream.read(&mut head).await.unwrap_or(0);
            let line = String::from_utf8_lossy(&head[..n])
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned();
            let said = if line.contains("/version") {
                ok(r#"{"ApiVersion":"1.41","MinAPIVersion":"1.12","Version":"20.10.24"}"#)
            } else {
                answer(&line)
            };
            log.lock().unwrap().push(line);
            let _ = stream.write_all(said.as_bytes()).await;
        }
    });
    let address = format!("unix://{}", socket.display());
    let engine = Engine::new(
        &address,
        "test-none".parse().unwrap(),
        "f".to_owned(),
        "/nowhere".into(),
    )
    .unwrap();
    (folder, engine, asked)
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn a_pull_asks_for_the_platform_of_the_service() {
    let (_folder, engine, asked) = server_of(|line| {
        ok(if line.contains("/images/create") {
            r#"{"status":"Pull complete"}"#
        } else {
            r#"{"Id":"sha256:1"}"#
        })
    });
    engine.pull("web:1", Some("linux/arm64"), |_| {}).await.unwrap();
    engine.pull("web:1", None, |_| {}).await.unwrap();
    let asked = asked.lock().unwrap();
    let pulls: Vec<&String> = asked.iter().filter(|l| l.contains("/images/create")).collect();
    let [first, second] = pulls.as_slice() else {
        panic!("{asked:?}")
    };
    assert!(first.contains("platform=linux%2Farm64"), "{first}");
    assert!(!second.contains("linux"), "{second}");
}

#[tokio::test]
async fn each_of_the_three_lists_must_be_readable() {
    let good = |line: &str| {
        ok(if line.contains("/volumes") {
            r#"{"Volumes":null,"Warnings":[]}"#
        } else {
            "[]"
        })
    };
    let (_folder, engine, asked) = server_of(good);
    assert_eq!(
        engine.observe().await.unwrap(),
        ringfence::plan::seen::Observation::default()
    );
    assert_eq!(
        asked.lock().unwrap().len(),
        4,
        "the version once, and three calls"
    );
    for bad in ["/containers", "/networks", "/volumes"] {
        for body in ["{}", "null", "[{}]"] {
            let answer = move |line: &str| if line.contains(bad) { ok(body) } else { good(line) };
            let (_folder, engine, _) = server_of(answer);
            let error = engine.observe().await.expect_err(bad);
            assert!(
                matches!(error, EngineError::Undecodable { .. }),
                "{bad} {body}: {error:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_engine_that_ignores_filters_makes_no_stranger_ours() {
    let container = |id: &str, instance: &str| {
        format!(
            r#"{{"Id":"{id}","Names":["/x"],"State":"running","Status":"Up","Created":1,"Labels":{{"{}":"{instance}"}}}}"#,
            labels::INSTANCE
        )
    };
    let both = format!(
        "[{},{}]",
        container("aa", "test-none"),
        container("bb", "test-other")
    );
    let volume = r#"{"Volumes":[{"Name":"v","Driver":"local","Mountpoint":"/v","Labels":null,"Options":null,"Scope":"local"}],"Warnings":null}"#;
    let (_folder, engine, _) = server_of(move |line| match line {
        line if line.contains("/containers") => ok(&both),
        line if line.contains("/volumes") => ok(volume),
        _ => ok("[]"),
    });
    let look = engine.observe().await.unwrap();
    assert_eq!(
        look.containers.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(),
        ["aa"]
    );
    assert!(look.volumes.is_empty());
}

#[tokio::test]
async fn what_is_no_engines_answer_is_never_an_empty_list() {
    let html = "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n<html>hi</html>";
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n[{\"Id\":\"0a\"";
    let short = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n[";
    let unknown_state =
        "HTTP/1.1 200 OK\r\nContent-Length: 32\r\n\r\n[{\"Id\":\"0a\",\"State\":\"levitating\"}]";
    let null = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull";
    let nothing = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    for answer in [html, cut, short, unknown_state, null, nothing, ""] {
        let (_folder, engine, _) = server(answer);
        let error = engine.observe().await.expect_err(answer);
        assert!(
            matches!(error, EngineError::Undecodable { .. } | EngineError::Lost { .. }),
            "{answer}: {error:?}"
        );
        assert!(error.says_nothing_about_the_release());
        let error = engine.inspect("0a").await.expect_err(answer);
        assert!(
            matches!(error, EngineError::Undecodable { .. } | EngineError::Lost { .. }),
            "{answer}: {error:?}"
        );
    }
}

#[tokio::test]
async fn another_servers_not_found_is_no_missing_object() {
    let (_folder, engine, _) =
        server("HTTP/1.1 404 Not Found\r\nContent-Length: 18\r\n\r\n404 page not found");
    assert!(matches!(
        engine.inspect("0a").await,
        Err(EngineError::Refused { status: 404, .. })
    ));
    assert!(matches!(
        engine.image("a:1").await,
        Err(EngineError::Refused { status: 404, .. })
    ));
    assert!(matches!(
        engine.remove("0a").await,
        Err(EngineError::Refused { status: 404, .. })
    ));
}

#[tokio::test]
async fn a_change_without_an_answer_is_lost_and_every_call_names_the_version() {
    let (_folder, engine, asked) = server("");
    let error = engine.start("0a").await.unwrap_err();
    assert!(matches!(error, EngineError::Lost { .. }), "{error:?}");
    let error = engine.create_volume("v", &BTreeMap::new()).await.unwrap_err();
    assert!(matches!(error, EngineError::Lost { .. }), "{error:?}");
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked[1], "POST /v1.41/containers/0a/start HTTP/1.1");
    assert_eq!(asked[2], "POST /v1.41/volumes/create HTTP/1.1");
    assert_eq!(
        asked.iter().filter(|line| line.contains("/version")).count(),
        1,
        "negotiated once: {asked:?}"
    );
}

#[tokio::test]
async fn a_stream_of_events_ends_with_an_error() {
    let (_folder, engine, _) = server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let items: Vec<_> = engine.events().collect().await;
    assert!(
        matches!(items.as_slice(), [Err(EngineError::Unreachable { .. })]),
        "{items:?}"
    );
}

#[tokio::test]
async fn where_nobody_listens_the_engine_is_unreachable_and_may_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("none.sock");
    let address = format!("unix://{}", socket.display());
    let engine = Engine::new(
        &address,
        "test-none".parse().unwrap(),
        "f".to_owned(),
        "/nowhere".into(),
    )
    .unwrap();
    assert!(matches!(
        engine.observe().await,
        Err(EngineError::Unreachable { .. })
    ));
    // A socket whose server is gone.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(matches!(
        engine.start("0a").await,
        Err(EngineError::Unreachable { .. })
    ));
    let items: Vec<_> = engine.events().collect().await;
    assert!(
        matches!(items.as_slice(), [Err(EngineError::Unreachable { .. })]),
        "{items:?}"
    );
    std::fs::remove_file(&socket).unwrap();
    let real = crate::support::engine::address();
    std::os::unix::fs::symlink(real.trim_start_matches("unix://"), &socket).unwrap();
    assert!(engine.info().await.is_ok());
}
