//! What an `apply` without a daemon leaves when it found nothing to do: what it had read, and what it said. As long as all
//! of that is as it was, the next one would find the same, and need not read, render and compare it again. It still asks
//! the engine for its three lists, so that whatever drifted is found.
//!
//! It is no more than a cache: what cannot be told, is too young to tell, or changed meanwhile makes a whole pass.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::status::Status;
use super::{Controller, ControllerError, Request};
use crate::digest::Digest;
use crate::engine::Engine;
use crate::git::Repo;
use crate::plan::seen::{Observation, SeenContainer};
use crate::render::object::HealthSource;
use crate::store::seal::{TELLS_AFTER, at_rest, stamp};

/// After this time a whole pass is made, whatever was left: should anything decide that is not looked at here, it waits no
/// longer.
const HOLDS_FOR: SignedDuration = SignedDuration::from_hours(1);

/// Where the refs lie that keep what runs, below what is kept.
const KEPT: &str = "refs/ringfence";

/// Where a pass reads what it reads on this host.
pub struct Place {
    /// The repository.
    pub repo: Repo,
    /// Its control branch.
    pub control_branch: String,
    /// The state directory.
    pub state: PathBuf,
    /// The ledger's file.
    pub ledger: PathBuf,
    /// What is kept of the repository.
    pub kept: PathBuf,
    /// Who we are to the engine.
    pub holder: String,
    /// The engine's address.
    pub engine: String,
}

/// What the last process left, and what this one may leave.
pub struct Quiet {
    place: Place,
    /// What was read on this host before anything was done, as one digest; none: it cannot be told.
    before: Option<String>,
}

/// What was left.
#[derive(Serialize, Deserialize)]
struct Left {
    host: String,
    engine: String,
    api: String,
    at: Timestamp,
    until: Timestamp,
    status: Status,
}

/// A look at the engine that was made before a pass, which goes on with it.
pub struct FirstLook {
    /// What was seen.
    pub seen: Observation,
    /// When it was begun.
    pub at: Timestamp,
}

/// What can be said before a pass.
pub enum Found {
    /// Nothing.
    Nothing,
    /// All of the host is as it was left, and something of the engine is not.
    Look(Box<FirstLook>),
    /// All is as it was left: what the last pass said holds.
    Same(Box<Status>),
}

impl Quiet {
    /// For a plain `apply` of everything; none for one that asks for more or for less.
    pub fn of(place: Place, request: &Request) -> Option<Self> {
        let plain = Request {
            person: request.person,
            ..Request::default()
        };
        (*request == plain).then(|| Self {
            before: place.words(),
            place,
        })
    }

    /// Whether all is as the last process left it.
    ///
    /// # Errors
    /// The engine's, where it was asked.
    pub async fn found(&self, engine: &Engine) -> Result<Found, ControllerError> {
        let now = Timestamp::now();
        let text = fs::read(self.place.file()).ok();
        let left: Option<Left> = text.and_then(|text| serde_json::from_slice(&text).ok());
        let Some(left) = left.filter(|left| left.holds(self.before.as_deref(), now)) else {
            return Ok(Found::Nothing);
        };
        engine.resume(&left.api).await;
        let seen = engine.observe().await?;
        if of_engine(&seen) != Some(left.engine) {
            return Ok(Found::Look(Box::new(FirstLook { seen, at: now })));
        }
        let at = Timestamp::now().to_string();
        Ok(Found::Same(Box::new(Status { at, ..left.status })))
    }

    /// Leaves what was found, if nothing on this host has changed since before the pass.
    fn leave(&self, seen: &Observation, api: &str, until: Timestamp, status: &Status) {
        let Some(host) = self.place.words().filter(|now| self.before.as_ref() == Some(now)) else {
            return;
        };
        let Some(engine) = of_engine(seen) else { return };
        let left = Left {
            host,
            engine,
            api: api.to_owned(),
            at: Timestamp::now(),
            until,
            status: status.clone(),
        };
        // Where it cannot be written, the next process makes a whole pass.
        let _ = serde_json::to_vec(&left).map(|text| self.place.write(&text));
    }
}

impl Left {
    fn holds(&self, host: Option<&str>, now: Timestamp) -> bool {
        host == Some(self.host.as_str()) && self.at <= now && now < self.until
    }
}

