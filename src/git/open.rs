//! A repository that stays open while much is read from it: opening one reads its configuration and asks for the owner of
//! its folders, which is more work than most reads.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

/// One that may be open, shared by all clones of a [`super::Repo`].
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// How many want it to stay open.
    kept_by: usize,
    /// Open, and used by nobody.
    idle: Option<git2::Repository>,
}

/// Keeps it open while it lives. No longer than for a pass: what was open does not see that its folder is gone.
#[must_use]
pub struct KeptOpen(Shared);

/// An open repository, in the hands of one reader. Who asks meanwhile gets another.
pub(super) struct Handle {
    repo: Option<git2::Repository>,
    home: Shared,
}

impl Shared {
    /// One that was opened just now: it serves the first reader.
    pub(super) fn of(repo: git2::Repository) -> Self {
        let state = State {
            kept_by: 0,
            idle: Some(repo),
        };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(super) fn keep(&self) -> KeptOpen {
        self.with(|state| state.kept_by += 1);
        KeptOpen(self.clone())
    }

    pub(super) fn get<E>(&self, open: impl FnOnce() -> Result<git2::Repository, E>) -> Result<Handle, E> {
        let repo = match self.with(|state| state.idle.take()) {
            Some(repo) => repo,
            None => open()?,
        };
        Ok(Handle {
            repo: Some(repo),
            home: self.clone(),
        })
    }

    fn with<T>(&self, then: impl FnOnce(&mut State) -> T) -> T {
        then(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl Drop for KeptOpen {
    fn drop(&mut self) {
        let closed = self.0.with(|state| {
            state.kept_by -= 1;
            if state.kept_by == 0 {
                state.idle.take()
            } else {
                None
            }
        });
        drop(closed);
    }
}

impl Deref for Handle {
    type Target = git2::Repository;

    #[allow(clippy::expect_used)] // it leaves only in `drop`
    fn deref(&self) -> &git2::Repository {
        self.repo.as_ref().expect("open while it is held")
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let repo = self.repo.take();
        let spare = self.home.with(|state| {
            if state.kept_by > 0 && state.idle.is_none() {
                std::mem::replace(&mut state.idle, repo)
            } else {
                repo
            }
        });
        drop(spare);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;

    #[test]
    fn one_that_is_kept_open_serves_many_readers_and_is_closed_with_the_last_who_kept_it() {
        let fixture = Fixture::new();
        fixture.git(&["commit", "--quiet", "--allow-empty", "-m", "one"]);
        let repo = super::super::Repo::open(&fixture.dir()).unwrap();
        let state = |repo: &super::super::Repo| repo.shared.with(|s| (s.kept_by, s.idle.is_some()));
        assert_eq!(state(&repo), (0, true), "what opened it goes to the first reader");
        repo.branches().unwrap();
        assert_eq!(state(&repo), (0, false), "nobody keeps it");
        let outer = repo.keep_open();
        let inner = repo.clone().keep_open();
        let first = repo.git2().unwrap();
        // A second reader meanwhile does not wait for the first.
        assert_eq!(repo.branches().unwrap().len(), 1);
        drop(first);
        assert_eq!(state(&repo), (2, true));
        drop(inner);
        assert_eq!(state(&repo), (1, true));
        drop(outer);
        assert_eq!(state(&repo), (0, false));
        // Nothing that was open before hides that it is gone.
        std::fs::rename(fixture.dir(), fixture.path("away")).unwrap();
        assert!(repo.branches().is_err());
    }
}
