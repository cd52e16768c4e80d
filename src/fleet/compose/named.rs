//! Which files of the folder are read by themselves, and which only through the one that names them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::read::Reader;
use super::super::yaml::{self, Kind, Node};
use super::extends::folder_of;
use super::release::{FOLDER, ReleaseFiles};
use super::settled;
use crate::diagnostic::Findings;

/// How many files are looked into below the folder.
const MAX_LOOKS: usize = 1000;

/// A file and the folder that its paths start from.
type Place = (String, String);

/// How one file leads to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Extends,
    Include,
}

/// The files among `roots` that another one of them leads to. Of those that lead to each other only by `extends` each is
/// read by itself; a file that another one includes is not.
pub fn through_others(
    roots: &BTreeMap<&str, &Node>,
    release: &ReleaseFiles,
    dotenv: &BTreeMap<String, String>,
) -> BTreeSet<String> {
    let mut looks = Looks {
        release,
        dotenv,
        roots,
        seen: BTreeMap::new(),
    };
    let mut reach = |start: &str, ways: &[How]| {
        let mut found = BTreeSet::new();
        let mut next: Vec<Place> = vec![(start.to_owned(), String::new())];
        while let Some(place) = next.pop() {
            if found.insert(place.clone()) {
                let named = looks.named(&place).into_iter();
                next.extend(named.filter(|(how, _)| ways.contains(how)).map(|(_, p)| p));
            }
        }
        let paths = found.into_iter().map(|(path, _)| path);
        paths.filter(|p| p != start).collect::<BTreeSet<String>>()
    };
    let mut out = BTreeSet::new();
    for ways in [&[How::Extends, How::Include][..], &[How::Include][..]] {
        let led: BTreeMap<&str, BTreeSet<String>> =
            roots.keys().map(|name| (*name, reach(name, ways))).collect();
        for (from, to) in &led {
            let one_way = |name: &&String| led.get(name.as_str()).is_some_and(|back| !back.contains(*from));
            out.extend(to.iter().filter(one_way).cloned());
        }
    }
    out
}

struct Looks<'a> {
    release: &'a ReleaseFiles,
    dotenv: &'a BTreeMap<String, String>,
    roots: &'a BTreeMap<&'a str, &'a Node>,
    seen: BTreeMap<Place, Vec<(How, Place)>>,
}

impl Looks<'_> {
    /// The files that one names.
    fn named(&mut self, place: &Place) -> Vec<(How, Place)> {
        if let Some(known) = self.seen.get(place) {
            return known.clone();
        }
        if self.seen.len() >= MAX_LOOKS {
            return Vec::new();
        }
        let (path, start) = place;
        let named = match self.roots.get(path.as_str()) {
            Some(root) => self.of(root, start),
            None => parsed(self.release, path).map_or_else(Vec::new, |root| self.of(&root, start)),
        };
        self.seen.insert(place.clone(), named.clone());
        named
    }

    fn of(&self, root: &Node, start: &str) -> Vec<(How, Place)> {
        let release = self.release.seen_from(start);
        let path = |node: &Node| {
            let node = settled::node(&Reader::new(), node, "", self.dotenv, &mut Vec::new())?;
            release.locate(node.scalar()?).ok()
        };
        let mut out = Vec::new();
        for (_, service) in root.get("services").and_then(Node::entries).unwrap_or_default() {
            let file = service.get("extends").and_then(|e| e.get("file"));
            if let Some(file) = file.and_then(path) {
                let start = folder_of(&file).to_owned();
                out.push((How::Extends, (file, start)));
            }
        }
        for item in root.get("include").and_then(Node::items).unwrap_or_default() {
            let node = item.get("path").unwrap_or(item);
            let paths: Vec<String> = match &node.kind {
                Kind::Seq(items) => items.iter().filter_map(path).collect(),
                _ => path(node).into_iter().collect(),
            };
            let start = item
                .get("project_directory")
                .and_then(path)
                .or_else(|| paths.first().map(|p| folder_of(p).to_owned()))
                .unwrap_or_default();
            out.extend(paths.into_iter().map(|p| (How::Include, (p, start.clone()))));
        }
        out
    }
}

fn parsed(release: &ReleaseFiles, path: &str) -> Option<Node> {
    let source: Arc<_> = yaml::text(&format!("{FOLDER}{path}"), &release.bytes(path)?).ok()?;
    yaml::parse_layer(&source, &mut Findings::new())
}
