//! What is planned, and why.

use super::*;
use crate::fleet::compose::service::Condition;

fn acme() -> Owner {
    tenant("acme")
}

const WEB: &str = "web.acme.aither";

/// The tenant acme with a service `web` of version 1, running as it shall.
fn at_rest() -> Scene {
    let mut scene = Scene::default();
    scene
        .wants(object(&acme(), "web", 1))
        .has_owner(&acme())
        .has(container(&acme(), "web", 1, WEB));
    for n in 1..4 {
        let spec = spec(&acme(), "web", n);
        scene.specs.insert(spec.hash(), Arc::new(spec));
    }
    scene
}

fn words(calls: &[Call]) -> Vec<String> {
    calls
        .iter()
        .map(|c| match c {
            Call::Create { name } => format!("create {name}"),
            Call::Connect { network, .. } => format!("connect {network}"),
            Call::Disconnect { network, .. } => format!("disconnect {network}"),
            Call::Start { .. } => "start".to_owned(),
            Call::Rename { to, .. } => format!("rename {to}"),
            Call::SetLimits { .. } => "limits".to_owned(),
            Call::SetRestart { restart, .. } => format!("restart {restart:?}"),
            Call::Stop { .. } => "stop".to_owned(),
            Call::Remove { .. } => "remove".to_owned(),
        })
        .collect()
}

#[test]
fn an_empty_engine_gets_everything() {
    let mut scene = Scene::default();
    scene.wants(object(&acme(), "web", 1));
    let volume = VolumeObject {
        name: "data.acme.aither".to_owned(),
        owner: acme(),
    };
    scene.wanted.volumes.insert(volume.name.clone(), volume.clone());
    let plan = scene.plan();
    assert_eq!(plan.make_networks[0].name, "acme.aither");
    assert_eq!(plan.make_volumes, [volume]);
    assert_eq!(plan.write_live["acme.aither"], ["context.json"]);
    assert_eq!(plan.services[0].action, Action::Create);
    let hex = spec(&acme(), "web", 1).hash().0.short();
    assert_eq!(
        words(&plan.services[0].steps),
        [
            format!("create {WEB}.{hex}"),
            "start".to_owned(),
            format!("rename {WEB}")
        ]
    );
    assert!(plan.changes() && !plan.is_empty());
}

#[test]
fn what_is_as_it_shall_be_gives_an_empty_plan() {
    let plan = at_rest().plan();
    assert!(
        plan.is_empty() && !plan.changes() && plan.unknown.is_empty(),
        "{plan:?}"
    );
}

#[test]
fn an_owner_that_is_neither_wanted_nor_named_is_left_alone() {
    let mut scene = at_rest();
    scene.wanted = Objects::default();
    assert!(scene.plan().is_empty());
    scene.holds.insert(acme(), Hold::NoPrune);
    assert!(scene.plan().is_empty());
    scene.holds.insert(acme(), Hold::Untouched);
    assert!(scene.plan().is_empty());
    scene.holds.insert(acme(), Hold::Free);
    let plan = scene.plan();
    assert_eq!(plan.services[0].action, Action::Remove);
    assert_eq!(
        words(&plan.services[0].steps),
        [
            "rename web.acme.aither.gone-id-web-acme-aither",
            "restart No",
            "stop",
            "remove"
        ]
    );
    assert!(plan.remove_networks.is_empty(), "a container still hangs on it");
}

#[test]
fn a_held_owner_is_not_even_healed() {
    let mut scene = at_rest();
    scene.seen = Observation::default();
    scene.live.clear();
    scene.holds.insert(acme(), Hold::Untouched);
    assert!(scene.plan().is_empty());
    scene.holds.insert(acme(), Hold::NoPrune);
    assert_eq!(scene.plan().services[0].action, Action::Create);
}

#[test]
fn without_pruning_a_service_that_went_stays_and_the_others_are_healed() {
    let mut scene = at_rest();
    scene.has(container(&acme(), "old", 1, "old.acme.aither"));
    scene.holds.insert(acme(), Hold::NoPrune);
    assert!(scene.plan().is_empty());
    scene.seen.containers[0].state = State::Exited;
    Arc::make_mut(scene.seen.containers[0].details.as_mut().unwrap()).exit_code = Some(137);
    let plan = scene.plan();
    assert_eq!(plan.services.len(), 1);
    assert_eq!(plan.services[0].action, Action::Repair);
    scene.holds.clear();
    assert_eq!(scene.plan().services.len(), 2);
}

