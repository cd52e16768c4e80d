//! One service: from its interpolated node to our type, key by key.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::super::read::{Fields, Reader};
use super::super::yaml::{Kind, Node};
use super::release::ReleaseFiles;
use super::service::{PullPolicy, Restart, Service};
use super::stored::Store;
use super::top::Top;
use super::values::Values;
use super::{
    depends, environment, extension, health, keys, limits, mounts, names, options, ports, resolver, security,
    stored, tmpfs,
};
use crate::diagnostic::{At, Spanned};
use crate::text::Safe;

/// How long a container has to stop when its file does not say: Compose's own default.
const STOP_GRACE_MS: u64 = 10_000;

/// All that the readers of a service's keys need.
pub struct Context<'a> {
    /// Findings of this service.
    pub reader: &'a Reader,
    /// Its name.
    pub service: &'a str,
    /// Values of variables.
    pub values: &'a Values<'a>,
    /// Files of the release.
    pub release: &'a ReleaseFiles,
    /// What its file declares beside services.
    pub top: &'a Top,
    /// Whether the note about `TENANT_` names was made.
    pub tenant_noted: Cell<bool>,
    volumes: RefCell<Vec<VolumeUse>>,
    spoilt: Cell<bool>,
}

/// A volume and what it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeUse {
    /// Its name.
    pub name: String,
    /// The name or the path in the file.
    pub origin: String,
    /// Where.
    pub at: At,
}

/// A service read, with what only a look over all services can judge.
#[derive(Debug, Clone)]
pub struct Converted {
    /// The service. With `good` false some of it is missing.
    pub service: Arc<Service>,
    /// Volumes.
    pub volumes: Arc<Vec<VolumeUse>>,
    /// Whether it can be used.
    pub good: bool,
}

impl<'a> Context<'a> {
    /// For one service.
    pub fn new(
        reader: &'a Reader,
        service: &'a str,
        values: &'a Values<'a>,
        release: &'a ReleaseFiles,
        top: &'a Top,
    ) -> Self {
        Self {
            reader,
            service,
            values,
            release,
            top,
            tenant_noted: Cell::new(false),
            volumes: RefCell::default(),
            spoilt: Cell::new(false),
        }
    }

    /// Remembers a volume.
    pub fn use_volume(&self, volume: VolumeUse) {
        self.volumes.borrow_mut().push(volume);
    }

    /// The service uses something whose own declaration has the finding.
    pub fn spoil(&self) {
        self.spoilt.set(true);
    }

    /// True or false, also from a variable (and so a string).
    pub fn boolean(&self, node: &Node) -> Option<bool> {
        match node.scalar() {
            Some("true" | "True" | "TRUE") => Some(true),
            Some("false" | "False" | "FALSE") => Some(false),
            _ => self.reader.boolean(node),
        }
    }

    /// A whole number, also from a variable (and so a string).
    pub fn integer(&self, node: &Node, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let plain = match &node.kind {
            Kind::Scalar { text, .. } => Node {
                kind: Kind::Scalar {
                    text: text.clone(),
                    quoted: false,
                },
                at: node.at.clone(),
            },
            _ => node.clone(),
        };
        self.reader.integer(&plain, range)
    }

    /// Reads the service.
    pub fn convert(self, node: &Node, at: &At, image: Spanned<String>) -> Option<Converted> {
        let before = self.reader.errors();
        let what = format!("the service `{}`", self.service);
        let fields = self.reader.fields(node, &what)?;
        // Its value was read before, because it depends on no tenant.
        let _ = fields.get("image");
        // What it names was laid under the service when the files were read.
        let _ = fields.get("extends");
        keys::read(self.reader, &fields);
        extension::check_slips(self.reader, node);
        let service = self.service(&fields, at, image);
        if let Some(node) = fields.get(extension::KEY) {
            health::check_told(&self, node, &service);
        }
        fields.finish();
        let good = !self.spoilt.get() && self.reader.errors() == before;
        Some(Converted {
            service: Arc::new(service),
            volumes: Arc::new(self.volumes.into_inner()),
            good,
        })
    }

