//! Each key of a service by itself, in its forms.

use super::super::service::*;
use super::super::*;
use super::{told, tree, vars};

/// One service `s` with these lines beside `image`, and what is said about it, as codes.
pub fn one(lines: &str) -> (Option<Service>, Vec<&'static str>) {
    let body: String = lines.lines().map(|l| format!("    {l}\n")).collect();
    let text = format!(
        "services:\n  s:\n    image: i\n{body}  db: {{image: d}}\nvolumes: {{v: }}\nnetworks: {{n: }}\n"
    );
    let files = tree(&[("t.yaml", &text), ("held/f.txt", "x")]);
    let reader = Reader::new();
    let compose = ComposeFiles::read(&files, &reader);
    let mut all = told(reader);
    let reader = Reader::new();
    let mut services = compose.resolve(&vars(), &reader);
    all.extend(told(reader));
    all.tidy();
    let own = all
        .iter()
        .filter(|f| !f.message.starts_with("the network `n`"))
        .map(|f| f.code)
        .collect();
    (services.remove("s").map(|s| s.as_ref().clone()), own)
}

pub fn good(lines: &str) -> Service {
    let (service, codes) = one(lines);
    let bad: Vec<_> = codes.iter().filter(|c| **c != "means-less").collect();
    assert!(bad.is_empty(), "{lines}: {codes:?}");
    service.unwrap_or_else(|| panic!("{lines}: absent"))
}

#[allow(clippy::unnecessary_wraps)] // as the service has it
fn words(list: &[&str]) -> Option<Vec<String>> {
    Some(list.iter().map(|w| (*w).to_owned()).collect())
}

#[test]
fn commands_are_lists_or_split_strings() {
    for (lines, want) in [
        ("command: [a, \"b c\", 1]", words(&["a", "b c", "1"])),
        ("command: a 'b c' $GIVEN", words(&["a", "b c", "given"])),
        ("command: >\n  a\n  b", words(&["a", "b"])),
        ("command: []", words(&[])),
        ("command:", None),
    ] {
        assert_eq!(good(lines).command, want, "{lines}");
    }
    assert_eq!(
        good("entrypoint: sh -c \"x y\"").entrypoint,
        words(&["sh", "-c", "x y"])
    );
}

