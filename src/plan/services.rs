//! Each service's part of the plan: its aim, its seats, its next call and why.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::foresee::foresee;
use super::health::{activity, failure, judge, next_look};
use super::live;
use super::look::{ByKey, Look};
use super::replace::{Activity, Aim, Call, Health, Next, Part, Seat, Wait, next, part};
use super::seen::{SeenContainer, State};
use super::volumes::{self, Names, Played, Volumes};
use super::why::{Why, differences};
use super::{Hold, Plan};
use crate::fleet::compose::service::{Condition, Restart};
use crate::fleet::names::{Owner, ServiceKey, Slug, SpecHash};
use crate::render::object::{MountFrom, RolloutOrder, ServiceObject};
use crate::text::Safe;

/// What happens to a service, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is not there and shall be.
    Create,
    /// It runs another spec.
    Replace,
    /// It runs the right spec, but not as it should (stopped, renamed, disconnected …).
    Repair,
    /// It stays for the way back, and stops for another that needs what it holds.
    Yield,
    /// It shall go.
    Remove,
    /// The right one serves; what is left of the move is cleared away.
    Finish,
    /// Nothing to do but to wait for its health.
    Wait,
}

/// One service's part of a plan.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct ServicePlan {
    /// Which.
    pub key: ServiceKey,
    /// The ring that it belongs to, where it is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring: Option<String>,
    /// In one word.
    pub action: Action,
    /// Why, field by field.
    pub why: Vec<Why>,
    /// The tenants that a shared service serves, by ring: a change of it touches all of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub serves: BTreeMap<String, BTreeSet<Slug>>,
    /// `start-first`, or `stop-first: <reason>`.
    pub order: String,
    /// All calls foreseen, the next one first.
    pub steps: Vec<Call>,
    /// What it waits for now, if it cannot go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<Wait>,
    /// Why the container that shall take over has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
    /// When to look again, though no event comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub look_at: Option<Timestamp>,
    /// What it shall be.
    #[serde(skip)]
    pub aim: Aim,
    /// What was seen.
    #[serde(skip)]
    pub seats: Vec<Seat>,
    /// The object, where it is wanted.
    #[serde(skip)]
    pub object: Option<Arc<ServiceObject>>,
    /// Volumes that a new container mounts beside those of its spec, since its image declares them. None: its image is
    /// not known yet.
    #[serde(skip)]
    pub volumes: Option<Volumes>,
    /// Containers that must be thawed before anything else.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub thaw: Vec<String>,
    /// Containers that the engine has half removed: they are as good as gone, but may stand in the way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dead: Vec<String>,
    /// What somebody else has in our place: nothing is done to this service until that is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
}

/// A container that failed to take over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Failed {
    /// Its id.
    pub container: String,
    /// Its name.
    pub name: String,
    /// Its spec.
    pub spec: SpecHash,
    /// Why.
    pub reason: String,
}

impl ServicePlan {
    /// Whether something can be done now.
    pub fn wants_calls(&self, now: Timestamp) -> bool {
        !self.thaw.is_empty() || !self.dead.is_empty() || matches!(self.next(now), Next::Call(_))
    }

    /// The image of a container that is to be made, where nobody has looked at it yet.
    pub fn unknown_image(&self) -> Option<&str> {
        let unknown = self.volumes.is_none() && self.makes();
        let object = self.object.as_ref().filter(|_| unknown)?;
        Some(&object.spec.image)
    }

    /// Whether a container is to be made.
    pub fn makes(&self) -> bool {
        self.steps.iter().any(|call| matches!(call, Call::Create { .. }))
    }

    /// The next call, if there is one now.
    pub fn next(&self, now: Timestamp) -> Next {
        next(&self.aim, &self.seats, now)
    }
}

/// The base name of a container of a service that is not wanted any more: the part before our suffix.
fn base_of(name: &str, service: &str) -> String {
    let suffix = name.rsplit_once('.').map_or("", |(_, s)| s);
    let ours = suffix.starts_with("old-")
        || suffix.starts_with("gone-")
        || suffix.starts_with("failed-")
        || (suffix.len() == 8 && suffix.bytes().all(|b| b.is_ascii_hexdigit()));
    let base = if ours {
        name.strip_suffix(&format!(".{suffix}")).unwrap_or(name)
    } else {
        name
    };
    if base.starts_with(&format!("{service}.")) {
        base.to_lowercase()
    } else {
        base.to_owned()
    }
}

