//! A Compose project becomes a fleet that passes `check`. Pure.
//!
//! `check` is what decides: it reads the project as it is, and each of its errors is answered by one change of the text
//! at its position, until there is none. So whatever `check` learns to carry out is no longer left out here, and every
//! change has the reason that `check` gives.

mod copy;
mod rules;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::check::check;
use super::compose::{FOLDER, HERE, MISSING, dotenv_values, folder_of, is_compose};
use super::tree::{Entry, EntryKind, Tree};
use super::yaml;
use crate::diagnostic::{At, Finding, Findings, Severity, Source};
use crate::digest::Digest;
pub use copy::{Found, Lookup, are_laid_over, names_a_sibling};
use text::Text;

/// How often the text is read anew; each time it gets shorter, or a variable gets its value.
const MAX_ROUNDS: usize = 200;
/// Where values go.
const DOTENV: &str = ".env";

/// A Compose file of the user's.
#[derive(Debug, Clone)]
pub struct ComposeFile {
    /// What the user calls it; findings name it so.
    pub name: String,
    /// Its path in the project: the folder that `./` means, with its slash, and the name.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// What became of a project.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The fleet's files.
    pub files: BTreeMap<String, (Vec<u8>, bool)>,
    /// What was changed, left out, given or copied, at its place in the user's files.
    pub changes: Findings,
    /// What `check` still says.
    pub remaining: Findings,
    /// How many services it has.
    pub services: usize,
}

/// Makes a fleet of `files` and what `lookup` finds beside them, within `scaffold`. Files that declare a service together
/// are laid over each other in their order; they must lie in folders below `desired/services/`.
///
/// # Errors
/// The findings that no change answers: a file that is not YAML, or a project of which nothing is left.
pub fn import(
    scaffold: &[(String, Vec<u8>)],
    fleet: &str,
    files: &[ComposeFile],
    lookup: Lookup<'_>,
) -> Result<Imported, Findings> {
    let mut work = Work::new(scaffold, files);
    let together = are_laid_over(files.iter().map(|f| f.text.as_str()));
    let first = files.first().map(|f| folder_of(&f.path));
    for file in files {
        let folder = first
            .filter(|_| together)
            .unwrap_or_else(|| folder_of(&file.path));
        copy::copy(&mut work, file, folder, lookup);
    }
    for _ in 0..MAX_ROUNDS {
        let report = check(&work.tree(), fleet);
        // A variable without a value is written down, though `check` would take it as empty.
        if !report.findings.has_errors() {
            if work.answer(&report.findings) {
                continue;
            }
            let services = report.base.services.declared().len();
            if services == 0 {
                return Err(work.nothing_left(files));
            }
            work.changes.tidy();
            return Ok(Imported {
                files: work.fleet_files(),
                changes: std::mem::take(&mut work.changes),
                remaining: report.findings,
                services,
            });
        }
        let all_out = files
            .iter()
            .all(|f| work.texts.get(&f.path).is_none_or(|t| !has_services(t)));
        if all_out {
            return Err(work.nothing_left(files));
        }
        if !work.widen(&report.findings) && !work.answer(&report.findings) {
            let own = report.findings.iter().filter(|f| f.severity == Severity::Error);
            let mut all: Findings = own.map(|f| work.in_users_words(f)).collect();
            // What is still wrong may follow from what was left out.
            let out = work.changes.iter().filter(|f| f.code == "left-out");
            all.extend(out.cloned().collect());
            all.tidy();
            return Err(all);
        }
    }
    Err(work.nothing_left(files))
}

/// A change of one text.
struct Edit {
    range: Range<usize>,
    new: String,
    said: Finding,
}

/// The values that variables get in one round: one each, which answers all findings about the variable.
#[derive(Default)]
struct Gives(Vec<(String, String, Finding)>);

impl Gives {
    /// A place that needs a value counts more than one that is content with none.
    fn add(&mut self, name: String, value: String, said: Finding) {
        match self.0.iter_mut().find(|(n, ..)| *n == name) {
            Some(old) if old.1.is_empty() && !value.is_empty() => *old = (name, value, said),
            Some(_) => {}
            None => self.0.push((name, value, said)),
        }
    }
}

