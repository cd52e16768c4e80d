//! The keys that few services use, one by one.

use super::super::service::*;
use super::keys::{good, one};

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

#[test]
fn what_says_the_default_is_no_option() {
    for lines in [
        "",
        "cap_add: [NET_BIND_SERVICE, chown]",
        "security_opt: [\"no-new-privileges:false\"]",
        "cpu_shares: 1024",
        "cpu_shares: 0",
        "shm_size: 64m",
        "oom_score_adj: 0",
        "blkio_config: {weight: 500}",
        "isolation: default",
        "dns_search: [.]",
        "dns_opt: [\"ndots:0\"]",
        "memswap_limit: 1g",
        "mem_swappiness: 0",
        "mac_address: 02:42:ac:11:65:43",
    ] {
        assert_eq!(good(lines).options, Options::default(), "{lines}");
    }
}

#[test]
fn rights_are_given_up_and_the_usual_ones_kept() {
    let s = good(
        "cap_drop: [all]\ncap_add: [CAP_CHOWN, setuid]\nsecurity_opt: [\"no-new-privileges=true\"]\nipc: private\ncgroup: private\ngroup_add: [audio, 44]",
    );
    assert!(s.options.cap_drop.contains("ALL"));
    assert_eq!(
        s.options.cap_add.into_iter().collect::<Vec<_>>(),
        ["CHOWN", "SETUID"]
    );
    assert!(s.options.no_new_privileges);
    assert_eq!(s.options.group_add, strings(&["audio", "44"]));
    for opt in [
        "no-new-privileges",
        "\"no-new-privileges:true\"",
        "no-new-privileges=true",
    ] {
        assert!(
            good(&format!("security_opt: [{opt}]")).options.no_new_privileges,
            "{opt}"
        );
    }
    for (lines, code) in [
        ("cap_add: [NET_ADMIN]", "not-carried-out"),
        ("cap_add: [ALL]", "not-carried-out"),
        ("cap_drop: [ALL]\ncap_add: [sys_admin]", "not-carried-out"),
        ("cap_drop: [NETADMIN]", "unknown-value"),
        ("security_opt: [\"seccomp:unconfined\"]", "not-carried-out"),
        ("security_opt: [\"apparmor=unconfined\"]", "not-carried-out"),
        ("security_opt: [\"label:disable\"]", "not-carried-out"),
        ("security_opt: [\"no-new-privileges:maybe\"]", "unknown-value"),
        ("ipc: host", "not-carried-out"),
        ("ipc: \"service:db\"", "not-carried-out"),
        ("cgroup: host", "not-carried-out"),
        ("group_add: [\"a b\"]", "group"),
    ] {
        assert_eq!(one(lines), (None, vec![code]), "{lines}");
    }
}

#[test]
fn kernel_settings_of_the_container_alone() {
    for lines in [
        "sysctls: {net.core.somaxconn: 1024, net.ipv4.tcp_syncookies: 0}",
        "sysctls: [net.core.somaxconn=1024, net.ipv4.tcp_syncookies=0]",
    ] {
        let sysctls = good(lines).sysctls;
        assert_eq!(sysctls["net.core.somaxconn"], "1024", "{lines}");
        assert_eq!(sysctls["net.ipv4.tcp_syncookies"], "0", "{lines}");
    }
    assert_eq!(good("sysctls: {net.ipv4.ip_forward: 0}").sysctls.len(), 1);
    for lines in [
        "sysctls: {net.ipv4.ip_forward: 1}",
        "sysctls: [net.ipv6.conf.all.forwarding=1]",
        "sysctls: {kernel.hostname: x}",
        "sysctls: {vm.max_map_count: 262144}",
        "sysctls: {net.ipv4.conf.all.route_localnet: 1}",
        "sysctls: {\"net.ipv4.tcp_/../ip_forward\": 1}",
    ] {
        assert_eq!(one(lines), (None, vec!["not-carried-out"]), "{lines}");
    }
}

#[test]
fn limits_of_processes_and_weights() {
    let s = good(
        "ulimits: {nproc: 65535, nofile: {soft: 20000, hard: 40000}, memlock: -1, core: {soft: 0, hard: -1}}\nshm_size: 128m\ncpuset: 0-1,3\ncpu_shares: 512\noom_score_adj: 500\nblkio_config: {weight: 100}\nplatform: linux/amd64",
    );
    let of = |name: &str| (s.options.ulimits[name].soft, s.options.ulimits[name].hard);
    assert_eq!(
        (of("nproc"), of("nofile"), of("memlock"), of("core")),
        ((65535, 65535), (20000, 40000), (-1, -1), (0, -1))
    );
    assert_eq!(s.options.shm_size, Some(128 << 20));
    assert_eq!(s.options.cpuset.as_deref(), Some("0-1,3"));
    assert_eq!(
        (
            s.options.cpu_shares,
            s.options.oom_score_adj,
            s.options.blkio_weight
        ),
        (Some(512), Some(500), Some(100))
    );
    assert_eq!(s.options.platform.as_deref(), Some("linux/amd64"));
    assert_eq!(good("cpu_quota: 50000").limits.nano_cpus, Some(500_000_000));
    assert_eq!(
        good("cpu_quota: 50000\ncpu_period: 25ms").limits.nano_cpus,
        Some(2_000_000_000)
    );
    for (lines, code) in [
        ("ulimits: {nofiles: 1}", "unknown-key"),
        ("ulimits: {nofile: {soft: 2, hard: 1}}", "limit"),
        ("ulimits: {nofile: {soft: -1, hard: 1}}", "limit"),
        ("ulimits: {nofile: {soft: 2}}", "missing-key"),
        ("ulimits: {nofile: -2}", "out-of-range"),
        ("cpu_shares: 2048", "out-of-range"),
        ("oom_score_adj: -500", "out-of-range"),
        ("shm_size: 1zb", "size"),
        ("shm_size: 0", "size"),
        ("cpuset: 3-1", "cpuset"),
        ("platform: linux/", "platform"),
        (
            "blkio_config: {device_read_bps: [{path: /dev/sda, rate: 1}]}",
            "not-carried-out",
        ),
        ("cpus: 1\ncpu_quota: 50000", "conflict"),
    ] {
        assert_eq!(one(lines), (None, vec![code]), "{lines}");
    }
}

