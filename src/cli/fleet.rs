//! Opens what a verb works on: the repository, the instance, the state directory, the engine.

use std::cell::{Cell, OnceCell};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Global;
use super::error::CliError;
use crate::apply::ProgressSink;
use crate::controller::books::Books;
use crate::controller::files::Files;
use crate::controller::holder::Holder;
use crate::controller::quiet::{Place, Quiet};
use crate::controller::{API, Controller, Parts, Request, run, socket};
use crate::engine::Engine;
use crate::fleet::Policy;
use crate::fleet::names::CommitId;
use crate::fleet::settings::{LOCAL_DOCKER, Target};
use crate::git::{Keep, KeptOpen, Location, Repo};
use crate::store::{StateDir, Store, StoreError};

/// The ledger's file in the state directory.
const LEDGER: &str = "ledger.sqlite";
/// Where the ledger remembers the repository's root commit.
const ROOT: &str = "root";
/// How long a fetch may take.
pub(crate) const FETCH: Duration = Duration::from_secs(60);
/// So many commits are looked back for a policy that can be read.
const LOOK_BACK: usize = 100;
/// The engine's socket where `DOCKER_HOST` says nothing.
const DEFAULT_SOCKET: &str = "unix:///var/run/docker.sock";

/// A fleet, as the control branch's head declares it.
pub(crate) struct Fleet {
    pub(crate) repo: Repo,
    pub(crate) control_branch: String,
    pub(crate) policy: Policy,
    pub(crate) state: PathBuf,
    pub(crate) engine_address: String,
    /// Keeps the repository open until a first pass has read it.
    opened: Cell<Option<KeptOpen>>,
    /// Made once: whoever looks first finds out which version it speaks.
    engine: OnceCell<Engine>,
}

impl Global {
    /// The directory that the verb works in.
    pub(crate) fn directory(&self) -> PathBuf {
        self.directory.clone().unwrap_or_else(|| PathBuf::from("."))
    }

    /// Whether the repository is a URL.
    pub(crate) fn is_remote(&self) -> bool {
        let location = self.repo.as_deref().map(Location::parse);
        matches!(location, Some(Ok(Location::Url(_))))
    }

    /// Opens the repository; a URL is fetched into its mirror.
    pub(crate) fn repo(&self) -> Result<Repo, CliError> {
        let location = match &self.repo {
            Some(text) => match Location::parse(text)? {
                Location::Path(path) => Location::Path(self.directory().join(path)),
                url @ Location::Url(_) => url,
            },
            None => Location::Path(self.directory()),
        };
        match location {
            Location::Path(path) => Repo::open(&path).map_err(|e| {
                CliError::new(e).hint(
                    "`ringfence init DIR` makes a fleet repository; `-C DIR` and `--repo PATH|URL` name one",
                )
            }),
            Location::Url(url) => {
                let name = url
                    .trim_end_matches('/')
                    .rsplit(['/', ':'])
                    .next()
                    .unwrap_or("fleet")
                    .trim_end_matches(".git")
                    .to_owned();
                let state = self.state.clone().unwrap_or_else(|| state_home().join(name));
                let repo = Repo::mirror(&url, &state.join("git"))?;
                match repo.fetch(FETCH) {
                    // A forge that is down for a while (it may run here) keeps nobody from being healed.
                    Err(error) if repo.branches().is_ok_and(|b| !b.is_empty()) => {
                        super::out::Out::say(&format!(
                            "warning: {error}; going on with what was fetched last"
                        ));
                    }
                    other => other?,
                }
                Ok(repo)
            }
        }
    }

    /// Opens the fleet: repository, control branch, its policy, and where its state lies. Without a control branch the
    /// last accepted policy stays.
    pub(crate) fn fleet(&self) -> Result<Fleet, CliError> {
        self.open(false)
    }

    /// The same for what goes on whatever was committed: a policy with errors does not end it either.
    pub(crate) fn fleet_kept(&self) -> Result<Fleet, CliError> {
        self.open(true)
    }

