//! Random changes to good fleets, and random values: [`super::properties`] holds for all of them.

use proptest::prelude::*;

use crate::properties::{
    Change, a_fleet_is_judged, a_value_is_interpolated, an_image_is_judged, bytes_are_judged, changed,
    names_are_judged, numbers_are_judged,
};

fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec((any::<u8>(), any::<u16>(), any::<u16>()), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_fleet_is_judged(changes in changes()) {
        a_fleet_is_judged(&changed(&changes));
    }

    #[test]
    fn any_bytes_are_judged(at in 0usize..14, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        bytes_are_judged(at, &bytes);
    }

    #[test]
    fn any_text_is_judged_as_a_document(at in 0usize..14, text in "([a-z<&*!\"'${}:,#|> \\[\\]\n-]|\\PC){0,200}") {
        bytes_are_judged(at, text.as_bytes());
    }

    #[test]
    fn numbers_and_names_are_judged(number in "[-+]?[0-9.]{0,22} ?[a-zA-Zµ]{0,3}", text in ".{0,40}") {
        for text in [&number, &text] {
            numbers_are_judged(text);
            names_are_judged(text);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn values_are_interpolated(text in "([$A-C{}:?+-]|[a-z ]|\\PC){0,40}") {
        a_value_is_interpolated(&text);
    }

    #[test]
    fn images_are_judged(text in "([a-z0-9]{0,8}[/:@._-]){0,6}[a-z0-9]{0,64}|\\PC{0,30}") {
        an_image_is_judged(&text);
    }
}

/// The fleet that is changed is a good one in all that matters, so that the changes reach every reader.
#[test]
fn the_fleet_that_is_changed_is_read_to_its_end() {
    let findings = ringfence::fleet::check::check(&changed(&[]), "somewhere").findings;
    let shape = [
        "syntax",
        "unknown-key",
        "wrong-type",
        "missing-key",
        "empty-file",
        "encoding",
    ];
    let bad: Vec<_> = findings.iter().filter(|f| shape.contains(&f.code)).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}
