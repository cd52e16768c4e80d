//! Calls about networks and volumes.

use std::collections::BTreeMap;

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest, VolumeCreateRequest};
use bollard::query_parameters::RemoveVolumeOptions;

use super::containers::{plain, short};
use super::error::{Attempt, EngineError};
use super::{CHANGE, Engine, labels};
use crate::render::object::NetworkObject;

impl Engine {
    /// Makes a bridge network with this subnet (`10.201.0.0/27`). [`EngineError::Overlap`]: take the next one.
    pub async fn create_network(&self, object: &NetworkObject, subnet: &str) -> Result<(), EngineError> {
        let attempt = Attempt::naming(&format!("create network {} with subnet {subnet}", object.name));
        let owner = labels::of_owner(&self.inner.instance, &self.inner.fleet, &object.owner);
        let request = NetworkCreateRequest {
            name: object.name.clone(),
            driver: Some("bridge".to_owned()),
            ipam: Some(Ipam {
                driver: Some("default".to_owned()),
                config: Some(vec![IpamConfig {
                    subnet: Some(subnet.to_owned()),
                    ..IpamConfig::default()
                }]),
                options: None,
            }),
            labels: Some(owner.into_iter().collect()),
            ..NetworkCreateRequest::default()
        };
        self.call(attempt, CHANGE, |docker| async move {
            docker.create_network(request).await
        })
        .await
        .map(drop)
    }

    /// Removes a network. One that is gone is no error; one that is in use is a [`EngineError::Conflict`].
    pub async fn remove_network(&self, id: &str) -> Result<(), EngineError> {
        let attempt = Attempt::change(&format!("remove network {}", short(id)));
        plain(&attempt, id)?;
        let answer = self
            .call(attempt, CHANGE, |docker| async move {
                docker.remove_network(id).await
            })
            .await;
        gone_is_fine(answer)
    }

    /// Makes a volume and gives the labels that it has. Where there is one of this name already, those are the
    /// labels of the first: the holder's test needs exactly that.
    pub async fn create_volume(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, EngineError> {
        let attempt = Attempt::naming(&format!("create volume {name}"));
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            driver: Some("local".to_owned()),
            labels: Some(labels.clone().into_iter().collect()),
            ..VolumeCreateRequest::default()
        };
        let volume = self
            .call(attempt, CHANGE, |docker| async move {
                docker.create_volume(request).await
            })
            .await?;
        Ok(volume.labels.into_iter().collect())
    }

    /// Removes a volume and its data. One that is gone is no error; one that is in use is a
    /// [`EngineError::Conflict`].
    pub async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        let attempt = Attempt::change(&format!("remove volume {name}"));
        plain(&attempt, name)?;
        let answer = self
            .call(attempt, CHANGE, |docker| async move {
                docker.remove_volume(name, None::<RemoveVolumeOptions>).await
            })
            .await;
        gone_is_fine(answer)
    }
}

fn gone_is_fine(answer: Result<(), EngineError>) -> Result<(), EngineError> {
    match answer {
        Err(EngineError::NotFound { .. }) => Ok(()),
        other => other,
    }
}
