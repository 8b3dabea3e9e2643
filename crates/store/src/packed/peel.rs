//! Base64 inside base64 taken off, so that what repeats is seen to repeat and random bytes take one byte each.
//!
//! A peeled value is a row of segments: what it is, how many bytes follow, and they. A run of base64 becomes the segments
//! of what it encodes. Only text that encoding gives again, character by character, is taken off.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// Runs shorter than a SHA-256 digest's 43 characters are words, or save too little.
const RUN_CHARS_MIN: usize = 40;
/// Certificates in a header in a signature in a payload, and one to spare.
const DEPTH_MAX: u8 = 6;

const LITERAL: u8 = 0;
const URL_SAFE: u8 = 1;
const PADDED: u8 = 2;

const ALPHANUMERIC: u8 = 1;
const OF_URL_SAFE: u8 = 2;
const OF_PADDED: u8 = 4;

const fn class(byte: u8) -> u8 {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => ALPHANUMERIC,
        b'-' | b'_' => OF_URL_SAFE,
        b'+' | b'/' => OF_PADDED,
        _ => 0,
    }
}

/// Not peeled, not of this form, or longer than it said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Takes the base64 off.
pub(super) fn peel(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len().saturating_add(16));
    peel_onto(text, &mut out, 0);
    out
}

fn peel_onto(text: &[u8], out: &mut Vec<u8>, depth: u8) {
    let (mut literal, mut rest) = (text, text);
    let may_begin = |byte: &u8| depth < DEPTH_MAX && class(*byte) != 0;
    while let Some(start) = rest.iter().position(may_begin) {
        let from = rest.get(start..).unwrap_or_default();
        let mut classes = 0;
        let is_of_run = |byte: &&u8| {
            classes |= class(**byte);
            class(**byte) != 0
        };
        let run = from.iter().take_while(is_of_run).count();
        let (taken, decoded) = match run {
            RUN_CHARS_MIN.. => decode(from, run, classes).unwrap_or((run, None)),
            _ => (run, None),
        };
        let after = from.get(taken..).unwrap_or_default();
        if let Some((kind, decoded)) = decoded {
            let before = literal.len().saturating_sub(from.len());
            segment(LITERAL, literal.get(..before).unwrap_or_default(), out);
            let mut inner = Vec::with_capacity(decoded.len().saturating_add(16));
            peel_onto(&decoded, &mut inner, depth.saturating_add(1));
            segment(kind, &inner, out);
            literal = after;
        }
        rest = after;
    }
    segment(LITERAL, literal, out);
}

/// How many characters it takes, and what they encode, in which alphabet.
type Decoded = (usize, Option<(u8, Vec<u8>)>);

fn decode(from: &[u8], run: usize, classes: u8) -> Option<Decoded> {
    let text = from.get(..run)?;
    if classes & OF_PADDED == 0
        && let Ok(decoded) = URL_SAFE_NO_PAD.decode(text)
    {
        return Some((run, Some((URL_SAFE, decoded))));
    }
    if classes & OF_URL_SAFE != 0 {
        return None;
    }
    let padding = from.iter().skip(run).take(2);
    let padding = padding.take_while(|byte| **byte == b'=').count();
    let taken = run.checked_add(padding)?;
    let decoded = STANDARD.decode(from.get(..taken)?).ok()?;
    Some((taken, Some((PADDED, decoded))))
}

fn segment(kind: u8, bytes: &[u8], out: &mut Vec<u8>) {
    if kind != LITERAL || !bytes.is_empty() {
        out.push(kind);
        write_len(bytes.len(), out);
        out.extend_from_slice(bytes);
    }
}

/// Seven bits a byte, the lowest first.
pub(super) fn write_len(mut len: usize, out: &mut Vec<u8>) {
    while len > 0x7f {
        out.push(u8::try_from(len & 0x7f).unwrap_or_default() | 0x80);
        len >>= 7;
    }
    out.push(u8::try_from(len).unwrap_or_default());
}

