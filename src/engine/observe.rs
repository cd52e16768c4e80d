//! One look at the engine, and one look at one container.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bollard::models::{ContainerInspectResponse, EndpointSettings, HostConfig, RestartPolicyNameEnum};
use bollard::query_parameters::InspectContainerOptions;
use jiff::Timestamp;
use serde::Deserialize;

use super::containers::{plain, short};
use super::error::{Attempt, EngineError};
use super::listed::{Container, Ids, Labels, Network, Volumes};
use super::{Engine, READ, labels, wire};
use crate::fleet::compose::service::Restart;
use crate::plan::seen::{Details, Observation, SeenLimits, SeenNetwork};

impl Engine {
    /// Three calls at once: our containers (stopped ones too), all networks, our volumes. Whatever of it cannot be
    /// read or understood is an error, never an empty list.
    pub async fn observe(&self) -> Result<Observation, EngineError> {
        match self.lists().await {
            // A connection that was resumed may speak a version that the engine no longer does.
            Err(error) if error.is_about_the_version() => {
                self.forget_connection().await;
                self.lists().await
            }
            seen => seen,
        }
    }

    async fn lists(&self) -> Result<Observation, EngineError> {
        let (ours, connection) = (self.ours_as_query(), self.connection().await?);
        let api = connection.api;
        let (containers, networks, volumes) = tokio::try_join!(
            self.list(
                "list the containers",
                format!("/v{api}/containers/json?all=true&filters={ours}")
            ),
            self.list("list the networks", format!("/v{api}/networks")),
            self.list("list the volumes", format!("/v{api}/volumes?filters={ours}")),
        )?;
        let networks: Vec<SeenNetwork> = networks
            .read::<Vec<Network<'_>>>()?
            .into_iter()
            .map(|network| {
                let seen = network.seen(|labels| self.is_ours(labels));
                seen.map_err(|reason| networks.undecodable(reason))
            })
            .collect::<Result<_, _>>()?;
        let mut ids: Ids<'_> = HashMap::new();
        for network in &networks {
            ids.entry(&network.name).or_default().push(&network.id);
        }
        let containers = containers
            .read::<Vec<Container<'_>>>()?
            .into_iter()
            .map(|container| {
                let ours = self.is_ours(&container.labels);
                let seen = container.seen(&ids).map(|seen| ours.then_some(seen));
                seen.map_err(|reason| containers.undecodable(reason))
            })
            .filter_map(Result::transpose)
            .collect::<Result<_, _>>()?;
        Ok(Observation {
            containers,
            volumes: volumes.read::<Volumes<'_>>()?.seen(|labels| self.is_ours(labels)),
            networks,
        })
    }

    async fn list(&self, what: &str, path: String) -> Result<Answer, EngineError> {
        let attempt = Attempt::read(what);
        let body = self
            .limited(
                &attempt,
                READ,
                Box::pin(wire::get(&self.inner.socket, &path, &attempt)),
            )
            .await?;
        Ok(Answer {
            what: attempt.what,
            body,
        })
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
    fn is_ours(&self, labels: &Labels<'_>) -> bool {
        labels.get(labels::INSTANCE) == Some(self.inner.instance.as_str())
    }
}

/// An answer that was not read yet.
struct Answer {
    what: String,
    body: Vec<u8>,
}

impl Answer {
    fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, EngineError> {
        serde_json::from_slice(&self.body).map_err(|error| self.undecodable(&error.to_string()))
    }

    fn undecodable(&self, reason: &str) -> EngineError {
        undecodable(&self.what, reason)
    }
}

fn undecodable(what: &str, reason: &str) -> EngineError {
    EngineError::Undecodable {
        what: what.to_owned(),
        reason: reason.to_owned(),
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
    fn the_year_one_is_no_time() {
        assert_eq!(moment(Some("0001-01-01T00:00:00Z")), None);
        assert_eq!(moment(Some("")), None);
        assert!(moment(Some("2026-11-22T19:02:37.123456789Z")).is_some());
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
