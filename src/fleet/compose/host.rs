//! Paths of the host: which of them a mount may name.

use super::convert::Context;
use crate::diagnostic::At;
use crate::text::Safe;

/// Host files that need no grant, read-only.
const HARMLESS: &[&str] = &["/etc/localtime", "/etc/timezone"];

/// A path of the host that may be mounted.
pub fn path(ctx: &Context<'_>, at: &At, source: &str, target: &str) -> Option<String> {
    let socket = ["docker.sock", "podman.sock", "containerd.sock", "crio.sock"];
    if socket.iter().any(|s| source.ends_with(s) || target.ends_with(s)) {
        ctx.reader.error(
            "engine-socket",
            at,
            "the engine's socket is never mounted: who has it has the host",
            "remove the mount; what watches containers can use ringfence's own status",
        );
        return None;
    }
    if HARMLESS.contains(&source) {
        return Some(source.to_owned());
    }
    ctx.reader.error(
        "host-path",
        at,
        format!(
            "the host's `{}` cannot be mounted: it needs a grant, which comes later",
            Safe::new(source)
        ),
        help(at),
    );
    None
}

/// What next: where the path begins with a variable, its value is all that has to change.
fn help(at: &At) -> String {
    let written = at.source.text.get(at.span.clone()).unwrap_or_default();
    let root = written.trim_start_matches(['"', '\'']).strip_prefix("${");
    match root.map(|r| {
        r.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .next()
            .unwrap_or_default()
    }) {
        Some(name) if !name.is_empty() => format!(
            "give `{name}` the value `./data` in `desired/services/.env`: then it is a volume of the tenant's own"
        ),
        _ => "use a named volume for data, or commit the files beside the Compose file and write `./path`"
            .to_owned(),
    }
}
