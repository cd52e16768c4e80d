//! `ringfence import`.

use std::path::{Path, PathBuf};

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::Global;
use super::check::many;
use super::error::CliError;
use super::findings::Told;
use super::init::{TENANT, scaffold, tenant};
use super::out::Out;
use crate::diagnostic::{At, Finding, Findings, Severity, Source};
use crate::fleet::import::{ComposeFile, Found, Imported, are_laid_over, import, names_a_sibling};
use crate::fleet::names::Instance;
use crate::fleet::yaml::MAX_FILE;
use crate::text::Safe;

/// The most files of a folder that are looked at.
const MAX_FILES: usize = 200;
/// How deep a folder is looked into.
const MAX_DEPTH: usize = 8;

/// Make a fleet of a Compose project: a new repository that passes `check`, with one tenant that runs it.
///
/// The Compose files keep their order and their comments. What a tenant cannot have is commented out, host folders become
/// volumes, variables without a value go to `.env`, configuration beside the files is copied. Each change is listed with
/// its place in your files; those are not touched.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ringfence import compose.yaml                    into <folder>-fleet
  ringfence import compose.yaml extra.yaml --into shop
  ringfence import compose.yaml compose.override.yaml   one laid over the other

Next: `ringfence -C <folder>-fleet check --notes`, then `plan`, then `apply`.")]
pub(crate) struct Import {
    /// The Compose files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where the fleet goes [default: the project's folder name with `-fleet`, here].
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// One branch (`main`) for every ring, instead of develop, staging and main.
    #[arg(long)]
    one_branch: bool,
}

/// What `import -o json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ImportedFleet<'a> {
    /// Where the fleet lies.
    directory: &'a Path,
    /// Its instance.
    instance: &'a str,
    /// Its branches.
    branches: &'a [String],
    /// How many services it has.
    services: usize,
    /// What was changed, left out, given or copied, at its place in the user's files.
    changes: Vec<Told<'a>>,
    /// What `check` still says.
    findings: Vec<Told<'a>>,
}

/// The files of one folder of the user's.
struct Group {
    /// The user's folder.
    dir: PathBuf,
    /// Its folder below `desired/services/`, with its slash; empty for that one itself.
    prefix: String,
}

impl Import {
    pub(crate) fn run(&self, global: &Global, out: &Out) -> Result<u8, CliError> {
        let here = global.directory();
        let (files, groups) = read(&here, &self.files)?;
        let project = project_name(&groups);
        let dir = here.join(
            self.into
                .clone()
                .unwrap_or_else(|| PathBuf::from(format!("{project}-fleet"))),
        );
        if std::fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(CliError::new(format!("{} is not empty", dir.display()))
                .hint("name another folder with `--into DIR`: an import makes a fleet of its own"));
        }
        let instance = Instance::of_name(&project);
        let mut base = scaffold(&project, instance.as_str(), self.one_branch);
        base.push((TENANT.to_owned(), tenant("").into_bytes()));
        let lookup = |path: &str| look(&groups, path);
        let mut imported = import(&base, &project, &files, &lookup).map_err(|findings| refused(&findings))?;
        for path in &self.files {
            imported.changes.extend(left_override(&here, path, &self.files));
        }
        let branches: Vec<String> = if self.one_branch {
            vec!["main".to_owned()]
        } else {
            ["main", "staging", "develop"].map(str::to_owned).to_vec()
        };
        write(&dir, &imported, &branches, &project)?;
        if out.json() {
            Out::print_json(&ImportedFleet {
                directory: &std::path::absolute(&dir)?,
                instance: instance.as_str(),
                branches: &branches,
                services: imported.services,
                changes: super::findings::json(&imported.changes),
                findings: super::findings::json(&imported.remaining),
            })?;
            return Ok(0);
        }
        let shown = self
            .into
            .clone()
            .unwrap_or_else(|| PathBuf::from(format!("{project}-fleet")));
        Out::print(&told(&imported, &shown.display().to_string()));
        Ok(0)
    }
}

