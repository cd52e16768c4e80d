//! Names of services, and the further names that their neighbours know them by.

use std::collections::BTreeSet;

use super::super::read::{Fields, Reader};
use super::super::yaml::{Key, Kind, Node};
use super::convert::Context;
use super::top::{is_name, note};
use crate::diagnostic::{At, Finding, did_you_mean};
use crate::text::Safe;

/// The longest label of a host name.
const MAX_LABEL: usize = 63;

/// Checks a service's name: letters, digits, `_` and `-`; no dot; at most 63 characters.
pub fn check_service(reader: &Reader, key: &Key) -> bool {
    let name = key.text.as_str();
    let shown: String = name.chars().take(80).collect();
    let shown = Safe::new(&shown);
    let (why, help) = if name.contains('.') {
        (
            format!("the name `{shown}` has a dot"),
            format!(
                "write `{}`: a dot parts the name from its tenant's",
                Safe::new(&name.replace('.', "-"))
            ),
        )
    } else if name.len() > MAX_LABEL {
        (
            format!("the name `{shown}` has more than 63 characters"),
            "shorten it: it is a host name".to_owned(),
        )
    } else if !is_name(name) {
        (
            format!("`{shown}` is no name of a service"),
            "letters, digits, `_` and `-`, a letter or digit first".to_owned(),
        )
    } else if name.eq_ignore_ascii_case("localhost") || name.eq_ignore_ascii_case("gateway") {
        (
            format!("the name `{shown}` is reserved"),
            "choose another name".to_owned(),
        )
    } else {
        return true;
    };
    reader.error("service-name", &key.at, why, help);
    false
}

/// The container's host name, and all further names: `container_name`, `hostname`, aliases of networks.
pub fn read(ctx: &Context<'_>, fields: &Fields<'_, '_>) -> (Option<String>, BTreeSet<String>) {
    let mut aliases = BTreeSet::new();
    if let Some(name) = fields.get("container_name").and_then(|n| host_name(ctx, n)) {
        note(
            ctx.reader,
            &fields.key_at("container_name"),
            "`container_name` is a further name for the neighbours; the container's own name is ringfence's",
        );
        aliases.insert(name);
    }
    let hostname = fields.get("hostname").and_then(|n| host_name(ctx, n));
    aliases.extend(hostname.clone());
    if let (Some(host), Some(domain)) = (&hostname, fields.get("domainname").and_then(|n| n.scalar()))
        && is_host_name(domain)
    {
        aliases.insert(format!("{host}.{domain}"));
    }
    if let Some(node) = fields.get("networks") {
        networks(ctx, node, &fields.key_at("networks"), &mut aliases);
    }
    aliases.remove(ctx.service);
    (hostname, aliases)
}

/// A host name.
pub fn host_name(ctx: &Context<'_>, node: &Node) -> Option<String> {
    let text = ctx.reader.string(node)?;
    host_name_text(ctx, &text.at, &text.value)
}

/// The same of a text that is only a part of a node.
pub fn host_name_text(ctx: &Context<'_>, at: &At, text: &str) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    if is_host_name(text) {
        return Some(text.to_owned());
    }
    let shown: String = text.chars().take(80).collect();
    ctx.reader.error(
        "host-name",
        at,
        format!("`{}` cannot be a host name here", Safe::new(&shown)),
        "letters, digits and `-`, a letter or digit first, at most 63 characters; `gateway` is reserved",
    );
    None
}

fn is_host_name(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            label.len() <= MAX_LABEL
                && label.starts_with(|c: char| c.is_ascii_alphanumeric())
                && label
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        })
        && !text.eq_ignore_ascii_case("gateway")
        && !text.eq_ignore_ascii_case("localhost")
}

fn networks(ctx: &Context<'_>, node: &Node, key: &At, aliases: &mut BTreeSet<String>) {
    match &node.kind {
        Kind::Seq(items) => {
            for item in items {
                if let Some(name) = ctx.reader.string(item) {
                    declared(ctx, &item.at, &name.value);
                }
            }
        }
        Kind::Map(entries) => {
            for (name, value) in entries {
                declared(ctx, &name.at, &name.text);
                if !value.is_null() {
                    attachment(ctx, value, aliases);
                }
            }
        }
        Kind::Scalar { .. } => {
            let _ = ctx.reader.list(node);
        }
    }
    note(
        ctx.reader,
        key,
        "`networks` are not enforced: a tenant's services share one network of their own",
    );
}

fn declared(ctx: &Context<'_>, at: &At, name: &str) {
    match ctx.top.networks.get(name) {
        Some(true) => {}
        Some(false) => ctx.spoil(),
        None if name == "default" => {}
        None => {
            let help = did_you_mean(name, ctx.top.networks.keys().map(String::as_str)).map_or_else(
                || "declare it under the top-level `networks:` of this file, or leave it out".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            ctx.reader.error(
                "unknown-network",
                at,
                format!("the network `{}` is not declared", Safe::new(name)),
                help,
            );
        }
    }
}

fn attachment(ctx: &Context<'_>, node: &Node, aliases: &mut BTreeSet<String>) {
    let Some(fields) = ctx.reader.fields(node, "the network") else {
        return;
    };
    for item in fields
        .get("aliases")
        .and_then(|n| ctx.reader.list(n))
        .unwrap_or_default()
    {
        aliases.extend(host_name(ctx, item));
    }
    // Addresses and priorities of a network that is not made: the note about `networks` covers them.
    for key in [
        "ipv4_address",
        "ipv6_address",
        "link_local_ips",
        "mac_address",
        "priority",
        "gw_priority",
        "interface_name",
        "driver_opts",
    ] {
        let _ = fields.get(key);
    }
    fields.finish();
}

/// Warns of two services with one further name.
pub fn check_aliases<'a>(
    reader: &Reader,
    services: impl Iterator<Item = (&'a str, &'a At, &'a BTreeSet<String>)> + Clone,
) {
    let mut seen: std::collections::BTreeMap<String, &str> = services
        .clone()
        .map(|(name, _, _)| (name.to_lowercase(), name))
        .collect();
    for (name, at, aliases) in services {
        for alias in aliases {
            let other = seen.entry(alias.to_lowercase()).or_insert(name);
            if *other != name {
                reader.report(
                    Finding::warning(
                        "shared-name",
                        at.clone(),
                        format!(
                            "`{}` is a further name of `{name}` and also names `{other}`",
                            Safe::new(alias)
                        ),
                    )
                    .help("give each a name of its own, if both run in one tenant"),
                );
            }
        }
    }
}
