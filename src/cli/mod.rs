//! The door for people: one file a verb.

mod apply;
mod check;
mod daemon;
mod declared;
mod error;
mod events;
pub mod findings;
mod fleet;
mod init;
mod logs;
mod out;
mod plan;
mod run;
mod spirit;
mod stack;
mod status;
mod table;
mod tenant;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use error::CliError;
use out::Out;

/// Keeps Docker hosts equal to what a git repository says.
///
/// A fleet repository declares rings, tenants, services (Compose files), model stacks and spirits. ringfence reads it at a
/// commit, compares it with the containers that really run, and changes only what differs.
///
/// Start with `ringfence init my-fleet`, then `ringfence -C my-fleet check`, `plan`, `apply`; `ringfence run` keeps it so.
#[derive(Debug, Parser)]
#[command(
    name = "ringfence",
    version,
    max_term_width = 110,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done or nothing to do, 1 error or degraded, 2 `plan --exit-code` would change \
                  something, 3 rolled back, 4 a gate holds a move, 64 wrong usage.\n\
                  DOCKER_HOST names the engine; RINGFENCE_LOG what `run` logs (`info`, `debug`)."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every verb")]
pub(crate) struct Global {
    /// Run as if started in this directory.
    #[arg(short = 'C', value_name = "DIR", global = true)]
    directory: Option<PathBuf>,
    /// The fleet repository: a path or a URL [default: the one around the directory].
    #[arg(long, value_name = "PATH|URL", global = true, env = "RINGFENCE_REPO")]
    repo: Option<String>,
    /// Where ledger, socket and files are kept [default: /var/lib/ringfence/<instance> as root, else
    /// $XDG_STATE_HOME/ringfence/<instance>].
    #[arg(long, value_name = "DIR", global = true, env = "RINGFENCE_STATE")]
    state: Option<PathBuf>,
    /// How facts are printed: for people, or as stable JSON for programs.
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Text, global = true, env = "RINGFENCE_OUTPUT")]
    output: Output,
    /// Take the state directory and the instance from another clone or holder.
    #[arg(long, global = true)]
    takeover: bool,
}

/// How facts are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    // Plain comments: documented values would make every help twice as long.
    // For people.
    Text,
    // For programs: stable JSON.
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Scaffold a fleet repository that passes `check` and runs at once.
    Init(init::Init),
    /// Read everything in the work tree and print what is wrong, with its place.
    Check(check::Check),
    /// Show what would change, and why.
    Plan(plan::PlanVerb),
    /// Make it so, once: passes until nothing is left to do or a condition stays.
    Apply(apply::Apply),
    /// Keep it so: the loop, with a local socket that the other verbs use.
    Run(run::Run),
    /// Rings, tenants and services: declared, running, and how they are.
    Status(status::StatusVerb),
    /// What was decided and done in a ring, newest first.
    History(events::History),
    /// The ledger's events.
    Events(events::Events),
    /// A tenant's logs.
    Logs(logs::Logs),
    /// Tenants: list them, show one, print its environment.
    Tenant(tenant::TenantVerb),
    /// Model stacks: list them, preview effort → tier → backend → model.
    Stack(stack::StackVerb),
    /// Spirits: list them, render the one that a tenant gets.
    Spirit(spirit::SpiritVerb),
}

/// Runs the command line.
pub fn main() -> ExitCode {
    run_from(std::env::args_os())
}

fn run_from(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    let out = Out::new(cli.global.output);
    match dispatch(&cli, &out) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            out.error(&error);
            ExitCode::from(error.code)
        }
    }
}

fn dispatch(cli: &Cli, out: &Out) -> Result<u8, CliError> {
    let global = &cli.global;
    match &cli.verb {
        Verb::Init(verb) => verb.run(global, out),
        Verb::Check(verb) => verb.run(global, out),
        Verb::Plan(verb) => block_on(verb.run(global, out)),
        Verb::Apply(verb) => block_on(verb.run(global, out)),
        Verb::Run(verb) => block_on(verb.run(global, out)),
        Verb::Status(verb) => block_on(verb.run(global, out)),
        Verb::History(verb) => verb.run(global, out),
        Verb::Events(verb) => verb.run(global, out),
        Verb::Logs(verb) => block_on(verb.run(global)),
        Verb::Tenant(verb) => verb.run(global, out),
        Verb::Stack(verb) => verb.run(global, out),
        Verb::Spirit(verb) => verb.run(global, out),
    }
}

fn block_on<F: Future<Output = Result<u8, CliError>>>(future: F) -> Result<u8, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let result = runtime.block_on(future);
    // A log that is being followed, or a look-up under way, must not hold the end up.
    runtime.shutdown_background();
    result
}
