//! From any world, passes of a plan and its next calls end in an empty plan, and touch nobody else.

use proptest::prelude::*;

use super::replace::{Next, Wait};
use super::seen::SeenMount;
use super::*;

const OWNERS: [&str; 3] = ["acme", "beta", "zed"];
const SERVICES: [&str; 3] = ["web", "db", "migrate"];
/// Far more passes than the longest way home takes.
const PASSES: usize = 150;

#[derive(Debug, Clone)]
struct Draw {
    owner: usize,
    service: usize,
    version: u8,
    part: usize,
    other: u8,
    state: State,
    health: EngineHealth,
    networks: (bool, bool),
    inspected: Option<bool>,
    /// What `web` mounts where its image declares a volume: none, its own, or one that the engine named.
    volume: u8,
}

fn draw() -> impl Strategy<Value = Draw> {
    let state = prop::sample::select(vec![
        State::Created,
        State::Running,
        State::Running,
        State::Restarting,
        State::Paused,
        State::Exited,
        State::Removing,
        State::Unknown,
    ]);
    let health = prop::sample::select(vec![
        EngineHealth::None,
        EngineHealth::Starting,
        EngineHealth::Healthy,
        EngineHealth::Unhealthy,
    ]);
    let what = (0usize..3, 0usize..3, 0u8..3, 0usize..7, 0u8..3, 0u8..3);
    (what, state, health, any::<(bool, bool)>(), any::<Option<bool>>()).prop_map(
        |((owner, service, version, part, other, volume), state, health, networks, inspected)| Draw {
            owner,
            service,
            version,
            part,
            other,
            state,
            health,
            networks,
            inspected,
            volume,
        },
    )
}

fn seen(draw: &Draw) -> SeenContainer {
    let (owner, service) = (tenant(OWNERS[draw.owner]), SERVICES[draw.service]);
    let base = format!("{service}.{}", owner.domain(&instance()));
    let short = |n: u8| spec(&owner, service, n).hash().0.short();
    let name = match draw.part {
        0 => base.clone(),
        1 => super::super::replace::spelled(&replace::Aim {
            service: service.to_owned(),
            base_name: base.clone(),
            ..aim()
        })[1]
            .clone(),
        2 => format!("{base}.{}", short(draw.version)),
        3 => format!("{base}.old-{}", short(draw.other)),
        4 => format!("{base}.gone-x{}", draw.other),
        5 => format!("{base}.failed-{}", short(draw.version)),
        _ => format!("stray-{}-{service}-{}", OWNERS[draw.owner], draw.other),
    };
    let mut out = container(&owner, service, draw.version, &name);
    let volume = [
        None,
        Some(format!("web-data.{}", owner.domain(&instance()))),
        Some(crate::digest::Digest::of_bytes(name.as_bytes()).hex()),
    ];
    if let Some(volume) = volume[usize::from(draw.volume)]
        .clone()
        .filter(|_| draw.service == 0)
    {
        out.volumes.insert("/data".to_owned(), writable(volume));
    }
    (out.state, out.health) = (draw.state, draw.health);
    if draw.networks.0 {
        out.networks.clear();
    }
    if draw.networks.1 {
        out.networks.insert("0.aither".to_owned());
    }
    out.details = draw
        .inspected
        .map(|own| details(if own { Restart::UnlessStopped } else { Restart::No }));
    if let Some(details) = out.details.as_mut().map(Arc::make_mut) {
        details.exit_code = (draw.state == State::Exited).then_some(1);
    }
    out
}

fn aim() -> replace::Aim {
    replace::Aim {
        service: String::new(),
        base_name: String::new(),
        wanted: None,
        good: None,
        failed: BTreeSet::new(),
        stop_first: false,
        restart: Restart::No,
        drain_ms: 0,
        gives_way: false,
        may_start: true,
        job: false,
        job_done: false,
    }
}

fn writable(volume: String) -> SeenMount {
    SeenMount {
        volume,
        writable: true,
    }
}

/// Whether it runs, as far as that can be told.
fn runs(seen: &SeenContainer) -> bool {
    matches!(seen.state, State::Running | State::Restarting | State::Paused)
}

