//! The table itself. The first line that applies is the next call.
//!
//! It follows the measured recipe (names that differ in one letter's case, so that old and new answer to one name),
//! and goes beyond it where that is silent: a service that shall go, attachments, dependencies, jobs, a second
//! parked one, and restart policies that must not wake a stopped container of a service that may not run twice.

use std::cell::Cell;
use std::cmp::Reverse;
use std::ops::ControlFlow::{self, Break, Continue};

use jiff::{SignedDuration, Timestamp};

use super::{Activity, Aim, Call, Health, Next, Part, Seat, Wait};
use crate::fleet::compose::service::Restart;
use crate::fleet::names::SpecHash;

/// The part that a container plays: what its name says. A name of ours with another one's spec in it is stray.
pub fn part(aim: &Aim, seat: &Seat) -> Part {
    // Most names are no spelling at all, and this is asked for each container of each pass.
    if seat.name.eq_ignore_ascii_case(&aim.base_name) && spelled(aim).contains(&seat.name) {
        return Part::Serving;
    }
    let Some(suffix) = seat
        .name
        .strip_prefix(aim.base_name.as_str())
        .and_then(|rest| rest.strip_prefix('.'))
    else {
        return Part::Stray;
    };
    let own = seat.spec.map(|spec| spec.0.short());
    // Whatever id stands there: whoever holds such a name must go, or its owner could never take it.
    if suffix.starts_with("gone-") {
        return Part::Leaving;
    }
    if let Some(hex) = suffix.strip_prefix("old-") {
        let is_hex = hex.len() == 8
            && hex
                .chars()
                .all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
        return if is_hex {
            Part::Parked(hex.to_owned())
        } else {
            Part::Stray
        };
    }
    match (suffix.strip_prefix("failed-"), own) {
        (Some(hex), Some(own)) if hex == own => Part::Failed,
        (None, Some(own)) if suffix == own => Part::Passing,
        _ => Part::Stray,
    }
}

/// The two spellings of the serving name: as it is, and with the case of the first letter after the service's name
/// changed (`web.acme.aither`, `web.Acme.aither`). The engine keeps them apart and its name server does not.
pub fn spelled(aim: &Aim) -> [String; 2] {
    let start = if aim.base_name.starts_with(&aim.service) {
        aim.service.len()
    } else {
        0
    };
    let mut changed = false;
    let other = aim.base_name.char_indices().map(|(at, c)| {
        if changed || at < start || !c.is_ascii_alphabetic() {
            return c;
        }
        changed = true;
        if c.is_ascii_lowercase() {
            c.to_ascii_uppercase()
        } else {
            c.to_ascii_lowercase()
        }
    });
    let other = other.collect();
    [aim.base_name.clone(), other]
}

/// The next call for one service, or why there is none now. Depends on its arguments alone; the only thing that the
/// caller remembers between two looks is `gave_up_at`.
///
/// What the caller owes it: `seats` are all containers of the service, none left out; a job that has ended is
/// `Healthy` or `Unhealthy` as soon as its exit code is known, and `Unknown` before; with `stop_first` a container
/// is created with restart policy `no` (its own is set before its start), since an engine that restarts also starts
/// what was only created. A `wanted` spec counts as not failed, whatever `failed` says: a ring with nothing to go
/// back to keeps and heals what it has.
pub fn next(aim: &Aim, seats: &[Seat], now: Timestamp) -> Next {
    let rows = seats
        .iter()
        .map(|seat| Row {
            seat,
            part: part(aim, seat),
        })
        .collect();
    let table = Table {
        aim,
        rows,
        now,
        drain: Cell::new(None),
    };
    let wait = match table.walk() {
        Break(call) => return Next::Call(call),
        Continue(wait) => wait,
    };
    // A time first: nothing else would wake the caller for it.
    if let Some((until, id)) = table.drain.get() {
        return Next::Wait(Wait::Drain {
            id: id.to_owned(),
            until,
        });
    }
    if let Some(wait) = wait {
        return Next::Wait(wait);
    }
    if let Some(row) = table.rows.iter().find(|row| row.ending()) {
        return Next::Wait(Wait::Ending {
            id: row.seat.id.clone(),
        });
    }
    match table
        .rows
        .iter()
        .find(|row| row.seat.restart.is_none() && !table.at_goal(row))
    {
        Some(row) => Next::Wait(Wait::Inspection {
            id: row.seat.id.clone(),
        }),
        None => Next::Done,
    }
}

