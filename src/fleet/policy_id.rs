//! What a policy is, as one hash: equal for equal policies, whatever their comments, positions and order say.

use serde_json::{Value, json};

use super::names::PolicyId;
use super::principals::{self, Principals};
use super::rings::{self, Ring, Share, TenantChanges, Window};
use super::settings::{self, Settings, Target};
use super::tree::Tree;
use super::{Policy, tenants};
use crate::digest::Digest;

/// The files that are policy.
pub const FILES: [&str; 3] = [settings::PATH, rings::PATH, principals::PATH];

/// The policy that a tree's files make, as they are written: what owners accept is every byte of it.
pub fn of_files(tree: &Tree) -> PolicyId {
    let entries = FILES.iter().filter_map(|path| Some((*path, tree.get(path)?)));
    PolicyId(tenants::digest("ringfence.policy-files.1", entries.collect()))
}

impl Policy {
    /// What an approval in a ring is given under: the ring's effective policy, and who is who.
    pub fn id_in(&self, ring: &Ring) -> PolicyId {
        let target = self.settings.target(&ring.deployment_target.value);
        let value = json!({
            "ring": ring_value(ring),
            "target": target.ok().as_ref().map(target_value),
            "principals": principals_value(&self.principals),
        });
        PolicyId(Digest::of("ringfence.policy.1", &value))
    }

    /// All of it that containers are made by.
    pub fn rendering(&self) -> Digest {
        let rings: Vec<Value> = self
            .rings
            .0
            .iter()
            .map(|ring| json!([ring_value(ring), ring.display_name, ring.description]))
            .collect();
        Digest::of("ringfence.rendering.1", &(settings_value(&self.settings), rings))
    }
}

/// What a ring is called and described as does not judge anything.
fn ring_value(ring: &Ring) -> Value {
    let approvals = ring.approvals.as_ref().map(|a| {
        let from: Vec<&str> = a.from.iter().map(|n| n.value.as_str()).collect();
        json!({
            "required": a.required,
            "from": sorted(from),
            "exclude_authors": a.exclude_authors,
            "allow_self": a.allow_self,
            "expires_ms": a.expires_ms,
        })
    });
    let share = match ring.rollout.max_parallel {
        Share::Count(count) => json!({"count": count}),
        Share::Percent(percent) => json!({"percent": percent}),
    };
    let canary: Vec<&str> = ring.rollout.canary.iter().map(|c| c.value.as_str()).collect();
    json!({
        "name": ring.name,
        "id": ring.id,
        "environment": ring.environment,
        "branch": ring.branch.as_ref().map(|b| &b.value),
        "auto_deploy": ring.auto_deploy,
        "deployment_target": ring.deployment_target.value,
        "rollback_on_failure": ring.rollback_on_failure,
        "profiles": ring.profiles,
        "promote_from": ring.promote_from,
        "tenant_changes": match ring.tenant_changes {
            TenantChanges::Gated => "gated",
            TenantChanges::Free => "free",
        },
        "rollout": {
            "canary": sorted(canary),
            "max_parallel": share,
            "observe_ms": ring.rollout.observe_ms,
            "deadline_ms": ring.rollout.deadline_ms,
        },
        "approvals": approvals,
        "soak_ms": ring.soak_ms,
        "checks": ring.checks,
        "windows": ring.windows.iter().map(window_value).collect::<Vec<_>>(),
    })
}

fn window_value(window: &Window) -> Value {
    let moment = |m: &rings::Moment| json!([m.day, m.hour, m.minute]);
    json!({
        "allow": window.allow,
        "from": moment(&window.from),
        "to": moment(&window.to),
        "zone": window.zone.iana_name(),
    })
}

fn principals_value(principals: &Principals) -> Value {
    let all = principals.all.values().map(|p| {
        let mut keys: Vec<Value> = p
            .keys
            .iter()
            .map(|k| {
                json!([
                    k.fingerprint,
                    k.valid_after.map(|t| t.to_string()),
                    k.valid_before.map(|t| t.to_string())
                ])
            })
            .collect();
        keys.sort_by_key(Value::to_string);
        let value = json!({"kind": p.kind, "emails": p.emails, "keys": keys});
        (p.name.to_string(), value)
    });
    let groups = principals
        .groups
        .iter()
        .map(|(name, group)| (name.to_string(), json!(group.members)));
    json!({
        "all": all.collect::<serde_json::Map<_, _>>(),
        "groups": groups.collect::<serde_json::Map<_, _>>(),
        "owners": principals.owners.as_ref().map(|o| json!({"members": o.members, "required": o.required})),
        "revoked": principals.revoked,
    })
}

