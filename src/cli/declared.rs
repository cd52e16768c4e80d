//! What the branches declare, for verbs that print tenants, stacks and spirits.

use std::sync::Arc;

use super::error::CliError;
use super::fleet::Fleet;
use crate::controller::books::{Books, branch_of, first_error};
use crate::diagnostic::did_you_mean;
use crate::fleet::BaseRead;
use crate::fleet::rings::Ring;
use crate::fleet::tenants::TenantFiles;

/// A ring as its branch and pin declare it.
pub(crate) struct Declared {
    pub(crate) ring: Ring,
    pub(crate) base: Arc<BaseRead>,
    pub(crate) tenants: Vec<TenantFiles>,
}

impl Fleet {
    /// Every ring whose branch exists: its tenant files from its branch, its base from its pin, else from its branch.
    pub(crate) fn declared(&self) -> Result<Vec<Declared>, CliError> {
        let keep = self.kept()?;
        let mut books = Books::new(
            self.repo.clone(),
            keep,
            self.control_branch.clone(),
            self.policy.settings.instance.clone(),
        );
        let branches = books.branches()?;
        let mut out = Vec::new();
        for ring in &self.policy.rings.0 {
            let Some(tip) = branches.get(branch_of(ring, &self.control_branch)) else {
                continue;
            };
            let tenants = books.tenants(tip)?;
            let mine = tenants
                .tenants
                .values()
                .filter(|t| t.ring.as_ref() == Some(&ring.name))
                .cloned()
                .collect();
            let commit = self
                .policy
                .pins
                .get(&ring.name)
                .map_or(tip, |pin| &pin.release.value);
            out.push(Declared {
                ring: ring.clone(),
                base: books.base(commit)?,
                tenants: mine,
            });
        }
        Ok(out)
    }

    /// One tenant with the ring that declares it.
    pub(crate) fn tenant(&self, slug: &str) -> Result<(Declared, TenantFiles), CliError> {
        let all = self.declared()?;
        let names: Vec<String> = all
            .iter()
            .flat_map(|d| d.tenants.iter().map(|t| t.name.clone()))
            .collect();
        for declared in all {
            if let Some(files) = declared.tenants.iter().find(|t| t.name == slug).cloned() {
                if files.tenant.is_none() {
                    return Err(CliError::new(format!("the file of tenant {slug} has errors"))
                        .hint("`ringfence check` shows them"));
                }
                return Ok((declared, files));
            }
        }
        let error = CliError::new(format!("no ring's branch declares a tenant `{slug}`"));
        Err(match did_you_mean(slug, names.iter().map(String::as_str)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("`ringfence tenant list` names them"),
        })
    }
}

/// A base that may be used: without errors.
pub(crate) fn clean(base: &BaseRead) -> Result<(), CliError> {
    if base.findings.has_errors() {
        return Err(CliError::new(format!(
            "the base has errors: {}",
            first_error(base.findings.iter())
        ))
        .hint("`ringfence check` shows them"));
    }
    Ok(())
}