    fn service(&self, fields: &Fields<'_, '_>, at: &At, image: Spanned<String>) -> Service {
        let extension = extension::read(self, fields);
        let (limits, policy) = limits::read(self, fields);
        let (hostname, aliases) = names::read(self, fields);
        let flag = |key| fields.get(key).and_then(|n| self.boolean(n));
        let restart = fields.get("restart").and_then(|n| self.restart(n));
        let grace = fields
            .get("stop_grace_period")
            .and_then(|n| health::duration(self, n, 0));
        if let Some(node) = fields.get("expose") {
            ports::check_expose(self.reader, node);
        }
        let mut depends_on = fields
            .get("depends_on")
            .map(|n| depends::read(self, n))
            .unwrap_or_default();
        let links = fields
            .get("links")
            .map(|n| resolver::links(self, n, &mut depends_on))
            .unwrap_or_default();
        let sysctls = fields
            .get("sysctls")
            .map(|n| security::sysctls(self, n))
            .unwrap_or_default();
        Service {
            name: self.service.to_owned(),
            at: at.clone(),
            scope: extension.scope,
            image,
            pull: fields
                .get("pull_policy")
                .and_then(|n| self.pull(n))
                .unwrap_or_default(),
            profiles: fields
                .get("profiles")
                .map(|n| self.profiles(n))
                .unwrap_or_default(),
            command: fields.get("command").and_then(|n| self.words(n)),
            entrypoint: fields.get("entrypoint").and_then(|n| self.words(n)),
            environment: environment::read(
                self,
                fields.get("env_file"),
                fields
                    .get("environment")
                    .map(|n| (n, fields.key_at("environment"))),
            ),
            labels: environment::labels(self, fields.get("label_file"), fields.get("labels")),
            user: fields.get("user").and_then(|n| self.word(n, "a user")),
            working_dir: fields.get("working_dir").and_then(|n| self.working_dir(n)),
            hostname,
            aliases,
            mounts: self.mounts(fields),
            ports: fields
                .get("ports")
                .map(|n| ports::read(self.reader, n, &fields.key_at("ports")))
                .unwrap_or_default(),
            links,
            depends_on,
            healthcheck: fields
                .get("healthcheck")
                .and_then(|n| health::healthcheck(self, n)),
            probe: extension.probe,
            restart: restart.or(policy).unwrap_or_default(),
            limits,
            read_only: flag("read_only").unwrap_or(false),
            init: flag("init"),
            tty: flag("tty").unwrap_or(false),
            stdin_open: flag("stdin_open").unwrap_or(false),
            stop_signal: fields.get("stop_signal").and_then(|n| self.signal(n)),
            stop_grace_ms: grace.unwrap_or(STOP_GRACE_MS),
            sysctls,
            options: options::read(self, fields),
            rollout: extension.rollout,
        }
    }

    fn mounts(&self, fields: &Fields<'_, '_>) -> Vec<super::service::Mount> {
        let mut out = Vec::new();
        if let Some(node) = fields.get("volumes") {
            mounts::volumes(self, node, &fields.key_at("volumes"), &mut out);
        }
        if let Some(node) = fields.get("tmpfs") {
            tmpfs::read(self, node, &mut out);
        }
        if let Some(node) = fields.get("configs") {
            stored::read(self, node, Store::Configs, &mut out);
        }
        if let Some(node) = fields.get("secrets") {
            stored::read(self, node, Store::Secrets, &mut out);
        }
        out.sort_by(|a, b| a.target.cmp(&b.target));
        mounts::check_nested(self, &out);
        out
    }

    /// A list of words, or a string that is split as a shell splits it.
    fn words(&self, node: &Node) -> Option<Vec<String>> {
        if let Kind::Seq(_) = &node.kind {
            return Some(self.reader.strings(node)?.into_iter().map(|s| s.value).collect());
        }
        let text = self.reader.string(node)?.value;
        let words = split(&text);
        if words.is_none() {
            self.reader.error(
                "quotes",
                &node.at,
                "a quote is not closed, or a backslash ends the text",
                "close it, or write a list: `[program, argument]`",
            );
        }
        words
    }

    fn word(&self, node: &Node, what: &str) -> Option<String> {
        let text = self.reader.string(node)?.value;
        if text.is_empty() {
            return None;
        }
        if text.contains(char::is_whitespace) {
            self.reader.error(
                "wrong-type",
                &node.at,
                format!("`{}` is not {what}: it has blanks", Safe::new(&text)),
                "write one word, such as `1000:1000`",
            );
            return None;
        }
        Some(text)
    }

