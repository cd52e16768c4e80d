//! What git says, read once for each commit and kept while it is needed.

mod asking;
mod control;
mod judge;
mod memo;
mod signed;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::diagnostic::{Finding, Findings, Severity};
use crate::fleet::names::{CommitId, ContentId, Instance, RingName, Slug};
use crate::fleet::policy_id;
use crate::fleet::rings::Ring;
use crate::fleet::tenants::TenantFiles;
use crate::fleet::tree::Tree;
use crate::fleet::{self, BaseRead, Policy, PolicyRead, TenantsRead};
use crate::git::{Change, GitError, Keep, KeptOpen, Marks, Repo, Signature, WriteBack};
use memo::Memo;

pub use control::Asked;
pub(super) use signed::{Seen, Signed};

/// A repository, what is kept of it, and what was read of both.
pub struct Books {
    repo: Repo,
    keep: Option<Keep>,
    name: String,
    control_branch: String,
    trees: HashMap<CommitId, Arc<Tree>>,
    contents: HashMap<CommitId, ContentId>,
    bases: HashMap<ContentId, Arc<BaseRead>>,
    tenants: HashMap<CommitId, Arc<TenantsRead>>,
    policies: HashMap<CommitId, Arc<PolicyRead>>,
    used: HashSet<CommitId>,
    /// (tip, paths) → the newest commit that changed them, and how many are newer.
    changes: HashMap<(CommitId, String), (CommitId, usize)>,
    signatures: Memo<CommitId, Signature>,
    marks: Memo<CommitId, Marks>,
    parents: Memo<CommitId, Vec<CommitId>>,
    /// Which commits a question is about, by the question.
    lists: Memo<String, Vec<CommitId>>,
    /// Addresses of authors, by the question.
    authors: Memo<String, BTreeSet<String>>,
    /// The last judging of policy.
    judged: Option<judge::Known>,
    /// The last policy that was put together of two commits.
    mixed: Option<control::Mixed>,
    /// At which commit which commit brought which file of decisions.
    introduced: Option<(CommitId, BTreeMap<String, CommitId>)>,
    /// Pinned commits that were seen on a branch.
    reached: HashSet<CommitId>,
    /// The instance that is kept: a policy that names another one is not taken.
    instance: Instance,
    /// A work tree that stands for every branch's head.
    preview: Option<CommitId>,
    /// The branches as they were last read.
    heads: BTreeMap<String, CommitId>,
}

/// What a ring asks for, before its images are known.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The commit that has the content.
    pub commit: CommitId,
    /// The commit that asks for it.
    pub request: CommitId,
    /// Whether a pin names it.
    pub pinned: bool,
    /// The pin's own images.
    pub images: BTreeMap<String, String>,
    /// What is wrong with it already.
    pub error: Option<String>,
}

/// The control branch at this moment.
#[derive(Debug, Clone)]
pub struct Control {
    /// The commit whose decisions are read.
    pub commit: CommitId,
    /// The commit whose policy is in force: an earlier one while a change of policy waits.
    pub policy_commit: CommitId,
    /// That policy with those decisions; none where it has errors.
    pub policy: Option<Arc<Policy>>,
    /// What is wrong with them.
    pub findings: Arc<Findings>,
    /// The commit that is accepted now as it is: judging starts there.
    pub starts_at: Option<CommitId>,
    /// Commits that change policy, each with the one whose policy was in force before it.
    pub changes: BTreeMap<CommitId, CommitId>,
    /// What a person should know.
    pub conditions: Vec<String>,
}

impl Books {
    /// For a repository and what is kept of it, if anything is yet. `name` is the directory's name (the fleet's default name).
    pub fn new(repo: Repo, keep: Option<Keep>, control_branch: String, instance: Instance) -> Self {
        let name = repo.name();
        Self {
            repo,
            keep,
            name,
            control_branch,
            trees: HashMap::new(),
            contents: HashMap::new(),
            bases: HashMap::new(),
            tenants: HashMap::new(),
            policies: HashMap::new(),
            used: HashSet::new(),
            changes: HashMap::new(),
            signatures: Memo::default(),
            marks: Memo::default(),
            parents: Memo::default(),
            lists: Memo::default(),
            authors: Memo::default(),
            judged: None,
            mixed: None,
            introduced: None,
            reached: HashSet::new(),
            instance,
            preview: None,
            heads: BTreeMap::new(),
        }
    }

