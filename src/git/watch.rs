//! Tells when a local repository's refs may have changed. A hint: whoever is told looks for itself.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind};
use notify::{Event, EventKind, RecursiveMode, Watcher};

use super::{GitError, Repo};

/// Events within this time are one change: a `git commit` renames a few files in turn.
const DEBOUNCE: Duration = Duration::from_millis(10);
/// A new folder may hold a ref before it is watched, so that it is told of once more.
const AGAIN: Duration = Duration::from_millis(250);

/// So often it is looked whether the repository is still the one that is watched: another may have come in its place,
/// and of that no event tells.
const STILL_THERE: Duration = Duration::from_secs(5);

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watch {
    stopped: Arc<AtomicBool>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
    }
}

enum Hint {
    Changed,
    NewFolder,
}

/// Calls `on_change` (on a thread of its own, never two at once) after refs, HEAD or packed refs of a repository have
/// changed, and after every error or overflow of the watching itself. A network file system tells nothing, so that
/// the caller looks in intervals too.
pub fn watch(repo: &Repo, on_change: impl Fn() + Send + 'static) -> Result<Watch, GitError> {
    let (sender, receiver) = channel();
    let mut watched = Watched::new(repo, &sender)?;
    let stopped = Arc::new(AtomicBool::new(false));
    let (flag, repo_again) = (Arc::clone(&stopped), repo.clone());
    // Whether another repository came in the place of the one that was watched; it is watched from then on.
    let replaced = move || {
        if watched.place == place(&repo_again.common_dir) {
            return false;
        }
        match Watched::new(&repo_again, &sender) {
            Ok(again) => watched = again,
            Err(error) => tracing::warn!("{error}"),
        }
        true
    };
    std::thread::Builder::new()
        .name("git-watch".to_owned())
        .spawn(move || tell(&receiver, &flag, &on_change, replaced))
        .map_err(|e| fault(repo)(notify::Error::io(e)))?;
    Ok(Watch { stopped })
}

fn fault(repo: &Repo) -> impl Fn(notify::Error) -> GitError + '_ {
    |error| GitError::Watch {
        path: repo.common_dir.clone(),
        error,
    }
}

/// A repository as it was found, watched.
struct Watched {
    place: Option<(u64, u64)>,
    _watcher: notify::RecommendedWatcher,
}

impl Watched {
    /// One that is away is watched when it is back.
    fn new(repo: &Repo, sender: &Sender<Hint>) -> Result<Self, GitError> {
        let place = place(&repo.common_dir);
        let dirs = [repo.common_dir.clone(), repo.git_dir.clone()];
        let mut watcher =
            notify::recommended_watcher(handler(dirs.to_vec(), sender.clone())).map_err(fault(repo))?;
        let mut roots: Vec<PathBuf> = Vec::new();
        for (dir, mode) in [
            (repo.common_dir.clone(), RecursiveMode::NonRecursive),
            (repo.git_dir.clone(), RecursiveMode::NonRecursive),
            (repo.common_dir.join("refs"), RecursiveMode::Recursive),
            (repo.common_dir.join("reftable"), RecursiveMode::Recursive),
        ] {
            if !roots.contains(&dir) && dir.is_dir() {
                watcher.watch(&dir, mode).map_err(fault(repo))?;
                roots.push(dir);
            }
        }
        Ok(Self {
            place,
            _watcher: watcher,
        })
    }
}

/// Device and inode of a directory: another one of the same name has others.
fn place(dir: &Path) -> Option<(u64, u64)> {
    let meta = std::fs::metadata(dir).ok()?;
    Some((meta.dev(), meta.ino()))
}

fn handler(dirs: Vec<PathBuf>, sender: Sender<Hint>) -> impl FnMut(notify::Result<Event>) + Send + 'static {
    move |event| {
        let hint = match event {
            Err(_) => Some(Hint::Changed),
            Ok(event) if event.need_rescan() => Some(Hint::Changed),
            Ok(event) => concerns(&event, &dirs),
        };
        if let Some(hint) = hint {
            let _ = sender.send(hint);
        }
    }
}

fn concerns(event: &Event, dirs: &[PathBuf]) -> Option<Hint> {
    // Reading refs opens them: that is no change, or every look would cause the next.
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
        EventKind::Access(_) => return None,
        _ => {}
    }
    if !event.paths.is_empty() && !event.paths.iter().any(|p| is_ref(p, dirs)) {
        return None;
    }
    if event.kind == EventKind::Create(CreateKind::Folder) {
        return Some(Hint::NewFolder);
    }
    Some(Hint::Changed)
}

fn is_ref(path: &Path, dirs: &[PathBuf]) -> bool {
    if path.extension().is_some_and(|e| e == "lock") {
        return false;
    }
    dirs.iter().any(|dir| {
        path.strip_prefix(dir).is_ok_and(|rest| {
            rest.as_os_str().is_empty()
                || rest.starts_with("refs")
                || rest.starts_with("reftable")
                || rest == Path::new("HEAD")
                || rest == Path::new("packed-refs")
        })
    })
}

fn tell(
    hints: &Receiver<Hint>,
    stopped: &AtomicBool,
    on_change: &impl Fn(),
    mut replaced: impl FnMut() -> bool,
) {
    let mut again = false;
    loop {
        let pause = if again { AGAIN } else { STILL_THERE };
        let first = match hints.recv_timeout(pause) {
            Ok(hint) => Some(hint),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if stopped.load(Ordering::SeqCst) {
            return;
        }
        let told = first.is_some() || again || replaced();
        again = matches!(first, Some(Hint::NewFolder));
        if first.is_some() {
            std::thread::sleep(DEBOUNCE);
            again |= hints.try_iter().any(|h| matches!(h, Hint::NewFolder));
        }
        if stopped.load(Ordering::SeqCst) {
            return;
        }
        if told {
            on_change();
        }
    }
}
