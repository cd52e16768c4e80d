//! One look at the engine, and one look at one container.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bollard::models::{
    ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum, EndpointSettings, HostConfig,
    MountPoint, Network, RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    InspectContainerOptions, ListContainersOptions, ListNetworksOptions, ListVolumesOptions,
};
use jiff::Timestamp;

use super::containers::{plain, short};
use super::error::{Attempt, EngineError};
use super::{Engine, READ, labels};
use crate::digest::Digest;
use crate::fleet::compose::service::Restart;
use crate::plan::seen::{
    Details, EngineHealth, Observation, SeenContainer, SeenLimits, SeenMount, SeenNetwork, SeenVolume, State,
};

impl Engine {
    /// Three calls at once: our containers (stopped ones too), all networks, our volumes. Whatever of it cannot be
    /// read or understood is an error, never an empty list.
    pub async fn observe(&self) -> Result<Observation, EngineError> {
        // Negotiated before, so that the three do not wait for one another.
        self.connection().await?;
        let (containers, networks, volumes) = match self.lists().await {
            // A connection that was resumed may speak a version that the engine no longer does.
            Err(error) if error.is_about_the_version() => {
                self.forget_connection().await;
                self.connection().await?;
                self.lists().await?
            }
            lists => lists?,
        };
        let mut ids: Ids<'_> = HashMap::new();
        for network in &networks {
            ids.entry(&network.name).or_default().push(&network.id);
        }
        Ok(Observation {
            containers: containers.into_iter().map(|c| c.beside(&ids)).collect(),
            networks,
            volumes,
        })
    }

    async fn lists(&self) -> Result<(Vec<Listed>, Vec<SeenNetwork>, Vec<SeenVolume>), EngineError> {
        tokio::try_join!(self.list_containers(), self.list_networks(), self.list_volumes())
    }

    async fn list_containers(&self) -> Result<Vec<Listed>, EngineError> {
        let attempt = Attempt::read("list the containers");
        let options = ListContainersOptions {
            all: true,
            filters: Some(self.ours()),
            ..ListContainersOptions::default()
        };
        let what = attempt.what.clone();
        let list = self
            .call(attempt, READ, |docker| async move {
                docker.list_containers(Some(options)).await
            })
            .await?;
        list.into_iter()
            .map(|summary| container(summary).map_err(|reason| undecodable(&what, reason)))
            .filter(|seen| {
                seen.as_ref()
                    .map_or(true, |listed| self.is_ours(&listed.seen.labels))
            })
            .collect()
    }

    async fn list_networks(&self) -> Result<Vec<SeenNetwork>, EngineError> {
        let attempt = Attempt::read("list the networks");
        let what = attempt.what.clone();
        let list = self
            .call(attempt, READ, |docker| async move {
                docker.list_networks(None::<ListNetworksOptions>).await
            })
            .await?;
        list.into_iter()
            .map(|seen| self.network(seen).map_err(|reason| undecodable(&what, reason)))
            .collect()
    }

    async fn list_volumes(&self) -> Result<Vec<SeenVolume>, EngineError> {
        let attempt = Attempt::read("list the volumes");
        let what = attempt.what.clone();
        let options = ListVolumesOptions {
            filters: Some(self.ours()),
        };
        let answer = self
            .call(attempt, READ, |docker| async move {
                docker.list_volumes(Some(options)).await
            })
            .await?;
        // An engine without volumes says `null` or `[]`; an answer that is none of an engine's says neither.
        let list = match (answer.volumes, answer.warnings) {
            (Some(list), _) => list,
            (None, Some(_)) => Vec::new(),
            (None, None) => return Err(undecodable(&what, "it has no Volumes")),
        };
        let seen = list.into_iter().map(|volume| SeenVolume {
            name: volume.name,
            labels: volume.labels.into_iter().collect(),
        });
        Ok(seen.filter(|volume| self.is_ours(&volume.labels)).collect())
    }