    fn working_dir(&self, node: &Node) -> Option<String> {
        let text = self.reader.string(node)?.value;
        if text.is_empty() {
            return None;
        }
        if !text.starts_with('/') {
            self.reader.error(
                "working-dir",
                &node.at,
                format!("`{}` is not absolute", Safe::new(&text)),
                "write the whole path inside the container, such as `/app`",
            );
            return None;
        }
        Some(text)
    }

    fn signal(&self, node: &Node) -> Option<String> {
        let text = self.reader.string(node)?.value;
        let number = text.parse::<u8>().is_ok_and(|n| (1..=64).contains(&n));
        let name = text.strip_prefix("SIG").unwrap_or(&text);
        let named = name.starts_with(|c: char| c.is_ascii_uppercase())
            && name
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || matches!(c, '+' | '-'));
        if number || named {
            return Some(text);
        }
        self.reader.error(
            "signal",
            &node.at,
            format!("`{}` is no signal", Safe::new(&text)),
            "write it like `SIGTERM` or `15`",
        );
        None
    }

    fn restart(&self, node: &Node) -> Option<Restart> {
        let text = self.reader.string(node)?.value;
        if text == "false" {
            return Some(Restart::No);
        }
        if let Some(times) = text.strip_prefix("on-failure:") {
            let count = times.parse::<u32>().ok().filter(|n| *n <= 1_000_000);
            if count.is_none() {
                self.reader.error(
                    "unknown-value",
                    &node.at,
                    format!("`{}` is no number of restarts", Safe::new(times)),
                    "write it like `on-failure:5`",
                );
            }
            return count.map(Restart::OnFailure);
        }
        self.reader.one_of(
            node,
            &[
                ("no", Restart::No),
                ("always", Restart::Always),
                ("on-failure", Restart::OnFailure(0)),
                ("unless-stopped", Restart::UnlessStopped),
            ],
        )
    }

    fn pull(&self, node: &Node) -> Option<PullPolicy> {
        let text = self.reader.string(node)?.value;
        if matches!(text.as_str(), "build" | "daily" | "weekly") || text.starts_with("every_") {
            self.reader.error(
                "not-carried-out",
                &node.at,
                format!("`pull_policy: {}` is not carried out", Safe::new(&text)),
                "use `missing`, `always` or `never`; a release keeps the image it was resolved to",
            );
            return None;
        }
        self.reader.one_of(
            node,
            &[
                ("missing", PullPolicy::Missing),
                ("always", PullPolicy::Always),
                ("never", PullPolicy::Never),
                ("if_not_present", PullPolicy::Missing),
            ],
        )
    }

    fn profiles(&self, node: &Node) -> Vec<String> {
        let mut out = Vec::new();
        for name in self.reader.strings(node).unwrap_or_default() {
            if super::top::is_name(&name.value) {
                out.push(name.value);
            } else {
                self.reader.error(
                    "name",
                    &name.at,
                    format!("`{}` is no name of a profile", Safe::new(&name.value)),
                    "letters, digits, `_`, `.` and `-`, a letter or digit first",
                );
            }
        }
        out
    }
}

/// Splits like a shell. Unlike in a script, `#` begins no comment, as in Compose.
fn split(text: &str) -> Option<Vec<String>> {
    const HASH: &str = "\u{e000}";
    if text.contains(HASH) {
        return None;
    }
    let words = shlex::split(&text.replace('#', HASH))?;
    Some(words.into_iter().map(|w| w.replace(HASH, "#")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_as_a_shell_splits_it() {
        let words = |t: &str| split(t).map(|w| w.join("|"));
        assert_eq!(words("a  b\nc").as_deref(), Some("a|b|c"));
        assert_eq!(
            words("sh -c 'echo \"x y\" > /z'").as_deref(),
            Some("sh|-c|echo \"x y\" > /z")
        );
        assert_eq!(
            words("redis-server --requirepass #x \"a b\"").as_deref(),
            Some("redis-server|--requirepass|#x|a b")
        );
        assert_eq!(words("").as_deref(), Some(""));
        assert_eq!(words("open 'quote"), None);
    }
}
