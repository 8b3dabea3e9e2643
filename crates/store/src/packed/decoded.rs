//! Text with base64url in it, and base64url in that, as what it stands for. Signed objects are such text: the same
//! certificate reads otherwise there when a number before it has one digit more, and a digest takes a third more room.
//!
//! Pieces, one after the other: how long a text is, and the text; how long what follows is, and what the base64url after the
//! text stands for, in pieces again. The last piece has no base64url after it.

use openset_jose::base64url;
use zeroize::Zeroizing;

use super::length;

/// Shorter runs are left: names and digests, which nothing repeats and which are parts of words as often.
const RUN_MIN: usize = 64;
/// A signed object within a signed object in a message.
const DEPTH_MAX: u8 = 3;
/// Room for the length of the last piece.
const LENGTH_MAX: usize = 10;

/// The pieces of a value; about as long at most.
pub(super) fn decoded(value: &[u8]) -> Zeroizing<Vec<u8>> {
    pieces(value, DEPTH_MAX)
}

fn pieces(value: &[u8], depth: u8) -> Zeroizing<Vec<u8>> {
    // A run is shortened by more than its two lengths take.
    let mut out = Zeroizing::new(Vec::with_capacity(value.len().saturating_add(LENGTH_MAX)));
    let mut text = 0;
    let mut at = 0;
    while depth > 0 && at < value.len() {
        let rest = value.get(at..).unwrap_or_default();
        let run = rest.iter().take_while(|byte| is_base64url(**byte)).count();
        let end = at.saturating_add(run);
        if run >= RUN_MIN
            && let Some(bytes) = value.get(at..end).and_then(meant)
        {
            write(value.get(text..at).unwrap_or_default(), &mut out);
            write(&pieces(&bytes, depth.saturating_sub(1)), &mut out);
            text = end;
        }
        at = end.saturating_add(1);
    }
    write(value.get(text..).unwrap_or_default(), &mut out);
    out
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// What a run stands for; None if that is not written so.
fn meant(run: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let run = str::from_utf8(run).ok()?;
    base64url::decode(run).ok().map(Zeroizing::new)
}

fn write(piece: &[u8], out: &mut Vec<u8>) {
    length::write(piece.len(), out);
    out.extend_from_slice(piece);
}

/// The value of these pieces; None if they are none.
pub(super) fn encoded(pieces: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    together(pieces, DEPTH_MAX)
}

fn together(mut rest: &[u8], depth: u8) -> Option<Zeroizing<Vec<u8>>> {
    // Base64 is a third longer, within base64 again.
    let room = rest.len().checked_mul(3)?.checked_add(LENGTH_MAX)?;
    let mut value = Zeroizing::new(Vec::with_capacity(room));
    loop {
        let text;
        (text, rest) = piece(rest)?;
        value.extend_from_slice(text);
        if rest.is_empty() {
            return Some(value);
        }
        let inner;
        (inner, rest) = piece(rest)?;
        let bytes = together(inner, depth.checked_sub(1)?)?;
        let run = Zeroizing::new(base64url::encode(&bytes));
        value.extend_from_slice(run.as_bytes());
    }
}

fn piece(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = length::read(bytes)?;
    rest.split_at_checked(len)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn back(value: &[u8]) -> usize {
        let pieces = decoded(value);
        assert!(pieces.len() <= value.len() + LENGTH_MAX);
        assert_eq!(*encoded(&pieces).unwrap(), value);
        pieces.len()
    }

    #[test]
    fn a_signed_object_within_another_comes_back_and_is_shorter() {
        let certificate = [7, 150, 33, 250].repeat(200);
        let inner = format!("{{\"x\":\"{}\"}}", base64url::encode(&certificate));
        let outer = format!(
            "{{\"jws\":\"{}.AAAA\"}}",
            base64url::encode(inner.as_bytes())
        );
        let message = format!(
            "{{\"message\":\"{}\"}}",
            base64url::encode(outer.as_bytes())
        );
        let len = back(message.as_bytes());
        assert!(len < certificate.len() + 60, "{len} of {}", message.len());
    }

    #[test]
    fn whatever_looks_like_base64_comes_back() {
        let odd_end = format!("{}B", "A".repeat(RUN_MIN + 2));
        for value in [
            "",
            "no base64 here",
            &"A".repeat(RUN_MIN + 1),
            &odd_end,
            &"A".repeat(RUN_MIN - 1),
            &format!("{}+{}", "ab".repeat(RUN_MIN), "_-".repeat(RUN_MIN)),
            &"AB".repeat(5000),
        ] {
            back(value.as_bytes());
        }
        back(&[0, 255].repeat(300));
    }

    #[test]
    fn what_are_no_pieces_is_refused() {
        let pieces = decoded(format!("\"{}\".", "AB".repeat(RUN_MIN)).as_bytes());
        for end in 0..pieces.len() {
            let cut = encoded(pieces.get(..end).unwrap());
            assert!(cut.is_none_or(|value| value.len() <= 1), "{end}");
        }
        let mut deep = vec![1, b'x'];
        for _ in 0..=DEPTH_MAX {
            deep = [
                &[1, b'x', u8::try_from(deep.len()).unwrap()],
                &deep[..],
                &[0],
            ]
            .concat();
        }
        assert!(encoded(&deep).is_none());
    }
}
