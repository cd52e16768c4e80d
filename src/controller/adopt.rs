//! What a person takes as ours.

use jiff::Timestamp;

use super::wanted::in_scope;
use super::{Controller, ControllerError};
use crate::decide::Decision;
use crate::plan::Plan;
use crate::store::NewEvent;

impl Controller {
    /// Writes down what carries our labels and stood in no ledger, and gives up what was in volumes that are gone, as far
    /// as the person asked for it. True if there was any.
    pub(super) fn adopt(
        &mut self,
        plan: &mut Plan,
        decision: &Decision,
        now: Timestamp,
    ) -> Result<bool, ControllerError> {
        let scope = self.scope.clone();
        plan.retain(|owner| in_scope(&scope, decision, owner));
        let taken: Vec<_> = plan.adoptable.drain(..).map(|a| (a.name, a.spec)).collect();
        let lost: Vec<String> = plan.lost_volumes.drain(..).map(|v| v.name).collect();
        if taken.is_empty() && lost.is_empty() {
            return Ok(false);
        }
        self.parts.store.know(&taken, now)?;
        self.parts.store.volumes(&lost, false)?;
        let names = taken
            .into_iter()
            .map(|(name, _)| format!("{name} is taken as ours"));
        let lost = lost.into_iter().map(|name| format!("{name} is made anew, empty"));
        for message in names.chain(lost) {
            self.note(format!("{message}, by your command"));
            self.parts.store.event(&NewEvent {
                kind: "adopted".to_owned(),
                ring: None,
                tenant: None,
                service: None,
                message,
                detail: serde_json::Value::Null,
            })?;
        }
        Ok(true)
    }
}