/// What [`write_len`] wrote, and what follows it.
pub(super) fn read_len(bytes: &[u8]) -> Result<(usize, &[u8]), Malformed> {
    let (mut len, mut shift, mut rest) = (0_usize, 0_u32, bytes);
    loop {
        let (byte, after) = rest.split_first().ok_or(Malformed)?;
        if shift > 28 {
            return Err(Malformed);
        }
        len |= usize::from(byte & 0x7f) << shift;
        (shift, rest) = (shift.saturating_add(7), after);
        if byte & 0x80 == 0 {
            return Ok((len, rest));
        }
    }
}

/// Puts the base64 on again. `len` is how long it was: nothing longer is made.
pub(super) fn unpeel(peeled: &[u8], len: usize) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::new();
    unpeel_onto(peeled, &mut out, len, 0)?;
    if out.len() == len {
        Ok(out)
    } else {
        Err(Malformed)
    }
}

fn unpeel_onto(
    mut peeled: &[u8],
    out: &mut Vec<u8>,
    len_max: usize,
    depth: u8,
) -> Result<(), Malformed> {
    if depth > DEPTH_MAX {
        return Err(Malformed);
    }
    while let Some((kind, rest)) = peeled.split_first() {
        let (len, rest) = read_len(rest)?;
        let (segment, rest) = rest.split_at_checked(len).ok_or(Malformed)?;
        let room = len_max.checked_sub(out.len()).ok_or(Malformed)?;
        let mut inner = Vec::new();
        if *kind != LITERAL {
            unpeel_onto(segment, &mut inner, room, depth.saturating_add(1))?;
        }
        let text = match *kind {
            LITERAL => None,
            URL_SAFE => Some(URL_SAFE_NO_PAD.encode(&inner)),
            PADDED => Some(STANDARD.encode(&inner)),
            _ => return Err(Malformed),
        };
        let bytes = text.as_deref().map_or(segment, str::as_bytes);
        if bytes.len() > room {
            return Err(Malformed);
        }
        out.extend_from_slice(bytes);
        peeled = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn there_and_back(text: &[u8]) -> usize {
        let peeled = peel(text);
        assert_eq!(unpeel(&peeled, text.len()), Ok(text.to_vec()));
        peeled.len()
    }

    #[test]
    fn base64_in_base64_comes_off_and_on_again() {
        let random: Vec<u8> = (0..=255).rev().collect();
        let header = format!("{{\"x5c\":[\"{}\"]}}", STANDARD.encode(&random));
        let inner = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(&random)
        );
        let outer = format!("{{\"jws\":\"{}\"}}", URL_SAFE_NO_PAD.encode(inner));
        assert!(there_and_back(outer.as_bytes()) < 2 * random.len() + 60);
        for padded in 60..64 {
            there_and_back(STANDARD.encode(random.get(..padded).unwrap()).as_bytes());
        }
    }

    #[test]
    fn text_that_encoding_would_give_otherwise_is_left_as_it_is() {
        let run = "A".repeat(41);
        for text in [
            "",
            "no base64 here",
            // An impossible length, trailing bits that are not zero, two alphabets in one run, too much and too little padding.
            &run,
            &format!("{run}B"),
            &format!("{run}+_A"),
            &format!("{run}+A="),
            &format!("{run}+A==="),
            &format!("{run}=="),
        ] {
            there_and_back(text.as_bytes());
            assert!(there_and_back(text.as_bytes()) <= text.len() + 6, "{text}");
        }
        there_and_back(&[0xff; 100]);
    }

    #[test]
    fn what_unfolds_to_more_than_was_said_is_refused() {
        let text = "Q".repeat(400);
        let peeled = peel(text.as_bytes());
        assert_eq!(unpeel(&peeled, 399), Err(Malformed));
        assert_eq!(unpeel(&peeled, 401), Err(Malformed));
        let mut nested = vec![b'x'];
        for _ in 0..20 {
            let mut outer = Vec::new();
            segment(URL_SAFE, &nested, &mut outer);
            nested = outer;
        }
        assert_eq!(unpeel(&nested, 1 << 20), Err(Malformed));
        assert_eq!(
            unpeel(&[LITERAL, 0xff, 0xff, 0xff, 0xff, 0x7f], 10),
            Err(Malformed)
        );
        assert_eq!(unpeel(&[9, 1, 1], 10), Err(Malformed));
    }
}
