//! A small model of one service's containers on an engine, for the search: names are unique as bytes, stops take
//! time, an engine that restarts runs what its policies say. It refuses what an engine would refuse, and what the
//! table must never ask for.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jiff::Timestamp;

use super::{Activity, Aim, Call, Health, LimitsUpdate, Next, Part, Seat, Wait, next};
use crate::digest::Digest;
use crate::fleet::compose::service::Restart;
use crate::fleet::names::SpecHash;

pub(super) const BASE: &str = "web.acme.aither";
/// The spec that never gets healthy while another is good.
pub(super) const BAD: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    StartFirst,
    StopFirst,
    Job,
}

/// A name, by what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    Spelled(u8),
    Passing(u8),
    Old(u8),
    Failed(u8),
    /// Its own id.
    Gone,
    /// Another word; of each container another.
    Foreign,
}

impl Name {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Spelled(n) => n,
            Self::Passing(n) => 2 + n,
            Self::Old(n) => 5 + n,
            Self::Failed(n) => 8 + n,
            Self::Gone => 11,
            Self::Foreign => 12,
        }
    }

    fn text(self, id: &str) -> String {
        match self {
            Self::Gone => format!("{BASE}.gone-{id}"),
            Self::Foreign => format!("hand-{id}"),
            named => NAMES[named.code() as usize].clone(),
        }
    }

    fn read(text: &str, id: &str) -> Option<Self> {
        let all = (0..2)
            .map(Self::Spelled)
            .chain((0..3).flat_map(|n| [Self::Passing(n), Self::Old(n), Self::Failed(n)]));
        all.chain([Self::Gone, Self::Foreign])
            .find(|name| name.text(id) == text)
    }
}

pub(super) static SPECS: LazyLock<[SpecHash; 3]> =
    LazyLock::new(|| ["a", "b", "c"].map(|text| SpecHash(Digest::of_bytes(text.as_bytes()))));
static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut names = vec![BASE.to_owned(), "web.Acme.aither".to_owned()];
    for way in ["", "old-", "failed-"] {
        names.extend(SPECS.iter().map(|spec| format!("{BASE}.{way}{}", spec.0.short())));
    }
    names
});

/// A container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Con {
    pub name: Name,
    pub spec: u8,
    pub activity: Activity,
    pub health: Health,
    /// Its policy is the service's own; else `no`.
    pub own_policy: bool,
    /// It was inspected.
    pub known: bool,
    pub missing: bool,
    pub surplus: bool,
    pub drained: bool,
    /// It has other limits than its spec's.
    pub limits: bool,
}

impl Con {
    pub fn runs(&self) -> bool {
        self.activity != Activity::Stopped
    }

    pub fn serving(&self) -> bool {
        matches!(self.name, Name::Spelled(_))
    }

    pub fn answers(&self) -> bool {
        self.serving() && self.activity == Activity::Running && self.health == Health::Healthy
    }

    /// Whether it serves, or will.
    fn stays(&self, wanted: Option<u8>) -> bool {
        let stays = Some(self.spec) == wanted || self.serving();
        stays && !matches!(self.part(), Part::Leaving | Part::Failed)
    }

    /// Limits or a network as its spec says.
    fn mend(&mut self, call: &Call, wanted: Option<u8>) -> Result<(), String> {
        let (wrong, what) = match call {
            Call::SetLimits { .. } => (self.limits, "limits"),
            Call::Connect { .. } => (self.missing, "networks"),
            _ => (self.surplus, "networks"),
        };
        if !self.stays(wanted) {
            return Err(format!("{what} of one on its way out"));
        }
        if !wrong {
            return Err(format!("{what} are as they should be"));
        }
        match call {
            Call::SetLimits { .. } => self.limits = false,
            Call::Connect { .. } => self.missing = false,
            _ => self.surplus = false,
        }
        Ok(())
    }

