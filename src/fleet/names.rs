//! Names and ids, each a type of its own, so that none is taken for another.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Words that no tenant, ring or instance may be called, because something else has that name.
pub const RESERVED: &[&str] = &[
    "all",
    "api",
    "default",
    "fleet",
    "gateway",
    "localhost",
    "none",
    "ring",
    "ringfence",
    "system",
    "tenant",
];

/// Why a text is no slug.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlugError {
    /// It breaks the pattern.
    #[error(
        "`{0}` is not a valid name: it takes 2 to 31 characters, a lower-case letter first, then lower-case letters, digits and `-`"
    )]
    Pattern(crate::text::Safe),
    /// It looks like an object id.
    #[error("`{0}` has only hexadecimal digits and could be taken for an object id")]
    Hex(String),
    /// It is reserved.
    #[error("`{0}` is a reserved word")]
    Reserved(String),
}

/// A name goes with everything that is its owner's: it is shared, not copied.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = SlugError;
            fn from_str(text: &str) -> Result<Self, SlugError> {
                slug(text).map(|()| Self(Arc::from(text)))
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// A tenant's slug: `[a-z][a-z0-9-]{1,30}`, not all hexadecimal digits, not reserved.
    Slug
}
name! {
    /// A ring's name; a slug too.
    RingName
}
name! {
    /// The instance that labels everything it owns; a slug too.
    Instance
}

impl Instance {
    /// The instance of a fleet that names none: the fleet's name, where what is no letter or digit becomes `-`.
    pub fn of_name(fleet: &str) -> Self {
        let mut text: String = fleet
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .skip_while(|c| !c.is_ascii_lowercase())
            .take(24)
            .collect();
        text.truncate(text.trim_end_matches('-').len());
        let longer = format!("{text}-fleet");
        [text, longer]
            .into_iter()
            .find(|t| slug(t).is_ok())
            .map_or_else(|| Self(Arc::from("my-fleet")), |text| Self(Arc::from(text)))
    }
}

fn slug(text: &str) -> Result<(), SlugError> {
    let mut chars = text.chars();
    let good = chars.next().is_some_and(|c| c.is_ascii_lowercase())
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && (2..=31).contains(&text.len());
    if !good {
        return Err(SlugError::Pattern(crate::text::Safe::new(text)));
    }
    if text.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(SlugError::Hex(text.to_owned()));
    }
    if RESERVED.contains(&text) {
        return Err(SlugError::Reserved(text.to_owned()));
    }
    Ok(())
}

/// A principal or a group of principals. Not a slug: `ada` and `bo` are people.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct PrincipalName(String);

impl PrincipalName {
    /// What a fleet without keys calls whoever acts; nobody can be declared with this name.
    pub const SOLO: &str = "solo";

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The one principal of a fleet without keys.
    pub fn solo() -> Self {
        Self(Self::SOLO.to_owned())
    }
}

impl fmt::Display for PrincipalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for PrincipalName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let good = text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.len() <= 31
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'));
        if good {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "`{}` is no name of a principal: it takes up to 31 characters, a lower-case letter first, then lower-case letters, digits, `-` and `_`",
            crate::text::Safe::new(text)
        ))
    }
}

/// A git commit: 40 hex digits.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct CommitId(String);

impl CommitId {
    /// The 40 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 8: what people see.
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for CommitId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() == 40
            && text
                .chars()
                .all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "`{}` is no full commit id (40 hexadecimal digits)",
                crate::text::Safe::new(text)
            ))
        }
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Digest);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!(concat!($prefix, "-{}"), self.0.short()))
            }
        }

        impl $name {
            /// Prefix and all 64 hex digits: what documents hold.
            pub fn full(&self) -> String {
                format!(concat!($prefix, "-{}"), self.0.hex())
            }
        }

        impl FromStr for $name {
            type Err = String;
            /// The whole id: 8 digits are for people, and two ids can share them.
            fn from_str(text: &str) -> Result<Self, String> {
                text.strip_prefix(concat!($prefix, "-"))
                    .filter(|hex| !hex.contains(|c: char| !matches!(c, '0'..='9' | 'a'..='f')))
                    .and_then(Digest::parse)
                    .map(Self)
                    .ok_or_else(|| {
                        format!(
                            concat!("`{}` is no whole id (`", $prefix, "-` and 64 hexadecimal digits)"),
                            crate::text::Safe::new(text)
                        )
                    })
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id! {
    /// The hash of a base's tree entries.
    ContentId, "con"
}
id! {
    /// A content id together with its image set.
    ReleaseId, "rel"
}
id! {
    /// One tenant's files, or a ring's (slug → files).
    FilesId, "ten"
}
id! {
    /// A ring's effective policy and the principals: what an approval was given under.
    PolicyId, "pol"
}
id! {
    /// A rendered container's spec.
    SpecHash, "spec"
}

/// Whose an object is.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// The fleet's own, once.
    Fleet,
    /// A ring's, shared by its tenants.
    Ring(RingName),
    /// A tenant's.
    Tenant(Slug),
}

impl Owner {
    /// The domain its names end in: `acme.aither`, `0-dev.aither`, `aither`. It is also the name of the
    /// owner's network, except for the fleet's, which is `0.aither`.
    pub fn domain(&self, instance: &Instance) -> String {
        match self {
            Self::Fleet => instance.to_string(),
            Self::Ring(ring) => format!("0-{ring}.{instance}"),
            Self::Tenant(slug) => format!("{slug}.{instance}"),
        }
    }

    /// The name of its network.
    pub fn network(&self, instance: &Instance) -> String {
        match self {
            Self::Fleet => format!("0.{instance}"),
            _ => self.domain(instance),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fleet => f.pad("fleet"),
            Self::Ring(ring) => f.pad(&format!("ring/{ring}")),
            Self::Tenant(slug) => f.pad(slug.as_str()),
        }
    }
}

/// A service of an owner: the unit of replacement.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
pub struct ServiceKey {
    /// Whose.
    pub owner: Owner,
    /// Its Compose name.
    pub service: String,
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.owner, self.service))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_keep_the_rule() {
        for good in [
            "acme",
            "dev-lab",
            "x1",
            "staging",
            &"a".repeat(3).replace("aaa", "aza"),
        ] {
            assert!(good.parse::<Slug>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "Acme",
            "1a",
            "-a",
            "a_b",
            "a.b",
            "deadbeef",
            "a1",
            "gateway",
            &"x".repeat(32),
            "ä1",
        ] {
            assert!(bad.parse::<Slug>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_name_of_a_fleet_gives_an_instance_that_is_a_slug() {
        for (name, want) in [
            ("aither", "aither"),
            ("My Fleet!", "my-fleet"),
            ("2026_ops", "ops"),
            ("deadbeef", "deadbeef-fleet"),
            ("fleet", "fleet-fleet"),
            ("", "my-fleet"),
            ("ÄÖ", "my-fleet"),
        ] {
            let instance = Instance::of_name(name);
            assert_eq!(instance.as_str(), want);
            assert!(instance.as_str().parse::<Instance>().is_ok(), "{name}");
        }
    }

    #[test]
    fn domains_and_networks_follow_the_design() {
        let instance: Instance = "aither".parse().unwrap();
        assert_eq!(Owner::Fleet.domain(&instance), "aither");
        assert_eq!(Owner::Fleet.network(&instance), "0.aither");
        assert_eq!(
            Owner::Ring("dev".parse().unwrap()).network(&instance),
            "0-dev.aither"
        );
        assert_eq!(
            Owner::Tenant("acme".parse().unwrap()).domain(&instance),
            "acme.aither"
        );
    }
}
