//! Rights: what a service may give up, and the few that it may ask for.

use std::collections::BTreeMap;

use super::super::read::Fields;
use super::super::yaml::{Kind, Node};
use super::convert::Context;
use super::options::{means_nothing, wrong};
use super::service::Options;
use super::top::says_something;
use crate::diagnostic::{At, did_you_mean};
use crate::text::Safe;

/// What the engine gives every container: asking for these adds nothing.
const USUAL: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The others that Linux has; they can be dropped, and not be asked for.
const OTHERS: &[&str] = &[
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "DAC_READ_SEARCH",
    "IPC_LOCK",
    "IPC_OWNER",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "NET_ADMIN",
    "NET_BROADCAST",
    "PERFMON",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// Kernel settings of the container's own namespaces that give it nothing of its neighbours'. One with a `*` names all
/// that begin so.
const SYSCTLS: &[&str] = &[
    "fs.mqueue.*",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
    "net.core.somaxconn",
    "net.ipv4.conf.all.src_valid_mark",
    "net.ipv4.conf.default.src_valid_mark",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_*",
    "net.ipv6.conf.all.disable_ipv6",
    "net.ipv6.conf.default.disable_ipv6",
    "net.ipv6.conf.lo.disable_ipv6",
    "net.unix.max_dgram_qlen",
];

/// Reads capabilities, security options and namespaces.
pub fn read(ctx: &Context<'_>, fields: &Fields<'_, '_>, out: &mut Options) {
    if let Some(node) = fields.get("cap_drop") {
        out.cap_drop = capabilities(ctx, node).into_keys().collect();
    }
    if let Some(node) = fields.get("cap_add") {
        let asked = capabilities(ctx, node);
        for (name, at) in &asked {
            if !USUAL.contains(&name.as_str()) {
                ctx.reader.error(
                    "not-carried-out",
                    at,
                    format!("the capability `{name}` is not given: a tenant's container gets no rights on the host"),
                    "remove it; a port from 1024 on and a plain user need no capability",
                );
            }
        }
        // One that is dropped by nothing is there anyway.
        let dropped = |name: &String| out.cap_drop.contains("ALL") || out.cap_drop.contains(name);
        out.cap_add = asked.into_keys().filter(dropped).collect();
    }
    if let Some(node) = fields.get("security_opt") {
        for item in ctx.reader.strings(node).unwrap_or_default() {
            security_opt(ctx, &item.at, &item.value, out);
        }
    }
    if let Some(node) = fields.get("ipc") {
        out.ipc = namespace(ctx, fields, node, "ipc", &["private", "none"]);
    }
    if let Some(node) = fields.get("cgroup") {
        out.cgroup = namespace(ctx, fields, node, "cgroup", &["private"]);
    }
    means_nothing(
        ctx,
        fields,
        "mac_address",
        "`mac_address` means nothing here: the engine gives addresses",
    );
}

/// Names without `CAP_`, in capitals.
fn capabilities(ctx: &Context<'_>, node: &Node) -> BTreeMap<String, At> {
    let mut out = BTreeMap::new();
    for item in ctx.reader.strings(node).unwrap_or_default() {
        let upper = item.value.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if USUAL.contains(&name) || OTHERS.contains(&name) {
            out.insert(name.to_owned(), item.at);
        } else {
            let near = did_you_mean(name, USUAL.iter().chain(OTHERS).copied());
            let help = near.map_or_else(
                || "write it like `NET_BIND_SERVICE`, or `ALL`".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            wrong(
                ctx,
                &item.at,
                "unknown-value",
                &item.value,
                "is no capability",
                &help,
            );
        }
    }
    out
}

fn security_opt(ctx: &Context<'_>, at: &At, text: &str, out: &mut Options) {
    let (name, value) = text.split_once([':', '=']).unwrap_or((text, ""));
    match (name, value) {
        ("no-new-privileges", "" | "true") => out.no_new_privileges = true,
        ("no-new-privileges", "false") => {}
        ("no-new-privileges", _) => wrong(
            ctx,
            at,
            "unknown-value",
            text,
            "is neither `no-new-privileges:true` nor `no-new-privileges:false`",
            "write `no-new-privileges:true`",
        ),
        _ => ctx.reader.error(
            "not-carried-out",
            at,
            format!(
                "`security_opt: {}` is not carried out: it would open what keeps a tenant in its container",
                Safe::new(&text.chars().take(80).collect::<String>())
            ),
            "remove it; the engine's own seccomp and AppArmor profiles are used, and `no-new-privileges:true` is carried out",
        ),
    }
}

/// A namespace of the container's own is what it gets anyway, or may ask for; another's it may not have.
fn namespace(
    ctx: &Context<'_>,
    fields: &Fields<'_, '_>,
    node: &Node,
    key: &'static str,
    own: &[&str],
) -> Option<String> {
    let text = ctx.reader.string(node)?.value;
    if text.is_empty() || own.contains(&text.as_str()) {
        return Some(text).filter(|t| !t.is_empty());
    }
    if text == "shareable" {
        super::top::note(
            ctx.reader,
            &fields.key_at(key),
            format!("`{key}: shareable` means nothing here: nobody shares it"),
        );
        return None;
    }
    ctx.reader.error(
        "not-carried-out",
        &fields.key_at(key),
        format!("`{key}` is not carried out: a tenant's containers share no namespace with others"),
        "remove it",
    );
    None
}

/// Reads `sysctls:`, a map or a list of `name=value`.
pub fn sysctls(ctx: &Context<'_>, node: &Node) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut add = |at: &At, name: &str, value: &str| {
        if !(allowed(name) || forwards(name) && value == "0") {
            let (why, help) = if forwards(name) {
                ("would make the container a router between networks", "remove it")
            } else {
                (
                    "is no setting of a container's own that is known to be safe",
                    "remove it; `net.core.somaxconn`, `net.ipv4.tcp_…`, `kernel.shm…` and their like are carried out",
                )
            };
            ctx.reader.error(
                "not-carried-out",
                at,
                format!("the sysctl `{}` {why}", Safe::new(name)),
                help,
            );
        } else if value.is_empty() || value.chars().any(char::is_control) {
            wrong(
                ctx,
                at,
                "unknown-value",
                name,
                "has no value",
                "write `name: value`",
            );
        } else if out.insert(name.to_owned(), value.to_owned()).is_some() {
            wrong(ctx, at, "duplicate-key", name, "stands twice", "keep one of them");
        }
    };
    match &node.kind {
        Kind::Map(entries) => {
            for (key, value) in entries {
                if let Some(value) = ctx.reader.string(value) {
                    add(&key.at, &key.text, value.value.trim());
                }
            }
        }
        Kind::Scalar { .. } if !says_something(node) => {}
        _ => {
            for item in ctx.reader.strings(node).unwrap_or_default() {
                let (name, value) = item.value.split_once('=').unwrap_or((&item.value, ""));
                add(&item.at, name.trim(), value.trim());
            }
        }
    }
    out
}

fn allowed(name: &str) -> bool {
    SYSCTLS.iter().any(|known| match known.strip_suffix('*') {
        Some(prefix) => {
            name.len() > prefix.len()
                && name.starts_with(prefix)
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        }
        None => *known == name,
    })
}

/// Settings that turn a container into a router.
fn forwards(name: &str) -> bool {
    name == "net.ipv4.ip_forward" || (name.starts_with("net.ipv") && name.ends_with(".forwarding"))
}
