//! The `git` child: argument vectors only, an environment of our making, its own process group, a hard end.

use std::io::Read;
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

fn has_own_ssh() -> bool {
    ["GIT_SSH", "GIT_SSH_COMMAND"]
        .iter()
        .any(|v| std::env::var_os(v).is_some())
        || git2::Config::open_default().is_ok_and(|c| c.get_string("core.sshCommand").is_ok())
}

/// Runs a child to its end; `None` when the deadline came first, and then its whole process group is gone.
pub(super) fn run(mut command: Command, deadline: Instant) -> Result<Option<Outcome>, GitError> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(GitError::NoGit)?;
    let stdout = child.stdout.take().map(Collected::of);
    let stderr = child.stderr.take().map(Collected::of);
    let status = wait(&mut child, deadline).map_err(GitError::NoGit)?;
    let (stdout, stderr) = (
        stdout.map(Collected::text).unwrap_or_default(),
        stderr.map(Collected::text).unwrap_or_default(),
    );
    Ok(status.map(|ok| Outcome { ok, stdout, stderr }))
}

/// What a pipe said, read on a thread of its own.
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    ended: Receiver<()>,
}

impl Collected {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
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
    fn text(self) -> String {
        let _ = self.ended.recv_timeout(Duration::from_secs(1));
        self.bytes
            .lock()
            .map(|b| String::from_utf8_lossy(&b).into_owned())
            .unwrap_or_default()
    }
}

fn wait(child: &mut Child, deadline: Instant) -> std::io::Result<Option<bool>> {
    let mut pause = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status.success());
        }
        if Instant::now() >= deadline {
            break None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    // Also after a regular end: nothing that git started for us goes on.
    if let Ok(raw) = i32::try_from(child.id())
        && let Some(group) = rustix::process::Pid::from_raw(raw)
    {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    if status.is_none() {
        child.wait()?;
    }
    Ok(status)
}
