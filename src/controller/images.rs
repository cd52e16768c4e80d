//! Image sets: each image of a content is resolved once, and what it was resolved to is part of the release.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use super::clock::moved;
use super::run::Wake;
use crate::decide::facts::Facts;
use crate::engine::{Engine, EngineError};
use crate::fleet::Base;
use crate::fleet::compose::service::PullPolicy;
use crate::fleet::names::{CommitId, ContentId, RingName};
use crate::fleet::release::Release;
use crate::render::repository;
use crate::store::{Store, StoreError};

/// How long a failed resolution is kept before it is tried again.
const RETRY: SignedDuration = SignedDuration::from_secs(30);
/// A pass waits so long for an answer that is as good as there.
const MOMENT: Duration = Duration::from_millis(500);
/// A verb that only looks waits longer: no later pass would bring the answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where the store has the images that are kept.
const KEPT: &str = "images.kept";
/// What a ring says meanwhile.
const ASKING: &str = "its images are being asked for";

/// What came of asking for a content's images; none: still asking.
type Answer = Option<(Result<BTreeMap<String, String>, String>, Timestamp)>;

/// The release of a content that the ledger knows. One content can have several, with other images: what counts is the one
/// that runs, or that last succeeded, in the ring where it was proven (DESIGN 3).
pub fn known<'f>(facts: &'f Facts, proven_in: &RingName, content: ContentId) -> Option<&'f Release> {
    let there = facts.ring(proven_in);
    let of_content = facts.releases.values().filter(|r| r.content == content);
    of_content.max_by_key(|release| {
        let succeeded = there.proofs.get(&release.id).and_then(|proof| proof.succeeded);
        (there.running == Some(release.id), succeeded)
    })
}

/// Resolves contents to releases and remembers what could not be resolved.
pub struct Images {
    answers: Arc<Mutex<HashMap<ContentId, Answer>>>,
    /// Contents that this pass asked for: the others are forgotten.
    asked: HashSet<ContentId>,
    /// Whether this pass decided while an answer was open: it may have come since, and another pass takes it.
    open: bool,
    /// The images that are kept, as they were last seen to be tagged; none: not looked at yet.
    kept: Option<BTreeSet<String>>,
    wake: mpsc::UnboundedSender<Wake>,
}

