//! `ringfence run`.

use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::Global;
use super::error::CliError;
use super::fleet::FETCH;
use super::out::Out;
use crate::apply::{Progress, ProgressSink};
use crate::controller::run::{self, Wake};
use crate::controller::socket::{self, Served};
use crate::git::{Repo, watch};

/// The loop: follows git and the engine, and keeps the containers equal to what is declared. Ends cleanly on SIGTERM and
/// SIGINT; the containers go on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence run                                beside the repository
  ringfence run --repo ssh://git@forge/fleet.git --poll 30s
  ringfence run --socket-group docker          others of that group may look
  RINGFENCE_LOG=debug ringfence run

Next: in another terminal `ringfence status --watch`; commit, and see it move.")]
pub(crate) struct Run {
    /// How often a remote repository is fetched (`30s`, `5m`).
    #[arg(long, default_value = "60s", value_name = "DURATION", env = "RINGFENCE_POLL")]
    poll: String,
    /// Let this group use the socket too: they read, and ask for passes that allow nothing; approvals are commits.
    #[arg(long, value_name = "GROUP", env = "RINGFENCE_SOCKET_GROUP")]
    socket_group: Option<String>,
    /// At the first start: judge the control branch from this commit on, instead of taking its head as it is.
    #[arg(long, value_name = "COMMIT")]
    trust: Option<String>,
}

/// So many progress lines are kept for a slow reader before it misses some.
const PROGRESS_KEPT: usize = 1024;

impl Run {
    pub(crate) async fn run(&self, global: &Global, out: &Out) -> Result<u8, CliError> {
        let poll = crate::fleet::values::duration_ms(&self.poll).map_err(CliError::usage)?;
        let group = self.socket_group.as_deref().map(group).transpose()?;
        log_to_stderr(out.json());
        let fleet = global.fleet_kept()?;
        let (progress, _) = broadcast::channel(PROGRESS_KEPT);
        let sender = progress.clone();
        let sink = ProgressSink::to(move |p: Progress| {
            tracing::info!("{}", crate::text::Safe::lines(&p.line()));
            let _ = sender.send(p);
        });
        let lock = fleet.lock(global.takeover)?;
        let (mut controller, store, wake, wakes) = fleet.acting(&lock, global.takeover, true, sink).await?;
        fleet.trust(self.trust.as_deref(), &mut controller, &store)?;
        let listener = socket::bind(&fleet.socket(), group)?;
        if group.is_some() {
            super::fleet::let_through(&fleet.state)?;
        }
        let stop = CancellationToken::new();
        let served = Served {
            status: controller.status(),
            store,
            wake: wake.clone(),
            progress,
        };
        let serving = tokio::spawn(socket::serve(listener, served, stop.clone()));
        let _watch = follow_git(&fleet.repo, wake, Duration::from_millis(poll), stop.clone())?;
        stop_on_signals(stop.clone())?;
        tracing::info!(
            "ringfence keeps fleet {} (instance {}), control branch {}, socket {}",
            fleet.policy.settings.fleet,
            fleet.policy.settings.instance,
            fleet.control_branch,
            fleet.socket().display()
        );
        let result = run::run(controller, wakes, stop.clone(), false).await;
        stop.cancel();
        // Readers that still hold a stream must not hold the end up.
        serving.abort();
        let _ = std::fs::remove_file(fleet.socket());
        drop(lock);
        result?;
        tracing::info!("stopped; the containers go on");
        Ok(0)
    }
}

/// A group's number, by its name or as it is.
fn group(name: &str) -> Result<u32, CliError> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    // As the C library is set up: groups may come from elsewhere than /etc/group.
    let output = std::process::Command::new("getent")
        .args(["group", name])
        .output();
    let found = output
        .ok()
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    let all = found
        .filter(|text| !text.is_empty())
        .or_else(|| std::fs::read_to_string("/etc/group").ok());
    let line = all
        .iter()
        .flat_map(|text| text.lines())
        .find(|line| line.split(':').next() == Some(name));
    line.and_then(|line| line.split(':').nth(2)?.parse().ok())
        .ok_or_else(|| {
            CliError::usage(format!("there is no group `{}`", crate::text::Safe::new(name)))
                .hint("`getent group` lists them")
        })
}

/// Wakes the loop when a branch moves: at once for a local repository, by polling for a remote one.
fn follow_git(
    repo: &Repo,
    wake: mpsc::UnboundedSender<Wake>,
    poll: Duration,
    stop: CancellationToken,
) -> Result<Option<crate::git::Watch>, CliError> {
    if !repo.is_mirror() {
        return Ok(Some(watch(repo, move || {
            let _ = wake.send(Wake::Git);
        })?));
    }
    let repo = repo.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(poll) => {}
            }
            let mirror = repo.clone();
            let Ok(fetched) = tokio::task::spawn_blocking(move || mirror.fetch(FETCH)).await else {
                return;
            };
            let trouble = fetched
                .err()
                .map(|e| format!("{e}; what was fetched last stays in force"));
            if let Some(trouble) = &trouble {
                tracing::warn!("{trouble}");
            }
            if wake.send(Wake::Fetched(trouble)).is_err() {
                return;
            }
        }
    });
    Ok(None)
}

fn stop_on_signals(stop: CancellationToken) -> Result<(), CliError> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}

/// Logs to standard error. bollard writes request bodies at debug level (environments, secrets): it is held at info
/// whatever RINGFENCE_LOG says.
fn log_to_stderr(json: bool) {
    use tracing_subscriber::EnvFilter;
    let asked = std::env::var("RINGFENCE_LOG").unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::try_new(&asked).unwrap_or_else(|_| EnvFilter::new("info"));
    let filter = ["bollard=info", "hyper=info", "hyper_util=info"]
        .iter()
        .filter_map(|d| d.parse().ok())
        .fold(filter, EnvFilter::add_directive);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    if json {
        builder.json().init();
    } else {
        builder.with_ansi(Out::is_terminal()).init();
    }
}
