use super::*;
use crate::diagnostic::Findings;
use crate::fleet::read::Reader;
use crate::fleet::tree::Tree;

const ANA: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJtsolHqF/p/gHAisKxgg8jHvRBSU2vPWtIXhycB4o2S";
const BEN: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAozERp7jl+0eW2KxvG09Ikbx/H3VD0DvgmcgYvHDbYT";

fn read_text(text: &str) -> (Principals, Findings) {
    let reader = Reader::new();
    let tree = Tree::of_files([(PATH, text)]);
    (read(&tree, &reader), reader.into_findings())
}

fn good(text: &str) -> Principals {
    let (principals, findings) = read_text(text);
    assert!(findings.is_empty(), "{findings:?}");
    principals
}

fn fingerprint(line: &str) -> Fingerprint {
    Fingerprint::of(ssh_key::PublicKey::from_openssh(line).unwrap().key_data())
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn fingerprints_are_those_of_ssh_keygen() {
    let ana = fingerprint(ANA);
    assert_eq!(ana.as_str(), "SHA256:bQYof0nqhXqpaXN2o37OSnLONF0VkCtKDXHMvQja3a8");
    assert_eq!(ana.as_str().parse(), Ok(ana));
}

#[test]
fn a_key_is_its_holders_from_the_first_moment_of_its_time_to_the_last() {
    let principals = good(&format!(
        "principals:\n  ana: {{kind: human, keys: [{{key: \"{ANA}\", valid_after: 2026-01-01, valid_before: \"2027-01-01T01:00:00+01:00\"}}]}}\n"
    ));
    let seen = |moment: &str| {
        let signer = principals.signer(&fingerprint(ANA), at(moment));
        signer.map(|p| p.name.as_str())
    };
    let early = seen("2025-12-31T23:59:59.999Z").unwrap_err();
    assert!(matches!(&early, NotAccepted::NotYet { from, .. } if *from == at("2026-01-01T00:00:00Z")));
    assert_eq!(seen("2026-01-01T00:00:00Z"), Ok("ana"));
    assert_eq!(seen("2026-12-31T23:59:59.999Z"), Ok("ana"));
    let late = seen("2027-01-01T00:00:00Z").unwrap_err();
    assert!(matches!(&late, NotAccepted::Expired { until, .. } if *until == at("2027-01-01T00:00:00Z")));
    assert!(
        late.to_string()
            .contains("of ana counted until 2027-01-01T00:00:00Z"),
        "{late}"
    );
}

#[test]
fn an_unknown_key_is_nobodys_and_a_revoked_one_no_more() {
    let ben = fingerprint(BEN);
    let principals = good(&format!(
        "principals:\n  ben: {{kind: human, keys: [\"{BEN} ben@laptop\"]}}\nrevoked: [\"{ben}\"]\n"
    ));
    let now = at("2026-11-23T10:00:00Z");
    assert_eq!(principals.signer(&ben, now), Err(NotAccepted::Revoked(ben)));
    let ana = fingerprint(ANA);
    assert_eq!(principals.signer(&ana, now), Err(NotAccepted::Unknown(ana)));
}

#[test]
fn an_address_finds_its_principal_in_any_case() {
    let principals = good("principals: {ana: {kind: human, emails: [Ana@Example.org]}}\n");
    let name = |email: &str| principals.by_email(email).map(|p| p.name.as_str());
    assert_eq!(name("ana@example.ORG"), Some("ana"));
    assert_eq!(name("bea@example.org"), None);
}

#[test]
fn approvers_are_humans_and_sign_with_a_key_that_is_not_revoked() {
    let principals = good(&format!(
        "principals:\n  ana: {{kind: human, keys: [\"{ANA}\"]}}\n  ben: {{kind: human, keys: [\"{BEN}\"]}}\n  cho: {{kind: human}}\n  atlas: {{kind: agent, keys: [\"sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIJtsolHqF/p/gHAisKxgg8jHvRBSU2vPWtIXhycB4o2SAAAABHNzaDo=\"]}}\ngroups: {{all_of_us: [ana, ben, cho, atlas]}}\nrevoked: [\"{}\"]\n",
        fingerprint(BEN)
    ));
    let source = crate::diagnostic::Source::new(PATH, "");
    let name = |text: &str| Spanned::new(text.parse().unwrap(), At::new(&source, 0..0));
    let able = |from: &[Spanned<PrincipalName>]| {
        let able = principals.approvers(from);
        able.iter().map(|n| n.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(able(&[]), ["ana", "ben", "cho"], "nobody named is everybody");
    assert_eq!(able(&[name("all_of_us")]), ["ana", "ben", "cho"]);
    assert_eq!(able(&[name("ben"), name("atlas")]), ["ben"]);
    let signs: Vec<_> = principals.all.keys().filter(|n| principals.can_sign(n)).collect();
    assert_eq!(
        signs.iter().map(|n| n.as_str()).collect::<Vec<_>>(),
        ["ana", "atlas"]
    );
}

#[test]
fn a_fleet_is_solo_as_long_as_nobody_has_a_key() {
    assert!(Principals::default().is_solo());
    assert!(good("principals: {ana: {kind: human}}\n").is_solo());
    assert!(
        !good(&format!(
            "principals: {{atlas: {{kind: agent, keys: [\"{ANA}\"]}}}}\n"
        ))
        .is_solo()
    );
}

#[test]
fn a_private_key_is_refused_and_not_repeated() {
    let (principals, findings) = read_text(
        "principals:\n  ana:\n    kind: human\n    keys: [\"-----BEGIN OPENSSH PRIVATE KEY----- sEcReT\"]\n",
    );
    assert!(principals.is_solo());
    let finding = findings.iter().next().unwrap();
    assert!(finding.message.contains("line 4"), "{finding:?}");
    let shown = format!("{finding:?}{}", finding.at.as_ref().unwrap().source.text);
    assert!(!shown.contains("sEcReT"));
}

#[test]
fn a_revoked_or_missing_key_does_not_void_the_policy_that_says_so() {
    let text = format!(
        "principals:\n  ana: {{kind: human, keys: [\"{ANA}\"]}}\n  ben: {{kind: human, keys: [\"{BEN}\"]}}\nrevoked: [\"{}\"]\n",
        fingerprint(BEN)
    );
    let rings = "rings: {dev: {id: 0, approvals: {required: 2, from: [ana, ben]}}}\n";
    let tree = Tree::of_files([(PATH, text.as_str()), ("rings/rings.yaml", rings)]);
    let read = crate::fleet::policy(&tree, "x");
    let said = read
        .findings
        .iter()
        .find(|f| f.code == "impossible-quorum")
        .unwrap();
    assert_eq!(said.severity, crate::diagnostic::Severity::Warning);
    assert!(read.policy.is_some(), "a revocation takes effect");
}
