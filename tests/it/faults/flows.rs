//! Changes of a fleet that are run again and again, each time with another disturbance, and what must come of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use simulated_engine::World;

use super::promotions::{APPROVED, ONE, WAVES, both_run, promote, proposed, records};
use crate::support::fleet::{AGENT, agent_service, tenant};
use crate::support::simulated::SimulatedFleet;

/// The file of all services.
pub const ALL: &str = "desired/services/all.yaml";

/// A change of the fleet, and what `apply` says when it is done.
pub struct Flow {
    /// In a word.
    pub name: &'static str,
    /// What is there before, applied.
    before: fn(&SimulatedFleet),
    /// What is asked for.
    change: fn(&SimulatedFleet),
    /// The verb that a person calls for it.
    pub verb: &'static [&'static str],
    /// The exit code of an undisturbed run.
    pub code: i32,
    /// What a run may say that begins after the work was done.
    pub after: i32,
}

/// In one ring that follows its branch.
pub const FLOWS: [Flow; 9] = [
    Flow {
        name: "create",
        before: |_| {},
        change: |fleet| write(fleet, &[("agent", "1", ""), ("db", "1", ""), ("bus", "1", "")]),
        verb: &["apply"],
        code: 0,
        after: 0,
    },
    Flow {
        name: "replace",
        before: |fleet| applied(fleet, &[("agent", "1", ""), ("bus", "1", "")]),
        change: |fleet| write(fleet, &[("agent", "2", ""), ("bus", "1", "")]),
        verb: &["apply"],
        code: 0,
        after: 0,
    },
    Flow {
        name: "stop-first",
        before: |fleet| applied(fleet, &[("db", "1", "")]),
        change: |fleet| write(fleet, &[("db", "2", "")]),
        verb: &["apply"],
        code: 0,
        after: 0,
    },
    Flow {
        name: "take back",
        before: |fleet| applied(fleet, &[("agent", "1", "")]),
        change: |fleet| write(fleet, &[("agent", "2", "unhealthy")]),
        verb: &["apply"],
        code: 3,
        after: 4,
    },
    Flow {
        name: "take back, stop-first",
        before: |fleet| applied(fleet, &[("db", "1", "")]),
        change: |fleet| write(fleet, &[("db", "2", "unhealthy")]),
        verb: &["apply"],
        code: 3,
        after: 4,
    },
    Flow {
        name: "remove",
        before: |fleet| {
            fleet.write("desired/tenants/beta.yaml", &tenant("beta", "dev"));
            applied(fleet, &[("agent", "1", ""), ("db", "1", ""), ("bus", "1", "")]);
        },
        change: |fleet| {
            fleet
                .on("main")
                .remove("desired/tenants/beta.yaml")
                .commit("beta goes");
        },
        verb: &["apply"],
        code: 0,
        after: 0,
    },
    Flow {
        name: "erase",
        before: |fleet| {
            fleet.write("desired/tenants/beta.yaml", &tenant("beta", "dev"));
            applied(fleet, &[("agent", "1", ""), ("db", "1", ""), ("bus", "1", "")]);
        },
        change: |fleet| {
            let erased = format!("{}state: erased\n", tenant("beta", "dev"));
            fleet
                .on("main")
                .write("desired/tenants/beta.yaml", &erased)
                .commit("beta and its data go");
        },
        verb: &["apply"],
        code: 0,
        after: 0,
    },
    Flow {
        name: "lost live directory",
        before: |fleet| applied(fleet, &[("agent", "1", ""), ("db", "1", ""), ("bus", "1", "")]),
        change: |fleet| std::fs::remove_dir_all(fleet.state().join("files/live")).unwrap(),
        verb: &["apply"],
        code: 0,
        after: 0,
    },
    Flow {
        name: "adopt",
        before: |fleet| {
            fleet.on("main").write("README.md", "a fleet\n").commit("begin");
            applied(fleet, &[("agent", "1", ""), ("db", "1", ""), ("bus", "1", "")]);
        },
        change: |fleet| {
            // Neither the ledger nor history knows what runs.
            write(fleet, &[("agent", "2", ""), ("db", "1", ""), ("bus", "1", "")]);
            let root = fleet.git(&["rev-list", "--max-parents=0", "HEAD"]);
            fleet.git(&["reset", "-q", "--soft", &root]);
            fleet.git(&["commit", "-q", "-m", "all anew"]);
            for end in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(fleet.state().join(format!("ledger.sqlite{end}")));
            }
        },
        verb: &["apply", "--adopt"],
        code: 0,
        after: 0,
    },
];

