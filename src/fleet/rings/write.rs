//! A pin as a file. What is written here reads back as the same value.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::fleet::decisions::Reason;
use crate::fleet::names::{CommitId, RingName};

/// Which release a ring shall run, to be written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPin {
    /// The commit whose content is the release.
    pub release: CommitId,
    /// The ring it was proven in.
    pub proven_in: Option<RingName>,
    /// Image as written → what it was resolved to; empty: the set proven in the ring before.
    pub images: BTreeMap<String, String>,
    /// Why.
    pub reason: Option<Reason>,
}

impl NewPin {
    /// Where a ring's pin stands.
    pub fn path(ring: &RingName) -> String {
        format!("rings/pins/{ring}.yaml")
    }

    /// The document.
    pub fn to_yaml(&self) -> String {
        let mut text = format!("release: {}\n", quoted(self.release.as_str()));
        // Writing into memory does not fail.
        if let Some(ring) = &self.proven_in {
            let _ = writeln!(text, "proven_in: {ring}");
        }
        if !self.images.is_empty() {
            text.push_str("images:\n");
        }
        for (name, resolved) in &self.images {
            let _ = writeln!(text, "  {}: {}", quoted(name), quoted(resolved));
        }
        if let Some(reason) = &self.reason {
            let _ = writeln!(text, "reason: {}", quoted(reason.as_str()));
        }
        text
    }
}

/// A JSON string is a double-quoted one in YAML too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::read::Reader;
    use crate::fleet::rings;
    use crate::fleet::tree::Tree;

    #[test]
    fn what_is_written_reads_back() {
        let hex = "ab".repeat(32);
        let pin = NewPin {
            release: "1234567812345678123456781234567812345678".parse().unwrap(),
            proven_in: Some("dev".parse().unwrap()),
            images: BTreeMap::from([
                ("agent:1.9".to_owned(), format!("id:sha256:{hex}")),
                (
                    "registry.example/web:2".to_owned(),
                    format!("digest:sha256:{hex}"),
                ),
            ]),
            reason: Some("web \"1.8.4\": # all of it\nand more".parse().unwrap()),
        };
        let reader = Reader::new();
        let tree = Tree::of_files([
            (
                rings::PATH.to_owned(),
                "rings: {dev: {id: 0}, prod: {id: 1}}\n".to_owned(),
            ),
            (NewPin::path(&"prod".parse().unwrap()), pin.to_yaml()),
        ]);
        let read = rings::pins(&tree, &rings::read(&tree, &reader), &reader);
        assert!(reader.into_findings().is_empty());
        let read = &read["prod"];
        assert_eq!(read.release.value, pin.release);
        assert_eq!(read.proven_in.as_ref().unwrap().value, "dev");
        let images = read.images.iter().map(|(k, v)| (k.clone(), v.value.clone()));
        assert_eq!(images.collect::<BTreeMap<_, _>>(), pin.images);
        assert_eq!(read.reason.as_deref(), pin.reason.as_ref().map(Reason::as_str));
    }
}
