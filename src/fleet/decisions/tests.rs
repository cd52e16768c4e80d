use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::diagnostic::Findings;
use crate::digest::Digest;
use crate::fleet::read::Reader;
use crate::fleet::rings::{self, Rings};
use crate::fleet::tree::Tree;

fn rings() -> Rings {
    let text = "rings:\n  dev: {id: 0}\n  prod: {id: 1}\n";
    rings::read(&Tree::of_files([(rings::PATH, text)]), &Reader::new())
}

fn read_files(files: &[(String, String)]) -> (Decisions, Findings) {
    let reader = Reader::new();
    let tree = Tree::of_files(files.iter().map(|(p, t)| (p.clone(), t)));
    (read(&tree, &rings(), &reader), reader.into_findings())
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<u64>().prop_map(|n| Digest::of_bytes(&n.to_le_bytes()))
}

fn principal() -> impl Strategy<Value = PrincipalName> {
    "[a-z][a-z0-9_-]{0,30}".prop_map(|n| n.parse().unwrap())
}

fn moment() -> impl Strategy<Value = Timestamp> {
    // Years 1 to 9999, to the nanosecond.
    (-62_135_596_800_i64..253_402_200_000, 0..1_000_000_000_i32)
        .prop_map(|(second, nano)| Timestamp::new(second, nano).unwrap())
}

fn reason() -> impl Strategy<Value = Reason> {
    prop_oneof![
        "[ -~\n\t]{1,60}",
        "\\PC{1,60}",
        "(null|true|1e3|- a|a: b|#x|'|\"|\\\\|---|%y)"
    ]
    .prop_filter_map("no reason", |text| text.parse().ok())
}

fn binding(with_files_alone: bool) -> impl Strategy<Value = Binding> {
    let kinds = if with_files_alone { 0..3_u8 } else { 0..2 };
    let ends = (kinds, any::<[u64; 4]>(), any::<bool>());
    (
        prop_oneof![Just("dev"), Just("prod")],
        "[0-9a-f]{40}",
        ends,
        digest(),
    )
        .prop_map(|(ring, request, (kind, ids, fresh), policy)| {
            let [a, b, c, d] = ids.map(|n| Digest::of_bytes(&n.to_le_bytes()));
            let end = |release, files| match kind {
                0 => Moved::Release(ReleaseId(release)),
                1 => Moved::Both(ReleaseId(release), FilesId(files)),
                _ => Moved::Files(FilesId(files)),
            };
            Binding {
                ring: ring.parse().unwrap(),
                request: request.parse().unwrap(),
                from: (!fresh).then(|| end(a, b)),
                to: end(c, d),
                policy: PolicyId(policy),
            }
        })
}

fn approval() -> impl Strategy<Value = Approval> {
    let verdict = prop_oneof![Just(Verdict::Approve), Just(Verdict::Reject)];
    let rest = (option::of(reason()), option::of(moment()));
    (binding(true), principal(), verdict, rest).prop_map(
        |(binding, principal, verdict, (reason, expires))| Approval {
            binding,
            principal,
            verdict,
            reason,
            expires,
        },
    )
}

fn waiver() -> impl Strategy<Value = Waiver> {
    let gate = prop_oneof![Just(WaivableGate::Soak), Just(WaivableGate::Lineage)];
    let rest = (reason(), option::of(moment()));
    (binding(false), principal(), gate, rest).prop_map(|(binding, principal, gate, (reason, expires))| {
        Waiver {
            binding,
            principal,
            gate,
            reason,
            expires,
        }
    })
}

fn hold() -> impl Strategy<Value = Hold> {
    (reason(), moment()).prop_map(|(reason, until)| Hold { reason, until })
}

