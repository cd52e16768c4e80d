//! Decisions as files. What is written here reads back as the same value.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::{APPROVALS, Approval, Binding, HOLDS, Hold, Reason, Verdict, WAIVERS, Waiver};
use crate::fleet::names::{RingName, Slug};

impl Approval {
    /// Where it stands: `rings/approvals/<ring>/<request>.<rel|ten|both>.<principal>.yaml`, the request as 8 digits.
    pub fn path(&self) -> String {
        let Binding {
            ring, request, to, ..
        } = &self.binding;
        format!(
            "{APPROVALS}{ring}/{}.{}.{}.yaml",
            request.short(),
            to.word(),
            self.principal
        )
    }

    /// The document.
    pub fn to_yaml(&self) -> String {
        let mut text = bound(&self.binding);
        let verdict = match self.verdict {
            Verdict::Approve => "approve",
            Verdict::Reject => "reject",
        };
        line(&mut text, "verdict", verdict);
        ending(&mut text, self.reason.as_ref(), self.expires);
        text
    }
}

impl Waiver {
    /// Where it stands: `rings/waivers/<ring>/<request>.<rel|both>.<gate>.<principal>.yaml`.
    pub fn path(&self) -> String {
        let Binding {
            ring, request, to, ..
        } = &self.binding;
        format!(
            "{WAIVERS}{ring}/{}.{}.{}.{}.yaml",
            request.short(),
            to.word(),
            self.gate.word(),
            self.principal
        )
    }

    /// The document.
    pub fn to_yaml(&self) -> String {
        let mut text = bound(&self.binding);
        line(&mut text, "gate", self.gate.word());
        ending(&mut text, Some(&self.reason), self.expires);
        text
    }
}

impl Hold {
    /// Where a ring's stands.
    pub fn path_of_ring(ring: &RingName) -> String {
        format!("{HOLDS}{ring}.yaml")
    }

    /// Where a tenant's stands.
    pub fn path_of_tenant(slug: &Slug) -> String {
        format!("{HOLDS}tenants/{slug}.yaml")
    }

    /// The document.
    pub fn to_yaml(&self) -> String {
        let mut text = String::new();
        reason(&mut text, &self.reason);
        line(&mut text, "until", self.until);
        text
    }
}

fn bound(binding: &Binding) -> String {
    let mut text = String::new();
    line(&mut text, "ring", &binding.ring);
    line(&mut text, "request", quoted(binding.request.as_str()));
    if let Some(from) = &binding.from {
        line(&mut text, "from", from);
    }
    line(&mut text, "to", binding.to);
    line(&mut text, "policy", binding.policy.full());
    text
}

fn ending(text: &mut String, why: Option<&Reason>, expires: Option<Timestamp>) {
    if let Some(why) = why {
        reason(text, why);
    }
    if let Some(expires) = expires {
        line(text, "expires", expires);
    }
}

fn reason(text: &mut String, why: &Reason) {
    line(text, "reason", quoted(why.as_str()));
}

fn line(text: &mut String, key: &str, value: impl std::fmt::Display) {
    // Writing into memory does not fail.
    let _ = writeln!(text, "{key}: {value}");
}

/// A JSON string is a double-quoted one in YAML too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
