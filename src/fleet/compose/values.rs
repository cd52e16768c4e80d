//! Where a variable's value comes from, and nodes with their variables replaced.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::super::read::Reader;
use super::super::yaml::{Kind, Node};
use super::template::{Problem, Template};
use super::{Vars, host};
use crate::diagnostic::{At, Finding};
use crate::text::Safe;

/// The most text that all scalars of one service may become together.
const MAX_TOTAL: usize = 4 << 20;
/// The code of a variable that has no value.
pub const MISSING: &str = "missing-variable";
/// The variable that a service interpolates to be told its release, and so to be replaced at each.
pub const RELEASE_VARIABLE: &str = "RINGFENCE_RELEASE";
/// Keys of a service whose texts only its own processes read: a variable without a value is empty there, aloud, as
/// with Compose. Anywhere else an empty text would name another image, mount, port or limit than was meant.
const PASSED_ON: &[&str] = &["command", "entrypoint", "environment", "healthcheck", "labels"];

/// Keys of a service that only name it: as good as absent when a variable has no value.
const NAMES: &[&str] = &["container_name", "hostname"];

/// What a variable without a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blank {
    /// An error.
    Refused,
    /// The empty text, with a warning.
    Empty,
    /// All of the text that it stands in is left out, with a warning.
    Dropped,
    /// An error, with help where a path begins with it; [`HERE`] has its meaning.
    Path,
    /// The empty text, with a warning; [`HERE`] has its meaning.
    PassedPath,
}

/// The variable that a shell gives, and people write before paths of their project: the folder of the file that says it.
pub const HERE: &str = "PWD";

/// The values that a service sees. Without a tenant, a variable that only a tenant can give is remembered in
/// `unknown` instead of being a finding.
#[derive(Debug)]
pub struct Values<'a> {
    tenant: Option<&'a Vars>,
    service: &'a str,
    dotenv: &'a BTreeMap<String, String>,
    asked: Cell<bool>,
    unknown: RefCell<Vec<At>>,
    used: Cell<usize>,
}

impl<'a> Values<'a> {
    /// For a service (or, with an empty name, for a file's top level).
    pub fn new(tenant: Option<&'a Vars>, service: &'a str, dotenv: &'a BTreeMap<String, String>) -> Self {
        Self {
            tenant,
            service,
            dotenv,
            asked: Cell::new(false),
            unknown: RefCell::default(),
            used: Cell::new(0),
        }
    }

