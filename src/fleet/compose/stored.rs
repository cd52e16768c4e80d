//! A service's `configs` and `secrets`: files of the release under another name.

use super::super::yaml::{Kind, Node};
use super::convert::Context;
use super::mounts::{add, checked_target};
use super::service::{Mount, MountSource};
use super::top::note;
use crate::diagnostic::did_you_mean;
use crate::text::Safe;

/// Which of the two stores a reference names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// `configs:`, mounted at `/name`.
    Configs,
    /// `secrets:`, mounted at `/run/secrets/name`.
    Secrets,
}

/// Reads a service's `configs:` or `secrets:`.
pub fn read(ctx: &Context<'_>, node: &Node, store: Store, out: &mut Vec<Mount>) {
    for item in ctx.reader.list(node).unwrap_or_default() {
        let Some((name, target)) = reference(ctx, item) else {
            continue;
        };
        let (sets, key) = match store {
            Store::Configs => (&ctx.top.configs, "configs"),
            Store::Secrets => (&ctx.top.secrets, "secrets"),
        };
        let set = match sets.get(&name) {
            Some(Some(set)) => set.clone(),
            Some(None) => {
                ctx.spoil();
                continue;
            }
            None => {
                let help = did_you_mean(&name, sets.keys().map(String::as_str)).map_or_else(
                    || format!("declare it under the top-level `{key}:` of this file"),
                    |near| format!("did you mean `{near}`?"),
                );
                ctx.reader.error(
                    "unknown-name",
                    &item.at,
                    format!("`{key}` has no `{}`", Safe::new(&name)),
                    help,
                );
                continue;
            }
        };
        let target = match (store, target) {
            (Store::Secrets, Some(target)) if !target.starts_with('/') => format!("/run/secrets/{target}"),
            (_, Some(target)) => target,
            (Store::Secrets, None) => format!("/run/secrets/{name}"),
            (Store::Configs, None) => format!("/{name}"),
        };
        if let Some(target) = checked_target(ctx, &item.at, &target) {
            let mount = Mount {
                target,
                source: MountSource::Release(set),
                read_only: true,
                no_copy: false,
                at: item.at.clone(),
            };
            add(ctx, out, mount);
        }
    }
}

fn reference(ctx: &Context<'_>, item: &Node) -> Option<(String, Option<String>)> {
    if !matches!(item.kind, Kind::Map(_)) {
        return Some((ctx.reader.string(item)?.value, None));
    }
    let fields = ctx.reader.fields(item, "the reference")?;
    let source = fields.require("source").and_then(|n| ctx.reader.string(n));
    let target = fields.get("target").and_then(|n| ctx.reader.string(n));
    for key in ["uid", "gid", "mode"] {
        if fields.get(key).is_some() {
            note(
                ctx.reader,
                &fields.key_at(key),
                format!("`{key}` means nothing here: the file can be read by the container, and not written"),
            );
        }
    }
    fields.finish();
    Some((source?.value, target.map(|t| t.value)))
}
