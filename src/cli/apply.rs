//! `ringfence apply`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::daemon::Daemon;
use super::error::CliError;
use super::out::Out;
use super::plan::request;
use super::{Global, complete};
use crate::apply::{Progress, ProgressSink};
use crate::controller::Request;
use crate::controller::quiet::Found;
use crate::controller::run::{self, Wake};
use crate::controller::status::{self, Status};
use crate::store::Store;

/// Passes until nothing is left to do or a condition stays. With a daemon running, it asks the daemon.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence apply                   every ring at its decided release
  ringfence apply dev               one ring
  ringfence apply acme              heal one tenant at what it last ran
  ringfence apply dev --again       try once more what failed
  ringfence apply dev --prune       allow a large removal

Exit codes: 0 done, 1 error or degraded, 3 rolled back, 4 a gate holds a move, 5 a rollback failed.
Next: `ringfence status` shows how it is; `ringfence run` keeps it so.")]
pub(crate) struct Apply {
    /// Rings, or tenants to heal at what they last ran [default: every ring at its decided release].
    #[arg(value_name = "RING|TENANT", add = ArgValueCandidates::new(complete::both))]
    names: Vec<String>,
    /// Try a release again that failed here.
    #[arg(long)]
    again: bool,
    /// Ask for the images again instead of waiting for the next try.
    #[arg(long)]
    resolve: bool,
    /// Allow more tenants and services to be removed at once than the prune budget.
    #[arg(long)]
    prune: bool,
    /// Take what carries this fleet's labels and is unknown to the ledger; make lost volumes anew, empty.
    #[arg(long)]
    adopt: bool,
    /// Look at everything anew: without a daemon, nobody saw a `docker update` since the last look.
    #[arg(long)]
    refresh: bool,
    /// At the first start: judge the control branch from this commit on, instead of taking its head as it is.
    #[arg(long, value_name = "COMMIT")]
    trust: Option<String>,
}

impl Apply {
    pub(crate) async fn run(&self, global: &Global, out: &Out) -> Result<u8, CliError> {
        let fleet = global.fleet()?;
        let mut request = request(&self.names, &fleet.policy)?;
        request.again = self.again;
        request.resolve = self.resolve;
        request.prune = self.prune;
        request.refresh = self.refresh;
        request.adopt = self.adopt;
        request.person = true;
        let lines = Lines::new();
        let mut before;
        let status = if let Some(daemon) = Daemon::reach(&fleet.socket()).await {
            request.person = fleet.is_ours();
            if self.trust.is_some() {
                return Err(CliError::usage(
                    "`--trust` is for the first start, and a daemon keeps this fleet already",
                )
                .hint("`ringfence accept COMMIT` takes a rewritten control branch"));
            }
            before = daemon.status().await?.quarantined();
            let daemon = Daemon::reach(&fleet.socket())
                .await
                .ok_or_else(|| CliError::new("the daemon stopped"))?;
            daemon.pass(&request, |p| lines.tell(&p)).await?
        } else {
            let shown = lines.clone();
            let sink = ProgressSink::to(move |p| shown.tell(&p));
            let status;
            let here = here(
                &fleet,
                global.takeover,
                self.trust.as_deref(),
                request.clone(),
                sink,
            );
            (before, status) = Box::pin(here).await?;
            status
        };
        if self.again {
            // What fails once more has failed now.
            before.clear();
        }
        lines.finish();
        report(&status, &self.names, &before, lines.calls(), *out)
    }
}

/// Releases and files by ring.
type Quarantined = BTreeMap<String, Vec<String>>;

/// What each ring has in quarantine already.
fn quarantined(store: &Store) -> Result<Quarantined, CliError> {
    let facts = store.facts()?;
    let of_tenants = facts.tenants.values().map(|t| &t.ring);
    let rings: BTreeSet<_> = facts.rings.keys().chain(of_tenants).collect();
    Ok(rings
        .into_iter()
        .map(|ring| (ring.to_string(), status::quarantined(&facts, ring)))
        .collect())
}

/// Without a daemon: this process takes the instance and runs the loop until all is settled. Also what was in quarantine
/// before.
async fn here(
    fleet: &super::fleet::Fleet,
    takeover: bool,
    trust: Option<&str>,
    request: Request,
    sink: ProgressSink,
) -> Result<(Quarantined, Arc<Status>), CliError> {
    let lock = fleet.lock(takeover)?;
    let quiet = fleet
        .quiet(&lock, &request)
        .filter(|_| !takeover && trust.is_none());
    let mut first_look = None;
    if let Some(quiet) = &quiet {
        match quiet.found(&fleet.engine()?).await? {
            Found::Same(status) => return Ok((status.quarantined(), Arc::new(*status))),
            Found::Look(seen) => first_look = Some(seen),
            Found::Nothing => {}
        }
    }
    let (mut controller, store, wake, wakes) = fleet.acting(&lock, takeover, false, sink).await?;
    controller.goes_on(first_look, quiet);
    fleet.trust(trust, &mut controller, &store)?;
    let before = quarantined(&store)?;
    let stop = CancellationToken::new();
    let on_signal = stop.clone();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        on_signal.cancel();
    });
    let (answer, mut answered) = oneshot::channel();
    let _ = wake.send(Wake::Person(request, answer));
    let last = Box::pin(run::run(controller, wakes, stop, true)).await?;
    drop(lock);
    Ok((before, answered.try_recv().unwrap_or(last)))
}

fn report(
    status: &Status,
    names: &[String],
    before: &BTreeMap<String, Vec<String>>,
    calls: usize,
    out: Out,
) -> Result<u8, CliError> {
    let scope = super::plan::bare(names);
    super::plan::known(
        &scope,
        status.rings.iter().map(|r| r.name.as_str()),
        status.tenants.iter().map(|t| t.slug.as_str()),
    )?;
    let code = status.exit_code(&scope, before);
    if out.json() {
        Out::print_json(status)?;
        return Ok(code);
    }
    Out::print(&super::status::text(status, &scope));
    Out::print(&match calls {
        0 => "Nothing to do.\n".to_owned(),
        1 => "1 engine call.\n".to_owned(),
        n => format!("{n} engine calls.\n"),
    });
    Ok(code)
}

/// Progress on standard error: a spinner under lines on a terminal, plain lines elsewhere.
#[derive(Clone)]
pub(super) struct Lines {
    bar: Option<ProgressBar>,
    state: Arc<Mutex<(usize, BTreeSet<String>)>>,
}

impl Lines {
    pub(super) fn new() -> Self {
        let bar = Out::is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(std::time::Duration::from_millis(120));
            bar
        });
        Self {
            bar,
            state: Arc::default(),
        }
    }

    pub(super) fn tell(&self, progress: &Progress) {
        let line = crate::text::Safe::lines(&progress.line()).to_string();
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Progress::Call { service, .. } = progress {
                state.0 += 1;
                state.1.insert(service.clone());
            }
        }
        match (&self.bar, progress) {
            (Some(bar), Progress::Pull { .. } | Progress::Waits { .. }) => bar.set_message(line),
            (Some(bar), _) => {
                bar.println(&line);
                bar.set_message(format!("{} services touched", self.touched()));
            }
            (None, Progress::Pull { current, total, .. }) if *current != 0 && current != total => {}
            (None, _) => Out::say(&line),
        }
    }

    fn touched(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1.len()
    }

    fn calls(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