#[test]
fn what_nobody_wrote_down_is_listed_and_never_touched() {
    let mut scene = at_rest();
    let mut strangers = [
        container(&acme(), "web", 3, "web.acme.aither.old-12345678"),
        container(&acme(), "old", 1, "old.acme.aither"),
        container(&acme(), "odd", 1, "odd"),
        container(&acme(), "none", 1, "none"),
    ];
    strangers[2].owner = None;
    strangers[3].spec = None;
    scene.seen.containers.extend(strangers);
    let plan = scene.plan();
    assert_eq!(
        plan.unknown,
        ["web.acme.aither.old-12345678", "old.acme.aither", "odd", "none"]
    );
    assert!(plan.is_empty());
    // The network that they hang on cannot go either.
    scene.wanted = Objects::default();
    scene.holds.insert(acme(), Hold::Free);
    scene.seen.containers.remove(0);
    assert!(scene.plan().is_empty());
    // Another service's note is none for this one.
    let spec = spec(&acme(), "old", 1).hash();
    scene.known.insert("older.acme.aither.x".to_owned(), Some(spec));
    assert!(scene.plan().is_empty());
    scene.known.insert("old.acme.aither.x".to_owned(), Some(spec));
    assert_eq!(scene.plan().services.len(), 1);
}

#[test]
fn a_container_renamed_by_hand_is_still_known_and_takes_its_name_again() {
    let mut scene = at_rest();
    scene.seen.containers[0].name = "mine".to_owned();
    let plan = scene.plan();
    assert!(plan.unknown.is_empty());
    assert_eq!(plan.services[0].action, Action::Repair);
    assert_eq!(plan.services[0].why[0].field, "it was renamed to mine");
    assert_eq!(words(&plan.services[0].steps), [format!("rename {WEB}")]);
}

#[test]
fn a_network_goes_when_it_is_ours_known_unused_and_free() {
    let mut scene = Scene::default();
    scene.has_owner(&acme()).has_network("elsewhere", None);
    scene.holds.insert(acme(), Hold::Free);
    let plan = scene.plan();
    let gone: Vec<_> = plan
        .remove_networks
        .iter()
        .map(|n| (n.name.as_str(), n.id.as_str()))
        .collect();
    assert_eq!(gone, [("acme.aither", "net-acme.aither")]);
    scene.known.clear();
    let plan = scene.plan();
    assert!(plan.remove_networks.is_empty());
    assert_eq!(plan.unknown, ["acme.aither"]);
    scene.holds.insert(acme(), Hold::NoPrune);
    assert!(scene.plan().remove_networks.is_empty() && scene.plan().unknown.is_empty());
}

#[test]
fn volumes_go_only_of_the_erased_and_after_their_containers() {
    let mut scene = at_rest();
    for (name, slug) in [
        ("data.acme.aither", "acme"),
        ("data.beta.aither", "beta"),
        ("own.acme", "acme"),
    ] {
        let labels = BTreeMap::from([("dev.ringfence.tenant".to_owned(), slug.to_owned())]);
        scene.seen.volumes.push(SeenVolume {
            name: name.to_owned(),
            labels,
        });
        if name != "own.acme" {
            scene.known.insert(name.to_owned(), None);
        }
    }
    scene.wanted = Objects::default();
    scene.holds.insert(acme(), Hold::Free);
    scene.seen.containers[0].spec = None;
    assert!(scene.plan().remove_volumes.is_empty(), "it has only stopped");
    scene.erased.insert(acme());
    assert!(scene.plan().remove_volumes.is_empty(), "one may still use them");
    scene.seen.containers.clear();
    let plan = scene.plan();
    let gone: Vec<_> = plan.remove_volumes.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(gone, ["data.acme.aither"]);
    assert_eq!(scene.plan().unknown, ["own.acme"]);
    scene.holds.clear();
    assert!(scene.plan().remove_volumes.is_empty());
}