/// Of a pinned ring: they replace as the others do, and have more to record.
pub const PROMOTIONS: [Flow; 3] = [
    Flow {
        name: "promote",
        before: |fleet| both_run(fleet, APPROVED, &[("agent", "1", ""), ("bus", "1", "")]),
        change: |fleet| promote(fleet, APPROVED, &[("agent", "2", ""), ("bus", "2", "")]),
        verb: &["apply"],
        code: 0,
        after: 0,
    },
    Flow {
        name: "take a promotion back",
        before: |fleet| both_run(fleet, WAVES, &[("agent", "1", "")]),
        change: |fleet| promote(fleet, WAVES, &[("agent", "2", "${FAIL:-}")]),
        verb: &["apply"],
        code: 3,
        after: 4,
    },
    Flow {
        name: "roll back",
        before: |fleet| {
            both_run(fleet, ONE, &[("db", "1", "")]);
            promote(fleet, ONE, &[("db", "2", "")]);
            fleet.ringfence(&["apply"]).expect(0);
        },
        change: |fleet| {
            let back = ["rollback", "staging", "--yes", "-m", "slow"];
            fleet.ringfence(&back).expect(0);
        },
        verb: &["apply"],
        code: 0,
        after: 0,
    },
];

/// The services of a fleet: name, version and `AGENT_FAIL`. `db` has data and is replaced stop-first, `bus` is the ring's.
pub fn services(all: &[(&str, &str, &str)]) -> String {
    let of = |(name, version, fail): &(&str, &str, &str)| {
        let more = match *name {
            "db" => "volumes: [\"data:/data\"]\nx-ringfence: {rollout: {drain: 5ms}}",
            "bus" => "x-ringfence: {scope: ring, rollout: {drain: 5ms}}",
            _ => "x-ringfence: {rollout: {drain: 5ms}}",
        };
        let env = format!("environment: {{AGENT_VERSION: \"{version}\", AGENT_FAIL: \"{fail}\"}}");
        agent_service(name, &format!("restart: unless-stopped\n{env}\n{more}"))
    };
    let volumes = if all.iter().any(|(name, ..)| *name == "db") {
        "volumes: {data: {}}\n"
    } else {
        ""
    };
    let services: String = all.iter().map(of).collect();
    format!("services:\n{services}{volumes}")
}

/// A ring that follows `main`, with these services.
fn write(fleet: &SimulatedFleet, all: &[(&str, &str, &str)]) {
    fleet
        .on("main")
        .write(
            "rings/rings.yaml",
            "rings:\n  dev: {id: 0, auto_deploy: true, rollout: {observe: 0s}}\n",
        )
        .write(ALL, &services(all))
        .write("desired/tenants/acme.yaml", &tenant("acme", "dev"))
        .commit("a change");
}

fn applied(fleet: &SimulatedFleet, services: &[(&str, &str, &str)]) {
    write(fleet, services);
    fleet.ringfence(&["apply"]).expect(0);
}

/// Objects that are not ours, though their names look like it.
fn strangers(fleet: &SimulatedFleet) {
    let instance = &fleet.instance;
    let names = [
        format!("agent.acme.{instance}.old-00000000"),
        format!("dbx.acme.{instance}"),
    ];
    fleet.engine.with(|world| {
        for name in &names {
            let id = world.create(name, &json!({"Image": AGENT})).unwrap();
            world.run(&id);
        }
        world.add_network(
            &format!("other.{instance}"),
            Some("10.201.0.0/27"),
            BTreeMap::new(),
        );
        world.create_volume(&format!("other.{instance}"), BTreeMap::new());
    });
}

