use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::fixture::Fixture;
use super::*;
use crate::fleet::names::CommitId;
use crate::fleet::tree::EntryKind;
use crate::fleet::yaml::MAX_FILE;

const LONG: Duration = Duration::from_secs(30);

fn fleet() -> (Fixture, CommitId) {
    let fixture = Fixture::new();
    let first = fixture.commit("ringfence.yaml", "fleet: aither\n");
    (fixture, first)
}

#[test]
fn only_declared_files_are_read_with_gits_own_ids() {
    let (f, _) = fleet();
    f.write("src/main.rs", "fn main() {}");
    f.write("desired/services/web.yaml", "services: {}\n");
    let head = f.commit("rings/rings.yaml", "rings: {}\n");
    let tree = f.repo().tree(&head).unwrap();
    let paths: Vec<_> = tree.iter().map(|(p, _)| p).collect();
    assert_eq!(
        paths,
        ["desired/services/web.yaml", "ringfence.yaml", "rings/rings.yaml"]
    );
    let entry = tree.get("rings/rings.yaml").unwrap();
    assert_eq!(entry.bytes.as_ref(), b"rings: {}\n");
    assert_eq!(entry.oid, f.git(&["rev-parse", "HEAD:rings/rings.yaml"]));
    assert_eq!(worktree(&f.dir()).unwrap(), tree, "a clean work tree is the same");
    f.write("rings/rings.yaml", "rings: {dev: {}}\n");
    assert_ne!(worktree(&f.dir()).unwrap(), tree);
    assert_eq!(
        f.repo().tree(&head).unwrap(),
        tree,
        "a commit is never read from the work tree"
    );
}

#[test]
fn links_submodules_big_files_and_strange_names_are_entries_and_not_followed() {
    let (f, first) = fleet();
    f.write("desired/big.bin", vec![b'x'; MAX_FILE + 1]);
    f.write("desired/run.sh", "#!/bin/sh\n");
    f.git(&["add", "--all"]);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(f.dir().join("desired/run.sh"), mode).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", f.dir().join("desired/link")).unwrap();
    f.git(&["add", "desired/link"]);
    f.git(&[
        "update-index",
        "--add",
        "--cacheinfo",
        &format!("160000,{first},desired/sub"),
    ]);
    std::os::unix::fs::symlink("elsewhere", f.dir().join("stacks")).unwrap();
    f.git(&["add", "stacks"]);
    for byte in [0xfe_u8, 0xff] {
        let name =
            std::ffi::OsString::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&[
                b'a', byte,
            ]));
        std::fs::write(f.dir().join("desired").join(name), "x").unwrap();
    }
    f.git(&["add", "desired"]);
    f.git(&[
        "update-index",
        "--add",
        "--cacheinfo",
        &format!("160000,{first},desired/sub"),
    ]);
    f.git(&["commit", "--quiet", "-m", "strange"]);
    let tree = f.repo().tree(&f.head()).unwrap();
    let kind = |path: &str| tree.get(path).map(|e| e.kind);
    assert_eq!(kind("desired/link"), Some(EntryKind::Symlink));
    assert_eq!(kind("desired/sub"), Some(EntryKind::Submodule));
    assert_eq!(kind("desired/run.sh"), Some(EntryKind::Executable));
    assert_eq!(
        kind("stacks/"),
        Some(EntryKind::Symlink),
        "a link in place of a folder is seen"
    );
    assert_eq!(
        tree.below("desired/")
            .filter(|(p, _)| p.contains('\u{fffd}'))
            .count(),
        2
    );
    let big = tree.get("desired/big.bin").unwrap();
    assert_eq!((big.size, big.bytes.len()), (MAX_FILE as u64 + 1, 0));
    assert!(
        tree.iter()
            .all(|(_, e)| e.kind != EntryKind::Symlink || e.bytes.is_empty())
    );
    let work = worktree(&f.dir()).unwrap();
    assert_eq!(work.get("desired/link"), tree.get("desired/link"));
    assert_eq!(work.get("desired/big.bin"), tree.get("desired/big.bin"));
    assert_eq!(work.get("stacks/").map(|e| e.kind), Some(EntryKind::Symlink));
}

