//! Where a variable's value comes from, and nodes with their variables replaced.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::super::read::Reader;
use super::super::yaml::{Kind, Node};
use super::Vars;
use super::template::{Problem, Template};
use crate::diagnostic::At;
use crate::text::Safe;

/// The most text that all scalars of one service may become together.
const MAX_TOTAL: usize = 4 << 20;

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

    /// The same node with the variables of its scalars replaced; keys stay as they are.
    pub fn node(&self, reader: &Reader, node: &Node) -> Node {
        let kind = match &node.kind {
            Kind::Scalar { text, .. } if text.contains('$') => Kind::Scalar {
                text: self.text(reader, &node.at, text),
                // An empty value is an empty string, not nothing.
                quoted: true,
            },
            Kind::Scalar { text, quoted } => Kind::Scalar {
                text: text.clone(),
                quoted: *quoted,
            },
            Kind::Seq(items) => Kind::Seq(items.iter().map(|n| self.node(reader, n)).collect()),
            Kind::Map(entries) => Kind::Map(
                entries
                    .iter()
                    .map(|(k, v)| (k.clone(), self.node(reader, v)))
                    .collect(),
            ),
        };
        Node {
            kind,
            at: node.at.clone(),
        }
    }

    fn text(&self, reader: &Reader, at: &At, text: &str) -> String {
        if self.used.get() > MAX_TOTAL {
            return String::new();
        }
        let expanded = Template::parse(text)
            .map_err(|p| vec![p])
            .and_then(|t| t.expand(&|name| self.get(name)));
        match expanded {
            Ok(value) => {
                self.used.set(self.used.get().saturating_add(value.len()));
                if self.used.get() > MAX_TOTAL {
                    report(reader, at, &Problem::TooLong);
                    return String::new();
                }
                value
            }
            Err(problems) => {
                for problem in problems {
                    match problem {
                        Problem::Missing(..) => self.missing(reader, at, &problem),
                        other => {
                            report(reader, at, &other);
                            self.unknown.borrow_mut().push(at.clone());
                        }
                    }
                }
                String::new()
            }
        }
    }
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
            reader.error("missing-variable", at, message, three_places(name));
        }
    }
}

/// Where a variable can be given.
pub fn three_places(name: &str) -> String {
    format!(
        "give it in the tenant's `config_overrides: {{{name}: …}}`, in `desired/services/.env`, or a default here: `${{{name}:-…}}`"
    )
}
