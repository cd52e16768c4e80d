//! Mounts in their forms, and what they may reach.

use super::super::service::*;
use super::super::*;
use super::keys::{good, one};
use super::{told, tree, vars};

#[test]
fn mounts_in_their_forms() {
    let volume = |name: &str| MountSource::Volume(name.to_owned());
    for (lines, source, read_only) in [
        ("volumes: [v:/t]", volume("v"), false),
        ("volumes: [v:/t/:ro]", volume("v"), true),
        ("volumes: [\"./data:/t:rw,z\"]", volume("data"), false),
        (
            "volumes: [{type: volume, source: v, target: /t, read_only: true}]",
            volume("v"),
            true,
        ),
        (
            "volumes: [{type: bind, source: ./a/b, target: /t}]",
            volume("a-b"),
            false,
        ),
        ("volumes: [\"${PWD}/a/b:/t\"]", volume("a-b"), false),
        ("volumes: [\"$PWD/data:/t:ro\"]", volume("data"), true),
        (
            "volumes: [{type: bind, source: \"${PWD}/data\", target: /t}]",
            volume("data"),
            false,
        ),
        (
            "volumes: [/etc/timezone:/t:ro]",
            MountSource::Host("/etc/timezone".to_owned()),
            true,
        ),
        ("volumes: [/t]", volume("s-t"), false),
        ("volumes: [{type: volume, target: /t}]", volume("s-t"), false),
        (
            "tmpfs: [\"/t:uid=1,exec\"]",
            MountSource::Tmpfs {
                size: None,
                mode: None,
                options: ["exec", "uid=1"].map(str::to_owned).into(),
            },
            false,
        ),
        (
            "tmpfs: /t:size=1m,mode=0700",
            MountSource::Tmpfs {
                size: Some(1 << 20),
                mode: Some(0o700),
                options: BTreeSet::new(),
            },
            false,
        ),
        (
            "volumes: [{type: tmpfs, target: /t, tmpfs: {size: 1m}}]",
            MountSource::Tmpfs {
                size: Some(1 << 20),
                mode: None,
                options: BTreeSet::new(),
            },
            false,
        ),
    ] {
        let mounts = good(lines).mounts;
        assert_eq!(mounts.len(), 1, "{lines}");
        assert_eq!(
            (mounts[0].target.as_str(), &mounts[0].source, mounts[0].read_only),
            ("/t", &source, read_only),
            "{lines}"
        );
    }
}

#[test]
fn what_the_release_holds_is_mounted_from_it_read_only() {
    for (lines, single) in [
        ("volumes: [./held:/t]", None),
        ("volumes: [./held/f.txt:/t]", Some("f.txt")),
        ("volumes: [\"./held/../held/f.txt:/t:ro\"]", Some("f.txt")),
    ] {
        let mounts = good(lines).mounts;
        let MountSource::Release(set) = &mounts[0].source else {
            panic!("{lines}")
        };
        assert_eq!(set.single.as_deref(), single, "{lines}");
        assert_eq!(set.files["f.txt"].1.as_ref(), b"x", "{lines}");
        assert!(mounts[0].read_only, "{lines}");
    }
}

#[test]
fn a_mount_inside_a_read_only_one_is_told() {
    let (service, codes) = one("volumes: [./held:/etc/app, v:/etc/app/data, v:/etc/app2]");
    assert!(service.is_some());
    assert_eq!(codes, ["means-less", "nested-mount"]);
}

#[test]
fn mounts_that_reach_the_host_are_refused() {
    for (lines, code) in [
        ("volumes: [/srv:/t]", "host-path"),
        ("volumes: [\"~/x:/t\"]", "host-path"),
        ("volumes: [\"C:\\\\x:/t\"]", "host-path"),
        (
            "volumes: [/var/run/docker.sock:/var/run/docker.sock]",
            "engine-socket",
        ),
        ("volumes: [/run/podman/podman.sock:/x]", "engine-socket"),
        ("volumes: [../../rings:/t]", "path"),
        ("volumes: [./a/../../tenants:/t]", "path"),
        ("volumes: [../secrets/acme:/t]", "path"),
        ("volumes: [../../..:/t]", "path"),
        ("volumes: [\"..:/t\"]", "path"),
        ("env_file: ../x.env", "path"),
        ("volumes: [v:/sys/fs]", "mount-target"),
        ("volumes: [v:/dev]", "mount-target"),
        ("volumes: [v:/run/ringfence]", "mount-target"),
        ("volumes: [{type: bind, source: /, target: /t}]", "host-path"),
        ("volumes: [other:/t]", "unknown-volume"),
        ("volumes: [\":/t\"]", "mount"),
    ] {
        assert_eq!(one(lines), (None, vec![code]), "{lines}");
    }
}

