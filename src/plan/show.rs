//! A plan for people: a summary as Terraform's, and unified diffs of the specs.

use std::fmt::Write as _;

use similar::TextDiff;

use super::services::{Action, ServicePlan};
use super::why::lines;
use super::{GoneNetwork, Input, Plan};
use crate::fleet::names::Slug;
use crate::render::object::VolumeObject;
use crate::text::Safe;

/// How many of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Counts {
    /// Services to create.
    pub create: usize,
    /// Services to replace.
    pub replace: usize,
    /// Services to repair (or to finish).
    pub repair: usize,
    /// Services to remove.
    pub remove: usize,
}

impl Plan {
    /// How many services of each action.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for service in &self.services {
            match service.action {
                Action::Create => counts.create += 1,
                Action::Replace => counts.replace += 1,
                Action::Repair | Action::Finish | Action::Yield => counts.repair += 1,
                Action::Remove => counts.remove += 1,
                Action::Wait => {}
            }
        }
        counts
    }

    /// Whether anything would be done now.
    pub fn changes(&self) -> bool {
        self.counts() != Counts::default()
            || !self.make_networks.is_empty()
            || !self.make_volumes.is_empty()
            || !self.write_live.is_empty()
            || !self.double_networks.is_empty()
            || !self.remove_networks.is_empty()
            || !self.remove_volumes.is_empty()
    }

    /// The plan as text. `diffs` adds unified diffs of replaced specs.
    pub fn show(&self, input: &Input<'_>, diffs: bool) -> String {
        let mut out = String::new();
        for network in &self.make_networks {
            let _ = writeln!(out, "  + network   {}", network.name);
        }
        for volume in &self.make_volumes {
            let _ = writeln!(out, "  + volume    {}", volume.name);
        }
        for volume in &self.lost_volumes {
            let _ = writeln!(out, "  ! volume    {}", volume.lost());
        }
        for (folder, files) in &self.write_live {
            let mark = if input.live.contains_key(folder) { '~' } else { '+' };
            let _ = writeln!(out, "  {mark} live      {folder}: {}", files.join(", "));
        }
        for service in &self.services {
            show_service(&mut out, service, input, diffs);
        }
        for GoneNetwork { name, id, .. } in &self.double_networks {
            let _ = writeln!(
                out,
                "  ! network   {name} ({}) has its name twice: one goes",
                id.get(..12).unwrap_or(id)
            );
        }
        for GoneNetwork { name, .. } in &self.remove_networks {
            let _ = writeln!(out, "  - network   {name}");
        }
        for VolumeObject { name, .. } in &self.remove_volumes {
            let _ = writeln!(out, "  - volume    {name} and its data (the tenant is erased)");
        }
        // Their containers go first; who reads the plan must know before.
        for name in super::erased_volumes(input).filter(|n| self.remove_volumes.iter().all(|v| v.name != *n))
        {
            let _ = writeln!(
                out,
                "  - volume    {name} and its data, once no container has it (the tenant is erased)"
            );
        }
        for note in &self.notes {
            let _ = writeln!(out, "  ! {note}");
        }
        for name in &self.unknown {
            let _ = writeln!(
                out,
                "  ? {} carries our labels, but no pass of ours wrote it down: left alone (`apply --adopt` takes it)",
                Safe::new(name)
            );
        }
        out
    }
}

fn show_service(out: &mut String, service: &ServicePlan, input: &Input<'_>, diffs: bool) {
    let (mark, word) = match service.action {
        Action::Create => ("+", "create"),
        Action::Replace => ("~", "replace"),
        Action::Repair => ("!", "repair"),
        Action::Finish => ("!", "finish the move"),
        Action::Yield => ("!", "give way"),
        Action::Remove => ("-", "remove"),
        Action::Wait => (".", "wait for its health"),
    };
    let ring = service
        .ring
        .as_deref()
        .map_or(String::new(), |r| format!("  ({r})"));
    let _ = writeln!(
        out,
        "  {mark} service   {}{ring}: {word}{}",
        service.key,
        order(service)
    );
    for (ring, slugs) in &service.serves {
        let slugs: Vec<&str> = slugs.iter().map(Slug::as_str).collect();
        let _ = writeln!(out, "        serves {} in ring {ring}", slugs.join(", "));
    }
    for why in service.why.iter().filter(|_| service.action != Action::Create) {
        match (&why.from, &why.to) {
            (None, None) => writeln!(out, "        {}", why.field),
            (from, to) => writeln!(
                out,
                "        {}: {} → {}",
                why.field,
                from.as_deref().unwrap_or("(none)"),
                to.as_deref().unwrap_or("(none)")
            ),
        }
        .unwrap_or_default();
    }
    if let Some(failed) = &service.failed {
        let _ = writeln!(out, "        {} failed: {}", failed.name, failed.reason);
    }
    if diffs && service.action == Action::Replace {
        show_diff(out, service, input);
    }
}

fn order(service: &ServicePlan) -> String {
    if service.action == Action::Replace {
        format!(", {}", service.order)
    } else {
        String::new()
    }
}

fn show_diff(out: &mut String, service: &ServicePlan, input: &Input<'_>) {
    let Some(object) = &service.object else { return };
    let old = service
        .seats
        .iter()
        .filter(|s| s.spec != service.aim.wanted)
        .find_map(|s| input.specs.get(&s.spec?));
    let Some(old) = old else { return };
    let (before, after) = (lines(old), lines(&object.spec));
    let diff = TextDiff::from_lines(&before, &after);
    let running = format!("{} running", service.key);
    let wanted = format!("{} wanted", service.key);
    for line in diff
        .unified_diff()
        .context_radius(1)
        .header(&running, &wanted)
        .to_string()
        .lines()
    {
        let _ = writeln!(out, "        {line}");
    }
}