#[test]
fn replace_refs_change_nothing() {
    let (f, first) = fleet();
    let second = f.commit("ringfence.yaml", "fleet: other\n");
    let before = f.repo().tree(&second).unwrap();
    f.git(&["replace", second.as_str(), first.as_str()]);
    assert_eq!(
        f.git(&["show", &format!("{second}:ringfence.yaml")]),
        "fleet: aither",
        "git itself follows it"
    );
    assert_eq!(f.repo().tree(&second).unwrap(), before);
    assert!(f.repo().is_ancestor(&first, &second).unwrap());
}

#[test]
fn branches_are_found_loose_and_packed_and_from_a_linked_work_tree() {
    let (f, first) = fleet();
    f.git(&["branch", "team/dev"]);
    f.git(&["pack-refs", "--all"]);
    let second = f.commit("rings/rings.yaml", "rings: {}\n");
    f.git(&["tag", "--annotate", "v1", "-m", "one"]);
    f.git(&[
        "worktree",
        "add",
        "--quiet",
        f.path("linked").to_str().unwrap(),
        "team/dev",
    ]);
    let linked = Repo::open(&f.path("linked")).unwrap();
    for repo in [f.repo(), linked.clone()] {
        let branches = repo.branches().unwrap();
        assert_eq!(branches.get("main"), Some(&second));
        assert_eq!(branches.get("team/dev"), Some(&first));
        assert_eq!(branches.len(), 2);
        assert_eq!(repo.resolve("v1").unwrap(), second);
        assert_eq!(repo.resolve(first.short()).unwrap(), first);
        assert_eq!(repo.root_commit().unwrap(), first);
        assert_eq!(repo.common_dir(), f.dir().canonicalize().unwrap().join(".git"));
        assert_eq!(repo.name(), "fleet");
    }
    assert_eq!(linked.default_branch().unwrap(), "team/dev");
    assert_eq!(f.repo().default_branch().unwrap(), "main");
    assert!(
        f.repo()
            .resolve("nothing")
            .unwrap_err()
            .to_string()
            .contains("nothing")
    );
}

#[test]
fn a_bare_repository_is_read_and_a_folder_without_one_is_refused() {
    let (f, first) = fleet();
    f.git(&[
        "clone",
        "--quiet",
        "--bare",
        ".",
        f.path("fleet.git").to_str().unwrap(),
    ]);
    let bare = Repo::open(&f.path("fleet.git")).unwrap();
    assert_eq!(bare.tree(&first).unwrap(), f.repo().tree(&first).unwrap());
    assert_eq!((bare.name().as_str(), bare.work_dir()), ("fleet", None));
    assert!(!bare.dirty_desired().unwrap());
    std::fs::create_dir(f.path("none")).unwrap();
    assert!(matches!(
        Repo::open(&f.path("none")),
        Err(GitError::NotFound { .. })
    ));
}

#[test]
fn a_damaged_branch_is_an_error_and_no_absent_branch() {
    let (f, _) = fleet();
    f.git(&["branch", "dev"]);
    std::fs::write(f.dir().join(".git/refs/heads/dev"), "").unwrap();
    let error = f.repo().branches().unwrap_err();
    assert!(matches!(error, GitError::BrokenRef { .. }), "{error}");
}

#[test]
fn a_rewritten_branch_is_seen_even_after_gc() {
    let (f, first) = fleet();
    let old = f.commit("rings/rings.yaml", "rings: {}\n");
    f.git(&["commit", "--quiet", "--amend", "-m", "another"]);
    let new = f.head();
    let repo = f.repo();
    assert!(!repo.is_ancestor(&old, &new).unwrap());
    assert!(repo.is_ancestor(&first, &new).unwrap() && repo.is_ancestor(&new, &new).unwrap());
    f.git(&["reflog", "expire", "--expire=now", "--all"]);
    f.git(&["gc", "--quiet", "--prune=now"]);
    assert!(!repo.is_ancestor(&old, &new).unwrap());
    assert!(
        matches!(repo.is_ancestor(&first, &old), Err(GitError::NoCommit { .. })),
        "unknown is no `no`"
    );
    assert!(repo.reachable_from_any(&first, &[new]).unwrap());
    assert!(!repo.reachable_from_any(&first, &[]).unwrap());
}

