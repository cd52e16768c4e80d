//! The objects of a commit: made by `git`, so that a shared repository keeps its modes, and the signature is the user's.
//! Until a ref names them they are seen by nobody, and `gc` takes them away.

use std::collections::BTreeMap;

use git2::{ObjectType, Oid};

use super::hand::At;
use super::problem::{WriteProblem, words};
use super::{Change, Signing};
use crate::fleet::names::CommitId;
use crate::git::GitError;
use crate::text::Safe;

const TREE: i32 = 0o040_000;
const FILE: i32 = 0o100_644;

/// What the changed paths hold afterwards: the blob's id, or none where the file goes.
pub(super) type Blobs = BTreeMap<String, Option<String>>;

/// A commit that no ref names yet.
pub(super) struct Made {
    pub(super) commit: CommitId,
    pub(super) parent: CommitId,
    pub(super) signed: bool,
}

/// Writes the files' contents, byte for byte: no filter of the repository changes them.
pub(super) fn blobs(at: &At<'_>, change: &Change) -> Result<Blobs, GitError> {
    let mut out = Blobs::new();
    for (path, bytes) in &change.files {
        refuse_strange(at, path)?;
        let id = match bytes {
            Some(bytes) => {
                let args = ["hash-object", "-w", "--stdin"];
                Some(at.ask(&args, bytes, "`git hash-object`")?)
            }
            None => None,
        };
        out.insert(path.clone(), id);
    }
    Ok(out)
}

fn refuse_strange(at: &At<'_>, path: &str) -> Result<(), GitError> {
    let plain = |part: &str| {
        !matches!(part, "" | "." | "..")
            && !part.eq_ignore_ascii_case(".git")
            && !part.chars().any(char::is_control)
    };
    if path.split('/').all(plain) {
        return Ok(());
    }
    Err(at.problem(WriteProblem::Name {
        what: Safe::new(path),
        why: "it is no plain path in a repository",
    }))
}

/// The tree of `head` with the changes; none when it is the same.
pub(super) fn tree(at: &At<'_>, head: &CommitId, blobs: &Blobs) -> Result<Option<String>, GitError> {
    let repo = at.repo.git2()?;
    let root = at
        .repo
        .find(&repo, head)?
        .tree()
        .map_err(at.repo.fault("cannot read a tree"))?;
    let changes: Vec<_> = blobs.iter().map(|(p, b)| (p.as_str(), b.as_deref())).collect();
    let made = folder(at, &repo, Some(root.id()), "", &changes)?;
    let made = match made {
        Some(tree) => tree,
        None => mktree(at, &BTreeMap::new())?,
    };
    Ok((made != root.id().to_string()).then_some(made))
}

type Entries = BTreeMap<Vec<u8>, (i32, String)>;

/// One folder with the changes below it; none when nothing is left in it. `prefix` is where it is, for messages.
fn folder(
    at: &At<'_>,
    repo: &git2::Repository,
    old: Option<Oid>,
    prefix: &str,
    changes: &[(&str, Option<&str>)],
) -> Result<Option<String>, GitError> {
    let mut entries = Entries::new();
    if let Some(old) = old {
        let old = repo
            .find_tree(old)
            .map_err(at.repo.fault("cannot read a folder's object"))?;
        for entry in &old {
            entries.insert(
                entry.name_bytes().to_owned(),
                (entry.filemode(), entry.id().to_string()),
            );
        }
    }
    let mut inner: BTreeMap<&str, Vec<(&str, Option<&str>)>> = BTreeMap::new();
    for (path, blob) in changes {
        let Some((name, rest)) = path.split_once('/') else {
            let there = kept_mode(at, &entries, prefix, path)?;
            match blob {
                Some(blob) => entries.insert(path.as_bytes().to_owned(), (there, (*blob).to_owned())),
                None => entries.remove(path.as_bytes()),
            };
            continue;
        };
        inner.entry(name).or_default().push((rest, *blob));
    }
    for (name, changes) in inner {
        let here = format!("{prefix}{name}");
        let old = match entries.get(name.as_bytes()) {
            None => None,
            Some((TREE, id)) => Some(Oid::from_str(id).map_err(at.repo.fault("cannot read a tree"))?),
            Some(_) => return Err(blocked(at, &here, "no folder")),
        };
        match folder(at, repo, old, &format!("{here}/"), &changes)? {
            Some(tree) => entries.insert(name.as_bytes().to_owned(), (TREE, tree)),
            None => entries.remove(name.as_bytes()),
        };
    }
    if entries.is_empty() {
        return Ok(None);
    }
    mktree(at, &entries).map(Some)
}

/// The mode that a file has and keeps. A link, folder or submodule in its place is not overwritten.
fn kept_mode(at: &At<'_>, entries: &Entries, prefix: &str, name: &str) -> Result<i32, GitError> {
    match entries.get(name.as_bytes()) {
        None => Ok(FILE),
        Some((mode, _)) if mode & 0o170_000 == 0o100_000 => Ok(*mode),
        Some(_) => Err(blocked(at, &format!("{prefix}{name}"), "no plain file")),
    }
}

