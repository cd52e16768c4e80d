//! A repository: its refs, and what they name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use git2::{ErrorCode, Oid, RepositoryOpenFlags};

use super::open::{Handle, KeptOpen, Shared};
use super::{GitError, location};
use crate::fleet::names::CommitId;
use crate::text::Safe;

/// A repository. Opened for each call (but see [`Repo::keep_open`]), so that it can be cloned and shared. Replace refs
/// are ignored (libgit2 knows none).
#[derive(Debug, Clone)]
pub struct Repo {
    /// Its git directory (of a linked work tree: that one's).
    pub(super) git_dir: PathBuf,
    /// Where refs and objects lie.
    pub(super) common_dir: PathBuf,
    pub(super) work_dir: Option<PathBuf>,
    /// Set for a mirror.
    pub(super) url: Option<String>,
    /// Whether something of it could not be read: a mirror is then looked through at the next fetch.
    pub(super) suspect: Arc<AtomicBool>,
    pub(super) shared: Shared,
}

impl Repo {
    /// The repository found from `path`: its work tree, a folder in it, or a bare repository.
    pub fn open(path: &Path) -> Result<Self, GitError> {
        let repo = git2::Repository::open_ext(path, RepositoryOpenFlags::empty(), &[] as &[&Path])
            .map_err(|e| open_error(path, &e))?;
        sha1_only(&repo)?;
        Ok(Self {
            git_dir: real(repo.path()),
            common_dir: real(repo.commondir()),
            work_dir: repo.workdir().map(real),
            url: None,
            suspect: Arc::default(),
            shared: Shared::of(repo),
        })
    }

    /// A repository that was at `common_dir` and cannot be opened now. Every read of it fails with the reason, until it
    /// is back.
    pub fn away(common_dir: &Path) -> Self {
        let is_work_tree = common_dir.file_name().is_some_and(|name| name == ".git");
        Self {
            git_dir: common_dir.to_owned(),
            common_dir: common_dir.to_owned(),
            work_dir: common_dir.parent().filter(|_| is_work_tree).map(Path::to_owned),
            url: None,
            suspect: Arc::default(),
            shared: Shared::default(),
        }
    }

    /// Whether it is a mirror of which something could not be read: its next fetch looks it through.
    pub fn is_suspect(&self) -> bool {
        self.is_mirror() && self.suspect.load(Ordering::Relaxed)
    }

    /// Whether it is a mirror of a URL.
    pub fn is_mirror(&self) -> bool {
        self.url.is_some()
    }

    /// Where its refs and objects lie: the same for all its linked work trees, and so its identity on this machine.
    pub fn common_dir(&self) -> &Path {
        &self.common_dir
    }

    /// Its work tree; none for a bare one and a mirror.
    pub fn work_dir(&self) -> Option<PathBuf> {
        self.work_dir.clone()
    }

    /// The directory's name (of a mirror: the URL's last part), without `.git`.
    pub fn name(&self) -> String {
        let last = match (&self.url, &self.work_dir) {
            (Some(url), _) => url
                .trim_end_matches('/')
                .rsplit(['/', ':'])
                .next()
                .unwrap_or_default()
                .to_owned(),
            (None, work) => {
                // A linked work tree has a name of its own; the fleet's is that of the main one.
                let main = match (self.common_dir.file_name(), self.common_dir.parent()) {
                    (Some(name), Some(parent)) if name == ".git" => parent,
                    _ if self.git_dir == self.common_dir => work.as_deref().unwrap_or(&self.common_dir),
                    _ => &self.common_dir,
                };
                main.file_name()
                    .map(|n| n.to_string_lossy().into_owned())
                    .unwrap_or_default()
            }
        };
        last.strip_suffix(".git").unwrap_or(&last).to_owned()
    }

    /// How messages name it: its URL without credentials, or its directory.
    pub(super) fn label(&self) -> Safe {
        match &self.url {
            Some(url) => Safe::new(&location::redact(url)),
            None => Safe::new(
                &self
                    .work_dir
                    .as_deref()
                    .unwrap_or(&self.git_dir)
                    .display()
                    .to_string(),
            ),
        }
    }

