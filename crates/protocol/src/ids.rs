//! Identifiers, nonces and challenges.

use openset_jose::{Random, base64url};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::{Context, Timestamp, text};

/// Declares a value of 256 bits, base64url without padding on the wire (43 characters).
/// SET 1.0 has 160 bits; docs/DIVERGENCES.md says why they grew.
macro_rules! value_256 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// From its 32 bytes.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Its 32 bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&openset_jose::base64url::encode_256(&self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::ids::NotAnIdentifier;

            fn from_str(text: &str) -> Result<Self, $crate::ids::NotAnIdentifier> {
                let bytes = openset_jose::base64url::decode_256(text);
                bytes.map(Self).map_err(|_| $crate::ids::NotAnIdentifier)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&openset_jose::base64url::encode_256(&self.0))
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::text::read(deserializer, str::parse)
            }
        }
    };
}

pub(crate) use value_256;

value_256! {
    /// RRPID, request/response pair identifier: new for each request, echoed by its answer.
    Rrpid
}
value_256! {
    /// XID, transaction identifier: made by the merchant in PInitRes, one for each purchase.
    Xid
}
value_256! {
    /// A challenge (chall-C, chall-M, chall-EE, chall-CA) that the answer must repeat.
    Challenge
}
value_256! {
    /// A nonce or salt (exNonce, odSalt, errorNonce).
    Nonce
}

/// How many bytes of an [`Rrpid`] or [`Xid`] tell when it was made.
const DATE_BYTES: usize = 5;

/// What was made at about the same time begins alike: an index that is looked up by such names has recent ones together,
/// instead of anywhere. 216 bits are random; the time stands beside each name in its message in any case.
fn dated(now: Timestamp, rng: Random<'_>) -> [u8; 32] {
    let mut bytes = [0; 32];
    let (date, random) = bytes.split_at_mut(DATE_BYTES);
    // Seconds since 1970, of which no date has more than five bytes.
    date.copy_from_slice(&now.seconds().to_be_bytes()[3..]);
    rng.fill_bytes(random);
    bytes
}

pub(crate) fn random(rng: Random<'_>) -> [u8; 32] {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    bytes
}

impl Rrpid {
    /// A fresh one: five bytes of the time, then random ones.
    pub fn generate(ctx: &mut Context<'_>) -> Self {
        Self(dated(ctx.now, ctx.rng))
    }
}

impl Xid {
    /// A fresh one: five bytes of the time, then random ones.
    pub fn generate(ctx: &mut Context<'_>) -> Self {
        Self(dated(ctx.now, ctx.rng))
    }
}

impl Challenge {
    /// A fresh one, random.
    pub fn generate(rng: Random<'_>) -> Self {
        Self(random(rng))
    }
}

impl Nonce {
    /// A fresh one, random.
    pub fn generate(rng: Random<'_>) -> Self {
        Self(random(rng))
    }
}

/// The text is not an identifier of the expected form.
#[derive(Debug, thiserror::Error)]
#[error(
    "not an identifier: 256-bit values are 43 characters of base64url; local ids are 1 to 64 of A-Z a-z 0-9 . _ -"
)]
pub struct NotAnIdentifier;

/// LocalID (lid-C, lid-M, lid-EE, lid-CA): a party's own name for an exchange, 1 to 64 characters of
/// `A-Z a-z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct LocalId(String);

impl LocalId {
    /// A fresh random one (128 bits).
    pub fn generate(rng: Random<'_>) -> Self {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        Self(hex::encode(bytes))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for LocalId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for LocalId {
    type Err = NotAnIdentifier;

    fn from_str(text: &str) -> Result<Self, NotAnIdentifier> {
        let fits = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAnIdentifier)
        }
    }
}

impl<'de> Deserialize<'de> for LocalId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::read(deserializer, str::parse)
    }
}

/// TransIDs: the names of one purchase at each party (reference 3.0).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransIds {
    /// The cardholder's name for the purchase.
    pub lid_c: LocalId,
    /// The merchant's name for the order.
    pub lid_m: LocalId,
    /// The purchase's global name.
    pub xid: Xid,
    /// When the merchant opened the purchase.
    pub p_req_date: crate::Timestamp,
    /// RFC 5646 language tag of the texts meant for the cardholder.
    pub language: Language,
}

/// RRTags: names a request between merchant and gateway (reference 3.0).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RrTags {
    /// The request/response pair.
    pub rrpid: Rrpid,
    /// MerTermIDs: who asks, as the acquirer names merchants.
    pub merchant_id: String,
    /// When the request was made.
    pub current_date: crate::Timestamp,
}

/// A language tag (RFC 5646), 2 to 35 characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Language(String);

impl Language {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// English.
    #[must_use]
    pub fn english() -> Self {
        Self("en".to_owned())
    }
}

impl std::str::FromStr for Language {
    type Err = NotALanguage;

    fn from_str(text: &str) -> Result<Self, NotALanguage> {
        let fits = (2..=35).contains(&text.len())
            && text.split('-').all(|part| {
                (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
            });
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotALanguage)
        }
    }
}

/// The text is not a language tag.
#[derive(Debug, thiserror::Error)]
#[error("not a language tag like en or pt-BR (RFC 5646)")]
pub struct NotALanguage;

impl<'de> Deserialize<'de> for Language {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::read(deserializer, str::parse)
    }
}

/// Bytes that travel exactly as they were hashed, sealed or certified: base64url without padding.
#[derive(Clone, PartialEq, Eq)]
pub struct ExactBytes(pub Vec<u8>);

impl std::fmt::Debug for ExactBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ExactBytes({} bytes)", self.0.len())
    }
}

impl Serialize for ExactBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(base64url::encode(&self.0)))
    }
}

impl<'de> Deserialize<'de> for ExactBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::read(deserializer, |text| base64url::decode(text).map(Self))
    }
}

impl Drop for ExactBytes {
    fn drop(&mut self) {
        // Some of these are PIData: none is worth leaving in freed memory.
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    struct Zeros;

    impl rand_core::TryRng for Zeros {
        type Error = std::convert::Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            Ok(0)
        }

        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            Ok(0)
        }

        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
            out.fill(0);
            Ok(())
        }
    }

    impl rand_core::TryCryptoRng for Zeros {}

    #[test]
    fn names_of_exchanges_begin_with_their_time_and_challenges_do_not() {
        let ctx = &mut Context {
            now: Timestamp::from_seconds(0x01_0203_0405),
            rng: &mut Zeros,
        };
        let mut dated = [0; 32];
        dated[..5].copy_from_slice(&[1, 2, 3, 4, 5]);
        assert_eq!(Xid::generate(ctx).as_bytes(), &dated);
        assert_eq!(Rrpid::generate(ctx).as_bytes(), &dated);
        assert_eq!(Challenge::generate(ctx.rng).as_bytes(), &[0; 32]);
        assert_eq!(Nonce::generate(ctx.rng).as_bytes(), &[0; 32]);
    }
}
