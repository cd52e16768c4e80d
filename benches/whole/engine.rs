//! The engine itself: its floor, what it says that happened, and what a hand does to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, Ipam, IpamConfig, NetworkCreateRequest,
    NetworkingConfig, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, EventsOptionsBuilder, ListContainersOptionsBuilder,
    ListNetworksOptionsBuilder, ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveVolumeOptions,
};
use futures_util::{StreamExt as _, stream};
use tokio::sync::watch;

use crate::shape::{self, Shape};

/// The label of what the floor makes.
const FLOOR: &str = "dev.ringfence.bench=floor";

#[derive(Clone)]
pub struct Engine {
    docker: Docker,
}

/// Starts and ends of containers with a label, by the engine's own clock.
pub struct Events {
    seen: Arc<Mutex<Vec<(String, SystemTime)>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Engine {
    pub fn new(socket: &str) -> Self {
        let docker = Docker::connect_with_unix(socket, 600, bollard::API_DEFAULT_VERSION).unwrap();
        Self { docker }
    }

    pub async fn version(&self) -> String {
        self.docker.version().await.unwrap().version.unwrap_or_default()
    }

    /// Follows the events of what carries a label.
    pub fn events(&self, label: &str) -> Events {
        let filters = HashMap::from([("label", vec![label]), ("type", vec!["container"])]);
        // The engine replays what happened since then: nothing is missed while the connection is made.
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        let options = EventsOptionsBuilder::default()
            .filters(&filters)
            .since(&format!("{since:.9}"))
            .build();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (docker, all) = (self.docker.clone(), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            let mut events = docker.events(Some(options));
            while let Some(Ok(event)) = events.next().await {
                let nanos = u64::try_from(event.time_nano.unwrap_or_default()).unwrap_or_default();
                let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
                all.lock().unwrap().push((event.action.unwrap_or_default(), at));
            }
        });
        Events { seen, task }
    }

    /// Makes all of a shape with plain calls, so many at once; a tenant's containers begin once its network is there.
    pub async fn floor(&self, shape: Shape, at_once: usize) -> Duration {
        let since = Instant::now();
        let (there, _) = watch::channel(vec![false; shape.tenants]);
        let networks = stream::iter(0..shape.tenants).for_each_concurrent(at_once, |tenant| {
            let there = &there;
            async move {
                self.network(tenant).await;
                there.send_modify(|t| t[tenant] = true);
            }
        });
        let all = (0..shape.tenants).flat_map(|t| (0..shape.services).map(move |s| (t, s)));
        let containers = stream::iter(all).for_each_concurrent(at_once, |(tenant, service)| {
            let mut ready = there.subscribe();
            async move {
                ready.wait_for(|t| t[tenant]).await.unwrap();
                self.container(tenant, service).await;
            }
        });
        tokio::join!(networks, containers);
        since.elapsed()
    }

    async fn network(&self, tenant: usize) {
        let (key, value) = FLOOR.split_once('=').unwrap();
        let config = IpamConfig {
            subnet: Some(shape::subnet(shape::FLOOR_POOL, tenant)),
            ..IpamConfig::default()
        };
        let request = NetworkCreateRequest {
            name: shape::floor_network(tenant),
            driver: Some("bridge".to_owned()),
            labels: Some(HashMap::from([(key.to_owned(), value.to_owned())])),
            ipam: Some(Ipam {
                config: Some(vec![config]),
                ..Ipam::default()
            }),
            ..NetworkCreateRequest::default()
        };
        self.docker.create_network(request).await.unwrap();
    }

    async fn container(&self, tenant: usize, service: usize) {
        let (key, value) = FLOOR.split_once('=').unwrap();
        let network = shape::floor_network(tenant);
        let mut labels: HashMap<String, String> = shape::LABELS
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        labels.insert(key.to_owned(), value.to_owned());
        let body = ContainerCreateBody {
            image: Some(shape::IMAGE.to_owned()),
            env: Some(
                shape::environment("1")
                    .into_iter()
                    .map(|(k, v)| format!("{k}={v}"))
                    .collect(),
            ),
            labels: Some(labels),
            host_config: Some(HostConfig {
                memory: Some(64 << 20),
                memory_swap: Some(64 << 20),
                network_mode: Some(network.clone()),
                restart_policy: Some(RestartPolicy {
                    name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                    maximum_retry_count: None,
                }),
                ..HostConfig::default()
            }),
            networking_config: Some(NetworkingConfig {
                endpoints_config: Some(HashMap::from([(network, EndpointSettings::default())])),
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::default()
            .name(&format!("rf-bench-floor-{tenant}-{service}"))
            .build();
        let made = self.docker.create_container(Some(options), body).await.unwrap();
        self.docker.start_container(&made.id, None).await.unwrap();
    }

    /// Removes what the floor made, and how long that took.
    pub async fn clear_floor(&self, at_once: usize) -> Duration {
        self.clear(FLOOR, at_once).await
    }

    /// Removes containers, then networks and volumes with a label.
    pub async fn clear(&self, label: &str, at_once: usize) -> Duration {
        let since = Instant::now();
        let ids: Vec<String> = self
            .containers(label)
            .await
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        stream::iter(ids)
            .for_each_concurrent(at_once, |id| async move { self.remove(&id).await })
            .await;
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let networks = self.docker.list_networks(Some(options)).await.unwrap();
        stream::iter(networks.into_iter().filter_map(|n| n.id))
            .for_each_concurrent(at_once, |id| async move {
                // The last container's end is not always through yet.
                for _ in 0..50 {
                    if self.docker.remove_network(&id).await.is_ok() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            })
            .await;
        let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
        for volume in self
            .docker
            .list_volumes(Some(options))
            .await
            .unwrap()
            .volumes
            .unwrap_or_default()
        {
            let _ = self
                .docker
                .remove_volume(&volume.name, None::<RemoveVolumeOptions>)
                .await;
        }
        since.elapsed()
    }

    /// Ends the hold of a state directory on an instance: the next one of the same name starts from nothing.
    pub async fn release(&self, instance: &str) {
        let holder = format!("ringfence.{instance}");
        let _ = self
            .docker
            .remove_volume(&holder, None::<RemoveVolumeOptions>)
            .await;
    }

    /// Ids and names of the containers with a label.
    pub async fn containers(&self, label: &str) -> Vec<(String, String)> {
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let list = self.docker.list_containers(Some(options)).await.unwrap();
        list.into_iter()
            .map(|c| {
                let name = c.names.unwrap_or_default().into_iter().next().unwrap_or_default();
                (c.id.unwrap_or_default(), name.trim_start_matches('/').to_owned())
            })
            .collect()
    }

    /// `docker rm -f`.
    pub async fn remove(&self, id: &str) {
        let options = RemoveContainerOptionsBuilder::default()
            .force(true)
            .v(true)
            .build();
        let _ = self.docker.remove_container(id, Some(options)).await;
    }
}

impl Events {
    fn times(&self, action: &str) -> Vec<SystemTime> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|(a, _)| a == action)
            .map(|(_, at)| *at)
            .collect()
    }

    /// When the `n`th of them happened; waits for it.
    pub async fn nth(&self, action: &str, n: usize) -> SystemTime {
        let end = Instant::now() + Duration::from_secs(300);
        loop {
            if let Some(at) = n.checked_sub(1).and_then(|n| self.times(action).get(n).copied()) {
                return at;
            }
            assert!(
                Instant::now() < end,
                "no {n}th `{action}`: {}",
                self.times(action).len()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}
