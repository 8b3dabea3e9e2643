//! The two implementations of the same cryptography.

use std::fmt::Debug;

use zeroize::Zeroizing;

use crate::{
    BadSignature, KeyError, OperationError, PrivateKey, PublicKey, Random, RsaBits, Unopened,
};

/// A cryptographic library behind the keys. Keys remember theirs, so a caller names it only
/// where a key comes into being or where there is none.
pub trait Provider: Debug + Send + Sync + 'static {
    /// What logs and metrics call it.
    fn name(&self) -> &'static str;

    /// Makes a key pair with exponent 65537.
    ///
    /// # Errors
    /// [`KeyError::Generation`].
    fn generate_rsa(&self, rng: Random<'_>, bits: RsaBits) -> Result<PrivateKey, KeyError>;

    /// Reads an unencrypted PKCS#8 private key; its public half must pass
    /// [`Self::public_key_from_spki`].
    ///
    /// # Errors
    /// The [`KeyError`] that says what is wrong with it.
    fn private_key_from_pkcs8(&self, der: &[u8]) -> Result<PrivateKey, KeyError>;

    /// Reads a SubjectPublicKeyInfo: rsaEncryption, 2048 to 4096 bits, an odd exponent of at
    /// least 65537 and below 2^33.
    ///
    /// # Errors
    /// The [`KeyError`] that says what is wrong with it.
    fn public_key_from_spki(&self, der: &[u8]) -> Result<PublicKey, KeyError>;

    /// Seals with AES-256-GCM: the ciphertext, then the 16-byte tag. One `iv` never serves a
    /// `key` twice.
    ///
    /// # Errors
    /// [`OperationError::Seal`].
    fn seal_aes_256_gcm(
        &self,
        key: &[u8; 32],
        iv: &[u8; 12],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, OperationError>;

    /// Opens what [`Self::seal_aes_256_gcm`] made.
    ///
    /// # Errors
    /// [`Unopened`], whatever the reason.
    fn open_aes_256_gcm(
        &self,
        key: &[u8; 32],
        iv: &[u8; 12],
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Unopened>;
}

#[cfg(not(any(feature = "aws-lc-rs", feature = "rustcrypto")))]
compile_error!("openset-jose needs a provider: enable the feature `aws-lc-rs` or `rustcrypto`");

#[cfg(feature = "aws-lc-rs")]
mod aws_lc_rs;
#[cfg(feature = "rustcrypto")]
mod rust_crypto;

/// AWS-LC: constant-time, several times as fast at RSA, needs a C compiler.
#[cfg(feature = "aws-lc-rs")]
#[must_use]
pub fn aws_lc() -> &'static dyn Provider {
    &aws_lc_rs::AwsLcRs
}

/// RustCrypto: pure Rust, and the independent cross-check. Its `rsa` carries
/// RUSTSEC-2023-0071, so no private-key operation on network input should run on it.
#[cfg(feature = "rustcrypto")]
#[must_use]
pub fn rust_crypto() -> &'static dyn Provider {
    &rust_crypto::RustCrypto
}

/// AWS-LC (`aws_lc`) where it is compiled in, or else RustCrypto (`rust_crypto`).
#[must_use]
pub fn default_provider() -> &'static dyn Provider {
    #[cfg(feature = "aws-lc-rs")]
    return aws_lc();
    #[cfg(all(not(feature = "aws-lc-rs"), feature = "rustcrypto"))]
    return rust_crypto();
}

/// What a provider does with its own kind of private key. Messages come as their SHA-256.
pub(crate) trait RsaPrivate: Send + Sync {
    fn sign_pss(&self, rng: Random<'_>, digest: &[u8; 32]) -> Result<Vec<u8>, OperationError>;

    /// `blinding` is secret and fits this key and input alone; a provider that draws its own
    /// randomness leaves it.
    fn sign_pkcs1(&self, blinding: &[u8; 32], digest: &[u8; 32])
    -> Result<Vec<u8>, OperationError>;

    /// `blinding` as for [`Self::sign_pkcs1`].
    fn decrypt_oaep(
        &self,
        blinding: &[u8; 32],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Unopened>;
}

/// What a provider does with its own kind of public key.
pub(crate) trait RsaPublic: Send + Sync {
    fn verify_pss(&self, digest: &[u8; 32], signature: &[u8]) -> Result<(), BadSignature>;

    fn encrypt_oaep(&self, rng: Random<'_>, plaintext: &[u8]) -> Result<Vec<u8>, OperationError>;
}
