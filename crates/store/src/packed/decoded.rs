//! Text with base64url in it, and base64url in that, as what it stands for. Signed objects are such text: the same
//! certificate reads otherwise there when a number before it has one digit more, and a digest takes a third more room.
//!
//! Pieces, one after the other: how long a text is, and the text; how long what follows is, and what the base64url after the
//! text stands for, in pieces again. The last piece has no base64url after it.

use openset_jose::base64url;

use super::length;
use super::scratch::{Scratch, Secrecy};

/// Shorter runs are left: names and digests, which nothing repeats and which are parts of words as often.
const RUN_MIN: usize = 64;
/// So many bytes are looked at together.
const CHUNK: usize = 32;
/// A signed object within a signed object in a message.
const DEPTH_MAX: u8 = 3;
/// Room for the length of the last piece.
const LENGTH_MAX: usize = 10;

/// The pieces of a value; about as long at most. [`encoded`] gives the value again: what is decoded has one text alone.
pub(super) fn decoded(value: &[u8], secrecy: Secrecy) -> Scratch {
    pieces(value, DEPTH_MAX, secrecy)
}

fn pieces(value: &[u8], depth: u8, secrecy: Secrecy) -> Scratch {
    // A run is shortened by more than its two lengths take.
    let mut out = secrecy.room(value.len().saturating_add(LENGTH_MAX));
    let mut text = 0;
    let mut at = 0;
    while depth > 0
        && let Some((begin, end)) = next_run(value, at)
    {
        let run = value.get(begin..end).unwrap_or_default();
        if let Ok(bytes) = base64url::decode(run).map(|bytes| secrecy.scratch(bytes)) {
            write(value.get(text..begin).unwrap_or_default(), &mut out);
            write(&pieces(&bytes, depth.saturating_sub(1), secrecy), &mut out);
            text = end;
        }
        at = end;
    }
    write(value.get(text..).unwrap_or_default(), &mut out);
    out
}

/// Where the next run of base64url begins and ends, that is long enough. `at` is where a run may begin: a long one covers
/// the next [`RUN_MIN`] bytes. They are looked at from the last one back, so that of what is no run few are looked at.
fn next_run(value: &[u8], mut at: usize) -> Option<(usize, usize)> {
    loop {
        let seen = at.checked_add(RUN_MIN)?;
        let window = value.get(at..seen)?;
        match window.iter().rposition(|byte| !is_base64url(*byte)) {
            Some(other) => at = at.checked_add(other)?.checked_add(1)?,
            None => {
                let rest = value.get(seen..).unwrap_or_default();
                return Some((at, seen.checked_add(run_len(rest))?));
            }
        }
    }
}

/// How many bytes of base64url a text begins with.
fn run_len(text: &[u8]) -> usize {
    // Without a way out of the inner loop, it is done many bytes at a time.
    let all = |chunk: &&[u8]| {
        chunk
            .iter()
            .fold(true, |all, byte| all & is_base64url(*byte))
    };
    let chunks = text.chunks_exact(CHUNK).take_while(all).count();
    let rest = text.iter().skip(chunks.saturating_mul(CHUNK));
    let rest = rest.take_while(|byte| is_base64url(**byte)).count();
    chunks.saturating_mul(CHUNK).saturating_add(rest)
}

fn is_base64url(byte: u8) -> bool {
    let is_letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    let is_digit = byte.wrapping_sub(b'0') < 10;
    is_letter | is_digit | (byte == b'-') | (byte == b'_')
}

fn write(piece: &[u8], out: &mut Vec<u8>) {
    length::write(piece.len(), out);
    out.extend_from_slice(piece);
}

/// The value of these pieces; None if they are none, or it is longer than it may be.
pub(super) fn encoded(pieces: &[u8], len_max: usize, secrecy: Secrecy) -> Option<Scratch> {
    together(pieces, len_max, DEPTH_MAX, secrecy)
}

fn together(mut rest: &[u8], len_max: usize, depth: u8, secrecy: Secrecy) -> Option<Scratch> {
    let len = len_of(rest, depth).filter(|len| *len <= len_max)?;
    let mut value = secrecy.room(len);
    loop {
        let text;
        (text, rest) = piece(rest)?;
        value.extend_from_slice(text);
        if rest.is_empty() {
            return Some(value);
        }
        let inner;
        (inner, rest) = piece(rest)?;
        let bytes = together(inner, len_max, depth.checked_sub(1)?, secrecy)?;
        base64url::append(&bytes, &mut value);
    }
}

/// How long the value of these pieces is.
fn len_of(mut rest: &[u8], depth: u8) -> Option<usize> {
    let mut len = 0_usize;
    loop {
        let text;
        (text, rest) = piece(rest)?;
        len = len.checked_add(text.len())?;
        if rest.is_empty() {
            return Some(len);
        }
        let inner;
        (inner, rest) = piece(rest)?;
        let bytes = len_of(inner, depth.checked_sub(1)?)?;
        len = len.checked_add(base64url::encoded_len(bytes))?;
    }
}

fn piece(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = length::read(bytes)?;
    rest.split_at_checked(len)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::collections::VecDeque;

    use super::*;

    fn back(value: &[u8]) -> usize {
        let pieces = decoded(value, Secrecy::Secret);
        assert!(pieces.len() <= value.len() + LENGTH_MAX);
        assert_eq!(
            *encoded(&pieces, value.len(), Secrecy::Secret).unwrap(),
            value
        );
        assert!(value.is_empty() || encoded(&pieces, value.len() - 1, Secrecy::Secret).is_none());
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
    fn a_run_is_found_wherever_it_stands_if_it_is_long_enough() {
        let words = "one;two2,three-3 ".repeat(12);
        for before in 0..words.len() {
            let text = words.get(..before).unwrap();
            for (run, is_found) in [(RUN_MIN - 4, false), (RUN_MIN, true), (2000, true)] {
                let value = format!("{text}.{}.{text}", "A".repeat(run));
                let is_shorter = back(value.as_bytes()) < value.len();
                assert_eq!(is_shorter, is_found, "{before} {run}");
            }
        }
    }

    #[test]
    fn every_byte_is_base64url_or_not() {
        for byte in 0..=255 {
            let is = byte_is(byte);
            assert_eq!(is_base64url(byte), is, "{byte}");
            for place in [0, 31, 32, 63, 64, 99] {
                let mut text = [b'a'; 100];
                text[place] = byte;
                assert_eq!(run_len(&text), if is { 100 } else { place });
            }
        }
    }

    fn byte_is(byte: u8) -> bool {
        byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
    }

    #[test]
    fn what_are_no_pieces_is_refused() {
        let pieces = decoded(
            format!("\"{}\".", "AB".repeat(RUN_MIN)).as_bytes(),
            Secrecy::Open,
        );
        for end in 0..pieces.len() {
            let cut = encoded(pieces.get(..end).unwrap(), 1000, Secrecy::Open);
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
        assert!(encoded(&deep, 1000, Secrecy::Secret).is_none());

        // So deep that nobody could follow.
        let mut deep = VecDeque::from(vec![1, b'x']);
        for _ in 0..100_000 {
            let mut before = vec![1, b'x'];
            length::write(deep.len(), &mut before);
            for byte in before.into_iter().rev() {
                deep.push_front(byte);
            }
            deep.push_back(0);
        }
        assert!(encoded(deep.make_contiguous(), 1000, Secrecy::Secret).is_none());
    }
}
