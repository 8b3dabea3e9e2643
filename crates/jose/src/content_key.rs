//! The 256-bit symmetric key of `dir` objects.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::{Random, base64url};

/// A 256-bit key for `A256GCM`, wiped when dropped. In JSON it is base64url without padding, so
/// serialize it only into what is then sealed.
#[derive(Clone)]
pub struct ContentKey(Zeroizing<[u8; 32]>);

impl ContentKey {
    /// Takes a key made elsewhere.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Draws a fresh key.
    #[must_use]
    pub fn generate(rng: Random<'_>) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(bytes.as_mut_slice());
        Self(bytes)
    }

    /// The key's bytes: do not copy them without need.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Compares in constant time.
impl PartialEq for ContentKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for ContentKey {}

impl Serialize for ContentKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = Zeroizing::new(base64url::encode(self.0.as_slice()));
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for ContentKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = ContentKey;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a 256-bit key as 43 characters of base64url without padding")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ContentKey, E> {
                let refused = || E::custom("not a 256-bit key in base64url without padding");
                let bytes = Zeroizing::new(base64url::decode(text).map_err(|_| refused())?);
                let mut key: [u8; 32] = bytes.as_slice().try_into().map_err(|_| refused())?;
                let held = ContentKey::from_bytes(key);
                key.zeroize();
                Ok(held)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_content_key_survives_json_and_another_size_does_not() {
        let key = ContentKey::from_bytes([0xab; 32]);
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(json, format!("\"{}\"", base64url::encode(&[0xab; 32])));
        assert_eq!(serde_json::from_str::<ContentKey>(&json).unwrap(), key);
        assert_ne!(key, ContentKey::from_bytes([0xac; 32]));
        for size in [0, 16, 31, 33] {
            let json = format!("\"{}\"", base64url::encode(&vec![1; size]));
            assert!(serde_json::from_str::<ContentKey>(&json).is_err(), "{size}");
        }
    }
}
