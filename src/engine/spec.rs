//! From a [`ServiceObject`] to the body of the engine's create call. Pure.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, EndpointSettings, HealthConfig, HostConfig, Mount,
    MountBindOptions, MountBindOptionsPropagationEnum, MountTmpfsOptions, MountType, MountVolumeOptions,
    NetworkingConfig, PortBinding, RestartPolicy, RestartPolicyNameEnum,
};

use crate::fleet::compose::service::{Healthcheck, Protocol, Restart};
use crate::fleet::names::Instance;
use crate::plan::replace::LimitsUpdate;
use crate::render::object::{Attachment, ContainerSpec, MountFrom, PortSpec, ServiceObject};

/// What surrounds a spec on one engine.
pub(super) struct Surroundings<'a> {
    pub instance: &'a Instance,
    pub fleet: &'a str,
    pub files: &'a Path,
    /// The engine's default log driver.
    pub log_driver: &'a str,
}

/// The body that creates `object`'s container in its home network.
pub(super) fn body(around: &Surroundings<'_>, object: &ServiceObject) -> ContainerCreateBody {
    let spec = &object.spec;
    let home = object
        .networks
        .get(&object.home_network)
        .cloned()
        .unwrap_or_default();
    let ports: Vec<_> = spec.ports.iter().map(port_key).collect();
    ContainerCreateBody {
        hostname: spec.hostname.clone(),
        domainname: spec.options.domainname.clone(),
        user: spec.user.clone(),
        tty: Some(spec.tty),
        open_stdin: Some(spec.stdin_open),
        env: Some(
            spec.env
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect(),
        ),
        cmd: spec.command.clone(),
        entrypoint: spec.entrypoint.clone(),
        healthcheck: spec.healthcheck.as_ref().map(healthcheck),
        image: Some(spec.image.clone()),
        working_dir: spec.working_dir.clone(),
        labels: Some(
            super::labels::of_service(around.instance, around.fleet, object)
                .into_iter()
                .collect(),
        ),
        stop_signal: spec.stop_signal.clone(),
        stop_timeout: spec.stop_grace_ms.map(|ms| signed(ms.div_ceil(1000))),
        exposed_ports: (!ports.is_empty()).then_some(ports),
        host_config: Some(host_config(around, object, spec)),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(object.home_network.clone(), endpoint(&home))])),
        }),
        ..ContainerCreateBody::default()
    }
}

fn host_config(around: &Surroundings<'_>, object: &ServiceObject, spec: &ContainerSpec) -> HostConfig {
    let limits = &spec.limits;
    let mut host = HostConfig {
        memory: limits.memory.map(signed),
        // Memory and swap together: without it the engine grants as much swap again.
        memory_swap: limits.memory.map(signed),
        memory_reservation: limits.memory_reservation.map(signed),
        nano_cpus: limits.nano_cpus.map(signed),
        pids_limit: limits.pids.map(signed),
        init: spec.init,
        log_config: super::options::log_config(around.log_driver, spec.options.logging.as_ref()),
        network_mode: Some(object.home_network.clone()),
        port_bindings: bindings(spec),
        restart_policy: Some(restart(spec.restart)),
        mounts: Some(
            spec.mounts
                .iter()
                .filter(|(_, from)| !matches!(&from.from, MountFrom::Tmpfs { options, .. } if !options.is_empty()))
                .map(|(target, from)| mount(around.files, target, from))
                .collect(),
        ),
        // `http://web` asks for `web.<tenant>.<instance>` first, and a bare name is never sent outside.
        dns_search: Some(vec![object.domain.clone()]),
        dns_options: Some(vec!["ndots:1".to_owned()]),
        readonly_rootfs: Some(spec.read_only),
        sysctls: (!spec.sysctls.is_empty()).then(|| spec.sysctls.clone().into_iter().collect()),
        ..HostConfig::default()
    };
    super::options::add(spec, &mut host);
    host
}

/// How a container hangs on a network.
pub(super) fn endpoint(attachment: &Attachment) -> EndpointSettings {
    let list =
        |set: &std::collections::BTreeSet<String>| (!set.is_empty()).then(|| set.iter().cloned().collect());
    EndpointSettings {
        aliases: list(&attachment.aliases),
        links: list(&attachment.links),
        ..EndpointSettings::default()
    }
}