fn blocked(at: &At<'_>, path: &str, what: &'static str) -> GitError {
    at.problem(WriteProblem::Blocked {
        path: Safe::new(path),
        what,
    })
}

fn mktree(at: &At<'_>, entries: &Entries) -> Result<String, GitError> {
    let mut input = Vec::new();
    for (name, (mode, id)) in entries {
        let kind = match mode & 0o170_000 {
            TREE => "tree",
            0o160_000 => "commit",
            _ => "blob",
        };
        input.extend_from_slice(format!("{mode:06o} {kind} {id}\t").as_bytes());
        input.extend_from_slice(name);
        input.push(0);
    }
    // What is not changed need not be here: a partial clone, or the store of kept commits.
    at.ask(&["mktree", "-z", "--missing"], &input, "`git mktree`")
}

/// In whose name a commit is made.
pub(super) struct Author {
    /// What signs it, for people; none: it is not signed.
    key: Option<String>,
}

/// Asks git who the person is. `git commit-tree` takes their identity and key by itself, but signs only when told:
/// `commit.gpgSign` is looked up here.
pub(super) fn author(at: &At<'_>, signing: Signing) -> Result<Author, GitError> {
    if !at.hand.is_person() {
        return Ok(Author { key: None });
    }
    for ident in ["GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"] {
        let outcome = at.run(&["var", ident], &[], "`git var`")?;
        if !outcome.ok {
            let detail = outcome.stderr.lines().last().unwrap_or_default();
            return Err(at.problem(WriteProblem::NoIdentity {
                detail: words(detail),
            }));
        }
    }
    let signed = signing == Signing::Always || signs(at)?;
    Ok(Author {
        key: if signed { Some(key(at)?) } else { None },
    })
}

/// Makes the commit.
pub(super) fn commit(
    at: &At<'_>,
    tree: &str,
    parent: &CommitId,
    message: &str,
    author: &Author,
) -> Result<Made, GitError> {
    let sign = author.key.as_ref().map_or("--no-gpg-sign", |_| "-S");
    // The message is UTF-8, whatever a configuration says of the user's own.
    let utf8 = "i18n.commitEncoding=UTF-8";
    let args = [
        "-c",
        utf8,
        "commit-tree",
        sign,
        "-p",
        parent.as_str(),
        "-F",
        "-",
        tree,
    ];
    let what = match &author.key {
        Some(key) => format!("the commit's signature with {key}"),
        None => "`git commit-tree`".to_owned(),
    };
    let outcome = at.run(&args, format!("{}\n", message.trim_end()).as_bytes(), &what)?;
    let id = outcome.stdout.trim().parse::<CommitId>().ok();
    match (id.filter(|_| outcome.ok), &author.key) {
        (Some(commit), key) => Ok(Made {
            commit,
            parent: parent.clone(),
            signed: key.is_some(),
        }),
        (None, Some(key)) => Err(at.problem(WriteProblem::Unsigned {
            with: Safe::new(key),
            detail: words(&outcome.stderr),
        })),
        (None, None) => Err(at.problem(WriteProblem::Refused {
            detail: words(&outcome.stderr),
        })),
    }
}

/// Whether the person's git is set up to sign commits.
fn signs(at: &At<'_>) -> Result<bool, GitError> {
    let args = [
        "config",
        "--type=bool",
        "--default=false",
        "--get",
        "commit.gpgSign",
    ];
    Ok(at.ask(&args, &[], "`git config`")? == "true")
}

/// Format and key, for people.
fn key(at: &At<'_>) -> Result<String, GitError> {
    let format = at.setting("gpg.format")?.unwrap_or_else(|| "openpgp".to_owned());
    Ok(match at.setting("user.signingkey")? {
        // A key written out in full: its beginning says enough.
        Some(key) if key.len() > 80 => {
            let start: String = key.chars().take(40).collect();
            format!("the {format} key {start}…")
        }
        Some(key) => format!("the {format} key {key}"),
        None => format!("{format}'s default key"),
    })
}

/// What a file holds in a commit; none when there is no such file.
pub(super) fn file(
    repo: &crate::git::Repo,
    commit: &CommitId,
    path: &str,
) -> Result<Option<Vec<u8>>, GitError> {
    let git2 = repo.git2()?;
    let root = repo
        .find(&git2, commit)?
        .tree()
        .map_err(repo.fault("cannot read a tree"))?;
    let entry = match root.get_path(std::path::Path::new(path)) {
        Ok(entry) => entry,
        Err(e) if e.code() == git2::ErrorCode::NotFound => return Ok(None),
        Err(e) => return Err(repo.fault("cannot read a tree")(e)),
    };
    if entry.kind() != Some(ObjectType::Blob) {
        return Ok(None);
    }
    let blob = git2
        .find_blob(entry.id())
        .map_err(repo.fault("cannot read a file's object"))?;
    Ok(Some(blob.content().to_vec()))
}
