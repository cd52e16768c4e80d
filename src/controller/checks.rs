//! Asks the checks that rings make of a release, in the ring before. A pass never waits for them: what they say is there
//! when it comes, and wakes the loop.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::run::Wake;
use super::{Controller, ControllerError};
use crate::decide::gate::Answer;
use crate::decide::{Checked, Task};
use crate::digest::Digest;
use crate::engine::Engine;
use crate::fleet::Policy;
use crate::fleet::names::{Owner, ReleaseId, RingName, ServiceKey};
use crate::fleet::rings::{Check, CheckKind, Ring};
use crate::plan::seen::State;
use crate::store::Store;
use crate::text::Safe;

/// Where the store has what passed.
const KEPT: &str = "checks";
/// So many tenants are asked at once …
const AT_ONCE: usize = 8;
/// … and so many are named in one answer.
const NAMED: usize = 3;

/// One check of one ring.
type Name = (RingName, String);

/// What the checks said and what is being asked.
pub(super) struct Checks {
    asking: BTreeMap<Name, (Job, AbortHandle)>,
    answers: Arc<Mutex<BTreeMap<Name, Said>>>,
    wake: mpsc::UnboundedSender<Wake>,
}

/// What is asked of whom.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Job {
    release: ReleaseId,
    from: RingName,
    check: Check,
    of: Vec<Target>,
    /// No probe from this host reaches a container.
    blind: bool,
}

/// A tenant's container that runs the release.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    tenant: String,
    /// None: nothing runs.
    container: Option<(String, Option<IpAddr>)>,
}

/// What a check said of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Said {
    release: ReleaseId,
    check: Digest,
    answer: Answer,
    evidence: String,
}

impl Checks {
    /// Nothing is asked yet; what passed under the process before this one has passed.
    pub(super) fn kept(store: &Store, wake: mpsc::UnboundedSender<Wake>) -> Self {
        let kept = store.meta(KEPT).ok().flatten();
        let kept = kept.and_then(|kept| serde_json::from_str::<Vec<(Name, Said)>>(&kept).ok());
        Self {
            asking: BTreeMap::new(),
            answers: Arc::new(Mutex::new(kept.into_iter().flatten().collect())),
            wake,
        }
    }

    /// What the checks of a ring have said.
    pub(super) fn of(&self, ring: &Ring) -> BTreeMap<String, Checked> {
        let answers = lock(&self.answers);
        let said = ring.checks.iter().filter_map(|check| {
            let said = answers.get(&(ring.name.clone(), check.name.clone()))?;
            (said.check == digest(check)).then(|| {
                let checked = Checked {
                    release: said.release,
                    answer: said.answer,
                    evidence: said.evidence.clone(),
                };
                (check.name.clone(), checked)
            })
        });
        said.collect()
    }

    /// Whether a check has been asked and has not said anything yet.
    pub(super) fn is_asking(&self) -> bool {
        let answers = lock(&self.answers);
        self.asking
            .iter()
            .any(|(name, (job, _))| answers.get(name).is_none_or(|said| !job.is_about(said)))
    }

    /// Asks exactly these. One that has passed stays so for its release.
    fn follow(&mut self, jobs: BTreeMap<Name, Job>, engine: &Engine) {
        let stale: Vec<Name> = self
            .asking
            .iter()
            .filter(|(name, (job, _))| jobs.get(*name) != Some(job))
            .map(|(name, _)| name.clone())
            .collect();
        for name in stale {
            if let Some((_, task)) = self.asking.remove(&name) {
                task.abort();
            }
        }
        for (name, job) in jobs {
            let passed = |said: &Said| job.is_about(said) && said.answer == Answer::Pass;
            if self.asking.contains_key(&name) || lock(&self.answers).get(&name).is_some_and(passed) {
                continue;
            }
            let answers = Arc::clone(&self.answers);
            let task = ask(
                name.clone(),
                job.clone(),
                engine.clone(),
                answers,
                self.wake.clone(),
            );
            self.asking.insert(name, (job, tokio::spawn(task).abort_handle()));
        }
    }

    /// What has passed, for the next process.
    fn passed(&self) -> Vec<(Name, Said)> {
        let answers = lock(&self.answers);
        let passed = answers.iter().filter(|(_, said)| said.answer == Answer::Pass);
        passed.map(|(name, said)| (name.clone(), said.clone())).collect()
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        for (_, task) in self.asking.values() {
            task.abort();
        }
    }
}

