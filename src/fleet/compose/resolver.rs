//! Names and how they are looked up: `dns*`, `extra_hosts`, `links`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::read::Fields;
use super::super::yaml::{Kind, Node};
use super::convert::Context;
use super::names::host_name_text;
use super::options::wrong;
use super::service::{Condition, Dependency, Options};
use super::top::note;
use crate::diagnostic::{At, Finding};

/// What stands for the host in `extra_hosts`.
const HOST_GATEWAY: &str = "host-gateway";

/// Reads `dns`, `dns_search`, `dns_opt` and `extra_hosts`.
pub fn read(ctx: &Context<'_>, fields: &Fields<'_, '_>, out: &mut Options) {
    for (item, text) in words(ctx, fields, "dns") {
        match text.parse::<IpAddr>() {
            Ok(ip) => push(&mut out.dns, ip.to_string()),
            Err(_) => wrong(
                ctx,
                &item,
                "address",
                &text,
                "is no address of a name server",
                "write it like `9.9.9.9`",
            ),
        }
    }
    for (item, text) in words(ctx, fields, "dns_search") {
        // The tenant's own domain comes first, or `http://web` would not be found.
        if text == "." {
            note(
                ctx.reader,
                &item,
                "`dns_search: .` means less here: the tenant's own domain is always searched",
            );
        } else if let Some(name) = host_name_text(ctx, &item, &text) {
            push(&mut out.dns_search, name);
        }
    }
    for (item, text) in words(ctx, fields, "dns_opt") {
        if text.starts_with("ndots:") {
            if text != "ndots:1" {
                note(
                    ctx.reader,
                    &item,
                    "`ndots` is ringfence's own: with 1, `http://web` is found and nothing of it is asked outside",
                );
            }
        } else if text.chars().all(|c| c.is_ascii_graphic()) && !text.is_empty() {
            push(&mut out.dns_opt, text);
        } else {
            wrong(
                ctx,
                &item,
                "unknown-value",
                &text,
                "is no option of a resolver",
                "write it like `timeout:2`",
            );
        }
    }
    if let Some(node) = fields.get("extra_hosts") {
        for (at, name, address) in hosts(ctx, node) {
            if let Some(entry) = host(ctx, &at, &name, &address) {
                push(&mut out.hosts, entry);
            }
        }
    }
}

fn push(list: &mut Vec<String>, item: String) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// A string or a list of strings.
fn words(ctx: &Context<'_>, fields: &Fields<'_, '_>, key: &'static str) -> Vec<(At, String)> {
    let Some(node) = fields.get(key) else {
        return Vec::new();
    };
    node.items()
        .unwrap_or(std::slice::from_ref(node))
        .iter()
        .filter_map(|n| ctx.reader.string(n))
        .filter(|text| !text.value.is_empty())
        .map(|text| (text.at, text.value))
        .collect()
}

/// `name: address`, `name:address`, `name=address`; a name may have a list of addresses.
fn hosts(ctx: &Context<'_>, node: &Node) -> Vec<(At, String, String)> {
    let mut out = Vec::new();
    match &node.kind {
        Kind::Map(entries) => {
            for (key, value) in entries {
                for address in value.items().unwrap_or(std::slice::from_ref(value)) {
                    if let Some(text) = ctx.reader.string(address) {
                        out.push((text.at, key.text.clone(), text.value));
                    }
                }
            }
        }
        _ => {
            for item in ctx.reader.strings(node).unwrap_or_default() {
                let parted = item
                    .value
                    .split_once('=')
                    .or_else(|| item.value.split_once(':'))
                    .map(|(name, address)| (name.trim().to_owned(), address.trim().to_owned()));
                match parted {
                    Some((name, address)) => out.push((item.at, name, address)),
                    None => wrong(
                        ctx,
                        &item.at,
                        "extra-host",
                        &item.value,
                        "has no address",
                        "write `name:address`",
                    ),
                }
            }
        }
    }
    out
}

fn host(ctx: &Context<'_>, at: &At, name: &str, address: &str) -> Option<String> {
    let name = host_name_text(ctx, at, name)?;
    if address == HOST_GATEWAY {
        ctx.reader.report(
            Finding::warning(
                "host-gateway",
                at.clone(),
                format!("`{name}` is the host itself: what it serves there is in no release"),
            )
            .help("run it as a service of the fleet; the way to the host closes with isolation"),
        );
        return Some(format!("{name}:{HOST_GATEWAY}"));
    }
    let bare = address
        .strip_prefix('[')
        .and_then(|a| a.strip_suffix(']'))
        .unwrap_or(address);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some(format!("{name}:{ip}"));
    }
    wrong(
        ctx,
        at,
        "extra-host",
        address,
        "is no address",
        "write `name:address`, such as `db.example.org:192.0.2.7`",
    );
    None
}

/// Reads `links:`: `service` or `service:name`. A link also waits for its service, as in Compose. Gives name → service.
pub fn links(
    ctx: &Context<'_>,
    node: &Node,
    depends_on: &mut BTreeMap<String, Dependency>,
) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for item in ctx.reader.strings(node).unwrap_or_default() {
        let (service, name) = item.value.split_once(':').unwrap_or((&item.value, &item.value));
        if service == ctx.service {
            wrong(
                ctx,
                &item.at,
                "link",
                &item.value,
                "links a service to itself",
                "remove it",
            );
            continue;
        }
        let Some(name) = host_name_text(ctx, &item.at, name) else {
            continue;
        };
        depends_on.entry(service.to_owned()).or_insert(Dependency {
            condition: Condition::Started,
            required: true,
            at: item.at.clone(),
        });
        if name != service {
            out.insert(name, service.to_owned());
        }
    }
    out
}
