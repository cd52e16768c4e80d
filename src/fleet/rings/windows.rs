//! `windows`: when a ring may change.

use std::fmt;
use std::str::FromStr;

use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::diagnostic::Spanned;
use crate::fleet::read::Reader;
use crate::fleet::yaml::Node;
use crate::text::Safe;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// A span of the week (or of each day), in which a ring may change or may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Whether it allows.
    pub allow: bool,
    /// From this moment on.
    pub from: Moment,
    /// Until just before this one.
    pub to: Moment,
    /// Whose clock.
    pub zone: TimeZone,
    /// As written: `Fri 15:00..Mon 08:00`.
    pub text: String,
}

/// A moment of the week, or of each day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// 0 is Monday; none: each day.
    pub day: Option<i8>,
    /// Of the day, by the clock.
    pub hour: i8,
    /// Of the hour.
    pub minute: i8,
}

impl FromStr for Moment {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (day, clock) = match text.split_once(' ') {
            Some((day, clock)) => {
                let day = DAYS.iter().position(|d| *d == day).ok_or(())?;
                (Some(i8::try_from(day).map_err(drop)?), clock.trim())
            }
            None => (None, text),
        };
        let (hours, minutes) = clock.split_once(':').ok_or(())?;
        let number = |text: &str, below: i8| {
            let digits = text.len() == 2 && text.chars().all(|c| c.is_ascii_digit());
            text.parse::<i8>().ok().filter(|n| digits && *n < below).ok_or(())
        };
        Ok(Self {
            day,
            hour: number(hours, 24)?,
            minute: number(minutes, 60)?,
        })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.allow { "allow" } else { "deny" };
        let zone = self.zone.iana_name().unwrap_or("UTC");
        write!(f, "{word} {} {zone}", Safe::new(&self.text))
    }
}

/// Reads a ring's windows; one with an error is absent.
pub(super) fn read(node: &Node, reader: &Reader) -> Vec<Window> {
    let items = reader.list(node).unwrap_or_default();
    items.iter().filter_map(|item| window(item, reader)).collect()
}

fn window(item: &Node, reader: &Reader) -> Option<Window> {
    let fields = reader.fields(item, "the window")?;
    let spans: Vec<(bool, Spanned<String>)> = [("allow", true), ("deny", false)]
        .into_iter()
        .filter_map(|(key, allow)| Some((allow, reader.string(fields.get(key)?)?)))
        .collect();
    let zone = match fields.get("tz").and_then(|n| reader.string(n)) {
        None => Some(TimeZone::UTC),
        Some(name) => zone(&name, reader),
    };
    fields.finish();
    let [(allow, text)] = spans.as_slice() else {
        reader.error(
            "bad-window",
            &item.at,
            "a window takes one of `allow` and `deny`",
            "write `- deny: \"Fri 15:00..Mon 08:00\"`",
        );
        return None;
    };
    let Some((from, to)) = span(&text.value) else {
        reader.error(
            "bad-window",
            &text.at,
            format!("`{}` is no span of the week", Safe::new(&text.value)),
            "write `Fri 15:00..Mon 08:00`, or `09:00..17:00` for each day",
        );
        return None;
    };
    Some(Window {
        allow: *allow,
        from,
        to,
        zone: zone?,
        text: text.value.clone(),
    })
}

/// A zone of the database that is built in: the host's may be older, or not there.
fn zone(name: &Spanned<String>, reader: &Reader) -> Option<TimeZone> {
    let found = TimeZoneDatabase::bundled().get(&name.value);
    if found.is_err() {
        reader.error(
            "bad-window",
            &name.at,
            format!("no time zone is called `{}`", Safe::new(&name.value)),
            "write `UTC`, or a name such as `Europe/Berlin`",
        );
    }
    found.ok()
}

/// `Fri 15:00..Mon 08:00` or `09:00..17:00`; a span between two equal moments is empty and refused.
fn span(text: &str) -> Option<(Moment, Moment)> {
    let (from, to) = text.split_once("..")?;
    let (from, to): (Moment, Moment) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
    (from != to && from.day.is_some() == to.day.is_some()).then_some((from, to))
}