struct Row<'a> {
    seat: &'a Seat,
    part: Part,
}

impl Row<'_> {
    fn ending(&self) -> bool {
        matches!(self.seat.activity, Activity::Stopping | Activity::Removing)
    }

    fn runs(&self) -> bool {
        self.seat.activity == Activity::Running
    }

    fn stopped(&self) -> bool {
        self.seat.activity == Activity::Stopped
    }

    fn answers(&self) -> bool {
        self.runs() && self.seat.health == Health::Healthy
    }

    fn is(&self, other: &Self) -> bool {
        self.seat.id == other.seat.id
    }
}

struct Table<'a> {
    aim: &'a Aim,
    rows: Vec<Row<'a>>,
    now: Timestamp,
    /// The first drain to end, of those that hold a stop back.
    drain: Cell<Option<(Timestamp, &'a str)>>,
}

/// The next call, or the reason for none so far.
type Step<T = ()> = ControlFlow<Call, T>;

impl<'a> Table<'a> {
    fn walk(&self) -> Step<Option<Wait>> {
        self.outgoing()?;
        if self.aim.gives_way {
            self.rows.iter().try_for_each(|row| self.silence(row, false))?;
            return Continue(None);
        }
        let Some(wanted) = self.aim.wanted else {
            self.rows
                .iter()
                .filter(|row| row.part != Part::Leaving)
                .try_for_each(|row| self.leave(row))?;
            return Continue(None);
        };
        let serving = self.rows.iter().filter(|row| {
            row.part == Part::Serving
                && row.seat.spec == Some(wanted)
                && row.seat.activity != Activity::Removing
        });
        let best = serving.min_by_key(|row| self.worth(row));
        if let Some(row) = best {
            return self.keep(row);
        }
        let wait = self.take_over(wanted)?;
        // What still serves is kept whole while its successor is on its way.
        self.rows
            .iter()
            .filter(|row| row.part == Part::Serving && row.runs())
            .try_for_each(Self::attach)?;
        Continue(wait)
    }

    /// Line 1: what is on its way out. A stop under way holds nothing else.
    fn outgoing(&self) -> Step {
        for row in self.rows.iter().filter(|row| !row.ending()) {
            match row.part {
                Part::Leaving if row.stopped() => {
                    return Break(Call::Remove {
                        id: row.seat.id.clone(),
                    });
                }
                Part::Leaving => self.silence(row, true)?,
                // One that is healthy failed for another's sake, and may be answering still.
                Part::Failed if self.aim.wanted.is_some() => {
                    self.silence(row, !self.aim.stop_first && row.seat.health == Health::Healthy)?;
                }
                _ => {}
            }
        }
        Continue(())
    }

    /// Line 2: `stay` serves with the wanted spec.
    fn keep(&self, stay: &Row<'a>) -> Step<Option<Wait>> {
        if stay.ending() {
            return Continue(Some(Wait::Ending {
                id: stay.seat.id.clone(),
            }));
        }
        Self::attach(stay)?;
        if let Some(wait) = self.bring_up(stay)? {
            return Continue(Some(wait));
        }
        self.tidy(Some(stay))?;
        Continue(None)
    }

    /// Line 3: none serves with the wanted spec.
    fn take_over(&self, wanted: SpecHash) -> Step<Option<Wait>> {
        let passing = |row: &&Row<'a>| matches!(row.part, Part::Passing | Part::Stray);
        self.rows
            .iter()
            .filter(passing)
            .filter(|row| row.seat.spec != Some(wanted))
            .try_for_each(|row| self.leave(row))?;
        let candidates = self.rows.iter().filter(|row| {
            matches!(row.part, Part::Passing | Part::Stray | Part::Parked(_))
                && row.seat.spec == Some(wanted)
                && row.seat.activity != Activity::Removing
        });
        let mut candidates: Vec<&Row<'a>> = candidates.collect();
        candidates.sort_by_key(|row| self.worth(row));
        let Some((stay, others)) = candidates.split_first() else {
            return self.create(wanted);
        };
        others.iter().try_for_each(|row| self.leave(row))?;
        if stay.ending() {
            return Continue(Some(Wait::Ending {
                id: stay.seat.id.clone(),
            }));
        }
        Self::attach(stay)?;
        if let Some(wait) = self.bring_up(stay)? {
            return Continue(Some(wait));
        }
        self.take_name(stay)
    }

