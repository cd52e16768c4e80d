//! Fixed host ports: each serves one owner an engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diagnostic::{Finding, Findings};
use crate::fleet::Policy;
use crate::fleet::compose::service::{Port, Scope, Service};
use crate::fleet::names::Owner;
use crate::fleet::settings::Target;
use crate::fleet::tenants::Tenant;
use crate::text::Safe;

struct Taken<'a> {
    engine: &'a str,
    owner: Owner,
    service: &'a Service,
    port: &'a Port,
}

/// The second of two services that ask one engine for one port of its host.
pub(super) fn clashes(policy: &Policy, tenants: &[(&Tenant, BTreeMap<String, Arc<Service>>)]) -> Findings {
    let engines: BTreeMap<&str, String> = policy
        .rings
        .0
        .iter()
        .filter_map(|ring| {
            let target = policy.settings.target(&ring.deployment_target.value).ok()?;
            Some((ring.name.as_str(), engine(&target)))
        })
        .collect();
    let mut taken: Vec<Taken<'_>> = Vec::new();
    let mut findings = Findings::new();
    for (tenant, services) in tenants {
        // A ring without a target runs nothing.
        let Some(engine) = engines.get(tenant.ring.value.as_str()) else {
            continue;
        };
        for service in services.values() {
            let owner = match service.scope {
                Scope::Tenant => Owner::Tenant(tenant.slug.value.clone()),
                Scope::Ring => Owner::Ring(tenant.ring.value.clone()),
                Scope::Fleet => Owner::Fleet,
            };
            for port in service.ports.iter().filter(|p| p.host.is_some()) {
                let other = taken.iter().find(|t| t.engine == engine && same(t.port, port));
                match other {
                    Some(other) if other.owner == owner && other.service.name == service.name => {}
                    Some(other) => findings.push(clash(other, &owner, service, port)),
                    None => taken.push(Taken {
                        engine,
                        owner: owner.clone(),
                        service,
                        port,
                    }),
                }
            }
        }
    }
    findings
}

fn engine(target: &Target) -> String {
    match target {
        Target::Unix(path) => path.value.clone(),
        Target::Local | Target::SameAs(_) => String::new(),
    }
}

fn same(a: &Port, b: &Port) -> bool {
    let all = |ip: &str| matches!(ip, "0.0.0.0" | "::" | "");
    a.host == b.host && a.protocol == b.protocol && (a.ip == b.ip || all(&a.ip) || all(&b.ip))
}

fn clash(other: &Taken<'_>, owner: &Owner, service: &Service, port: &Port) -> Finding {
    let host = port.host.unwrap_or_default();
    let ip = match port.ip.as_str() {
        "127.0.0.1" | "" => String::new(),
        ip if ip.contains(':') => format!("[{ip}]:"),
        ip => format!("{ip}:"),
    };
    let variable = format!("{}_PORT", service.name.to_uppercase().replace(['-', '.'], "_"));
    let finding = Finding::error(
        "port-clash",
        service.at.clone(),
        format!(
            "`{owner}/{}` and `{}/{}` both ask one engine for port {host} of its host",
            Safe::new(&service.name),
            other.owner,
            Safe::new(&other.service.name)
        ),
    );
    if other.owner == *owner {
        return finding
            .help("give one of the two services another port of the host, or leave its host port out");
    }
    finding.help(format!(
        "let each tenant choose: `ports: [\"{ip}${{{variable}:-{host}}}:{}\"]` in the service, and `config_overrides: {{{variable}: \"{}\"}}` in {}",
        port.container,
        host.checked_add(1).unwrap_or(8081),
        match owner {
            Owner::Tenant(slug) => format!("desired/tenants/{slug}.yaml"),
            _ => "one of the tenants".to_owned(),
        }
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::compose::service::Protocol;

    #[test]
    fn an_address_for_all_meets_every_address_and_two_others_do_not_meet() {
        let port = |ip: &str| Port {
            container: 80,
            host: Some(8080),
            ip: ip.to_owned(),
            protocol: Protocol::Tcp,
        };
        assert!(same(&port("0.0.0.0"), &port("127.0.0.1")));
        assert!(same(&port("127.0.0.1"), &port("::")));
        assert!(same(&port("127.0.0.1"), &port("127.0.0.1")));
        assert!(!same(&port("127.0.0.1"), &port("10.0.0.1")));
    }
}