/// What is found out on the way from service to service.
struct Found<'a> {
    /// What dependencies have.
    ready: BTreeMap<(ServiceKey, &'static str), bool>,
    names: Names<'a>,
}

/// Plans every service that is wanted or seen.
pub(super) fn plan(look: &Look<'_>, by_key: &ByKey<'_>, out: &mut Plan) {
    let mut found = Found {
        ready: BTreeMap::new(),
        names: Names::new(look.input),
    };
    let keys: BTreeSet<&ServiceKey> = look.input.wanted.services.keys().chain(by_key.keys()).collect();
    let none = Vec::new();
    for key in keys {
        let object = look.input.wanted.services.get(key);
        let seen = by_key.get(key).unwrap_or(&none);
        let hold = look.hold(&key.owner);
        let stays = object.is_none() && hold == Hold::NoPrune && !look.gives_way(seen);
        if hold == Hold::Untouched || stays {
            continue;
        }
        if let Some(object) = object {
            out.notes
                .extend(seen.iter().filter_map(|c| set_by_hand(look, object, c)));
            for container in seen {
                if let Some(folder) = live::stale(look, object, container) {
                    let began = container.details.as_ref().and_then(|d| d.started_at);
                    let runs = out.stale.entry(folder).or_default();
                    runs.insert(container.id.clone(), began);
                }
            }
        }
        if let Some((plan, kept)) = one(look, by_key, &mut found, key, object, seen) {
            volumes::note(look, &plan, kept, seen, out);
            out.services.push(plan);
        }
    }
}

/// A service's part, and where it has the data that its image declares.
fn one(
    look: &Look<'_>,
    by_key: &ByKey<'_>,
    found: &mut Found<'_>,
    key: &ServiceKey,
    wanted: Option<&Arc<ServiceObject>>,
    seen: &[&SeenContainer],
) -> Option<(ServicePlan, Volumes)> {
    let object = wanted.map(Arc::as_ref);
    let (dead, seen): (Vec<&SeenContainer>, Vec<&SeenContainer>) =
        seen.iter().partition(|c| c.state == State::Dead);
    let (dead, seen) = (ids(&dead, |_| true), seen.as_slice());
    let may_start = object.is_none_or(|o| {
        o.depends_on
            .iter()
            .all(|(dep, c)| is_ready(look, by_key, &mut found.ready, dep, *c))
            && !look.port_is_held(o)
    });
    let mut aim = aim(look, key, object, seen, may_start);
    let seats: Vec<Seat> = seen.iter().map(|c| seat(look, object, &aim, c)).collect();
    let parts = seats.iter().map(|seat| part(&aim, seat));
    let played: Vec<Played<'_>> = seen.iter().copied().zip(parts).collect();
    let order = order(look, object, &played);
    aim.stop_first = matches!(order, RolloutOrder::StopFirst(_));
    let (now, since) = (look.input.now, look.input.watched_since);
    let thaw = ids(seen, |c| c.state == State::Paused);
    let next = next(&aim, &seats, now);
    if next == Next::Done && thaw.is_empty() && dead.is_empty() {
        return None;
    }
    let extra = object.map(extra_networks).unwrap_or_default();
    let steps = foresee(&aim, &seats, &extra, now);
    let (action, why) = cause(look, &aim, (seen, &seats), object, &thaw, &steps);
    let judged = |c: &SeenContainer| object.map(|o| judge(o, c, look.input.probed.get(&c.id).copied(), now));
    // Only what can still take over can fail: a failed one that is kept for a look has its verdict, and what is on
    // its way out was stopped by us.
    let candidates: Vec<&&SeenContainer> = seen
        .iter()
        .zip(&seats)
        .filter(|(_, s)| s.spec.is_some() && s.spec == aim.wanted)
        .filter(|(_, s)| matches!(part(&aim, s), Part::Passing | Part::Serving | Part::Stray))
        .map(|(c, _)| c)
        .collect();
    let failed = candidates.iter().find_map(|c| {
        let reason = failure(object?, c, judged(c)?, since, now)?;
        Some(Failed {
            container: c.id.clone(),
            name: c.name.clone(),
            spec: c.spec?,
            reason,
        })
    });
    let look_at = candidates
        .iter()
        .filter_map(|c| next_look(object?, c, since, now))
        .min();
    let kept = volumes::kept(look, key, object, &played);
    let volumes = object.and_then(|o| volumes::of_new(look, &mut found.names, o, &kept));
    let plan = ServicePlan {
        key: key.clone(),
        ring: object.map(|o| o.ring.clone()),
        action,
        why,
        serves: object.map(|o| serves(look, o)).unwrap_or_default(),
        order: match order {
            RolloutOrder::StopFirst(why) => format!("stop-first: {why}"),
            RolloutOrder::StartFirst { .. } => "start-first".to_owned(),
        },
        waits: match next {
            Next::Wait(wait) => Some(wait),
            _ => None,
        },
        steps,
        failed,
        look_at,
        aim,
        seats,
        object: wanted.cloned(),
        thaw,
        dead,
        blocked: blocked(look, key, object, volumes.as_ref()),
        volumes,
    };
    Some((plan, kept))
}