impl Place {
    fn file(&self) -> PathBuf {
        self.state.join("quiet.json")
    }

    fn write(&self, text: &[u8]) -> std::io::Result<()> {
        use std::io::Write as _;
        let new = self.state.join("quiet.json.new");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(text)?;
        fs::rename(new, self.file())
    }

    /// All that a pass reads on this host, as one digest. None: some of it cannot be told, or is too young to tell.
    fn words(&self) -> Option<String> {
        let mut words = String::with_capacity(4096);
        // What decides is this program; another build may render another way.
        let program = fs::metadata(std::env::current_exe().ok()?).ok()?;
        let kept = fs::metadata(self.kept.join("HEAD")).ok()?;
        let _ = writeln!(
            words,
            "{} {}\n{} {} {}\n{}\n{}",
            stamp(&program),
            rustix::process::geteuid().as_raw(),
            self.holder,
            self.control_branch,
            self.engine,
            stamp(&kept),
            at_rest(&self.ledger)?
        );
        for (name, commit) in self.repo.branches().ok()? {
            let _ = writeln!(words, "{name} {commit}");
        }
        written(&self.kept.join(KEPT), 2, &mut words)?;
        let files = self.state.join("files");
        written(&files.join("live"), 1, &mut words)?;
        there(&files.join("content"), &mut words)?;
        Some(Digest::of_bytes(words.as_bytes()).hex())
    }
}

/// The stamps of all that is in a folder, and in those in it. A folder that is not there is empty.
fn written(folder: &Path, deep: u8, words: &mut String) -> Option<()> {
    for (path, meta) in entries(folder)? {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(meta.ctime()).ok()?);
        // One in the future tells nothing.
        SystemTime::now()
            .duration_since(at)
            .ok()
            .filter(|age| *age > TELLS_AFTER)?;
        let _ = writeln!(words, "{} {}", path.display(), stamp(&meta));
        if meta.is_dir() && deep > 0 {
            written(&path, deep - 1, words)?;
        }
    }
    Some(())
}

/// Which folders there are: those of content are named by it.
fn there(folder: &Path, words: &mut String) -> Option<()> {
    for (path, meta) in entries(folder)? {
        let _ = writeln!(words, "{} {}", path.display(), meta.ino());
    }
    Some(())
}

fn entries(folder: &Path) -> Option<BTreeMap<PathBuf, Metadata>> {
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Some(BTreeMap::new()),
        listed => listed.ok()?,
    };
    listed
        .map(|entry| {
            let entry = entry.ok()?;
            Some((entry.path(), entry.metadata().ok()?))
        })
        .collect()
}

/// What a look shows, as one digest. The engine's lists come in any order.
fn of_engine(seen: &Observation) -> Option<String> {
    let Observation {
        containers,
        networks,
        volumes,
    } = seen;
    let mut containers: Vec<&SeenContainer> = containers.iter().collect();
    containers.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let mut networks: Vec<_> = networks.iter().collect();
    networks.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let mut volumes: Vec<_> = volumes.iter().collect();
    volumes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let text = serde_json::to_vec(&(containers, networks, volumes)).ok()?;
    Some(Digest::of_bytes(&text).hex())
}

impl Controller {
    /// A look that was made already is the first pass's, and what it finds may be left to the next process.
    pub fn goes_on(&mut self, look: Option<Box<FirstLook>>, quiet: Option<Quiet>) {
        self.parts.first_look = look;
        self.parts.quiet = quiet.map(Box::new);
    }

    /// Leaves the last pass to the next process, if there was nothing to do and nothing is left that a pass would find out
    /// anew.
    pub(super) async fn leave_quiet(&mut self) {
        let Some(quiet) = self.parts.quiet.take() else {
            return;
        };
        let status = self.status.borrow().clone();
        let now = Timestamp::now();
        if let Some(until) = self.rests_until(&status, now)
            && let Some(api) = self.parts.engine.api().await
        {
            for container in &mut self.last.seen.containers {
                container.details = None;
            }
            quiet.leave(&self.last.seen, &api, until, &status);
        }
    }

