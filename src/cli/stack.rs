//! `ringfence stack`.

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCandidates;
use schemars::JsonSchema;
use serde::Serialize;

use super::error::CliError;
use super::out::Out;
use super::table::table;
use super::{Global, complete};
use crate::diagnostic::did_you_mean;
use crate::fleet::stacks::{Backend, Route, Stack, Stacks};

/// Model stacks: list them, preview effort → tier → backend → model.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence stack list
  ringfence stack preview hyperscaler          who answers each effort
  ringfence stack list --ring prod             as prod's release declares them")]
pub(crate) struct StackVerb {
    #[command(subcommand)]
    verb: Verb,
    /// The ring whose stacks are meant [default: the first].
    #[arg(long, global = true, add = ArgValueCandidates::new(complete::rings))]
    ring: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Every stack, with when to choose it.
    List,
    /// What each effort is answered by.
    Preview {
        /// The stack.
        #[arg(add = ArgValueCandidates::new(complete::stacks))]
        name: String,
    },
}

/// One of `stack list -o json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StackLine<'a> {
    /// Its name.
    name: &'a str,
    /// Whether tenants that name none use it.
    active: bool,
    /// Whether it needs a GPU.
    requires_gpu: bool,
    /// GPU memory it needs, in GB.
    vram_estimate_gb: Option<f64>,
    /// When to choose it.
    description: &'a str,
}

/// What `stack preview -o json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StackPreview<'a> {
    /// Its name.
    name: &'a str,
    /// When to choose it.
    description: &'a str,
    /// Effort 1 to 10, each with who answers.
    routes: Vec<Route>,
    /// Overflow, in order.
    cloud_pool: &'a [Backend],
}

impl StackVerb {
    pub(crate) fn run(&self, global: &Global, out: &Out) -> Result<u8, CliError> {
        let fleet = global.fleet()?;
        let declared = fleet.declared()?;
        let declared = match &self.ring {
            Some(ring) => declared.iter().find(|d| d.ring.name.as_str() == ring),
            None => declared.first(),
        };
        let declared = declared.ok_or_else(|| {
            CliError::new("no such ring, or its branch does not exist")
                .hint("`ringfence status` names the rings")
        })?;
        let stacks = &declared.base.base.stacks;
        match &self.verb {
            Verb::List => list(*out, stacks),
            Verb::Preview { name } => preview(*out, stacks, name),
        }
    }
}

fn list(out: Out, stacks: &Stacks) -> Result<u8, CliError> {
    let active = stacks.active.as_ref().map(|a| a.value.as_str());
    if out.json() {
        let all: Vec<_> = stacks
            .stacks
            .values()
            .map(|s| StackLine {
                name: &s.name,
                active: active == Some(s.name.as_str()),
                requires_gpu: s.requires_gpu,
                vram_estimate_gb: s.vram_estimate_gb,
                description: &s.description,
            })
            .collect();
        Out::print_json(&all)?;
        return Ok(0);
    }
    let mut rows = vec![
        ["STACK", "GPU", "VRAM", "DESCRIPTION"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for stack in stacks.stacks.values() {
        let mark = if active == Some(stack.name.as_str()) {
            " *"
        } else {
            ""
        };
        let gpu = if stack.requires_gpu { "yes" } else { "no" };
        let vram = stack
            .vram_estimate_gb
            .map_or_else(|| "-".to_owned(), |v| format!("{v} GB"));
        rows.push(vec![
            format!("{}{mark}", stack.name),
            gpu.to_owned(),
            vram,
            stack.description.clone(),
        ]);
    }
    Out::print(&table(&rows));
    if active.is_some() {
        Out::print("* used by tenants that name none\n");
    }
    Ok(0)
}

fn preview(out: Out, stacks: &Stacks, name: &str) -> Result<u8, CliError> {
    let Some(stack) = stacks.stacks.get(name) else {
        let error = CliError::new(format!("there is no stack `{name}`"));
        return Err(
            match did_you_mean(name, stacks.stacks.keys().map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint("`ringfence stack list` names them"),
            },
        );
    };
    if out.json() {
        Out::print_json(&StackPreview {
            name: &stack.name,
            description: &stack.description,
            routes: stack.preview(),
            cloud_pool: &stack.cloud_pool,
        })?;
        return Ok(0);
    }
    Out::print(&text(stack));
    Ok(0)
}

fn text(stack: &Stack) -> String {
    let mut rows = vec![
        ["EFFORT", "TIER", "BACKEND", "MODEL", ""]
            .map(str::to_owned)
            .to_vec(),
    ];
    for route in stack.preview() {
        let note = if route.tier == route.served_by {
            String::new()
        } else {
            format!(
                "{} has none: {} answers",
                route.tier.word(),
                route.served_by.word()
            )
        };
        rows.push(vec![
            route.effort.to_string(),
            route.tier.word().to_owned(),
            route.backend.backend,
            route.backend.model,
            note,
        ]);
    }
    let mut text = format!(
        "{}: {}\n\n{}",
        stack.name,
        crate::text::Safe::new(&stack.description),
        table(&rows)
    );
    if !stack.cloud_pool.is_empty() {
        let pool: Vec<String> = stack
            .cloud_pool
            .iter()
            .map(|b| format!("{} {}", b.backend, b.model))
            .collect();
        text.push_str(&format!("\noverflow, in order: {}\n", pool.join(", ")));
    }
    text
}
