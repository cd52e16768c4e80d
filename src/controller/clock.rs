//! Tells when somebody set the clock. What is remembered as a time of day moves along with it, or a step back would hold a
//! drain or a next try for as long as the step, and a step forward would cut it short.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

/// Less than this is the ordinary discipline of a clock, and what a busy machine does between two readings.
const SMALLEST: SignedDuration = SignedDuration::from_millis(500);

/// The clock of the wall, watched beside the one that only goes on.
#[derive(Debug)]
pub struct Clock {
    wall: Timestamp,
    steady: Instant,
}

impl Clock {
    /// Watches from now on.
    pub fn new(wall: Timestamp, steady: Instant) -> Self {
        Self { wall, steady }
    }

    /// How far the wall clock was set since the last time that this was asked; none while both went on together.
    pub fn step(&mut self, wall: Timestamp, steady: Instant) -> Option<SignedDuration> {
        let passed = SignedDuration::try_from(steady.duration_since(self.steady)).ok()?;
        let step = wall.duration_since(self.wall).checked_sub(passed)?;
        *self = Self { wall, steady };
        (step.abs() >= SMALLEST).then_some(step)
    }
}

/// A remembered time after the clock was set.
pub fn moved(at: Timestamp, step: SignedDuration) -> Timestamp {
    at.checked_add(step).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_step_is_what_the_wall_clock_moved_beyond_the_time_that_passed() {
        let (wall, steady) = (Timestamp::UNIX_EPOCH, Instant::now());
        let mut clock = Clock::new(wall, steady);
        let at = |seconds| wall.checked_add(SignedDuration::from_secs(seconds)).unwrap();
        let after = |seconds| steady + Duration::from_secs(seconds);
        assert_eq!(clock.step(at(10), after(10)), None);
        assert_eq!(
            clock.step(at(7220), after(20)),
            Some(SignedDuration::from_secs(7200))
        );
        assert_eq!(clock.step(at(7230), after(30)), None);
        assert_eq!(
            clock.step(at(40), after(40)),
            Some(SignedDuration::from_secs(-7200))
        );
    }
}
