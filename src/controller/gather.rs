//! What git says becomes a decision: policy, candidates and tenant files of each ring, with the images they need.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::books::{Books, Control, branch_of};
use super::wanted::{base_of, files_of};
use super::{Controller, ControllerError, Request};
use crate::decide::facts::Facts;
use crate::decide::records::{Behind, Records};
use crate::decide::{Asks, Candidate, Decision, RingInput, TenantAt, World, decide};
use crate::diagnostic::Severity;
use crate::digest::Digest;
use crate::fleet::compose::service::Scope;
use crate::fleet::names::{CommitId, FilesId, RingName, Slug};
use crate::fleet::tenants::TenantFiles;
use crate::fleet::{Policy, check};
use crate::git::GitError;
use crate::render;

/// Git's part of a pass.
pub(super) struct Gathered {
    pub(super) policy: Policy,
    pub(super) policy_digest: Digest,
    pub(super) decision: Decision,
    pub(super) control: CommitId,
    pub(super) conditions: Vec<String>,
    /// Slugs that some ring's branch has a file of; none: not every ring's branch can be read.
    pub(super) claimed: Option<BTreeSet<Slug>>,
}

impl Controller {
    /// Reads git and decides.
    pub(super) async fn gather(
        &mut self,
        facts: &Facts,
        request: &Request,
        now: Timestamp,
        act: bool,
    ) -> Result<Gathered, ControllerError> {
        self.parts.books.begin_pass();
        self.images.begin_pass();
        let (control, heads) =
            tokio::task::block_in_place(|| heads(&mut self.parts.books, facts, request.person))?;
        let Some(policy) = control.policy.policy.clone() else {
            return Err(ControllerError::Policy {
                commit: control.commit.short().to_owned(),
                first: super::books::first_error(control.policy.findings.iter()),
            });
        };
        if policy.settings.instance != self.parts.instance {
            return Err(ControllerError::Instance {
                now: policy.settings.instance.to_string(),
                was: self.parts.instance.to_string(),
            });
        }
        if control.newly_accepted && act {
            self.accept(&control, facts, now)?;
        }
        self.rollback = policy
            .rings
            .0
            .iter()
            .map(|r| (r.name.clone(), r.rollback_on_failure))
            .collect();
        let observe = policy.rings.0.iter();
        self.observe = observe.map(|r| (r.name.clone(), r.rollout.observe_ms)).collect();
        let soaks = policy.rings.0.iter().filter(|r| r.soak_ms > 0);
        self.soaks = soaks
            .filter_map(|r| Some((r.promote_from.clone()?, r.soak_ms)))
            .collect();
        let mut rings = BTreeMap::new();
        for ring in &policy.rings.0 {
            let mut input = self.ring_input(ring, &control, &heads, facts, &policy);
            if input.unknown_target.is_none() && !input.unknown {
                input.candidate = self.candidate(ring, &control, &policy, &input, facts, act).await;
            }
            input.checks = self.checks.of(ring);
            rings.insert(ring.name.clone(), input);
        }
        let prune: BTreeSet<RingName> = if request.prune {
            policy
                .rings
                .0
                .iter()
                .map(|r| r.name.clone())
                .filter(|r| !request.is_scoped() || request.rings.contains(r))
                .collect()
        } else {
            BTreeSet::new()
        };
        tokio::task::block_in_place(|| self.fit(&policy, facts, &mut rings));
        self.weigh(&policy, &control.commit, facts, &mut rings).await;
        let records = Records::default();
        let world = World {
            policy: &policy,
            rings: &rings,
            facts,
            records: &records,
            now,
            prune: &prune,
        };
        let mut decision = decide(&world);
        heal_only(&mut decision, request, facts);
        Ok(Gathered {
            claimed: claimed(&rings),
            policy_digest: Digest::of("policy", &format!("{:?}{:?}", policy.settings, policy.rings)),
            policy,
            decision,
            control: control.commit,
            conditions: control.conditions,
        })
    }

    fn accept(&mut self, control: &Control, facts: &Facts, now: Timestamp) -> Result<(), ControllerError> {
        self.parts.books.keep("control", &control.commit)?;
        self.parts.store.accept(&control.commit, now)?;
        if facts.accepted.is_none() {
            let text = format!(
                "control branch `{}` is accepted as it is at {}: judging starts here",
                self.parts.books.control_branch(),
                control.commit.short()
            );
            self.parts.progress.tell(crate::apply::Progress::Note { text });
        }
        Ok(())
    }

