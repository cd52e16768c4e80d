//! The proof of the table: a breadth-first search over every order of a bounded number of disturbances, and from
//! every state that it meets the way home, left alone in a kind world. Then long random walks.
//!
//! The normal run takes four of all disturbances, and three where also limits are set by hand and services give way;
//! `make test-search` six of the likely ones, five of all, and four of those.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{BuildHasherDefault, Hasher};

use super::key::Key;
use super::model::{Con, Mode, Name, World};
use super::{Activity, Health, Next};

/// Calls on the longest way home (22 were seen within four disturbances), a bad release that fails on the way, the
/// rollback and the tidying after success included.
const CALLS_HOME: u8 = 24;
/// Each disturbance beyond four can leave one more container behind, which takes four calls to put away.
const CALLS_MORE: u8 = 4;

/// Which disturbances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    /// The likely ones.
    Likely,
    /// Also dependencies, a service that shall go and come back, unknown health, removals that take time, lost and
    /// surplus networks, forgotten inspections, and names of ours given by hand.
    All,
    /// Also limits set by hand, and a service that gives way.
    Whole,
}

/// States are well mixed by one multiplication.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are numbers");
    }
    #[allow(clippy::cast_possible_truncation, reason = "both halves are folded")]
    fn write_u128(&mut self, key: u128) {
        let folded = (key as u64) ^ ((key >> 64) as u64).rotate_left(29);
        let mixed = folded.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }
}

type Build = BuildHasherDefault<Mix>;

/// A state that was met.
struct Met {
    /// The state before it; [`ON_THE_WAY`]: met on a way home only.
    from: Key,
    /// Calls until it is home, once they are known.
    home: Option<u8>,
}

const ON_THE_WAY: Key = Key::MAX;

struct Search {
    mode: Mode,
    range: Range,
    met: HashMap<Key, Met, Build>,
    states: usize,
    /// Calls on the longest way home that was met, and how many there may be.
    longest: u8,
    bound: u8,
}

impl Search {
    fn new(mode: Mode, range: Range) -> Self {
        Self {
            mode,
            range,
            met: HashMap::default(),
            states: 0,
            longest: 0,
            bound: CALLS_HOME,
        }
    }

    /// All states within `depth` disturbances.
    fn run(&mut self, depth: u8) {
        self.bound = CALLS_HOME + CALLS_MORE * depth.saturating_sub(4);
        // Nothing has run yet, or one release has.
        let nothing = World::new(self.mode);
        let good = Some(0);
        let mut ahead = vec![
            (
                World {
                    good,
                    ..nothing.clone()
                },
                0,
            ),
            (nothing, 0),
        ];
        let mut border = vec![];
        self.explore(&mut ahead, &mut border);
        let mut out = vec![];
        for _ in 0..depth {
            for key in std::mem::take(&mut border) {
                disturb(&World::of(self.mode, key), self.range, &mut out);
                ahead.extend(out.drain(..).map(|world| (world, key)));
                self.explore(&mut ahead, &mut border);
            }
        }
    }

    /// Everything that calls and time make of the worlds `ahead`; what is new is added to `border`.
    fn explore(&mut self, ahead: &mut Vec<(World, Key)>, border: &mut Vec<Key>) {
        let mut flow = vec![];
        while let Some((mut world, from)) = ahead.pop() {
            let key = world.settle();
            if !self.note(key, from) {
                continue;
            }
            border.push(key);
            if self.mode == Mode::StopFirst && world.running() > 1 {
                self.fail(key, "stop-first: two run");
            }
            let next = world.next();
            if let Next::Call(call) = &next {
                match world.call(call) {
                    Ok(after) => ahead.push((after, key)),
                    Err(why) => self.fail(key, &why),
                }
            }
            world.flow(&next, &mut flow);
            ahead.extend(flow.drain(..).map(|world| (world, key)));
            self.way_home(&world, key, next);
        }
    }

    /// Whether a state is met for the first time, other than on a way home.
    fn note(&mut self, key: Key, from: Key) -> bool {
        let met = self.met.entry(key).or_insert(Met {
            from: ON_THE_WAY,
            home: None,
        });
        let new = met.from == ON_THE_WAY;
        if new {
            met.from = from;
            self.states += 1;
        }
        new
    }