/// Whose networks a shared service is in.
fn serves(look: &Look<'_>, object: &ServiceObject) -> BTreeMap<String, BTreeSet<Slug>> {
    let mut serves: BTreeMap<String, BTreeSet<Slug>> = BTreeMap::new();
    if matches!(object.key.owner, Owner::Tenant(_)) {
        return serves;
    }
    for other in look.input.wanted.services.values() {
        if let Owner::Tenant(slug) = &other.key.owner
            && object.networks.contains_key(&other.home_network)
        {
            let ring = serves.entry(other.ring.clone()).or_default();
            ring.insert(slug.clone());
        }
    }
    serves
}

/// What the service says, but for what only its containers show.
fn order(look: &Look<'_>, object: Option<&ServiceObject>, played: &[Played<'_>]) -> RolloutOrder {
    let free = RolloutOrder::StartFirst { asked: false };
    let Some(object) = object else { return free };
    let why = (object.order == free).then(|| volumes::shared(look, object, played));
    why.flatten()
        .map_or_else(|| object.order.clone(), RolloutOrder::StopFirst)
}

fn ids(seen: &[&SeenContainer], of: impl Fn(&SeenContainer) -> bool) -> Vec<String> {
    seen.iter().filter(|c| of(c)).map(|c| c.id.clone()).collect()
}

fn aim(
    look: &Look<'_>,
    key: &ServiceKey,
    object: Option<&ServiceObject>,
    seen: &[&SeenContainer],
    may_start: bool,
) -> Aim {
    let wanted = object.map(|o| o.hash);
    Aim {
        service: key.service.clone(),
        base_name: object.map_or_else(
            || {
                seen.first()
                    .map_or_else(|| key.service.clone(), |c| base_of(&c.name, &key.service))
            },
            |o| o.base_name.clone(),
        ),
        wanted,
        good: look.input.facts.good_specs.get(key).copied(),
        failed: look
            .input
            .facts
            .failed_specs
            .get(key)
            .cloned()
            .unwrap_or_default(),
        stop_first: false,
        restart: object.map_or(Restart::No, |o| o.spec.restart),
        drain_ms: object.map_or(0, |o| o.drain_ms),
        may_start,
        gives_way: object.is_none() && look.hold(&key.owner) == Hold::NoPrune,
        job: object.is_some_and(|o| o.job),
        job_done: wanted.is_some_and(|w| {
            look.input
                .facts
                .jobs_done
                .get(key)
                .is_some_and(|done| done.contains(&w))
        }),
    }
}

