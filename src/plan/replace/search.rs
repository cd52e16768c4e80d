//! The proof of the table: a breadth-first search over every order of a bounded number of disturbances, and from
//! every state that it meets the way home, left alone in a kind world. Then long random walks.
//!
//! The normal run takes four of the likely disturbances and three of all. Deeper (`n` likely ones, `n - 1` of all):
//! `RINGFENCE_SEARCH_DEPTH=6 cargo test --release --lib plan::replace::search -- --nocapture --test-threads 1`

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::{BuildHasherDefault, Hasher};

use super::model::{Con, Key, Mode, Name, World};
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

struct Search {
    mode: Mode,
    range: Range,
    seen: HashMap<Key, Key, Build>,
    home: HashMap<Key, u8, Build>,
    longest: u8,
}

impl Search {
    fn new(mode: Mode, range: Range) -> Self {
        Self {
            mode,
            range,
            seen: HashMap::default(),
            home: HashMap::default(),
            longest: 0,
        }
    }

    /// All states within `depth` disturbances.
    fn run(&mut self, depth: usize) {
        // Nothing has run yet, or one release has.
        let mut level = vec![(World::new(self.mode), 0)];
        level.push((
            World {
                good: Some(0),
                ..World::new(self.mode)
            },
            0,
        ));
        for left in (0..=depth).rev() {
            let mut here = vec![];
            while let Some((mut world, from)) = level.pop() {
                let key = world.settle();
                if self.seen.contains_key(&key) {
                    continue;
                }
                self.seen.insert(key, from);
                here.push(key);
                if self.mode == Mode::StopFirst && world.running() > 1 {
                    self.fail(key, "stop-first: two run");
                }
                let next = world.next();
                if let Next::Call(call) = &next {
                    match world.call(call) {
                        Ok(after) => level.push((after, key)),
                        Err(why) => self.fail(key, &why),
                    }
                }
                let mut flow = vec![];
                world.flow(&next, &mut flow);
                self.way_home(&world, key, next);
                level.extend(flow.into_iter().map(|world| (world, key)));
            }
            if left == 0 {
                break;
            }
            let mut out = vec![];
            let mut new: HashSet<Key, Build> = HashSet::default();
            for key in here {
                disturb(&World::of(self.mode, key), self.range, &mut out);
                for mut world in out.drain(..) {
                    let to = world.settle();
                    if !self.seen.contains_key(&to) && new.insert(to) {
                        level.push((world, key));
                    }
                }
            }
        }
    }

    /// Left alone in a kind world: the calls until it is home.
    fn way_home(&mut self, world: &World, key: Key, next: Next) {
        let mut path = vec![];
        let (mut world, mut key, mut next) = (world.clone(), key, Some(next));
        let mut calls = loop {
            if let Some(calls) = self.home.get(&key) {
                break *calls;
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
                        self.home.insert(key, 0);
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
            self.home.insert(key, calls);
            if calls > calls_home() {
                self.fail(key, &format!("{calls} calls until it is home"));
            }
        }
        self.longest = self.longest.max(calls);
    }

    fn fail(&self, key: Key, why: &str) -> ! {
        let mut path = vec![key];
        let mut at = key;
        while let Some(from) = self.seen.get(&at).filter(|from| **from != 0) {
            path.push(*from);
            at = *from;
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
    let (wanted, good) = (world.wanted, world.good);
    let mut told = format!(
        "{:?} wanted {wanted:?} good {good:?} failed {:?} may_start {} done {:?}",
        world.mode, world.failed, world.may_start, world.done
    );
    for (at, con) in world.cons.iter().enumerate() {
        let flags = [
            (con.own_policy, "own policy"),
            (!con.known, "not inspected"),
            (con.missing, "missing"),
            (con.surplus, "surplus"),
            (con.drained, "drained"),
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
    if range == Range::All {
        push(&|world| world.may_start = !world.may_start);
        push(&|world| world.cons.iter_mut().for_each(|con| con.known = false));
    }
    for spec in 0..3_u8 {
        if world.wanted != Some(spec) {
            // Asked for (again).
            push(&|world| {
                world.failed[spec as usize] = false;
                world.wanted = Some(spec);
            });
        }
    }
    let Some(wanted) = world.wanted else { return };
    if range == Range::All {
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
    let all = range == Range::All;
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
    let free = |name: &Name| !world.cons.iter().any(|con| con.name == *name);
    let spelled = [Name::Spelled(0), Name::Spelled(1)].into_iter().find(free);
    let ours = [Name::Spelled(1), Name::Passing((con.spec + 1) % 3), Name::Old(1)];
    let ours = ours.into_iter().filter(|name| all && free(name));
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

fn calls_home() -> u8 {
    CALLS_HOME + CALLS_MORE * u8::try_from(depth().saturating_sub(4)).unwrap_or(u8::MAX / CALLS_MORE)
}

fn depth() -> usize {
    // Read when the test is compiled: a pure room's tests do no I/O either.
    option_env!("RINGFENCE_SEARCH_DEPTH").map_or(4, |text| text.parse().expect("a number of disturbances"))
}

fn search(mode: Mode) {
    for (range, depth) in [(Range::Likely, depth()), (Range::All, depth().saturating_sub(1))] {
        let mut search = Search::new(mode, range);
        search.run(depth);
        let (states, calls) = (search.seen.len(), search.longest);
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
    let mut search = Search::new(mode, Range::All);
    let (mut world, mut from) = (World::new(mode), 0);
    for step in 0..steps {
        if step % 100 == 99 {
            // What the ledger remembers of jobs would leave little to do.
            (world, from) = (World::new(mode), 0);
        }
        let key = world.settle();
        search.seen.entry(key).or_insert(from);
        from = key;
        if mode == Mode::StopFirst && world.running() > 1 {
            search.fail(key, "stop-first: two run");
        }
        search.way_home(&world, key, world.next());
        let mut ways = vec![];
        match dice.below(10) {
            0..4 if world.cons.len() < 5 => disturb(&world, Range::All, &mut ways),
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