    /// Left alone in a kind world: the calls until it is home.
    fn way_home(&mut self, world: &World, key: Key, next: Next) {
        let mut path = vec![];
        let (mut world, mut key, mut next) = (world.clone(), key, Some(next));
        let mut calls = loop {
            if let Some(calls) = self.met.get(&key).and_then(|met| met.home) {
                break calls;
            }
            if path.len() > 90 {
                self.fail(key, "it does not come home");
            }
            match next.take().unwrap_or_else(|| world.next()) {
                Next::Call(call) => {
                    path.push((key, 1));
                    world = world.call(&call).unwrap_or_else(|why| self.fail(key, &why));
                }
                Next::Wait(wait) => {
                    path.push((key, 0));
                    world = world.kind(&wait).unwrap_or_else(|why| self.fail(key, &why));
                }
                Next::Done => {
                    world.is_home().unwrap_or_else(|why| self.fail(key, &why));
                    if world.wanted.is_none() || world.good == world.wanted {
                        self.arrives(key, 0);
                        break 0;
                    }
                    path.push((key, 0));
                    world.good = world.wanted;
                }
            }
            key = world.settle();
        };
        for (key, cost) in path.into_iter().rev() {
            calls += cost;
            self.arrives(key, calls);
            if calls > self.bound {
                self.fail(key, &format!("{calls} calls until it is home"));
            }
        }
        self.longest = self.longest.max(calls);
    }

    fn arrives(&mut self, key: Key, calls: u8) {
        let met = self.met.entry(key).or_insert(Met {
            from: ON_THE_WAY,
            home: None,
        });
        met.home = Some(calls);
    }

    fn fail(&self, key: Key, why: &str) -> ! {
        let mut path = vec![key];
        let mut at = key;
        while let Some(met) = self
            .met
            .get(&at)
            .filter(|met| met.from != 0 && met.from != ON_THE_WAY)
        {
            at = met.from;
            path.push(at);
        }
        let mut told = String::new();
        for key in path.iter().rev() {
            let world = World::of(self.mode, *key);
            writeln!(told, "{}\n    next: {:?}", tell(&world), world.next()).unwrap();
        }
        panic!("{why}\n{told}");
    }
}

fn tell(world: &World) -> String {
    let (wanted, good, way) = (world.wanted, world.good, world.gives_way);
    let mut told = format!(
        "{:?} wanted {wanted:?} gives way {way} good {good:?} failed {:?} may_start {} done {:?}",
        world.mode, world.failed, world.may_start, world.done
    );
    for (at, con) in world.cons.iter().enumerate() {
        let flags = [
            (con.own_policy, "own policy"),
            (!con.known, "not inspected"),
            (con.missing, "missing"),
            (con.surplus, "surplus"),
            (con.drained, "drained"),
            (con.limits, "other limits"),
        ];
        let flags: Vec<&str> = flags
            .iter()
            .filter(|(has, _)| *has)
            .map(|(_, word)| *word)
            .collect();
        write!(
            told,
            "\n  c{at} {:?} spec {} {:?} {:?} {flags:?}",
            con.name, con.spec, con.activity, con.health
        )
        .unwrap();
    }
    told
}

/// Everything that may happen to a world, each a world.
fn disturb(world: &World, range: Range, out: &mut Vec<World>) {
    for at in 0..world.cons.len() {
        disturb_one(world, at, range, out);
    }
    let mut push = |change: &dyn Fn(&mut World)| {
        let mut world = world.clone();
        change(&mut world);
        out.push(world);
    };
    push(&restart_engine);
    if range != Range::Likely {
        push(&|world| world.may_start = !world.may_start);
        push(&|world| world.cons.iter_mut().for_each(|con| con.known = false));
    }
    for spec in 0..3_u8 {
        if world.wanted != Some(spec) {
            // Asked for (again).
            push(&|world| {
                world.failed[spec as usize] = false;
                world.wanted = Some(spec);
                world.gives_way = false;
            });
        }
    }
    if range == Range::Whole {
        // No more asked for, and in the way; or the way is free, and it may go.
        push(&|world| {
            world.wanted = None;
            world.gives_way = !world.gives_way;
        });
    }
    let Some(wanted) = world.wanted else { return };
    if range != Range::Likely {
        push(&|world| world.wanted = None);
    }
    if world.good.is_some_and(|good| good != wanted) {
        push(&World::fail);
    }
    let succeeds = |con: &Con| con.spec == wanted && con.serving() && con.health == Health::Healthy;
    if world.good != world.wanted && (world.cons.iter().any(succeeds) || world.done[wanted as usize]) {
        push(&|world| world.good = world.wanted);
    }
}

