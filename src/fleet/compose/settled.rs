//! Texts that are settled before any tenant comes into it: images, paths of other Compose files, and the keys that say
//! what a service is. They take a value from `.env`, then the default.

use std::collections::BTreeMap;

use super::super::read::Reader;
use super::super::yaml::{Kind, Node};
use super::Vars;
use super::template::{Problem, Template};
use super::values::{MISSING, is_ours, report};
use crate::diagnostic::At;

/// A text that was settled: where, what it is, and the variables in it, which no tenant may give.
pub type Settled = (At, String, Vec<String>);

/// A scalar with its variables replaced, and their names. `of_tenant` says what is wrong with one that a tenant gives.
pub fn expand(
    reader: &Reader,
    node: &Node,
    what: &str,
    dotenv: &BTreeMap<String, String>,
    of_tenant: impl Fn(&str),
) -> Option<(String, Vec<String>)> {
    let written = reader.string(node)?;
    let template = match Template::parse(&written.value) {
        Ok(template) => template,
        Err(problem) => {
            report(reader, &node.at, &problem);
            return None;
        }
    };
    let names: Vec<String> = template.names().into_iter().map(str::to_owned).collect();
    if let Some(name) = names.iter().find(|n| is_ours(n)) {
        of_tenant(name);
        return None;
    }
    match template.expand(&|name| dotenv.get(name).map(String::as_str)) {
        Ok(value) => Some((value, names)),
        Err(problems) => {
            for problem in problems {
                match problem {
                    Problem::Missing(name, _) => reader.error(
                        MISSING,
                        &node.at,
                        format!(
                            "the variable `{name}` has no value, and {what} may not depend on a tenant's"
                        ),
                        format!("give it in `desired/services/.env`, or a default here: `${{{name}:-…}}`"),
                    ),
                    other => report(reader, &node.at, &other),
                }
            }
            None
        }
    }
}

/// A node, settled. What has no variables stays as it is.
pub fn node(
    reader: &Reader,
    node: &Node,
    what: &str,
    dotenv: &BTreeMap<String, String>,
    out: &mut Vec<Settled>,
) -> Option<Node> {
    if !node.scalar().is_some_and(|t| t.contains('$')) {
        return Some(node.clone());
    }
    let refused = |name: &str| depends_on_tenant(reader, &node.at, what, name);
    let (text, names) = expand(reader, node, what, dotenv, refused)?;
    out.push((node.at.clone(), what.to_owned(), names));
    Some(Node {
        // An empty value is as good as none.
        kind: Kind::Scalar {
            quoted: !text.is_empty(),
            text,
        },
        at: node.at.clone(),
    })
}

/// Refuses variables that this tenant gives.
pub fn check_tenant<'a>(
    reader: &Reader,
    settled: impl IntoIterator<Item = &'a Settled>,
    vars: &Vars,
    service: &str,
) {
    for (at, what, names) in settled {
        if let Some(name) = names.iter().find(|n| vars.gives(service, n)) {
            depends_on_tenant(reader, at, what, name);
        }
    }
}

fn depends_on_tenant(reader: &Reader, at: &At, what: &str, name: &str) {
    reader.error(
        "no-variables",
        at,
        format!("{what} depends on `{name}`, which a tenant gives: it is the same for every tenant"),
        "write the value out; what differs between tenants is their own `services:` and `profiles:`",
    );
}
