//! One file of a tree as a document: what can be wrong with the file itself, before any key is read.

use std::sync::Arc;

use super::read::Reader;
use super::tree::{Entry, EntryKind};
use super::yaml::{self, Node};
use crate::diagnostic::{Finding, Source, did_you_mean};
use crate::text::Safe;

/// Whether an entry is a plain file of a readable size. What is not is reported.
pub fn plain(path: &str, entry: &Entry, reader: &Reader) -> bool {
    let finding = match entry.kind {
        EntryKind::Symlink => Finding::about_path("symlink", path, "symbolic links are refused")
            .help("commit the file itself in place of the link"),
        EntryKind::Submodule => Finding::about_path("submodule", path, "submodules are refused")
            .help("commit the files themselves; a fleet is what one repository says"),
        EntryKind::File | EntryKind::Executable if entry.size > yaml::MAX_FILE as u64 => Finding::about_path(
            "too-large",
            path,
            format!("the file has {} bytes; the limit is 1 MiB", entry.size),
        )
        .help("split it, or keep large data out of the fleet repository"),
        EntryKind::File | EntryKind::Executable => return true,
    };
    reader.report(finding);
    false
}

/// The text of a file. An empty one is reported.
pub fn text(path: &str, entry: &Entry, reader: &Reader) -> Option<Arc<Source>> {
    if !plain(path, entry, reader) {
        return None;
    }
    match yaml::text(path, &entry.bytes) {
        Ok(source) if source.text.trim().is_empty() => {
            reader.report(empty(path));
            None
        }
        Ok(source) => Some(source),
        Err(finding) => {
            reader.report(finding);
            None
        }
    }
}

/// The YAML document of a file. One without content (only comments, say) is reported.
pub fn yaml(path: &str, entry: &Entry, reader: &Reader) -> Option<Node> {
    let source = text(path, entry, reader)?;
    let before = reader.errors();
    let node = reader.with(|findings| yaml::parse(&source, findings));
    if node.as_ref().is_none_or(Node::is_null) {
        if reader.errors() == before {
            reader.report(empty(path));
        }
        return None;
    }
    node
}

fn empty(path: &str) -> Finding {
    Finding::about_path("empty-file", path, "the file is empty")
        .help("write the document, or delete the file")
}

/// Reports a file whose name nothing reads. `known` are the names that would have been read there.
pub fn unknown_file<'a>(path: &str, known: impl IntoIterator<Item = &'a str>, reader: &Reader) {
    let known: Vec<&str> = known.into_iter().collect();
    let help = did_you_mean(path, known.iter().copied()).map_or_else(
        || format!("known here: {}", known.join(", ")),
        |near| format!("did you mean `{near}`?"),
    );
    reader.report(
        Finding::about_path(
            "unknown-file",
            path,
            format!("nothing reads `{}`", Safe::new(path)),
        )
        .help(help),
    );
}

/// Files for people and for git, which may lie anywhere.
pub fn is_for_people(path: &str) -> bool {
    matches!(
        path.rsplit('/').next(),
        Some("README.md" | ".gitkeep" | ".gitignore" | ".gitattributes")
    )
}

/// The name of a file directly in `folder` (with the slash) without its extension (with the dot).
pub fn stem<'a>(path: &'a str, folder: &str, extension: &str) -> Option<&'a str> {
    path.strip_prefix(folder)?
        .strip_suffix(extension)
        .filter(|stem| !stem.is_empty() && !stem.contains('/'))
}
