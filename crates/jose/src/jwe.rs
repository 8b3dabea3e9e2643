//! Sealed objects: JWE compact serialization, `RSA-OAEP-256` or `dir`, with `A256GCM`.

use zeroize::Zeroizing;

use crate::{ContentKey, HeaderError, PrivateKey, Provider, PublicKey, Random, Thumbprint};

/// How the content key reaches the recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alg {
    /// `RSA-OAEP-256`: encrypted to the recipient's public key (RFC 7518, section 4.3).
    RsaOaep256,
    /// `dir`: the recipient holds it already (RFC 7518, section 4.5).
    Direct,
}

/// The protected header; `enc` is always `A256GCM`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Key management algorithm.
    pub alg: Alg,
    /// Content type of the plaintext, for the caller to compare.
    pub cty: String,
    /// Thumbprint of the recipient's certificate (RFC 7516, section 4.1.8).
    pub x5t_s256: Option<Thumbprint>,
}

/// Why a sealed object was refused or not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JweError {
    /// Not five parts between dots.
    #[error("not a JWE in compact form: it needs exactly five parts between dots")]
    Parts,
    /// A part that is not canonical base64url.
    #[error("the JWE {part} is not canonical base64url without padding")]
    Encoding {
        /// `header`, `encrypted key`, `initialization vector`, `ciphertext` or `tag`.
        part: &'static str,
    },
    /// A header that says more or less than it may.
    #[error("the JWE header is refused")]
    Header(#[from] HeaderError),
    /// The object's algorithm is not the one that the caller allows here.
    #[error("the JWE is sealed with {found:?} where only {allowed:?} is allowed")]
    AlgNotAllowed {
        /// What the object says.
        found: Alg,
        /// What the call is for.
        allowed: Alg,
    },
    /// It did not open: wrong key, altered, cut, or of a wrong size; it never says which.
    #[error("the JWE did not open")]
    Unopened,
    /// It could not be sealed.
    #[error("the JWE could not be sealed: check the size of the plaintext and the key")]
    Seal,
}

/// Seals `plaintext` for the holder of `recipient`'s private key, under a fresh content key.
///
/// # Errors
/// [`JweError::Seal`].
#[expect(unused_variables, clippy::unimplemented, reason = "skeleton")]
pub fn seal(
    rng: Random<'_>,
    recipient: &PublicKey,
    x5t_s256: Option<Thumbprint>,
    cty: &str,
    plaintext: &[u8],
) -> Result<String, JweError> {
    unimplemented!()
}

/// Seals `plaintext` for whoever holds `key`.
///
/// # Errors
/// [`JweError::Seal`].
#[expect(unused_variables, clippy::unimplemented, reason = "skeleton")]
pub fn seal_direct(
    rng: Random<'_>,
    provider: &dyn Provider,
    key: &ContentKey,
    cty: &str,
    plaintext: &[u8],
) -> Result<String, JweError> {
    unimplemented!()
}

/// A sealed object, read but not opened.
#[derive(Debug, Clone)]
pub struct Sealed {
    header: Header,
}

#[expect(unused_variables, clippy::unimplemented, reason = "skeleton")]
impl Sealed {
    /// Reads JWE compact, refusing whatever [`seal`] and [`seal_direct`] would not have written.
    ///
    /// # Errors
    /// Each [`JweError`] but `AlgNotAllowed` and `Seal`.
    pub fn parse(compact: &str) -> Result<Self, JweError> {
        unimplemented!()
    }

    /// The header, not yet authenticated: good for choosing the key to open with.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Opens an `RSA-OAEP-256` object.
    ///
    /// # Errors
    /// [`JweError::AlgNotAllowed`] or [`JweError::Unopened`].
    pub fn open(&self, key: &PrivateKey) -> Result<Zeroizing<Vec<u8>>, JweError> {
        unimplemented!()
    }

    /// Opens a `dir` object.
    ///
    /// # Errors
    /// [`JweError::AlgNotAllowed`] or [`JweError::Unopened`].
    pub fn open_direct(
        &self,
        provider: &dyn Provider,
        key: &ContentKey,
    ) -> Result<Zeroizing<Vec<u8>>, JweError> {
        unimplemented!()
    }
}
