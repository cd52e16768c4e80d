//! `ringfence logs`.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use futures_util::{StreamExt as _, stream};

use super::error::CliError;
use super::out::Out;
use super::{Global, complete};
use crate::fleet::names::Owner;
use crate::text::Safe;

/// A tenant's logs, each line with the container's name in front where there are several.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence logs acme               all services of a tenant
  ringfence logs acme/web -f        one, as it goes on
  ringfence logs fleet/cache -n 20  one of the fleet's own")]
pub(crate) struct Logs {
    /// `TENANT`, `TENANT/SERVICE`, or `fleet/SERVICE` for one of the fleet's own.
    #[arg(value_name = "TENANT[/SERVICE]", add = ArgValueCandidates::new(complete::services))]
    what: String,
    /// Go on as lines come.
    #[arg(short = 'f', long)]
    follow: bool,
    /// Only the last lines of each.
    #[arg(short = 'n', long, default_value_t = 100)]
    tail: usize,
}

impl Logs {
    pub(crate) async fn run(&self, global: &Global) -> Result<u8, CliError> {
        let fleet = global.fleet()?;
        let engine = fleet.engine()?;
        let (owner, service) = match self.what.split_once('/') {
            Some((owner, service)) => (owner, Some(service)),
            None => (self.what.as_str(), None),
        };
        let owner = match owner {
            "fleet" => Owner::Fleet,
            slug => Owner::Tenant(slug.parse().map_err(CliError::usage)?),
        };
        let seen = engine.observe().await?;
        let mut containers: Vec<_> = seen
            .containers
            .into_iter()
            .filter(|c| {
                c.owner.as_ref() == Some(&owner) && service.is_none_or(|s| c.service.as_deref() == Some(s))
            })
            .collect();
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        if containers.is_empty() {
            return Err(CliError::new(format!("{} has no containers", self.what))
                .hint("`ringfence status` shows what runs"));
        }
        let width = containers
            .iter()
            .map(|c| c.name.chars().count())
            .max()
            .unwrap_or(0);
        let several = containers.len() > 1;
        let streams = containers.into_iter().map(|c| {
            let name = c.name;
            Box::pin(
                engine
                    .logs(&c.id, Some(self.tail), self.follow)
                    .map(move |line| (name.clone(), line)),
            )
        });
        // Without following, one container after the other reads better; followed, they come as they are written.
        let mut lines: std::pin::Pin<Box<dyn stream::Stream<Item = _> + Send>> = if self.follow {
            Box::pin(stream::select_all(streams))
        } else {
            Box::pin(stream::iter(streams).flatten())
        };
        while let Some((name, line)) = lines.next().await {
            let text = Safe::new(&line?.text).to_string();
            Out::print(&if several {
                format!("{name:width$}  {text}\n")
            } else {
                format!("{text}\n")
            });
        }
        Ok(0)
    }
}