    fn create(&self, wanted: SpecHash) -> Step<Option<Wait>> {
        if self.aim.job && self.aim.job_done {
            self.tidy(None)?;
            return Continue(None);
        }
        // Asked for again: the look at its last try ends.
        if let Some(row) = self
            .rows
            .iter()
            .find(|row| row.part == Part::Failed && row.seat.spec == Some(wanted) && row.stopped())
        {
            return Break(Call::Remove {
                id: row.seat.id.clone(),
            });
        }
        let name = format!("{}.{}", self.aim.base_name, wanted.0.short());
        match self.holder(&name) {
            Some(row) => Continue(Some(Wait::Ending {
                id: row.seat.id.clone(),
            })),
            None => Break(Call::Create { name }),
        }
    }

    /// Gets the one that stays to its goal; nothing to wait for means that it is there.
    fn bring_up(&self, stay: &Row<'a>) -> Step<Option<Wait>> {
        if self.at_goal(stay) {
            return Continue(None);
        }
        if stay.stopped() {
            return self.start(stay).map_continue(Some);
        }
        if self.aim.stop_first {
            self.make_way(stay)?;
        }
        self.own_restart(stay, false)?;
        if stay.answers() && !self.aim.job {
            return Continue(None);
        }
        Continue(Some(Wait::Health {
            id: stay.seat.id.clone(),
        }))
    }

    fn start(&self, stay: &Row<'a>) -> Step<Wait> {
        let seat = stay.seat;
        if self.aim.job && seat.health == Health::Unknown && seat.restart.is_none() {
            // It may have ended with 0 already, and a job runs once.
            return Continue(Wait::Inspection { id: seat.id.clone() });
        }
        if !self.aim.may_start && !self.goes_back(stay) {
            return Continue(Wait::Dependencies);
        }
        if self.aim.stop_first {
            let other = self.rows.iter().find(|row| !row.is(stay) && !row.stopped());
            if other.is_some() && seat.restart.is_some_and(|known| known != Restart::No) {
                // An engine that restarts now would run both.
                return Break(Call::SetRestart {
                    id: seat.id.clone(),
                    restart: Restart::No,
                });
            }
            self.make_way(stay)?;
            if let Some(other) = other {
                return Continue(Wait::Ending {
                    id: other.seat.id.clone(),
                });
            }
        }
        self.own_restart(stay, self.aim.stop_first || matches!(stay.part, Part::Parked(_)))?;
        Break(Call::Start { id: seat.id.clone() })
    }

    /// A rollback waits for nothing: what it starts is what ran before.
    fn goes_back(&self, stay: &Row<'a>) -> bool {
        match stay.part {
            Part::Parked(_) => true,
            Part::Serving => false,
            _ => {
                stay.seat.spec == self.aim.good
                    && self
                        .rows
                        .iter()
                        .any(|row| row.part == Part::Serving && row.seat.spec != stay.seat.spec)
            }
        }
    }

    fn take_name(&self, stay: &Row<'a>) -> Step<Option<Wait>> {
        let names = spelled(self.aim);
        if let Some(free) = names.iter().find(|name| self.holder(name).is_none()) {
            return Break(rename(stay.seat, free.clone()));
        }
        let mut holders: Vec<&Row<'a>> = self.rows.iter().filter(|row| row.part == Part::Serving).collect();
        if let Some(row) = holders.iter().find(|row| row.ending()) {
            return Continue(Some(Wait::Ending {
                id: row.seat.id.clone(),
            }));
        }
        // What does not serve gives way first, then what is not good.
        holders.sort_by_key(|row| (row.answers(), row.seat.spec == self.aim.good, &row.seat.id));
        if let Some(row) = holders.first() {
            self.park(row)?;
        }
        Continue(None)
    }