impl Images {
    /// Nothing resolved yet; an answer wakes the loop.
    pub fn new(wake: mpsc::UnboundedSender<Wake>) -> Self {
        Self {
            answers: Arc::default(),
            asked: HashSet::new(),
            open: false,
            kept: None,
            wake,
        }
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<ContentId, Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pass begins: what the one before did not ask for is forgotten.
    pub fn begin_pass(&mut self) {
        self.open = false;
        let asked = std::mem::take(&mut self.asked);
        self.answers().retain(|content, _| asked.contains(content));
    }

    /// The release of a content, as `known` (see [`known`]) or as engine and registry say, which are asked beside the
    /// loop: a slow registry holds nobody up. `patient` waits for their answer.
    pub async fn release(
        &mut self,
        engine: &Engine,
        known: Option<&Release>,
        base: &Base,
        commit: &CommitId,
        patient: bool,
    ) -> Result<Release, String> {
        if let Some(known) = known {
            return Ok(known.clone());
        }
        self.asked.insert(base.content);
        let known = self.answers().get(&base.content).cloned();
        let now = Timestamp::now();
        let images = match known {
            Some(None) => return Err(self.asking()),
            Some(Some((Ok(images), _))) => images,
            Some(Some((Err(reason), at))) if now.duration_since(at) < RETRY => return Err(reason),
            _ => match self.ask(engine, base, patient).await {
                Some(answer) => answer?,
                None => return Err(self.asking()),
            },
        };
        Ok(Release::new(base.content, commit.clone(), images))
    }

    /// Adds the images of services that do not run to a release that was read back from those that do. One that cannot be
    /// had is left out: nothing needs it now.
    pub async fn complete(&self, engine: &Engine, base: &Base, release: &mut Release) {
        let mut images = release.images.clone();
        for declared in base.services.declared().values() {
            let name = &declared.image.value;
            if !images.contains_key(name)
                && let Ok(resolved) = one(engine, name, declared.pull).await
            {
                images.insert(name.clone(), resolved);
            }
        }
        *release = Release::new(release.content, release.commit.clone(), images);
    }

    /// Goes on from what the last process left: the images that were kept then are taken to be so still.
    pub fn resume(&mut self, store: &Store) {
        let kept = store.meta(KEPT).ok().flatten();
        self.kept = kept.and_then(|text| serde_json::from_str(&text).ok());
    }

    /// Leaves to the next process which images are kept.
    pub fn leave(&self, store: &Store) -> Result<(), StoreError> {
        let text = self
            .kept
            .as_ref()
            .and_then(|kept| serde_json::to_string(kept).ok());
        match text {
            Some(text) => store.set_meta(KEPT, &text),
            None => Ok(()),
        }
    }

    /// The tags that keep images are looked at again.
    pub fn look_again(&mut self) {
        self.kept = None;
    }

    /// Asks in a task of its own, and waits a moment for it: engines answer at once about images that they have.
    async fn ask(
        &self,
        engine: &Engine,
        base: &Base,
        patient: bool,
    ) -> Option<Result<BTreeMap<String, String>, String>> {
        self.answers().insert(base.content, None);
        let wanted: Vec<(String, String, PullPolicy)> = base
            .services
            .declared()
            .values()
            .map(|d| (d.name.clone(), d.image.value.clone(), d.pull))
            .collect();
        let (content, engine) = (base.content, engine.clone());
        let (answers, wake) = (Arc::clone(&self.answers), self.wake.clone());
        let task = tokio::spawn(async move {
            let answer = resolve(&engine, &wanted).await;
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(entry) = answers.get_mut(&content) {
                *entry = Some((answer.clone(), Timestamp::now()));
            }
            let _ = wake.send(Wake::Again);
            answer
        });
        let moment = if patient { PATIENCE } else { MOMENT };
        tokio::time::timeout(moment, task).await.ok()?.ok()
    }

    /// The clock was set.
    pub fn moved(&mut self, step: SignedDuration) {
        for (_, at) in self.answers().values_mut().flatten() {
            *at = moved(*at, step);
        }
    }

    fn asking(&mut self) -> String {
        self.open = true;
        ASKING.to_owned()
    }

    /// Whether something is being asked for, or was when this pass decided.
    pub fn is_asking(&self) -> bool {
        self.open || self.answers().values().any(Option::is_none)
    }

    /// Keeps by a tag of ours every image of a release that runs somewhere or could be gone back to, and lets go of the
    /// others where all that runs is known: what a lost ledger had kept may be what an unknown ring runs. Asks the engine
    /// only when what is needed has changed.
    pub async fn keep(&mut self, engine: &Engine, facts: &Facts, all_known: bool) -> Result<(), EngineError> {
        let needed: BTreeSet<String> = in_use(facts)
            .into_iter()
            .flat_map(|r| r.images.iter())
            .map(|(n, i)| reference(n, i))
            .collect();
        if self.kept.as_ref() == Some(&needed) {
            return Ok(());
        }
        let repo = format!("ringfence-kept/{}", engine.instance());
        let mut stale: BTreeSet<String> = engine.tags(&repo).await?.into_iter().collect();
        let mut all_there = true;
        for reference in &needed {
            // One that was not pulled yet is tagged once it is there.
            let Some(image) = engine.image(reference).await? else {
                all_there = false;
                continue;
            };
            let tag = image
                .id
                .trim_start_matches("sha256:")
                .chars()
                .take(16)
                .collect::<String>();
            if !stale.remove(&tag) {
                engine.tag(&image.id, &repo, &tag).await?;
            }
        }
        let settled = all_known || stale.is_empty();
        for tag in stale.into_iter().filter(|_| all_known) {
            engine.untag(&repo, &tag).await?;
        }
        self.kept = (all_there && settled).then_some(needed);
        Ok(())
    }

    /// When a failed resolution is tried again.
    pub fn retry_at(&self, now: Timestamp) -> Option<Timestamp> {
        let answers = self.answers();
        let failed = answers.values().flatten().filter(|(answer, _)| answer.is_err());
        failed
            .filter_map(|(_, at)| at.checked_add(RETRY).ok())
            .filter(|at| *at > now)
            .min()
    }

    /// Asks again at once (a person wants it).
    pub fn forget(&mut self) {
        self.answers().retain(|_, answer| answer.is_none());
    }
}

/// The releases that run, ran before, or are on their way, in any ring or tenant.
fn in_use(facts: &Facts) -> Vec<&Release> {
    let of_rings = facts
        .rings
        .values()
        .flat_map(|r| [r.running, r.previous, r.moving.as_ref().map(|m| m.to)])
        .flatten();
    let of_tenants = facts
        .tenants
        .values()
        .flat_map(|t| [t.good.as_ref(), t.asked.as_ref()])
        .flatten()
        .map(|(r, _)| *r);
    let ids: BTreeSet<_> = of_rings.chain(of_tenants).collect();
    ids.iter().filter_map(|id| facts.releases.get(id)).collect()
}

/// What the engine knows a resolved image by.
fn reference(name: &str, resolved: &str) -> String {
    match resolved.split_once(':') {
        Some(("id", id)) => id.to_owned(),
        Some(("digest", digest)) => format!("{}@{digest}", repository(name)),
        _ => resolved.to_owned(),
    }
}

async fn resolve(
    engine: &Engine,
    wanted: &[(String, String, PullPolicy)],
) -> Result<BTreeMap<String, String>, String> {
    let mut images = BTreeMap::new();
    for (service, name, pull) in wanted {
        if images.contains_key(name) {
            continue;
        }
        let resolved = one(engine, name, *pull)
            .await
            .map_err(|e| format!("image `{name}` of service `{service}` cannot be had: {e}"))?;
        images.insert(name.clone(), resolved);
    }
    Ok(images)
}

async fn one(engine: &Engine, name: &str, pull: PullPolicy) -> Result<String, EngineError> {
    if pull != PullPolicy::Always
        && let Some(image) = engine.image(name).await?
    {
        let digest = image.repo_digests.iter().find_map(|d| {
            d.split_once('@')
                .filter(|(repo, _)| same_repository(repo, name))
                .map(|(_, digest)| digest)
        });
        return Ok(match digest {
            Some(digest) => format!("digest:{digest}"),
            None => format!("id:{}", image.id),
        });
    }
    if pull == PullPolicy::Never {
        return Err(EngineError::ImageMissing {
            what: format!("use image {name}"),
            message: "`pull_policy: never`, and the engine does not have it".to_owned(),
        });
    }
    Ok(format!("digest:{}", engine.registry_digest(name).await?))
}

fn same_repository(repo: &str, name: &str) -> bool {
    repo == repository(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::facts::{Proof, RingFacts};
    use crate::digest::Digest;

    #[test]
    fn of_releases_with_one_content_that_counts_which_was_proven_there() {
        let content = ContentId(Digest::of("content", &1));
        let commit: CommitId = "1".repeat(40).parse().unwrap();
        let with = |image: &str| {
            let images = BTreeMap::from([("web:1".to_owned(), format!("id:{image}"))]);
            Release::new(content, commit.clone(), images)
        };
        let dev: RingName = "dev".parse().unwrap();
        let releases: BTreeMap<_, _> = ["a", "b", "c", "d"].map(|n| (with(n).id, with(n))).into();
        let mut facts = Facts {
            releases: releases.clone(),
            ..Facts::default()
        };
        let known = |facts: &Facts| known(facts, &dev, content).map(|r| r.id);
        assert!(known(&facts).is_some(), "one of them, if none was proven");
        for id in releases.keys() {
            let proof = |seconds| Proof {
                succeeded: Timestamp::from_second(seconds).ok(),
                ..Proof::default()
            };
            let proofs = releases
                .keys()
                .map(|other| (*other, proof(i64::from(other == id))));
            let there = RingFacts {
                proofs: proofs.collect(),
                ..RingFacts::default()
            };
            facts.rings.insert(dev.clone(), there);
            assert_eq!(known(&facts), Some(*id), "it succeeded last");
            for running in releases.keys() {
                let there = facts.rings.get_mut(&dev).unwrap();
                there.running = Some(*running);
                assert_eq!(known(&facts), Some(*running), "it runs");
            }
        }
        let other = ContentId(Digest::of("content", &2));
        assert!(super::known(&facts, &dev, other).is_none());
    }
}