#[test]
fn a_request_is_the_newest_first_parent_commit_that_changed_its_paths() {
    let (f, first) = fleet();
    let pin = f.commit("rings/pins/prod.yaml", "release: x\n");
    let other = f.commit("src/a.rs", "a");
    let repo = f.repo();
    assert_eq!(
        repo.last_change(&other, &["rings/pins/prod.yaml"]).unwrap(),
        Some(pin.clone())
    );
    assert_eq!(
        repo.last_change(&other, &["ringfence.yaml"]).unwrap(),
        Some(first.clone())
    );
    assert_eq!(repo.last_change(&other, &["desired"]).unwrap(), None);
    assert_eq!(
        repo.last_change(&other, &["desired", "rings"]).unwrap(),
        Some(pin.clone())
    );
    f.git(&["checkout", "--quiet", "-b", "side", first.as_str()]);
    f.commit("rings/pins/prod.yaml", "release: y\n");
    f.git(&["checkout", "--quiet", "main"]);
    f.git(&["merge", "--quiet", "--strategy=ours", "-m", "merge", "side"]);
    assert_eq!(
        repo.last_change(&f.head(), &["rings"]).unwrap(),
        Some(pin),
        "the merge changed nothing for main"
    );
    f.git(&["rm", "--quiet", "rings/pins/prod.yaml"]);
    f.git(&["commit", "--quiet", "-m", "no pin"]);
    let info = repo.commit(&f.head()).unwrap();
    assert_eq!(
        repo.last_change(&info.id, &["rings"]).unwrap(),
        Some(info.id.clone())
    );
    assert_eq!(
        (info.subject.as_str(), info.author.as_str()),
        ("no pin", "Ana <ana@example.org>")
    );
    assert_eq!(
        (info.time.to_string().as_str(), info.parents.len()),
        ("2026-11-22T10:00:00Z", 1)
    );
}

#[test]
fn edits_count_as_dirty_where_a_fleet_is_declared_and_nowhere_else() {
    let (f, _) = fleet();
    f.write("src/a.rs", "a");
    assert!(!f.repo().dirty_desired().unwrap());
    f.write("desired/services/web.yaml", "x");
    assert!(f.repo().dirty_desired().unwrap());
    f.git(&["add", "desired"]);
    assert!(f.repo().dirty_desired().unwrap(), "staged is not committed");
    f.git(&["commit", "--quiet", "-m", "x"]);
    assert!(!f.repo().dirty_desired().unwrap());
    f.write("ringfence.yaml", "fleet: b\n");
    assert!(f.repo().dirty_desired().unwrap());
}