    /// The wanted one is at its goal: everything else goes where it belongs.
    fn tidy(&self, stay: Option<&Row<'a>>) -> Step {
        let others = || {
            self.rows
                .iter()
                .filter(|row| stay.is_none_or(|stay| !row.is(stay)))
        };
        for row in others().filter(|row| row.part == Part::Serving) {
            if row.seat.spec == self.aim.wanted {
                self.leave(row)?;
            } else {
                self.park(row)?;
            }
        }
        others()
            .filter(|row| matches!(row.part, Part::Passing | Part::Stray))
            .try_for_each(|row| self.leave(row))?;
        let is_parked = |row: &&Row<'a>| matches!(row.part, Part::Parked(_));
        let kept = others()
            .filter(is_parked)
            .filter(|row| self.worth_parking(row) && row.seat.activity != Activity::Removing)
            .min_by_key(|row| &row.seat.id);
        for row in others().filter(is_parked) {
            if kept.is_some_and(|kept| kept.is(row)) {
                self.silence(row, !self.aim.stop_first)?;
            } else {
                self.leave(row)?;
            }
        }
        self.tidy_failed()
    }

    /// One failed container is kept for a look: the last.
    fn tidy_failed(&self) -> Step {
        let failed = || self.rows.iter().filter(|row| row.part == Part::Failed);
        let kept = failed()
            .filter(|row| self.failed(row.seat))
            .max_by_key(|row| (!row.stopped(), row.seat.gave_up_at, &row.seat.id));
        match failed().find(|row| row.stopped() && !kept.is_some_and(|kept| kept.is(row))) {
            Some(row) => Break(Call::Remove {
                id: row.seat.id.clone(),
            }),
            None => Continue(()),
        }
    }

    /// Stop-first: every other one that runs, or that a restarting engine would run, ends before `stay` starts.
    fn make_way(&self, stay: &Row<'a>) -> Step {
        for row in self.rows.iter().filter(|row| !row.is(stay) && !row.ending()) {
            match row.part {
                Part::Passing | Part::Stray => self.leave(row)?,
                Part::Serving => {
                    self.silence(row, false)?;
                    self.park(row)?;
                }
                Part::Parked(_) => self.silence(row, false)?,
                Part::Leaving | Part::Failed => {}
            }
        }
        Continue(())
    }

    fn attach(row: &Row<'a>) -> Step {
        let id = || row.seat.id.clone();
        if let Some(limits) = row.seat.limits.clone() {
            return Break(Call::SetLimits { id: id(), limits });
        }
        // How it hangs on a network cannot be changed: it leaves it, and joins it again.
        let mut wrong = row.seat.surplus.intersection(&row.seat.missing);
        if let Some(network) = wrong.next() {
            return Break(Call::Disconnect {
                id: id(),
                network: network.clone(),
            });
        }
        if let Some(network) = row.seat.missing.first() {
            return Break(Call::Connect {
                id: id(),
                network: network.clone(),
            });
        }
        match row.seat.surplus.first() {
            Some(network) => Break(Call::Disconnect {
                id: id(),
                network: network.clone(),
            }),
            None => Continue(()),
        }
    }

    /// Gives the service's own policy to one that has another; `unseen`: also to one whose policy is not known.
    fn own_restart(&self, row: &Row<'a>, unseen: bool) -> Step {
        let restart = self.aim.restart;
        if row.seat.restart.map_or(unseen, |known| known != restart) {
            return Break(Call::SetRestart {
                id: row.seat.id.clone(),
                restart,
            });
        }
        Continue(())
    }

    /// Stops a container so that no restart of the engine wakes it. Waits for the drain if it must.
    fn silence(&self, row: &Row<'a>, drain: bool) -> Step {
        if row.ending() || drain && row.runs() && self.drains(row) {
            return Continue(());
        }
        let id = || row.seat.id.clone();
        if row.seat.restart != Some(Restart::No) {
            return Break(Call::SetRestart {
                id: id(),
                restart: Restart::No,
            });
        }
        if row.runs() {
            Break(Call::Stop { id: id() })
        } else {
            Continue(())
        }
    }