    fn open(&self, errors_too: bool) -> Result<Fleet, CliError> {
        let repo = match self.repo() {
            Err(error) if errors_too => self.away().ok_or(error)?,
            other => other?,
        };
        let opened = repo.keep_open();
        let found = control(&repo).or_else(|error| {
            // A damaged mirror is cloned again, and then it reads.
            if repo.is_suspect() && repo.fetch(FETCH).is_ok() {
                return control(&repo);
            }
            Err(error)
        });
        let (control_branch, policy) = match found {
            Ok(found) => found,
            Err(error) => {
                let branches = repo.branches();
                self.accepted(&repo)
                    .filter(|(branch, _)| errors_too || branches.is_ok_and(|all| !all.contains_key(branch)))
                    .ok_or(error)?
            }
        };
        let state = self
            .state
            .clone()
            .unwrap_or_else(|| state_home().join(policy.settings.instance.as_str()));
        let state = std::path::absolute(&state)?;
        let engine_address = engine_address(&policy)?;
        Ok(Fleet {
            repo,
            control_branch,
            policy,
            state,
            engine_address,
            opened: Cell::new(Some(opened)),
            engine: OnceCell::new(),
        })
    }
}

impl Global {
    /// A local repository that is not where it was (moved, unmounted, unreadable), if a state directory knows it: what
    /// runs is kept and healed without it.
    fn away(&self) -> Option<Repo> {
        let path = match self.repo.as_deref().map(Location::parse) {
            Some(Ok(Location::Path(path))) => self.directory().join(path),
            Some(_) => return None,
            None => self.directory(),
        };
        let path = std::path::absolute(path).ok()?;
        // Its parent may still be there, under another name than the one that was written down.
        let real = path.parent().and_then(|p| p.canonicalize().ok());
        let real = real.zip(path.file_name()).map(|(parent, name)| parent.join(name));
        [Some(path), real].into_iter().flatten().find_map(|path| {
            let repos = [Repo::away(&path.join(".git")), Repo::away(&path)];
            repos.into_iter().find(|repo| self.state_of(repo).is_some())
        })
    }

    /// The state directory that belongs to a repository, with a ledger in it.
    fn state_of(&self, repo: &Repo) -> Option<PathBuf> {
        let identity = repo.common_dir().display().to_string();
        let belongs = |dir: &Path| {
            let view = StateDir::read(dir).ok().flatten();
            view.and_then(|v| v.repository).as_deref() == Some(identity.as_str()) && dir.join(LEDGER).exists()
        };
        match &self.state {
            Some(state) => Some(state.clone()).filter(|d| belongs(d)),
            // It is called like the instance, which nothing says any more.
            None => std::fs::read_dir(state_home())
                .ok()?
                .flatten()
                .map(|e| e.path())
                .find(|d| belongs(d)),
        }
    }

    /// The policy that was last accepted, by the ledger of this repository's state directory.
    fn accepted(&self, repo: &Repo) -> Option<(String, Policy)> {
        let state = self.state_of(repo)?;
        let facts = Store::open(&state.join(LEDGER)).ok()?.facts().ok()?;
        let commit = facts.accepted_policy.clone().or_else(|| facts.accepted.clone())?;
        let tree = repo.policy_tree(&commit).or_else(|error| {
            let keep = if repo.is_mirror() {
                repo.common_dir().to_owned()
            } else {
                state.join("git")
            };
            Keep::open(&keep).map_err(|_| error)?.repo().policy_tree(&commit)
        });
        let policy = crate::fleet::policy(&tree.ok()?, &repo.name()).policy?;
        let branch = match &policy.settings.control_branch {
            Some(named) => named.value.clone(),
            None => repo.default_branch().unwrap_or_else(|_| "main".to_owned()),
        };
        Some((branch, policy))
    }
}

/// Where state directories are: DESIGN 8.
fn state_home() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/ringfence");
    }
    let home = || std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let base = std::env::var_os("XDG_STATE_HOME")
        .filter(|v| !v.is_empty())
        .map_or_else(|| home().join(".local/state"), PathBuf::from);
    base.join("ringfence")
}

