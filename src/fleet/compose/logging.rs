//! `logging`: where the engine keeps a container's output, and how much of it.

use std::collections::BTreeMap;

use super::super::values::size_bytes;
use super::super::yaml::Node;
use super::convert::Context;
use super::options::wrong;
use super::service::Logging;
use super::top::note;
use crate::text::Safe;

/// Drivers that keep the output on the engine, within limits.
const KEPT: &[&str] = &["json-file", "local"];

/// Options that bound or shape what is kept.
const OPTIONS: &[&str] = &[
    "max-size",
    "max-file",
    "compress",
    "labels",
    "labels-regex",
    "env",
    "env-regex",
    "tag",
    "mode",
    "max-buffer-size",
];

/// Reads `logging:`.
pub fn read(ctx: &Context<'_>, node: &Node) -> Option<Logging> {
    let fields = ctx.reader.fields(node, "`logging`")?;
    let before = ctx.reader.errors();
    let driver = fields
        .get("driver")
        .and_then(|n| ctx.reader.string(n))
        .map_or_else(|| "json-file".to_owned(), |d| d.value);
    if driver == "none" {
        note(
            ctx.reader,
            &fields.key_at("driver"),
            "with the driver `none` nothing is kept: `ringfence logs` shows nothing of this service",
        );
    } else if !KEPT.contains(&driver.as_str()) {
        ctx.reader.error(
            "not-carried-out",
            &fields.get("driver").map_or_else(|| node.at.clone(), |n| n.at.clone()),
            format!(
                "the log driver `{}` is not carried out: the engine itself would send a tenant's output elsewhere, past its network and its limits",
                Safe::new(&driver)
            ),
            "use `local` or `json-file`, and let a service read `ringfence logs -f`, or send its own",
        );
    }
    let mut options = BTreeMap::new();
    if let Some(node) = fields.get("options") {
        for (key, value) in ctx.reader.map(node).unwrap_or_default() {
            let Some(text) = ctx.reader.string(value) else {
                continue;
            };
            if !OPTIONS.contains(&key.text.as_str()) {
                // A driver that is refused brings options of its own.
                if KEPT.contains(&driver.as_str()) {
                    wrong(
                        ctx,
                        &key.at,
                        "unknown-key",
                        &key.text,
                        "is no option of this log driver",
                        &format!("known here: {}", OPTIONS.join(", ")),
                    );
                }
                continue;
            }
            let bounded = match key.text.as_str() {
                "max-size" => size_bytes(&text.value).is_ok_and(|n| n > 0),
                "max-file" => text.value.parse::<u32>().is_ok_and(|n| n > 0),
                _ => true,
            };
            if bounded {
                options.insert(key.text.clone(), text.value);
            } else {
                wrong(
                    ctx,
                    &value.at,
                    "limit",
                    &text.value,
                    "bounds no log",
                    "write `max-size: 10m` and `max-file: \"3\"`",
                );
            }
        }
    }
    fields.finish();
    (ctx.reader.errors() == before).then_some(Logging { driver, options })
}