/// A container that nobody wrote down may be the service itself, on the same data: another one is not started beside it.
/// And a container would be hung on whichever network has the name.
fn blocked(
    look: &Look<'_>,
    key: &ServiceKey,
    object: Option<&ServiceObject>,
    declared: Option<&Volumes>,
) -> Option<String> {
    if let Some(name) = look.unknown_of(key) {
        return Some(format!(
            "container {} carries its labels and stands in no ledger of ours: remove it, or take it with `ringfence apply --adopt`",
            Safe::new(name)
        ));
    }
    let mounts = object?
        .spec
        .mounts
        .values()
        .filter_map(|mount| match &mount.from {
            MountFrom::Volume(name) => Some(name),
            _ => None,
        });
    let mut mounts = mounts.chain(declared.into_iter().flat_map(Volumes::values));
    if let Some(volume) = mounts.find(|name| look.is_lost(name)) {
        return Some(format!("its volume {volume} is gone, with its data"));
    }
    let home = &object?.home_network;
    look.is_strangers(home).then(|| format!("a network called {home} is there already and is not ours: remove it, or choose another `instance:`"))
}

/// Networks that a new container is connected to after it was made: all but its own, which it is made in.
pub fn extra_networks(object: &ServiceObject) -> BTreeSet<String> {
    object
        .networks
        .keys()
        .filter(|n| **n != object.home_network)
        .cloned()
        .collect()
}

/// What the engine cannot undo.
fn set_by_hand(look: &Look<'_>, object: &ServiceObject, seen: &SeenContainer) -> Option<String> {
    let names = live::limits_to_stay(&object.spec, seen, look.input.cgroups);
    (seen.spec == Some(object.hash) && !names.is_empty()).then(|| {
        format!(
            "container {} was given a limit of its {} by hand, and the engine cannot take it away: remove the container to have it made again",
            Safe::new(&seen.name),
            names.join(" and its ")
        )
    })
}

fn seat(look: &Look<'_>, object: Option<&ServiceObject>, aim: &Aim, seen: &SeenContainer) -> Seat {
    let there = |name: &String| look.has_network(name);
    let wanted: BTreeSet<String> = object
        .map(|o| o.networks.keys().cloned().collect())
        .unwrap_or_default();
    let wrong = object.map_or_else(BTreeSet::new, |o| live::wrongly_attached(o, seen));
    let limits = object.and_then(|o| {
        let own = seen.spec.filter(|spec| *spec != o.hash);
        let spec = own.map_or(Some(&o.spec), |own| look.input.specs.get(&own))?;
        live::limits(spec, seen, look.input.cgroups)
    });
    // For the table a run that sees what was deleted has another spec: it is replaced as any other, without a gap.
    let stale = object.is_some_and(|o| live::stale(look, o, seen).is_some());
    let mut seat = Seat {
        id: seen.id.clone(),
        name: seen.name.clone(),
        spec: seen.spec.filter(|_| !stale),
        activity: activity(seen),
        health: object.map_or(Health::Unknown, |o| {
            judge(o, seen, look.input.probed.get(&seen.id).copied(), look.input.now)
        }),
        restart: seen.details.as_ref().map(|d| d.restart),
        missing: wanted
            .iter()
            .filter(|n| (!seen.networks.contains(*n) || wrong.contains(*n)) && there(n))
            .cloned()
            .collect(),
        surplus: if object.is_some() {
            seen.networks
                .iter()
                .filter(|n| !wanted.contains(*n) && look.may_leave(n) || wrong.contains(*n) && there(n))
                .cloned()
                .collect()
        } else {
            BTreeSet::new()
        },
        limits,
        gave_up_at: look.input.gave_up.get(&seen.id).copied(),
    };
    if seat.spec != aim.wanted && !matches!(part(aim, &seat), Part::Serving) {
        seat.missing.clear();
        seat.surplus.clear();
        seat.limits = None;
    }
    seat
}