/// The user's files, and where each folder of them goes.
fn read(here: &Path, paths: &[PathBuf]) -> Result<(Vec<ComposeFile>, Vec<Group>), CliError> {
    let mut texts = Vec::new();
    let mut dirs: Vec<PathBuf> = Vec::new();
    for path in paths {
        let full = here.join(path);
        let unreadable = |why: String| {
            CliError::new(format!("cannot read {}: {why}", path.display()))
                .hint("name the project's Compose files, such as `ringfence import compose.yaml`")
        };
        let meta = std::fs::metadata(&full).map_err(|e| unreadable(e.to_string()))?;
        if !meta.is_file() || meta.len() > MAX_FILE as u64 {
            return Err(unreadable("it is no file of at most 1 MiB".to_owned()));
        }
        let bytes = std::fs::read(&full).map_err(|e| unreadable(e.to_string()))?;
        let name = path.display().to_string();
        let source = crate::fleet::yaml::text(&name, &bytes)
            .map_err(|finding| refused(&[finding].into_iter().collect()))?;
        let dir = full.parent().unwrap_or(here).to_owned();
        if !dirs.contains(&dir) {
            dirs.push(dir.clone());
        }
        texts.push((name, dir, full, source.text.clone()));
    }
    let apart = dirs.len() > 1
        || texts.iter().any(|(_, _, _, text)| names_a_sibling(text))
        || are_laid_over(texts.iter().map(|(_, _, _, text)| text.as_str()));
    let mut groups: Vec<Group> = Vec::new();
    for dir in dirs {
        let mut prefix = if apart {
            format!("{}/", Instance::of_name(&folder_name(&dir)))
        } else {
            String::new()
        };
        while apart && groups.iter().any(|g| g.prefix == prefix) {
            prefix = format!("{}-{}/", prefix.trim_end_matches('/'), groups.len() + 1);
        }
        groups.push(Group { dir, prefix });
    }
    let files = texts
        .into_iter()
        .map(|(name, dir, full, text)| {
            let prefix = groups
                .iter()
                .find(|g| g.dir == dir)
                .map(|g| g.prefix.clone())
                .unwrap_or_default();
            let file = full
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            // Dot files are not read.
            let file = file.trim_start_matches('.').to_owned();
            let known = crate::fleet::compose::is_compose(&file);
            let file = if known { file } else { format!("{file}.yaml") };
            ComposeFile {
                name,
                path: format!("{prefix}{file}"),
                text,
            }
        })
        .collect();
    Ok((files, groups))
}

/// What `docker compose` lays over a file of its own accord, and was not named here.
fn left_override(here: &Path, path: &Path, all: &[PathBuf]) -> Findings {
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned());
    let mut findings = Findings::new();
    for end in ["yaml", "yml"] {
        let beside = path.with_file_name(format!("{}.override.{end}", stem.as_deref().unwrap_or_default()));
        if matches!(stem.as_deref(), Some("compose" | "docker-compose"))
            && !all.contains(&beside)
            && here.join(&beside).is_file()
        {
            let (path, beside) = (path.display().to_string(), beside.display().to_string());
            let message = format!(
                "`{}` stays behind: `docker compose` lays it over this file",
                Safe::new(&beside)
            );
            findings.push(
                Finding::warning("left-out", At::new(&Source::new(&path, ""), 0..0), message).help(format!(
                    "`ringfence import {} {}` takes both",
                    Safe::new(&path),
                    Safe::new(&beside)
                )),
            );
        }
    }
    findings
}

fn folder_name(dir: &Path) -> String {
    std::path::absolute(dir)
        .unwrap_or_else(|_| dir.to_owned())
        .file_name()
        .map_or_else(|| "project".to_owned(), |n| n.to_string_lossy().into_owned())
}

fn project_name(groups: &[Group]) -> String {
    let name = groups.first().map_or_else(String::new, |g| folder_name(&g.dir));
    Instance::of_name(&name).as_str().to_owned()
}

