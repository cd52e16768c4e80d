//! Which change answers which error.

use std::collections::BTreeMap;

use super::super::compose::{HERE, MISSING, names_in};
use super::super::yaml::{Kind, Node};
use super::text::{Part, Text, parts_at};
use super::{Edit, quoted};
use crate::diagnostic::{At, Finding, Severity};
use crate::text::Safe;

/// Host folders that are the host's own: their data is no tenant's.
const SYSTEM: &[&str] = &[
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/var/run",
    "/etc",
    "/boot",
    "/lib",
    "/usr",
    "/bin",
    "/sbin",
    "/tmp",
    "/var/log",
    "/var/lib/docker",
];
/// How often a part is changed before all that it is in is left out.
const PATIENCE: usize = 3;

/// One error, and where it stands.
pub struct Place<'a> {
    pub finding: &'a Finding,
    pub text: &'a Text,
    pub root: &'a Node,
    pub at: &'a At,
    /// How often this place had this error, this time included.
    pub tries: usize,
}

/// What is done about it.
pub enum Answer {
    /// The text is changed.
    Edit(Edit),
    /// The text is changed, and a service is called by another name from now on.
    Rename(Edit, String, String),
    /// A variable gets a value.
    Give(String, String, Finding),
    /// An empty file is written.
    Write(String, Finding),
    /// Nothing that is known here helps.
    None,
}

/// Finds the change.
pub fn answer(
    place: &Place<'_>,
    given: &[(String, String)],
    copies: &BTreeMap<String, (Vec<u8>, bool)>,
    renamed: &BTreeMap<String, String>,
) -> Answer {
    let parts = parts_at(place.root, place.at.span.start);
    let special = match place.finding.code {
        _ if place.tries > PATIENCE && place.finding.severity == Severity::Error => None,
        MISSING => return place.variable(&parts, given),
        "compose-version" => Some(place.services_line()),
        "unknown-key" => place.slip(&parts),
        "service-name" => place.without_dots(&parts),
        "unknown-service" => place.renamed(renamed),
        "host-path" | "path" => place.host_path(&parts, given),
        "missing-file" => place.missing_file(copies),
        "not-carried-out" => place.refused(&parts),
        "image" | "missing-key" if parts.len() <= 3 => place.service(&parts),
        "port" | "mount" | "image" => match place.again(&parts, given) {
            Some(answer) => return answer,
            None => None,
        },
        _ => None,
    };
    match special {
        Some(answer) => answer,
        None => place.leave_out(&parts),
    }
}

