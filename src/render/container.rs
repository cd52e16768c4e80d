//! One owner's services become containers, volumes and mounted content.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::object::{
    Attachment, ContainerSpec, HealthSource, MountFrom, MountSpec, Objects, PortSpec, RolloutOrder,
    ServiceObject,
};
use super::{From, SharedName, dependency_key, jobs, ring_label, volume, volume_name};
use crate::diagnostic::Finding;
use crate::fleet::compose::service::{Healthcheck, Limits, MountSource, Order, Service};
use crate::fleet::names::{Owner, ServiceKey};
use crate::fleet::read::Reader;

/// Where a container finds its live directory.
const LIVE_TARGET: &str = "/run/ringfence";
/// Compose's grace period; a spec leaves it out.
const DEFAULT_GRACE_MS: u64 = 10_000;
/// What DESIGN 2 adds to the slowest healthcheck to get a rollout's deadline.
const DEADLINE_MARGIN_MS: u64 = 30_000;

pub(super) struct Builder<'a> {
    from: From<'a>,
    owner: Owner,
    services: &'a BTreeMap<String, Arc<Service>>,
    shared: &'a BTreeSet<SharedName>,
    reader: &'a Reader,
    jobs: BTreeSet<&'a str>,
    objects: Objects,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        from: From<'a>,
        owner: Owner,
        services: &'a BTreeMap<String, Arc<Service>>,
        shared: &'a BTreeSet<SharedName>,
        reader: &'a Reader,
    ) -> Self {
        Self {
            from,
            owner,
            services,
            shared,
            reader,
            jobs: jobs(services),
            objects: Objects::default(),
        }
    }

    /// Adds a service with its final environment and limits. Without an image in the release's set it is a finding.
    pub(super) fn add(&mut self, service: &Service, env: BTreeMap<String, String>, limits: Limits) {
        let Some(image) = self.image(service) else { return };
        let spec = self.spec(service, image, env, limits);
        let instance = &self.from.policy.settings.instance;
        let domain = self.owner.domain(instance);
        let home_network = self.owner.network(instance);
        let key = ServiceKey {
            owner: self.owner.clone(),
            service: service.name.clone(),
        };
        let object = ServiceObject {
            ring: ring_label(&self.from.ring.name),
            release: self.from.release.id,
            image_name: service.image.value.clone(),
            hash: spec.hash(),
            base_name: format!("{}.{domain}", service.name),
            networks: BTreeMap::from([(home_network.clone(), self.attachment(service, &domain))]),
            depends_on: self.dependencies(service),
            order: order(service),
            drain_ms: service.rollout.drain_ms,
            health: self.health(service),
            deadline_ms: self
                .from
                .ring
                .rollout
                .deadline_ms
                .unwrap_or_else(|| self.deadline(service)),
            job: self.jobs.contains(service.name.as_str()),
            key: key.clone(),
            domain,
            home_network,
            spec: Arc::new(spec),
        };
        self.objects.services.insert(key, Arc::new(object));
    }

    /// Hangs a shared service on the networks of the tenants that it serves: `(network, domain)` each. The aliases
    /// serve containers that are older than the service; newer ones have links, and a link wins.
    pub(super) fn serve(&mut self, service: &str, tenants: &[(String, String)]) {
        let key = ServiceKey {
            owner: self.owner.clone(),
            service: service.to_owned(),
        };
        let Some(object) = self.objects.services.get_mut(&key).map(Arc::make_mut) else {
            return;
        };
        Arc::make_mut(&mut object.spec)
            .sysctls
            .insert("net.ipv4.ip_forward".to_owned(), "0".to_owned());
        object.hash = object.spec.hash();
        for (network, domain) in tenants {
            let aliases = BTreeSet::from([service.to_owned(), format!("{service}.{domain}")]);
            object.networks.insert(
                network.clone(),
                Attachment {
                    aliases,
                    links: BTreeSet::new(),
                },
            );
        }
    }

    /// Each container is also found under the name of its very version, on every network: who joined a network without it
    /// was not joined by us, and has lost its other names and its links as well.
    pub(super) fn finish(mut self) -> Objects {
        for object in self.objects.services.values_mut().map(Arc::make_mut) {
            let name = format!("{}.{}", object.base_name, object.hash.0.short());
            for attachment in object.networks.values_mut() {
                attachment.aliases.insert(name.clone());
            }
        }
        self.objects
    }

    /// The exact image of the release: `sha256:…`, or `name@sha256:…` where a registry proved it.
    fn image(&self, service: &Service) -> Option<String> {
        let name = &service.image.value;
        let resolved = self.from.release.images.get(name);
        if let Some(id) = resolved.and_then(|r| r.strip_prefix("id:")) {
            return Some(id.to_owned());
        }
        if let Some(digest) = resolved.and_then(|r| r.strip_prefix("digest:")) {
            return Some(format!("{}@{digest}", repository(name)));
        }
        self.reader.report(
            Finding::error(
                "no-image",
                service.image.at.clone(),
                format!("release {} has no image `{name}`", self.from.release.id),
            )
            .help("a pin's `images` must name every image of the release, or be left out"),
        );
        None
    }

    fn spec(
        &mut self,
        service: &Service,
        image: String,
        env: BTreeMap<String, String>,
        limits: Limits,
    ) -> ContainerSpec {
        ContainerSpec {
            image,
            command: service.command.clone(),
            entrypoint: service.entrypoint.clone(),
            env,
            labels: service.labels.clone(),
            user: service.user.clone(),
            working_dir: service.working_dir.clone(),
            hostname: service.hostname.clone(),
            mounts: self.mounts(service),
            ports: service
                .ports
                .iter()
                .map(|p| PortSpec {
                    container: p.container,
                    protocol: p.protocol,
                    ip: p.ip.clone(),
                    host: p.host,
                })
                .collect(),
            healthcheck: service.healthcheck.clone(),
            restart: service.restart,
            limits,
            read_only: service.read_only,
            init: service.init,
            tty: service.tty,
            stdin_open: service.stdin_open,
            stop_signal: service.stop_signal.clone(),
            stop_grace_ms: Some(service.stop_grace_ms).filter(|ms| *ms != DEFAULT_GRACE_MS),
            sysctls: service.sysctls.clone(),
            options: service.options.clone(),
        }
    }

    fn mounts(&mut self, service: &Service) -> BTreeMap<String, MountSpec> {
        let settings = &self.from.policy.settings;
        let mut mounts = BTreeMap::new();
        for mount in &service.mounts {
            let from = match &mount.source {
                MountSource::Volume(name) => {
                    let volume = volume(name, &self.owner, settings);
                    self.objects.volumes.insert(volume.name.clone(), volume);
                    MountFrom::Volume(volume_name(name, &self.owner, settings))
                }
                MountSource::Release(set) => {
                    self.objects.content.insert(set.digest, set.clone());
                    MountFrom::Content {
                        digest: set.digest,
                        file: set.single.clone(),
                    }
                }
                MountSource::Host(path) => MountFrom::Host(path.clone()),
                MountSource::Tmpfs { size, mode, options } => MountFrom::Tmpfs {
                    size: *size,
                    mode: *mode,
                    options: options.clone(),
                },
            };
            mounts.insert(
                mount.target.clone(),
                MountSpec {
                    from,
                    read_only: mount.read_only,
                    no_copy: mount.no_copy,
                },
            );
        }
        let live = MountFrom::Live(self.owner.domain(&settings.instance));
        mounts.insert(
            LIVE_TARGET.to_owned(),
            MountSpec {
                from: live,
                read_only: true,
                no_copy: false,
            },
        );
        mounts
    }

    /// Further names are links in the neighbours (a rename switches a link), and aliases for neighbours that are older.
    fn attachment(&self, service: &Service, domain: &str) -> Attachment {
        let instance = &self.from.policy.settings.instance;
        let mut links = BTreeSet::new();
        for sibling in self.services.values().filter(|s| s.name != service.name) {
            for alias in &sibling.aliases {
                let target = format!("{}.{domain}", sibling.name);
                links.insert(format!("{target}:{alias}"));
                if !alias.contains('.') {
                    links.insert(format!("{target}:{alias}.{domain}"));
                }
            }
        }
        for (name, other) in &service.links {
            if self.services.contains_key(other) {
                links.insert(format!("{other}.{domain}:{name}"));
                links.insert(format!("{other}.{domain}:{name}.{domain}"));
            }
        }
        for shared in self.shared {
            if let Some((name, _)) = service.links.iter().find(|(_, other)| **other == shared.service) {
                let target = format!("{}.{}", shared.service, shared.owner.domain(instance));
                links.insert(format!("{target}:{name}"));
                links.insert(format!("{target}:{name}.{domain}"));
            }
            let target = format!("{}.{}", shared.service, shared.owner.domain(instance));
            links.insert(format!("{target}:{}", shared.service));
            links.insert(format!("{target}:{}.{domain}", shared.service));
        }
        Attachment {
            aliases: service.aliases.clone(),
            links,
        }
    }

    fn dependencies(
        &self,
        service: &Service,
    ) -> BTreeMap<ServiceKey, crate::fleet::compose::service::Condition> {
        service
            .depends_on
            .iter()
            .filter_map(|(name, d)| {
                Some((
                    dependency_key(&self.owner, name, self.services, self.shared)?,
                    d.condition,
                ))
            })
            .collect()
    }

    fn health(&self, service: &Service) -> HealthSource {
        match (&service.probe, &service.healthcheck) {
            (Some(probe), _) => HealthSource::Probe(probe.clone()),
            (None, Some(Healthcheck::Set { test: Some(_), .. })) => HealthSource::Engine,
            // An image may bring a healthcheck of its own; where the engine reports one, it decides.
            _ => HealthSource::Running {
                settle_ms: self.from.ring.rollout.observe_ms,
            },
        }
    }

    /// `start_period + retries × (interval + timeout) + 30 s` of the slowest service (DESIGN 2).
    fn deadline(&self, service: &Service) -> u64 {
        self.services
            .values()
            .map(Arc::as_ref)
            .chain([service])
            .map(|s| self.time_to_health(s))
            .max()
            .unwrap_or(0)
            + DEADLINE_MARGIN_MS
    }

    fn time_to_health(&self, service: &Service) -> u64 {
        match (&service.probe, &service.healthcheck) {
            (Some(p), _) => p.start_period_ms + u64::from(p.retries) * (p.interval_ms + p.timeout_ms),
            (
                None,
                Some(Healthcheck::Set {
                    interval_ms,
                    timeout_ms,
                    retries,
                    start_period_ms,
                    ..
                }),
            ) => {
                // The engine's own defaults: 30 s, 30 s, 3 (security-and-faults E 22).
                let (interval, timeout) = (interval_ms.unwrap_or(30_000), timeout_ms.unwrap_or(30_000));
                start_period_ms.unwrap_or(0) + u64::from(retries.unwrap_or(3)) * (interval + timeout)
            }
            _ => self.from.ring.rollout.observe_ms,
        }
    }
}

