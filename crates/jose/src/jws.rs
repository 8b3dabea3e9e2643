//! Signed objects: JWS compact serialization, `PS256` alone.

use crate::{HeaderError, PrivateKey, PublicKey, Random, Thumbprint};

/// The protected header's variable part; `alg` is always `PS256`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// Content type of the payload, for the caller to compare.
    pub cty: String,
    /// Thumbprint of the signer's certificate (RFC 7515, section 4.1.8).
    pub x5t_s256: Option<Thumbprint>,
    /// The signer's chain as DER, leaf first; left out of the object when empty.
    pub x5c: Vec<Vec<u8>>,
}

/// Why a signed object was refused or not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwsError {
    /// Not three parts between dots.
    #[error("not a JWS in compact form: it needs exactly three parts between dots")]
    Parts,
    /// A part that is not canonical base64url.
    #[error("the JWS {part} is not canonical base64url without padding")]
    Encoding {
        /// `header`, `payload` or `signature`.
        part: &'static str,
    },
    /// A header that says more or less than it may.
    #[error("the JWS header is refused")]
    Header(#[from] HeaderError),
    /// The signature does not fit the object and the key.
    #[error("the JWS signature does not fit the object and the key")]
    Signature,
    /// The key could not sign.
    #[error("the JWS could not be signed: check that the private key is intact")]
    Sign,
}

/// Signs `payload`; the result is JWS compact.
///
/// # Errors
/// [`JwsError::Sign`].
#[expect(unused_variables, clippy::unimplemented, reason = "skeleton")]
pub fn sign(
    rng: Random<'_>,
    key: &PrivateKey,
    header: &Header,
    payload: &[u8],
) -> Result<String, JwsError> {
    unimplemented!()
}

/// A signed object, read but not yet believed.
#[derive(Debug, Clone)]
pub struct Unverified {
    header: Header,
    payload: Vec<u8>,
}

#[expect(unused_variables, clippy::unimplemented, reason = "skeleton")]
impl Unverified {
    /// Reads JWS compact, refusing whatever [`sign`] would not have written.
    ///
    /// # Errors
    /// Each [`JwsError`] but `Signature` and `Sign`.
    pub fn parse(compact: &str) -> Result<Self, JwsError> {
        unimplemented!()
    }

    /// The header, unverified: good for choosing the key to verify with.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Checks the signature and gives the payload.
    ///
    /// # Errors
    /// [`JwsError::Signature`].
    pub fn verify(&self, key: &PublicKey) -> Result<&[u8], JwsError> {
        unimplemented!()
    }

    /// The payload as anybody could have written it.
    #[must_use]
    pub fn danger_unverified_payload(&self) -> &[u8] {
        &self.payload
    }
}
