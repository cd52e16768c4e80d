//! Gates: conditions with three answers, each with its evidence.

use serde::{Deserialize, Serialize};

use crate::fleet::names::PrincipalName;

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// It holds.
    Pass,
    /// It does not.
    Fail,
    /// It cannot be said; counts as not passed.
    Unknown,
}

/// One gate of one move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Gate {
    /// `release`, `approval`, `soak` …
    pub name: String,
    /// The answer.
    pub state: Answer,
    /// Why, in a sentence.
    pub evidence: String,
    /// Since when it has this answer.
    pub since: Option<jiff::Timestamp>,
    /// When a timer can change it.
    pub until: Option<jiff::Timestamp>,
    /// Who can change it by what they put on record: an approval, a waiver.
    #[serde(default)]
    pub may: Vec<PrincipalName>,
}

impl Gate {
    /// A gate with its answer.
    pub fn new(name: &str, state: Answer, evidence: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            state,
            evidence: evidence.into(),
            since: None,
            until: None,
            may: Vec::new(),
        }
    }
}

/// Whether all passed. No gates at all pass.
pub fn all_pass(gates: &[Gate]) -> bool {
    gates.iter().all(|g| g.state == Answer::Pass)
}
