//! Calls about containers.

use std::time::Duration;

use bollard::models::{ContainerUpdateBody, NetworkConnectRequest, NetworkDisconnectRequest};
use bollard::query_parameters::{
    CreateContainerOptions, InspectContainerOptions, RemoveContainerOptions, RenameContainerOptions,
    StopContainerOptions,
};

use super::error::{Attempt, EngineError};
use super::{CHANGE, Engine, READ, options, spec};
use crate::fleet::compose::service::{Options, Restart};
use crate::plan::replace::LimitsUpdate;
use crate::render::object::{Attachment, ServiceObject};

/// What a stop may take beyond its grace period.
const AFTER_GRACE: Duration = Duration::from_secs(10);

impl Engine {
    /// Makes a container under `name`, in its home network only, and gives its full id. It is not started. Further
    /// networks are [`connect`](Self::connect)ed by the caller: the oldest engines take one here.
    pub async fn create_container(&self, name: &str, object: &ServiceObject) -> Result<String, EngineError> {
        let attempt = Attempt::naming(&format!("create container {name}"));
        plain(&attempt, name)?;
        let log_driver = self.log_driver().await?;
        let body = spec::body(
            &spec::Surroundings {
                instance: &self.inner.instance,
                fleet: &self.inner.fleet,
                files: &self.inner.files,
                log_driver: &log_driver,
            },
            object,
        );
        let options = CreateContainerOptions {
            name: Some(name.to_owned()),
            platform: object.spec.options.platform.clone().unwrap_or_default(),
        };
        let answer = self
            .call(attempt, CHANGE, |docker| async move {
                docker.create_container(Some(options), body).await
            })
            .await?;
        self.check_created(name, &answer.id, &object.spec.options).await?;
        Ok(answer.id)
    }

    /// An engine leaves out what it does not know. A container without the protection that was asked for never starts.
    async fn check_created(&self, name: &str, id: &str, asked: &Options) -> Result<(), EngineError> {
        if !options::is_checked(asked) {
            return Ok(());
        }
        let attempt = Attempt::read(&format!("inspect container {}", short(id)));
        let made = self
            .call(attempt, READ, |docker| async move {
                docker
                    .inspect_container(id, None::<InspectContainerOptions>)
                    .await
            })
            .await?;
        let Some(missing) = options::missing(asked, &made) else {
            return Ok(());
        };
        self.remove(id).await?;
        Err(EngineError::Ignored {
            what: format!("create container {name}"),
            option: missing,
        })
    }

    /// Hangs a container on a network (by name or id). One that hangs there already is left as it is, whatever its
    /// aliases and links.
    pub async fn connect(&self, network: &str, id: &str, attachment: &Attachment) -> Result<(), EngineError> {
        let attempt = Attempt::change(&format!("connect container {} to network {network}", short(id)));
        plain(&attempt, network)?;
        let request = NetworkConnectRequest {
            container: id.to_owned(),
            endpoint_config: Some(spec::endpoint(attachment)),
        };
        let answer = self
            .call(attempt, CHANGE, |docker| async move {
                docker.connect_network(network, request).await
            })
            .await;
        match answer {
            Err(EngineError::Conflict { message, .. }) if message.contains("already exists in network") => {
                Ok(())
            }
            other => other,
        }
    }

    /// Takes a container off a network. One that does not hang there is no error.
    pub async fn disconnect(&self, network: &str, id: &str) -> Result<(), EngineError> {
        let attempt = Attempt::change(&format!(
            "disconnect container {} from network {network}",
            short(id)
        ));
        plain(&attempt, network)?;
        let request = NetworkDisconnectRequest {
            container: id.to_owned(),
            force: Some(false),
        };
        let answer = self
            .call(attempt, CHANGE, |docker| async move {
                docker.disconnect_network(network, request).await
            })
            .await;
        match answer {
            Err(
                EngineError::Conflict { message, .. }
                | EngineError::Refused { message, .. }
                | EngineError::NotFound { message, .. },
            ) if message.contains("is not connected to") => Ok(()),
            other => other,
        }
    }

    /// Starts a container. One that runs is no error.
    pub async fn start(&self, id: &str) -> Result<(), EngineError> {
        let attempt = Attempt::change(&format!("start container {}", short(id)));
        plain(&attempt, id)?;
        self.call(attempt, CHANGE, |docker| async move {
            docker.start_container(id, None).await
        })
        .await
    }

