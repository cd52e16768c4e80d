//! What git says becomes a decision: policy, candidates and tenant files of each ring, with the images they need.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::accept::accept;
use super::behind::Asker;
use super::books::{self, Books, Control, Seen, branch_of};
use super::{Controller, ControllerError, Request, images};
use crate::decide::facts::{Facts, TenantFacts};
use crate::decide::records::Behind;
use crate::decide::{Asks, Candidate, Decision, RingInput, TenantAt, Under, World, decide};
use crate::diagnostic::Severity;
use crate::digest::Digest;
use crate::fleet::Policy;
use crate::fleet::names::{CommitId, RingName, Slug};
use crate::fleet::release::Release;
use crate::fleet::rings::Ring;
use crate::fleet::tenants;
use crate::git::GitError;

/// Git's part of a pass.
pub(super) struct Gathered {
    pub(super) policy: Arc<Policy>,
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
        let mut seen = Seen::new(facts, now);
        let asked = books::Asked {
            facts,
            person: request.person,
            accept: request.accept.as_ref().filter(|_| act),
            trust: self.parts.trust.as_ref(),
        };
        let (mut control, heads) =
            tokio::task::block_in_place(|| heads(&mut self.parts.books, &asked, &mut seen))?;
        let Some(policy) = control.policy.clone() else {
            return Err(ControllerError::Policy {
                commit: control.policy_commit.short().to_owned(),
                first: books::first_error(control.findings.iter()),
            });
        };
        if policy.settings.instance != self.parts.instance {
            return Err(ControllerError::Instance {
                now: policy.settings.instance.to_string(),
                was: self.parts.instance.to_string(),
            });
        }
        if act && let Some(text) = accept(&self.parts.books, &self.parts.store, &control, now)? {
            self.parts.progress.tell(crate::apply::Progress::Note { text });
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
            let read = Read {
                ring,
                control: &control,
                heads: &heads,
                facts,
                policy: &policy,
            };
            let mut input = self.ring_input(&read, &mut seen);
            if input.unknown_target.is_none() && !input.unknown {
                input.candidate = self.candidate(&read, &mut input, &mut seen, act).await;
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
        let books = &mut self.parts.books;
        let (records, unread) = tokio::task::block_in_place(|| books.records(&control, &policy, &mut seen));
        control.conditions.extend(unread);
        if act {
            self.parts.store.saw(&seen.new_ones())?;
        }
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
            policy_digest: policy.rendering(),
            policy,
            decision,
            control: control.commit,
            conditions: control.conditions,
        })
    }

    fn ring_input(&mut self, read: &Read<'_>, seen: &mut Seen<'_>) -> RingInput {
        let Read {
            ring,
            control,
            heads,
            policy,
            ..
        } = *read;
        let mut asker = Asker { ring, policy, seen };
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
            policy: Some(policy.id_in(ring)),
            ..RingInput::default()
        };
        let Some(tip) = tip else { return input };
        tokio::task::block_in_place(|| tenants_of(books, read, &mut asker, &tip, &mut input));
        input
    }

    async fn candidate(
        &mut self,
        read: &Read<'_>,
        input: &mut RingInput,
        seen: &mut Seen<'_>,
        act: bool,
    ) -> Option<Candidate> {
        let Read {
            ring,
            control,
            facts,
            policy,
            ..
        } = *read;
        let running = facts.ring(&ring.name).running;
        let from = running.and_then(|id| facts.releases.get(&id)).map(|r| &r.commit);
        let mut asker = Asker { ring, policy, seen };
        let books = &mut self.parts.books;
        if let Some(mut candidate) = follows(ring, policy, facts) {
            candidate.behind = tokio::task::block_in_place(|| {
                asker.candidate(books, &candidate.request, from, &candidate.commit)
            });
            return Some(candidate);
        }
        let ask = tokio::task::block_in_place(|| books.ask(ring, control, policy, input.tip.as_ref()))?;
        let behind = tokio::task::block_in_place(|| {
            if !ask.pinned {
                return asker.candidate(books, &ask.request, from, &ask.commit);
            }
            input.pin_under = pin_under(books, read, &ask.request);
            let before = input.pin_under.as_ref();
            if let Some((policy, ring)) =
                before.and_then(|u| Some((&*u.policy, u.policy.rings.get(ring.name.as_str())?)))
            {
                (asker.policy, asker.ring) = (policy, ring);
            }
            asker.pin(books, &ask.request, from, &ask.commit)
        });
        let mut candidate = Candidate {
            commit: ask.commit.clone(),
            request: ask.request,
            pinned: ask.pinned,
            behind,
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
        let content = base.base.content;
        candidate.release = if ask.images.is_empty() {
            let proven_in = ring.promote_from.as_ref().unwrap_or(&ring.name);
            let known = images::known(facts, proven_in, content);
            let (engine, commit) = (&self.parts.engine, &ask.commit);
            self.images.release(engine, known, &base.base, commit, !act).await
        } else {
            Ok(Release::new(content, ask.commit.clone(), ask.images))
        };
        Some(candidate)
    }
}

