//! Names and signatures are the user's own.

use std::cell::RefCell;
use std::process::Command;

use super::*;

fn keygen(file: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "ben@laptop", "-f"])
        .arg(file)
        .status()
        .unwrap();
    assert!(made.success());
}

/// A fleet whose person signs with an SSH key.
fn signed() -> Fixture {
    let f = fleet();
    let key = f.path("key");
    keygen(&key);
    let public = std::fs::read_to_string(f.path("key.pub")).unwrap();
    std::fs::write(
        f.path("allowed"),
        format!("ben@example.org namespaces=\"git\" {public}"),
    )
    .unwrap();
    for (name, value) in [
        ("gpg.format", "ssh"),
        ("user.signingkey", f.path("key.pub").to_str().unwrap()),
        ("gpg.ssh.allowedSignersFile", f.path("allowed").to_str().unwrap()),
        ("commit.gpgSign", "true"),
    ] {
        f.git(&["config", name, value]);
    }
    f
}

#[test]
fn a_commit_is_signed_as_git_is_set_up() {
    let f = signed();
    let written = write(&f.dir(), &pin("release: new\n")).unwrap();
    assert!(written.signed);
    assert_eq!(f.git(&["log", "-1", "--format=%G?|%GS"]), "G|ben@example.org");
    f.git(&["config", "commit.gpgSign", "false"]);
    assert!(!write(&f.dir(), &pin("release: newer\n")).unwrap().signed);
    assert_eq!(f.git(&["log", "-1", "--format=%G?"]), "N");
    let insisted = Change {
        signing: Signing::Always,
        ..pin("release: newest\n")
    };
    assert!(write(&f.dir(), &insisted).unwrap().signed);
    assert_eq!(f.git(&["log", "-1", "--format=%G?"]), "G");
    assert_eq!(status(&f, &f.dir()), "");
}

#[test]
fn a_signer_that_takes_long_is_waited_for_and_said() {
    let f = signed();
    let touched = f.path("touched");
    // A hardware key: `ssh-keygen` stands still until it is touched.
    let program = f.path("slow-keygen");
    script(
        &program,
        &format!(
            "n=0; until test -e {}; do n=$((n+1)); test $n -lt 1200 || exit 1; sleep 0.05; done; exec ssh-keygen \"$@\"",
            touched.display()
        ),
    );
    f.git(&["config", "gpg.ssh.program", program.to_str().unwrap()]);
    let said = RefCell::new(Vec::new());
    let say = |text: &str| {
        said.borrow_mut().push(text.to_owned());
        std::fs::write(&touched, "").unwrap();
    };
    let repo = f.repo();
    let written = Writer::new(&repo, Hand::Person { say: &say })
        .commit(&pin("release: new\n"), ALWAYS)
        .unwrap();
    assert!(written.signed);
    let said = said.into_inner();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("signature") && said[0].contains("key.pub") && said[0].contains("touched"),
        "{said:?}"
    );
}

#[test]
fn a_head_that_stays_is_signed_once_however_often_it_is_tried() {
    let f = signed();
    let (count, program) = (f.path("count"), f.path("counting-keygen"));
    script(
        &program,
        &format!("echo x >> {}; exec ssh-keygen \"$@\"", count.display()),
    );
    f.git(&["config", "gpg.ssh.program", program.to_str().unwrap()]);
    let lock = f.dir().join(".git/index.lock");
    std::fs::write(&lock, "").unwrap();
    let asked = std::cell::Cell::new(0);
    let ends = |_: &Head<'_>| {
        asked.set(asked.get() + 1);
        if asked.get() == 3 {
            std::fs::remove_file(&lock).unwrap();
        }
        Ok(Condition::Holds)
    };
    write_if(&f.dir(), &pin("release: new\n"), &ends).unwrap();
    assert_eq!(std::fs::read_to_string(count).unwrap(), "x\n");
}

#[test]
fn nobody_is_asked_for_a_signature_in_vain() {
    let f = signed();
    let asked = f.path("asked");
    let program = f.path("never");
    script(&program, &format!("touch {}; exit 1", asked.display()));
    f.git(&["config", "gpg.ssh.program", program.to_str().unwrap()]);
    f.write(PIN, "release: mine\n");
    write(&f.dir(), &pin("release: new\n")).unwrap_err();
    f.git(&["checkout", "--quiet", PIN]);
    write(&f.dir(), &pin("release: old\n")).unwrap();
    let gone = |_: &Head<'_>| Ok(Condition::Gone("no".to_owned()));
    write_if(&f.dir(), &pin("release: new\n"), &gone).unwrap_err();
    assert!(!asked.exists());
}

#[test]
fn a_key_that_cannot_sign_is_named_and_nothing_changes() {
    let f = signed();
    let head = f.head();
    std::fs::remove_file(f.path("key")).unwrap();
    let error = write(&f.dir(), &pin("release: new\n")).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("key.pub") && text.contains("-S"), "{text}");
    assert!(matches!(problem::<()>(Err(error)), WriteProblem::Unsigned { .. }));
    assert_eq!((f.head(), status(&f, &f.dir())), (head, String::new()));
}

/// An agent of the test's own; it ends with it.
struct Agent(std::process::Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_key_in_an_agent_signs_through_the_users_ssh_keygen() {
    let f = signed();
    let socket = f.path("agent");
    let _agent = Agent(
        Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap(),
    );
    // Its socket is there a moment before it listens.
    until("the agent takes the key", || {
        let added = Command::new("ssh-add")
            .arg("-q")
            .arg(f.path("key"))
            .env("SSH_AUTH_SOCK", &socket)
            .stderr(std::process::Stdio::null())
            .status();
        added.unwrap().success()
    });
    std::fs::remove_file(f.path("key")).unwrap();
    // The process's environment is the machine's: the program brings the agent along.
    let program = f.path("with-agent");
    script(
        &program,
        &format!("SSH_AUTH_SOCK={} exec ssh-keygen \"$@\"", socket.display()),
    );
    f.git(&["config", "gpg.ssh.program", program.to_str().unwrap()]);
    assert!(write(&f.dir(), &pin("release: new\n")).unwrap().signed);
    assert_eq!(f.git(&["log", "-1", "--format=%G?|%GS"]), "G|ben@example.org");
}

#[test]
fn a_person_whom_git_does_not_know_is_told_how_to_say_it() {
    let f = fleet();
    f.git(&["config", "user.name", ""]);
    f.git(&["config", "user.email", ""]);
    let head = f.head();
    let error = write(&f.dir(), &pin("release: new\n")).unwrap_err();
    assert!(error.to_string().contains("user.name"), "{error}");
    assert!(matches!(
        problem::<()>(Err(error)),
        WriteProblem::NoIdentity { .. }
    ));
    assert_eq!(f.head(), head);
}
