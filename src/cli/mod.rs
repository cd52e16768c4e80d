//! The door for people: one file a verb.

mod accept;
mod apply;
mod approve;
mod check;
mod commit;
mod complete;
mod daemon;
mod declared;
mod error;
mod events;
mod facts;
pub mod findings;
mod fleet;
mod hold;
mod import;
mod init;
mod logs;
mod man;
mod out;
mod pin;
mod plan;
mod promote;
mod rollback;
mod run;
mod schema;
mod signer;
mod spirit;
mod stack;
mod status;
mod table;
mod tenant;
mod waive;
mod watch;
mod why;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use error::CliError;
use out::Out;

/// Keeps Docker hosts equal to what a git repository says.
///
/// A fleet repository declares rings, tenants, services (Compose files), model stacks and spirits. ringfence reads it at a
/// commit, compares it with the containers that really run, and changes only what differs.
///
/// Start with `ringfence init my-fleet`, then `ringfence -C my-fleet check`, `plan`, `apply`; `ringfence run` keeps it so.
/// `ringfence VERB --help` has examples.
#[derive(Debug, Parser)]
#[command(
    name = "ringfence",
    version,
    max_term_width = 110,
    after_help = "Exit codes:
  0   done, or nothing to do
  1   error, or degraded
  2   `plan --exit-code` would change something
  3   rolled back
  4   a gate holds a move
  5   a rollback failed
  64  wrong usage

Environment:
  DOCKER_HOST    the engine
  RINGFENCE_LOG  what `run` logs: `info`, `debug`
  NO_COLOR       no colour"
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
    /// Make a fleet of a Compose project, and say what was changed and left out.
    Import(import::Import),
    /// Read everything in the work tree and print what is wrong, with its place.
    Check(check::Check),
    /// Show what would change, and why.
    Plan(plan::PlanVerb),
    /// Make it so, once: passes until nothing is left to do or a condition stays.
    Apply(apply::Apply),
    /// Keep it so: the loop, with a local socket that the other verbs use.
    Run(run::Run),
    /// Take a control branch that was rewritten, as it is at a commit.
    Accept(accept::Accept),
    /// Rings, tenants and services: declared, running, and how they are.
    Status(status::StatusVerb),
    /// What a ring or tenant waits for, who can change that, and how.
    Why(why::WhyVerb),
    /// Ask a ring to take the release that runs in the ring before.
    Promote(promote::Promote),
    /// Say yes to a move of a ring.
    Approve(approve::Approve),
    /// Say no to a move of a ring.
    Reject(approve::Reject),
    /// Let one gate of a move be skipped, with a reason.
    Waive(waive::Waive),
    /// Pause a ring or a tenant.
    Hold(hold::HoldVerb),
    /// End a pause.
    Resume(hold::Resume),
    /// Ask a ring to go back to what ran healthy before.
    Rollback(rollback::Rollback),
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
    /// JSON Schemas of documents and outputs, for editors and programs.
    Schema(schema::Schema),
    /// The completion script of a shell.
    Completions(complete::Completions),
    /// Manual pages.
    Man(man::Man),
}

/// The verbs as a newcomer meets them.
const GROUPS: &[(&str, &[&str])] = &[
    ("Begin", &["init", "import", "check"]),
    ("Change", &["plan", "apply", "run", "accept"]),
    (
        "Promote",
        &[
            "promote", "approve", "reject", "waive", "hold", "resume", "rollback",
        ],
    ),
    ("Look", &["status", "why", "history", "events", "logs"]),
    ("What is declared", &["tenant", "stack", "spirit"]),
    ("Tools", &["schema", "completions", "man"]),
];

/// The command line's definition, with its verbs in groups.
fn command() -> clap::Command {
    let command = Cli::command();
    let style = command.get_styles();
    let (header, literal) = (style.get_header(), style.get_literal());
    let mut groups = String::new();
    for (title, verbs) in GROUPS {
        groups.push_str(&format!("{header}{title}:{header:#}\n"));
        for verb in verbs.iter().filter_map(|v| command.find_subcommand(v)) {
            let about = verb.get_about().cloned().unwrap_or_default();
            groups.push_str(&format!("  {literal}{:<13}{literal:#}{about}\n", verb.get_name()));
        }
        groups.push('\n');
    }
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}{header}Options of every verb:{header:#}\n{{options}}{{after-help}}"
    );
    command.help_template(template)
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    complete::answer(&args).unwrap_or_else(|| run_from(args))
}

fn run_from(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let parsed = command().try_get_matches_from(args);
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
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
        Verb::Import(verb) => verb.run(global, out),
        Verb::Check(verb) => verb.run(global, out),
        Verb::Plan(verb) => block_on(verb.run(global, out)),
        Verb::Apply(verb) => block_on(verb.run(global, out)),
        Verb::Run(verb) => block_on(verb.run(global, out)),
        Verb::Accept(verb) => block_on(verb.run(global, out)),
        Verb::Status(verb) => block_on(verb.run(global, out)),
        Verb::Why(verb) => block_on(verb.run(global, out)),
        Verb::Promote(verb) => block_on(verb.run(global, out)),
        Verb::Approve(verb) => block_on(verb.run(global, out)),
        Verb::Reject(verb) => block_on(verb.run(global, out)),
        Verb::Waive(verb) => block_on(verb.run(global, out)),
        Verb::Hold(verb) => verb.run(global, out),
        Verb::Resume(verb) => verb.run(global, out),
        Verb::Rollback(verb) => block_on(verb.run(global, out)),
        Verb::History(verb) => verb.run(global, out),
        Verb::Events(verb) => verb.run(global, out),
        Verb::Logs(verb) => block_on(verb.run(global)),
        Verb::Tenant(verb) => verb.run(global, out),
        Verb::Stack(verb) => verb.run(global, out),
        Verb::Spirit(verb) => verb.run(global, out),
        Verb::Schema(verb) => verb.run(global, out),
        Verb::Completions(verb) => verb.run(),
        Verb::Man(verb) => verb.run(global),
    }
}

fn block_on<F: Future<Output = Result<u8, CliError>>>(future: F) -> Result<u8, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let result = runtime.block_on(future);
    // A log that is being followed, or a look-up under way, must not hold the end up.
    runtime.shutdown_background();
    result
}