fn cause(
    look: &Look<'_>,
    aim: &Aim,
    (seen, seats): (&[&SeenContainer], &[Seat]),
    object: Option<&ServiceObject>,
    thaw: &[String],
    steps: &[Call],
) -> (Action, Vec<Why>) {
    let serving = seats
        .iter()
        .find(|s| part(aim, s) == Part::Serving && s.spec == aim.wanted);
    let Some(object) = object else {
        if aim.gives_way {
            let why =
                "what this release drops has a host port that it needs: it stops, and stays for the way back";
            return (Action::Yield, vec![Why::cause(why)]);
        }
        return (Action::Remove, vec![Why::cause("nothing asks for it any more")]);
    };
    if let Some(serving) = serving {
        let mut why = Vec::new();
        if !thaw.is_empty() {
            why.push(Why::cause("it was paused by hand"));
        }
        if serving.activity == Activity::Stopped && !aim.job {
            why.push(Why::cause("it does not run"));
        }
        why.extend(serving.missing.iter().map(|n| {
            Why::cause(if serving.surplus.contains(n) {
                format!("it lost its names on network {n}")
            } else {
                format!("it is not on network {n}")
            })
        }));
        why.extend(
            serving
                .surplus
                .difference(&serving.missing)
                .map(|n| Why::cause(format!("it is on network {n}, which it should not be"))),
        );
        if let Some(limits) = &serving.limits {
            let names = limits.names().join(", ");
            why.push(Why::cause(format!("its limits were changed: {names}")));
        }
        if serving.restart.is_some_and(|r| r != aim.restart) {
            why.push(Why::cause("its restart policy was changed"));
        }
        if !why.is_empty() {
            return (Action::Repair, why);
        }
        let action = if steps.is_empty() {
            Action::Wait
        } else {
            Action::Finish
        };
        return (action, Vec::new());
    }
    let current = seats
        .iter()
        .filter(|s| s.spec != aim.wanted)
        .find(|s| part(aim, s) == Part::Serving);
    if let Some(current) = current {
        let runs = seen.iter().find(|c| c.id == current.id);
        if runs.is_some_and(|c| live::stale(look, object, c).is_some()) {
            let why =
                "it sees a directory at /run/ringfence that was deleted, and never what is written anew";
            return (Action::Repair, vec![Why::cause(why)]);
        }
        let old = current.spec.and_then(|s| look.input.specs.get(&s));
        let why = old.map_or_else(
            || {
                vec![Why::cause(
                    "its spec is another one, which the ledger does not know",
                )]
            },
            |old| differences(old, &object.spec),
        );
        return (Action::Replace, why);
    }
    // What is on its way out, or kept for a look, is never taken back: a new one is made beside it.
    let own = |test: fn(&Part) -> bool| {
        let mut seats = seats.iter().filter(|s| s.spec == aim.wanted);
        seats.find(|s| test(&part(aim, s)))
    };
    if own(|p| *p == Part::Passing).is_some() {
        return (Action::Create, Vec::new());
    }
    if let Some(stray) = own(|p| *p == Part::Stray) {
        let name = crate::text::Safe::new(&stray.name);
        return (
            Action::Repair,
            vec![Why::cause(format!("it was renamed to {name}"))],
        );
    }
    if own(|p| matches!(p, Part::Parked(_))).is_some() {
        return (Action::Repair, vec![Why::cause("it is taken back")]);
    }
    (Action::Create, vec![Why::cause("it is not there")])
}

/// Whether a dependency holds: the wanted container of it runs, is healthy, or has ended with 0.
fn is_ready(
    look: &Look<'_>,
    by_key: &ByKey<'_>,
    ready: &mut BTreeMap<(ServiceKey, &'static str), bool>,
    key: &ServiceKey,
    condition: Condition,
) -> bool {
    let word = match condition {
        Condition::Started => "started",
        Condition::Healthy => "healthy",
        Condition::Completed => "completed",
    };
    if let Some(known) = ready.get(&(key.clone(), word)) {
        return *known;
    }
    let holds = look.input.wanted.services.get(key).is_some_and(|object| {
        if condition == Condition::Completed
            && look
                .input
                .facts
                .jobs_done
                .get(key)
                .is_some_and(|d| d.contains(&object.hash))
        {
            return true;
        }
        by_key
            .get(key)
            .into_iter()
            .flatten()
            .filter(|c| c.spec == Some(object.hash))
            .any(|c| {
                let health = judge(object, c, look.input.probed.get(&c.id).copied(), look.input.now);
                match condition {
                    Condition::Started => c.state == State::Running,
                    Condition::Healthy => health == Health::Healthy,
                    Condition::Completed => c.state == State::Exited && health == Health::Healthy,
                }
            })
    });
    ready.insert((key.clone(), word), holds);
    holds
}
