//! What the engine's lists say, in our own words. Only what is used of them is read, and texts are copied once, if at all.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use jiff::Timestamp;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::labels;
use crate::plan::seen::{EngineHealth, SeenContainer, SeenMount, SeenNetwork, SeenVolume, State};

/// What our labels begin with; what others wrote on an object is nothing to us.
const OURS: &str = "dev.ringfence.";

/// Ids of the networks that are there, by name.
pub(super) type Ids<'a> = HashMap<&'a str, Vec<&'a str>>;

/// A text of the answer; `null` is an empty one.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Text::default())
            }
        }
        from.deserialize_any(Read)
    }
}

/// Our own labels of an object. They are few.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Labels<'a>(Vec<(Text<'a>, Text<'a>)>);

impl Labels<'_> {
    /// A label's value.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(name, _)| name.0 == key);
        found.map(|(_, value)| &*value.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Labels<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Labels<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut labels = Vec::with_capacity(8);
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    if key.0.starts_with(OURS) {
                        labels.push((key, map.next_value()?));
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Labels(labels))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Labels::default())
            }
        }
        from.deserialize_any(Read)
    }
}

/// A container of `GET /containers/json`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Container<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    names: Option<Vec<Text<'a>>>,
    image: Text<'a>,
    #[serde(rename = "ImageID")]
    image_id: Text<'a>,
    created: Option<i64>,
    pub(super) labels: Labels<'a>,
    state: Text<'a>,
    status: Text<'a>,
    network_settings: Option<Settings<'a>>,
    mounts: Option<Vec<Mount<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Settings<'a> {
    #[serde(borrow)]
    networks: Option<BTreeMap<Text<'a>, End<'a>>>,
}

/// Where a container hangs on a network.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct End<'a> {
    #[serde(rename = "NetworkID", borrow)]
    network: Text<'a>,
    #[serde(rename = "EndpointID")]
    endpoint: Text<'a>,
    #[serde(rename = "IPAddress")]
    address: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Mount<'a> {
    #[serde(rename = "Type", borrow)]
    kind: Text<'a>,
    name: Text<'a>,
    destination: Text<'a>,
    #[serde(rename = "RW")]
    writable: Option<bool>,
}

/// A network of `GET /networks`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Network<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    name: Text<'a>,
    labels: Labels<'a>,
    #[serde(rename = "IPAM")]
    ipam: Option<Ipam>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Ipam {
    config: Option<Vec<Pool>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Pool {
    subnet: Option<String>,
}

/// The answer to `GET /volumes`. An engine without volumes says `null` or `[]`; an answer that is none of an engine's says
/// neither.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Volumes<'a> {
    #[serde(borrow, deserialize_with = "or_null")]
    volumes: Vec<Volume<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Volume<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    labels: Labels<'a>,
}

fn or_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Container<'_> {
    /// In our words, with what `ids` says of the networks that it hangs on; why it cannot be understood.
    pub(super) fn seen(self, ids: &Ids<'_>) -> Result<SeenContainer, &'static str> {
        let labels = self.labels;
        let networks = self.network_settings.and_then(|settings| settings.networks);
        let networks = networks.unwrap_or_default();
        let state = state(&self.state.0).ok_or("a container has no State")?;
        let id = Some(self.id.0.into_owned()).filter(|id| !id.is_empty());
        Ok(SeenContainer {
            id: id.ok_or("a container has no Id")?,
            name: own_name(&self.names.unwrap_or_default()),
            ring: labels.get(labels::RING).map(str::to_owned),
            owner: labels::owner(|key| labels.get(key)),
            service: labels.get(labels::SERVICE).map(str::to_owned),
            spec: labels.get(labels::SPEC).and_then(labels::spec),
            image: self.image.0.into_owned(),
            image_id: self.image_id.0.into_owned(),
            state,
            health: health(&self.status.0),
            stamp: stamp(&self.state.0, &self.status.0, &networks),
            stale_networks: stale(&networks, ids),
            networks: networks.into_keys().map(|name| name.0.into_owned()).collect(),
            volumes: self.mounts.into_iter().flatten().filter_map(volume).collect(),
            created: self
                .created
                .and_then(|seconds| Timestamp::from_second(seconds).ok())
                .ok_or("a container has no Created")?,
            details: None,
        })
    }
}