    /// Keeps it open for as long as the answer lives.
    pub fn keep_open(&self) -> KeptOpen {
        self.shared.keep()
    }

    pub(super) fn git2(&self) -> Result<Handle, GitError> {
        self.shared.get(|| {
            git2::Repository::open_ext(&self.git_dir, RepositoryOpenFlags::NO_SEARCH, &[] as &[&Path])
                .map_err(|e| open_error(&self.git_dir, &e))
        })
    }

    pub(super) fn fault(&self, doing: &'static str) -> impl Fn(git2::Error) -> GitError + '_ {
        move |e| {
            self.suspect.store(true, Ordering::Relaxed);
            GitError::Git {
                repo: self.label(),
                doing,
                detail: Safe::new(&location::redact(e.message())),
            }
        }
    }

    /// The branch that HEAD names, even before its first commit. Of a mirror: the remote's.
    pub fn default_branch(&self) -> Result<String, GitError> {
        let repo = self.git2()?;
        let head = repo
            .find_reference("HEAD")
            .map_err(self.fault("cannot read HEAD"))?;
        head.symbolic_target()
            .ok()
            .flatten()
            .and_then(|t| t.strip_prefix("refs/heads/"))
            .map(str::to_owned)
            .ok_or_else(|| GitError::NoBranch { repo: self.label() })
    }

    /// The local branches and their heads. A branch file that is damaged is an error, never an absent branch.
    pub fn branches(&self) -> Result<BTreeMap<String, CommitId>, GitError> {
        let repo = self.git2()?;
        let mut out = self.refs_below(&repo, "refs/heads/")?;
        for name in self.loose_heads()? {
            if out.contains_key(&name) {
                continue;
            }
            let full = format!("refs/heads/{name}");
            match repo.find_reference(&full).and_then(|r| r.peel_to_commit()) {
                Ok(commit) => {
                    out.insert(name, commit_id(commit.id())?);
                }
                // Deleted since, or a symbolic ref to a branch that does not exist.
                Err(e) if e.code() == ErrorCode::NotFound && !self.is_plain_ref(&full) => {}
                Err(_) => {
                    return Err(GitError::BrokenRef {
                        name: Safe::new(&full),
                        repo: self.label(),
                    });
                }
            }
        }
        Ok(out)
    }

    pub(super) fn refs_below(
        &self,
        repo: &git2::Repository,
        prefix: &str,
    ) -> Result<BTreeMap<String, CommitId>, GitError> {
        let fault = self.fault("cannot read the refs");
        let mut out = BTreeMap::new();
        for reference in repo.references_glob(&format!("{prefix}*")).map_err(&fault)? {
            let reference = reference.map_err(&fault)?;
            let name = String::from_utf8_lossy(reference.name_bytes()).into_owned();
            let Some(short) = name.strip_prefix(prefix) else {
                continue;
            };
            let Some(target) = reference.resolve().ok().and_then(|r| r.target()) else {
                continue; // symbolic, to nothing
            };
            out.insert(short.to_owned(), commit_id(target)?);
        }
        Ok(out)
    }

    /// Names of the branch files, which libgit2 would skip without a word where it cannot read them.
    fn loose_heads(&self) -> Result<Vec<String>, GitError> {
        let root = self.common_dir.join("refs/heads");
        let mut out = Vec::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            let entries = match std::fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(unreadable(&folder, e)),
            };
            for entry in entries {
                let entry = entry.map_err(|e| unreadable(&folder, e))?;
                let path = entry.path();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(path),
                    Ok(_) if path.extension().is_some_and(|e| e == "lock") => {}
                    Ok(_) => out.extend(
                        path.strip_prefix(&root)
                            .ok()
                            .map(|p| p.to_string_lossy().into_owned()),
                    ),
                    Err(_) => {} // gone since
                }
            }
        }
        Ok(out)
    }

    fn is_plain_ref(&self, name: &str) -> bool {
        std::fs::read(self.common_dir.join(name)).is_ok_and(|text| !text.starts_with(b"ref:"))
    }

    /// The commit that a revision names: a branch, a tag (annotated ones are followed), an id or part of one.
    pub fn resolve(&self, rev: &str) -> Result<CommitId, GitError> {
        let repo = self.git2()?;
        let commit = repo
            .revparse_single(rev)
            .and_then(|object| object.peel_to_commit())
            .map_err(|e| GitError::NoRevision {
                rev: Safe::new(rev),
                repo: self.label(),
                detail: Safe::new(e.message()),
            })?;
        commit_id(commit.id())
    }

    /// Whether edits under `desired/`, `stacks/`, `rings/` or of `ringfence.yaml` are not committed. Ignored files do
    /// not count; without a work tree it is `false`.
    pub fn dirty_desired(&self) -> Result<bool, GitError> {
        if self.work_dir.is_none() {
            return Ok(false);
        }
        let repo = self.git2()?;
        let mut options = git2::StatusOptions::new();
        options
            .include_untracked(true)
            .include_ignored(false)
            .exclude_submodules(true)
            .disable_pathspec_match(true);
        for path in ["desired", "stacks", "rings", "ringfence.yaml"] {
            options.pathspec(path);
        }
        let statuses = repo
            .statuses(Some(&mut options))
            .map_err(self.fault("cannot compare the work tree"))?;
        Ok(!statuses.is_empty())
    }
}

