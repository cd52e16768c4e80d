//! Commands in containers.

use std::time::Duration;

use bollard::exec::{CreateExecOptions, StartExecOptions};

use super::containers::{plain, short};
use super::error::{Attempt, EngineError};
use super::{CHANGE, Engine, READ};

/// So often it is asked whether a command has ended: at first, and at most.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LATEST_LOOK: Duration = Duration::from_millis(500);

impl Engine {
    /// Runs a command in a container and gives its exit code; none: it had not ended after `within` (the engine cannot end
    /// it, so it goes on). What it writes is not read.
    pub async fn exec(
        &self,
        id: &str,
        command: &[String],
        within: Duration,
    ) -> Result<Option<i64>, EngineError> {
        let attempt = Attempt::change(&format!("run a command in container {}", short(id)));
        plain(&attempt, id)?;
        let options = CreateExecOptions {
            cmd: Some(command.to_vec()),
            ..CreateExecOptions::default()
        };
        let made = self
            .call(attempt.clone(), CHANGE, |docker| async move {
                docker.create_exec(id, options).await
            })
            .await?;
        let detached = StartExecOptions {
            detach: true,
            ..StartExecOptions::default()
        };
        let exec = made.id.as_str();
        self.call(attempt.clone(), CHANGE, |docker| async move {
            docker.start_exec(exec, Some(detached)).await.map(drop)
        })
        .await?;
        let end = tokio::time::Instant::now() + within;
        let mut pause = FIRST_LOOK;
        loop {
            let seen = self
                .call(attempt.clone(), READ, |docker| async move {
                    docker.inspect_exec(exec).await
                })
                .await?;
            if seen.running == Some(false)
                && let Some(code) = seen.exit_code
            {
                return Ok(Some(code));
            }
            let now = tokio::time::Instant::now();
            if now >= end {
                return Ok(None);
            }
            tokio::time::sleep_until(end.min(now + pause)).await;
            pause = (pause * 2).min(LATEST_LOOK);
        }
    }
}