#[test]
fn a_mirror_follows_its_remote_and_keeps_its_refs_when_that_is_gone() {
    let (f, first) = fleet();
    f.git(&["branch", "dev"]);
    let mirror = Repo::mirror(&f.url(), &f.path("state/git")).unwrap();
    assert!(mirror.branches().unwrap().is_empty());
    mirror.fetch(LONG).unwrap();
    assert_eq!(mirror.branches().unwrap(), f.repo().branches().unwrap());
    assert_eq!((mirror.name().as_str(), mirror.is_mirror()), ("fleet", true));
    f.git(&["checkout", "--quiet", "-b", "trunk"]);
    f.git(&["branch", "--quiet", "-D", "dev"]);
    f.git(&["commit", "--quiet", "--amend", "-m", "rewritten"]);
    mirror.fetch(LONG).unwrap();
    let branches = mirror.branches().unwrap();
    assert_eq!(branches, f.repo().branches().unwrap(), "pruned, and forced");
    assert_eq!(mirror.default_branch().unwrap(), "main");
    std::fs::rename(f.dir(), f.path("gone")).unwrap();
    let error = mirror.fetch(LONG).unwrap_err();
    assert!(
        matches!(
            error,
            GitError::Fetch {
                problem: FetchProblem::Missing,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(mirror.branches().unwrap(), branches);
    assert!(mirror.tree(&first).is_ok());
}

#[test]
fn a_mirrors_head_is_the_remotes() {
    let (f, _) = fleet();
    f.git(&["branch", "-m", "trunk"]);
    let mirror = Repo::mirror(&f.url(), &f.path("git")).unwrap();
    mirror.fetch(LONG).unwrap();
    assert_eq!(mirror.default_branch().unwrap(), "trunk");
}

#[test]
fn a_damaged_mirror_is_made_anew_and_what_was_kept_stays() {
    let (f, first) = fleet();
    let dir = f.path("git");
    let mirror = Repo::mirror(&f.url(), &dir).unwrap();
    mirror.fetch(LONG).unwrap();
    Keep::open(&dir)
        .unwrap()
        .keep(&mirror, "ring/dev/running", &first)
        .unwrap();
    std::fs::write(dir.join("HEAD"), "").unwrap();
    assert!(mirror.default_branch().is_err());
    let again = Repo::mirror(&f.url(), &dir).unwrap();
    again.fetch(LONG).unwrap();
    assert_eq!(again.branches().unwrap(), f.repo().branches().unwrap());
    let kept = Keep::open(&dir).unwrap().kept().unwrap();
    assert_eq!(kept.get("ring/dev/running"), Some(&first));
    // Objects that a power cut emptied: git refuses every fetch that needs them.
    let second = f.commit("rings/rings.yaml", "rings: {}\n");
    for folder in std::fs::read_dir(dir.join("objects")).unwrap() {
        for object in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let object = object.unwrap().path();
            std::fs::set_permissions(&object, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            std::fs::write(&object, "").unwrap();
        }
    }
    assert!(again.tree(&first).is_err());
    let _ = again.fetch(LONG);
    again.fetch(LONG).unwrap();
    assert_eq!(again.branches().unwrap().get("main"), Some(&second));
    assert!(again.tree(&first).is_ok());
}

#[test]
fn locks_that_a_killed_fetch_left_are_cleared() {
    let (f, _) = fleet();
    let dir = f.path("git");
    let mirror = Repo::mirror(&f.url(), &dir).unwrap();
    mirror.fetch(LONG).unwrap();
    f.commit("rings/rings.yaml", "rings: {}\n");
    let lock = dir.join("refs/heads/main.lock");
    std::fs::create_dir_all(lock.parent().unwrap()).unwrap();
    let file = std::fs::File::create(&lock).unwrap();
    assert!(mirror.fetch(LONG).is_err(), "a fresh lock may be somebody's");
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(3600))
        .unwrap();
    mirror.fetch(LONG).unwrap();
    assert_eq!(mirror.branches().unwrap(), f.repo().branches().unwrap());
}

#[test]
fn a_child_that_hangs_dies_with_all_that_it_started() {
    let f = Fixture::new();
    let pid_file = f.path("pid");
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "sleep 600 & echo $! > \"$0\"; wait",
        pid_file.to_str().unwrap(),
    ]);
    let started = std::time::Instant::now();
    let outcome = child::run(command, started + Duration::from_millis(500)).unwrap();
    assert!(outcome.is_none());
    let pid: i32 = std::fs::read_to_string(&pid_file)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    until(|| {
        // Gone, or a zombie that init has not collected yet.
        rustix::process::test_kill_process(pid).is_err()
            || std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
                .is_ok_and(|s| s.contains(") Z"))
    });
}

