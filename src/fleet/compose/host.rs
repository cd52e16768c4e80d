//! Paths of the host: which of them a mount may name.

use super::convert::Context;
use crate::diagnostic::At;
use crate::text::Safe;

/// Host files that need no grant, read-only.
const HARMLESS: &[&str] = &["/etc/localtime", "/etc/timezone"];

/// A path of the host that may be mounted. `written` is where the path itself stands.
pub fn path(ctx: &Context<'_>, at: &At, written: &At, source: &str, target: &str) -> Option<String> {
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
    let shown = Safe::new(source);
    let (why, help) = match itself(source) {
        Some(help) => (
            format!(
                "the host's `{shown}` is not mounted: a tenant's container sees nothing of the host itself"
            ),
            help.to_owned(),
        ),
        None => (
            format!("the host's `{shown}` cannot be mounted: it needs a grant, which comes later"),
            help(written),
        ),
    };
    ctx.reader.error("host-path", at, why, help);
    None
}

/// Paths that are no data of anybody's but the host itself, and what to do instead.
fn itself(source: &str) -> Option<&'static str> {
    let parts: Vec<&str> = source.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    match parts.as_slice() {
        [] if source.starts_with('/') => {
            Some("remove it; what watches or changes the host runs beside ringfence")
        }
        ["proc" | "sys", ..] => Some("remove it; what watches the host runs beside ringfence"),
        ["dev", "shm"] => Some("remove it; `shm_size` gives the container its own"),
        ["dev", ..] => Some("remove it; GPUs are asked for with `gpus:`, other devices are not given"),
        _ => None,
    }
}

/// What next: where the path begins with a variable, its value is all that has to change.
fn help(written: &At) -> String {
    let text = written.source.text.get(written.span.clone()).unwrap_or_default();
    match first_variable(text.trim_start_matches(['"', '\''])) {
        Some(name) => of_variable(name),
        None => "use a named volume for data, or commit the files beside the Compose file and write `./path`"
            .to_owned(),
    }
}

/// The variable that a path begins with.
pub fn first_variable(text: &str) -> Option<&str> {
    let root = text.strip_prefix('$')?;
    let root = root.strip_prefix('{').unwrap_or(root);
    let name = root
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .next()?;
    (!name.is_empty()).then_some(name)
}

/// What to do about a variable that mounts begin with.
pub fn of_variable(name: &str) -> String {
    format!(
        "give `{name}` the value `./data` in `desired/services/.env`: then it is a volume of the tenant's own"
    )
}
