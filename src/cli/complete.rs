//! `ringfence completions`, and what a shell asks at each Tab: verbs and options from the command line's own
//! definition, names from the fleet around the directory.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, Parser as _, ValueEnum};
use clap_complete::CompletionCandidate;
use clap_complete::env::{Bash, EnvCompleter, Fish, Shells, Zsh};

use super::declared::Declared;
use super::error::CliError;
use super::fleet::Fleet;
use super::out::Out;
use super::{Cli, Global, schema};

/// Where the shell's script says that it asks for completions, and as which shell.
const VARIABLE: &str = "RINGFENCE_COMPLETE";

/// Prints the completion script of a shell. It completes the fleet's rings, tenants and services too.
#[derive(Debug, Args)]
#[command(after_help = "Install it with the line for your shell:
  bash  echo 'source <(ringfence completions bash)' >> ~/.bashrc
  zsh   echo 'source <(ringfence completions zsh)' >> ~/.zshrc      (after compinit)
  fish  echo 'ringfence completions fish | source' > ~/.config/fish/completions/ringfence.fish")]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    pub(crate) fn run(&self) -> Result<u8, CliError> {
        let shell: &dyn EnvCompleter = match self.shell {
            Shell::Bash => &Bash,
            Shell::Zsh => &Zsh,
            Shell::Fish => &Fish,
        };
        // The script calls the binary that printed it.
        let binary = std::env::current_exe()?;
        let mut script = Vec::new();
        shell.write_registration(
            VARIABLE,
            "ringfence",
            "ringfence",
            &binary.to_string_lossy(),
            &mut script,
        )?;
        Out::print(&String::from_utf8_lossy(&script));
        Ok(0)
    }
}

/// Answers a shell; none where nobody asks for completions.
pub(super) fn answer(args: &[OsString]) -> Option<ExitCode> {
    let shell = std::env::var(VARIABLE).ok()?;
    let shells = Shells::builtins();
    let words = args.iter().skip_while(|a| *a != "--").skip(1).cloned().collect();
    let directory = std::env::current_dir().ok();
    let mut text = Vec::new();
    let written = shells.completer(&shell).is_some_and(|shell| {
        shell
            .write_complete(&mut super::command(), words, directory.as_deref(), &mut text)
            .is_ok()
    });
    Out::print(&String::from_utf8_lossy(&text));
    Some(ExitCode::from(u8::from(!written)))
}

/// The fleet that the words on the command line mean. A URL is not fetched while somebody waits for a Tab.
fn fleet() -> Option<Fleet> {
    let words: Vec<OsString> = std::env::args_os().skip_while(|a| a != "--").skip(1).collect();
    let mut line: Vec<OsString> = vec!["ringfence".into(), "status".into()];
    for name in ["-C", "--repo"] {
        let at = words.iter().position(|w| w == name);
        line.extend(
            at.and_then(|at| words.get(at..=at + 1))
                .unwrap_or_default()
                .iter()
                .cloned(),
        );
    }
    let global: Global = Cli::try_parse_from(line).ok()?.global;
    if global.is_remote() {
        return None;
    }
    global.fleet().ok()
}

fn candidates(names: impl IntoIterator<Item = String>) -> Vec<CompletionCandidate> {
    let names: BTreeSet<String> = names.into_iter().collect();
    names.into_iter().map(CompletionCandidate::new).collect()
}

fn declared() -> Vec<Declared> {
    fleet().and_then(|f| f.declared().ok()).unwrap_or_default()
}

fn ring_names() -> Vec<String> {
    let rings = fleet().map(|f| f.policy.rings.0).unwrap_or_default();
    rings.into_iter().map(|r| r.name.to_string()).collect()
}

fn tenant_names() -> Vec<String> {
    let of_ring = |d: Declared| d.tenants.into_iter().map(|t| t.name);
    declared().into_iter().flat_map(of_ring).collect()
}

/// Rings.
pub(super) fn rings() -> Vec<CompletionCandidate> {
    candidates(ring_names())
}

/// Tenants.
pub(super) fn tenants() -> Vec<CompletionCandidate> {
    candidates(tenant_names())
}

/// Rings and tenants.
pub(super) fn both() -> Vec<CompletionCandidate> {
    candidates(ring_names().into_iter().chain(tenant_names()))
}

/// Tenants, and their services as `TENANT/SERVICE`.
pub(super) fn services() -> Vec<CompletionCandidate> {
    let Some(fleet) = fleet() else { return Vec::new() };
    let mut names = Vec::new();
    for declared in fleet.declared().unwrap_or_default() {
        for files in &declared.tenants {
            names.push(files.name.clone());
            let base = &declared.base.base;
            let tenant = files.tenant.as_ref();
            let of_tenant = tenant.map(|t| crate::fleet::check::services_of(&fleet.policy, base, t));
            names.extend(
                of_tenant
                    .into_iter()
                    .flatten()
                    .map(|s| format!("{}/{s}", files.name)),
            );
        }
    }
    candidates(names)
}

/// Stacks of any ring.
pub(super) fn stacks() -> Vec<CompletionCandidate> {
    let of_ring = |d: Declared| d.base.base.stacks.stacks.keys().cloned().collect::<Vec<_>>();
    candidates(declared().into_iter().flat_map(of_ring))
}

/// Schemas.
pub(super) fn schemas() -> Vec<CompletionCandidate> {
    candidates(schema::names().map(str::to_owned))
}
