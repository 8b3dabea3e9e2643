//! A value with a sealed object (JWE) in it, whose content key is known: what the object says is packed, and the object
//! made again.

use openset_jose::{ContentKey, default_provider, jwe};
use zeroize::Zeroizing;

use super::length;

const KEY_LEN: usize = 32;
/// What has not this many dots in it is no sealed object.
const DOTS: usize = 4;

/// A value, taken apart.
pub(super) struct Apart {
    /// What stands before the object, the object's opening, its plaintext, what stands after it: one after the other.
    pub(super) parts: Vec<u8>,
    lens: [usize; 4],
}

impl Apart {
    /// Finds the object that the key opens; None if there is none.
    pub(super) fn of(value: &[u8], key: &ContentKey) -> Option<Self> {
        let mut before = 0_usize;
        for text in value.split(|byte| *byte == b'"') {
            if let Some((opening, plaintext)) = reopen(text, key) {
                let end = before.checked_add(text.len())?;
                let (before, after) = (value.get(..before)?, value.get(end..)?);
                let parts = [before, opening.as_bytes(), &plaintext, after];
                return Some(Self {
                    parts: parts.concat(),
                    lens: parts.map(<[u8]>::len),
                });
            }
            before = before.checked_add(text.len())?.checked_add(1)?;
        }
        None
    }

    /// Writes what is needed beside the parts.
    pub(super) fn write_head(&self, key: &ContentKey, out: &mut Vec<u8>) {
        out.extend_from_slice(key.as_bytes());
        for len in self.lens {
            length::write(len, out);
        }
    }
}

fn reopen<'a>(text: &'a [u8], key: &ContentKey) -> Option<(&'a str, Zeroizing<Vec<u8>>)> {
    if text.iter().filter(|byte| **byte == b'.').count() != DOTS {
        return None;
    }
    let compact = str::from_utf8(text).ok()?;
    jwe::reopen(default_provider(), key, compact).ok()
}

/// What [`Apart::write_head`] wrote.
pub(super) struct Head {
    key: ContentKey,
    lens: [usize; 4],
}

impl Head {
    /// Reads it; gives what follows it, too.
    pub(super) fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (key, mut rest) = bytes.split_first_chunk::<KEY_LEN>()?;
        let mut lens = [0; 4];
        for len in &mut lens {
            (*len, rest) = length::read(rest)?;
        }
        let key = ContentKey::from_bytes(*key);
        Some((Self { key, lens }, rest))
    }

    /// How many bytes the parts are.
    pub(super) fn parts_len(&self) -> Option<usize> {
        let mut lens = self.lens.iter();
        lens.try_fold(0_usize, |sum, len| sum.checked_add(*len))
    }

    /// The value as it was, if these are its parts.
    pub(super) fn put_together(&self, parts: &[u8]) -> Option<Vec<u8>> {
        let [before, opening, plaintext, after] = self.lens;
        let (before, rest) = parts.split_at_checked(before)?;
        let (opening, rest) = rest.split_at_checked(opening)?;
        let (plaintext, rest) = rest.split_at_checked(plaintext)?;
        let opening = str::from_utf8(opening).ok()?;
        let sealed = jwe::seal_again(default_provider(), &self.key, opening, plaintext).ok()?;
        let value = [before, sealed.as_bytes(), rest].concat();
        (rest.len() == after).then_some(value)
    }
}
