//! Commits that hold what no file of a fixture can: links, submodules, names and modes that no git writes. A fleet that
//! gets one goes on as it was, and says why.

use std::io::Write as _;
use std::process::Stdio;

use crate::support::fleet::{TestFleet, agent};

/// A line of a tree as git stores it: mode, name, id.
type Line<'a> = (&'a str, &'a [u8], String);

/// Writes an object as it is, though no git would.
fn object(fleet: &TestFleet, kind: &str, bytes: &[u8]) -> String {
    let mut child = fleet
        .git_command()
        .args(["hash-object", "-w", "--literally", "--stdin", "-t", kind])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn tree(fleet: &TestFleet, lines: &[Line<'_>]) -> String {
    let mut bytes = Vec::new();
    for (mode, name, id) in lines {
        bytes.extend(mode.bytes());
        bytes.push(b' ');
        bytes.extend(*name);
        bytes.push(0);
        let hex = |i: usize| u8::from_str_radix(&id[i..i + 2], 16).unwrap();
        bytes.extend((0..40).step_by(2).map(hex));
    }
    object(fleet, "tree", &bytes)
}

/// Commits `main`'s tree with one more entry in `desired/`, and moves `main` there.
fn commit_with(fleet: &TestFleet, entry: Line<'_>) -> String {
    let id = |what: &str| fleet.git(&["rev-parse", what]);
    let mut desired: Vec<(String, Vec<u8>, String)> = fleet
        .git(&["ls-tree", "main:desired"])
        .lines()
        .map(|line| {
            let (head, name) = line.split_once('\t').unwrap();
            let mut words = head.split(' ');
            let mode = words.next().unwrap().trim_start_matches('0').to_owned();
            (mode, name.as_bytes().to_vec(), words.nth(1).unwrap().to_owned())
        })
        .collect();
    desired.push((entry.0.to_owned(), entry.1.to_vec(), entry.2));
    desired.sort_by(|a, b| a.1.cmp(&b.1));
    let lines: Vec<Line<'_>> = desired
        .iter()
        .map(|(m, n, i)| (m.as_str(), n.as_slice(), i.clone()))
        .collect();
    let desired = tree(fleet, &lines);
    let root = tree(
        fleet,
        &[
            ("40000", b"desired", desired),
            ("40000", b"rings", id("main:rings")),
            ("100644", b"ringfence.yaml", id("main:ringfence.yaml")),
        ],
    );
    let commit = fleet.git(&["commit-tree", &root, "-p", "main", "-m", "odd"]);
    fleet.git(&["update-ref", "refs/heads/main", &commit]);
    commit
}

#[test]
fn a_commit_with_odd_objects_changes_nothing_and_is_told() {
    let fleet = TestFleet::one_ring("odd-objects");
    fleet.ringfence(&["apply"]).expect(0);
    let before = fleet.ids();
    let good = fleet.git(&["rev-parse", "main"]);
    let blob = object(&fleet, "blob", b"x: 1\n");
    let passwd = object(&fleet, "blob", b"/etc/passwd");
    for (what, mode, name, id, told) in [
        (
            "a link",
            "120000",
            &b"plans.yaml"[..],
            passwd.clone(),
            "symbolic links are refused",
        ),
        (
            "a submodule",
            "160000",
            b"plans.yaml",
            good.clone(),
            "submodules are refused",
        ),
        (
            "no UTF-8",
            "100644",
            b"pl\xffans.yaml",
            blob.clone(),
            "nothing reads",
        ),
        ("a cursor", "100644", b"a\x1b[2Jb", blob.clone(), "nothing reads"),
        ("a line break", "100644", b"a\nb", blob.clone(), "nothing reads"),
        (
            "a way out",
            "100644",
            b"..",
            blob.clone(),
            "no file can have that name",
        ),
        (
            "git's own",
            "40000",
            b".git",
            tree(&fleet, &[]),
            "no file can have that name",
        ),
        ("a strange mode", "10644", b"plans.yaml", blob.clone(), "mode"),
        (
            "no object",
            "100644",
            b"plans.yaml",
            "0123456789".repeat(4),
            "object",
        ),
    ] {
        commit_with(&fleet, (mode, name, id));
        let answer = fleet.ringfence(&["apply"]);
        let text = format!("{}{}", answer.stdout, answer.stderr);
        assert!(answer.code != 0 && text.contains(told), "{what}: {answer}");
        assert!(!text.contains(['\u{1b}', '\u{fffe}']), "{what}: {text:?}");
        assert!(!text.contains("root:"), "{what}: a file of the host is shown");
        assert_eq!(fleet.ids(), before, "{what}");
        fleet.git(&["update-ref", "refs/heads/main", &good]);
    }
    // The way on is an ordinary commit.
    fleet.git(&["reset", "-q", "--hard", "main"]);
    fleet
        .on("main")
        .write("desired/services/agent.yaml", &agent("2"))
        .commit("agent 2");
    fleet.ringfence(&["apply"]).expect(0);
    assert_eq!(fleet.version("acme", "agent"), "2");
}

#[test]
fn branches_and_urls_that_git_would_take_as_options_are_refused_before_git_sees_them() {
    let fleet = TestFleet::one_ring("odd-refs");
    for url in [
        "ext::sh -c 'touch pwned'",
        "--upload-pack=touch pwned",
        "ssh://-oProxyCommand=touch/x",
        "https://ana:hunter2@forge.example/fleet.git",
        "http://forge.example/fleet.git",
        "git://forge.example/fleet.git",
    ] {
        let answer = fleet.ringfence(&[&format!("--repo={url}"), "status"]).expect(1);
        assert!(!answer.stderr.contains("hunter2"), "{answer}");
        assert!(!fleet.repo().join("pwned").exists() && !fleet.home().join("pwned").exists());
    }
    for branch in [
        "-x",
        "a..b",
        "main;touch pwned",
        "$(touch pwned)",
        "a b",
        "refs/heads/../x",
    ] {
        let rings = format!("rings:\n  dev: {{id: 0, auto_deploy: true, branch: {branch:?}}}\n");
        fleet.write("rings/rings.yaml", &rings);
        let answer = fleet.ringfence(&["check", fleet.repo().to_str().unwrap()]);
        // A shell's signs are harmless where no shell is: git knows no such branch.
        let told = answer.stdout.contains("bad-branch") || !branch.contains(['.', ' ', '-']);
        assert!(told, "{branch}: {answer}");
        assert!(!fleet.repo().join("pwned").exists());
    }
}
