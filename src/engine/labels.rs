//! Whose an object is, as its labels say.
//!
//! `com.docker.compose.project` and `.service` are left out on purpose: see [`of_service`].

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::fleet::names::{Instance, Owner, RingName, Slug, SpecHash};
use crate::render::object::{SPEC_SCHEMA, ServiceObject};

/// The instance that owns it. Without this label an object is nobody of ours.
pub const INSTANCE: &str = "dev.ringfence.instance";
/// The fleet's name.
pub const FLEET: &str = "dev.ringfence.fleet";
/// The ring that provides it. A tenant's networks and volumes carry none, since a tenant may change its ring.
pub const RING: &str = "dev.ringfence.ring";
/// The tenant that it belongs to.
pub const TENANT: &str = "dev.ringfence.tenant";
/// The service's name.
pub const SERVICE: &str = "dev.ringfence.service";
/// The release that created it: `rel-` and 64 hex digits.
pub const RELEASE: &str = "dev.ringfence.release";
/// Schema and hash of its spec: `1:` and 64 hex digits.
pub const SPEC: &str = "dev.ringfence.spec";

/// A container's labels: the file's own, then ours, which win.
///
/// `com.docker.compose.project` and `.service` are not among them, because Compose then takes the container for its
/// own. Seen with docker-compose 1.29.2 in a folder whose project had the name in the label: with the two labels
/// alone `down` stopped and removed the container of a service that the file knows; `down --remove-orphans` and
/// `up --remove-orphans` removed those of other services; `up` next to one that also had `container-number` ended in
/// a traceback. A file's own labels in that name space are dropped for the same reason.
pub fn of_service(instance: &Instance, fleet: &str, object: &ServiceObject) -> BTreeMap<String, String> {
    let mut labels = object.spec.labels.clone();
    // What the file itself says in our name space, or in Compose's, would lie about whose the container is.
    labels.retain(|key, _| !key.starts_with("dev.ringfence.") && !key.starts_with("com.docker.compose."));
    labels.extend(of_owner(instance, fleet, &object.key.owner));
    if object.key.owner != Owner::Fleet {
        labels.insert(RING.to_owned(), object.ring.clone());
    }
    labels.insert(SERVICE.to_owned(), object.key.service.clone());
    labels.insert(RELEASE.to_owned(), format!("rel-{}", object.release.0.hex()));
    labels.insert(SPEC.to_owned(), format!("{SPEC_SCHEMA}:{}", object.hash.0.hex()));
    labels
}

/// A network's or volume's labels. A ring's own name the ring, which is its owner and never changes; a tenant's
/// name the tenant alone.
pub fn of_owner(instance: &Instance, fleet: &str, owner: &Owner) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        (INSTANCE.to_owned(), instance.to_string()),
        (FLEET.to_owned(), fleet.to_owned()),
    ]);
    match owner {
        Owner::Fleet => None,
        Owner::Ring(ring) => labels.insert(RING.to_owned(), ring.to_string()),
        Owner::Tenant(slug) => labels.insert(TENANT.to_owned(), slug.to_string()),
    };
    labels
}

/// Whose an object is; none where the labels are not ours or make no sense.
pub fn owner<'l>(label: impl Fn(&str) -> Option<&'l str>) -> Option<Owner> {
    label(INSTANCE)?;
    if let Some(tenant) = label(TENANT) {
        return tenant.parse::<Slug>().ok().map(Owner::Tenant);
    }
    if let Some(ring) = label(RING) {
        return ring.parse::<RingName>().ok().map(Owner::Ring);
    }
    Some(Owner::Fleet)
}

/// The spec that a container was made from; none where the label is of another schema.
pub fn spec(label: &str) -> Option<SpecHash> {
    let (schema, hex) = label.split_once(':')?;
    if schema.parse() != Ok(SPEC_SCHEMA) {
        return None;
    }
    Digest::parse(hex).map(SpecHash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_comes_back_from_its_labels() {
        let instance: Instance = "aither".parse().unwrap();
        for owner_in in [
            Owner::Fleet,
            Owner::Ring(
                "dev"
                    .parse::<RingName>()
                    .unwrap_or_else(|_| "staging".parse().unwrap()),
            ),
            Owner::Tenant("acme".parse().unwrap()),
        ] {
            let labels = of_owner(&instance, "aither", &owner_in);
            assert_eq!(owner(|key| labels.get(key).map(String::as_str)), Some(owner_in));
        }
    }

    #[test]
    fn labels_that_make_no_sense_name_nobody() {
        let none = BTreeMap::from([(TENANT.to_owned(), "acme".to_owned())]);
        assert_eq!(
            owner(|key| none.get(key).map(String::as_str)),
            None,
            "no instance"
        );
        let odd = BTreeMap::from([
            (INSTANCE.to_owned(), "aither".to_owned()),
            (TENANT.to_owned(), "A b".to_owned()),
        ]);
        assert_eq!(owner(|key| odd.get(key).map(String::as_str)), None);
    }

    #[test]
    fn a_spec_of_another_schema_is_not_ours_to_compare() {
        let hex = "ab".repeat(32);
        let with = |value: String| spec(&value);
        assert_eq!(with(format!("1:{hex}")).map(|s| s.0.hex()), Some(hex.clone()));
        assert_eq!(with(format!("2:{hex}")), None);
        assert_eq!(with(hex), None);
        assert_eq!(with("1:xyz".to_owned()), None);
    }
}
