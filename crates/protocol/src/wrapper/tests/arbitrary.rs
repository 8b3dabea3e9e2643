//! Whatever bytes come: no panic.

use super::{MessageWrapper, wrapper};
use proptest::prelude::*;

fn decodes_without_a_panic(bytes: &[u8]) {
    if let Ok(wrapper) = MessageWrapper::decode(bytes) {
        // What was understood can be said again and is understood the same.
        let again = MessageWrapper::decode(&wrapper.encode()).unwrap();
        assert_eq!(again, wrapper);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn decode_never_panics_on_arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        decodes_without_a_panic(&bytes);
    }

    #[test]
    fn decode_never_panics_on_arbitrary_text(text in "[\\[\\]{}\":,a-z0-9_ \\\\u.eE+-]{0,300}") {
        decodes_without_a_panic(text.as_bytes());
    }

    #[test]
    fn decode_never_panics_on_mutated_bytes(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0..3_u8), 1..8),
    ) {
        let mut bytes = wrapper().encode();
        for (place, byte, kind) in changes {
            let at = place.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        decodes_without_a_panic(&bytes);
    }

    #[test]
    fn decode_never_panics_when_pieces_are_doubled_or_dropped(
        start in any::<proptest::sample::Index>(),
        length in 1..120_usize,
        doubled in any::<bool>(),
    ) {
        let bytes = wrapper().encode();
        let start = start.index(bytes.len());
        let end = (start + length).min(bytes.len());
        let middle = if doubled { [&bytes[start..end], &bytes[start..end]].concat() } else { Vec::new() };
        let wire = [&bytes[..start], &middle, &bytes[end..]].concat();
        prop_assume!(wire != bytes);
        decodes_without_a_panic(&wire);
    }
}