    /// Whether its drain goes on; if so, notes when it ends.
    fn drains(&self, row: &Row<'a>) -> bool {
        let drain = SignedDuration::from_millis(i64::try_from(self.aim.drain_ms).unwrap_or(i64::MAX));
        let since = row.seat.gave_up_at.unwrap_or(self.now);
        let until = since.checked_add(drain).unwrap_or(Timestamp::MAX);
        if until <= self.now {
            return false;
        }
        let first = self.drain.get().is_none_or(|(noted, _)| until < noted);
        if first {
            self.drain.set(Some((until, &row.seat.id)));
        }
        true
    }

    /// Gives the name up, but stays for the way back where it is the last healthy release's.
    fn park(&self, row: &Row<'a>) -> Step {
        let Some(wanted) = self.aim.wanted.filter(|_| self.worth_parking(row)) else {
            return self.leave(row);
        };
        if row.ending() {
            return Continue(());
        }
        let name = format!("{}.old-{}", self.aim.base_name, wanted.0.short());
        match self.holder(&name) {
            None => self.rename_away(row, name),
            Some(other) if other.ending() => Continue(()),
            Some(other) if self.worth_parking(other) => self.leave(row),
            Some(other) => self.leave(other),
        }
    }

    fn worth_parking(&self, row: &Row<'a>) -> bool {
        let spec = row.seat.spec;
        spec.is_some() && spec == self.aim.good && spec != self.aim.wanted && !self.failed(row.seat)
    }

    /// Goes: kept for a look if its spec failed, removed if it does not run, else renamed to be drained and stopped.
    fn leave(&self, row: &Row<'a>) -> Step {
        if row.ending() {
            return Continue(());
        }
        let base = &self.aim.base_name;
        if let Some(spec) = row
            .seat
            .spec
            .filter(|_| self.aim.wanted.is_some() && self.failed(row.seat))
        {
            let name = format!("{base}.failed-{}", spec.0.short());
            if self.holder(&name).is_none() {
                return self.rename_away(row, name);
            }
        }
        if row.stopped() {
            return Break(Call::Remove {
                id: row.seat.id.clone(),
            });
        }
        let name = format!("{base}.gone-{}", row.seat.id);
        // Whoever holds that name is leaving itself.
        if self.holder(&name).is_some() {
            Continue(())
        } else {
            self.rename_away(row, name)
        }
    }

    /// Takes a name away. What is unhealthy under its passing name serves nobody and is stopped first: between two
    /// starts of a crash loop the engine refuses to rename (20.10: `sandbox … not found`), as long as the loop goes on.
    fn rename_away(&self, row: &Row<'a>, to: String) -> Step {
        let unknown_to_clients = matches!(row.part, Part::Passing | Part::Stray);
        if unknown_to_clients && row.runs() && row.seat.health == Health::Unhealthy {
            self.silence(row, false)?;
        }
        Break(rename(row.seat, to))
    }

    fn failed(&self, seat: &Seat) -> bool {
        seat.spec != self.aim.wanted && seat.spec.is_some_and(|spec| self.aim.failed.contains(&spec))
    }

    fn at_goal(&self, row: &Row<'a>) -> bool {
        self.aim.job
            && row.stopped()
            && row.seat.spec == self.aim.wanted
            && (row.seat.health == Health::Healthy || self.aim.job_done)
    }

    fn holder(&self, name: &str) -> Option<&Row<'a>> {
        self.rows.iter().find(|row| row.seat.name == name)
    }

    /// The order in which one of several is chosen to stay; the first is the best.
    fn worth(&self, row: &Row<'a>) -> impl Ord + use<'a> {
        let health = match row.seat.health {
            Health::Healthy => 0,
            Health::Starting => 1,
            Health::Unknown => 2,
            Health::Unhealthy => 3,
        };
        let part = match row.part {
            Part::Serving => 0,
            Part::Passing => 1,
            Part::Stray => 2,
            _ => 3,
        };
        let good = row.answers() || self.at_goal(row);
        (
            Reverse(good),
            row.ending(),
            Reverse(row.runs()),
            part,
            health,
            &row.seat.id,
        )
    }
}

fn rename(seat: &Seat, to: String) -> Call {
    Call::Rename {
        id: seat.id.clone(),
        from: seat.name.clone(),
        to,
    }
}