/// What can be seen of a world, without what differs from run to run: ids, times, spellings.
#[derive(Debug, PartialEq)]
pub struct End {
    ours: Vec<String>,
    strangers: Vec<String>,
    rest: Vec<String>,
    rings: Value,
}

impl End {
    /// What another end has less, and more.
    fn against(&self, other: &Self) -> String {
        let lines = |end: &Self| -> Vec<String> {
            let all = [&end.ours, &end.strangers, &end.rest]
                .into_iter()
                .flatten()
                .cloned();
            all.chain([format!("{:#}", end.rings)]).collect()
        };
        let (mine, theirs) = (lines(self), lines(other));
        let less = mine
            .iter()
            .filter(|line| !theirs.contains(line))
            .map(|line| format!("- {line}"));
        let more = theirs
            .iter()
            .filter(|line| !mine.contains(line))
            .map(|line| format!("+ {line}"));
        less.chain(more).collect::<Vec<_>>().join("\n")
    }

    fn of(fleet: &SimulatedFleet) -> Self {
        let instance = fleet.instance.clone();
        let label = |labels: &BTreeMap<String, String>, key: &str| {
            labels
                .get(&format!("dev.ringfence.{key}"))
                .cloned()
                .unwrap_or_default()
        };
        let ours = |labels: &BTreeMap<String, String>| label(labels, "instance") == instance;
        let world = fleet.engine.snapshot();
        let mut end = Self {
            ours: Vec::new(),
            strangers: Vec::new(),
            rest: Vec::new(),
            rings: Value::Null,
        };
        for c in world.containers.values() {
            if !ours(&c.labels) {
                end.strangers.push(format!("{c:?}"));
                continue;
            }
            let networks = c.networks.iter().map(|(name, at)| {
                let aliases: Vec<_> = at
                    .aliases
                    .iter()
                    .filter(|alias| !c.id.starts_with(*alias))
                    .collect();
                format!("{name} {aliases:?} {:?}", at.links)
            });
            end.ours.push(format!(
                "{} {:?} {:?} {} version {:?} spec {} policy {} on {:?} with {:?}",
                c.name.to_lowercase().replace(&c.id, "ID"),
                c.state,
                c.health,
                c.image,
                c.env("AGENT_VERSION"),
                label(&c.labels, "spec"),
                c.policy(),
                networks.collect::<Vec<_>>(),
                c.mounts,
            ));
        }
        for n in world.networks.values() {
            let list = if ours(&n.labels) {
                &mut end.rest
            } else {
                &mut end.strangers
            };
            // Which subnet it got depends on the host's own routes.
            list.push(format!("network {} {:?}", n.name, n.labels));
        }
        for v in world.volumes.values() {
            let list = if ours(&v.labels) {
                &mut end.rest
            } else {
                &mut end.strangers
            };
            let labels = v.labels.iter().filter(|(key, _)| !key.ends_with(".holder"));
            list.push(format!("volume {} {:?}", v.name, labels.collect::<Vec<_>>()));
        }
        for image in world.images.values() {
            end.rest.push(format!("image {:?}", image.tags));
        }
        end.ours.sort();
        end.rest.sort();
        end
    }
}

/// A flow that stands before its change, to be run again and again.
pub struct Stage {
    pub flow: &'static Flow,
    pub fleet: SimulatedFleet,
    before: World,
    end: End,
    pub failures: Vec<String>,
}

impl Stage {
    /// Sets a flow up and runs it once undisturbed.
    pub fn new(flow: &'static Flow, tag: &str) -> Self {
        let short: String = flow.name.chars().filter(char::is_ascii_alphabetic).collect();
        let fleet = SimulatedFleet::new(&format!("{tag}-{}", &short[..short.len().min(14)]));
        strangers(&fleet);
        (flow.before)(&fleet);
        (flow.change)(&fleet);
        let before = fleet.engine.snapshot();
        if fleet.state().exists() {
            copy(&fleet.state(), &fleet.home().join("state"));
        }
        fleet.ringfence(flow.verb).expect(flow.code);
        let end = End::of(&fleet);
        let mut stage = Self {
            flow,
            fleet,
            before,
            end,
            failures: Vec::new(),
        };
        let (more, rings) = stage.second_pass();
        assert_eq!(more, Vec::<String>::new(), "{}", flow.name);
        stage.end.rings = rings;
        stage
    }