impl Network<'_> {
    /// In our words; why it cannot be understood.
    pub(super) fn seen(self, is_ours: impl Fn(&Labels<'_>) -> bool) -> Result<SeenNetwork, &'static str> {
        let named = |text: Text<'_>| Some(text.0.into_owned()).filter(|text| !text.is_empty());
        let ours = is_ours(&self.labels);
        let pools = self.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        Ok(SeenNetwork {
            id: named(self.id).ok_or("a network has no Id")?,
            name: named(self.name).ok_or("a network has no Name")?,
            ours,
            owner: if ours {
                labels::owner(|key| self.labels.get(key))
            } else {
                None
            },
            subnets: pools.into_iter().filter_map(|pool| pool.subnet).collect(),
        })
    }
}

impl Volumes<'_> {
    /// Those of ours, in our words.
    pub(super) fn seen(self, is_ours: impl Fn(&Labels<'_>) -> bool) -> Vec<SeenVolume> {
        let ours = self.volumes.into_iter().filter(|volume| is_ours(&volume.labels));
        let label = |(key, value): (Text<'_>, Text<'_>)| (key.0.into_owned(), value.0.into_owned());
        ours.map(|volume| SeenVolume {
            name: volume.name.0.into_owned(),
            labels: volume.labels.0.into_iter().map(label).collect(),
        })
        .collect()
    }
}

/// A volume that is mounted, with its path.
fn volume(mount: Mount<'_>) -> Option<(String, SeenMount)> {
    if mount.kind.0 != "volume" || mount.name.0.is_empty() || mount.destination.0.is_empty() {
        return None;
    }
    let seen = SeenMount {
        volume: mount.name.0.into_owned(),
        writable: mount.writable.unwrap_or(true),
    };
    Some((mount.destination.0.into_owned(), seen))
}

/// The networks that were removed: one that is not in the list of those that are there may be just made; one whose name
/// another network has now is gone.
fn stale(networks: &BTreeMap<Text<'_>, End<'_>>, ids: &Ids<'_>) -> BTreeSet<String> {
    let ends = networks.iter().filter(|(_, end)| !end.network.0.is_empty());
    let stale = ends.filter(|(name, end)| {
        ids.get(&*name.0)
            .is_some_and(|ids| !ids.contains(&&*end.network.0))
    });
    stale.map(|(name, _)| name.0.clone().into_owned()).collect()
}

/// Each start, and each connecting, gives a container new ends of its networks; one that ended has its code in the text.
fn stamp(word: &str, status: &str, networks: &BTreeMap<Text<'_>, End<'_>>) -> String {
    let code = status
        .strip_prefix("Exited (")
        .and_then(|rest| rest.split_once(')'));
    let mut stamp = format!("{word} {}", code.map_or("", |(code, _)| code));
    for (name, end) in networks {
        let endpoint = end.endpoint.0.get(..16).unwrap_or(&end.endpoint.0);
        for part in [" ", &name.0, "=", endpoint, "/", &end.address.0] {
            stamp.push_str(part);
        }
    }
    stamp
}

/// `/web.acme.aither`; links of other containers stand there as `/other/alias`. A half removed one has none.
fn own_name(names: &[Text<'_>]) -> String {
    let own = names
        .iter()
        .filter_map(|name| name.0.strip_prefix('/'))
        .find(|name| !name.contains('/'));
    own.unwrap_or_default().to_owned()
}

/// A word that no engine of ours says (`stopping` is Podman's) is a state of which nothing is concluded.
fn state(word: &str) -> Option<State> {
    Some(match word {
        "" => return None,
        "created" => State::Created,
        "running" => State::Running,
        "paused" => State::Paused,
        "restarting" => State::Restarting,
        "exited" => State::Exited,
        "removing" => State::Removing,
        "dead" => State::Dead,
        _ => State::Unknown,
    })
}

/// In the list, health stands in the text for people alone: `Up 3 seconds (health: starting)`.
fn health(status: &str) -> EngineHealth {
    if status.contains("(healthy)") {
        EngineHealth::Healthy
    } else if status.contains("(unhealthy)") {
        EngineHealth::Unhealthy
    } else if status.contains("(health: starting)") {
        EngineHealth::Starting
    } else {
        EngineHealth::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str, ids: &[(&str, &[&str])]) -> Result<SeenContainer, String> {
        let ids: Ids<'_> = ids.iter().map(|(name, ids)| (*name, ids.to_vec())).collect();
        let read: Container<'_> = serde_json::from_str(text).map_err(|e| e.to_string())?;
        read.seen(&ids).map_err(str::to_owned)
    }

    /// A container of a list as Engine 20.10 answers it, shortened.
    fn listed(status: &str, state: &str, endpoint: &str) -> String {
        format!(
            r#"{{"Id":"0123abc","Names":["/other/web","/web.acme.shop"],"Image":"sha256:1","ImageID":"sha256:1",
            "Command":"/agent \"x\"","Created":1790000000,"Ports":[],"State":"{state}","Status":"{status}",
            "Labels":{{"dev.ringfence.instance":"shop","dev.ringfence.tenant":"acme","dev.ringfence.service":"web","dev.ringfence.ring":"dev","team":"a"}},
            "HostConfig":{{"NetworkMode":"acme.shop"}},
            "NetworkSettings":{{"Networks":{{"acme.shop":{{"IPAMConfig":{{}},"Links":null,"NetworkID":"one","EndpointID":"{endpoint}","IPAddress":"10.0.0.2","IPPrefixLen":27}}}}}},
            "Mounts":[{{"Type":"bind","Source":"/x","Destination":"/run/ringfence","RW":false}},{{"Type":"volume","Name":"data.acme.shop","Source":"/v","Destination":"/data","Driver":"local","RW":true}}]}}"#
        )
    }

    #[test]
    fn a_container_of_the_list_is_told_in_our_words() {
        let seen = one(&listed("Up 3 seconds (healthy)", "running", "e"), &[]).unwrap();
        assert_eq!((&*seen.id, &*seen.name), ("0123abc", "web.acme.shop"));
        assert_eq!(seen.owner.map(|o| o.to_string()).as_deref(), Some("acme"));
        assert_eq!(seen.service.as_deref(), Some("web"));
        assert_eq!((seen.state, seen.health), (State::Running, EngineHealth::Healthy));
        assert_eq!(seen.networks, BTreeSet::from(["acme.shop".to_owned()]));
        assert_eq!(seen.volumes.keys().collect::<Vec<_>>(), ["/data"]);
        assert!(seen.volumes["/data"].writable);
        assert_eq!(seen.ring.as_deref(), Some("dev"));
    }

    #[test]
    fn what_a_half_removed_container_lacks_is_empty_and_what_every_one_has_is_asked_for() {
        let dead = r#"{"Id":"a","Names":null,"Created":1,"State":"dead","Labels":null,"NetworkSettings":null,"Mounts":null}"#;
        let seen = one(dead, &[]).unwrap();
        assert_eq!((&*seen.name, seen.state), ("", State::Dead));
        for (without, why) in [
            (r#"{"Created":1,"State":"dead"}"#, "a container has no Id"),
            (r#"{"Id":"a","State":"dead"}"#, "a container has no Created"),
            (r#"{"Id":"a","Created":1}"#, "a container has no State"),
        ] {
            assert_eq!(one(without, &[]).unwrap_err(), why);
        }
        let odd = one(r#"{"Id":"a","Created":1,"State":"stopping"}"#, &[]).unwrap();
        assert_eq!(odd.state, State::Unknown);
        assert!(one(r#"{"Id":7,"Created":1,"State":"dead"}"#, &[]).is_err());
    }

    #[test]
    fn an_escaped_text_is_read_as_what_it_says() {
        let seen = one(
            r#"{"Id":"a","Names":["/w\u0065b"],"Created":1,"State":"created"}"#,
            &[],
        )
        .unwrap();
        assert_eq!(seen.name, "web");
    }

    #[test]
    fn health_is_read_from_the_text_of_the_status() {
        assert_eq!(health("Up 3 seconds (healthy)"), EngineHealth::Healthy);
        assert_eq!(health("Up 3 minutes (unhealthy)"), EngineHealth::Unhealthy);
        assert_eq!(
            health("Up Less than a second (health: starting)"),
            EngineHealth::Starting
        );
        assert_eq!(health("Exited (0) 2 hours ago"), EngineHealth::None);
        assert_eq!(health("Up 2 seconds (Paused)"), EngineHealth::None);
    }

    #[test]
    fn a_stamp_holds_for_one_run() {
        let up = |status: &str, end: &str| one(&listed(status, "running", end), &[]).unwrap().stamp;
        assert_eq!(up("Up 3 seconds", "a"), up("Up 2 hours (healthy)", "a"));
        assert_ne!(
            up("Up 3 seconds", "a"),
            up("Up 3 seconds", "b"),
            "it was restarted"
        );
        let ended = |status: &str| one(&listed(status, "exited", ""), &[]).unwrap().stamp;
        assert_eq!(ended("Exited (0) 2 hours ago"), ended("Exited (0) 3 hours ago"));
        assert_ne!(ended("Exited (0) 2 hours ago"), ended("Exited (137) 2 hours ago"));
        assert_ne!(ended("Exited (0) 2 hours ago"), up("Up 3 seconds", ""));
    }

    #[test]
    fn a_network_whose_name_is_anothers_now_is_stale() {
        let stale = |ids: &[&str]| {
            let known: [(&str, &[&str]); 2] = [("acme.shop", ids), ("other", &["two"])];
            one(&listed("Exited (0)", "exited", ""), &known)
                .unwrap()
                .stale_networks
                .len()
        };
        assert_eq!(stale(&["one"]), 0);
        assert_eq!(stale(&["two"]), 1);
        assert_eq!(stale(&["two", "one"]), 0);
        let just_made = one(&listed("Up 1 second", "running", "e"), &[("other", &["two"])]).unwrap();
        assert!(
            just_made.stale_networks.is_empty(),
            "it may not be in that list yet"
        );
    }

    #[test]
    fn no_volumes_are_told_apart_from_no_answer() {
        let volumes = |text: &str| {
            serde_json::from_str::<Volumes<'_>>(text)
                .map(|v| v.seen(|_| true).len())
                .ok()
        };
        assert_eq!(volumes(r#"{"Volumes":null,"Warnings":null}"#), Some(0));
        assert_eq!(volumes(r#"{"Volumes":[],"Warnings":[]}"#), Some(0));
        assert_eq!(volumes(r#"{"Volumes":[{"Name":"a","Labels":null}]}"#), Some(1));
        for none in ["{}", "null", r#"{"message":"x"}"#] {
            assert_eq!(volumes(none), None, "{none}");
        }
    }
}