    /// What only an inspection shows. None: the container is gone.
    pub async fn inspect(&self, id: &str) -> Result<Option<Details>, EngineError> {
        let attempt = Attempt::read(&format!("inspect container {}", short(id)));
        plain(&attempt, id)?;
        let what = attempt.what.clone();
        let answer = self
            .call(attempt, READ, |docker| async move {
                docker
                    .inspect_container(id, None::<InspectContainerOptions>)
                    .await
            })
            .await;
        match answer {
            Ok(container) => details(container)
                .map(Some)
                .map_err(|reason| undecodable(&what, reason)),
            Err(EngineError::NotFound { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// The filter asked for it already; an engine that ignores filters must not make strangers ours.
    fn is_ours(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.get(labels::INSTANCE).map(String::as_str) == Some(self.inner.instance.as_str())
    }

    fn network(&self, network: Network) -> Result<SeenNetwork, &'static str> {
        let labels: BTreeMap<_, _> = network.labels.unwrap_or_default().into_iter().collect();
        let ours = self.is_ours(&labels);
        let pools = network.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        Ok(SeenNetwork {
            id: network
                .id
                .filter(|id| !id.is_empty())
                .ok_or("a network has no Id")?,
            name: network.name.ok_or("a network has no Name")?,
            ours,
            owner: if ours { labels::owner(&labels) } else { None },
            subnets: pools.into_iter().filter_map(|pool| pool.subnet).collect(),
        })
    }
}

fn undecodable(what: &str, reason: &str) -> EngineError {
    EngineError::Undecodable {
        what: what.to_owned(),
        reason: reason.to_owned(),
    }
}

/// Ids of the networks that are there, by name.
type Ids<'a> = HashMap<&'a str, Vec<&'a str>>;

/// A container of the list, with the ids of the networks that it hangs on, by their names.
struct Listed {
    seen: SeenContainer,
    ends: BTreeMap<String, String>,
}

impl Listed {
    /// The container, with its networks looked up among those that are there. One that is not in that list may be just made;
    /// one whose name another network has now was removed.
    fn beside(self, ids: &Ids<'_>) -> SeenContainer {
        let mut seen = self.seen;
        let ends = self.ends.into_iter().filter(|(_, id)| !id.is_empty());
        let stale = ends.filter(|(name, id)| {
            ids.get(name.as_str())
                .is_some_and(|ids| !ids.contains(&id.as_str()))
        });
        seen.stale_networks = stale.map(|(name, _)| name).collect();
        seen
    }
}

fn container(summary: ContainerSummary) -> Result<Listed, &'static str> {
    let labels: BTreeMap<_, _> = summary.labels.unwrap_or_default().into_iter().collect();
    let networks = summary.network_settings.and_then(|settings| settings.networks);
    let networks = networks.unwrap_or_default();
    let state = state(summary.state.ok_or("a container has no State")?);
    let status = summary.status.as_deref().unwrap_or_default();
    let mounts = summary.mounts.unwrap_or_default();
    let seen = SeenContainer {
        id: summary
            .id
            .filter(|id| !id.is_empty())
            .ok_or("a container has no Id")?,
        name: own_name(summary.names.unwrap_or_default()),
        owner: labels::owner(&labels),
        service: labels.get(labels::SERVICE).cloned(),
        spec: labels::spec(&labels),
        image: summary.image.unwrap_or_default(),
        image_id: summary.image_id.unwrap_or_default(),
        state,
        health: health(status),
        stamp: stamp(state, status, &networks),
        stale_networks: BTreeSet::new(),
        volumes: mounts.into_iter().filter_map(volume).collect(),
        created: summary
            .created
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .ok_or("a container has no Created")?,
        labels,
        networks: networks.keys().cloned().collect(),
        details: None,
    };
    let ends = networks.into_iter();
    let ends = ends.map(|(name, end)| (name, end.network_id.unwrap_or_default()));
    Ok(Listed {
        seen,
        ends: ends.collect(),
    })
}

/// A volume that is mounted, with its path.
fn volume(mount: MountPoint) -> Option<(String, SeenMount)> {
    let seen = SeenMount {
        volume: mount.name.filter(|_| mount.typ.as_deref() == Some("volume"))?,
        writable: mount.rw.unwrap_or(true),
    };
    Some((mount.destination?, seen))
}

/// Each start, and each connecting, gives a container new ends of its networks; one that ended has its code in the text.
fn stamp(state: State, status: &str, networks: &HashMap<String, EndpointSettings>) -> String {
    let ends: BTreeMap<_, _> = networks
        .iter()
        .map(|(name, end)| (name, (&end.endpoint_id, &end.ip_address)))
        .collect();
    let code = status
        .strip_prefix("Exited (")
        .and_then(|rest| rest.split_once(')'));
    Digest::of("engine.stamp", &(state, code.map(|(code, _)| code), ends)).hex()
}

/// `/web.acme.aither`; links of other containers stand there as `/other/alias`. A half removed one has none.
fn own_name(names: Vec<String>) -> String {
    names
        .into_iter()
        .filter_map(|name| name.strip_prefix('/').map(str::to_owned))
        .find(|name| !name.contains('/'))
        .unwrap_or_default()
}

fn state(state: ContainerSummaryStateEnum) -> State {
    use ContainerSummaryStateEnum as S;
    // A word that bollard does not know fails the whole list before it comes here; `stopping` is Podman's.
    #[allow(unreachable_patterns)]
    match state {
        S::CREATED => State::Created,
        S::RUNNING => State::Running,
        S::PAUSED => State::Paused,
        S::RESTARTING => State::Restarting,
        S::EXITED => State::Exited,
        S::REMOVING => State::Removing,
        S::DEAD => State::Dead,
        _ => State::Unknown,
    }
}

/// In the list, health stands in the text for people alone: `Up 3 seconds (health: starting)`.
fn health(status: &str) -> EngineHealth {
    if status.contains("(healthy)") {
        EngineHealth::Healthy
    } else if status.contains("(unhealthy)") {
        EngineHealth::Unhealthy
    } else if status.contains("(health: starting)") {
        EngineHealth::Starting
    } else {
        EngineHealth::None
    }
}

fn details(container: ContainerInspectResponse) -> Result<Details, &'static str> {
    let id = container.id.unwrap_or_default();
    let host = container.host_config.ok_or("it has no HostConfig")?;
    let state = container.state.ok_or("it has no State")?;
    let networks = container
        .network_settings
        .and_then(|settings| settings.networks)
        .unwrap_or_default();
    let finished_at = moment(state.finished_at.as_deref());
    let ended = !state.running.unwrap_or(false);
    Ok(Details {
        restart: restart(&host)?,
        limits: limits(host),
        started_at: moment(state.started_at.as_deref()),
        finished_at,
        restart_count: container
            .restart_count
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or(0),
        // One that never ran says 0; one that could not be started says why and has a code.
        exit_code: state
            .exit_code
            .filter(|code| ended && (finished_at.is_some() || *code != 0)),
        error: state.error.unwrap_or_default(),
        oom_killed: state.oom_killed.unwrap_or(false),
        addresses: addresses(&networks),
        networks: attachments(networks, &id),
    })
}

fn restart(host: &HostConfig) -> Result<Restart, &'static str> {
    let policy = host.restart_policy.as_ref().ok_or("it has no RestartPolicy")?;
    let times = policy
        .maximum_retry_count
        .and_then(|n| u32::try_from(n).ok())
        .unwrap_or(0);
    Ok(match policy.name {
        Some(RestartPolicyNameEnum::ALWAYS) => Restart::Always,
        Some(RestartPolicyNameEnum::UNLESS_STOPPED) => Restart::UnlessStopped,
        Some(RestartPolicyNameEnum::ON_FAILURE) => Restart::OnFailure(times),
        Some(RestartPolicyNameEnum::NO | RestartPolicyNameEnum::EMPTY) | None => Restart::No,
    })
}