    /// All is as before the change, on the engine and in the state directory.
    pub fn reset(&self) {
        self.fleet.engine.no_faults();
        self.fleet.engine.cut();
        let state = self.fleet.state();
        if state.exists() {
            std::fs::remove_dir_all(&state).unwrap();
        }
        let kept = self.fleet.home().join("state");
        if kept.exists() {
            copy(&kept, &state);
        }
        self.fleet.engine.restore(&self.before);
        self.fleet.engine.forget_calls();
    }

    /// What another `apply` still changes, and what it says of the rings.
    pub fn second_pass(&self) -> (Vec<String>, Value) {
        self.fleet.engine.forget_calls();
        let proposal = proposed(&self.fleet, "%(objectname)");
        let status = self
            .fleet
            .ringfence(&["apply", "-o", "json"])
            .expect(self.flow.after)
            .json();
        let of = |ring: &Value| {
            let keys = [
                "name",
                "phase",
                "declared",
                "running",
                "previous",
                "quarantined",
                "conditions",
            ];
            json!(keys.map(|key| &ring[key]))
        };
        let rings: Vec<_> = status["rings"].as_array().unwrap().iter().map(of).collect();
        let mut more = self.fleet.changed();
        if proposal != proposed(&self.fleet, "%(objectname)") {
            more.push(format!("another proposal than {proposal}"));
        }
        (more, json!([rings, records(&self.fleet)]))
    }

    /// Runs the binary once more, after or under a disturbance, and compares. `codes` is what it may end with: after one
    /// that says that it is not at its end (1, or 4 where that is not the flow's own end) it is run again.
    pub fn check(&mut self, what: &str, codes: &[i32]) {
        let mut answer = self.fleet.ringfence(self.flow.verb);
        let name = self.flow.name;
        let good = codes.contains(&answer.code);
        self.fleet.engine.no_faults();
        self.fleet.engine.with(|world| world.drop_events(|_| false));
        let says_so = answer.stdout.contains("cannot be removed");
        if says_so || answer.code == 1 || answer.code == 4 && self.flow.after != 4 {
            answer = self.fleet.ringfence(self.flow.verb);
        }
        let mut end = End::of(&self.fleet);
        let more;
        (more, end.rings) = self.second_pass();
        let mut tell = |why: String| self.failures.push(format!("{name}, {what}: {why}"));
        if !good {
            tell(format!("an unexpected end: {answer}"));
        }
        if end != self.end {
            tell(format!(
                "another end:\n{}\nafter {answer}",
                self.end.against(&end)
            ));
        }
        if !more.is_empty() {
            tell(format!("a second pass makes changes: {more:#?}"));
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let output = Command::new("cp").arg("-R").arg(from).arg(to).output().unwrap();
    assert!(output.status.success(), "cp: {output:?}");
}

/// Goes through 0, 1, 2 … until `one` says that there is no such; how many there were.
pub fn each(mut one: impl FnMut(usize) -> bool) -> usize {
    (0..500).find(|n| !one(*n)).unwrap()
}

/// The same where some are none that disturb; how many did.
pub fn each_that(mut one: impl FnMut(usize) -> Option<bool>) -> usize {
    let mut count = 0;
    each(|n| {
        let disturbs = one(n);
        count += usize::from(disturbs == Some(true));
        disturbs.is_some()
    });
    count
}

/// Tells counts even of a test that passes.
pub fn tell(text: &str) {
    use std::io::Write as _;
    // Not `print`, which the test runner keeps to itself.
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}

/// Tells how many were tried, and fails with what went wrong.
pub fn conclude(what: &str, tried: &str, results: Vec<(usize, Vec<String>)>, begin: std::time::Instant) {
    let total: usize = results.iter().map(|(count, _)| count).sum();
    let failures: Vec<_> = results.into_iter().flat_map(|(_, failures)| failures).collect();
    tell(&format!(
        "{what}: {total} {tried}, {:.1} s\n",
        begin.elapsed().as_secs_f32()
    ));
    assert!(
        failures.is_empty(),
        "{} of {total} failed\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}
