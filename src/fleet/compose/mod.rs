//! Compose files: read once into nodes, interpolated for each tenant, turned into our service type key by key.
//!
//! Reading judges all that no tenant can change; where a value needs a tenant, its place is left open until
//! [`ComposeFiles::resolve`]. A service that names no variable is turned into its type once and for all.

mod convert;
mod depends;
mod dotenv;
mod environment;
mod extends;
mod extension;
mod files;
mod gpus;
mod health;
mod host;
mod image;
mod include;
mod keys;
mod limits;
mod logging;
mod merge;
mod mounts;
mod named;
mod names;
mod options;
mod ports;
mod release;
mod resolver;
mod security;
pub mod service;
mod settled;
mod stored;
mod template;
#[cfg(test)]
mod tests;
mod tmpfs;
mod top;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::read::Reader;
use super::tree::Tree;
use crate::diagnostic::{At, Finding, Findings, Severity, Spanned};
use convert::{Context, Converted};
use files::{Contents, File, ServiceNode};
pub use keys::REFUSED;
pub use mounts::unnamed;
use service::{PullPolicy, Scope, Service};
use top::Top;
use values::Values;
pub use values::{HERE, MISSING, RELEASE_VARIABLE};

pub use extends::folder_of;
pub use files::is_compose;
pub use release::FOLDER;

/// The variables that a text names; none where it cannot be interpolated.
pub fn names_in(text: &str) -> Vec<String> {
    template::Template::parse(text).map_or_else(
        |_| Vec::new(),
        |template| template.names().into_iter().map(str::to_owned).collect(),
    )
}

/// A text with the variables replaced that a `.env` gives or that have a default; none where one is without a value.
pub fn filled(text: &str, dotenv: &BTreeMap<String, String>) -> Option<String> {
    let template = template::Template::parse(text).ok()?;
    template.expand(&|name| dotenv.get(name).map(String::as_str)).ok()
}

/// The values of a `.env`, as far as it can be read.
pub fn dotenv_values(text: &str) -> BTreeMap<String, String> {
    let reader = Reader::new();
    let lines = dotenv::lines(&crate::diagnostic::Source::new("", text), &reader);
    dotenv::values(&lines, &reader, &|_| None, &|_, _| false)
}

/// A relative path without `.` and `..` parts; none where it leaves the folder or holds what no path may hold.
pub fn inside(path: &str) -> Option<String> {
    release::normalise(path).ok()
}

/// The values that a tenant brings to interpolation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vars {
    /// For all services: `config_overrides` and the derived ones.
    pub common: BTreeMap<String, String>,
    /// For one service, by its name; these win.
    pub of_service: BTreeMap<String, BTreeMap<String, String>>,
}

impl Vars {
    /// Whether a service has this variable from its tenant.
    fn gives(&self, service: &str, name: &str) -> bool {
        let own = self.of_service.get(service);
        self.common.contains_key(name) || own.is_some_and(|v| v.contains_key(name))
    }
}

/// All Compose files of a base, as nodes. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ComposeFiles {
    contents: Arc<Contents>,
    declared: Arc<BTreeMap<String, Declared>>,
}

/// What is known of a service without any tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// Where it is declared.
    pub at: At,
    /// How many run.
    pub scope: Scope,
    /// Its profiles.
    pub profiles: Vec<String>,
    /// Its image, which depends on no tenant.
    pub image: Spanned<String>,
    /// When it is pulled.
    pub pull: PullPolicy,
    /// Names it depends on.
    pub depends_on: Vec<String>,
}

/// What reading a service came to: the service, and what was said.
#[derive(Debug, Clone)]
struct Outcome {
    converted: Option<Converted>,
    findings: Findings,
    /// Places that only a tenant's values decide.
    open: Vec<At>,
    /// Whether any variable was asked for.
    asked: bool,
}

impl ComposeFiles {
    /// Reads `desired/services/*.yaml` (and `.yml`) of a tree. Reports everything that does not depend on a tenant.
    pub fn read(tree: &Tree, reader: &Reader) -> Self {
        let mut contents = Contents::read(tree, reader);
        for i in 0..contents.files.len() {
            contents.fix_top(i, reader);
        }
        let mut outcomes: BTreeMap<String, Outcome> = BTreeMap::new();
        for (name, node) in &contents.services {
            let outcome = contents.convert(name, node, None, None);
            reader.with(|f| f.extend(outcome.findings.clone()));
            outcomes.insert(name.clone(), outcome);
        }
        check_all(reader, &contents, &outcomes);
        let declared = outcomes
            .iter()
            .filter_map(|(name, o)| Some((name.clone(), declared(&o.converted.as_ref()?.service))))
            .collect();
        for (name, outcome) in outcomes {
            if let Some(node) = contents.services.get_mut(&name) {
                node.fixed = (!outcome.asked).then_some(outcome.converted).flatten();
                node.said = outcome.findings;
            }
        }
        Self {
            contents: Arc::new(contents),
            declared: Arc::new(declared),
        }
    }

