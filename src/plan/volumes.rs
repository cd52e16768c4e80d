//! Volumes that images declare (`VOLUME`) and specs do not mount. The engine would make a new one for each container, and
//! what the one before wrote would be out of reach. So each such path of a service gets one volume of its own, which every
//! container of it mounts: no part of the spec, since it is known only once the image is there.

use std::collections::BTreeMap;

use super::look::Look;
use super::replace::Part;
use super::seen::{SeenContainer, SeenMount};
use super::services::ServicePlan;
use super::{Input, Plan};
use crate::digest::Digest;
use crate::fleet::compose::unnamed;
use crate::fleet::names::ServiceKey;
use crate::render::object::{ServiceObject, VolumeObject};

/// Full names of volumes, by path.
pub type Volumes = BTreeMap<String, String>;

/// A container of a service, with the part that it plays.
pub(super) type Played<'a> = (&'a SeenContainer, Part);

/// Who has which volume, so that two paths never get one.
pub(super) struct Names<'a> {
    wanted: &'a BTreeMap<String, VolumeObject>,
    given: BTreeMap<String, (ServiceKey, String)>,
}

impl<'a> Names<'a> {
    pub(super) fn new(input: &Input<'a>) -> Self {
        let of_one = |(key, paths): (&ServiceKey, &Volumes)| {
            let key = key.clone();
            let paths = paths.clone().into_iter();
            paths.map(move |(path, volume)| (volume, (key.clone(), path)))
        };
        Self {
            wanted: &input.wanted.volumes,
            given: input.facts.image_volumes.iter().flat_map(of_one).collect(),
        }
    }

    /// The name for a path that has no volume yet: as if the file said the path without a source, and with a digest
    /// where something else is called so.
    fn give(&mut self, object: &ServiceObject, path: &str) -> String {
        let whose = (object.key.clone(), path.to_owned());
        let plain = unnamed(&object.key.service, path);
        let short = Digest::of("plan.volume", &(&object.key.service, path)).short();
        let [plain, other] =
            [plain.clone(), format!("{plain}-{short}")].map(|n| format!("{n}.{}", object.domain));
        let taken = self.given.get(&plain).is_some_and(|given| *given != whose);
        let name = if taken || self.wanted.contains_key(&plain) {
            other
        } else {
            plain
        };
        self.given.insert(name.clone(), whose);
        name
    }
}

/// The volumes of a new container, beside those of its spec. None: its image is not known yet.
pub(super) fn of_new(
    look: &Look<'_>,
    names: &mut Names<'_>,
    object: &ServiceObject,
    kept: &Volumes,
) -> Option<Volumes> {
    let declared = look.input.declared.get(&object.spec.image)?;
    let open = declared
        .iter()
        .filter(|path| !object.spec.mounts.contains_key(*path));
    let volumes = open.map(|path| {
        let volume = kept.get(path).cloned();
        (path.clone(), volume.unwrap_or_else(|| names.give(object, path)))
    });
    Some(volumes.collect())
}

/// Where a service has its data: in what its serving container mounts; else as the ledger knows it; else in what one
/// mounts that has served. Ledger or no, an older ringfence let the engine name such volumes.
pub(super) fn kept(
    look: &Look<'_>,
    key: &ServiceKey,
    object: Option<&ServiceObject>,
    played: &[Played<'_>],
) -> Volumes {
    let of = |rank: fn(&Part) -> bool| {
        let mut containers: Vec<&SeenContainer> = played
            .iter()
            .filter(|(_, part)| rank(part))
            .map(|(c, _)| *c)
            .collect();
        containers.sort_by_key(|c| (c.created, &c.id));
        let mounts = containers.into_iter().flat_map(|c| beside_spec(look, object, c));
        let ours = mounts.filter(|(_, m)| is_nameless(&m.volume) || look.is_written(&m.volume));
        ours.map(|(path, m)| (path.clone(), m.volume.clone()))
            .collect::<Volumes>()
    };
    let mut kept = of(|part| matches!(part, Part::Leaving));
    kept.extend(of(|part| matches!(part, Part::Parked(_) | Part::Stray)));
    kept.extend(
        look.input
            .facts
            .image_volumes
            .get(key)
            .cloned()
            .unwrap_or_default(),
    );
    kept.extend(of(|part| matches!(part, Part::Serving)));
    kept
}

/// Why two of a service's containers must not run at once, though nothing in its spec says so: one that is to go, or one of
/// two, writes a volume that its image asked for.
pub(super) fn shared(look: &Look<'_>, object: &ServiceObject, played: &[Played<'_>]) -> Option<String> {
    let mut writers = played.iter().filter_map(|(container, part)| {
        let mut mounts = beside_spec(look, Some(object), container).filter(|(_, m)| m.writable);
        Some((container, part, mounts.next()?))
    });
    let stays = |container: &SeenContainer, part: &Part| {
        container.spec == Some(object.hash) && !matches!(part, Part::Leaving | Part::Failed)
    };
    let (container, part, (path, mount)) = writers.next()?;
    let mut two = || writers.next().is_some();
    (!stays(container, part) || two()).then(|| {
        format!(
            "volume {} is mounted writable at {path}, as the image asks",
            shown(&mount.volume)
        )
    })
}

/// What a service's plan says of volumes: those to be made, those that are gone, and what the ledger shall remember.
pub(super) fn note(
    look: &Look<'_>,
    plan: &ServicePlan,
    mut kept: Volumes,
    seen: &[&SeenContainer],
    out: &mut Plan,
) {
    let owner = &plan.key.owner;
    for (path, name) in plan.volumes.iter().flatten().filter(|_| plan.makes()) {
        kept.insert(path.clone(), name.clone());
        let volume = VolumeObject {
            name: name.clone(),
            owner: owner.clone(),
        };
        let mut mounted = seen.iter().flat_map(|c| c.volumes.values());
        if look.is_lost(name) {
            out.lost_volumes.push(volume);
        } else if !look.has_volume(name) && !mounted.any(|m| m.volume == *name) {
            out.make_volumes.push(volume);
        }
        if is_nameless(name) {
            out.notes.push(format!(
                "{} goes on with what it has at {path}: volume {}, which the engine named when an older ringfence made the container",
                plan.key,
                shown(name)
            ));
        }
    }
    let known = look.input.facts.image_volumes.get(&plan.key);
    kept.retain(|path, volume| known.and_then(|known| known.get(path)) != Some(volume));
    let new = kept
        .into_iter()
        .map(|(path, volume)| (plan.key.clone(), path, volume));
    out.image_volumes.extend(new);
}

/// What a container mounts that its spec does not speak of.
fn beside_spec<'a>(
    look: &'a Look<'_>,
    object: Option<&'a ServiceObject>,
    container: &'a SeenContainer,
) -> impl Iterator<Item = (&'a String, &'a SeenMount)> {
    let own = container.spec.and_then(|spec| look.input.specs.get(&spec));
    let spec = own.map(AsRef::as_ref).or(object.map(|o| o.spec.as_ref()));
    let mounts = container.volumes.iter();
    mounts.filter(move |(path, _)| spec.is_some_and(|spec| !spec.mounts.contains_key(*path)))
}

/// Whether the engine made up a volume's name.
pub(super) fn is_nameless(volume: &str) -> bool {
    volume.len() == 64 && volume.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A volume's name for people.
pub(super) fn shown(volume: &str) -> String {
    match volume.get(..12) {
        Some(short) if is_nameless(volume) => format!("{short}…"),
        _ => crate::text::Safe::new(volume).to_string(),
    }
}
