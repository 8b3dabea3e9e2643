//! RSA keys, held parsed.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::provider::Provider;
use crate::{Random, Thumbprint};

/// The sizes of RSA keys that are generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RsaBits {
    /// 2048 bits, the default of end entities.
    B2048,
    /// 3072 bits.
    B3072,
}

/// Why a key was refused or not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not DER of the expected structure.
    #[error("the key is not well-formed DER: give SubjectPublicKeyInfo or PKCS#8 version 1")]
    Malformed,
    /// Another kind of key than rsaEncryption.
    #[error("the key's algorithm is not rsaEncryption: give a plain RSA key")]
    NotRsa,
    /// A modulus below 2048 bits.
    #[error("the RSA key has {bits} bits: give one of at least 2048")]
    TooSmall {
        /// Length of the modulus.
        bits: usize,
    },
    /// A modulus above 4096 bits.
    #[error("the RSA key has {bits} bits: give one of at most 4096")]
    TooLarge {
        /// Length of the modulus.
        bits: usize,
    },
    /// A public exponent that is even, below 65537 or 2^33 and more.
    #[error("the RSA public exponent must be odd, at least 65537 and below 2^33")]
    Exponent,
    /// An even modulus, or private parts that do not belong together.
    #[error("the RSA key's numbers do not belong together: make a new key")]
    Inconsistent,
    /// The provider could not make a key.
    #[error("the provider could not generate an RSA key: check its entropy source")]
    Generation,
}

/// Why an operation with a sound key could not be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// The provider could not sign.
    #[error("the provider could not sign: check that the private key is intact")]
    Sign,
    /// More bytes than the key can encrypt at once.
    #[error("too long for RSA-OAEP: encrypt a content key and seal the rest with it")]
    Encrypt,
    /// More bytes than AES-GCM can seal under one IV.
    #[error("too long for one AES-GCM object: split the plaintext")]
    Seal,
}

/// A signature that does not fit the message and the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not fit the message and the key")]
pub struct BadSignature;

/// Something sealed that did not open. It never says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed object did not open")]
pub struct Unopened;

/// An RSA private key, parsed once; clones share it.
#[derive(Clone)]
pub struct PrivateKey(Arc<()>);

/// An RSA public key, parsed once; clones share it. Equal when their SPKI is.
#[derive(Clone)]
pub struct PublicKey(Arc<()>);

#[expect(unused_variables, clippy::unimplemented, reason = "skeleton")]
impl PrivateKey {
    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        unimplemented!()
    }

    /// Signs with RSASSA-PSS, SHA-256, MGF1 with SHA-256, a salt of 32 bytes (`PS256`).
    ///
    /// # Errors
    /// [`OperationError::Sign`].
    pub fn sign_pss_sha256(
        &self,
        rng: Random<'_>,
        message: &[u8],
    ) -> Result<Vec<u8>, OperationError> {
        unimplemented!()
    }

    /// Signs with RSASSA-PKCS1-v1_5 and SHA-256, as certificates and CRLs are signed.
    ///
    /// # Errors
    /// [`OperationError::Sign`].
    pub fn sign_pkcs1_sha256(&self, message: &[u8]) -> Result<Vec<u8>, OperationError> {
        unimplemented!()
    }

    /// Opens what [`PublicKey::encrypt_oaep_sha256`] made.
    ///
    /// # Errors
    /// [`Unopened`], whatever the reason.
    pub fn decrypt_oaep_sha256(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        unimplemented!()
    }

    /// PKCS#8 version 1, DER, in clear: seal it before it is stored.
    #[must_use]
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        unimplemented!()
    }
}

#[expect(unused_variables, clippy::unimplemented, reason = "skeleton")]
impl PublicKey {
    /// The DER of the SubjectPublicKeyInfo (RFC 5280, section 4.1).
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        unimplemented!()
    }

    /// Length of the modulus in bits.
    #[must_use]
    pub fn bits(&self) -> usize {
        unimplemented!()
    }

    /// The provider that parsed this key and works with it.
    #[must_use]
    pub fn provider(&self) -> &'static dyn Provider {
        unimplemented!()
    }

    /// SHA-256 of [`Self::spki_der`].
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        unimplemented!()
    }

    /// Verifies a `PS256` signature; the salt must have 32 bytes.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify_pss_sha256(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        unimplemented!()
    }

    /// Encrypts with RSAES-OAEP, SHA-256, MGF1 with SHA-256, an empty label.
    ///
    /// # Errors
    /// [`OperationError::Encrypt`] when `plaintext` is longer than the modulus less 66 bytes.
    pub fn encrypt_oaep_sha256(
        &self,
        rng: Random<'_>,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, OperationError> {
        unimplemented!()
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} bits, {})", self.bits(), self.thumbprint())
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki_der() == other.spki_der()
    }
}

impl Eq for PublicKey {}