fn limits(host: HostConfig) -> SeenLimits {
    SeenLimits {
        memory: host.memory.unwrap_or(0),
        memory_swap: host.memory_swap.unwrap_or(0),
        memory_reservation: host.memory_reservation.unwrap_or(0),
        nano_cpus: host.nano_cpus.unwrap_or(0),
        cpu_quota: host.cpu_quota.unwrap_or(0),
        cpu_shares: host.cpu_shares.unwrap_or(0),
        cpu_realtime: host.cpu_realtime_runtime.unwrap_or(0),
        cpuset: host.cpuset_cpus.unwrap_or_default(),
        memory_nodes: host.cpuset_mems.unwrap_or_default(),
        blkio_weight: host.blkio_weight.unwrap_or(0).into(),
        pids: host.pids_limit.unwrap_or(0),
    }
}

fn addresses(networks: &HashMap<String, EndpointSettings>) -> BTreeMap<String, String> {
    networks
        .iter()
        .filter_map(|(name, end)| {
            let address = end.ip_address.as_ref().filter(|address| !address.is_empty())?;
            Some((name.clone(), address.clone()))
        })
        .collect()
}

fn attachments(
    networks: HashMap<String, EndpointSettings>,
    id: &str,
) -> BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> {
    networks
        .into_iter()
        .map(|(name, end)| {
            let aliases = end.aliases.unwrap_or_default().into_iter();
            // Engines before 25 add the short id by themselves.
            let aliases = aliases.filter(|alias| alias.len() != 12 || !id.starts_with(alias.as_str()));
            let links = end.links.unwrap_or_default().into_iter().collect();
            (name, (aliases.collect(), links))
        })
        .collect()
}