fn lock(answers: &Mutex<BTreeMap<Name, Said>>) -> std::sync::MutexGuard<'_, BTreeMap<Name, Said>> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}

fn digest(check: &Check) -> Digest {
    Digest::of("check", check)
}

impl Controller {
    /// Asks the checks of every ring whose move waits for them, of what the last look found in the ring before.
    pub(super) fn ask_checks(&mut self, policy: &Policy) -> Result<(), ControllerError> {
        let mut jobs = BTreeMap::new();
        for ring in policy.rings.0.iter().filter(|r| !r.checks.is_empty()) {
            let Some((release, from)) = self.unchecked(ring) else {
                continue;
            };
            for check in &ring.checks {
                let job = Job {
                    release,
                    from: from.clone(),
                    check: check.clone(),
                    of: self.targets(from, release, check),
                    blind: self.probes.blind,
                };
                jobs.insert((ring.name.clone(), check.name.clone()), job);
            }
        }
        self.checks.follow(jobs, &self.parts.engine);
        let passed = self.checks.passed();
        if let (false, Ok(passed)) = (passed.is_empty(), serde_json::to_string(&passed)) {
            self.parts.store.set_meta(KEPT, &passed)?;
        }
        Ok(())
    }

    /// The release that a ring's checks have not let pass.
    fn unchecked<'a>(&self, ring: &'a Ring) -> Option<(ReleaseId, &'a RingName)> {
        let decided = self.last.decision.ring(&ring.name)?;
        let waits = decided.moves.iter().find(|m| {
            let checks = m.gates.iter().find(|g| g.name == "checks");
            checks.is_some_and(|g| g.state != Answer::Pass)
        })?;
        Some((waits.to?.release()?, ring.promote_from.as_ref()?))
    }

    /// The containers of a ring's tenants that run a release, for a check of one of their services.
    fn targets(&self, from: &RingName, release: ReleaseId, check: &Check) -> Vec<Target> {
        let containers = self.last.seen.by_service();
        let tenants = self.last.decision.tenants.values();
        let on_it = tenants
            .filter(|t| t.ring == *from && t.task == Task::Run && !t.held && t.release == Some(release));
        let targets = on_it.filter_map(|tenant| {
            let key = ServiceKey {
                owner: Owner::Tenant(tenant.slug.clone()),
                service: check.service.clone(),
            };
            let object = self.last.wanted.services.get(&key)?;
            let own = containers.get(&(&key.owner, key.service.as_str()));
            let runs = own
                .into_iter()
                .flatten()
                .find(|c| c.state == State::Running && c.spec == Some(object.hash));
            let container = runs.map(|c| {
                let addresses = c.details.as_ref().map(|d| &d.addresses);
                let address = addresses.and_then(|a| a.get(&object.home_network)?.parse().ok());
                (c.id.clone(), address)
            });
            Some(Target {
                tenant: tenant.slug.to_string(),
                container,
            })
        });
        targets.collect()
    }
}

impl Job {
    fn is_about(&self, said: &Said) -> bool {
        said.release == self.release && said.check == digest(&self.check)
    }

    /// All who run the release, and what that means.
    async fn said(&self, engine: &Engine) -> (Answer, String) {
        if self.of.is_empty() {
            let text = format!(
                "no tenant of ring {} runs {} of {}",
                self.from,
                Safe::new(&self.check.service),
                self.release
            );
            return (Answer::Unknown, text);
        }
        let mut answers = Vec::new();
        for some in self.of.chunks(AT_ONCE) {
            let said = some.iter().map(|target| self.one(engine, target));
            let said = futures_util::future::join_all(said).await;
            answers.extend(some.iter().map(|target| &target.tenant).zip(said));
        }
        let of = |answer| {
            let with = answers.iter().filter(move |(_, (a, _))| *a == answer);
            with.map(|(tenant, (_, why))| (tenant.as_str(), why.as_str()))
                .collect::<Vec<_>>()
        };
        let (failed, unknown) = (of(Answer::Fail), of(Answer::Unknown));
        let passed = answers.len() - failed.len() - unknown.len();
        let mut evidence = format!("{passed} of {} passed in ring {}", answers.len(), self.from);
        for (tenant, why) in failed.iter().chain(&unknown).take(NAMED) {
            evidence += &format!("; {tenant}: {}", Safe::new(why));
        }
        let more = (failed.len() + unknown.len()).saturating_sub(NAMED);
        if more > 0 {
            evidence += &format!("; and {more} more");
        }
        let answer = match (failed.is_empty(), unknown.is_empty()) {
            (false, _) => Answer::Fail,
            (true, false) => Answer::Unknown,
            (true, true) => Answer::Pass,
        };
        (answer, evidence)
    }

