//! What few services ask for, in the engine's words; and whether the engine did as it was asked. Pure.

use std::collections::{BTreeSet, HashMap};

use bollard::models::{
    ContainerInspectResponse, DeviceRequest, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig,
    ResourcesUlimits,
};

use super::spec::signed;
use crate::fleet::compose::service::{Logging, Options};
use crate::render::object::{ContainerSpec, MountFrom};

const NO_NEW_PRIVILEGES: &str = "no-new-privileges";

/// Adds a spec's options to a host configuration. `dns_search` holds the owner's domain already: it stays the first.
pub(super) fn add(spec: &ContainerSpec, host: &mut HostConfig) {
    let options = &spec.options;
    let list = |set: &BTreeSet<String>| (!set.is_empty()).then(|| set.iter().cloned().collect());
    let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    host.cap_drop = list(&options.cap_drop);
    host.cap_add = list(&options.cap_add);
    host.security_opt = options
        .no_new_privileges
        .then(|| vec![NO_NEW_PRIVILEGES.to_owned()]);
    host.ulimits = (!options.ulimits.is_empty()).then(|| {
        options
            .ulimits
            .iter()
            .map(|(name, limit)| ResourcesUlimits {
                name: Some(name.clone()),
                soft: Some(limit.soft),
                hard: Some(limit.hard),
            })
            .collect()
    });
    host.shm_size = options.shm_size.map(signed);
    host.extra_hosts = some(&options.hosts);
    host.dns = some(&options.dns);
    host.dns_search
        .get_or_insert_default()
        .extend(options.dns_search.iter().cloned());
    host.dns_options
        .get_or_insert_default()
        .extend(options.dns_opt.iter().cloned());
    host.group_add = some(&options.group_add);
    host.cpuset_cpus.clone_from(&options.cpuset);
    host.cpu_shares = options.cpu_shares.map(signed);
    host.blkio_weight = options.blkio_weight.and_then(|w| u16::try_from(w).ok());
    host.oom_score_adj = options.oom_score_adj.map(signed);
    host.ipc_mode.clone_from(&options.ipc);
    host.cgroupns_mode = options
        .cgroup
        .as_ref()
        .map(|_| HostConfigCgroupnsModeEnum::PRIVATE);
    host.device_requests = (!options.devices.is_empty()).then(|| {
        options
            .devices
            .iter()
            .map(|device| DeviceRequest {
                driver: Some(device.driver.clone()),
                count: Some(device.count.unwrap_or(0)),
                device_ids: some(&device.ids),
                capabilities: Some(vec![device.capabilities.clone()]),
                options: Some(device.options.clone().into_iter().collect()),
            })
            .collect()
    });
    host.tmpfs = tmpfs(spec);
}

/// Memory with options that a mount of the newer kind cannot carry.
fn tmpfs(spec: &ContainerSpec) -> Option<HashMap<String, String>> {
    let map: HashMap<String, String> = spec
        .mounts
        .iter()
        .filter_map(|(target, mount)| {
            let MountFrom::Tmpfs { size, mode, options } = &mount.from else {
                return None;
            };
            if options.is_empty() {
                return None;
            }
            let mut words: Vec<String> = options.iter().cloned().collect();
            words.extend(size.map(|size| format!("size={size}")));
            words.extend(mode.map(|mode| format!("mode={mode:o}")));
            words.extend(mount.read_only.then(|| "ro".to_owned()));
            Some((target.clone(), words.join(",")))
        })
        .collect();
    (!map.is_empty()).then_some(map)
}

/// The log configuration. The engine's default driver keeps logs without bound; an engine with another default was set
/// up on purpose.
pub(super) fn log_config(default: &str, asked: Option<&Logging>) -> Option<HostConfigLogConfig> {
    let bounds = [("max-size", "10m"), ("max-file", "3")];
    let mut config: HashMap<String, String> = asked
        .map(|logging| logging.options.clone().into_iter().collect())
        .unwrap_or_default();
    let driver = match asked {
        Some(logging) => logging.driver.clone(),
        None if default == "json-file" || default.is_empty() => "json-file".to_owned(),
        None => return None,
    };
    if driver != "none" {
        for (key, value) in bounds {
            config.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    Some(HostConfigLogConfig {
        typ: Some(driver),
        config: Some(config),
    })
}

/// Whether a created container must be looked at: an engine leaves out what it does not know, without a word.
pub(super) fn is_checked(options: &Options) -> bool {
    !options.cap_drop.is_empty() || options.no_new_privileges
}

/// What of the protection that was asked for the created container does not have.
pub(super) fn missing(options: &Options, made: &ContainerInspectResponse) -> Option<String> {
    let host = made.host_config.clone().unwrap_or_default();
    let bare = |list: Option<Vec<String>>| -> BTreeSet<String> {
        list.unwrap_or_default()
            .iter()
            .map(|name| {
                let name = name.to_ascii_uppercase();
                name.strip_prefix("CAP_").unwrap_or(&name).to_owned()
            })
            .collect()
    };
    if bare(host.cap_drop) != options.cap_drop {
        return Some("cap_drop".to_owned());
    }
    if bare(host.cap_add) != options.cap_add {
        return Some("cap_add".to_owned());
    }
    let hardened = host.security_opt.unwrap_or_default().iter().any(|opt| {
        matches!(
            opt.as_str(),
            "no-new-privileges" | "no-new-privileges:true" | "no-new-privileges=true"
        )
    });
    (options.no_new_privileges && !hardened).then(|| format!("security_opt: {NO_NEW_PRIVILEGES}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_without_the_protection_that_was_asked_for_is_told() {
        let options = Options {
            cap_drop: BTreeSet::from(["ALL".to_owned()]),
            no_new_privileges: true,
            ..Options::default()
        };
        let made = |drop: &[&str], opt: &[&str]| ContainerInspectResponse {
            host_config: Some(HostConfig {
                cap_drop: Some(drop.iter().map(|s| (*s).to_owned()).collect()),
                security_opt: Some(opt.iter().map(|s| (*s).to_owned()).collect()),
                ..HostConfig::default()
            }),
            ..ContainerInspectResponse::default()
        };
        assert_eq!(
            missing(&options, &made(&["CAP_ALL"], &["no-new-privileges"])),
            None
        );
        assert_eq!(
            missing(&options, &made(&[], &["no-new-privileges"])).as_deref(),
            Some("cap_drop")
        );
        assert_eq!(
            missing(&options, &made(&["ALL"], &[])).as_deref(),
            Some("security_opt: no-new-privileges")
        );
        assert!(missing(&options, &ContainerInspectResponse::default()).is_some());
    }

    #[test]
    fn logs_are_bounded_whatever_was_asked() {
        let asked = |driver: &str, options: &[(&str, &str)]| {
            let logging = Logging {
                driver: driver.to_owned(),
                options: options
                    .iter()
                    .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                    .collect(),
            };
            let config = log_config("journald", Some(&logging)).unwrap();
            (config.typ.unwrap(), config.config.unwrap())
        };
        let (driver, options) = asked("local", &[("max-size", "1m")]);
        assert_eq!(driver, "local");
        assert_eq!(
            (options["max-size"].as_str(), options["max-file"].as_str()),
            ("1m", "3")
        );
        assert!(asked("none", &[]).1.is_empty());
        assert!(log_config("journald", None).is_none());
        assert_eq!(log_config("", None).unwrap().typ.unwrap(), "json-file");
    }
}