#[test]
fn a_remote_that_never_answers_ends_at_the_timeout() {
    let f = Fixture::new();
    // Accepts and says nothing: the TLS handshake waits for ever.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://127.0.0.1:{}/a.git", silent.local_addr().unwrap().port());
    let mirror = Repo::mirror(&url, &f.path("git")).unwrap();
    let error = mirror.fetch(Duration::from_millis(700)).unwrap_err();
    assert!(matches!(error, GitError::TimedOut { .. }), "{error}");
    assert!(mirror.branches().unwrap().is_empty());
}

#[test]
fn kept_commits_outlive_a_rewritten_branch_and_gc() {
    let (f, _) = fleet();
    f.write("src/big.bin", vec![b'x'; 100_000]);
    let old = f.commit("desired/services/web.yaml", "services: {}\n");
    let tree = f.repo().tree(&old).unwrap();
    let keep = Keep::open(&f.path("state/git")).unwrap();
    keep.keep(&f.repo(), "ring/dev/running", &old).unwrap();
    keep.keep(&f.repo(), "ring/dev/previous", &old).unwrap();
    f.git(&["commit", "--quiet", "--amend", "-m", "another"]);
    f.git(&["reflog", "expire", "--expire=now", "--all"]);
    f.git(&["gc", "--quiet", "--prune=now"]);
    assert!(f.repo().tree(&old).is_err(), "the source has lost it");
    assert_eq!(keep.repo().tree(&old).unwrap(), tree);
    assert_eq!(
        keep.repo().commit(&old).unwrap().subject,
        "change desired/services/web.yaml"
    );
    keep.keep(&f.repo(), "ring/dev/running", &old).unwrap();
    keep.keep(&f.repo(), "ring/dev/older", &old).unwrap();
    keep.forget("ring/dev/previous");
    keep.forget("ring/dev/never-there");
    let names: Vec<_> = Keep::open(&f.path("state/git"))
        .unwrap()
        .kept()
        .unwrap()
        .into_keys()
        .collect();
    assert_eq!(names, ["ring/dev/older", "ring/dev/running"]);
    assert!(matches!(
        keep.keep(&f.repo(), "x", &"0".repeat(40).parse().unwrap()),
        Err(GitError::NoCommit { .. })
    ));
    assert!(keep.keep(&f.repo(), "a..b", &old).is_err());
}

fn until(mut done: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + LONG;
    while !done() {
        assert!(std::time::Instant::now() < end, "nothing happened");
        std::thread::yield_now();
    }
}

/// Waits until a wake-up after which `done` holds.
fn woken_until(wakes: &Receiver<()>, mut done: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + LONG;
    loop {
        wakes
            .recv_timeout(end.saturating_duration_since(std::time::Instant::now()))
            .expect("no wake-up");
        if done() {
            return;
        }
    }
}

#[test]
fn a_watch_wakes_for_commits_packing_and_deleted_branches_until_it_is_dropped() {
    let (f, _) = fleet();
    f.git(&["branch", "dev"]);
    f.git(&[
        "worktree",
        "add",
        "--quiet",
        f.path("linked").to_str().unwrap(),
        "-b",
        "work",
    ]);
    let repo = Repo::open(&f.path("linked")).unwrap();
    let (send, wakes) = channel();
    let watch = watch(&repo, move || send.send(()).unwrap_or_default()).unwrap();
    let head = f.commit("rings/rings.yaml", "rings: {}\n");
    woken_until(&wakes, || repo.branches().unwrap().get("main") == Some(&head));
    f.git(&["branch", "feature/deep/one"]);
    woken_until(&wakes, || {
        repo.branches().unwrap().contains_key("feature/deep/one")
    });
    f.git(&["pack-refs", "--all"]);
    let packed = f.dir().join(".git/packed-refs");
    woken_until(&wakes, || packed.exists());
    f.git(&["branch", "--quiet", "-D", "dev"]);
    woken_until(&wakes, || !repo.branches().unwrap().contains_key("dev"));
    drop(watch);
    // Its thread ends, and with it the sender.
    until(|| matches!(wakes.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected)));
}