#[test]
fn a_new_spec_replaces_start_first_and_the_cause_names_the_field() {
    let mut scene = at_rest();
    scene.wants(object(&acme(), "web", 2));
    scene
        .facts
        .good_specs
        .insert(key(&acme(), "web"), spec(&acme(), "web", 1).hash());
    let plan = scene.plan();
    let service = &plan.services[0];
    assert_eq!(
        (service.action, service.order.as_str()),
        (Action::Replace, "start-first")
    );
    assert_eq!(service.why.len(), 1);
    assert_eq!(service.why[0].field, "image");
    let hex = spec(&acme(), "web", 2).hash().0.short();
    assert_eq!(
        words(&service.steps),
        [
            format!("create {WEB}.{hex}"),
            "start".to_owned(),
            "rename web.Acme.aither".to_owned(),
            format!("rename {WEB}.old-{hex}"),
            "restart No".to_owned(),
            "stop".to_owned(),
        ]
    );
    scene.specs.clear();
    assert!(
        scene.plan().services[0].why[0]
            .field
            .contains("which the ledger does not know")
    );
}

#[test]
fn stop_first_stops_the_old_one_before_the_new_one_starts() {
    let mut scene = at_rest();
    let mut new = object(&acme(), "web", 2);
    new.order = RolloutOrder::StopFirst("host port 80 cannot be held twice".to_owned());
    scene.wants(new);
    let plan = scene.plan();
    assert_eq!(
        plan.services[0].order,
        "stop-first: host port 80 cannot be held twice"
    );
    let steps = words(&plan.services[0].steps);
    let at = |word: &str| steps.iter().position(|s| s == word).unwrap();
    assert!(at("stop") < at("start"), "{steps:?}");
    assert!(steps.last().unwrap().starts_with("rename web.acme") || steps.contains(&"remove".to_owned()));
}

#[test]
fn each_kind_of_drift_has_its_words() {
    type Change = fn(&mut Scene);
    let cases: [(&str, Change); 7] = [
        ("it does not run", |s| {
            s.seen.containers[0].state = State::Exited;
            Arc::make_mut(s.seen.containers[0].details.as_mut().unwrap()).exit_code = Some(0);
        }),
        ("it was paused by hand", |s| {
            s.seen.containers[0].state = State::Paused;
        }),
        ("it is not on network acme.aither", |s| {
            s.seen.containers[0].networks.clear();
        }),
        ("it is on network 0.aither, which it should not be", |s| {
            s.has_network("0.aither", Some(&Owner::Fleet));
            s.holds.insert(Owner::Fleet, Hold::Free);
            s.seen.containers[0].networks.insert("0.aither".to_owned());
        }),
        ("it is on network bridge, which it should not be", |s| {
            s.has_network("bridge", None);
            s.seen.containers[0].networks.insert("bridge".to_owned());
        }),
        ("its restart policy was changed", |s| {
            Arc::make_mut(s.seen.containers[0].details.as_mut().unwrap()).restart = Restart::No;
        }),
        ("it was renamed to stray", |s| {
            s.seen.containers[0].name = "stray".to_owned();
        }),
    ];
    for (word, change) in cases {
        let mut scene = at_rest();
        change(&mut scene);
        let plan = scene.plan();
        let service = &plan.services[0];
        assert_eq!(service.action, Action::Repair, "{word}");
        assert_eq!(service.why[0].field, word);
    }
    // Of an owner about whom nothing is known, nothing is cut off.
    let mut scene = at_rest();
    scene.has_network("other.aither", Some(&Owner::Tenant("other".parse().unwrap())));
    scene.seen.containers[0]
        .networks
        .insert("other.aither".to_owned());
    assert!(scene.plan().is_empty());
}

#[test]
fn what_is_kept_for_a_look_is_not_taken_for_the_one_that_comes() {
    let hex = spec(&acme(), "web", 1).hash().0.short();
    for (name, action, why) in [
        (format!("{WEB}.failed-{hex}"), Action::Create, "it is not there"),
        (format!("{WEB}.gone-x"), Action::Create, "it is not there"),
        (format!("{WEB}.old-00000000"), Action::Repair, "it is taken back"),
    ] {
        let mut scene = at_rest();
        let seen = &mut scene.seen.containers[0];
        (seen.name, seen.state) = (name.clone(), State::Exited);
        Arc::make_mut(seen.details.as_mut().unwrap()).exit_code = Some(143);
        let plan = scene.plan();
        assert_eq!(plan.services[0].action, action, "{name}");
        assert_eq!(plan.services[0].why[0].field, why);
        assert_eq!(
            plan.services[0].failed, None,
            "{name}: its exit says nothing about the one that comes"
        );
    }
    // One under its passing name does fail.
    let mut scene = at_rest();
    let seen = &mut scene.seen.containers[0];
    (seen.name, seen.state) = (format!("{WEB}.{hex}"), State::Exited);
    Arc::make_mut(seen.details.as_mut().unwrap()).exit_code = Some(3);
    assert_eq!(
        scene.plan().services[0].failed.as_ref().unwrap().reason,
        "it ended with exit code 3"
    );
    scene.facts.failed_specs.insert(
        key(&acme(), "web"),
        BTreeSet::from([spec(&acme(), "web", 1).hash()]),
    );
    assert!(
        scene.plan().services[0].failed.is_some(),
        "a spec that failed before and is asked for again is judged again"
    );
}