    async fn one(&self, engine: &Engine, target: &Target) -> (Answer, String) {
        let Some((id, address)) = &target.container else {
            return (Answer::Unknown, "no container of it runs".to_owned());
        };
        let limit = Duration::from_millis(self.check.timeout_ms);
        let looked = match (&self.check.kind, address) {
            (CheckKind::Exec { command }, _) => return exec(engine, id, command, limit).await,
            _ if self.blind => {
                let text = "no request from this host reaches a container of a rootless engine";
                return (Answer::Unknown, text.to_owned());
            }
            (_, None) => {
                let text = "its container has no address in its network yet";
                return (Answer::Unknown, text.to_owned());
            }
            (CheckKind::Tcp { port }, Some(address)) => {
                crate::probe::take(SocketAddr::new(*address, *port), limit).await
            }
            (
                CheckKind::Http {
                    port,
                    path,
                    names_release,
                },
                Some(address),
            ) => {
                let name = names_release.then(|| self.release.to_string());
                let address = SocketAddr::new(*address, *port);
                crate::probe::answers(address, path, name.as_deref(), limit).await
            }
        };
        looked.map_or_else(|why| (Answer::Fail, why), |()| (Answer::Pass, String::new()))
    }
}

/// What the command writes is its own: only how it ended is told.
async fn exec(engine: &Engine, id: &str, command: &[String], limit: Duration) -> (Answer, String) {
    match engine.exec(id, command, limit).await {
        Ok(Some(0)) => (Answer::Pass, String::new()),
        Ok(Some(code)) => (Answer::Fail, format!("the command ended with exit code {code}")),
        Ok(None) => {
            let text = format!("the command had not ended after {} ms", limit.as_millis());
            (Answer::Fail, text)
        }
        Err(error) => (Answer::Unknown, error.to_string()),
    }
}