fn disturb_one(world: &World, at: usize, range: Range, out: &mut Vec<World>) {
    let con = world.cons[at];
    let all = range != Range::Likely;
    let mut push = |change: &dyn Fn(&mut Con)| {
        let mut world = world.clone();
        change(&mut world.cons[at]);
        out.push(world);
    };
    if con.activity == Activity::Running {
        push(&Con::end);
        if world.mode != Mode::Job {
            for health in [Health::Unknown, Health::Healthy, Health::Unhealthy] {
                push(&|con| con.health = health);
            }
        }
    }
    if all {
        push(&|con| con.missing = true);
        push(&|con| con.activity = Activity::Removing);
        push(&|con| con.surplus = true);
    }
    if range == Range::Whole && !con.limits {
        push(&|con| con.limits = true);
    }
    let free = |name: &Name| !world.cons.iter().any(|con| con.name == *name);
    let spelled = [Name::Spelled(0), Name::Spelled(1)].into_iter().find(free);
    let ours = [Name::Spelled(1), Name::Passing((con.spec + 1) % 3), Name::Old(1)].into_iter();
    let ours = ours.filter(|name| all && free(name));
    for name in ours.chain(spelled.filter(|_| all)).chain([Name::Foreign]) {
        push(&|con| con.name = name);
    }
    out.push({
        let mut world = world.clone();
        world.cons.remove(at);
        world
    });
}

/// Everything that ran ends; what has a policy that says so runs (again).
fn restart_engine(world: &mut World) {
    let own_wakes = world.mode != Mode::Job;
    world.cons.retain(|con| con.activity != Activity::Removing);
    for con in &mut world.cons {
        let runs = con.own_policy && own_wakes;
        if runs {
            con.activity = Activity::Running;
            con.health = Health::Starting;
        } else if con.runs() {
            con.end();
        }
    }
}

/// How many disturbances of which range. Chosen when the test is compiled: a pure room's tests do no I/O either.
const DEPTHS: &[(Range, u8)] = match option_env!("RINGFENCE_SEARCH") {
    Some(_) => &[(Range::Likely, 6), (Range::All, 5), (Range::Whole, 4)],
    None => &[(Range::All, 4), (Range::Whole, 3)],
};

fn search(mode: Mode) {
    for &(range, depth) in DEPTHS {
        let mut search = Search::new(mode, range);
        search.run(depth);
        let (states, calls) = (search.states, search.longest);
        println!("{mode:?}, {range:?}: {depth} disturbances, {states} states, at most {calls} calls home");
    }
}

#[test]
fn every_order_of_disturbances_start_first() {
    search(Mode::StartFirst);
}

#[test]
fn every_order_of_disturbances_stop_first() {
    search(Mode::StopFirst);
}

#[test]
fn every_order_of_disturbances_of_a_job() {
    search(Mode::Job);
}

/// Splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ z >> 31) % end as u64).unwrap()
    }
}

fn walk(mode: Mode, seed: u64, steps: usize) -> u8 {
    println!("{mode:?}: seed {seed}");
    let mut dice = Dice(seed);
    let mut search = Search::new(mode, Range::Whole);
    let (mut world, mut from) = (World::new(mode), 0);
    for step in 0..steps {
        if step % 100 == 99 {
            // What the ledger remembers of jobs would leave little to do.
            (world, from) = (World::new(mode), 0);
        }
        let key = world.settle();
        search.note(key, from);
        from = key;
        if mode == Mode::StopFirst && world.running() > 1 {
            search.fail(key, "stop-first: two run");
        }
        search.way_home(&world, key, world.next());
        let mut ways = vec![];
        match dice.below(10) {
            0..4 if world.cons.len() < 5 => disturb(&world, Range::Whole, &mut ways),
            4..6 => world.flow(&world.next(), &mut ways),
            _ => {}
        }
        if !ways.is_empty() {
            world = ways.swap_remove(dice.below(ways.len()));
        } else if let Next::Call(call) = world.next() {
            world = world.call(&call).unwrap_or_else(|why| search.fail(key, &why));
        }
    }
    search.longest
}

#[test]
fn long_random_walks_keep_every_promise() {
    for mode in [Mode::StartFirst, Mode::StopFirst, Mode::Job] {
        let longest = (1..=6).map(|seed| walk(mode, seed, 2000)).max();
        println!("{mode:?}: at most {} calls home", longest.unwrap_or(0));
    }
}
