//! Whether those who must approve are there at all.

use super::Principals;
use crate::diagnostic::Finding;
use crate::fleet::names::PrincipalName;
use crate::fleet::read::Reader;
use crate::fleet::rings::{Approvals, Ring, Rings};

/// Judges the rings' `approvals` by the principals: names that nobody has, and quorums that nobody can make.
pub fn fits(principals: &Principals, rings: &Rings, reader: &Reader) {
    for ring in &rings.0 {
        let Some(approvals) = &ring.approvals else {
            continue;
        };
        if principals.all_known(&approvals.from, reader) {
            quorum(principals, ring, approvals, reader);
        }
    }
}

fn quorum(principals: &Principals, ring: &Ring, approvals: &Approvals, reader: &Reader) {
    if principals.is_solo() {
        // Whoever commits approves, and is one.
        if approvals.required > 1 {
            reader.error(
                "impossible-quorum",
                &approvals.at,
                format!(
                    "the ring `{}` asks for {} approvals, but in a fleet without keys nobody tells two people apart",
                    ring.name, approvals.required
                ),
                "give people `keys` in rings/principals.yaml, or require one approval",
            );
        }
        return;
    }
    let required = approvals.required as usize;
    let humans = principals.approvers(&approvals.from);
    let able: Vec<&str> = humans
        .iter()
        .filter(|name| principals.can_sign(name))
        .map(PrincipalName::as_str)
        .collect();
    if able.len() >= required {
        return;
    }
    let asks = format!("the ring `{}` asks for {required} of", ring.name);
    let at = approvals.at.clone();
    // That a key is revoked or to come must not void the policy which says so.
    reader.report(if humans.len() < required {
        let named: Vec<&str> = humans.iter().map(PrincipalName::as_str).collect();
        Finding::error("impossible-quorum", at, format!("{asks} [{}]", named.join(", ")))
            .help("name more humans, since agents and ci do not count; or require fewer")
    } else {
        Finding::warning(
            "impossible-quorum",
            at,
            format!("{asks} [{}]: the others have no key that counts", able.join(", ")),
        )
        .help("give them `keys` in rings/principals.yaml, name more humans, or require fewer")
    });
}