    /// Gives a container another name. One that has it already is no error.
    pub async fn rename(&self, id: &str, to: &str) -> Result<(), EngineError> {
        let attempt = Attempt::naming(&format!("rename container {} to {to}", short(id)));
        plain(&attempt, id)?;
        let options = RenameContainerOptions { name: to.to_owned() };
        let answer = self
            .call(attempt, CHANGE, |docker| async move {
                docker.rename_container(id, options).await
            })
            .await;
        match answer {
            Err(EngineError::Refused {
                status: 400, message, ..
            }) if message.contains("with the same name") => Ok(()),
            other => other,
        }
    }

    /// Sets a container's restart policy, and nothing else.
    pub async fn set_restart(&self, id: &str, restart: Restart) -> Result<(), EngineError> {
        let attempt = Attempt::change(&format!("set the restart policy of container {}", short(id)));
        plain(&attempt, id)?;
        let body = ContainerUpdateBody {
            restart_policy: Some(spec::restart(restart)),
            ..ContainerUpdateBody::default()
        };
        self.call(attempt, CHANGE, |docker| async move {
            docker.update_container(id, body).await
        })
        .await
    }

    /// Sets some of a container's limits, and nothing else.
    pub async fn set_limits(&self, id: &str, limits: &LimitsUpdate) -> Result<(), EngineError> {
        let attempt = Attempt::change(&format!("set the limits of container {}", short(id)));
        plain(&attempt, id)?;
        let body = spec::limits_update(limits);
        self.call(attempt, CHANGE, |docker| async move {
            docker.update_container(id, body).await
        })
        .await
    }

    /// Sends a container its stop signal, and SIGKILL after the grace period that it was made with. Returns when it has
    /// ended; the answer counts as lost after `grace_ms` and a little more. One that does not run is no error.
    pub async fn stop(&self, id: &str, grace_ms: u64) -> Result<(), EngineError> {
        let attempt = Attempt::change(&format!("stop container {}", short(id)));
        plain(&attempt, id)?;
        let limit = Duration::from_millis(grace_ms).saturating_add(AFTER_GRACE);
        // No time of ours: the container's own grace period stands in its configuration.
        self.call(attempt, limit, |docker| async move {
            docker.stop_container(id, None::<StopContainerOptions>).await
        })
        .await
    }

    /// Thaws a container that somebody froze. One that is not frozen is no error.
    pub async fn unpause(&self, id: &str) -> Result<(), EngineError> {
        let attempt = Attempt::change(&format!("unpause container {}", short(id)));
        plain(&attempt, id)?;
        let answer = self
            .call(attempt, CHANGE, |docker| async move {
                docker.unpause_container(id).await
            })
            .await;
        match answer {
            Err(EngineError::Conflict { message, .. } | EngineError::Refused { message, .. })
                if message.contains("is not paused") =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// Removes what an engine crash has left half removed, by force: such a one runs no more. One that is gone, or being
    /// removed, is no error.
    pub async fn remove_dead(&self, id: &str) -> Result<(), EngineError> {
        self.remove_with(id, true).await
    }

    /// Removes a container that does not run. Anonymous volumes stay: an image may keep data in one, and nothing of ours
    /// deletes data unasked. One that is gone, or being removed, is no
    /// error; one that runs is a [`EngineError::Conflict`].
    pub async fn remove(&self, id: &str) -> Result<(), EngineError> {
        self.remove_with(id, false).await
    }

    async fn remove_with(&self, id: &str, force: bool) -> Result<(), EngineError> {
        let attempt = Attempt::change(&format!("remove container {}", short(id)));
        plain(&attempt, id)?;
        let options = RemoveContainerOptions {
            v: false,
            force,
            ..RemoveContainerOptions::default()
        };
        let answer = self
            .call(attempt, CHANGE, |docker| async move {
                docker.remove_container(id, Some(options)).await
            })
            .await;
        match answer {
            Err(EngineError::NotFound { .. }) => Ok(()),
            Err(EngineError::Conflict { message, .. }) if message.contains("already in progress") => Ok(()),
            other => other,
        }
    }
}

/// What people see of an id.
pub(super) fn short(id: &str) -> &str {
    id.get(..12).filter(|_| id.len() == 64).unwrap_or(id)
}

/// A name goes into a path: what no engine would accept as a name must not become another path.
pub(super) fn plain(attempt: &Attempt, name: &str) -> Result<(), EngineError> {
    let good = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    good.then_some(()).ok_or_else(|| EngineError::Refused {
        what: attempt.what.clone(),
        status: 400,
        message: format!(
            "`{}` is no name or id of an engine's object",
            crate::text::Safe::new(name)
        ),
    })
}