/// Lets others through our own folder of state directories to one of them; they cannot list it.
pub(super) fn let_through(state: &Path) -> Result<(), CliError> {
    let home = state_home();
    if state.parent() != Some(home.as_path()) {
        return Ok(());
    }
    let meta = std::fs::metadata(&home)?;
    if meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o001 == 0 {
        std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o711))?;
    }
    Ok(())
}

/// The control branch: the one that `ringfence.yaml` names, read on the repository's own branch, on `main` or on
/// `master`, whichever first declares a fleet.
fn control(repo: &Repo) -> Result<(String, Policy), CliError> {
    let branches = repo.branches()?;
    let mut tried = Vec::new();
    let mut first_errors = None;
    let own = repo.default_branch().unwrap_or_else(|_| "main".to_owned());
    let mut candidates = vec![own, "main".to_owned(), "master".to_owned()];
    let mut i = 0;
    while let Some(branch) = candidates.get(i).cloned() {
        i += 1;
        if tried.contains(&branch) {
            continue;
        }
        tried.push(branch.clone());
        let Some(head) = branches.get(&branch) else {
            continue;
        };
        let tree = repo.policy_tree(head)?;
        if tree.get("ringfence.yaml").is_none() && tree.below("rings/").next().is_none() {
            continue;
        }
        let read = crate::fleet::policy(&tree, &repo.name());
        let Some(policy) = read.policy.or_else(|| policy_before(repo, head)) else {
            first_errors.get_or_insert((branch, read.findings));
            continue;
        };
        match &policy.settings.control_branch {
            Some(named) if named.value != branch => {
                if !branches.contains_key(&named.value) {
                    return Err(CliError::new(format!(
                        "{}: control_branch `{}` does not exist",
                        named.at, named.value
                    ))
                    .hint(format!("`git branch {}` makes it", named.value)));
                }
                candidates.insert(i, named.value.clone());
            }
            _ => return Ok((branch, policy)),
        }
    }
    if let Some((branch, findings)) = first_errors {
        let shown = super::findings::render(&findings, false);
        return Err(
            CliError::new(format!("the policy on branch `{branch}` has errors:\n{shown}"))
                .hint("`ringfence check` reads the work tree"),
        );
    }
    Err(CliError::new(format!(
        "no branch of {} declares a fleet (looked at {})",
        repo.name(),
        tried.join(", ")
    ))
    .hint("commit `rings/rings.yaml` on the control branch, or make a fleet with `ringfence init DIR`"))
}

/// The newest policy without errors before a head that has some: a bad commit keeps nobody from being healed. Which one
/// is in force is decided later, by what was accepted.
fn policy_before(repo: &Repo, head: &CommitId) -> Option<Policy> {
    let mut at = head.clone();
    for _ in 0..LOOK_BACK {
        at = repo.commit(&at).ok()?.parents.into_iter().next()?;
        if let Some(policy) = crate::fleet::policy(&repo.policy_tree(&at).ok()?, &repo.name()).policy {
            return Some(policy);
        }
    }
    None
}

/// The one engine that the rings run on. Targets that mean other engines come later: until then they are refused.
fn engine_address(policy: &Policy) -> Result<String, CliError> {
    let local = std::env::var("DOCKER_HOST")
        .ok()
        .filter(|v| !v.is_empty())
        .unwrap_or_else(|| DEFAULT_SOCKET.to_owned());
    let mut found: Option<(String, String)> = None;
    let names = policy
        .rings
        .0
        .iter()
        .map(|r| r.deployment_target.value.clone())
        .chain([LOCAL_DOCKER.to_owned()]);
    for (i, name) in names.enumerate() {
        let address = match policy.settings.target(&name) {
            Ok(Target::Unix(address)) => address.value,
            Ok(_) => local.clone(),
            Err(_) => continue,
        };
        match &found {
            None => found = Some((name, address)),
            Some((first, other)) if *other != address && i < policy.rings.0.len() => {
                return Err(CliError::new(format!("targets `{first}` and `{name}` are different engines ({other}, {address}); one ringfence keeps one engine so far"))
                    .hint("run one instance for each engine"));
            }
            Some(_) => {}
        }
    }
    Ok(found.map_or(local, |(_, address)| address))
}