    fn ring_input(
        &mut self,
        ring: &crate::fleet::rings::Ring,
        control: &Control,
        heads: &Heads,
        facts: &Facts,
        policy: &Policy,
    ) -> RingInput {
        let books = &mut self.parts.books;
        let branch = branch_of(ring, books.control_branch()).to_owned();
        // A ring's branch that is also the control branch obeys the control branch's rule.
        let tip = if branch == books.control_branch() {
            Some(control.commit.clone())
        } else {
            heads.of.get(&branch).cloned()
        };
        let mut input = RingInput {
            unknown_target: policy.settings.target(&ring.deployment_target.value).err(),
            branch,
            tip: tip.clone(),
            unread: heads.unread,
            unknown: self.unmatched.contains_key(&ring.name),
            ..RingInput::default()
        };
        let Some(tip) = tip else { return input };
        let read = match tokio::task::block_in_place(|| books.tenants(&tip)) {
            Ok(read) => read,
            Err(error) => {
                input
                    .tenant_errors
                    .push(format!("branch `{}` cannot be read: {error}", input.branch));
                return input;
            }
        };
        for (name, files) in &read.tenants {
            let runs_here = name
                .parse::<Slug>()
                .ok()
                .and_then(|s| facts.tenants.get(&s))
                .is_some_and(|f| f.ring == ring.name);
            let mine = match &files.ring {
                Some(named) => *named == ring.name,
                None => runs_here,
            };
            if let Some(named) = files
                .ring
                .as_ref()
                .filter(|r| runs_here && policy.rings.get(r.as_str()).is_none())
            {
                input.tenant_errors.push(format!(
                    "tenant {name}: its file names ring `{named}`, which is declared nowhere: it is kept"
                ));
            }
            if !mine {
                continue;
            }
            let last = name
                .parse::<Slug>()
                .ok()
                .and_then(|s| facts.tenants.get(&s))
                .and_then(|f| f.good.as_ref());
            let request = if last.is_some_and(|(_, f)| f.id == files.files) {
                tip.clone()
            } else {
                tokio::task::block_in_place(|| books.request_of(&tip, name))
            };
            input.tenants.insert(
                name.clone(),
                TenantAt {
                    files: Arc::new(files.clone()),
                    commit: tip.clone(),
                    asks: Asks {
                        request,
                        age: 0,
                        behind: Behind::default(),
                        with: None,
                    },
                },
            );
        }
        for (slug, _) in facts.tenants.iter().filter(|(_, f)| f.ring == ring.name) {
            if !input.tenants.contains_key(slug.as_str()) {
                let request = tokio::task::block_in_place(|| books.request_of(&tip, slug.as_str()));
                let asks = Asks {
                    request,
                    age: 0,
                    behind: Behind::default(),
                    with: None,
                };
                input.gone.insert(slug.clone(), asks);
            }
        }
        let prefix = "desired/tenants/";
        for finding in read.findings.iter().filter(|f| f.severity == Severity::Error) {
            let name = finding
                .path()
                .and_then(|p| p.strip_prefix(prefix))
                .and_then(|p| p.strip_suffix(".yaml"))
                .unwrap_or_default();
            if input.tenants.contains_key(name) || name.is_empty() {
                let at = finding.at.as_ref().map(|a| format!("{a}: ")).unwrap_or_default();
                input.tenant_errors.push(format!("{at}{}", finding.message));
            }
        }
        input
    }

    async fn candidate(
        &mut self,
        ring: &crate::fleet::rings::Ring,
        control: &Control,
        policy: &Policy,
        input: &RingInput,
        facts: &Facts,
        act: bool,
    ) -> Option<Candidate> {
        if let Some(candidate) = Self::follows(ring, policy, facts) {
            return Some(candidate);
        }
        let books = &mut self.parts.books;
        let ask = tokio::task::block_in_place(|| books.ask(ring, control, policy, input.tip.as_ref()))?;
        let mut candidate = Candidate {
            commit: ask.commit.clone(),
            request: ask.request,
            pinned: ask.pinned,
            behind: Behind::default(),
            release: Err(String::new()),
        };
        if let Some(error) = ask.error {
            candidate.release = Err(error);
            return Some(candidate);
        }
        let base = match tokio::task::block_in_place(|| books.base(&ask.commit)) {
            Err(error) => {
                candidate.release = Err(format!("commit {} cannot be read: {error}", ask.commit.short()));
                return Some(candidate);
            }
            Ok(base) if base.findings.has_errors() => {
                candidate.release = Err(format!(
                    "commit {} has errors: {}",
                    ask.commit.short(),
                    super::books::first_error(base.findings.iter())
                ));
                return Some(candidate);
            }
            Ok(base) => base,
        };
        candidate.release = self
            .images
            .release(
                &self.parts.engine,
                facts,
                &base.base,
                &ask.commit,
                &ask.images,
                !act,
            )
            .await;
        Some(candidate)
    }