    pub fn part(&self) -> Part {
        match self.name {
            Name::Spelled(_) => Part::Serving,
            Name::Passing(n) if n == self.spec => Part::Passing,
            Name::Old(_) => Part::Parked(String::new()),
            Name::Failed(n) if n == self.spec => Part::Failed,
            Name::Gone => Part::Leaving,
            _ => Part::Stray,
        }
    }
}

/// Everything: what is declared and what is there.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub mode: Mode,
    pub wanted: Option<u8>,
    /// Not wanted, and what it holds is needed elsewhere.
    pub gives_way: bool,
    pub good: Option<u8>,
    /// By spec.
    pub failed: [bool; 3],
    pub may_start: bool,
    /// By spec: the ledger has its end with 0.
    pub done: [bool; 3],
    pub cons: Vec<Con>,
}

impl World {
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            wanted: Some(0),
            gives_way: false,
            good: None,
            failed: [false; 3],
            may_start: true,
            done: [false; 3],
            cons: vec![],
        }
    }

    pub fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    pub fn aim(&self) -> Aim {
        let spec = |n: u8| SPECS[n as usize];
        Aim {
            service: "web".to_owned(),
            base_name: BASE.to_owned(),
            wanted: self.wanted.map(spec),
            good: self.good.map(spec),
            failed: (0..3).filter(|n| self.failed[*n as usize]).map(spec).collect(),
            stop_first: self.mode == Mode::StopFirst,
            restart: self.policy(true),
            drain_ms: 1000,
            may_start: self.may_start,
            gives_way: self.gives_way,
            job: self.mode == Mode::Job,
            job_done: self.wanted.is_some_and(|n| self.done[n as usize]),
        }
    }

    pub fn seats(&self) -> Vec<Seat> {
        let net = |has: bool, name: &str| -> BTreeSet<String> {
            has.then(|| name.to_owned()).into_iter().collect()
        };
        let seats = self.cons.iter().enumerate().map(|(at, con)| {
            let id = format!("c{at}");
            Seat {
                name: con.name.text(&id),
                id,
                spec: Some(SPECS[con.spec as usize]),
                activity: con.activity,
                health: con.health,
                restart: con.known.then_some(self.policy(con.own_policy)),
                missing: net(con.missing, "m"),
                surplus: net(con.surplus, "s"),
                // What only an inspection shows.
                limits: (con.known && con.limits).then(LimitsUpdate::default),
                gave_up_at: con.drained.then_some(Timestamp::MIN),
            }
        });
        seats.collect()
    }

    fn policy(&self, own: bool) -> Restart {
        if own && self.mode != Mode::Job {
            Restart::Always
        } else {
            Restart::No
        }
    }

    pub fn next(&self) -> Next {
        next(&self.aim(), &self.seats(), Self::now())
    }

    /// How many run for certain; one that is being removed may have been stopped before.
    pub fn running(&self) -> usize {
        self.cons
            .iter()
            .filter(|con| matches!(con.activity, Activity::Running | Activity::Stopping))
            .count()
    }

    fn free(&self, name: Name) -> bool {
        !self.cons.iter().any(|con| con.name == name)
    }

    fn keeps_good(&self) -> bool {
        self.cons
            .iter()
            .any(|con| Some(con.spec) == self.good && (con.serving() || matches!(con.name, Name::Old(_))))
    }

    /// Carries a call out, or says which promise it breaks.
    pub fn call(&self, call: &Call) -> Result<Self, String> {
        let mut after = self.clone();
        after.change(call)?;
        self.judge(call, &after)?;
        Ok(after)
    }

    fn change(&mut self, call: &Call) -> Result<(), String> {
        let (Call::Start { id }
        | Call::Stop { id }
        | Call::Remove { id }
        | Call::Rename { id, .. }
        | Call::SetRestart { id, .. }
        | Call::SetLimits { id, .. }
        | Call::Connect { id, .. }
        | Call::Disconnect { id, .. }) = call
        else {
            return self.create(call);
        };
        let at: usize = id[1..].parse().map_err(|_| "no such container")?;
        let others: Vec<Name> = self.cons.iter().map(|con| con.name).collect();
        let (stop_first, may_start, wanted) = (self.mode == Mode::StopFirst, self.may_start, self.wanted);
        let rollback = self
            .cons
            .iter()
            .any(|con| con.serving() && Some(con.spec) != wanted)
            && self.good == wanted;
        let (mode, gives_way) = (self.mode, self.gives_way);
        let others_run = self.cons.iter().enumerate().any(|(n, con)| n != at && con.runs());
        let con = self.cons.get_mut(at).ok_or("no such container")?;
        let check = |good: bool, why: &str| if good { Ok(()) } else { Err(why.to_owned()) };
        check(
            !matches!(con.activity, Activity::Stopping | Activity::Removing),
            "called while it is ending",
        )?;
        match call {
            Call::Start { .. } => {
                check(con.activity == Activity::Stopped, "started while it runs")?;
                check(con.part() != Part::Failed, "a failed one is started")?;
                check(Some(con.spec) == wanted, "one that is not wanted is started")?;
                check(!(stop_first && others_run), "stop-first: two run")?;
                let back = matches!(con.name, Name::Old(_)) || rollback && !con.serving();
                check(may_start || back, "started before its dependencies")?;
                check(!con.missing && !con.surplus, "started with wrong networks")?;
                check(!(con.known && con.limits), "started with wrong limits")?;
                check(
                    mode != Mode::Job || con.health != Health::Healthy,
                    "a job runs again after its end",
                )?;
                con.activity = Activity::Running;
                con.health = Health::Starting;
            }
            Call::Stop { .. } => {
                check(con.activity == Activity::Running, "stopped while it does not run")?;
                check(!con.own_policy, "stopped with a policy that wakes it")?;
                let gave_up = !con.serving();
                let never_served =
                    matches!(con.part(), Part::Passing | Part::Stray) && con.health == Health::Unhealthy;
                check(
                    stop_first
                        || gives_way
                        || gave_up && (con.drained || con.part() == Part::Failed || never_served),
                    "stopped before its drain",
                )?;
                con.activity = Activity::Stopping;
            }
            Call::Remove { .. } => {
                check(con.activity == Activity::Stopped, "removed while it runs")?;
                self.cons.remove(at);
            }
            Call::Rename { to, from, .. } => {
                let to = Name::read(to, id).ok_or_else(|| format!("an odd name: {to}"))?;
                check(
                    con.name.text(id) == *from,
                    "renamed from a name that it does not have",
                )?;
                check(to == Name::Gone || !others.contains(&to), "a name is taken twice")?;
                check(
                    !matches!((to, con.name), (Name::Spelled(_), Name::Spelled(_))),
                    "a name changes for nothing",
                )?;
                con.name = to;
                con.drained = false;
            }
            Call::SetRestart { restart, .. } => {
                let own = *restart == Restart::Always;
                check(
                    !(con.known && con.own_policy == own),
                    "a policy is set that it has",
                )?;
                con.own_policy = own;
                con.known = true;
            }
            Call::SetLimits { .. } | Call::Connect { .. } | Call::Disconnect { .. } => {
                con.mend(call, wanted)?;
            }
            Call::Create { .. } => {}
        }
        Ok(())
    }

    fn create(&mut self, call: &Call) -> Result<(), String> {
        let Call::Create { name } = call else {
            return Err("no create".to_owned());
        };
        let name = Name::read(name, "").ok_or("an odd name")?;
        let spec = self.wanted.ok_or("nothing is wanted and something is made")?;
        if name != Name::Passing(spec) || !self.free(name) {
            return Err("a name is taken twice".to_owned());
        }
        if self.mode == Mode::Job && self.done[spec as usize] {
            return Err("a job that is done is made again".to_owned());
        }
        self.cons.push(Con {
            name,
            spec,
            activity: Activity::Stopped,
            health: Health::Unknown,
            own_policy: self.mode == Mode::StartFirst,
            known: true,
            missing: false,
            surplus: false,
            drained: false,
            limits: false,
        });
        Ok(())
    }

    /// What must hold from before a call to after it.
    fn judge(&self, call: &Call, after: &Self) -> Result<(), String> {
        if self.gives_way {
            return self.judge_way_given(call, after);
        }
        if self.wanted.is_none() {
            return Ok(());
        }
        let answering = |world: &Self| world.cons.iter().any(Con::answers);
        if self.mode == Mode::StartFirst && answering(self) && !answering(after) {
            return Err(format!(
                "start-first: the last healthy serving one goes by {call:?}"
            ));
        }
        let good_matters = self.good.is_some_and(|good| !self.failed[good as usize]);
        if good_matters && self.good != self.wanted && self.keeps_good() && !after.keeps_good() {
            return Err(format!("what serves good is thrown away by {call:?}"));
        }
        let other = after
            .cons
            .iter()
            .any(|con| Some(con.spec) == self.wanted && !matches!(con.part(), Part::Leaving | Part::Failed));
        if self.good == self.wanted && self.keeps_good() && !after.keeps_good() && !other {
            return Err(format!("what is wanted and good is thrown away by {call:?}"));
        }
        Ok(())
    }

    /// What gives way stops, and is else kept as it is for the way back, but for what was leaving before.
    fn judge_way_given(&self, call: &Call, after: &Self) -> Result<(), String> {
        let names = |world: &Self| {
            let kept = world.cons.iter().filter(|con| con.name != Name::Gone);
            kept.map(|con| (con.name, con.spec)).collect::<Vec<_>>()
        };
        let started = matches!(call, Call::Start { .. });
        if started || names(self) != names(after) {
            return Err(format!("what gives way is not kept as it is by {call:?}"));
        }
        Ok(())
    }

    /// What the world does in time, of itself: each a world. A drain's end shows only where it is waited for.
    pub fn flow(&self, next: &Next, out: &mut Vec<Self>) {
        for (at, con) in self.cons.iter().enumerate() {
            let mut push = |change: &dyn Fn(&mut Con)| {
                let mut world = self.clone();
                change(&mut world.cons[at]);
                out.push(world);
            };
            match con.activity {
                Activity::Stopping => push(&|con| con.end()),
                Activity::Running if con.health == Health::Starting && self.mode != Mode::Job => {
                    push(&|con| con.health = Health::Healthy);
                }
                _ => {}
            }
            let drains = matches!(next, Next::Wait(Wait::Drain { id, .. }) if id[1..] == at.to_string());
            if drains {
                push(&|con| con.drained = true);
            }
            if con.activity == Activity::Removing {
                let mut world = self.clone();
                world.cons.remove(at);
                out.push(world);
            }
            if self.mode == Mode::Job && con.activity == Activity::Running {
                let mut world = self.clone();
                world.finish(at);
                out.push(world);
            }
        }
    }

    /// A job ends with 0.
    fn finish(&mut self, at: usize) {
        let con = &mut self.cons[at];
        con.activity = Activity::Stopped;
        con.health = Health::Healthy;
        if Some(con.spec) == self.wanted {
            self.done[con.spec as usize] = true;
        }
    }

    /// One step of a kind world that waits for `wait`: what is waited for comes.
    pub fn kind(&self, wait: &Wait) -> Result<Self, String> {
        let mut world = self.clone();
        let at = |id: &str| id[1..].parse::<usize>().map_err(|_| "an unknown id".to_owned());
        match wait {
            Wait::Health { id } => {
                let at = at(id)?;
                let bad = self.wanted == Some(BAD) && self.good.is_some_and(|good| good != BAD);
                if bad {
                    world.fail();
                } else if self.mode == Mode::Job {
                    world.finish(at);
                } else if self.cons[at].activity == Activity::Running {
                    world.cons[at].health = Health::Healthy;
                } else {
                    return Err("waits for the health of one that does not run".to_owned());
                }
            }
            Wait::Drain { id, until } => {
                if *until != Self::now() + jiff::SignedDuration::from_secs(1) {
                    return Err("an odd end of a drain".to_owned());
                }
                world.cons[at(id)?].drained = true;
            }
            Wait::Ending { id } => {
                let at = at(id)?;
                match self.cons[at].activity {
                    Activity::Stopping => world.cons[at].end(),
                    Activity::Removing => drop(world.cons.remove(at)),
                    _ => return Err("waits for the end of one that does not end".to_owned()),
                }
            }
            Wait::Dependencies if self.may_start => return Err("waits for what is there".to_owned()),
            Wait::Dependencies => world.may_start = true,
            Wait::Inspection { id } => world.cons[at(id)?].known = true,
        }
        Ok(world)
    }

    /// The wanted spec is declared failed and the last good one wanted.
    pub fn fail(&mut self) {
        if let Some(wanted) = self.wanted {
            self.failed[wanted as usize] = true;
        }
        self.wanted = self.good;
    }

    /// Whether nothing is left to do, as it should be.
    pub fn is_home(&self) -> Result<(), String> {
        let check = |good: bool, why: &str| if good { Ok(()) } else { Err(why.to_owned()) };
        let count = |test: &dyn Fn(&Con) -> bool| self.cons.iter().filter(|con| test(con)).count();
        if self.gives_way {
            check(self.running() == 0, "what gives way runs")?;
            check(
                count(&|con| con.name == Name::Gone) == 0,
                "something is left over",
            )?;
            return check(
                count(&|con| con.own_policy) == 0,
                "an engine restart would wake one",
            );
        }
        let Some(wanted) = self.wanted else {
            return check(self.cons.is_empty(), "something is left");
        };
        let job = self.mode == Mode::Job;
        let serving = count(&|con| con.serving());
        if !(job && self.done[wanted as usize] && serving == 0) {
            check(serving == 1, "not one serves")?;
            check(
                count(&|con| con.serving() && con.spec == wanted) == 1,
                "another spec serves",
            )?;
            check(
                job || count(&|con| con.answers()) == 1,
                "what serves is not healthy",
            )?;
            check(
                count(&|con| con.serving() && (con.missing || con.surplus)) == 0,
                "networks are wrong",
            )?;
            // A job that is done is not inspected once more.
            check(
                count(&|con| con.serving() && con.limits && (con.known || !job)) == 0,
                "limits are wrong",
            )?;
            check(
                job || count(&|con| con.serving() && !con.own_policy) == 0,
                "the policy is wrong",
            )?;
        }
        check(self.running() == usize::from(!job), "something else runs")?;
        let parked = |con: &Con| matches!(con.part(), Part::Parked(_));
        check(count(&parked) <= 1, "two are parked")?;
        check(
            count(&|con| parked(con) && Some(con.spec) != self.good) == 0,
            "one is parked that is not good",
        )?;
        check(
            count(&|con| parked(con) && self.good == self.wanted) == 0,
            "one is parked after success",
        )?;
        check(
            count(&|con| con.part() == Part::Failed) <= 1,
            "two failed ones are kept",
        )?;
        let odd = count(&|con| !con.serving() && !parked(con) && con.part() != Part::Failed);
        check(odd == 0, "something is left over")?;
        check(
            count(&|con| !con.serving() && con.own_policy) == 0,
            "an engine restart would wake one",
        )
    }
}

impl Con {
    pub fn end(&mut self) {
        self.activity = Activity::Stopped;
        self.health = Health::Unhealthy;
    }
}