#[test]
fn logs_are_kept_here_or_refused() {
    let logging = |lines: &str| good(lines).options.logging.unwrap();
    assert_eq!(logging("logging: {driver: local}").driver, "local");
    assert_eq!(logging("logging: {driver: none}").driver, "none");
    let bounded = logging("logging: {options: {max-size: 5m, max-file: 2}}");
    assert_eq!(bounded.driver, "json-file");
    assert_eq!(bounded.options["max-size"], "5m");
    for (lines, code) in [
        (
            "logging: {driver: syslog, options: {syslog-address: x}}",
            "not-carried-out",
        ),
        ("logging: {driver: journald}", "not-carried-out"),
        ("logging: {options: {max-size: -1}}", "limit"),
        ("logging: {options: {max-sise: 1m}}", "unknown-key"),
    ] {
        assert_eq!(one(lines), (None, vec![code]), "{lines}");
    }
}

#[test]
fn names_and_name_servers() {
    let s = good(
        "dns: 9.9.9.9\ndns_search: [example.org, .]\ndns_opt: [\"timeout:2\", \"ndots:5\"]\nextra_hosts: [\"a:192.0.2.1\", \"b=::1\", \"c:[::1]\"]\nhostname: mail\ndomainname: example.org\nlinks: [db, \"db:database\"]",
    );
    assert_eq!(s.options.dns, strings(&["9.9.9.9"]));
    assert_eq!(s.options.dns_search, strings(&["example.org"]));
    assert_eq!(s.options.dns_opt, strings(&["timeout:2"]));
    assert_eq!(s.options.hosts, strings(&["a:192.0.2.1", "b:::1", "c:::1"]));
    assert_eq!(s.options.domainname.as_deref(), Some("example.org"));
    assert!(s.aliases.contains("mail.example.org"));
    assert_eq!(s.links["database"], "db");
    assert_eq!(s.depends_on["db"].condition, Condition::Started);
    assert_eq!(
        good("extra_hosts: {a: 192.0.2.1, b: [192.0.2.2, 192.0.2.3]}")
            .options
            .hosts,
        strings(&["a:192.0.2.1", "b:192.0.2.2", "b:192.0.2.3"])
    );
    let (service, codes) = one("extra_hosts: [\"host.docker.internal:host-gateway\"]");
    assert_eq!(
        service.unwrap().options.hosts,
        strings(&["host.docker.internal:host-gateway"])
    );
    assert_eq!(codes, ["host-gateway"]);
    for (lines, code) in [
        ("dns: [localhost]", "address"),
        ("extra_hosts: [a]", "extra-host"),
        ("extra_hosts: {a: b}", "extra-host"),
        ("extra_hosts: {gateway: 192.0.2.1}", "host-name"),
        ("links: [nobody]", "unknown-service"),
        ("links: [s]", "link"),
    ] {
        let (service, codes) = one(lines);
        assert_eq!(codes, [code], "{lines}");
        assert!(service.is_none() || code == "unknown-service", "{lines}");
    }
}

#[test]
fn gpus_are_devices_that_may_be_asked_for() {
    let asked = |lines: &str| good(lines).options.devices.remove(0);
    let all = asked("gpus: all");
    assert_eq!((all.count, all.capabilities), (Some(-1), strings(&["gpu"])));
    let long = asked(
        "deploy: {resources: {reservations: {devices: [{driver: nvidia, count: 2, capabilities: [gpu, utility]}]}}}",
    );
    assert_eq!((long.driver.as_str(), long.count), ("nvidia", Some(2)));
    let ids = asked("gpus: [{device_ids: [\"0\", \"3\"]}]");
    assert_eq!((ids.count, ids.ids), (None, strings(&["0", "3"])));
    assert_eq!(
        asked("deploy: {resources: {reservations: {devices: [{count: all, capabilities: [[gpu]]}]}}}").count,
        Some(-1)
    );
    for (lines, code) in [
        ("gpus: [{count: 1, device_ids: [a]}]", "conflict"),
        ("gpus: [{driver: cdi, device_ids: [a]}]", "not-carried-out"),
        ("gpus: [{capabilities: [tpu]}]", "not-carried-out"),
        (
            "deploy: {resources: {reservations: {devices: [{count: 1}]}}}",
            "missing-key",
        ),
    ] {
        assert_eq!(one(lines), (None, vec![code]), "{lines}");
    }
}

#[test]
fn files_of_values_and_labels() {
    let s =
        good("label_file: [files/one.env]\nlabels: {B: own}\nenv_file: [{path: files/one.env, format: raw}]");
    assert_eq!((s.labels["A"].as_str(), s.labels["B"].as_str()), ("1", "own"));
    assert_eq!(s.environment["C"], "${A}${GIVEN:-}", "raw");
    assert_eq!(
        one("env_file: [{path: none.env, required: false}]").1,
        Vec::<&str>::new()
    );
    assert!(good("volumes: [\"v:/t:nocopy\"]").mounts[0].no_copy);
    assert!(
        good("volumes: [{type: volume, source: v, target: /t, volume: {nocopy: true}}]").mounts[0].no_copy
    );
}
