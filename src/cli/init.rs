//! `ringfence init`.

use std::path::{Path, PathBuf};

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::Global;
use super::error::CliError;
use super::out::Out;
use crate::fleet::names::Instance;

/// Scaffold a fleet repository, with its branches, that passes `check` and runs at once.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence init my-fleet                      branches develop, staging, main
  ringfence init my-fleet --one-branch         everything on main
  ringfence init my-fleet --image caddy:2      another first service

Next: `ringfence -C my-fleet check`, then `plan`, then `apply`.")]
pub(crate) struct Init {
    /// Where [default: the directory].
    dir: Option<PathBuf>,
    /// One branch (`main`) for every ring, instead of develop, staging and main.
    #[arg(long)]
    one_branch: bool,
    /// The image of the first service.
    #[arg(long, default_value = "nginx:alpine", value_name = "NAME:TAG")]
    image: String,
}

/// What `init -o json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Made<'a> {
    /// Where the fleet lies.
    directory: &'a Path,
    /// Its instance.
    instance: &'a str,
    /// Its branches.
    branches: &'a [String],
}

impl Init {
    pub(crate) fn run(&self, global: &Global, out: &Out) -> Result<u8, CliError> {
        let dir = self.dir.clone().map_or_else(
            || global.directory(),
            |d| {
                if d.is_absolute() {
                    d
                } else {
                    global.directory().join(d)
                }
            },
        );
        let absolute = std::path::absolute(&dir)?;
        let name = absolute
            .file_name()
            .map_or_else(|| "fleet".to_owned(), |n| n.to_string_lossy().into_owned());
        let instance = Instance::of_name(&name);
        let branches: Vec<String> = if self.one_branch {
            vec!["main".to_owned()]
        } else {
            ["main", "staging", "develop"].map(str::to_owned).to_vec()
        };
        let mut files = scaffold(&name, instance.as_str(), self.one_branch);
        files.extend(first_service(&self.image));
        let tree = crate::fleet::tree::Tree::of_files(files.iter().map(|(p, b)| (p.clone(), b.clone())));
        let report = crate::fleet::check::check(&tree, &name);
        if report.findings.has_errors() {
            let shown = super::findings::render(&report.findings, Out::color());
            return Err(
                CliError::new(format!("what init would write does not pass `check`:\n{shown}"))
                    .hint("choose another `--image` or folder name"),
            );
        }
        crate::git::init(&absolute, &files, &branches, "fleet: a first fleet")?;
        let shown = dir.display();
        if out.json() {
            Out::print_json(&Made {
                directory: &absolute,
                instance: instance.as_str(),
                branches: &branches,
            })?;
            return Ok(0);
        }
        Out::print(&format!(
            "made a fleet in {shown}: rings dev, staging, prod; tenant lab in dev; branches {}\n\nnext:\n  ringfence -C {shown} check      read it\n  ringfence -C {shown} plan       see what would run\n  ringfence -C {shown} apply      run it, once\n  ringfence -C {shown} run        keep it so\n\n{}\n",
            branches.join(", "),
            if self.one_branch {
                "Ring dev follows the branch main: commit there, and it is deployed."
            } else {
                "Ring dev follows the branch develop (`git switch develop`): commit there, and it is deployed."
            }
        ));
        Ok(0)
    }
}

/// A first service and its tenant, which greets.
fn first_service(image: &str) -> [(String, Vec<u8>); 2] {
    let service = format!(
        "# A Compose file: what each tenant runs. In the tenant's network it is `http://web`.\nservices:\n  web:\n    image: {image}\n    restart: unless-stopped\n    environment:\n      GREETING: \"${{GREETING:-hello}}\"\n"
    );
    [
        ("desired/services/web.yaml".to_owned(), service.into_bytes()),
        (
            TENANT.to_owned(),
            tenant("config_overrides: {GREETING: \"hello from the lab\"}\n").into_bytes(),
        ),
    ]
}

/// Where the first tenant is declared.
pub(super) const TENANT: &str = "desired/tenants/lab.yaml";

/// The first tenant's file.
pub(super) fn tenant(more: &str) -> String {
    format!(
        "# One tenant: its own network, volumes and values. `ring` says which stage it lives in.\nslug: lab\ndisplay_name: \"Lab\"\nplan_tier: starter\nring: dev\nspirit: default\n{more}"
    )
}

/// A fleet without services and tenants.
pub(super) fn scaffold(name: &str, instance: &str, one_branch: bool) -> Vec<(String, Vec<u8>)> {
    let branch = |b: &str| {
        if one_branch {
            String::new()
        } else {
            format!("    branch: {b}\n")
        }
    };
    let fleet = serde_json::to_string(name).unwrap_or_default();
    let texts = [
        (
            "ringfence.yaml",
            format!("# The fleet's own settings; every key is optional.\nfleet: {fleet}\n# Labels everything that this fleet owns on an engine.\ninstance: {instance}\ncontrol_branch: main\n"),
        ),
        (
            "rings/rings.yaml",
            format!(
                "# The stages of a release, and what holds it back at each.\nrings:\n  dev:\n    id: 0\n    name: \"Development\"\n    environment: development\n{}    auto_deploy: true          # follows its branch\n  staging:\n    id: 1\n    name: \"Staging\"\n    environment: staging\n{}  prod:\n    id: 2\n    name: \"Production\"\n    environment: production\n{}    approval_required: true\n",
                branch("develop"),
                branch("staging"),
                branch("main")
            ),
        ),
        (
            "stacks/model-stacks.yaml",
            "# Which model answers which effort.\nactive: local\nstacks:\n  local:\n    description: \"One local model for everything: choose it to begin with\"\n    requires_gpu: false\n    tier_backends:\n      fast: {backend: ollama, model: llama3.2}\n      balanced: {backend: ollama, model: llama3.2}\n      deep: {backend: ollama, model: llama3.2}\n      agentic: {backend: ollama, model: llama3.2}\n      ultra: {backend: ollama, model: llama3.2}\n".to_owned(),
        ),
        (
            "desired/spirits/default.md",
            "---\ndescription: The tone that everyone starts from\n---\n# Default\n\nAnswer plainly. Say what you did and what you are not sure of.\n".to_owned(),
        ),
    ];
    texts
        .into_iter()
        .map(|(path, text)| (path.to_owned(), text.into_bytes()))
        .collect()
}
