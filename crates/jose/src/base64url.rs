//! base64url without padding (RFC 7515, section 2), decoded strictly.

use std::ops::Deref;

use base64_simd::{Out, URL_SAFE_NO_PAD};

/// Text that is not canonical base64url without padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not canonical base64url: use the URL-safe alphabet, no padding, zero trailing bits")]
pub struct Base64UrlError;

/// Encodes `bytes` without padding.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode_to_string(bytes)
}

/// Decodes `text`.
///
/// # Errors
/// Refuses padding, whitespace, the standard alphabet's `+` and `/`, impossible lengths and
/// trailing bits that are not zero, so that each byte string has exactly one accepted text.
pub fn decode(text: impl AsRef<[u8]>) -> Result<Vec<u8>, Base64UrlError> {
    URL_SAFE_NO_PAD
        .decode_to_vec(text)
        .map_err(|_| Base64UrlError)
}

/// The text of a value of 256 bits.
#[derive(Clone, Copy)]
pub struct Text256([u8; encoded_len(32)]);

impl Deref for Text256 {
    type Target = str;

    fn deref(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Encodes a value of 256 bits, 43 characters, without memory from the heap.
#[must_use]
pub fn encode_256(bytes: &[u8; 32]) -> Text256 {
    let mut text = Text256([0; encoded_len(32)]);
    let _text: &mut [u8] = URL_SAFE_NO_PAD.encode(bytes, Out::from_slice(&mut text.0));
    text
}

/// Decodes a value of 256 bits.
///
/// # Errors
/// As [`decode`], and refuses every other length.
pub fn decode_256(text: &str) -> Result<[u8; 32], Base64UrlError> {
    let mut bytes = [0; 32];
    // With less room than the text needs it would panic.
    if text.len() != encoded_len(bytes.len()) {
        return Err(Base64UrlError);
    }
    let decoded = URL_SAFE_NO_PAD.decode(text.as_bytes(), Out::from_slice(&mut bytes));
    match decoded {
        Ok(_) => Ok(bytes),
        Err(_) => Err(Base64UrlError),
    }
}

/// Appends the encoding of `bytes` to a text that is held as bytes.
pub fn append(bytes: &[u8], text: &mut Vec<u8>) {
    URL_SAFE_NO_PAD.encode_append(bytes, text);
}

/// Appends the encoding of `bytes` to `out`.
pub(crate) fn encode_onto(bytes: &[u8], out: &mut String) {
    URL_SAFE_NO_PAD.encode_append(bytes, out);
}

/// Appends the decoding of `text` to `out`.
pub(crate) fn decode_onto(text: &str, out: &mut Vec<u8>) -> Result<(), Base64UrlError> {
    URL_SAFE_NO_PAD
        .decode_append(text, out)
        .map_err(|_| Base64UrlError)
}

/// How many characters `bytes` bytes become.
#[must_use]
pub const fn encoded_len(bytes: usize) -> usize {
    bytes.saturating_mul(4).div_ceil(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_string_has_one_text() {
        assert_eq!(encode(&[3, 236, 255, 224, 193]), "A-z_4ME");
        assert_eq!(decode("A-z_4ME"), Ok(vec![3, 236, 255, 224, 193]));
        for text in [
            "A-z_4ME=",
            "A+z/4ME",
            "A-z_4MF",
            "A-z_4",
            "A-z_ 4ME",
            "A-z_4ME\n",
        ] {
            assert_eq!(decode(text), Err(Base64UrlError), "{text}");
        }
    }

    /// Whether both take a text for the same bytes, or neither takes it; as base64url, and as the base64 of `x5c`.
    fn is_read_as_by_another(text: &[u8]) -> bool {
        use base64::{Engine as _, engine::general_purpose as other};
        decode(text).ok() == other::URL_SAFE_NO_PAD.decode(text).ok()
            && base64_simd::STANDARD.decode_to_vec(text).ok() == other::STANDARD.decode(text).ok()
    }

    #[test]
    fn every_short_text_is_read_as_by_another_library() {
        let mut texts = vec![Vec::new()];
        for _ in 0..5 {
            let longer = |text: &Vec<u8>| {
                let text = text.clone();
                b"Az9-_QM=+/\n\xC3".map(|last| [&text[..], &[last]].concat())
            };
            texts = texts.iter().flat_map(longer).collect();
            for text in &texts {
                assert!(is_read_as_by_another(text), "{text:?}");
            }
        }
    }

    #[test]
    fn a_wrong_byte_is_found_wherever_it_is_in_a_long_text() {
        let bytes = [0x5A; 148];
        let texts = [
            encode(&bytes),
            base64_simd::STANDARD.encode_to_string(bytes),
        ];
        for text in texts.map(String::into_bytes) {
            for at in 0..text.len() {
                let (before, after) = text.split_at(at);
                assert!(is_read_as_by_another(before), "{at} characters");
                for other in 0..=u8::MAX {
                    let text = [before, &[other], after.get(1..).unwrap_or_default()].concat();
                    assert!(is_read_as_by_another(&text), "{other} at {at}");
                }
            }
        }
    }

    #[test]
    fn values_of_256_bits_are_read_as_all_others_and_no_other_length_is() {
        let value: [u8; 32] = std::array::from_fn(|at| (at * 37).to_le_bytes()[0]);
        assert_eq!(&*encode_256(&value), encode(&value));
        assert_eq!(decode_256(&encode(&value)), Ok(value));
        for len in (0..32).chain(33..70) {
            assert_eq!(decode_256(&encode(&vec![7; len])), Err(Base64UrlError));
        }
        let text = encode(&value);
        for (at, other) in [(42, 'B'), (42, '='), (0, '+'), (7, ' '), (3, 'é')] {
            let text: String = text
                .chars()
                .enumerate()
                .map(|(place, c)| if place == at { other } else { c })
                .collect();
            assert_eq!(decode_256(&text), Err(Base64UrlError), "{text}");
        }
    }

    #[test]
    fn the_foreseen_length_is_the_real_one() {
        for size in 0..50 {
            let bytes = vec![0xA5; size];
            assert_eq!(encoded_len(size), encode(&bytes).len());
            let mut text = b"before".to_vec();
            append(&bytes, &mut text);
            assert_eq!(text, format!("before{}", encode(&bytes)).into_bytes());
        }
    }
}