    /// What is declared, by name, without any tenant's values. A service whose image is not known is absent.
    pub fn declared(&self) -> &BTreeMap<String, Declared> {
        &self.declared
    }

    /// Every service, interpolated with a tenant's values. Findings go to `reader`; a service with an error is absent.
    /// Errors that [`Self::read`] told are told again, notes and warnings are not.
    pub fn resolve(&self, vars: &Vars, reader: &Reader) -> BTreeMap<String, Arc<Service>> {
        self.resolve_only(vars, reader, &self.names())
    }

    /// Every service with a good name, also those with errors.
    fn names(&self) -> BTreeSet<String> {
        self.contents.services.keys().cloned().collect()
    }

    /// The same for these services alone: what others say with these values is nobody's business.
    pub fn resolve_only(
        &self,
        vars: &Vars,
        reader: &Reader,
        only: &BTreeSet<String>,
    ) -> BTreeMap<String, Arc<Service>> {
        let (services, told) = self.resolve_each(vars, only);
        reader.with(|f| told.into_iter().for_each(|told| f.extend(told.findings)));
        services
    }

    /// The same for all services, with what is said of each apart.
    pub fn resolve_apart(&self, vars: &Vars) -> (BTreeMap<String, Arc<Service>>, Vec<Told>) {
        self.resolve_each(vars, &self.names())
    }

    fn resolve_each(
        &self,
        vars: &Vars,
        only: &BTreeSet<String>,
    ) -> (BTreeMap<String, Arc<Service>>, Vec<Told>) {
        let contents = &self.contents;
        let mut all = Vec::new();
        let tops: Vec<Option<Top>> = contents
            .files
            .iter()
            .enumerate()
            .map(|(index, file)| {
                if file.fixed.is_some() {
                    return None;
                }
                let own = Reader::new();
                let values = Values::new(Some(vars), "", &file.origin.dotenv);
                let top = file.top(&values, &own);
                let open = values.into_unknown();
                let users = contents.services.iter().filter(|(_, s)| s.file == index);
                all.push(Told {
                    of: users.map(|(name, _)| name.clone()).collect(),
                    findings: own
                        .into_findings()
                        .into_iter()
                        .filter(|f| is_own_fault(f, &open))
                        .collect(),
                });
                Some(top)
            })
            .collect();
        let mut out = BTreeMap::new();
        let mut origins = BTreeMap::new();
        for (name, node) in contents.services.iter().filter(|(name, _)| only.contains(*name)) {
            let own = Reader::new();
            let top = tops.get(node.file).and_then(Option::as_ref);
            if let Some(mut converted) = contents.of_tenant(name, node, vars, top, &own) {
                check_volumes(&own, &converted, &mut origins);
                converted.good &= own.errors() == 0;
                if converted.good {
                    out.insert(name.clone(), converted.service);
                }
            }
            all.push(Told {
                of: vec![name.clone()],
                findings: own.into_findings(),
            });
        }
        (out, all)
    }
}

/// What is said of a service, or of what a file declares for its services.
#[derive(Debug)]
pub struct Told {
    /// The services.
    pub of: Vec<String>,
    /// What is said.
    pub findings: Findings,
}

/// Whether a finding was not told when the files were read.
fn news(said: &Findings, finding: &Finding) -> bool {
    finding.severity == Severity::Error || !said.iter().any(|f| f == finding)
}

fn replay(reader: &Reader, said: &Findings) {
    for finding in said.iter().filter(|f| f.severity == Severity::Error) {
        reader.report(finding.clone());
    }
}

/// Where a value is not known, that is the finding (or, without a tenant, none yet): what else is said of the place
/// only follows from it.
fn is_own_fault(finding: &Finding, open: &[At]) -> bool {
    let overlaps = |at: &At| {
        open.iter().any(|o| {
            Arc::ptr_eq(&o.source, &at.source) && o.span.start < at.span.end && at.span.start < o.span.end
        })
    };
    matches!(finding.code, MISSING | "interpolation" | "no-variables")
        || !finding.at.as_ref().is_some_and(overlaps)
}