impl Fleet {
    /// The engine.
    pub(crate) fn engine(&self) -> Result<Engine, CliError> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine.clone());
        }
        let settings = &self.policy.settings;
        let made = Engine::new(
            &self.engine_address,
            settings.instance.clone(),
            settings.fleet.clone(),
            self.state.join("files"),
        );
        let made =
            made.map_err(|e| CliError::new(e).hint("DOCKER_HOST takes unix:///path/to/docker.sock"))?;
        Ok(self.engine.get_or_init(|| made).clone())
    }

    /// What identifies the repository on this machine: its URL's mirror, or its common git directory.
    fn identity(&self) -> String {
        self.repo.common_dir().display().to_string()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        socket::path(&self.state)
    }

    /// Whether who runs this is who runs the daemon, or root: others are let in by `run --socket-group` to look.
    pub(crate) fn is_ours(&self) -> bool {
        let me = rustix::process::geteuid();
        let owner = std::fs::metadata(self.socket()).map(|meta| meta.uid());
        me.is_root() || owner.is_ok_and(|owner| owner == me.as_raw())
    }

    /// Takes the state directory: nobody else works with it meanwhile.
    pub(crate) fn lock(&self, takeover: bool) -> Result<StateDir, CliError> {
        Ok(StateDir::open(&self.state, &self.identity(), takeover)?)
    }

    /// What an earlier process may have left about a fleet at rest, and where this one leaves it.
    pub(crate) fn quiet(&self, lock: &StateDir, request: &Request) -> Option<Quiet> {
        let place = Place {
            repo: self.repo.clone(),
            control_branch: self.control_branch.clone(),
            state: self.state.clone(),
            ledger: self.state.join(LEDGER),
            kept: self.keep_dir(),
            holder: lock.holder().to_owned(),
            engine: self.engine_address.clone(),
        };
        Quiet::of(place, request)
    }

    /// The controller that may act: with the state directory's lock, and the instance taken on the engine.
    pub(crate) async fn acting(
        &self,
        lock: &StateDir,
        takeover: bool,
        daemon: bool,
        progress: ProgressSink,
    ) -> Result<
        (
            Controller,
            Arc<Store>,
            mpsc::UnboundedSender<run::Wake>,
            mpsc::UnboundedReceiver<run::Wake>,
        ),
        CliError,
    > {
        let store = Arc::new(Store::open(&self.state.join(LEDGER))?);
        let engine = self.engine()?;
        let holder = Holder {
            id: lock.holder().to_owned(),
            repository: self.root(&store),
            socket: self.socket().display().to_string(),
        };
        if takeover {
            holder.take(&engine, &self.policy.settings.instance, true).await?;
        }
        if !daemon && let Some(api) = store.meta(API)? {
            engine.resume(&api).await;
        }
        let keep = Keep::open(&self.keep_dir())?;
        if !self.repo.is_mirror() {
            keep.clear_locks();
        }
        let (wake, wakes) = mpsc::unbounded_channel();
        let parts = Parts {
            books: Books::new(
                self.repo.clone(),
                Some(keep),
                self.control_branch.clone(),
                self.policy.settings.instance.clone(),
            ),
            engine,
            store: Arc::clone(&store),
            files: Files::new(self.state.join("files")),
            holder,
            instance: self.policy.settings.instance.clone(),
            progress,
            daemon,
            trust: None,
            opened: self.opened.take(),
            first_look: None,
            quiet: None,
        };
        Ok((Controller::new(parts, wake.clone()), store, wake, wakes))
    }

    /// Where judging starts at the first start, if somebody names a commit.
    pub(crate) fn trust(
        &self,
        rev: Option<&str>,
        controller: &mut Controller,
        store: &Store,
    ) -> Result<(), CliError> {
        let Some(rev) = rev else { return Ok(()) };
        if let Some(accepted) = &store.facts()?.accepted {
            return Err(CliError::usage(format!(
                "`--trust` is for the first start, and the control branch was accepted at {} already",
                accepted.short()
            ))
            .hint("leave it out; `ringfence accept COMMIT` takes a rewritten control branch"));
        }
        let commit = self.repo.resolve(rev)?;
        let branches = self.repo.branches()?;
        let head = branches.get(&self.control_branch);
        if !head.is_some_and(|head| self.repo.is_ancestor(&commit, head).unwrap_or(false)) {
            return Err(CliError::usage(format!(
                "commit {} is not in the history of control branch `{}`",
                commit.short(),
                self.control_branch
            ))
            .hint(format!(
                "`git log --first-parent {}` lists its commits",
                self.control_branch
            )));
        }
        controller.trust(commit);
        Ok(())
    }

    /// The repository's root commit, by which others know it. All of history is walked for it, so that it is remembered: a
    /// state directory belongs to one repository.
    fn root(&self, store: &Store) -> String {
        let known = store.meta(ROOT).ok().flatten().filter(|known| {
            let known: Option<CommitId> = known.parse().ok();
            known.is_some_and(|c| self.repo.commit(&c).is_ok_and(|c| c.parents.is_empty()))
        });
        known.unwrap_or_else(|| {
            let root = self.repo.root_commit().map(|c| c.to_string()).unwrap_or_default();
            // One that cannot be written down is walked to again.
            let _ = store.set_meta(ROOT, &root);
            root
        })
    }

    /// The controller that only looks.
    pub(crate) async fn looking(&self) -> Result<(Controller, mpsc::UnboundedReceiver<run::Wake>), CliError> {
        let store = Arc::new(self.ledger()?);
        let keep = self.kept()?;
        let engine = self.engine()?;
        if let Some(api) = store.meta(API)? {
            engine.resume(&api).await;
        }
        let (wake, wakes) = mpsc::unbounded_channel();
        let parts = Parts {
            books: Books::new(
                self.repo.clone(),
                keep,
                self.control_branch.clone(),
                self.policy.settings.instance.clone(),
            ),
            engine,
            store,
            files: Files::new(self.state.join("files")),
            holder: Holder {
                id: String::new(),
                repository: String::new(),
                socket: String::new(),
            },
            instance: self.policy.settings.instance.clone(),
            progress: ProgressSink::default(),
            daemon: false,
            trust: None,
            opened: self.opened.take(),
            first_look: None,
            quiet: None,
        };
        Ok((Controller::new(parts, wake), wakes))
    }

    /// The ledger, to read; an empty one where there is none yet.
    pub(crate) fn ledger(&self) -> Result<Store, CliError> {
        let path = self.state.join(LEDGER);
        if !path.exists() {
            return Ok(Store::in_memory()?);
        }
        let opened = Store::open(&path);
        if let Err(StoreError::ReadOnly { .. }) = opened
            && let Some(store) = Store::look(&path)?
        {
            return Ok(store); // what cannot be written can still be looked at
        }
        Ok(opened?)
    }

    /// What is kept of the repository; none before anything was, so that looking makes nothing.
    pub(crate) fn kept(&self) -> Result<Option<Keep>, CliError> {
        let dir = self.keep_dir();
        Ok(if dir.exists() {
            Some(Keep::open(&dir)?)
        } else {
            None
        })
    }

    fn keep_dir(&self) -> PathBuf {
        if self.repo.is_mirror() {
            self.repo.common_dir().to_owned()
        } else {
            self.state.join("git")
        }
    }
}

/// The work tree that `check` and `plan --worktree` read.
pub(crate) fn worktree_root(global: &Global, path: Option<&Path>) -> PathBuf {
    let dir = path.map_or_else(
        || global.directory(),
        |p| {
            if p.is_absolute() {
                p.to_owned()
            } else {
                global.directory().join(p)
            }
        },
    );
    Repo::open(&dir).ok().and_then(|r| r.work_dir()).unwrap_or(dir)
}