/// The engine's words for a restart policy.
pub(super) fn restart(restart: Restart) -> RestartPolicy {
    let (name, times) = match restart {
        Restart::No => (RestartPolicyNameEnum::NO, None),
        Restart::Always => (RestartPolicyNameEnum::ALWAYS, None),
        Restart::UnlessStopped => (RestartPolicyNameEnum::UNLESS_STOPPED, None),
        Restart::OnFailure(times) => (RestartPolicyNameEnum::ON_FAILURE, Some(i64::from(times))),
    };
    RestartPolicy {
        name: Some(name),
        maximum_retry_count: times,
    }
}

/// The body of an update that sets these limits: memory with swap, as at the creation.
pub(super) fn limits_update(limits: &LimitsUpdate) -> ContainerUpdateBody {
    ContainerUpdateBody {
        memory: limits.memory.map(signed),
        memory_swap: limits.memory.map(signed),
        memory_reservation: limits.memory_reservation,
        nano_cpus: limits.nano_cpus.map(signed),
        cpu_quota: limits.cpu_quota,
        cpu_shares: limits.cpu_shares.map(signed),
        cpuset_cpus: limits.cpuset.clone(),
        blkio_weight: limits.blkio_weight.and_then(|w| u16::try_from(w).ok()),
        pids_limit: limits.pids.map(signed),
        ..ContainerUpdateBody::default()
    }
}

fn healthcheck(check: &Healthcheck) -> HealthConfig {
    let nanos = |ms: &Option<u64>| ms.map(|ms| signed(ms.saturating_mul(1_000_000)));
    match check {
        Healthcheck::Disabled => HealthConfig {
            test: Some(vec!["NONE".to_owned()]),
            ..HealthConfig::default()
        },
        Healthcheck::Set {
            test,
            interval_ms,
            timeout_ms,
            retries,
            start_period_ms,
        } => HealthConfig {
            test: test.clone(),
            interval: nanos(interval_ms),
            timeout: nanos(timeout_ms),
            retries: retries.map(i64::from),
            start_period: nanos(start_period_ms),
            ..HealthConfig::default()
        },
    }
}

fn mount(files: &Path, target: &str, from: &crate::render::object::MountSpec) -> Mount {
    let base = Mount {
        target: Some(target.to_owned()),
        read_only: Some(from.read_only),
        ..Mount::default()
    };
    // Binds are read-only whatever the spec says: content and live files are shared with others, and host files
    // need no grant only because they cannot be written. `Mounts` refuses a source that is not there, where
    // `Binds` would make it, as root.
    let bind = |source: &Path, base: Mount| Mount {
        source: Some(source.to_string_lossy().into_owned()),
        typ: Some(MountType::BIND),
        read_only: Some(true),
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            ..MountBindOptions::default()
        }),
        ..base
    };
    match &from.from {
        MountFrom::Volume(name) => Mount {
            source: Some(name.clone()),
            typ: Some(MountType::VOLUME),
            volume_options: from.no_copy.then(|| MountVolumeOptions {
                no_copy: Some(true),
                ..MountVolumeOptions::default()
            }),
            ..base
        },
        MountFrom::Content { digest, file } => {
            let folder = files.join("content").join(digest.hex());
            let source = file.as_ref().map_or(folder.clone(), |file| folder.join(file));
            bind(&source, base)
        }
        MountFrom::Live(folder) => bind(&files.join("live").join(folder), base),
        MountFrom::Host(path) => bind(Path::new(path), base),
        MountFrom::Tmpfs { size, mode, .. } => Mount {
            typ: Some(MountType::TMPFS),
            tmpfs_options: (size.is_some() || mode.is_some()).then(|| MountTmpfsOptions {
                size_bytes: size.map(signed),
                mode: mode.map(i64::from),
                options: None,
            }),
            ..base
        },
    }
}

fn port_key(port: &PortSpec) -> String {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    format!("{}/{protocol}", port.container)
}

fn bindings(spec: &ContainerSpec) -> Option<HashMap<String, Option<Vec<PortBinding>>>> {
    let mut map: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for port in &spec.ports {
        map.entry(port_key(port))
            .or_default()
            .get_or_insert_default()
            .push(PortBinding {
                host_ip: Some(port.ip.clone()),
                host_port: Some(port.host.map(|host| host.to_string()).unwrap_or_default()),
            });
    }
    (!map.is_empty()).then_some(map)
}

/// The engine counts in signed numbers; what does not fit is no limit that anyone could reach.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