/// What lies at a path of the project. Links are not followed: they could lead out of it.
fn look(groups: &[Group], path: &str) -> Found {
    let Some((group, rest)) = groups
        .iter()
        .find_map(|g| Some((g, path.strip_prefix(g.prefix.as_str())?)))
    else {
        return Found::Nothing;
    };
    let mut full = group.dir.clone();
    for part in rest.split('/') {
        full.push(part);
        match std::fs::symlink_metadata(&full) {
            Ok(meta) if meta.is_symlink() => return Found::Unfit,
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Found::Nothing,
            Err(_) => return Found::Unfit,
        }
    }
    if full.is_dir() {
        let mut files = Vec::new();
        return match walk(&full, "", &mut files, 0) {
            Some(()) => Found::Folder(files),
            None => Found::Unfit,
        };
    }
    match file(&full) {
        Some((bytes, executable)) => Found::File(bytes, executable),
        None => Found::Unfit,
    }
}

fn file(path: &Path) -> Option<(Vec<u8>, bool)> {
    use std::os::unix::fs::PermissionsExt;
    let meta = std::fs::symlink_metadata(path).ok()?;
    if !meta.is_file() || meta.len() > MAX_FILE as u64 {
        return None;
    }
    Some((std::fs::read(path).ok()?, meta.permissions().mode() & 0o111 != 0))
}

fn walk(dir: &Path, below: &str, out: &mut Vec<(String, Vec<u8>, bool)>, depth: usize) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    for entry in std::fs::read_dir(dir).ok()? {
        let entry = entry.ok()?;
        let name = entry.file_name().into_string().ok()?;
        let path = format!("{below}{name}");
        if name == ".git" || out.len() >= MAX_FILES {
            return None;
        }
        if entry.file_type().ok()?.is_dir() {
            walk(&entry.path(), &format!("{path}/"), out, depth + 1)?;
        } else {
            let (bytes, executable) = file(&entry.path())?;
            out.push((path, bytes, executable));
        }
    }
    Some(())
}

fn write(dir: &Path, imported: &Imported, branches: &[String], project: &str) -> Result<(), CliError> {
    use std::os::unix::fs::PermissionsExt;
    for (path, (bytes, executable)) in &imported.files {
        let file = dir.join(path);
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&file, bytes)?;
        if *executable {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755))?;
        }
    }
    let files: Vec<(String, Vec<u8>)> = imported
        .files
        .iter()
        .map(|(path, (bytes, _))| (path.clone(), bytes.clone()))
        .collect();
    crate::git::init(
        &std::path::absolute(dir)?,
        &files,
        branches,
        &format!("fleet: imported from {project}"),
    )?;
    Ok(())
}

/// Nothing was written: why.
fn refused(findings: &Findings) -> CliError {
    let shown = super::findings::render(findings, Out::color());
    CliError::new(format!(
        "the project cannot be imported, and nothing was written:\n{shown}"
    ))
    .hint("mend what is named there, and import again")
}

fn told(imported: &Imported, dir: &str) -> String {
    let mut text = String::new();
    for change in &imported.changes {
        text.push_str(&line(change));
    }
    if !imported.changes.is_empty() {
        text.push('\n');
    }
    let count = |severity| imported.remaining.count(severity);
    text.push_str(&format!(
        "made a fleet in {dir} with {}; `check` passes: {}, {}, {}\n\nnext:\n  ringfence -C {dir} check --notes   read what means less here\n  ringfence -C {dir} plan            see what would run\n  ringfence -C {dir} apply           run it, once\n",
        many(imported.services, "service"),
        many(count(Severity::Error), "error"),
        many(count(Severity::Warning), "warning"),
        many(count(Severity::Note), "note"),
    ));
    text
}

/// One change: where, what and why, and what to do about it.
fn line(change: &Finding) -> String {
    let at = change.at.as_ref().map(ToString::to_string).unwrap_or_default();
    let help = match change.help.as_deref() {
        Some(help) if change.severity != Severity::Note && !help.is_empty() => {
            format!("    {}\n", Safe::new(help))
        }
        _ => String::new(),
    };
    format!("{at}: {}\n{help}", Safe::new(&change.message))
}