    /// A variable's value: the tenant's for this service, the tenant's, then `.env`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.asked.set(true);
        let of_tenant = self.tenant.and_then(|t| {
            t.of_service
                .get(self.service)
                .and_then(|v| v.get(name))
                .or_else(|| t.common.get(name))
        });
        of_tenant.or_else(|| self.dotenv.get(name)).map(String::as_str)
    }

    /// Whether any variable was asked for: if not, the result is the same for every tenant.
    pub fn asked(&self) -> bool {
        self.asked.get()
    }

    /// Whether the value at this place is not known.
    pub fn is_open(&self, at: &At) -> bool {
        self.unknown.borrow().contains(at)
    }

    /// Places whose value is not known: what else is said of them follows from that.
    pub fn into_unknown(self) -> Vec<At> {
        self.unknown.into_inner()
    }

    /// A variable has no value: a finding, or, without a tenant, something to learn later.
    pub fn missing(&self, reader: &Reader, at: &At, problem: &Problem) {
        if self.tenant.is_some() {
            report(reader, at, problem);
        }
        self.unknown.borrow_mut().push(at.clone());
    }

    /// The same for the variable that a mount begins with.
    fn missing_root(&self, reader: &Reader, at: &At, problem: &Problem, name: &str) {
        let own = Reader::new();
        self.missing(&own, at, problem);
        for finding in own.into_findings() {
            reader.report(finding.help(host::of_variable(name)));
        }
    }

    /// The same for a variable of a text that only the service's own processes read: unless the text insists on a
    /// value, or it is one of ours, it is empty. True: that was all.
    pub fn blank(&self, reader: &Reader, at: &At, problem: &Problem) -> bool {
        self.without(reader, at, problem, "is left out here")
    }

    fn without(&self, reader: &Reader, at: &At, problem: &Problem, what: &str) -> bool {
        match problem {
            Problem::Missing(name, None) if self.tenant.is_some() && !is_ours(name) => {
                reader.report(empty(at, name, what));
                true
            }
            _ => {
                self.missing(reader, at, problem);
                false
            }
        }
    }

    /// A service with the variables of its scalars replaced; keys stay as they are.
    pub fn service(&self, reader: &Reader, node: &Node) -> Node {
        let Kind::Map(entries) = &node.kind else {
            return self.node(reader, node);
        };
        let entries = entries.iter().map(|(key, value)| {
            let blank = match key.text.as_str() {
                "env_file" => Blank::PassedPath,
                key if PASSED_ON.contains(&key) => Blank::Empty,
                key if NAMES.contains(&key) => Blank::Dropped,
                "volumes" | "label_file" => Blank::Path,
                _ => Blank::Refused,
            };
            (key.clone(), self.with(reader, value, blank))
        });
        Node {
            kind: Kind::Map(entries.collect()),
            at: node.at.clone(),
        }
    }

    /// What a file declares beside its services. The names of networks and volumes mean nothing here.
    pub fn top(&self, reader: &Reader, node: &Node) -> Node {
        let each = |node: &Node, f: &dyn Fn(&str, &Node) -> Node| match &node.kind {
            Kind::Map(entries) => Node {
                kind: Kind::Map(entries.iter().map(|(k, v)| (k.clone(), f(&k.text, v))).collect()),
                at: node.at.clone(),
            },
            _ => self.node(reader, node),
        };
        let of_one = |key: &str, node: &Node| match key {
            "name" => self.with(reader, node, Blank::Dropped),
            "driver_opts" | "file" => self.with(reader, node, Blank::Path),
            _ => self.node(reader, node),
        };
        each(node, &|section, all| match section {
            "configs" | "networks" | "secrets" | "volumes" => each(all, &|_, one| each(one, &of_one)),
            _ => self.node(reader, all),
        })
    }

    /// A node with the variables of its scalars replaced; each needs a value.
    pub fn node(&self, reader: &Reader, node: &Node) -> Node {
        self.with(reader, node, Blank::Refused)
    }

    fn with(&self, reader: &Reader, node: &Node, blank: Blank) -> Node {
        let kind = match &node.kind {
            Kind::Scalar { text, .. } if text.contains('$') => Kind::Scalar {
                text: self.text(reader, &node.at, text, blank),
                // An empty value is an empty string, not nothing.
                quoted: true,
            },
            Kind::Scalar { text, quoted } => Kind::Scalar {
                text: text.clone(),
                quoted: *quoted,
            },
            Kind::Seq(items) => Kind::Seq(items.iter().map(|n| self.with(reader, n, blank)).collect()),
            Kind::Map(entries) => Kind::Map(
                entries
                    .iter()
                    .map(|(k, v)| (k.clone(), self.with(reader, v, blank)))
                    .collect(),
            ),
        };
        Node {
            kind,
            at: node.at.clone(),
        }
    }

    fn text(&self, reader: &Reader, at: &At, text: &str, blank: Blank) -> String {
        if self.used.get() > MAX_TOTAL {
            return String::new();
        }
        let (value, problems) = match Template::parse(text) {
            Ok(template) => template.fill(&|name| {
                let path = matches!(blank, Blank::Path | Blank::PassedPath);
                let here = path && name == HERE;
                self.get(name)
                    .filter(|v| !(here && v.is_empty()))
                    .or(here.then_some("."))
            }),
            Err(problem) => (String::new(), vec![problem]),
        };
        let mut good = blank != Blank::Dropped || problems.is_empty();
        for problem in &problems {
            good &= match problem {
                Problem::Missing(..) if matches!(blank, Blank::Empty | Blank::PassedPath) => {
                    self.blank(reader, at, problem)
                }
                Problem::Missing(..) if blank == Blank::Dropped => {
                    self.without(reader, at, problem, "this name is left out")
                }
                Problem::Missing(name, _)
                    if blank == Blank::Path && !is_ours(name) && host::first_variable(text) == Some(name) =>
                {
                    self.missing_root(reader, at, problem, name);
                    false
                }
                Problem::Missing(..) => {
                    self.missing(reader, at, problem);
                    false
                }
                other => {
                    report(reader, at, other);
                    self.unknown.borrow_mut().push(at.clone());
                    false
                }
            };
        }
        if !good {
            return String::new();
        }
        self.used.set(self.used.get().saturating_add(value.len()));
        if self.used.get() > MAX_TOTAL {
            report(reader, at, &Problem::TooLong);
            return String::new();
        }
        value
    }
}

/// Variables that ringfence gives: where one is missing, the service is another's than was meant.
pub fn is_ours(name: &str) -> bool {
    name.starts_with("TENANT_") || name.starts_with("RINGFENCE_")
}

/// A variable without a value is the empty text.
fn empty(at: &At, name: &str, what: &str) -> Finding {
    Finding::warning(
        MISSING,
        at.clone(),
        format!("the variable `{name}` has no value and {what}"),
    )
    .help(format!(
        "{}; `${{{name}:?}}` insists on a value",
        three_places(name)
    ))
}

/// Says why a text could not be interpolated.
pub fn report(reader: &Reader, at: &At, problem: &Problem) {
    match problem {
        Problem::Syntax(why) => reader.error(
            "interpolation",
            at,
            *why,
            "write `${NAME}` or `${NAME:-default}` for a variable, `$$` for a dollar sign",
        ),
        Problem::TooLong => reader.error(
            "interpolation",
            at,
            "the value gets too long once its variables are replaced",
            "keep large texts in a file of the release and mount it",
        ),
        Problem::Missing(name, said) => {
            let message = match said {
                Some(said) if !said.is_empty() => {
                    format!("the variable `{name}` has no value: {}", Safe::new(said))
                }
                _ => format!("the variable `{name}` has no value"),
            };
            reader.error(MISSING, at, message, three_places(name));
        }
    }
}

/// Where a variable can be given.
pub fn three_places(name: &str) -> String {
    format!(
        "give it in the tenant's `config_overrides: {{{name}: …}}`, in `desired/services/.env`, or a default here: `${{{name}:-…}}`"
    )
}