/// Asks again until it has passed.
async fn ask(
    name: Name,
    job: Job,
    engine: Engine,
    answers: Arc<Mutex<BTreeMap<Name, Said>>>,
    wake: mpsc::UnboundedSender<Wake>,
) {
    loop {
        let (answer, evidence) = job.said(&engine).await;
        let said = Said {
            release: job.release,
            check: digest(&job.check),
            answer,
            evidence,
        };
        let before = lock(&answers).insert(name.clone(), said.clone());
        if before.as_ref() != Some(&said) && wake.send(Wake::Again).is_err() || answer == Answer::Pass {
            return;
        }
        tokio::time::sleep(Duration::from_millis(job.check.interval_ms)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn release() -> ReleaseId {
        ReleaseId(Digest::of("release", &1))
    }

    fn job(kind: CheckKind, of: Vec<Target>) -> Job {
        Job {
            release: release(),
            from: "dev".parse().unwrap(),
            check: Check {
                name: "answers".to_owned(),
                service: "web".to_owned(),
                kind,
                timeout_ms: 5000,
                interval_ms: 1,
            },
            of,
            blind: false,
        }
    }

    fn at(tenant: &str, address: Option<SocketAddr>) -> Target {
        Target {
            tenant: tenant.to_owned(),
            container: Some(("0123456789ab".to_owned(), address.map(|a| a.ip()))),
        }
    }

    fn engine() -> Engine {
        let nowhere = "unix:///nowhere/engine.sock";
        Engine::new(nowhere, "test-one".parse().unwrap(), "f".to_owned(), "/f".into()).unwrap()
    }

    /// Answers every request with a body.
    async fn server(body: String) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 1024];
                let _ = stream.read(&mut head).await;
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        address
    }

    fn http(port: u16, names_release: bool) -> CheckKind {
        CheckKind::Http {
            port,
            path: "/version".to_owned(),
            names_release,
        }
    }

    #[tokio::test]
    async fn where_nothing_runs_the_answer_is_unknown_and_says_so() {
        let (answer, why) = job(http(80, false), Vec::new()).said(&engine()).await;
        assert_eq!(answer, Answer::Unknown);
        assert_eq!(why, format!("no tenant of ring dev runs web of {}", release()));
        let gone = Target {
            tenant: "acme".to_owned(),
            container: None,
        };
        let (answer, why) = job(http(80, false), vec![gone]).said(&engine()).await;
        assert_eq!(answer, Answer::Unknown);
        assert!(why.contains("acme: no container of it runs"), "{why}");
    }

    #[tokio::test]
    async fn all_tenants_must_pass_and_few_are_named() {
        let address = server(format!("{} is here", release())).await;
        let good = || at("acme", Some(address));
        let one = job(http(address.port(), true), vec![good()]);
        let said = one.said(&engine()).await;
        assert_eq!(said, (Answer::Pass, "1 of 1 passed in ring dev".to_owned()));
        let mut of = vec![good()];
        of.extend(["b", "c", "d", "e", "f"].map(|tenant| at(tenant, None)));
        let (answer, why) = job(http(address.port(), true), of).said(&engine()).await;
        assert_eq!(answer, Answer::Unknown);
        assert!(
            why.starts_with("1 of 6 passed in ring dev; b: its container"),
            "{why}"
        );
        assert!(why.ends_with("; and 2 more"), "{why}");
    }

    #[tokio::test]
    async fn what_ran_before_does_not_answer_for_the_release() {
        let address = server("rel-00000000 is here".to_owned()).await;
        let of = vec![at("acme", Some(address)), at("beta", None)];
        let port = address.port();
        let (answer, why) = job(http(port, true), of.clone()).said(&engine()).await;
        assert_eq!(answer, Answer::Fail, "a failure outweighs what is not known");
        assert!(why.contains("does not name"), "{why}");
        assert!(!why.contains("is here"), "what it answered is its own: {why}");
        let said = job(http(port, false), vec![of[0].clone()]).said(&engine()).await;
        assert_eq!(said.0, Answer::Pass);
    }

    #[tokio::test]
    async fn from_a_host_that_reaches_no_container_nothing_is_known() {
        let mut job = job(CheckKind::Tcp { port: 1 }, vec![at("acme", None)]);
        job.blind = true;
        let (answer, why) = job.said(&engine()).await;
        assert_eq!(answer, Answer::Unknown);
        assert!(why.contains("rootless"), "{why}");
    }

    #[tokio::test]
    async fn an_engine_that_does_not_answer_says_nothing_of_the_release() {
        let command = vec!["/app".to_owned()];
        let job = job(CheckKind::Exec { command }, vec![at("acme", None)]);
        assert_eq!(job.said(&engine()).await.0, Answer::Unknown);
    }

    #[tokio::test]
    async fn it_is_asked_until_it_passes_and_then_stays_so() {
        let (wake, mut wakes) = mpsc::unbounded_channel();
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("ledger.sqlite")).unwrap();
        let mut checks = Checks::kept(&store, wake.clone());
        let name: Name = ("prod".parse().unwrap(), "answers".to_owned());
        let address = server(String::new()).await;
        let waits = job(http(address.port(), false), vec![at("acme", None)]);
        let jobs = |job: &Job| BTreeMap::from([(name.clone(), job.clone())]);
        checks.follow(jobs(&waits), &engine());
        assert!(checks.is_asking());
        wakes.recv().await.unwrap();
        assert!(!checks.is_asking(), "it has said something");
        assert!(checks.passed().is_empty());
        let good = job(http(address.port(), false), vec![at("acme", Some(address))]);
        checks.follow(jobs(&good), &engine());
        wakes.recv().await.unwrap();
        let passed = checks.passed();
        assert_eq!(passed[0].1.answer, Answer::Pass);
        // Nobody is asked again, not even by the next process.
        store
            .set_meta(KEPT, &serde_json::to_string(&passed).unwrap())
            .unwrap();
        let mut checks = Checks::kept(&store, wake);
        checks.follow(jobs(&waits), &engine());
        assert!(checks.asking.is_empty());
        // Of another release it says nothing.
        let mut other = waits;
        other.release = ReleaseId(Digest::of("release", &2));
        checks.follow(jobs(&other), &engine());
        assert!(checks.is_asking());
    }
}
