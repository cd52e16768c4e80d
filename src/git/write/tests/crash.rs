//! What fails or is killed in the middle.

use super::*;
use crate::git::write::transaction::Transaction;

/// A process of its own, for the tests below; without being told where to write it has nothing to do.
#[test]
fn a_writer_apart() {
    if let Some(dir) = std::env::var_os("RINGFENCE_TEST_WRITER") {
        write(Path::new(&dir), &pin("release: new\n")).unwrap();
    }
}

fn writer(dir: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "git::write::tests::crash::a_writer_apart"])
        .env("RINGFENCE_TEST_WRITER", dir)
        .stdout(std::process::Stdio::null());
    command
}

#[test]
fn what_a_hook_has_in_its_environment_sends_a_commit_nowhere_else() {
    let (f, other) = (fleet(), fleet());
    let theirs = |name: &str| other.dir().join(".git").join(name);
    let done = writer(&f.dir())
        .env("GIT_DIR", theirs(""))
        .env("GIT_WORK_TREE", other.dir())
        .env("GIT_COMMON_DIR", theirs(""))
        .env("GIT_INDEX_FILE", theirs("index"))
        .env("GIT_OBJECT_DIRECTORY", theirs("objects"))
        .env("GIT_PREFIX", "rings/")
        .env("GIT_CONFIG", theirs("config"))
        .env("GIT_ICASE_PATHSPECS", "1")
        .status()
        .unwrap();
    assert!(done.success());
    assert_eq!(f.git(&["show", &format!("HEAD:{PIN}")]), "release: new");
    assert_eq!(status(&f, &f.dir()), "");
    assert_eq!(other.git(&["show", &format!("HEAD:{PIN}")]), "release: old");
    assert_eq!(status(&other, &other.dir()), "");
}

#[test]
fn killed_between_checkout_and_ref_it_leaves_no_lock_and_the_same_verb_goes_on() {
    let f = fleet();
    let (head, killed) = (f.head(), f.path("killed"));
    // git calls it when the index is written; its caller's parent is the writer.
    let hook = f.dir().join(".git/hooks/post-index-change");
    script(
        &hook,
        &format!(
            "git diff --cached --quiet && exit 0\nkill -9 $(cut -d' ' -f4 /proc/$PPID/stat) && touch {}",
            killed.display()
        ),
    );
    let end = writer(&f.dir()).status().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&end), Some(9));
    until("the locks are gone", || {
        killed.exists() && locks(&f.dir()).is_empty()
    });
    std::fs::remove_file(hook).unwrap();
    assert_eq!(f.head(), head, "the branch has not moved");
    assert_eq!(
        status(&f, &f.dir()),
        format!("M  {PIN}"),
        "the change itself is staged, not its opposite"
    );
    let written = write(&f.dir(), &pin("release: new\n")).unwrap();
    assert_eq!((f.head(), status(&f, &f.dir())), (written.commit, String::new()));
}

#[test]
fn the_users_commit_after_a_kill_carries_the_change() {
    let f = fleet();
    // What the kill above leaves behind:
    f.write(PIN, "release: new\n");
    f.git(&["add", PIN]);
    f.write("notes.txt", "two\n");
    f.git(&["commit", "--quiet", "-a", "-m", "mine"]);
    assert_eq!(f.git(&["show", &format!("HEAD:{PIN}")]), "release: new");
    let written = write(&f.dir(), &pin("release: new\n")).unwrap();
    assert!(!written.is_new, "and there is nothing left to do");
}

#[test]
fn a_transaction_that_ends_without_its_commit_leaves_nothing() {
    let f = fleet();
    let dir = f.dir().join(".git");
    let next: CommitId = f
        .git(&["commit-tree", "-p", "HEAD", "-m", "x", "HEAD^{tree}"])
        .parse()
        .unwrap();
    let head = f.head();
    let command = || crate::git::child::own(&dir, Some(&f.dir()));
    let prepared = Transaction::prepare(command(), "refs/heads/main", (&head, &next), "x").unwrap();
    assert!(!locks(&dir).is_empty(), "nobody else moves it now");
    let human = f
        .command(&f.dir(), &["commit", "--allow-empty", "-m", "between"])
        .output()
        .unwrap();
    assert!(!human.status.success());
    let switch = f.command(&f.dir(), &["switch", "-c", "other"]).output().unwrap();
    assert!(!switch.status.success());
    drop(prepared);
    assert_eq!((f.head(), locks(&dir)), (head.clone(), Vec::new()));
    let moved = Transaction::prepare(command(), "refs/heads/main", (&next, &head), "x").unwrap();
    assert!(moved.is_err(), "its old value is another");
    Transaction::prepare(command(), "refs/heads/main", (&head, &next), "x")
        .unwrap()
        .ok()
        .unwrap()
        .commit()
        .unwrap();
    assert_eq!((f.head(), locks(&dir)), (next, Vec::new()));
}

#[test]
fn a_checkout_that_fails_half_way_is_put_back() {
    let f = fleet();
    f.commit("rings/a.yaml", "a\n");
    f.commit("rings/gone.yaml", "gone\n");
    f.commit(".gitattributes", "rings/z.yaml filter=broken\n");
    f.git(&["config", "filter.broken.required", "true"]);
    f.git(&["config", "filter.broken.smudge", "exit 1 #"]);
    f.git(&["config", "filter.broken.clean", "cat"]);
    f.write("notes.txt", "mine\n");
    let head = f.head();
    let change = on(
        "main",
        &[
            ("rings/a.yaml", Some("changed\n")),
            ("rings/b.yaml", Some("new\n")),
            ("rings/gone.yaml", None),
            ("rings/z.yaml", Some("cannot be written\n")),
        ],
    );
    let found = problem(write(&f.dir(), &change));
    assert!(matches!(&found, WriteProblem::Checkout { .. }), "{found}");
    assert!(found.to_string().contains("rings/z.yaml"), "{found}");
    assert_eq!(f.head(), head);
    assert_eq!(status(&f, &f.dir()), "M notes.txt");
    assert_eq!(locks(&f.dir()), [] as [PathBuf; 0]);
}

#[test]
fn a_ref_that_cannot_be_written_takes_the_checkout_back() {
    let f = fleet();
    f.write("notes.txt", "mine\n");
    let head = f.head();
    let log = f.dir().join(".git/logs/refs/heads/main");
    std::fs::remove_file(&log).unwrap();
    std::fs::create_dir(&log).unwrap();
    std::fs::write(log.join("in the way"), "").unwrap();
    let error = write(&f.dir(), &pin("release: new\n")).unwrap_err();
    assert!(matches!(problem::<()>(Err(error)), WriteProblem::Refused { .. }));
    assert_eq!(f.head(), head);
    assert_eq!(status(&f, &f.dir()), "M notes.txt");
    assert_eq!(
        std::fs::read_to_string(f.dir().join(PIN)).unwrap(),
        "release: old\n"
    );
}