    /// None: something is under way, waits, is asked of the network in each pass, or counts by the time that was watched.
    fn rests_until(&self, status: &Status, now: Timestamp) -> Option<Timestamp> {
        let last = &self.last;
        let asks = self.images.is_asking() || self.checks.is_asking();
        let mut services = last.wanted.services.values();
        let probes = services.any(|s| matches!(s.health, HealthSource::Probe(_)));
        let counts = self.observed_at.is_some() || self.soaked_at.is_some() || !self.soaks.is_empty();
        let known = self.unmatched.is_empty() && last.plan.unknown.is_empty();
        if !last.plan.is_empty() || asks || probes || counts || !known || !status.rests(&last.plan.notes) {
            return None;
        }
        let turns = [
            last.look_at,
            last.decision.next_turn(now),
            self.backoff.next(now),
            self.images.retry_at(now),
            now.checked_add(HOLDS_FOR).ok(),
        ];
        turns.into_iter().flatten().min()
    }
}

impl Status {
    /// Whether nothing in it may be different in the next pass by itself. `notes` are told of a plan whatever happens.
    fn rests(&self, notes: &[String]) -> bool {
        let at_rest = |phase: &str| matches!(phase, "synced" | "empty");
        let ring = |r: &super::status::RingStatus| {
            at_rest(&r.phase) && !r.held && r.moves.is_empty() && r.conditions.is_empty()
        };
        let service = |s: &super::status::ServiceStatus| {
            s.doing.is_none() && s.error.is_none() && s.health != "starting"
        };
        let tenant = |t: &super::status::TenantStatus| {
            at_rest(&t.phase) && t.conditions.is_empty() && t.services.iter().all(service)
        };
        self.settled
            && !self.failed
            && self.conditions.iter().all(|c| notes.contains(c))
            && self.rings.iter().all(ring)
            && self.tenants.iter().all(tenant)
            && self.shared.iter().all(service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::fixture::Fixture;
    use crate::plan::seen::{SeenNetwork, SeenVolume};

    #[test]
    fn a_file_that_was_written_just_now_tells_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut words = String::new();
        assert!(written(dir.path(), 1, &mut words).is_some(), "none has changed");
        assert!(written(&dir.path().join("none"), 1, &mut words).is_some());
        fs::create_dir(dir.path().join("acme")).unwrap();
        fs::write(dir.path().join("acme/context.json"), "{}").unwrap();
        assert!(written(dir.path(), 1, &mut words).is_none());
    }

    #[test]
    fn what_changed_while_a_pass_was_made_is_not_what_it_saw() {
        let f = Fixture::new();
        f.commit("ringfence.yaml", "fleet: a\n");
        let state = tempfile::tempdir().unwrap();
        let ledger = state.path().join("ledger.sqlite");
        fs::write(&ledger, "x").unwrap();
        let hour = SystemTime::now() - Duration::from_secs(3600);
        let file = fs::File::options().write(true).open(&ledger).unwrap();
        file.set_modified(hour).unwrap();
        let place = || Place {
            repo: f.repo(),
            control_branch: "main".to_owned(),
            state: state.path().to_owned(),
            ledger: ledger.clone(),
            kept: f.dir().join(".git"),
            holder: "0".repeat(32),
            engine: "unix:///none".to_owned(),
        };
        let quiet = Quiet::of(place(), &Request::default()).unwrap();
        assert!(quiet.before.is_some());
        let leave = |quiet: &Quiet| {
            quiet.leave(
                &Observation::default(),
                "1.41",
                Timestamp::MAX,
                &Status::default(),
            );
        };
        f.commit("ringfence.yaml", "fleet: b\n");
        leave(&quiet);
        assert!(!place().file().exists());
        leave(&Quiet::of(place(), &Request::default()).unwrap());
        assert!(place().file().exists());
    }

    #[test]
    fn the_order_of_the_engines_lists_says_nothing() {
        let network = |id: &str| SeenNetwork {
            id: id.to_owned(),
            name: "n".to_owned(),
            ours: true,
            owner: None,
            subnets: Vec::new(),
        };
        let volume = |name: &str| SeenVolume {
            name: name.to_owned(),
            labels: BTreeMap::new(),
        };
        let mut seen = Observation {
            containers: Vec::new(),
            networks: vec![network("a"), network("b")],
            volumes: vec![volume("a"), volume("b")],
        };
        let before = of_engine(&seen).unwrap();
        seen.networks.reverse();
        seen.volumes.reverse();
        assert_eq!(of_engine(&seen), Some(before.clone()));
        seen.volumes.pop();
        assert_ne!(of_engine(&seen), Some(before));
    }
}
