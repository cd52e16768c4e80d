//! A new fleet repository.

use std::path::{Component, Path};

use git2::{ErrorCode, Repository, RepositoryInitOptions, Signature};

use super::GitError;
use super::repo::unreadable;
use crate::text::Safe;

/// Makes a repository in `dir` with `files` in one commit in the user's name (`ringfence <ringfence@localhost>` when
/// git knows none), on the first of `branches`; the others are made at that commit. Overwrites nothing: a file that
/// is there with other content, or a repository that has commits, is an error before anything is written.
pub fn init(
    dir: &Path,
    files: &[(String, Vec<u8>)],
    branches: &[String],
    message: &str,
) -> Result<(), GitError> {
    let first = branches.first().map_or("main", String::as_str);
    refuse_what_is_there(dir, files, branches)?;
    std::fs::create_dir_all(dir).map_err(|e| unreadable(dir, e))?;
    let fault = |doing: &'static str| {
        move |e: git2::Error| GitError::Git {
            repo: Safe::new(&dir.display().to_string()),
            doing,
            detail: Safe::new(e.message()),
        }
    };
    let repo = Repository::init_opts(
        dir,
        RepositoryInitOptions::new()
            .initial_head(first)
            .external_template(false),
    )
    .map_err(fault("cannot make the repository"))?;
    repo.set_head(&format!("refs/heads/{first}"))
        .map_err(fault("cannot set HEAD"))?;
    let mut index = repo.index().map_err(fault("cannot read the index"))?;
    for (path, bytes) in files {
        let file = dir.join(path);
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).map_err(|e| unreadable(folder, e))?;
        }
        if !file.exists() {
            std::fs::write(&file, bytes).map_err(|e| unreadable(&file, e))?;
        }
        index
            .add_path(Path::new(path))
            .map_err(fault("cannot add a file"))?;
    }
    index.write().map_err(fault("cannot write the index"))?;
    let tree = index
        .write_tree()
        .and_then(|id| repo.find_tree(id))
        .map_err(fault("cannot write the tree"))?;
    let author = repo
        .signature()
        .or_else(|_| Signature::now("ringfence", "ringfence@localhost"))
        .map_err(fault("cannot sign the commit"))?;
    let commit = repo
        .commit(Some("HEAD"), &author, &author, message, &tree, &[])
        .and_then(|id| repo.find_commit(id))
        .map_err(fault("cannot commit"))?;
    for branch in branches.iter().skip(1).filter(|b| *b != first) {
        repo.branch(branch, &commit, false)
            .map_err(fault("cannot make a branch"))?;
    }
    Ok(())
}

fn refuse_what_is_there(
    dir: &Path,
    files: &[(String, Vec<u8>)],
    branches: &[String],
) -> Result<(), GitError> {
    match Repository::open(dir) {
        Ok(repo) if repo.is_empty().unwrap_or(false) => {}
        Err(e) if e.code() == ErrorCode::NotFound => {}
        _ => {
            return Err(GitError::Exists {
                path: dir.join(".git"),
                next: "add the fleet's files to that repository by hand, or name another folder",
            });
        }
    }
    for branch in branches {
        if !git2::Branch::name_is_valid(branch).unwrap_or(false) {
            return Err(GitError::Location {
                text: Safe::new(branch),
                why: "git does not take it as a branch's name",
            });
        }
    }
    for (path, bytes) in files {
        let plain = Path::new(path)
            .components()
            .all(|c| matches!(c, Component::Normal(name) if name != ".git"));
        if !plain || path.is_empty() {
            return Err(GitError::Location {
                text: Safe::new(path),
                why: "it leads out of the folder",
            });
        }
        let file = dir.join(path);
        match std::fs::symlink_metadata(&file) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(unreadable(&file, e)),
            Ok(meta) if meta.is_file() && std::fs::read(&file).is_ok_and(|b| b == *bytes) => {}
            Ok(_) => {
                return Err(GitError::Exists {
                    path: file,
                    next: "move it away, or name another folder",
                });
            }
        }
    }
    Ok(())
}