    /// Lets a work tree stand for every branch's head (`plan --worktree`). What is made of it can never be applied: no
    /// commit has it.
    pub fn preview(&mut self, tree: Tree) {
        if let Ok(none) = "0".repeat(40).parse::<CommitId>() {
            self.trees.insert(none.clone(), Arc::new(tree));
            self.preview = Some(none);
        }
    }

    /// The repository.
    pub fn repo(&self) -> &Repo {
        &self.repo
    }

    /// Keeps repository and kept commits open for a pass.
    pub fn keep_open(&self) -> [Option<KeptOpen>; 2] {
        [
            Some(self.repo.keep_open()),
            self.keep.as_ref().map(|k| k.repo().keep_open()),
        ]
    }

    /// The control branch's name.
    pub fn control_branch(&self) -> &str {
        &self.control_branch
    }

    /// Forgets what the pass before did not use.
    pub fn begin_pass(&mut self) {
        if self.used.is_empty() {
            return;
        }
        let used = std::mem::take(&mut self.used);
        self.trees.clear();
        self.signatures.begin();
        self.marks.begin();
        self.parents.begin();
        self.lists.begin();
        self.authors.begin();
        self.tenants.retain(|c, _| used.contains(c));
        self.changes.retain(|(tip, _), _| used.contains(tip));
        self.policies.retain(|c, _| used.contains(c));
        let contents: HashSet<ContentId> = used
            .iter()
            .filter_map(|c| self.contents.get(c).copied())
            .collect();
        self.bases.retain(|c, _| contents.contains(c));
    }

    /// The tree of a commit, from the repository or from what is kept of it.
    pub fn tree(&mut self, commit: &CommitId) -> Result<Arc<Tree>, GitError> {
        self.used.insert(commit.clone());
        if let Some(tree) = self.trees.get(commit) {
            return Ok(Arc::clone(tree));
        }
        let tree = match self.repo.tree(commit) {
            Ok(tree) => tree,
            Err(error) => match self.keep.as_ref().and_then(|k| k.repo().tree(commit).ok()) {
                Some(tree) => tree,
                None => return Err(error),
            },
        };
        let tree = Arc::new(tree);
        self.trees.insert(commit.clone(), Arc::clone(&tree));
        Ok(tree)
    }

    /// The content id of a commit.
    pub fn content(&mut self, commit: &CommitId) -> Result<ContentId, GitError> {
        self.used.insert(commit.clone());
        if let Some(content) = self.contents.get(commit) {
            return Ok(*content);
        }
        let content = fleet::content_id(&*self.tree(commit)?);
        self.contents.insert(commit.clone(), content);
        Ok(content)
    }

    /// The base of a commit.
    pub fn base(&mut self, commit: &CommitId) -> Result<Arc<BaseRead>, GitError> {
        let content = self.content(commit)?;
        if let Some(base) = self.bases.get(&content) {
            return Ok(Arc::clone(base));
        }
        let base = Arc::new(fleet::base(&*self.tree(commit)?));
        self.bases.insert(content, Arc::clone(&base));
        Ok(base)
    }

    /// The tenant files of a commit.
    pub fn tenants(&mut self, commit: &CommitId) -> Result<Arc<TenantsRead>, GitError> {
        self.used.insert(commit.clone());
        if let Some(tenants) = self.tenants.get(commit) {
            return Ok(Arc::clone(tenants));
        }
        let tenants = Arc::new(fleet::tenants(&*self.tree(commit)?));
        self.tenants.insert(commit.clone(), Arc::clone(&tenants));
        Ok(tenants)
    }

    /// Policy and decisions of a commit.
    pub fn policy(&mut self, commit: &CommitId) -> Result<Arc<PolicyRead>, GitError> {
        self.used.insert(commit.clone());
        if let Some(policy) = self.policies.get(commit) {
            return Ok(Arc::clone(policy));
        }
        let policy = Arc::new(fleet::policy(&*self.tree(commit)?, &self.name));
        self.policies.insert(commit.clone(), Arc::clone(&policy));
        Ok(policy)
    }

    /// The branches and their heads.
    pub fn branches(&mut self) -> Result<BTreeMap<String, CommitId>, GitError> {
        let mut branches = self.repo.branches()?;
        branches.clone_into(&mut self.heads);
        if let Some(preview) = &self.preview {
            for head in branches.values_mut() {
                preview.clone_into(head);
            }
        }
        Ok(branches)
    }

    /// A branch's head as it was last read.
    pub(super) fn head(&self, branch: &str) -> Option<&CommitId> {
        self.heads.get(branch)
    }

