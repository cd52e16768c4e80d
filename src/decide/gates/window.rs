//! When a ring may change.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};

use jiff::civil::{DateTime, Time};
use jiff::{Timestamp, ToSpan as _};

use crate::decide::gate::{Answer, Gate};
use crate::fleet::rings::{Moment, Window};

/// So far ahead the next opening is looked for: every span comes back within a week.
const AHEAD_DAYS: i64 = 8;
/// A day in minutes, as clocks on walls have it.
const DAY: i32 = 24 * 60;

/// Passes where no `deny` covers the moment and, where there are any, one `allow` does.
pub(super) fn gate(windows: &[Window], now: Timestamp) -> Option<Gate> {
    if windows.is_empty() {
        return None;
    }
    let open = is_open(windows, now);
    let until = turns(windows, now).find(|at| is_open(windows, *at) != open);
    let names: Vec<String> = windows.iter().map(ToString::to_string).collect();
    let names = names.join("; ");
    let gate = match (open, until) {
        (true, _) => Gate::new("window", Answer::Pass, format!("open ({names})")),
        (false, Some(at)) => Gate::new("window", Answer::Fail, format!("closed until {at} ({names})")),
        (false, None) => Gate::new("window", Answer::Fail, format!("never open ({names})")),
    };
    Some(Gate { until, ..gate })
}

fn is_open(windows: &[Window], at: Timestamp) -> bool {
    let mut allows = windows.iter().filter(|w| w.allow).peekable();
    let allowed = allows.peek().is_none() || allows.any(|w| covers(w, at));
    allowed && !windows.iter().any(|w| !w.allow && covers(w, at))
}

/// Minutes since the beginning of the week, or of the day.
fn minutes(moment: Moment) -> i32 {
    i32::from(moment.day.unwrap_or(0)) * DAY + i32::from(moment.hour) * 60 + i32::from(moment.minute)
}

/// By what the clock on the wall there says: an hour that comes twice counts twice, one that is left out not at all.
fn covers(window: &Window, at: Timestamp) -> bool {
    let local = at.to_zoned(window.zone.clone());
    let day = window.from.day.map(|_| local.weekday().to_monday_zero_offset());
    let here = minutes(Moment {
        day,
        hour: local.hour(),
        minute: local.minute(),
    });
    let (from, to) = (minutes(window.from), minutes(window.to));
    let round = if window.from.day.is_some() { 7 * DAY } else { DAY };
    // Since it began, the last time; a span between two equal moments is refused where it is read.
    (here - from).rem_euclid(round) < (to - from).rem_euclid(round)
}

/// The moments to come at which something may open or close, the first one first.
fn turns(windows: &[Window], now: Timestamp) -> impl Iterator<Item = Timestamp> {
    let turns: BTreeSet<Timestamp> = windows.iter().flat_map(|w| turns_of(w, now)).collect();
    let to_come: Vec<Timestamp> = turns.range((Excluded(now), Unbounded)).copied().collect();
    to_come.into_iter()
}

fn turns_of(window: &Window, now: Timestamp) -> Vec<Timestamp> {
    let today = now.to_zoned(window.zone.clone()).date();
    // Where the clock is set, what it says jumps.
    let jumps = window.zone.following(now).take(2);
    let mut turns: Vec<Timestamp> = jumps.map(|jump| jump.timestamp()).collect();
    for ahead in -1..=AHEAD_DAYS {
        let Ok(date) = today.checked_add(ahead.days()) else {
            continue;
        };
        let weekday = date.weekday().to_monday_zero_offset();
        for moment in [window.from, window.to] {
            if moment.day.is_none_or(|day| day == weekday)
                && let Ok(time) = Time::new(moment.hour, moment.minute, 0, 0)
            {
                // An hour that comes twice has each of its moments twice.
                let at = window
                    .zone
                    .to_ambiguous_timestamp(DateTime::from_parts(date, time));
                turns.extend([at.earlier(), at.later()].into_iter().flatten());
            }
        }
    }
    turns
}