/// The fleet while it is made.
struct Work {
    scaffold: Vec<(String, Vec<u8>)>,
    /// Texts that may be changed, by their path below `desired/services/`.
    texts: BTreeMap<String, Text>,
    /// Copied as they are.
    copies: BTreeMap<String, (Vec<u8>, bool)>,
    /// Values given to variables, in their order.
    given: Vec<(String, String)>,
    /// Services that got another name.
    renamed: BTreeMap<String, String>,
    changes: Findings,
    /// How often a place had the same error.
    tried: BTreeMap<(String, usize, &'static str), usize>,
}

impl Work {
    fn new(scaffold: &[(String, Vec<u8>)], files: &[ComposeFile]) -> Self {
        let mut work = Self {
            scaffold: scaffold.to_vec(),
            texts: BTreeMap::new(),
            copies: BTreeMap::new(),
            given: Vec::new(),
            renamed: BTreeMap::new(),
            changes: Findings::new(),
            tried: BTreeMap::new(),
        };
        for file in files {
            work.texts
                .insert(file.path.clone(), Text::new(&file.name, &file.text));
        }
        // Files of folders are read when something includes them.
        let below: Vec<&str> = files
            .iter()
            .map(|f| f.path.as_str())
            .filter(|p| p.contains('/'))
            .collect();
        if !below.is_empty() {
            let together = are_laid_over(files.iter().map(|f| f.text.as_str()));
            let (above, indent) = if together {
                ("  - path:\n", "      ")
            } else {
                ("", "  ")
            };
            let list: String = below
                .iter()
                .map(|p| format!("{indent}- {}\n", quoted(p)))
                .collect();
            let text = format!("# The Compose files that were imported.\ninclude:\n{above}{list}");
            work.copies
                .insert("imported.yaml".to_owned(), (text.into_bytes(), false));
        }
        work
    }

    fn tree(&self) -> Tree {
        let mut tree = Tree::of_files(self.scaffold.iter().map(|(p, b)| (p.clone(), b.clone())));
        for (path, (bytes, executable)) in self.of_services() {
            let kind = if executable {
                EntryKind::Executable
            } else {
                EntryKind::File
            };
            tree.insert(
                format!("{FOLDER}{path}"),
                Entry {
                    kind,
                    oid: Digest::of_bytes(&bytes).hex(),
                    size: bytes.len() as u64,
                    bytes: std::sync::Arc::from(bytes),
                },
            );
        }
        tree
    }

    /// All that lies below `desired/services/`.
    fn of_services(&self) -> BTreeMap<String, (Vec<u8>, bool)> {
        let mut all = self.copies.clone();
        for (path, text) in &self.texts {
            all.insert(path.clone(), (text.now().as_bytes().to_vec(), false));
        }
        if !self.given.is_empty() {
            let (bytes, _) = all.remove(DOTENV).unwrap_or_default();
            let mut text = String::from_utf8_lossy(&bytes).into_owned();
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str("# Written by `ringfence import`: give each its value.\n");
            for (name, value) in &self.given {
                text.push_str(&format!("{name}={value}\n"));
            }
            all.insert(DOTENV.to_owned(), (text.into_bytes(), false));
        }
        all
    }

    /// The values that a file of this folder is read with, so far.
    fn dotenv(&self, folder: &str) -> BTreeMap<String, String> {
        let of = |path: &str| {
            self.texts
                .get(path)
                .map(|t| dotenv_values(t.now()))
                .unwrap_or_default()
        };
        let mut all = of(&format!("{folder}{DOTENV}"));
        all.extend(of(DOTENV));
        all.entry(HERE.to_owned()).or_insert_with(|| ".".to_owned());
        all
    }

    fn fleet_files(&self) -> BTreeMap<String, (Vec<u8>, bool)> {
        let mut files: BTreeMap<String, (Vec<u8>, bool)> = self
            .scaffold
            .iter()
            .map(|(path, bytes)| (path.clone(), (bytes.clone(), false)))
            .collect();
        for (path, file) in self.of_services() {
            files.insert(format!("{FOLDER}{path}"), file);
        }
        files
    }

    /// A project of many services needs a larger subnet for its tenant. False: it is not that.
    fn widen(&mut self, findings: &Findings) -> bool {
        let full = findings.iter().find(|f| f.code == "subnet-full");
        // The line that it asks for.
        let line = full
            .and_then(|f| f.help.as_deref()?.split('`').nth(1))
            .filter(|line| !line.contains('…'));
        let Some((_, bytes)) = self.scaffold.iter_mut().find(|(p, _)| p == super::settings::PATH) else {
            return false;
        };
        let text = String::from_utf8_lossy(bytes).into_owned();
        let Some(line) = line.filter(|_| !text.contains("address_pool")) else {
            return false;
        };
        let more = "# A tenant of this project has many services, and each needs two addresses while it is replaced.";
        *bytes = format!("{text}{more}\n{line}\n").into_bytes();
        true
    }