#[test]
fn a_refused_host_path_is_told_in_words_about_it() {
    let told_of = |lines: &str| {
        let text = format!("services: {{s: {{image: i, volumes: [{lines}]}}}}\n");
        let files = tree(&[("t.yaml", &text)]);
        let compose = ComposeFiles::read(&files, &Reader::new());
        let reader = Reader::new();
        compose.resolve(&vars(), &reader);
        let all = told(reader);
        assert_eq!(all.count(Severity::Error), 1, "{lines}: {all:?}");
        let finding = all.iter().find(|f| f.severity == Severity::Error).unwrap();
        (finding.code, finding.help.clone().unwrap())
    };
    for source in [
        "/",
        "/proc",
        "/sys/fs/cgroup",
        "/dev/dri",
        "/dev/shm",
        "/dev/null",
    ] {
        for target in ["/x", source] {
            let (code, help) = told_of(&format!("\"{source}:{target}:ro\""));
            assert_eq!(code, "host-path", "{source}");
            assert!(help.starts_with("remove it; "), "{source}: {help}");
        }
    }
    for lines in [
        "\"${NO}/x:/x\"",
        "\"$NO/x:/x\"",
        "\"${NO:-/srv}/x:/x\"",
        "{type: bind, source: \"$NO/x\", target: /x}",
        "{type: bind, source: \"${NO:-/srv}\", target: /x}",
    ] {
        let (_, help) = told_of(lines);
        assert!(
            help.starts_with("give `NO` the value `./data`"),
            "{lines}: {help}"
        );
    }
    let (code, help) = told_of("\"./x/$NO:/x\"");
    assert_eq!(code, "missing-variable");
    assert!(help.contains("config_overrides"), "{help}");
}

#[test]
fn a_path_outside_the_folder_is_the_tenants_own_volume_and_never_read() {
    for (path, name) in [
        ("../data", "data"),
        ("./a/../../Data/db", "data-db"),
        ("../../media", "media"),
        ("../../../srv/x/", "srv-x"),
    ] {
        let service = good(&format!("volumes: [\"{path}:/t:ro\"]"));
        assert_eq!(
            service.mounts[0].source,
            MountSource::Volume(name.to_owned()),
            "{path}"
        );
    }
    assert_eq!(
        one("volumes: [../x:/a, ./x:/b]").1,
        ["means-less", "volume-clash"]
    );
    let (service, codes) = one("volumes: [../nginx.conf:/a]");
    assert!(service.is_some());
    assert_eq!(codes, ["looks-like-a-file"]);
}

#[test]
fn a_variable_cannot_lead_a_mount_out_of_the_folder() {
    let text = "services: {s: {image: i, volumes: [\"./${P}:/t\", \"${Q}:/u\"]}}\n";
    let reader = Reader::new();
    let compose = ComposeFiles::read(&tree(&[("t.yaml", text)]), &reader);
    assert!(told(reader).is_empty(), "nothing is known yet");
    for (p, q, want) in [
        ("data", "./x", 1),
        ("../..", "./x", 0),
        ("data", "/", 0),
        ("data", "/var/run/docker.sock", 0),
    ] {
        let vars = Vars {
            common: BTreeMap::from([("P".to_owned(), p.to_owned()), ("Q".to_owned(), q.to_owned())]),
            ..Vars::default()
        };
        let reader = Reader::new();
        assert_eq!(compose.resolve(&vars, &reader).len(), want, "{p} {q}");
        assert_eq!(told(reader).has_errors(), want == 0, "{p} {q}");
    }
}