/// `acme` is wanted, `beta` shall go, of `zed` nothing is known.
fn scene(draws: &[Draw], good: Option<u8>) -> Scene {
    let mut scene = Scene::default();
    let acme = tenant("acme");
    for (i, service) in SERVICES.iter().enumerate() {
        let mut object = object(&acme, service, 1);
        if i == 1 {
            object.order = RolloutOrder::StopFirst("volume data is mounted writable".to_owned());
        }
        object.job = i == 2;
        scene.wants(object);
        if let Some(n) = good {
            let spec = spec(&acme, service, n).hash();
            scene.facts.good_specs.insert(key(&acme, service), spec);
        }
    }
    scene.holds.insert(tenant("beta"), Hold::Free);
    scene.has_network("0.aither", Some(&Owner::Fleet));
    for name in ["beta", "zed"] {
        scene.has_owner(&tenant(name));
    }
    let mut names = BTreeSet::new();
    for draw in draws {
        let seen = seen(draw);
        if names.insert(seen.name.clone()) {
            scene.has(seen);
        }
    }
    scene
}

/// One pass: what the plan asks for now, as an engine would do it.
fn pass(scene: &mut Scene, plan: &Plan) -> Result<(), TestCaseError> {
    for network in &plan.make_networks {
        scene.has_network(&network.name, Some(&network.owner));
    }
    for GoneNetwork { name, .. } in &plan.remove_networks {
        prop_assert!(!scene.seen.containers.iter().any(|c| c.networks.contains(name)));
        scene.seen.networks.retain(|n| n.name != *name);
    }
    for folder in plan.write_live.keys() {
        let files = scene.wanted.live[folder].files.clone();
        scene.live.insert(folder.clone(), files);
    }
    for volume in &plan.make_volumes {
        scene.known.insert(volume.name.clone(), None);
        scene.seen.volumes.push(SeenVolume {
            name: volume.name.clone(),
            labels: BTreeMap::new(),
        });
    }
    for (key, path, volume) in &plan.image_volumes {
        let of = scene.facts.image_volumes.entry(key.clone()).or_default();
        of.insert(path.clone(), volume.clone());
    }
    for service in &plan.services {
        prop_assert!(service.key.owner != tenant("zed"), "{:?}", service);
        if let Some(image) = service.unknown_image() {
            let declared = BTreeSet::from(["/data".to_owned()]);
            scene.declared.insert(image.to_owned(), declared);
            continue;
        }
        for id in &service.thaw {
            find(scene, id)?.state = State::Running;
        }
        match service.next(scene.now()) {
            Next::Done => {}
            Next::Call(call) => {
                prop_assert_eq!(
                    service.steps.first(),
                    Some(&call),
                    "the first step is the next call"
                );
                carry_out(scene, service, &call)?;
            }
            Next::Wait(wait) => let_happen(scene, service, &wait)?,
        }
    }
    Ok(())
}

fn find<'a>(scene: &'a mut Scene, id: &str) -> Result<&'a mut SeenContainer, TestCaseError> {
    let found = scene.seen.containers.iter_mut().find(|c| c.id == id);
    let found = found.ok_or_else(|| TestCaseError::fail(format!("no container {id}")))?;
    prop_assert!(
        found.owner != Some(tenant("zed")),
        "a call on another's container"
    );
    Ok(found)
}