proptest! {
    #[test]
    fn what_is_written_reads_back(approval in approval(), waiver in waiver(), of_ring in hold(), of_tenant in hold()) {
        let (ring, slug) = ("dev".parse().unwrap(), "acme".parse().unwrap());
        let (read, findings) = read_files(&[
            (approval.path(), approval.to_yaml()),
            (waiver.path(), waiver.to_yaml()),
            (Hold::path_of_ring(&ring), of_ring.to_yaml()),
            (Hold::path_of_tenant(&slug), of_tenant.to_yaml()),
        ]);
        prop_assert!(findings.is_empty(), "{findings:?}");
        prop_assert_eq!(&read.approvals[&approval.path()].value, &approval);
        prop_assert_eq!(&read.waivers[&waiver.path()].value, &waiver);
        prop_assert_eq!(&read.held_rings[&ring].value, &of_ring);
        prop_assert_eq!(&read.held_tenants[&slug].value, &of_tenant);
    }

    #[test]
    fn one_bad_file_spoils_no_other(good in approval(), bad in approval(), cut in 0..60_usize, hold in hold()) {
        prop_assume!(good.path() != bad.path());
        let text: String = bad.to_yaml().chars().take(cut).collect();
        let (read, findings) = read_files(&[
            (good.path(), good.to_yaml()),
            (bad.path(), text),
            ("rings/holds/prod.yaml".to_owned(), hold.to_yaml()),
            ("rings/holds/dev.yaml".to_owned(), "reason: {".to_owned()),
        ]);
        prop_assert!(findings.has_errors());
        let paths: Vec<_> = read.approvals.keys().collect();
        prop_assert_eq!(paths, [&good.path()]);
        let held: Vec<_> = read.held_rings.keys().map(RingName::as_str).collect();
        prop_assert_eq!(held, ["prod"]);
    }
}

#[test]
fn a_record_that_says_another_thing_than_its_name_is_absent() {
    let sample = |n: u8| Digest::of_bytes(&[n]);
    let approval = Approval {
        binding: Binding {
            ring: "prod".parse().unwrap(),
            request: "4b1d00aa11bb22cc33dd44ee55ff667788990011".parse().unwrap(),
            from: None,
            to: Moved::Release(ReleaseId(sample(1))),
            policy: PolicyId(sample(2)),
        },
        principal: "ana".parse().unwrap(),
        verdict: Verdict::Approve,
        reason: None,
        expires: None,
    };
    assert_eq!(approval.path(), "rings/approvals/prod/4b1d00aa.rel.ana.yaml");
    for wrong in ["dev/4b1d00aa.rel", "prod/4b1d00ab.rel", "prod/4b1d00aa.ten"] {
        let path = format!("rings/approvals/{wrong}.ana.yaml");
        let (read, findings) = read_files(&[(path.clone(), approval.to_yaml())]);
        assert!(read.approvals.is_empty(), "{path}");
        let finding = findings.iter().next().unwrap();
        assert_eq!(finding.code, "file-name", "{path}");
        assert!(
            finding.at.as_ref().unwrap().line_col().1 > 1,
            "it points at the value"
        );
    }
}

#[test]
fn a_from_that_cannot_be_read_is_not_one_that_is_not_there() {
    let digest = Digest::of_bytes(b"x");
    let text = format!(
        "ring: prod\nrequest: 4b1d00aa11bb22cc33dd44ee55ff667788990011\nfrom: rel-12345678\nto: rel-{digest}\npolicy: pol-{digest}\nverdict: approve\n"
    );
    let path = "rings/approvals/prod/4b1d00aa.rel.ana.yaml".to_owned();
    let (read, findings) = read_files(&[(path, text)]);
    assert!(read.approvals.is_empty());
    assert!(findings.iter().any(|f| f.code == "bad-id"), "{findings:?}");
}

#[test]
fn a_hold_ends_by_itself() {
    let until: Timestamp = "2026-11-24T10:00:00Z".parse().unwrap();
    let reason = "the fair".parse().unwrap();
    let hold = Hold { reason, until };
    assert!(hold.holds("2026-11-24T09:59:59.999Z".parse().unwrap()));
    assert!(!hold.holds(until));
}