    /// Changes what the errors, and variables without a value, ask for. False: none of them could be answered.
    fn answer(&mut self, findings: &Findings) -> bool {
        let mut edits: BTreeMap<String, Vec<Edit>> = BTreeMap::new();
        let mut gives = Gives::default();
        let mut seen = BTreeSet::new();
        let mut answered = false;
        for finding in findings
            .iter()
            .filter(|f| f.severity == Severity::Error || f.code == MISSING)
        {
            let Some((path, text)) = finding.at.as_ref().and_then(|at| {
                let path = at.source.path.strip_prefix(FOLDER)?;
                // The text that the finding speaks of must be the one that is changed.
                let text = self
                    .texts
                    .get(path)
                    .filter(|t| at.source.text.starts_with(t.now()))?;
                Some((path.to_owned(), text))
            }) else {
                continue;
            };
            let at = finding.at.clone().unwrap_or_else(|| text.at(&(0..0)));
            let origin = text.at(&at.span).span.start;
            let place = (path.clone(), origin, finding.code);
            let tries = self.tried.entry(place.clone()).or_insert(0);
            // Several variables of one text are one try.
            *tries += usize::from(seen.insert(place));
            if !path
                .rsplit('.')
                .next()
                .is_some_and(|e| matches!(e, "yaml" | "yml"))
            {
                if finding.severity != Severity::Error {
                    continue;
                }
                edits
                    .entry(path)
                    .or_default()
                    .push(rules::without_line(text, finding, &at));
                continue;
            }
            let Some(root) = yaml::parse(&at.source, &mut Findings::new()) else {
                continue;
            };
            let place = rules::Place {
                finding,
                text,
                root: &root,
                at: &at,
                tries: *tries,
            };
            match rules::answer(&place, &self.given, &self.copies, &self.renamed) {
                rules::Answer::Rename(edit, old, new) => {
                    self.renamed.insert(old, new);
                    edits.entry(path).or_default().push(edit);
                }
                rules::Answer::Edit(edit) => edits.entry(path).or_default().push(edit),
                rules::Answer::Give(name, value, said) => gives.add(name, value, said),
                rules::Answer::Write(path, said) => {
                    self.copies.entry(path).or_insert_with(|| (Vec::new(), false));
                    self.changes.push(said);
                    answered = true;
                }
                rules::Answer::None => {}
            }
        }
        for (name, value, said) in gives.0 {
            match self.given.iter_mut().find(|(n, _)| *n == name) {
                Some(old) => old.1 = value,
                None => self.given.push((name, value)),
            }
            self.changes.push(said);
            answered = true;
        }
        for (path, list) in edits {
            answered |= self.edit(&path, list);
        }
        answered
    }

    /// Makes the edits of one text from its end on. Of two that overlap the wider is made; the other may be needless then.
    fn edit(&mut self, path: &str, mut list: Vec<Edit>) -> bool {
        let Some(text) = self.texts.get_mut(path) else {
            return false;
        };
        list.sort_by_key(|e| (std::cmp::Reverse(e.range.len()), e.range.start));
        let mut chosen: Vec<Edit> = Vec::new();
        for edit in list {
            let apart = |c: &Edit| edit.range.end <= c.range.start || c.range.end <= edit.range.start;
            if chosen.iter().all(apart) {
                chosen.push(edit);
            }
        }
        chosen.sort_by_key(|e| std::cmp::Reverse(e.range.start));
        for edit in chosen {
            text.replace(edit.range, &edit.new);
            self.changes.push(edit.said);
        }
        true
    }

    /// A finding with the place in the user's own file.
    fn in_users_words(&self, finding: &Finding) -> Finding {
        let mut finding = finding.clone();
        if let Some(at) = &finding.at
            && let Some(text) = at
                .source
                .path
                .strip_prefix(FOLDER)
                .and_then(|path| self.texts.get(path))
        {
            finding.at = Some(text.at(&at.span));
        }
        finding
    }

    fn nothing_left(&mut self, files: &[ComposeFile]) -> Findings {
        let mut findings = std::mem::take(&mut self.changes);
        let first = files.first().and_then(|f| self.texts.get(&f.path));
        let at = first.map_or_else(|| At::new(&Source::new("", ""), 0..0), |t| t.at(&(0..0)));
        findings.push(
            Finding::error("nothing-left", at, "nothing of the project can be carried out")
                .help("the warnings say why each service was left out"),
        );
        findings.tidy();
        findings
    }
}

/// Whether anything of a Compose file is still there.
fn has_services(text: &Text) -> bool {
    yaml::parse(&Source::new("", text.now()), &mut Findings::new()).is_none_or(|root| {
        let some = |key| {
            root.get(key).is_some_and(|n: &yaml::Node| {
                n.entries().is_some_and(|e| !e.is_empty()) || n.items().is_some()
            })
        };
        // The first version of the format has no such key.
        let first = || {
            root.entries()
                .is_some_and(|e| e.iter().any(|(_, v)| v.get("image").is_some()))
        };
        some("services") || some("include") || first()
    })
}

/// A path as a YAML scalar.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// Whether a path is one that every file of `desired/services/` is read at.
fn is_read(path: &str) -> bool {
    !path.contains('/') && is_compose(path)
}

#[cfg(test)]
mod tests;
