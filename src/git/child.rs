//! The `git` child: argument vectors only. A hardened one with an environment of our making, its own process group and a
//! hard end, for whatever no person stands behind; and a person's own, with their set-up, at their terminal.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::GitError;

/// How much of what a child says is kept.
const MAX_OUTPUT: usize = 1 << 20;

/// Variables of the caller that stay: the user's SSH set-up, credentials, certificates, and where git lives.
const KEPT: &[&str] = &[
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_ASKPASS",
    "GIT_CONFIG_GLOBAL",
    "GIT_EXEC_PATH",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GIT_SSL_CERT",
    "GIT_SSL_KEY",
];

/// Keys that a user's configuration may not decide here.
const OVERRIDES: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.symlinks=false",
    "core.alternateRefsCommand=",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "fetch.writeCommitGraph=false",
    "fetch.fsckObjects=true",
    "transfer.fsckObjects=true",
    "protocol.version=2",
    "protocol.ext.allow=never",
    "safe.bareRepository=explicit",
    "http.followRedirects=false",
    "http.lowSpeedLimit=100",
    "http.lowSpeedTime=60",
    "gc.autoDetach=false",
    "maintenance.autoDetach=false",
];

/// Variables that would send a person's git to another repository, index or answer than the one that is meant: a hook
/// that starts ringfence, say, has them set.
const REDIRECTING: &[&str] = &[
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_DIR",
    "GIT_GLOB_PATHSPECS",
    "GIT_GRAFT_FILE",
    "GIT_ICASE_PATHSPECS",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// A person is told what is waited for after this time: a passphrase, a touch, a server.
const PATIENT: Duration = Duration::from_secs(1);

/// How long a child may take.
pub(super) enum Patience<'a> {
    /// At the deadline it is killed with its whole process group.
    Until(Instant),
    /// It stays in the person's process group, so that it may ask at their terminal, and has all the time it needs:
    /// they end it. Called once when it takes long.
    Person(&'a dyn Fn()),
}

/// How a child ended.
pub(super) struct Outcome {
    /// Exit code 0.
    pub(super) ok: bool,
    /// Standard output, cut at [`MAX_OUTPUT`].
    pub(super) stdout: String,
    /// Standard error, cut at [`MAX_OUTPUT`].
    pub(super) stderr: String,
}

/// A command on a bare repository; `protocols` are those that git may speak.
pub(super) fn command(git_dir: &Path, protocols: &str) -> Command {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("GIT_") && !KEPT.contains(&text.as_ref()) {
            command.env_remove(&name);
        }
    }
    command
        .env("GIT_ALLOW_PROTOCOL", protocols)
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("SSH_ASKPASS_REQUIRE", "never")
        .env_remove("SSH_ASKPASS")
        .env("LC_ALL", "C");
    if !has_own_ssh() {
        command.env(
            "GIT_SSH_COMMAND",
            "ssh -oBatchMode=yes -oConnectTimeout=15 -oServerAliveInterval=10",
        );
    }
    for pair in OVERRIDES {
        command.arg("-c").arg(pair);
    }
    command.arg("--git-dir").arg(git_dir);
    command
}

/// A person's own git: their identity, keys, hooks and settings, on exactly this repository.
pub(super) fn own(git_dir: &Path, work_dir: Option<&Path>) -> Command {
    let mut command = Command::new("git");
    for name in REDIRECTING {
        command.env_remove(name);
    }
    command
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .env("LC_ALL", "C")
        .current_dir(work_dir.unwrap_or(git_dir))
        .arg("--git-dir")
        .arg(git_dir);
    if let Some(work_dir) = work_dir {
        command.arg("--work-tree").arg(work_dir);
    }
    command
}

fn has_own_ssh() -> bool {
    ["GIT_SSH", "GIT_SSH_COMMAND"]
        .iter()
        .any(|v| std::env::var_os(v).is_some())
        || git2::Config::open_default().is_ok_and(|c| c.get_string("core.sshCommand").is_ok())
}

/// Runs a child to its end; `None` when the deadline came first, and then its whole process group is gone.
pub(super) fn run(command: Command, deadline: Instant) -> Result<Option<Outcome>, GitError> {
    feed(command, &[], &Patience::Until(deadline))
}

/// The same with something to read for it.
pub(super) fn feed(
    mut command: Command,
    input: &[u8],
    patience: &Patience<'_>,
) -> Result<Option<Outcome>, GitError> {
    if matches!(patience, Patience::Until(_)) {
        command.process_group(0);
    }
    let mut child = command
        .stdin(if input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(GitError::NoGit)?;
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // One that ends early reads no further: its exit code decides.
        std::thread::spawn(move || stdin.write_all(&input));
    }
    let stdout = child.stdout.take().map(Collected::of);
    let stderr = child.stderr.take().map(Collected::of);
    let status = wait(&mut child, patience).map_err(GitError::NoGit)?;
    let (stdout, stderr) = (
        stdout.map(Collected::text).unwrap_or_default(),
        stderr.map(Collected::text).unwrap_or_default(),
    );
    Ok(status.map(|ok| Outcome { ok, stdout, stderr }))
}

/// What a pipe said, read on a thread of its own.
pub(super) struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    ended: Receiver<()>,
}

impl Collected {
    pub(super) fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (end, ended) = channel();
        let kept = Arc::clone(&bytes);
        std::thread::spawn(move || {
            let mut buffer = [0_u8; 8192];
            // A broken pipe ends the text; the exit code decides.
            while let Ok(n @ 1..) = pipe.read(&mut buffer) {
                if let (Ok(mut kept), Some(new)) = (kept.lock(), buffer.get(..n))
                    && kept.len() < MAX_OUTPUT
                {
                    kept.extend_from_slice(new);
                }
            }
            let _ = end.send(());
        });
        Self { bytes, ended }
    }

    /// A daemon that a child left behind (an ssh master, say) may hold the pipe: it is not waited for.
    pub(super) fn text(self) -> String {
        let _ = self.ended.recv_timeout(Duration::from_secs(1));
        self.bytes
            .lock()
            .map(|b| String::from_utf8_lossy(&b).into_owned())
            .unwrap_or_default()
    }
}

fn wait(child: &mut Child, patience: &Patience<'_>) -> std::io::Result<Option<bool>> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(1);
    let mut told = false;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status.success());
        }
        match patience {
            Patience::Until(deadline) if Instant::now() >= *deadline => break None,
            Patience::Person(say) if !told && begun.elapsed() >= PATIENT => {
                told = true;
                say();
            }
            _ => {}
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    // Also after a regular end: nothing that git started for us goes on. A person's group is their own.
    if matches!(patience, Patience::Until(_))
        && let Ok(raw) = i32::try_from(child.id())
        && let Some(group) = rustix::process::Pid::from_raw(raw)
    {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    if status.is_none() {
        child.wait()?;
    }
    Ok(status)
}
