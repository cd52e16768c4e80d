//! `ringfence schema`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde_json::Value;

use super::error::CliError;
use super::out::Out;
use super::table::table;
use super::{Global, accept, check, commit, complete, facts, import, init, out, plan, spirit, stack, tenant};
use crate::controller::status::Status;
use crate::diagnostic::did_you_mean;
use crate::fleet::schema::DOCUMENTS;
use crate::store::Event;

/// Prints the JSON Schema (2020-12) of a document or of an output; without a name, lists them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence schema                   what there is
  ringfence schema tenant            one schema
  ringfence schema --write .schemas  all of them, for an editor

An editor with the YAML language server checks a file that begins with
  # yaml-language-server: $schema=../../.schemas/tenant.json

The schemas know keys and shapes. What only shows together (names, graphs, budgets) `ringfence check` judges.")]
pub(crate) struct Schema {
    /// `tenant`, `compose`, `output-status` …
    #[arg(add = ArgValueCandidates::new(complete::schemas))]
    name: Option<String>,
    /// Write all of them into this folder, as `<name>.json`.
    #[arg(long, value_name = "DIR", conflicts_with = "name")]
    write: Option<PathBuf>,
}

/// One of `schema -o json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SchemaLine {
    /// Its name.
    name: &'static str,
    /// The files, or the command, that it describes.
    of: String,
    /// What that is.
    about: String,
}

type Output = (&'static str, &'static str, &'static str, fn() -> Value);

/// Name, command, what it prints.
const OUTPUTS: &[Output] = &[
    (
        "output-init",
        "init",
        "The fleet that was made.",
        of::<init::Made<'_>>,
    ),
    (
        "output-import",
        "import",
        "The fleet that was made of a Compose project.",
        of::<import::ImportedFleet<'_>>,
    ),
    (
        "output-check",
        "check",
        "What is wrong, with its place.",
        of::<check::Checked<'_>>,
    ),
    (
        "output-plan",
        "plan",
        "What would change, and why.",
        of::<plan::Planned<'_>>,
    ),
    (
        "output-apply",
        "apply",
        "The status once all is settled.",
        of::<Status>,
    ),
    (
        "output-accept",
        "accept",
        "What is in force of the control branch.",
        of::<accept::Accepted>,
    ),
    (
        "output-status",
        "status",
        "Rings, tenants, services; `--watch` prints one a line.",
        of::<Status>,
    ),
    (
        "output-why",
        "why",
        "What a ring or tenant waits for; what `--facts` reads.",
        of::<facts::Why>,
    ),
    (
        "output-promote",
        "promote",
        "The pin that was written.",
        of::<commit::Decided<'_>>,
    ),
    (
        "output-approve",
        "approve",
        "The approval that was written.",
        of::<commit::Decided<'_>>,
    ),
    (
        "output-reject",
        "reject",
        "The rejection that was written.",
        of::<commit::Decided<'_>>,
    ),
    (
        "output-waive",
        "waive",
        "The waiver that was written.",
        of::<commit::Decided<'_>>,
    ),
    (
        "output-hold",
        "hold",
        "The hold that was written.",
        of::<commit::Decided<'_>>,
    ),
    (
        "output-resume",
        "resume",
        "The hold that was removed.",
        of::<commit::Decided<'_>>,
    ),
    (
        "output-rollback",
        "rollback",
        "The pin that was written.",
        of::<commit::Decided<'_>>,
    ),
    (
        "output-history",
        "history",
        "What was decided and done, newest first.",
        of::<Vec<Event>>,
    ),
    (
        "output-events",
        "events",
        "The ledger's events, oldest first.",
        of::<Vec<Event>>,
    ),
    (
        "output-tenant-list",
        "tenant list",
        "Every tenant.",
        of::<Vec<tenant::TenantLine>>,
    ),
    (
        "output-tenant-show",
        "tenant show",
        "What follows from a tenant's file.",
        of::<tenant::TenantShown<'_>>,
    ),
    (
        "output-tenant-env",
        "tenant env",
        "A tenant's variables.",
        of::<tenant::TenantEnv>,
    ),
    (
        "output-stack-list",
        "stack list",
        "Every stack.",
        of::<Vec<stack::StackLine<'_>>>,
    ),
    (
        "output-stack-preview",
        "stack preview",
        "What each effort is answered by.",
        of::<stack::StackPreview<'_>>,
    ),
    (
        "output-spirit-list",
        "spirit list",
        "Every spirit.",
        of::<Vec<spirit::SpiritLine<'_>>>,
    ),
    (
        "output-spirit-render",
        "spirit render",
        "The overlay that a tenant gets.",
        of::<spirit::Rendered<'_>>,
    ),
    (
        "output-schema",
        "schema",
        "The schemas that there are.",
        of::<Vec<SchemaLine>>,
    ),
    (
        "output-error",
        "every verb",
        "Why it failed.",
        of::<out::Failed<'_>>,
    ),
];

/// The schema of what a type prints.
fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// Every name.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    DOCUMENTS
        .iter()
        .map(|d| d.name)
        .chain(OUTPUTS.iter().map(|o| o.0))
}

fn named(name: &str) -> Option<Value> {
    let document = DOCUMENTS.iter().find(|d| d.name == name);
    let output = || OUTPUTS.iter().find(|o| o.0 == name);
    document
        .map(super::super::fleet::schema::Document::schema)
        .or_else(|| output().map(|(_, command, about, schema)| titled(command, about, schema())))
}

/// An output says of which command it is, as a document says of which file.
fn titled(command: &str, about: &str, mut schema: Value) -> Value {
    if let Some(top) = schema.as_object_mut() {
        top.insert("title".to_owned(), of_command(command).into());
        top.insert("description".to_owned(), about.into());
    }
    schema
}

fn of_command(command: &str) -> String {
    format!("ringfence {command} -o json")
}

fn lines() -> Vec<SchemaLine> {
    let documents = DOCUMENTS.iter().map(|document| {
        let schema = document.schema();
        let text = |key: &str| {
            schema
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        SchemaLine {
            name: document.name,
            of: text("title"),
            about: text("description"),
        }
    });
    let outputs = OUTPUTS.iter().map(|(name, command, about, _)| SchemaLine {
        name,
        of: of_command(command),
        about: (*about).to_owned(),
    });
    documents.chain(outputs).collect()
}

impl Schema {
    pub(crate) fn run(&self, global: &Global, out: &Out) -> Result<u8, CliError> {
        if let Some(dir) = &self.write {
            let dir = global.directory().join(dir);
            std::fs::create_dir_all(&dir)?;
            for name in names() {
                let schema = named(name).unwrap_or_default();
                let text = serde_json::to_string_pretty(&schema)? + "\n";
                std::fs::write(dir.join(format!("{name}.json")), text)?;
            }
            Out::say(&format!("{} schemas in {}", names().count(), dir.display()));
            return Ok(0);
        }
        let Some(name) = &self.name else {
            if out.json() {
                Out::print_json(&lines())?;
            } else {
                let mut rows = vec![["SCHEMA", "OF", "ABOUT"].map(str::to_owned).to_vec()];
                rows.extend(
                    lines()
                        .into_iter()
                        .map(|l| vec![l.name.to_owned(), l.of, l.about]),
                );
                Out::print(&table(&rows));
            }
            return Ok(0);
        };
        let schema = named(name).ok_or_else(|| {
            let error = CliError::usage(format!("there is no schema `{name}`"));
            match did_you_mean(name, names()) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint("`ringfence schema` lists them"),
            }
        })?;
        Out::print(&(serde_json::to_string_pretty(&schema)? + "\n"));
        Ok(0)
    }
}