/// What only a look over all services can judge.
fn check_all(reader: &Reader, contents: &Contents, outcomes: &BTreeMap<String, Outcome>) {
    let converted = || {
        outcomes
            .iter()
            .filter_map(|(name, o)| Some((name.as_str(), o.converted.as_ref()?)))
    };
    let graph = converted()
        .map(|(name, c)| {
            let waits = depends::Waits {
                scope: c.service.scope,
                on: &c.service.depends_on,
            };
            (name, waits)
        })
        .collect();
    let names: BTreeSet<&str> = contents.names.iter().map(String::as_str).collect();
    depends::check(reader, &graph, &names);
    names::check_aliases(
        reader,
        converted().map(|(name, c)| (name, &c.service.at, &c.service.aliases)),
    );
    let mut origins = BTreeMap::new();
    for (name, converted) in converted() {
        let open = outcomes.get(name).map(|o| o.open.as_slice()).unwrap_or_default();
        let mut known = converted.clone();
        Arc::make_mut(&mut known.volumes).retain(|v| !open.contains(&v.at));
        check_volumes(reader, &known, &mut origins);
    }
}

/// Two sources that would be one volume.
fn check_volumes(reader: &Reader, converted: &Converted, origins: &mut BTreeMap<(u8, String), (String, At)>) {
    for volume in converted.volumes.iter() {
        let key = (converted.service.scope as u8, volume.name.clone());
        let (origin, first) = origins
            .entry(key)
            .or_insert_with(|| (volume.origin.clone(), volume.at.clone()));
        if *origin != volume.origin {
            reader.error(
                "volume-clash",
                &volume.at,
                format!(
                    "`{}` and `{}` would be the same volume `{}`",
                    crate::text::Safe::new(&volume.origin),
                    crate::text::Safe::new(origin),
                    volume.name
                ),
                format!("the other is at {first}: rename one of them"),
            );
        }
    }
}

fn declared(service: &Service) -> Declared {
    Declared {
        name: service.name.clone(),
        at: service.at.clone(),
        scope: service.scope,
        profiles: service.profiles.clone(),
        image: service.image.clone(),
        pull: service.pull,
        depends_on: service.depends_on.keys().cloned().collect(),
    }
}

impl Contents {
    /// A service for one tenant: the one made when the files were read, if no tenant changes it.
    fn of_tenant(
        &self,
        name: &str,
        node: &ServiceNode,
        vars: &Vars,
        top: Option<&Top>,
        reader: &Reader,
    ) -> Option<Converted> {
        if let (Some((_, names)), Some(image)) = (&node.image, node.image_node()) {
            image::check_tenant(reader, image, names, vars, name);
        }
        let of_file = self.files.get(node.file).map_or(&[][..], |f| &f.origin.settled);
        settled::check_tenant(reader, of_file.iter().chain(&node.settled), vars, name);
        if let (Some(fixed), None) = (&node.fixed, top) {
            replay(reader, &node.said);
            return Some(fixed.clone());
        }
        let outcome = self.convert(name, node, Some(vars), top);
        let fresh = outcome.findings.into_iter().filter(|f| news(&node.said, f));
        reader.with(|f| f.extend(fresh.collect()));
        outcome.converted
    }

    /// Interpolates and turns one service into its type. `top` is the file's, where it depends on the tenant.
    fn convert(&self, name: &str, node: &ServiceNode, vars: Option<&Vars>, top: Option<&Top>) -> Outcome {
        let reader = Reader::new();
        let nothing = File::default();
        let file = self.files.get(node.file).unwrap_or(&nothing);
        let values = Values::new(vars, name, &file.origin.dotenv);
        let bare = Top::default();
        let top = top.or_else(|| file.any_top()).unwrap_or(&bare);
        let image = match &node.image {
            Some((image, _)) => Some(image.clone()),
            None => {
                // Its own finding comes first, with all that is known of the place.
                self.image(&reader, node);
                None
            }
        };
        let at = image
            .as_ref()
            .map_or_else(|| node.at.clone(), |image| image.at.clone());
        let known = image.is_some();
        let _ = node.settle(&reader, &file.origin.dotenv);
        let interpolated = values.service(&reader, &node.for_tenants());
        let context = Context::new(&reader, name, &values, &file.origin.release, top);
        let image = image.unwrap_or_else(|| Spanned::new(String::new(), at));
        let result = context.convert(&interpolated, &node.at, image).map(|mut c| {
            c.good &= known && reader.errors() == 0;
            c
        });
        let asked = values.asked();
        let open = values.into_unknown();
        Outcome {
            converted: result.filter(|_| known),
            findings: reader
                .into_findings()
                .into_iter()
                .filter(|f| is_own_fault(f, &open))
                .collect(),
            asked,
            open,
        }
    }
}