    /// What a ring is asked to run: its pin, or for an `auto_deploy` ring without one the head of its branch.
    pub fn ask(
        &mut self,
        ring: &Ring,
        control: &Control,
        policy: &Policy,
        tip: Option<&CommitId>,
    ) -> Option<Ask> {
        let pin_path = format!("rings/pins/{}.yaml", ring.name);
        if let Some(pin) = policy.pins.get(&ring.name) {
            let commit = pin.release.value.clone();
            let (request, _) = self.last_change(&control.commit, &[&pin_path]);
            let error = (!self.is_reachable(&commit)).then(|| {
                format!(
                    "its pin names {}, which no branch reaches: push the branch that has it",
                    commit.short()
                )
            });
            let images = pin
                .images
                .iter()
                .map(|(k, v)| (k.clone(), v.value.clone()))
                .collect();
            return Some(Ask {
                commit,
                request,
                pinned: true,
                images,
                error,
            });
        }
        let broken: Vec<&Finding> = control
            .findings
            .iter()
            .filter(|f| f.severity == Severity::Error && f.path() == Some(pin_path.as_str()))
            .collect();
        if !broken.is_empty() {
            let error = Some(format!(
                "its pin has an error: {}",
                first_error(broken.into_iter())
            ));
            return Some(Ask {
                commit: control.commit.clone(),
                request: control.commit.clone(),
                pinned: true,
                images: BTreeMap::new(),
                error,
            });
        }
        let tip = tip.filter(|_| ring.auto_deploy)?;
        Some(Ask {
            commit: tip.clone(),
            request: self.first_with(tip),
            pinned: false,
            images: BTreeMap::new(),
            error: None,
        })
    }

    /// What a ring was asked to run, the newest first: by its pins, with their images, then by its branch.
    pub fn asked_before(
        &mut self,
        ring: &RingName,
        control: &CommitId,
        tip: Option<&CommitId>,
        most: usize,
    ) -> Vec<(CommitId, BTreeMap<String, String>)> {
        let mut asked = Vec::new();
        for commit in self.changes_before(control, &[&format!("rings/pins/{ring}.yaml")], most) {
            let policy = self.policy(&commit).ok().and_then(|read| read.policy.clone());
            if let Some(pin) = policy.as_ref().and_then(|policy| policy.pins.get(ring)) {
                let images = pin.images.iter().map(|(k, v)| (k.clone(), v.value.clone()));
                asked.push((pin.release.value.clone(), images.collect()));
            }
        }
        let by_branch = tip.map(|tip| self.changes_before(tip, &["desired", "stacks"], most));
        asked.extend(by_branch.into_iter().flatten().map(|c| (c, BTreeMap::new())));
        asked
    }

    /// The files of a tenant in a branch's history, the newest first, each with a commit that has them.
    pub fn files_before(
        &mut self,
        tip: &CommitId,
        slug: &Slug,
        most: usize,
    ) -> Vec<(CommitId, Arc<TenantFiles>)> {
        let paths = tenant_paths(slug.as_str());
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let commits = self.changes_before(tip, &paths, most);
        let mut found = Vec::new();
        for commit in commits {
            let read = self.tenants(&commit).ok();
            if let Some(files) = read.and_then(|read| read.tenants.get(slug.as_str()).cloned()) {
                found.push((commit, Arc::new(files)));
            }
        }
        found
    }

    /// The commits of a first-parent history that changed any of the paths, the newest first. What cannot be read ends it.
    fn changes_before(&self, tip: &CommitId, paths: &[&str], most: usize) -> Vec<CommitId> {
        let mut changes = Vec::new();
        let mut at = Some(tip.clone());
        while let Some(from) = at.take().filter(|_| changes.len() < most) {
            let Ok(Some(change)) = self.repo.last_change(&from, paths) else {
                break;
            };
            let info = self.repo.commit(&change).ok();
            at = info.and_then(|info| info.parents.into_iter().next());
            changes.push(change);
        }
        changes
    }

    /// Keeps a commit by a ref of ours, so that neither `gc` nor an outage takes it away.
    pub fn keep(&self, name: &str, commit: &CommitId) -> Result<(), GitError> {
        match &self.keep {
            Some(keep) => keep.keep(&self.repo, name, commit),
            None => Ok(()),
        }
    }

    /// Lets go of what was kept under a name.
    pub fn let_go(&self, name: &str) {
        if let Some(keep) = &self.keep {
            keep.forget(name);
        }
    }

    /// Keeps many commits, each under a name.
    pub fn keep_all(&self, names: &[(String, CommitId)]) -> Result<(), GitError> {
        match &self.keep {
            Some(keep) if !names.is_empty() => keep.keep_all(&self.repo, names),
            _ => Ok(()),
        }
    }