impl Place<'_> {
    fn said(&self, code: &'static str, range: &std::ops::Range<usize>, message: String) -> Finding {
        let finding = Finding::warning(code, self.text.at(range), message);
        match self.finding.help.as_deref() {
            // It is done.
            None | Some("remove it") => finding,
            Some(help) => finding.help(help),
        }
    }

    /// Leaves the innermost part out that can be; after some tries the next larger one, up to the service.
    fn leave_out(&self, parts: &[Part<'_>]) -> Answer {
        let service = parts.first().and_then(|p| p.key) == Some("services");
        // What stands in a list in its long form is one thing: half a mount would be another one, and so is a service's
        // `extends`. A key too many may go.
        let include = parts.first().and_then(|p| p.key) == Some("include");
        let one = parts.iter().enumerate().position(|(i, p)| {
            let item = p.key.is_none() && (service || include);
            (item || (service && i == 2 && p.key == Some("extends"))) && p.value.entries().is_some()
        });
        let keep = match one {
            _ if self.tries > PATIENCE => 2,
            Some(i) if !matches!(self.finding.code, "unknown-key" | "duplicate-key") => i + 1,
            _ => parts.len(),
        };
        for depth in (1..=keep.min(parts.len())).rev() {
            let (Some(part), true) = (parts.get(depth - 1), depth > 1 || !service) else {
                continue;
            };
            // A service without its image is none.
            if part.key == Some("image") && depth == 3 {
                continue;
            }
            if let Some(edit) = self.without(part) {
                return edit;
            }
        }
        Answer::None
    }

    fn without(&self, part: &Part<'_>) -> Option<Answer> {
        let (range, new) = self.text.without(part)?;
        let services = self
            .root
            .get("services")
            .is_some_and(|s| s.at == part.parent_at());
        let what = match part.key {
            Some(key) if services => format!("the service `{}` is left out", Safe::new(key)),
            Some(key) => format!("`{}` is left out", Safe::new(key)),
            None => "left out".to_owned(),
        };
        Some(Answer::Edit(Edit {
            said: self.said(
                "left-out",
                &self.at.span,
                format!("{what}: {}", self.finding.message),
            ),
            range,
            new,
        }))
    }

    fn put(&self, range: std::ops::Range<usize>, new: String, message: String) -> Answer {
        Answer::Edit(Edit {
            said: self.said("changed", &range, message),
            range,
            new,
        })
    }

    fn service(&self, parts: &[Part<'_>]) -> Option<Answer> {
        let of_services = parts.first()?.key == Some("services");
        of_services.then(|| self.without(parts.get(1)?)).flatten()
    }

    /// Keys whose refusal leaves more than themselves out.
    fn refused(&self, parts: &[Part<'_>]) -> Option<Answer> {
        if parts.first()?.key != Some("services") {
            return None;
        }
        let service = parts.get(1)?.value;
        let part = parts.get(2)?;
        match part.key? {
            "build" if service.get("image").is_none_or(Node::is_null) => self.service(parts),
            // Without another's network it would talk past it: a client outside its VPN.
            "network_mode"
                if part
                    .value
                    .scalar()
                    .is_some_and(|m| m.starts_with("service:") || m.starts_with("container:")) =>
            {
                self.service(parts)
            }
            // GPUs are asked for in another way.
            "runtime" if part.value.scalar() == Some("nvidia") && service.get("gpus").is_none() => {
                let (range, _) = self.text.without(part)?;
                let start = range.start + self.text.now().get(range.clone())?.find("runtime")?;
                let end = part.value.at.span.end;
                let asked = service.get("deploy").is_some_and(|d| {
                    d.get("resources")
                        .is_some_and(|r| r.get("reservations").is_some())
                });
                (!asked).then(|| {
                    self.put(
                        start..end,
                        "gpus: all".to_owned(),
                        "`runtime: nvidia` becomes `gpus: all`: another runtime is not carried out"
                            .to_owned(),
                    )
                })
            }
            "ports" => {
                let item = parts.get(3)?;
                if let Some(ip) = item.value.get("host_ip") {
                    return Some(self.put(
                        ip.at.span.clone(),
                        "127.0.0.1".to_owned(),
                        format!("published on 127.0.0.1 only: {}", self.finding.message),
                    ));
                }
                let text = item.value.scalar()?;
                let bare = text
                    .strip_prefix('[')
                    .and_then(|t| t.split_once("]:"))
                    .or_else(|| text.split_once(':').filter(|(ip, _)| ip.contains('.')))
                    .map(|(_, rest)| rest)?;
                Some(self.put(
                    item.value.at.span.clone(),
                    quoted(bare),
                    format!(
                        "`{}` is published on 127.0.0.1 only: {}",
                        Safe::new(text),
                        self.finding.message
                    ),
                ))
            }
            _ => None,
        }
    }

    /// A service whose name has dots gets one without, and keeps the old one as a further name for its neighbours.
    fn without_dots(&self, parts: &[Part<'_>]) -> Option<Answer> {
        let services = self.root.get("services")?.entries()?;
        let (key, service) = services
            .iter()
            .find(|(k, _)| k.at.span.start == self.at.span.start)?;
        let new = undotted(&key.text)?;
        if services.iter().any(|(k, _)| k.text == new) || parts.get(1)?.key? != key.text {
            return None;
        }
        let now = self.text.now();
        let mut range = key.at.span.clone();
        let mut text = new.clone();
        let says = |name: &str| service.get(name).map(|n| n.scalar().unwrap_or_default());
        let named = ["container_name", "hostname"].map(says);
        if !named.contains(&Some(key.text.as_str())) {
            let free = ["container_name", "hostname"]
                .into_iter()
                .find(|k| says(k).is_none())?;
            // What merge keys brought stands elsewhere.
            let own = service.entries()?.iter().map(|(k, _)| k.at.span.start);
            let first = own.filter(|start| service.at.span.contains(start)).min()?;
            let between = now.get(range.end..first)?;
            let line = now.get(..first)?.rfind('\n').map_or(0, |i| i + 1);
            let indent = now.get(line..first)?;
            let end = if now.get(service.at.span.start..)?.starts_with('{') {
                ", ".to_owned()
            } else {
                indent.chars().all(|c| c == ' ').then(|| format!("\n{indent}"))?
            };
            text = format!("{new}{between}{free}: {}{end}", quoted(&key.text));
            range.end = first;
        }
        let message = format!(
            "the service `{}` is called `{new}`, and its neighbours find it under both names: {}",
            Safe::new(&key.text),
            self.finding.message
        );
        let said = Finding::warning("changed", self.text.at(&key.at.span), message);
        let edit = Edit {
            range,
            new: text,
            said,
        };
        Some(Answer::Rename(edit, key.text.clone(), new))
    }

    /// What speaks of a service that got another name speaks of it by that.
    fn renamed(&self, renamed: &BTreeMap<String, String>) -> Option<Answer> {
        let old = self.finding.message.split('`').nth(1)?;
        let new = renamed.get(old)?;
        let written = self.text.now().get(self.at.span.clone())?;
        let text = written.replace(old, new);
        (text != written).then(|| {
            let message = format!("`{}` is called `{new}` here", Safe::new(old));
            self.put(self.at.span.clone(), text, message)
        })
    }

    /// A key that is a slip of the pen is written as it was meant.
    fn slip(&self, parts: &[Part<'_>]) -> Option<Answer> {
        let part = parts.last()?;
        let meant = self
            .finding
            .help
            .as_ref()?
            .strip_prefix("did you mean `")?
            .split('`')
            .next()?;
        let beside = parts.get(parts.len().checked_sub(2)?)?;
        if beside.value.get(meant).is_some() || self.text.now().get(self.at.span.clone())? != part.key? {
            return None;
        }
        Some(self.put(
            self.at.span.clone(),
            meant.to_owned(),
            format!(
                "`{}` is written `{meant}`: {}",
                Safe::new(part.key?),
                self.finding.message
            ),
        ))
    }

    /// Data of the host becomes the tenant's own volume; what is the host's own is left out.
    fn host_path(&self, parts: &[Part<'_>], given: &[(String, String)]) -> Option<Answer> {
        if parts.first()?.key != Some("services") || parts.get(2)?.key != Some("volumes") {
            return None;
        }
        let item = parts.get(3)?;
        let node = match &item.value.kind {
            Kind::Map(_) => item.value.get("source")?,
            _ => item.value,
        };
        let text = node.scalar()?;
        let (source, rest) = match item.value.kind {
            Kind::Map(_) => (text, ""),
            _ => text.split_at(split_source(text)),
        };
        if source.starts_with('$') {
            return self.volume_root(source, given);
        }
        let system = |path: &str| {
            SYSTEM
                .iter()
                .any(|s| path == *s || path.strip_prefix(s).is_some_and(|r| r.starts_with('/')))
        };
        let bare = source.trim_start_matches(['~', '/', '.']).trim_end_matches('/');
        let file = bare
            .rsplit('/')
            .next()
            .is_some_and(|name| name.contains('.') && !name.starts_with('.'));
        let of_variable = !names_in(bare).is_empty();
        let plain = bare.chars().all(|c| {
            let mark =
                matches!(c, '/' | '_' | '-' | '.') || (of_variable && matches!(c, '$' | '{' | '}' | ':'));
            c.is_ascii_alphanumeric() || mark
        });
        if bare.is_empty() || system(source) || file || !plain || bare.contains("..") {
            return None;
        }
        let message = format!(
            "`{}` becomes a volume of the tenant's own, which is empty: its data is not taken along",
            Safe::new(source)
        );
        Some(Answer::Edit(Edit {
            said: Finding::warning("changed", self.text.at(&node.at.span), message)
                .help("copy the data into it once it is made, with `docker cp`"),
            range: node.at.span.clone(),
            new: quoted(&format!("./{bare}{rest}")),
        }))
    }

    /// `${DATA:-/srv/data}/web`: the variable gets a folder of the tenant's own, and the text stays as it is.
    fn volume_root(&self, source: &str, given: &[(String, String)]) -> Option<Answer> {
        let name = names_in(source).into_iter().find(|name| {
            let begins = [format!("${{{name}"), format!("${name}")];
            let given = given.iter().any(|(g, v)| g == name && !v.is_empty());
            begins.iter().any(|b| source.starts_with(b.as_str())) && !given
        })?;
        let written = source
            .split_once(":-")
            .or_else(|| source.split_once('-'))
            .and_then(|(_, default)| default.split('}').next())
            .and_then(|default| default.trim_end_matches('/').rsplit('/').next())
            .filter(|last| last.chars().any(|c| c.is_ascii_alphanumeric()) && !last.contains('$'));
        let folder = written.map_or_else(|| name.to_lowercase().replace('_', "-"), str::to_owned);
        let value = format!("./{folder}");
        let message = format!(
            "the variable `{}` is `{value}` in `.env`: what lies there becomes volumes of the tenant's own, which are empty",
            Safe::new(&name)
        );
        let said = Finding::warning("given", self.text.at(&self.at.span), message)
            .help("copy the data into them once they are made, with `docker cp`");
        Some(Answer::Give(name, value, said))
    }

    fn missing_file(&self, copies: &BTreeMap<String, (Vec<u8>, bool)>) -> Option<Answer> {
        let path = self
            .finding
            .message
            .split('`')
            .nth(1)?
            .strip_prefix(super::FOLDER)?
            .to_owned();
        // An empty Compose file helps nobody.
        if super::is_compose(&path) || copies.contains_key(&path) {
            return None;
        }
        Some(Answer::Write(
            path.clone(),
            self.said(
                "given",
                &self.at.span,
                format!(
                    "`{}` is not there: an empty one is written, to be filled",
                    Safe::new(&path)
                ),
            ),
        ))
    }

    /// The first version of the format knew only services.
    fn services_line(&self) -> Answer {
        let indented: String = self
            .text
            .now()
            .split_inclusive('\n')
            .map(|line| {
                if line.trim().is_empty() || line.starts_with("---") {
                    line.to_owned()
                } else {
                    format!("  {line}")
                }
            })
            .collect();
        let all = 0..self.text.now().len();
        Answer::Edit(Edit {
            said: self.said(
                "changed",
                &self.at.span,
                "the file is written in the first version of Compose's format: all of it goes below `services:`"
                    .to_owned(),
            ),
            range: all,
            new: format!("services:\n{indented}"),
        })
    }

    /// A variable without a value gets the empty one, as Compose has it, or what its place needs.
    fn variable(&self, parts: &[Part<'_>], given: &[(String, String)]) -> Answer {
        let named = matches!(
            parts.get(2).and_then(|p| p.key),
            Some("container_name" | "hostname" | "name")
        );
        let here = self.finding.message.contains(&format!("`{HERE}`"));
        if (named || here) && self.finding.severity == Severity::Warning {
            // Half a name is worse than none; the project's folder on the host is nothing to a container.
            return Answer::None;
        }
        // One that was given the empty value, which is not enough here, is given anew.
        let answer = names(parts).into_iter().find_map(|(name, required)| {
            let named = self.finding.message.contains(&format!("`{name}`"));
            let value = value_for(&name, parts, required);
            let before = given.iter().find(|(g, _)| *g == name);
            let fresh = before.is_none_or(|(_, old)| old.is_empty() && !value.is_empty());
            (named && fresh).then_some((name, value))
        });
        let Some((name, value)) = answer else {
            return match self.finding.severity {
                Severity::Error => self.leave_out(parts),
                // It is empty, as it was meant to be.
                _ => Answer::None,
            };
        };
        let shown = if value.is_empty() {
            "empty, as Compose has it".to_owned()
        } else {
            format!("`{value}`")
        };
        Answer::Give(
            name.clone(),
            value,
            self.said(
                "given",
                &self.at.span,
                format!(
                    "the variable `{}` has no value: in `.env` it is {shown}",
                    Safe::new(&name)
                ),
            ),
        )
    }

    /// A value that was given before does not fit: it is given anew.
    fn again(&self, parts: &[Part<'_>], given: &[(String, String)]) -> Option<Answer> {
        let (name, required) = names(parts)
            .into_iter()
            .find(|(name, _)| given.iter().any(|(g, v)| g == name && v.is_empty()))?;
        let value = value_for(&name, parts, required);
        (!value.is_empty()).then(|| {
            let said = self.said(
                "given",
                &self.at.span,
                format!("the variable `{}` is `{value}` in `.env`", Safe::new(&name)),
            );
            Answer::Give(name, value, said)
        })
    }
}

/// A name with dots as one without.
fn undotted(name: &str) -> Option<String> {
    name.contains('.').then(|| name.replace('.', "-"))
}

/// Variables of the text at the place, and whether the file insists on a value.
fn names(parts: &[Part<'_>]) -> Vec<(String, bool)> {
    let mut out = Vec::new();
    let mut take = |text: &str| {
        for name in names_in(text) {
            let required = text.contains(&format!("${{{name}?")) || text.contains(&format!("${{{name}:?"));
            out.push((name, required));
        }
    };
    if let Some(part) = parts.last() {
        match &part.value.kind {
            Kind::Scalar { text, .. } if text.contains('$') => take(text),
            Kind::Scalar { text, .. } => {
                let name = part.key.unwrap_or(text);
                out.push((name.to_owned(), false));
            }
            _ => {}
        }
    }
    out
}

/// A value that fits the place of a variable; empty, as Compose has it, where nothing else is needed.
fn value_for(name: &str, parts: &[Part<'_>], required: bool) -> String {
    let key = parts.get(2).and_then(|p| p.key).unwrap_or_default();
    let of_services = parts.first().is_some_and(|p| p.key == Some("services"));
    let text = parts.last().and_then(|p| p.value.scalar()).unwrap_or_default();
    let begins = [format!("${{{name}"), format!("${name}")]
        .iter()
        .any(|n| text.starts_with(n.as_str()));
    match key {
        _ if name == HERE => ".".to_owned(),
        "volumes" if of_services && begins => format!("./{}", name.to_lowercase().replace('_', "-")),
        // The project's own folder.
        "extends" if of_services && begins => ".".to_owned(),
        "ports" if of_services => container_port(text).unwrap_or("8080").to_owned(),
        "image" if of_services => "latest".to_owned(),
        _ if required => "change-me".to_owned(),
        _ => String::new(),
    }
}

/// A line of a file of values that is no assignment becomes a comment.
pub fn without_line(text: &Text, finding: &Finding, at: &At) -> Edit {
    let now = text.now();
    let start = at.span.start.min(now.len());
    let line = now.get(..start).and_then(|t| t.rfind('\n')).map_or(0, |i| i + 1);
    let message = format!("the line is left out: {}", finding.message);
    Edit {
        range: line..line,
        new: "# ".to_owned(),
        said: Finding::warning("left-out", text.at(&at.span), message)
            .help(finding.help.clone().unwrap_or_default()),
    }
}

/// Where the source of a short mount ends: at the first colon that is not within `${…}`.
fn split_source(text: &str) -> usize {
    let mut depth = 0usize;
    for (i, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => return i,
            _ => {}
        }
    }
    text.len()
}

/// The container's side of a short port, where it is a number.
fn container_port(text: &str) -> Option<&str> {
    let last = text.rsplit(':').next()?.split('/').next()?;
    (!last.is_empty() && last.bytes().all(|b| b.is_ascii_digit())).then_some(last)
}