/// The id in our type.
pub(super) fn commit_id(oid: Oid) -> Result<CommitId, GitError> {
    let text = oid.to_string();
    text.parse().map_err(|_| GitError::NoRevision {
        rev: Safe::new(&text),
        repo: Safe::new("this repository"),
        detail: Safe::new("only SHA-1 ids are read"),
    })
}

/// The id in libgit2's type.
pub(super) fn oid(id: &CommitId) -> Result<Oid, GitError> {
    Oid::from_str(id.as_str()).map_err(|e| GitError::NoRevision {
        rev: Safe::new(id.as_str()),
        repo: Safe::new("this repository"),
        detail: Safe::new(e.message()),
    })
}

pub(super) fn unreadable(path: &Path, error: std::io::Error) -> GitError {
    GitError::Io {
        path: path.to_owned(),
        error,
        next: "look at its owner and mode",
    }
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn sha1_only(repo: &git2::Repository) -> Result<(), GitError> {
    let format = repo
        .config()
        .and_then(|c| c.get_string("extensions.objectformat"))
        .unwrap_or_default();
    if format.is_empty() || format == "sha1" {
        return Ok(());
    }
    Err(GitError::Unsupported {
        path: real(repo.path()),
        what: "SHA-256 object ids",
        next: "use a repository with SHA-1 ids",
    })
}

fn open_error(path: &Path, error: &git2::Error) -> GitError {
    let message = error.message();
    if error.code() == ErrorCode::Owner {
        // libgit2: "repository path '/x/' is not owned by current user"
        let named = message
            .split('\'')
            .nth(1)
            .map(|p| PathBuf::from(if p == "/" { p } else { p.trim_end_matches('/') }));
        return GitError::OtherUser {
            path: named.unwrap_or_else(|| real(path)),
        };
    }
    if message.contains("objectformat") || message.contains("object format") || message.contains("sha256") {
        return GitError::Unsupported {
            path: real(path),
            what: "SHA-256 object ids",
            next: "use a repository with SHA-1 ids",
        };
    }
    if message.contains("refstorage") {
        return GitError::Unsupported {
            path: real(path),
            what: "the reftable ref storage",
            next: "run `git refs migrate --ref-format=files` there, or watch it as a URL",
        };
    }
    if error.code() == ErrorCode::NotFound {
        return GitError::NotFound {
            path: path.to_owned(),
        };
    }
    GitError::Git {
        repo: Safe::new(&path.display().to_string()),
        doing: "cannot open the repository",
        detail: Safe::new(message),
    }
}
