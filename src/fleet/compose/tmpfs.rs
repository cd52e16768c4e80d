//! Mounts of memory: `tmpfs`.

use std::collections::BTreeSet;

use super::super::values::size_bytes;
use super::super::yaml::Node;
use super::convert::Context;
use super::mounts::{add, checked_target};
use super::service::{Mount, MountSource};
use crate::diagnostic::At;
use crate::text::Safe;

/// Reads `tmpfs:`, a string or a list.
pub fn read(ctx: &Context<'_>, node: &Node, out: &mut Vec<Mount>) {
    let items = node.items().unwrap_or(std::slice::from_ref(node));
    for item in items {
        let Some(text) = ctx.reader.string(item) else {
            continue;
        };
        let (target, options) = text.value.split_once(':').unwrap_or((&text.value, ""));
        let Some(target) = checked_target(ctx, &item.at, target) else {
            continue;
        };
        let (mut size, mut mode, mut read_only) = (None, None, false);
        let mut further = BTreeSet::new();
        for option in options.split(',').filter(|o| !o.is_empty()) {
            match option.split_once('=').unwrap_or((option, "")) {
                ("size", value) => size = size_of(ctx, &item.at, value),
                ("mode", value) => mode = octal(ctx, &item.at, value),
                ("ro", "") => read_only = true,
                // What the engine does anyway.
                ("rw" | "noexec" | "nosuid" | "nodev", "") => {}
                ("exec", "") => {
                    further.insert(option.to_owned());
                }
                ("uid" | "gid", number) if number.parse::<u32>().is_ok() => {
                    further.insert(option.to_owned());
                }
                (name, _) => ctx.reader.error(
                    "not-carried-out",
                    &item.at,
                    format!("the option `{}` of `tmpfs` is not carried out", Safe::new(name)),
                    "`size=64m`, `mode=1777`, `uid=1000`, `gid=1000` and `exec` are",
                ),
            }
        }
        let mount = Mount {
            target,
            source: MountSource::Tmpfs {
                size,
                mode,
                options: further,
            },
            read_only,
            no_copy: false,
            at: item.at.clone(),
        };
        add(ctx, out, mount);
    }
}

/// A size in bytes that is not 0.
pub fn bytes(ctx: &Context<'_>, node: &Node) -> Option<u64> {
    let text = ctx.reader.string(node)?;
    size_of(ctx, &node.at, &text.value)
}

fn size_of(ctx: &Context<'_>, at: &At, text: &str) -> Option<u64> {
    match size_bytes(text) {
        Ok(0) => {
            ctx.reader
                .error("size", at, "a size of 0", "leave it out for no limit");
            None
        }
        Ok(bytes) => Some(bytes),
        Err(why) => {
            ctx.reader.error(
                "size",
                at,
                format!("`{}`: {why}", Safe::new(text)),
                "write it like `64m`",
            );
            None
        }
    }
}

/// Mode bits, in octal as everywhere.
pub fn octal(ctx: &Context<'_>, at: &At, text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match u32::from_str_radix(text, 8)
        .ok()
        .filter(|m| digits && *m <= 0o7777)
    {
        Some(mode) => Some(mode),
        None => {
            ctx.reader.error(
                "mode",
                at,
                format!("`{}` is no octal mode", Safe::new(text)),
                "write it like `1777` or `0700`",
            );
            None
        }
    }
}
