//! Canonical hashes. One function decides what bytes a value has, so that equal values have equal ids
//! across processes and versions.

mod canonical;

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of bytes as they are.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Of a value in its canonical form: JSON without white space, map keys in byte order. `domain` keeps
    /// digests of different kinds of values apart.
    ///
    /// # Panics
    /// Never for the types of this crate: they have string keys and no floats that JSON cannot hold.
    pub fn of<T: Serialize + ?Sized>(domain: &str, value: &T) -> Self {
        let mut text = Vec::with_capacity(1024);
        text.extend_from_slice(domain.as_bytes());
        text.push(0);
        let begin = text.len();
        if canonical::write(value, &mut text).is_err() {
            text.truncate(begin);
            text.extend_from_slice(b"null");
        }
        Self::of_bytes(&text)
    }

    /// All 64 hex digits.
    pub fn hex(&self) -> String {
        hex(&self.0)
    }

    /// The first 8 hex digits: what people see.
    pub fn short(&self) -> String {
        let [a, b, c, d, ..] = self.0;
        hex(&[a, b, c, d])
    }

    /// Reads 64 hex digits.
    pub fn parse(hex: &str) -> Option<Self> {
        let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return None;
        }
        let mut out = [0u8; 32];
        for (byte, [high, low]) in out.iter_mut().zip(pairs) {
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Some(Self(out))
    }

    /// The raw bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from(if n < 10 { b'0' + n } else { b'a' + n - 10 });
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.hex())
    }
}

impl schemars::JsonSchema for Digest {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Digest".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{64}$" })
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("expected 64 hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_order_of_keys_does_not_matter_and_the_domain_does() {
        let a = Digest::of("x", &json!({"a": 1, "b": [1, {"d": 1, "c": 2}]}));
        let b = Digest::of("x", &json!({"b": [1, {"c": 2, "d": 1}], "a": 1}));
        assert_eq!(a, b);
        assert_ne!(a, Digest::of("y", &json!({"a": 1, "b": [1, {"d": 1, "c": 2}]})));
        assert_eq!(Digest::parse(&a.hex()), Some(a));
        assert_eq!(a.short().len(), 8);
    }
}
