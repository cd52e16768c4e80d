//! What all three make: the same containers, in the same networks, from the same image.

use std::fmt::Write as _;

/// The example agent without its healthcheck: what is measured is the tools, not two hundred probes.
pub const IMAGE: &str = "ringfence-bench:1";
/// Labels of every container.
pub const LABELS: [(&str, &str); 4] = [
    ("team", "bench"),
    ("tier", "web"),
    ("owner", "ana"),
    ("cost", "low"),
];
/// Subnets are given to all, so that none is held up by the search for one.
pub const FLOOR_POOL: u8 = 221;
pub const COMPOSE_POOL: u8 = 222;
pub const RINGFENCE_POOL: u8 = 223;

/// So many tenants with so many services each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub tenants: usize,
    pub services: usize,
}

impl Shape {
    /// Ten services to a tenant.
    pub fn of(containers: usize) -> Self {
        Self {
            tenants: containers.div_ceil(10),
            services: containers.min(10),
        }
    }

    pub fn containers(self) -> usize {
        self.tenants * self.services
    }
}

/// A tenant's subnet. Each run begins elsewhere in its pool: a network that an engine under load keeps for ever is in
/// nobody's way.
pub fn subnet(pool: u8, tenant: usize) -> String {
    let n = std::process::id() as usize % 80 * 25 + tenant;
    format!("10.{pool}.{}.{}/27", n / 8, n % 8 * 32)
}

pub fn floor_network(tenant: usize) -> String {
    format!("rf-bench-floor-z{}-{tenant}", std::process::id())
}

/// Six variables, of which one changes.
pub fn environment(version: &str) -> Vec<(&'static str, String)> {
    let mut all: Vec<_> = ["MODE", "REGION", "QUEUE", "CACHE", "THEME"]
        .into_iter()
        .map(|name| (name, name.to_lowercase()))
        .collect();
    all.push(("VERSION", version.to_owned()));
    all
}

/// A service, in lines that begin with `indent`. Both tools read the same keys.
pub fn service(indent: &str, version: &str, more: &str) -> String {
    let mut text =
        format!("{indent}image: {IMAGE}\n{indent}mem_limit: 64m\n{indent}restart: unless-stopped\n");
    for (title, pairs) in [("environment", environment(version)), ("labels", labels())] {
        let pairs: Vec<String> = pairs.into_iter().map(|(k, v)| format!("{k}: \"{v}\"")).collect();
        let _ = writeln!(text, "{indent}{title}: {{{}}}", pairs.join(", "));
    }
    text + more
}

fn labels() -> Vec<(&'static str, String)> {
    LABELS.iter().map(|(k, v)| (*k, (*v).to_owned())).collect()
}
