//! The keys of a service that are not carried out, each with the reason and the next step, and those that mean less.

use super::super::read::{Fields, Reader};
use super::super::yaml::Node;
use super::top::{note, refuse, says_something};

const NO_HOST: &str = "is not carried out: a tenant's container gets no rights on the host";
const WINDOWS: &str = "is not carried out: it is for Windows";
const LATER: &str = "is not carried out yet";
const SHARED: &str = "is not carried out: a tenant's containers share no namespace with others";
const REMOVE: &str = "remove it";
const BY_NAME: &str = "remove it; services find each other by their names";
const LIMITS: &str = "remove it; limit with `deploy.resources.limits` or `mem_limit`, `cpus`, `pids_limit`";

/// Key, why, what next. Everything of the Compose Specification that is in no other reader.
pub const REFUSED: &[(&str, &str, &str)] = &[
    (
        "annotations",
        "is not carried out: it speaks to the runtime of the host",
        "use `labels`",
    ),
    (
        "build",
        "is not carried out yet: ringfence runs images, it does not build them",
        "build the image, push it and name it with `image:`",
    ),
    ("cgroup_parent", NO_HOST, REMOVE),
    ("cpu_count", WINDOWS, LIMITS),
    ("cpu_percent", WINDOWS, LIMITS),
    ("cpu_rt_period", NO_HOST, LIMITS),
    ("cpu_rt_runtime", NO_HOST, LIMITS),
    ("credential_spec", WINDOWS, REMOVE),
    (
        "develop",
        "is not carried out: it is for a developer's machine",
        REMOVE,
    ),
    ("device_cgroup_rules", NO_HOST, REMOVE),
    (
        "devices",
        NO_HOST,
        "remove it; GPUs are asked for with `gpus:` or `deploy.resources.reservations.devices`",
    ),
    ("external_links", SHARED, BY_NAME),
    ("oom_kill_disable", NO_HOST, "remove it, and raise `mem_limit`"),
    ("pid", SHARED, REMOVE),
    (
        "post_start",
        LATER,
        "do it in the image's entrypoint, or in a service that ends",
    ),
    (
        "pre_start",
        LATER,
        "do it in the image's entrypoint, or in a service that ends",
    ),
    ("pre_stop", LATER, "handle the stop signal in the process"),
    ("privileged", NO_HOST, REMOVE),
    (
        "provider",
        "is not carried out: it runs a program on the host",
        REMOVE,
    ),
    (
        "runtime",
        NO_HOST,
        "remove it; GPUs are asked for with `gpus: all`",
    ),
    (
        "models",
        "is not carried out",
        "name a model stack in the tenant's file",
    ),
    ("storage_opt", "is not carried out", REMOVE),
    (
        "use_api_socket",
        "is not carried out: it would give the container the engine, and so the host",
        REMOVE,
    ),
    ("userns_mode", NO_HOST, REMOVE),
    ("uts", SHARED, REMOVE),
    (
        "volume_driver",
        "is not carried out: volumes lie where the engine keeps them",
        REMOVE,
    ),
    (
        "volumes_from",
        SHARED,
        "mount the same named volume in both services",
    ),
];

/// Key and what it means here.
const NOTED: &[(&str, &str)] = &[
    (
        "attach",
        "`attach` means nothing here: logs are read with `ringfence logs`",
    ),
    (
        "mem_swappiness",
        "`mem_swappiness` means nothing here: memory and swap have one limit",
    ),
    (
        "memswap_limit",
        "`memswap_limit` means nothing here: memory and swap have one limit, which is the memory's",
    ),
];

/// Reports them.
pub fn read(reader: &Reader, fields: &Fields<'_, '_>) {
    // The engine's own runtime, by its name.
    let runc = matches!(
        fields.get("runtime").and_then(Node::scalar),
        Some("runc" | "io.containerd.runc.v2")
    );
    for (key, why, help) in REFUSED.iter().filter(|(key, ..)| !(runc && *key == "runtime")) {
        refuse(reader, fields, key, why, help);
    }
    for (key, message) in NOTED {
        if fields.get(key).is_some_and(says_something) {
            note(reader, &fields.key_at(key), *message);
        }
    }
    if let Some(isolation) = fields.get("isolation")
        && isolation.scalar() != Some("default")
    {
        refuse(reader, fields, "isolation", WINDOWS, REMOVE);
    }
    network_mode(reader, fields);
    if let Some(scale) = fields.get("scale")
        && scale.scalar() != Some("1")
    {
        one_only(reader, &fields.key_at("scale"), "scale");
    }
}

/// More, or fewer, than one container of a service.
pub fn one_only(reader: &Reader, at: &crate::diagnostic::At, key: &str) {
    reader.error(
        "not-carried-out",
        at,
        format!("`{key}` other than 1 is not carried out"),
        "remove it; a tenant leaves a service out with `services:`, several take several services",
    );
}

fn network_mode(reader: &Reader, fields: &Fields<'_, '_>) {
    let Some(mode) = fields.get("network_mode") else {
        return;
    };
    let at = fields.key_at("network_mode");
    match mode.scalar() {
        Some("bridge" | "default" | "") => note(
            reader,
            &at,
            "`network_mode` means less here: the service is in its tenant's own network",
        ),
        Some("none") => reader.report(
            crate::diagnostic::Finding::warning(
                "means-less",
                at,
                "`network_mode: none` is not enforced: the service is in its tenant's own network",
            )
            .help("remove it, knowing that the service can reach the internet: closing the way out comes with isolation"),
        ),
        _ => reader.error(
            "not-carried-out",
            &at,
            "`network_mode` is not carried out: a container of a tenant is in its tenant's own network",
            "remove it, and publish what shall be reached from the host with `ports:`",
        ),
    }
}