    /// Writes a commit of the daemon's for a ring, or keeps it as a proposal; none without a state directory.
    pub fn write_back(
        &self,
        ring: &RingName,
        change: &Change,
        condition: crate::git::Ask<'_>,
        limit: Duration,
    ) -> Result<Option<WriteBack>, GitError> {
        let keep = self.keep.as_ref();
        keep.map(|keep| keep.write_back(&self.repo, ring.as_str(), change, condition, limit))
            .transpose()
    }

    /// The command that takes what is proposed for a ring, if anything is.
    pub fn taking(&self, ring: &RingName) -> Option<String> {
        let keep = self.keep.as_ref()?;
        keep.proposed().ok()?.get(ring.as_str())?;
        keep.taking(&self.repo, ring.as_str(), &self.control_branch).ok()
    }

    /// Drops what is proposed for a ring.
    pub fn withdraw(&self, ring: &RingName) {
        if let Some(keep) = &self.keep
            && keep.withdraw(ring.as_str()).is_err()
        {
            tracing::warn!("what was proposed for ring {ring} cannot be dropped");
        }
    }

    /// The newest commit that changed a tenant's files, and how many of the branch are newer.
    pub fn request_of(&mut self, tip: &CommitId, slug: &str) -> (CommitId, usize) {
        let paths = tenant_paths(slug);
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        self.last_change(tip, &paths)
    }

    /// The newest commit that changed any of the paths, else the tip, and how many are newer. History does not change, so
    /// one walk is enough: a pass must not become slower with every commit.
    fn last_change(&mut self, tip: &CommitId, paths: &[&str]) -> (CommitId, usize) {
        let key = (tip.clone(), paths.join("\n"));
        if let Some(found) = self.changes.get(&key) {
            return found.clone();
        }
        // What cannot be walked now may be walked later: only an answer is kept.
        let Ok(found) = self.repo.last_change_back(tip, paths) else {
            return (tip.clone(), 0);
        };
        let found = found.unwrap_or_else(|| (tip.clone(), 0));
        self.changes.insert(key, found.clone());
        found
    }

    /// Whether a pinned commit is, or was when it was first read, on a branch; or is kept.
    fn is_reachable(&mut self, commit: &CommitId) -> bool {
        if self.reached.contains(commit) {
            return true;
        }
        let tips: Vec<CommitId> = self.repo.branches().unwrap_or_default().into_values().collect();
        let kept = || {
            self.keep
                .as_ref()
                .and_then(|k| k.kept().ok())
                .is_some_and(|kept| kept.values().any(|c| c == commit))
        };
        let reachable = self.repo.reachable_from_any(commit, &tips).unwrap_or(false) || kept();
        if reachable {
            self.reached.insert(commit.clone());
        }
        reachable
    }
}

/// Where a tenant's own files are.
pub(super) fn tenant_paths(slug: &str) -> [String; 4] {
    [
        format!("desired/tenants/{slug}.yaml"),
        format!("desired/secrets/{slug}"),
        format!("desired/spirits/tenants/{slug}.md"),
        format!("desired/spirits/tenants/{slug}"),
    ]
}

/// Only an error in policy spoils the policy: a pin with one holds its own ring, a hold with one holds what its file is
/// named after, and an approval or waiver with one counts for nothing.
fn has_policy_errors(read: &PolicyRead) -> bool {
    read.policy.is_none()
        || read
            .findings
            .iter()
            .any(|f| f.severity == Severity::Error && is_policy(f))
}

fn is_policy(finding: &Finding) -> bool {
    finding.path().is_none_or(|path| policy_id::FILES.contains(&path))
}

/// The branch that a ring's tenant files come from.
pub fn branch_of<'a>(ring: &'a Ring, control_branch: &'a str) -> &'a str {
    ring.branch.as_ref().map_or(control_branch, |b| &b.value)
}

/// The first error in a sentence, with its place.
pub fn first_error<'a>(findings: impl Iterator<Item = &'a Finding>) -> String {
    let mut errors = findings.filter(|f| f.severity == Severity::Error);
    let Some(first) = errors.next() else {
        return "no finding".to_owned();
    };
    let more = errors.count();
    let at = first.at.as_ref().map(|at| format!("{at}: ")).unwrap_or_default();
    let rest = if more > 0 {
        format!(" (and {more} more; `ringfence check` shows all)")
    } else {
        String::new()
    };
    format!("{at}{}{rest}", first.message)
}
