//! The socket of a group: others look, and ask for passes that allow nothing.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::rings;

#[test]
fn without_a_group_the_socket_is_the_daemons_own() {
    let fleet = rings("socket-own");
    let daemon = fleet.daemon();
    let meta = std::fs::metadata(fleet.state().join("ringfence.sock")).unwrap();
    assert_eq!(meta.mode() & 0o777, 0o600);
    assert_eq!(daemon.stop(), 0);
    fleet
        .ringfence(&["run", "--socket-group", "no-such-group"])
        .expect(64)
        .complains("there is no group `no-such-group`");
}

#[test]
fn a_socket_for_a_group_is_open_to_it_and_the_rest_of_the_state_is_not() {
    let fleet = rings("socket-group");
    let group = std::fs::metadata(fleet.home()).unwrap().gid();
    let daemon = fleet.daemon_with(|run| {
        run.args(["--socket-group", &group.to_string()]);
    });
    let mode = |path| std::fs::metadata(fleet.state().join(path)).unwrap();
    assert_eq!(mode("ringfence.sock").permissions().mode() & 0o777, 0o660);
    assert_eq!(mode("ringfence.sock").gid(), group);
    assert_eq!(mode("").permissions().mode() & 0o777, 0o710);
    assert_eq!(mode("ledger.sqlite").permissions().mode() & 0o077, 0);
    // Its owner is let to everything.
    fleet.ringfence(&["apply", "dev", "--again", "--prune"]).expect(0);
    assert_eq!(daemon.stop(), 0);
}

mod as_root {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixStream;
    use std::path::PathBuf;

    use rustix::process::{Gid, Uid};
    use rustix::thread::{set_thread_gid, set_thread_res_uid};

    use super::rings;
    use crate::support::as_root;

    /// Nobody, and nobody's group.
    const NOBODY: u32 = 65_534;

    /// Asks as another user; the first line of the answer, and the rest.
    fn as_nobody(socket: PathBuf, method: &str, path: &str, body: &str) -> (String, String) {
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        // Only this thread is somebody else.
        let asked = std::thread::spawn(move || {
            let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
            set_thread_gid(gid).unwrap();
            set_thread_res_uid(uid, uid, uid).unwrap();
            let mut stream = UnixStream::connect(socket).unwrap();
            stream.write_all(text.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        let answer = asked.join().unwrap();
        let (first, rest) = answer.split_once("\r\n").unwrap();
        (first.to_owned(), rest.to_owned())
    }

    #[test]
    fn another_user_of_the_group_looks_and_asks_and_may_nothing_more() {
        as_root("it becomes another user");
        let fleet = rings("socket-other");
        let daemon = fleet.daemon_with(|run| {
            run.args(["--socket-group", &NOBODY.to_string()]);
        });
        let dir = fleet.state().parent().unwrap().to_owned();
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o711)).unwrap();
        let socket = fleet.state().join("ringfence.sock");
        let ask = |method: &str, path: &str, body: &str| as_nobody(socket.clone(), method, path, body);
        let (first, rest) = ask("GET", "/v1/status", "");
        assert!(
            first.contains("200") && rest.contains("\"rings\""),
            "{first} {rest}"
        );
        let (first, rest) = ask("POST", "/v1/pass", "{}");
        assert!(
            first.contains("200") && rest.contains("\"status\""),
            "{first} {rest}"
        );
        for power in ["again", "resolve", "prune", "adopt", "refresh", "person"] {
            let (first, rest) = ask("POST", "/v1/pass", &format!("{{\"{power}\": true}}"));
            assert!(first.contains("403"), "{power}: {first} {rest}");
        }
        assert_eq!(daemon.stop(), 0);
    }
}