/// Two containers cannot hold one host port, and two must not write one volume unless the service says that they may.
fn order(service: &Service) -> RolloutOrder {
    if let Some(port) = service.ports.iter().find(|p| p.host.is_some()) {
        return RolloutOrder::StopFirst(format!(
            "host port {} cannot be held twice",
            port.host.unwrap_or_default()
        ));
    }
    match service.rollout.order {
        Some(Order::StartFirst) => return RolloutOrder::StartFirst { asked: true },
        Some(Order::StopFirst) => return RolloutOrder::StopFirst("the service asks for it".to_owned()),
        None => {}
    }
    let volume = service.mounts.iter().find_map(|m| match &m.source {
        MountSource::Volume(name) if !m.read_only => Some(name),
        _ => None,
    });
    match volume {
        Some(name) => RolloutOrder::StopFirst(format!("volume {name} is mounted writable")),
        None => RolloutOrder::StartFirst { asked: false },
    }
}

/// The repository of an image name: without tag and digest.
pub(crate) fn repository(name: &str) -> &str {
    let name = name.split_once('@').map_or(name, |(repo, _)| repo);
    match name.rsplit_once(':') {
        Some((repo, tag)) if !tag.contains('/') => repo,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::repository;

    #[test]
    fn a_repository_has_neither_tag_nor_digest() {
        for (name, want) in [
            ("agent:1.9", "agent"),
            ("registry.example:5000/a/b", "registry.example:5000/a/b"),
            ("registry.example:5000/a/b:2", "registry.example:5000/a/b"),
            ("a@sha256:00", "a"),
        ] {
            assert_eq!(repository(name), want);
        }
    }
}