    /// Which tenant files do not fit which release: those on the branch and those that run, against what the ring runs,
    /// moves to and is asked for.
    fn fit(&mut self, policy: &Policy, facts: &Facts, rings: &mut BTreeMap<RingName, RingInput>) {
        let books = &mut self.parts.books;
        for (name, input) in rings.iter_mut() {
            let of_ring = facts.rings.get(name);
            let running = of_ring.and_then(|r| r.running);
            let moving = of_ring.and_then(|r| r.moving.as_ref()).map(|m| m.to);
            let candidate = input.candidate.as_ref().and_then(|c| c.release.as_ref().ok());
            let known = [running, moving].into_iter().flatten();
            let known = known.filter_map(|id| facts.releases.get(&id));
            let releases: BTreeMap<_, _> = known.chain(candidate).map(|r| (r.id, r.clone())).collect();
            let mut files: BTreeMap<(Slug, FilesId), Arc<TenantFiles>> = BTreeMap::new();
            for (slug, at) in &input.tenants {
                if let (Ok(slug), Some(_)) = (slug.parse::<Slug>(), &at.files.tenant) {
                    files.insert((slug, at.files.files), Arc::clone(&at.files));
                }
            }
            for (slug, tenant) in facts.tenants.iter().filter(|(_, t)| t.ring == *name) {
                let Some((_, last)) = tenant.last() else { continue };
                let key = (slug.clone(), last.id);
                if !files.contains_key(&key)
                    && let Ok(read) = files_of(books, slug, last)
                {
                    files.insert(key, Arc::new(read));
                }
            }
            for release in releases.values() {
                let Ok(base) = base_of(books, release) else {
                    continue;
                };
                let shares = |scope| {
                    let ring = policy.rings.get(name.as_str());
                    ring.is_some_and(|ring| !render::scoped(&base.base, ring, scope).is_empty())
                };
                if Some(release.id) != running && (shares(Scope::Ring) || shares(Scope::Fleet)) {
                    input.sharing.insert(release.id);
                }
                for ((slug, id), files) in &files {
                    let findings = check::tenant_fits(policy, &base.base, files);
                    let errors = findings.iter().filter(|f| f.severity == Severity::Error);
                    let why: Vec<String> = errors.map(|f| f.message.clone()).collect();
                    if !why.is_empty() {
                        input.misfits.insert((slug.clone(), *id, release.id), why);
                    }
                }
            }
        }
    }

    /// What a later ring that follows by itself is asked for: what runs healthy in the ring before.
    fn follows(ring: &crate::fleet::rings::Ring, policy: &Policy, facts: &Facts) -> Option<Candidate> {
        let from = ring.promote_from.as_ref()?;
        if !ring.auto_deploy || policy.pins.contains_key(&ring.name) {
            return None;
        }
        let running = facts.rings.get(from)?.running?;
        let release = facts.releases.get(&running)?;
        Some(Candidate {
            commit: release.commit.clone(),
            request: release.commit.clone(),
            pinned: false,
            behind: Behind::default(),
            release: Ok(release.clone()),
        })
    }
}

/// The branches, and whether they are only what was read last.
struct Heads {
    of: BTreeMap<String, CommitId>,
    unread: bool,
}

/// What is in force on the control branch, and the heads of all. Of a repository that is away the last accepted state stays.
fn heads(books: &mut Books, facts: &Facts, person: bool) -> Result<(Control, Heads), GitError> {
    match (books.branches(), &facts.accepted) {
        (Ok(of), accepted) => {
            let control = books.control(&of, accepted.as_ref(), person)?;
            Ok((control, Heads { of, unread: false }))
        }
        (Err(error), Some(accepted)) => {
            let (control, of) = books.without_repository(accepted, &error)?;
            Ok((control, Heads { of, unread: true }))
        }
        (Err(error), None) => Err(error),
    }
}

fn claimed(rings: &BTreeMap<RingName, RingInput>) -> Option<BTreeSet<Slug>> {
    let readable = rings
        .values()
        .all(|input| input.tip.is_some() && !input.unread && input.tenant_errors.is_empty());
    let names = rings.values().flat_map(|input| input.tenants.keys());
    readable.then(|| names.filter_map(|name| name.parse().ok()).collect())
}

/// `apply TENANT` heals a tenant to what it last ran; it moves nothing.
fn heal_only(decision: &mut Decision, request: &Request, facts: &Facts) {
    for slug in &request.tenants {
        let Some(tenant) = decision
            .tenants
            .get_mut(slug)
            .filter(|t| !request.rings.contains(&t.ring))
        else {
            continue;
        };
        if let Some((release, files)) = facts.tenants.get(slug).and_then(|f| f.good.clone()) {
            tenant.release = Some(release);
            tenant.files = Some(files);
            tenant.moves = false;
        }
    }
}
