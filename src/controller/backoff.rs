//! When something that failed is tried again: twice as long each time, with jitter, so that many do not come at once.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::clock::moved;
use crate::fleet::names::ServiceKey;

const FIRST_MS: i64 = 500;
const LONGEST_MS: i64 = 60_000;
/// What holds a name of ours up is not ours: no event tells when it goes, and asking is cheap.
const LONGEST_FOR_A_NAME_MS: i64 = 5_000;

/// One service's failures in a row.
#[derive(Debug, Clone)]
pub struct Failures {
    /// How many.
    pub attempts: u32,
    /// The last one, in words.
    pub error: String,
    /// Not before.
    pub next_try: Timestamp,
}

/// Failures by service.
#[derive(Debug, Default)]
pub struct Backoff(BTreeMap<ServiceKey, Failures>);

impl Backoff {
    /// Another failure. The jitter comes from the key and the count: pure, and different for each service.
    pub fn failed(&mut self, key: &ServiceKey, error: String, now: Timestamp) {
        self.wait(key, error, LONGEST_MS, now);
    }

    /// A failure because a stranger has a name of ours.
    pub fn name_taken(&mut self, key: &ServiceKey, error: String, now: Timestamp) {
        self.wait(key, error, LONGEST_FOR_A_NAME_MS, now);
    }

    fn wait(&mut self, key: &ServiceKey, error: String, longest_ms: i64, now: Timestamp) {
        let entry = self.0.entry(key.clone()).or_insert(Failures {
            attempts: 0,
            error: String::new(),
            next_try: now,
        });
        entry.attempts += 1;
        entry.error = error;
        let doubled = FIRST_MS
            .saturating_mul(1 << (entry.attempts - 1).min(10))
            .min(longest_ms);
        let seed = crate::digest::Digest::of("backoff", &(key.to_string(), entry.attempts));
        let jitter = i64::from(seed.bytes().first().copied().unwrap_or(0)) * doubled / 1024;
        entry.next_try = now
            .checked_add(SignedDuration::from_millis(doubled + jitter))
            .unwrap_or(now);
    }

    /// It went well.
    pub fn worked(&mut self, key: &ServiceKey) {
        self.0.remove(key);
    }

    /// The failures of a service.
    pub fn of(&self, key: &ServiceKey) -> Option<&Failures> {
        self.0.get(key)
    }

    /// Whether it must wait.
    pub fn holds(&self, key: &ServiceKey, now: Timestamp) -> bool {
        self.0.get(key).is_some_and(|f| f.next_try > now)
    }

    /// When the next one may be tried.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.0.values().map(|f| f.next_try).filter(|t| *t > now).min()
    }

    /// The clock was set.
    pub fn moved(&mut self, step: SignedDuration) {
        for failures in self.0.values_mut() {
            failures.next_try = moved(failures.next_try, step);
        }
    }

    /// A person asks: everything may be tried at once.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Drops what is not there any more.
    pub fn retain(&mut self, keep: impl Fn(&ServiceKey) -> bool) {
        self.0.retain(|k, _| keep(k));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_longer_each_time_up_to_a_minute_and_forgets_on_success() {
        let key = ServiceKey {
            owner: crate::fleet::names::Owner::Fleet,
            service: "a".into(),
        };
        let now = Timestamp::UNIX_EPOCH;
        let mut backoff = Backoff::default();
        let mut last = 0;
        for _ in 0..8 {
            backoff.failed(&key, "x".into(), now);
            let wait = backoff.of(&key).unwrap().next_try.duration_since(now).as_millis();
            assert!(wait >= last.min(60_000), "{wait} after {last}");
            last = wait;
        }
        assert!(last <= 75_000);
        assert!(backoff.holds(&key, now));
        backoff.name_taken(&key, "x".into(), now);
        let wait = backoff.of(&key).unwrap().next_try.duration_since(now).as_millis();
        assert!(wait <= 6_250, "{wait} for a stranger's name");
        let back = SignedDuration::from_hours(-2);
        backoff.moved(back);
        assert!(backoff.holds(&key, moved(now, back)));
        let next = backoff.next(moved(now, back)).unwrap();
        assert!(
            next.duration_since(moved(now, back)).as_millis() <= 6_250,
            "a clock that is set back holds nothing up"
        );
        backoff.worked(&key);
        assert!(!backoff.holds(&key, now));
    }
}