/// What a later ring that follows by itself is asked for: what runs healthy in the ring before.
fn follows(ring: &Ring, policy: &Policy, facts: &Facts) -> Option<Candidate> {
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

/// The ring's tenant files on its branch, with who asks for those that differ from what runs.
fn tenants_of(
    books: &mut Books,
    read: &Read<'_>,
    asker: &mut Asker<'_, '_, '_>,
    tip: &CommitId,
    input: &mut RingInput,
) {
    let (ring, facts) = (read.ring, read.facts);
    let found = match books.tenants(tip) {
        Ok(found) => found,
        Err(error) => {
            let text = format!("branch `{}` cannot be read: {error}", input.branch);
            input.tenant_errors.push(text);
            return;
        }
    };
    for (name, files) in &found.tenants {
        let slug = name.parse::<Slug>().ok();
        let here = slug.as_ref().and_then(|s| facts.tenants.get(s));
        let runs_here = here.is_some_and(|f| f.ring == ring.name);
        let mine = match &files.ring {
            Some(named) => *named == ring.name,
            None => runs_here,
        };
        let undeclared = |r: &&RingName| runs_here && read.policy.rings.get(r.as_str()).is_none();
        if let Some(named) = files.ring.as_ref().filter(undeclared) {
            input.tenant_errors.push(format!(
                "tenant {name}: its file names ring `{named}`, which is declared nowhere: it is kept"
            ));
        }
        if !mine {
            continue;
        }
        let has = here.and_then(TenantFacts::last);
        let asks = match &slug {
            Some(slug) if has.is_none_or(|(_, has)| has.id != files.files) => {
                asker.asks(books, slug, tip, has.map(|(_, files)| &files.commit))
            }
            // Nobody asks for what is there.
            _ => Asks {
                request: tip.clone(),
                age: 0,
                behind: Behind::default(),
                with: None,
            },
        };
        let at = TenantAt {
            files: Arc::new(files.clone()),
            commit: tip.clone(),
            asks,
        };
        input.tenants.insert(name.clone(), at);
    }
    for (slug, here) in facts.tenants.iter().filter(|(_, f)| f.ring == ring.name) {
        if !input.tenants.contains_key(slug.as_str()) {
            let from = here.last().map(|(_, files)| &files.commit);
            let asks = asker.asks(books, slug, tip, from);
            input.gone.insert(slug.clone(), asks);
        }
    }
    for finding in found.findings.iter().filter(|f| f.severity == Severity::Error) {
        let name = finding
            .path()
            .and_then(|p| p.strip_prefix(tenants::FOLDER))
            .and_then(|p| p.strip_suffix(".yaml"))
            .unwrap_or_default();
        if input.tenants.contains_key(name) || name.is_empty() {
            let at = finding.at.as_ref().map(|a| format!("{a}: ")).unwrap_or_default();
            input.tenant_errors.push(format!("{at}{}", finding.message));
        }
    }
}

/// What a pin is judged under whose own commit changes policy.
fn pin_under(books: &mut Books, read: &Read<'_>, request: &CommitId) -> Option<Under> {
    let mut changes = read.facts.policies.clone();
    changes.extend(read.control.changes.clone());
    let before = books.policy_before(request, &changes)?;
    let policy = before.policy.as_ref()?;
    let ring = policy.rings.get(read.ring.name.as_str())?;
    Some(Under {
        id: policy.id_in(ring),
        policy: Arc::new(policy.clone()),
    })
}

/// What a ring is read from.
struct Read<'a> {
    ring: &'a Ring,
    control: &'a Control,
    heads: &'a Heads,
    facts: &'a Facts,
    policy: &'a Policy,
}

/// The branches, and whether they are only what was read last.
struct Heads {
    of: BTreeMap<String, CommitId>,
    unread: bool,
}

/// What is in force on the control branch, and the heads of all. Of a repository that is away the last accepted state stays.
fn heads(
    books: &mut Books,
    asked: &books::Asked<'_>,
    seen: &mut Seen<'_>,
) -> Result<(Control, Heads), GitError> {
    match (books.branches(), &asked.facts.accepted) {
        (Ok(of), _) => {
            let control = books.control(&of, asked, seen)?;
            Ok((control, Heads { of, unread: false }))
        }
        (Err(error), Some(accepted)) => {
            let (control, of) = books.without_repository(asked.facts, accepted, &error)?;
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
