//! A state of the model in a number, so that the search can hold millions of them.

use super::model::{Con, Mode, Name, World};
use super::{Activity, Health};

/// A state in a number; the order of containers is none.
pub(super) type Key = u128;
/// Codes of a container (`Con::pack`): 13 names × 3 specs and none, × 9 bits. Eight of them and 11 bits make a key.
const CODES: Key = 40 << 9;
/// Seven of them leave room above, for what few states have: a bit for each container with other limits than its spec's, one
/// for a service that gives way, and this one, which says that those are there.
const ABOVE: Key = 1 << 126;
const BELOW: Key = (1 << 112) - 1;

impl Con {
    fn pack(self) -> u16 {
        let bits = [
            self.own_policy,
            self.known,
            self.missing,
            self.surplus,
            self.drained,
        ];
        let bits = bits.iter().fold(0, |all, bit| all << 1 | u16::from(*bit));
        let what = u16::from(self.name.code()) * 3 + u16::from(self.spec) + 1;
        ((what << 2 | self.activity as u16) << 2 | self.health as u16) << 5 | bits
    }

    fn unpack(code: u16) -> Self {
        let what = u8::try_from((code >> 9) - 1).unwrap();
        let name = match what / 3 {
            n @ 0..2 => Name::Spelled(n),
            n @ 2..5 => Name::Passing(n - 2),
            n @ 5..8 => Name::Old(n - 5),
            n @ 8..11 => Name::Failed(n - 8),
            11 => Name::Gone,
            _ => Name::Foreign,
        };
        let bit = |n: u16| code >> n & 1 == 1;
        let two = |n: u16| usize::from(code >> n & 3);
        Self {
            name,
            spec: what % 3,
            activity: [
                Activity::Stopped,
                Activity::Running,
                Activity::Stopping,
                Activity::Removing,
            ][two(7)],
            health: [
                Health::Unknown,
                Health::Starting,
                Health::Healthy,
                Health::Unhealthy,
            ][two(5)],
            own_policy: bit(4),
            known: bit(3),
            missing: bit(2),
            surplus: bit(1),
            drained: bit(0),
            limits: false,
        }
    }
}

impl World {
    /// Brings it to its one form and says which it is.
    pub fn settle(&mut self) -> Key {
        let job = self.mode == Mode::Job;
        for con in self
            .cons
            .iter_mut()
            .filter(|con| con.activity == Activity::Stopped)
        {
            con.drained = false;
            if !job {
                con.health = Health::Unknown;
            }
        }
        self.cons.sort_by_cached_key(|con| (con.pack(), con.limits));
        assert!(
            self.cons.len() <= 8,
            "more containers than the model holds: {self:#?}"
        );
        let mut key: Key = 0;
        for con in &self.cons {
            key = key * CODES + Key::from(con.pack());
        }
        let spec = |spec: Option<u8>| spec.map_or(3, Key::from);
        key = key << 2 | spec(self.wanted);
        key = key << 2 | spec(self.good);
        for bit in self.failed.iter().chain(&self.done).chain([&self.may_start]) {
            key = key << 1 | Key::from(*bit);
        }
        key | self.above()
    }

    fn above(&self) -> Key {
        let limits = self
            .cons
            .iter()
            .rev()
            .fold(0, |all, con| all << 1 | Key::from(con.limits));
        if limits == 0 && !self.gives_way {
            return 0;
        }
        assert!(
            self.cons.len() <= 7,
            "more containers than the model holds: {self:#?}"
        );
        ABOVE | Key::from(self.gives_way) << 119 | limits << 112
    }

    /// The world of a state.
    pub fn of(mode: Mode, key: Key) -> Self {
        let bit = |n: u32| key >> n & 1 == 1;
        let spec = |n: u32| Some((key >> n & 3) as u8).filter(|spec| *spec < 3);
        let mut cons = vec![];
        let above = if key & ABOVE == 0 { 0 } else { key >> 112 };
        let mut rest = if above == 0 { key } else { key & BELOW } >> 11;
        while rest > 0 {
            cons.push(Con::unpack(u16::try_from(rest % CODES).unwrap()));
            rest /= CODES;
        }
        cons.reverse();
        for (at, con) in cons.iter_mut().enumerate() {
            con.limits = above >> at & 1 == 1;
        }
        Self {
            mode,
            wanted: spec(9),
            gives_way: above >> 7 & 1 == 1,
            good: spec(7),
            failed: [bit(6), bit(5), bit(4)],
            may_start: bit(0),
            done: [bit(3), bit(2), bit(1)],
            cons,
        }
    }
}