fn settings_value(settings: &Settings) -> Value {
    let platform: Vec<Value> = settings
        .platform
        .iter()
        .map(|(slug, ring)| json!([slug.value, ring.as_ref().map(|r| &r.value)]))
        .collect();
    let targets = settings
        .targets
        .iter()
        .map(|(name, target)| (name.clone(), target_value(target)));
    let pool = &settings.address_pool;
    json!({
        "fleet": settings.fleet,
        "instance": settings.instance,
        "control_branch": settings.control_branch.as_ref().map(|b| &b.value),
        "platform": platform,
        "targets": targets.collect::<serde_json::Map<_, _>>(),
        "address_pool": [pool.base.to_string(), pool.base_prefix.to_string(), pool.prefix.to_string()],
    })
}

fn target_value(target: &Target) -> Value {
    match target {
        Target::Local => json!("local"),
        Target::SameAs(other) => json!({"same_as": other.value}),
        Target::Unix(address) => json!({"unix": address.value}),
    }
}

fn sorted(mut names: Vec<&str>) -> Vec<&str> {
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 2] = [
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICkBPI8Um/jbYgg9rLb8SdVbhO7GTh6r6+5x2wXw0mOf",
    ];

    fn policy(rings: &str, principals: &str) -> Policy {
        let tree = Tree::of_files([("rings/rings.yaml", rings), ("rings/principals.yaml", principals)]);
        let read = crate::fleet::policy(&tree, "aither");
        read.policy.unwrap_or_else(|| panic!("{:?}", read.findings))
    }

    fn id(policy: &Policy, ring: &str) -> PolicyId {
        policy.id_in(policy.rings.get(ring).unwrap())
    }

    #[test]
    fn comments_order_and_names_for_people_change_no_policy() {
        let one = policy(
            "rings:\n  dev: {id: 0}\n  prod: {id: 1, approvals: {required: 1, from: [ana, ben]}}\n",
            &format!(
                "principals:\n  ana: {{kind: human, keys: [\"{}\"]}}\n  ben: {{kind: human, keys: [\"{}\"]}}\n",
                KEYS[0], KEYS[1]
            ),
        );
        let other = policy(
            "# the rings\nrings:\n  prod:\n    approvals: {from: [ben, ana], required: 1}\n    id: 1\n    name: Live\n  dev: {id: 0}\n",
            &format!(
                "principals:\n  ben: {{kind: human, keys: [\"{} ben@laptop\"]}}\n  ana: {{kind: human, keys: [\"{}\"]}}\n",
                KEYS[1], KEYS[0]
            ),
        );
        assert_eq!(id(&one, "prod"), id(&other, "prod"));
        assert_ne!(id(&one, "prod"), id(&one, "dev"));
        assert_ne!(one.rendering(), other.rendering(), "containers know the name");
    }

    #[test]
    fn whatever_judges_a_move_is_in_its_policy() {
        let people = format!(
            "principals:\n  ana: {{kind: human, keys: [\"{}\"]}}\n  ben: {{kind: human, keys: [\"{}\"]}}\n",
            KEYS[0], KEYS[1]
        );
        let plain = id(&policy("rings: {dev: {id: 0}, prod: {id: 1}}\n", &people), "prod");
        for more in [
            "auto_deploy: true",
            "approval_required: true",
            "approvals: {required: 2}",
            "approvals: {from: [ana]}",
            "approvals: {exclude: [authors]}",
            "approvals: {allow_self: true}",
            "approvals: {expires: 1h}",
            "soak: 1h",
            "checks: [{tcp: \"web:80\"}]",
            "windows: [{deny: \"Fri 15:00..Mon 08:00\"}]",
            "tenant_changes: free",
            "branch: other",
            "rollback_on_failure: false",
            "rollout: {max_parallel: 1}",
            "rollout: {observe: 1m}",
            "profiles: [gpu]",
        ] {
            let rings = format!("rings: {{dev: {{id: 0}}, prod: {{id: 1, {more}}}}}\n");
            assert_ne!(id(&policy(&rings, &people), "prod"), plain, "{more}");
        }
        for other in [
            people.replace("ben: {kind: human", "ben: {kind: agent"),
            people.replace(
                "ben: {kind: human",
                "ben: {kind: human, emails: [ben@example.org]",
            ),
            format!("{people}groups: {{release: [ana]}}\n"),
            format!("{people}owners: {{members: [ana]}}\n"),
            format!("{people}revoked: [\"SHA256:{}\"]\n", "A".repeat(43)),
        ] {
            assert_ne!(
                id(&policy("rings: {dev: {id: 0}, prod: {id: 1}}\n", &other), "prod"),
                plain,
                "{other}"
            );
        }
    }
}