/// The engine's zero time is the year 1.
fn moment(text: Option<&str>) -> Option<Timestamp> {
    text?
        .parse::<Timestamp>()
        .ok()
        .filter(|at| *at > Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_read_from_the_text_of_the_status() {
        assert_eq!(health("Up 3 seconds (healthy)"), EngineHealth::Healthy);
        assert_eq!(health("Up 3 minutes (unhealthy)"), EngineHealth::Unhealthy);
        assert_eq!(
            health("Up Less than a second (health: starting)"),
            EngineHealth::Starting
        );
        assert_eq!(health("Exited (0) 2 hours ago"), EngineHealth::None);
        assert_eq!(health("Up 2 seconds (Paused)"), EngineHealth::None);
    }

    fn ends(network: &str, endpoint: &str) -> HashMap<String, EndpointSettings> {
        let end = EndpointSettings {
            network_id: Some("one".to_owned()),
            endpoint_id: Some(endpoint.to_owned()),
            ..EndpointSettings::default()
        };
        HashMap::from([(network.to_owned(), end)])
    }

    #[test]
    fn a_stamp_holds_for_one_run() {
        let up = |status: &str, end: &str| stamp(State::Running, status, &ends("n", end));
        assert_eq!(up("Up 3 seconds", "a"), up("Up 2 hours (healthy)", "a"));
        assert_ne!(
            up("Up 3 seconds", "a"),
            up("Up 3 seconds", "b"),
            "it was restarted"
        );
        let ended = |status: &str| stamp(State::Exited, status, &ends("n", ""));
        assert_eq!(ended("Exited (0) 2 hours ago"), ended("Exited (0) 3 hours ago"));
        assert_ne!(ended("Exited (0) 2 hours ago"), ended("Exited (137) 2 hours ago"));
        assert_ne!(ended("Exited (0) 2 hours ago"), up("Up 3 seconds", ""));
    }

    #[test]
    fn a_network_whose_name_is_anothers_now_is_stale() {
        let stale = |ids: &[&str]| {
            let summary = ContainerSummary {
                id: Some("c".to_owned()),
                created: Some(0),
                state: Some(ContainerSummaryStateEnum::EXITED),
                network_settings: Some(bollard::models::ContainerSummaryNetworkSettings {
                    networks: Some(ends("n", "")),
                }),
                ..ContainerSummary::default()
            };
            let known = Ids::from([("n", ids.to_vec()), ("other", vec!["two"])]);
            container(summary).unwrap().beside(&known).stale_networks.len()
        };
        assert_eq!(stale(&["one"]), 0);
        assert_eq!(stale(&["two"]), 1);
        assert_eq!(stale(&["two", "one"]), 0);
        let known = Ids::from([("other", vec!["two"])]);
        let just_made = Listed {
            seen: container(ContainerSummary {
                id: Some("c".to_owned()),
                created: Some(0),
                state: Some(ContainerSummaryStateEnum::RUNNING),
                ..ContainerSummary::default()
            })
            .unwrap()
            .seen,
            ends: BTreeMap::from([("n".to_owned(), "one".to_owned())]),
        };
        assert!(
            just_made.beside(&known).stale_networks.is_empty(),
            "it may not be in that list yet"
        );
    }

    #[test]
    fn the_year_one_is_no_time() {
        assert_eq!(moment(Some("0001-01-01T00:00:00Z")), None);
        assert_eq!(moment(Some("")), None);
        assert!(moment(Some("2026-11-22T19:02:37.123456789Z")).is_some());
    }

    #[test]
    fn a_links_name_is_not_the_containers_own() {
        let names = vec!["/other/alias".to_owned(), "/web.acme.aither".to_owned()];
        assert_eq!(own_name(names), "web.acme.aither");
        assert_eq!(own_name(Vec::new()), "");
    }

    #[test]
    fn the_engines_own_alias_is_left_out() {
        let id = "0123456789abcdef";
        let end = EndpointSettings {
            aliases: Some(vec!["web".to_owned(), "0123456789ab".to_owned()]),
            ..EndpointSettings::default()
        };
        let seen = attachments(HashMap::from([("n".to_owned(), end)]), id);
        assert_eq!(seen["n"].0, BTreeSet::from(["web".to_owned()]));
    }
}
