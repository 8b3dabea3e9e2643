//! DD, the detached digest: SHA-256 with the content type in front, so that no two kinds of data
//! ever share a digest.

use crate::content_type::ContentType;
use crate::ids::value_256;

value_256! {
    /// `SHA-256("openset/2/" type 0x00 bytes)`, 43 characters of base64url on the wire.
    Digest
}

/// The digest of `bytes` as data of type `content`.
#[must_use]
pub fn digest(content: ContentType, bytes: &[u8]) -> Digest {
    let parts = [b"openset/2/", content.name().as_bytes(), &[0], bytes];
    Digest::from_bytes(openset_jose::sha256_of(&parts))
}

/// Joins fields so that no two different lists give the same bytes: each as a 32-bit big-endian
/// length and its bytes.
pub(crate) fn length_prefixed(fields: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for field in fields {
        let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(field);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_the_same_bytes_differ_by_type() {
        assert_ne!(
            digest(ContentType::PiData, b"x"),
            digest(ContentType::OiData, b"x")
        );
    }

    #[test]
    fn length_prefixes_keep_neighbours_apart() {
        assert_ne!(
            length_prefixed(&[b"ab", b"c"]),
            length_prefixed(&[b"a", b"bc"])
        );
    }
}