fn carry_out(scene: &mut Scene, service: &ServicePlan, call: &Call) -> Result<(), TestCaseError> {
    let names: BTreeSet<String> = scene.seen.containers.iter().map(|c| c.name.clone()).collect();
    let now = scene.now();
    match call {
        Call::Create { name } => {
            prop_assert!(!names.contains(name), "{} is taken", name);
            let object = service.object.as_ref().unwrap();
            let mut made = container(&service.key.owner, &service.key.service, 1, name);
            made.id = format!("made-{}-{}", scene.later, name.replace('.', "-"));
            (made.state, made.health) = (State::Created, EngineHealth::None);
            made.networks = BTreeSet::from([object.home_network.clone()]);
            let volumes = service.volumes.clone().unwrap();
            let mounts = volumes.into_iter().map(|(path, volume)| (path, writable(volume)));
            made.volumes = mounts.collect();
            made.details = Some(details(if service.aim.stop_first {
                Restart::No
            } else {
                object.spec.restart
            }));
            scene.has(made);
        }
        Call::Connect { id, network } => drop(find(scene, id)?.networks.insert(network.clone())),
        Call::Disconnect { id, network } => drop(find(scene, id)?.networks.remove(network)),
        Call::Start { id } => {
            let job = service.aim.job;
            let volumes = find(scene, id)?.volumes.clone();
            let mut others = scene.seen.containers.iter().filter(|c| c.id != *id && runs(c));
            let shared = others.find(|c| c.volumes.values().any(|m| volumes.values().any(|own| own == m)));
            prop_assert!(shared.is_none(), "{:?} writes to the same volume", shared);
            let seen = find(scene, id)?;
            prop_assert!(matches!(seen.state, State::Created | State::Exited));
            seen.health = EngineHealth::Starting;
            seen.state = if job { State::Exited } else { State::Running };
            let details = Arc::make_mut(seen.details.get_or_insert(details(Restart::No)));
            details.started_at = Some(now);
            details.exit_code = job.then_some(0);
        }
        Call::Rename { id, to, .. } => {
            prop_assert!(!names.contains(to), "{} is taken", to);
            find(scene, id)?.name.clone_from(to);
            if to.contains(".old-") || to.contains(".gone-") || to.contains(".failed-") {
                scene.gave_up.insert(id.clone(), now);
            }
        }
        Call::SetLimits { id, limits } => {
            let details = Arc::make_mut(find(scene, id)?.details.get_or_insert(details(Restart::No)));
            update(&mut details.limits, limits);
        }
        Call::SetRestart { id, restart } => {
            Arc::make_mut(find(scene, id)?.details.get_or_insert(details(*restart))).restart = *restart;
        }
        Call::Stop { id } => {
            let seen = find(scene, id)?;
            seen.state = State::Exited;
            Arc::make_mut(seen.details.get_or_insert(details(Restart::No))).exit_code = Some(143);
        }
        Call::Remove { id } => {
            let seen = find(scene, id)?;
            prop_assert!(!matches!(
                seen.state,
                State::Running | State::Paused | State::Restarting
            ));
            scene.seen.containers.retain(|c| c.id != *id);
        }
    }
    Ok(())
}

fn let_happen(scene: &mut Scene, service: &ServicePlan, wait: &Wait) -> Result<(), TestCaseError> {
    match wait {
        Wait::Health { id } => {
            let job = service.aim.job;
            let seen = find(scene, id)?;
            (seen.state, seen.health) = (State::Running, EngineHealth::Healthy);
            if job {
                seen.state = State::Exited;
                Arc::make_mut(seen.details.get_or_insert(details(Restart::No))).exit_code = Some(0);
            }
        }
        Wait::Ending { id } => {
            prop_assert_eq!(find(scene, id)?.state, State::Removing);
            scene.seen.containers.retain(|c| c.id != *id);
        }
        Wait::Inspection { id } => find(scene, id)?.details = Some(details(Restart::UnlessStopped)),
        // The one thing that a caller remembers between two looks.
        Wait::Drain { id, .. } => {
            let now = scene.now();
            scene.gave_up.entry(id.clone()).or_insert(now);
        }
        Wait::Dependencies => {}
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn passes_end_in_an_empty_plan_and_touch_nobody_else(
        draws in proptest::collection::vec(draw(), 0..14),
        good in proptest::option::of(0u8..3),
    ) {
        let mut scene = scene(&draws, good);
        let of_zed = |s: &Scene| -> Vec<SeenContainer> {
            s.seen.containers.iter().filter(|c| c.owner == Some(tenant("zed"))).cloned().collect()
        };
        let before = of_zed(&scene);
        let mut plan = scene.plan();
        for _ in 0..PASSES {
            if plan.is_empty() {
                break;
            }
            pass(&mut scene, &plan)?;
            scene.later += 2;
            plan = scene.plan();
        }
        prop_assert!(plan.is_empty(), "{:#?}", plan);
        prop_assert!(scene.plan().is_empty());
        prop_assert_eq!(before, of_zed(&scene));
        prop_assert!(!scene.seen.containers.iter().any(|c| c.owner == Some(tenant("beta"))));
        prop_assert!(!scene.seen.networks.iter().any(|n| n.name == "beta.aither"));
        prop_assert!(scene.seen.networks.iter().any(|n| n.name == "zed.aither"));
        for service in ["web", "db"] {
            let base = format!("{service}.acme.aither");
            let serving = scene.seen.containers.iter().filter(|c| c.name.eq_ignore_ascii_case(&base));
            let serving: Vec<_> = serving.collect();
            prop_assert_eq!(serving.len(), 1);
            prop_assert_eq!(serving[0].spec, Some(spec(&tenant("acme"), service, 1).hash()));
        }
        let mut made = scene.seen.containers.iter().filter(|c| c.id.starts_with("made-"));
        prop_assert!(made.all(|c| c.volumes.contains_key("/data")));
    }
}