#[test]
fn looking_at_refs_wakes_nobody() {
    let (f, _) = fleet();
    let repo = f.repo();
    let (send, wakes) = channel();
    let watch = watch(&repo, move || send.send(()).unwrap_or_default()).unwrap();
    for _ in 0..20 {
        repo.branches().unwrap();
        repo.default_branch().unwrap();
    }
    assert!(wakes.recv_timeout(Duration::from_millis(300)).is_err());
    drop(watch);
}

#[test]
fn init_makes_one_commit_and_the_branches_and_overwrites_nothing() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("new");
    let files = [
        ("ringfence.yaml".to_owned(), b"fleet: x\n".to_vec()),
        ("rings/rings.yaml".to_owned(), b"rings: {}\n".to_vec()),
    ];
    let branches = ["main".to_owned(), "develop".to_owned(), "staging".to_owned()];
    init(&dir, &files, &branches, "start").unwrap();
    let repo = Repo::open(&dir).unwrap();
    let heads = repo.branches().unwrap();
    assert_eq!(heads.keys().collect::<Vec<_>>(), ["develop", "main", "staging"]);
    assert_eq!(repo.default_branch().unwrap(), "main");
    assert_eq!(repo.tree(&heads["main"]).unwrap(), worktree(&dir).unwrap());
    assert!(!repo.dirty_desired().unwrap());
    assert!(matches!(
        init(&dir, &files, &branches, "again"),
        Err(GitError::Exists { .. })
    ));
    let other = root.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("ringfence.yaml"), "mine").unwrap();
    assert!(matches!(
        init(&other, &files, &branches, "x"),
        Err(GitError::Exists { .. })
    ));
    assert!(
        !other.join(".git").exists() && !other.join("rings").exists(),
        "nothing was written"
    );
    let out = [("../x".to_owned(), Vec::new())];
    assert!(init(&root.path().join("c"), &out, &branches, "x").is_err());
}

#[test]
fn a_repository_of_another_user_is_refused_with_gits_command() {
    let (f, _) = fleet();
    // Only root can give files away; others meet a repository of root's.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for path in [f.dir(), f.dir().join(".git")] {
        std::os::unix::fs::chown(path, Some(12345), Some(12345)).unwrap();
    }
    let error = Repo::open(&f.dir()).unwrap_err();
    assert!(matches!(error, GitError::OtherUser { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("git config --global --add safe.directory /"),
        "{error}"
    );
}

#[test]
fn a_tree_with_a_name_that_leads_elsewhere_is_refused() {
    let (f, _) = fleet();
    let blob = f.git(&["hash-object", "-w", "ringfence.yaml"]);
    let raw = |name: &str, mode: &str, id: &str, file: &Path| {
        let mut bytes = format!("{mode} {name}\0").into_bytes();
        bytes.extend(
            id.as_bytes()
                .chunks(2)
                .map(|h| u8::from_str_radix(std::str::from_utf8(h).unwrap(), 16).unwrap()),
        );
        std::fs::write(file, bytes).unwrap();
        f.git(&[
            "hash-object",
            "-t",
            "tree",
            "-w",
            "--literally",
            file.to_str().unwrap(),
        ])
    };
    let inner = raw("..", "100644", &blob, &f.path("inner"));
    let root = raw("desired", "40000", &inner, &f.path("outer"));
    let commit: CommitId = f.git(&["commit-tree", &root, "-m", "evil"]).parse().unwrap();
    assert!(matches!(f.repo().tree(&commit), Err(GitError::Malformed { .. })));
}

#[test]
fn the_store_of_kept_commits_may_be_opened_by_many_at_once_before_it_is_there() {
    for _ in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let keep = dir.path().join("git");
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| Keep::open(&keep).map(drop)))
                .collect();
            for one in all {
                one.join().unwrap().unwrap();
            }
        });
        let left: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .flatten()
            .map(|e| e.file_name())
            .collect();
        assert_eq!(left, ["git"], "nothing is left beside it");
    }
}