#[test]
fn a_dependency_holds_the_start_back_and_no_longer() {
    let mut scene = Scene::default();
    let mut web = object(&acme(), "web", 1);
    web.depends_on.insert(key(&acme(), "db"), Condition::Healthy);
    let hex = web.hash.0.short();
    scene
        .wants(web)
        .wants(object(&acme(), "db", 1))
        .has_owner(&acme());
    let mut created = container(&acme(), "web", 1, &format!("{WEB}.{hex}"));
    (created.state, created.health) = (State::Created, EngineHealth::None);
    scene.has(created);
    let mut db = container(&acme(), "db", 1, "db.acme.aither");
    db.health = EngineHealth::Starting;
    scene.has(db);
    let of = |scene: &Scene| {
        scene
            .plan()
            .services
            .iter()
            .find(|s| s.key.service == "web")
            .unwrap()
            .waits
            .clone()
    };
    assert_eq!(of(&scene), Some(replace::Wait::Dependencies));
    scene.seen.containers[1].health = EngineHealth::Healthy;
    assert_eq!(of(&scene), None);
    // Another version of it does not count.
    scene.wants(object(&acme(), "db", 2));
    assert_eq!(of(&scene), Some(replace::Wait::Dependencies));
}

#[test]
fn a_plan_can_be_cut_down_to_one_owner() {
    let mut scene = Scene::default();
    let beta = tenant("beta");
    scene
        .wants(object(&acme(), "web", 1))
        .wants(object(&beta, "web", 1));
    let gone = tenant("gone");
    scene.has_owner(&gone).holds.insert(gone.clone(), Hold::Free);
    scene.erased.insert(gone);
    scene.known.insert("data.gone.aither".to_owned(), None);
    scene.seen.volumes.push(SeenVolume {
        name: "data.gone.aither".to_owned(),
        labels: BTreeMap::from([("dev.ringfence.tenant".to_owned(), "gone".to_owned())]),
    });
    let mut plan = scene.plan();
    assert_eq!((plan.services.len(), plan.write_live.len()), (2, 2));
    assert_eq!((plan.remove_networks.len(), plan.remove_volumes.len()), (1, 1));
    plan.retain(|owner| *owner == acme());
    assert_eq!((plan.services.len(), plan.make_networks.len()), (1, 1));
    assert_eq!(plan.write_live.keys().collect::<Vec<_>>(), ["acme.aither"]);
    assert!(plan.remove_networks.is_empty() && plan.remove_volumes.is_empty());
}

#[test]
fn a_plan_reads_well() {
    let mut scene = at_rest();
    let mut new = object(&acme(), "web", 2);
    Arc::make_mut(&mut new.spec)
        .env
        .insert("DB_PASSWORD".to_owned(), "hunter2-hunter2".to_owned());
    Arc::make_mut(&mut new.spec).env.insert(
        "DB_URL".to_owned(),
        "postgres://u:hunter2-hunter2@db/x".to_owned(),
    );
    new.hash = new.spec.hash();
    scene.wants(new).wants(object(&acme(), "agent", 1));
    let gone = tenant("gone");
    scene.has_owner(&gone).holds.insert(gone.clone(), Hold::Free);
    scene.has(container(&gone, "web", 1, "web.gone.aither"));
    scene.wants(object(&tenant("new-one"), "web", 1));
    scene.seen.containers.push(container(&acme(), "who", 1, "who"));
    let plan = scene.plan();
    let text = plan.show(&scene.input(), true);
    assert!(!text.contains("hunter2"), "{text}");
    insta::assert_snapshot!(text);
    assert_eq!(
        plan.counts(),
        show::Counts {
            create: 2,
            replace: 1,
            repair: 0,
            remove: 1
        }
    );
    let json = serde_json::to_string(&plan).unwrap();
    assert!(!json.contains("hunter2"), "{json}");
}