#[test]
fn environment_is_a_map_or_a_list_and_values_stay_as_written() {
    let want: BTreeMap<String, String> = [
        ("A", "0644"),
        ("B", "on"),
        ("C", "1.10"),
        ("GIVEN", "given"),
        ("E", ""),
        ("F", "a=b"),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .into();
    for lines in [
        "environment: {A: 0644, B: on, C: 1.10, GIVEN: , E: \"\", F: a=b}",
        "environment: [A=0644, B=on, C=1.10, GIVEN, E=, F=a=b]",
    ] {
        assert_eq!(good(lines).environment, want, "{lines}");
    }
}

#[test]
fn an_entry_that_can_be_no_variable_is_told_once_in_its_own_words() {
    for (lines, want) in [
        ("environment: [\"p:8181\", A=b]", "environment"),
        ("environment: [.env, A=b]", "environment"),
        ("environment: {1x: , A: b}", "environment"),
        ("environment: [\"${H:-${1}}\", A=b]", "interpolation"),
        ("environment: [\"$NO\", A=b]", "missing-variable"),
    ] {
        let (service, mut codes) = one(lines);
        codes.dedup();
        assert_eq!(codes, [want], "{lines}");
        if want != "interpolation" {
            let names: Vec<_> = service.unwrap().environment.into_keys().collect();
            assert_eq!(names, ["A"], "{lines}");
        }
    }
}

#[test]
fn a_variable_without_a_value_is_empty_where_only_the_process_reads_it() {
    for (lines, want) in [
        ("environment: [NOBODY]", None),
        ("environment: {NOBODY: }", None),
        ("environment: [NOBODY=$NOBODY]", Some("")),
        ("environment: {NOBODY: \"a${NOBODY}b\"}", Some("ab")),
    ] {
        let (service, codes) = one(lines);
        assert_eq!(codes, ["missing-variable"], "{lines}");
        let environment = service.expect(lines).environment;
        assert_eq!(environment.get("NOBODY").map(String::as_str), want, "{lines}");
    }
    let (service, codes) = one("command: [run, \"--name=$NOBODY\"]");
    assert_eq!(codes, ["missing-variable"]);
    assert_eq!(service.unwrap().command.unwrap(), ["run", "--name="]);
}

#[test]
fn a_variable_without_a_value_is_refused_where_it_would_mean_something_else_or_is_insisted_on() {
    for lines in [
        "user: ${NOBODY}",
        "ports: [\"${NOBODY}:80\"]",
        "volumes: [\"${NOBODY}/data:/data\"]",
        "environment: {A: \"${NOBODY:?say who}\"}",
        "environment: {A: \"${NOBODY?}\"}",
        "environment: {A: $TENANT_NOBODY}",
        "environment: [RINGFENCE_NOBODY]",
    ] {
        let (service, codes) = one(lines);
        assert!(service.is_none(), "{lines}");
        assert!(codes.contains(&"missing-variable"), "{lines}: {codes:?}");
    }
}

#[test]
fn of_two_values_in_a_list_the_last_counts() {
    let (service, codes) = one("environment: [A=1, B=2, A=3]");
    assert_eq!(codes, ["duplicate-key"]);
    assert_eq!(service.unwrap().environment["A"], "3");
}

#[test]
fn restart_policies() {
    for (lines, want) in [
        ("restart: no", Restart::No),
        ("restart: \"no\"", Restart::No),
        ("restart: always", Restart::Always),
        ("restart: on-failure", Restart::OnFailure(0)),
        ("restart: on-failure:3", Restart::OnFailure(3)),
        ("restart: unless-stopped", Restart::UnlessStopped),
        ("deploy: {restart_policy: {condition: any}}", Restart::Always),
        (
            "deploy: {restart_policy: {condition: on-failure, max_attempts: 2}}",
            Restart::OnFailure(2),
        ),
        ("", Restart::No),
    ] {
        assert_eq!(good(lines).restart, want, "{lines}");
    }
}

#[test]
fn limits_in_short_and_long_form() {
    let want = Limits {
        memory: Some(64 << 20),
        memory_reservation: Some(32 << 20),
        nano_cpus: Some(500_000_000),
        pids: Some(9),
    };
    for lines in [
        "mem_limit: 64m\nmem_reservation: 32m\ncpus: 0.5\npids_limit: 9",
        "deploy: {resources: {limits: {memory: 64M, cpus: '0.5', pids: 9}, reservations: {memory: 32m}}}",
        "mem_limit: 64m\ndeploy: {resources: {limits: {memory: 67108864, cpus: 0.50, pids: 9}, reservations: {memory: 32m}}}",
    ] {
        assert_eq!(good(lines).limits, want, "{lines}");
    }
    for (lines, code) in [
        (
            "mem_limit: 64m\ndeploy: {resources: {limits: {memory: 65m}}}",
            "conflict",
        ),
        ("mem_limit: 64m\nmem_reservation: 65m", "limit"),
        ("mem_limit: 1k", "limit"),
        ("pids_limit: 0", "limit"),
        ("cpus: .inf", "limit"),
        ("cpus: 1e9", "limit"),
    ] {
        assert_eq!(one(lines), (None, vec![code]), "{lines}");
    }
}

#[test]
fn what_a_service_is_depends_on_no_tenant() {
    for (lines, want) in [
        ("profiles: [$GIVEN]", "missing-variable"),
        ("profiles: [$TENANT_SLUG]", "no-variables"),
        ("pull_policy: ${GIVEN:-always}", "no-variables"),
        ("depends_on: [\"${GIVEN:-db}\"]", "no-variables"),
        ("x-ringfence: {scope: \"${GIVEN:-ring}\"}", "no-variables"),
    ] {
        let (service, codes) = one(lines);
        let codes: Vec<_> = codes.into_iter().filter(|c| *c != "means-less").collect();
        assert_eq!(codes, [want], "{lines}");
        assert_eq!(service, None, "{lines}");
    }
    // A default, or `.env`, is the same for all.
    assert_eq!(good("pull_policy: ${PULL:-always}").pull, PullPolicy::Always);
    assert_eq!(good("pull_policy: ${PULL:-}").pull, PullPolicy::Missing);
    assert!(
        good("depends_on: [\"${NEEDS:-db}\"]")
            .depends_on
            .contains_key("db")
    );
    assert_eq!(
        good("profiles: [\"p${ONE_VERSION}\", \"${NO:-}\"]").profiles,
        ["p1.2"]
    );
    assert_eq!(good("x-ringfence: {scope: \"${S:-ring}\"}").scope, Scope::Ring);
}

#[test]
fn a_name_whose_variable_has_no_value_is_left_out() {
    for lines in [
        "container_name: ${NO}-web",
        "hostname: \"$NO\"",
        "container_name: web\nhostname: ${NO}.example.org",
    ] {
        let (service, mut codes) = one(lines);
        let service = service.unwrap_or_else(|| panic!("{lines}: {codes:?}"));
        assert_eq!(service.hostname, None, "{lines}");
        codes.retain(|c| *c != "means-less");
        assert_eq!(codes, ["missing-variable"], "{lines}");
    }
    // One of ours, and one that is insisted on.
    assert!(one("container_name: \"${TENANT_NO}\"").0.is_none());
    assert!(one("container_name: ${NO:?}").0.is_none());
    let text = "services: {s: {image: i, networks: [n], volumes: [\"v:/v\"]}}\nnetworks: {n: {name: \"${NO}_n\"}}\nvolumes: {v: {name: $NO}}\n";
    let reader = Reader::new();
    let compose = ComposeFiles::read(&tree(&[("t.yaml", text)]), &reader);
    assert!(!told(reader).has_errors());
    let reader = Reader::new();
    assert_eq!(compose.resolve(&vars(), &reader).len(), 1);
    let said: Vec<_> = told(reader).iter().map(|f| (f.severity, f.code)).collect();
    let warned = (Severity::Warning, "missing-variable");
    assert_eq!(said.iter().filter(|s| **s == warned).count(), 2, "{said:?}");
    assert!(!said.iter().any(|s| s.0 == Severity::Error), "{said:?}");
}

#[test]
fn what_says_the_same_in_other_words_is_taken() {
    let port = |lines: &str| {
        let ports = good(lines).ports;
        (ports[0].ip.clone(), ports[0].host, ports[0].protocol)
    };
    let local = |protocol| ("127.0.0.1".to_owned(), Some(443), protocol);
    assert_eq!(port("ports: [\"${HTTPS_BIND:-}:443:443\"]"), local(Protocol::Tcp));
    assert_eq!(
        port("ports: [{target: 443, published: 443, host_ip: \"\", protocol: UDP}]"),
        local(Protocol::Udp)
    );
    for (word, want) in [
        ("always", Restart::Always),
        ("\"no\"", Restart::No),
        ("unless-stopped", Restart::UnlessStopped),
    ] {
        let lines = format!("deploy: {{restart_policy: {{condition: {word}}}}}");
        assert_eq!(good(&lines).restart, want);
    }
    let (service, codes) = one("deploy: {mode: global}");
    assert!(service.is_some());
    assert_eq!(codes, ["means-less"]);
    assert_eq!(one("deploy: {mode: global-job}").1, ["not-carried-out"]);
    assert_eq!(one("runtime: runc").1, Vec::<&str>::new());
    assert_eq!(one("runtime: nvidia").1, ["not-carried-out"]);
    let (service, codes) = one("volumes: [\"v:/t\", \"v:/t/\"]");
    assert_eq!(service.unwrap().mounts.len(), 1);
    assert_eq!(codes, ["means-less"]);
    assert_eq!(one("volumes: [\"v:/t\", \"v:/t:ro\"]").1, ["duplicate-mount"]);
}

#[test]
fn ports_bind_to_the_hosts_own_address() {
    let port = |ip: &str, host, container, protocol| Port {
        container,
        host,
        ip: ip.to_owned(),
        protocol,
    };
    for (lines, want) in [
        ("ports: [80]", vec![port("127.0.0.1", None, 80, Protocol::Tcp)]),
        (
            "ports: [3306:3306]",
            vec![port("127.0.0.1", Some(3306), 3306, Protocol::Tcp)],
        ),
        (
            "ports: [\"[::1]:1:2\"]",
            vec![port("::1", Some(1), 2, Protocol::Tcp)],
        ),
        (
            "ports: [\"127.0.0.2:1:2/udp\"]",
            vec![port("127.0.0.2", Some(1), 2, Protocol::Udp)],
        ),
        ("ports: [{target: 80, published: \"8080-8081\"}]", vec![]),
        (
            "ports: [{target: 80, published: 8080, host_ip: 127.0.0.1, protocol: udp}]",
            vec![port("127.0.0.1", Some(8080), 80, Protocol::Udp)],
        ),
    ] {
        if want.is_empty() {
            assert_eq!(one(lines).0, None, "{lines}");
        } else {
            assert_eq!(good(lines).ports, want, "{lines}");
        }
    }
    for lines in [
        "ports: [\"0.0.0.0:80:80\"]",
        "ports: [\"192.168.1.2:80:80\"]",
        "ports: [\"[::]:80:80\"]",
    ] {
        assert_eq!(one(lines), (None, vec!["not-carried-out"]), "{lines}");
    }
}

#[test]
fn dependencies_are_a_list_or_a_map_of_conditions() {
    let of = |lines: &str| {
        let service = good(lines);
        let db = &service.depends_on["db"];
        (db.condition, db.required)
    };
    assert_eq!(of("depends_on: [db]"), (Condition::Started, true));
    assert_eq!(of("depends_on: {db: }"), (Condition::Started, true));
    assert_eq!(
        of("depends_on: {db: {condition: service_healthy, required: false}}"),
        (Condition::Healthy, false)
    );
    assert_eq!(
        of("depends_on: {db: {condition: service_completed_successfully}}"),
        (Condition::Completed, true)
    );
    assert_eq!(
        one("depends_on: {db: {condition: healthy}}"),
        (None, vec!["unknown-value"])
    );
}

#[test]
fn healthchecks_in_their_forms() {
    let test = |lines: &str| match good(lines).healthcheck {
        Some(Healthcheck::Set { test, .. }) => test,
        other => panic!("{lines}: {other:?}"),
    };
    assert_eq!(
        test("healthcheck: {test: curl x | grep y}"),
        words(&["CMD-SHELL", "curl x | grep y"])
    );
    assert_eq!(
        test("healthcheck: {test: [CMD, a, b]}"),
        words(&["CMD", "a", "b"])
    );
    assert_eq!(test("healthcheck: {interval: 5s}"), None);
    for lines in [
        "healthcheck: {disable: true}",
        "healthcheck: {disable: true, test: [CMD, a]}",
        "healthcheck: {test: [NONE]}",
    ] {
        assert_eq!(good(lines).healthcheck, Some(Healthcheck::Disabled), "{lines}");
    }
    for (lines, code) in [
        ("healthcheck: {test: []}", "healthcheck"),
        ("healthcheck: {test: \" \"}", "healthcheck"),
        ("healthcheck: {test: [a, b]}", "healthcheck"),
        ("healthcheck: {test: x, interval: 5}", "duration"),
        ("healthcheck: {test: x, timeout: 0s}", "duration"),
        ("healthcheck: {test: x, retries: -1}", "out-of-range"),
    ] {
        assert_eq!(one(lines), (None, vec![code]), "{lines}");
    }
}

#[test]
fn the_extension_says_scope_rollout_and_probe() {
    let service = good(
        "x-ringfence: {scope: ring, rollout: {order: stop-first, drain: 3s}, probe: {http: \":80\", retries: 1}}",
    );
    assert_eq!(service.scope, Scope::Ring);
    assert_eq!(
        service.rollout,
        Rollout {
            order: Some(Order::StopFirst),
            drain_ms: 3000
        }
    );
    let probe = service.probe.unwrap();
    assert_eq!((probe.interval_ms, probe.retries), (5000, 1));
    assert_eq!(
        probe.kind,
        ProbeKind::Http {
            port: 80,
            path: "/".to_owned()
        }
    );
    for lines in [
        "x-ringfence: {probe: {tcp: 5432}}",
        "x-ringfence: {probe: {tcp: \":5432\"}}",
    ] {
        assert_eq!(
            good(lines).probe.unwrap().kind,
            ProbeKind::Tcp { port: 5432 },
            "{lines}"
        );
    }
    for (lines, code) in [
        ("x-ringfence: {probe: {}}", "missing-key"),
        ("x-ringfence: {probe: {tcp: 1, http: 2}}", "conflict"),
        ("x-ringfence: {probe: {tcp: 0}}", "probe"),
        ("x-ringfence: {probe: {http: \"http://x\"}}", "probe"),
        ("x-ringfence: {scop: ring}", "unknown-key"),
        ("x-ringfence: {scope: host}", "unknown-value"),
        ("x-ringfence: {rollout: {drain: 1}}", "duration"),
    ] {
        assert_eq!(one(lines), (None, vec![code]), "{lines}");
    }
    assert_eq!(
        one("x-rinfence: {scope: ring}").1,
        ["unknown-key"],
        "a slip is told"
    );
}

#[test]
fn the_small_keys() {
    let s = good(
        "user: 1000:1000\nworking_dir: /app\nread_only: true\ninit: false\ntty: true\nstdin_open: true\nstop_signal: SIGINT\nstop_grace_period: 1m\nhostname: h\ncontainer_name: c\nnetworks: {n: {aliases: [a, s]}}\nprofiles: [p]\npull_policy: if_not_present\nlabels: [a=b, c]\nexpose: [80, \"81/udp\"]",
    );
    assert_eq!(s.user.as_deref(), Some("1000:1000"));
    assert_eq!(s.working_dir.as_deref(), Some("/app"));
    assert_eq!(
        (s.read_only, s.init, s.tty, s.stdin_open),
        (true, Some(false), true, true)
    );
    assert_eq!(s.stop_signal.as_deref(), Some("SIGINT"));
    assert_eq!(s.stop_grace_ms, 60_000);
    assert_eq!(s.hostname.as_deref(), Some("h"));
    assert_eq!(
        s.aliases.iter().map(String::as_str).collect::<Vec<_>>(),
        ["a", "c", "h"]
    );
    assert_eq!(s.profiles, ["p"]);
    assert_eq!(s.pull, PullPolicy::Missing);
    assert_eq!(s.labels["c"], "");
    assert_eq!(good("").stop_grace_ms, 10_000);
    assert_eq!(
        one("networks: [other]"),
        (None, vec!["means-less", "unknown-network"])
    );
    for (lines, code) in [
        ("hostname: gateway", "host-name"),
        ("container_name: a b", "host-name"),
        ("network_mode: \"service:db\"", "not-carried-out"),
        ("pull_policy: daily", "not-carried-out"),
        ("labels: {a: \"x\\ny\"}", "label"),
        ("read_only: maybe", "wrong-type"),
        ("env_file: ./none.env", "missing-file"),
        ("env_file: /etc/passwd", "host-path"),
        ("build: .", "not-carried-out"),
    ] {
        assert_eq!(one(lines), (None, vec![code]), "{lines}");
    }
}

#[test]
fn every_key_that_is_not_carried_out_is_refused_with_a_next_step() {
    for key in [
        "annotations",
        "build",
        "cgroup",
        "cgroup_parent",
        "cpu_count",
        "cpu_percent",
        "cpu_rt_period",
        "cpu_rt_runtime",
        "credential_spec",
        "develop",
        "device_cgroup_rules",
        "devices",
        "external_links",
        "ipc",
        "isolation",
        "models",
        "network_mode",
        "oom_kill_disable",
        "pid",
        "post_start",
        "pre_start",
        "pre_stop",
        "privileged",
        "provider",
        "runtime",
        "scale",
        "storage_opt",
        "use_api_socket",
        "userns_mode",
        "uts",
        "volume_driver",
        "volumes_from",
    ] {
        assert_eq!(
            one(&format!("{key}: something")),
            (None, vec!["not-carried-out"]),
            "{key}"
        );
    }
}
