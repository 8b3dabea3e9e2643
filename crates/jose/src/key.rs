//! RSA keys, held parsed.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::provider::{Provider, RsaPrivate, RsaPublic};
use crate::{Operation, Random, Thumbprint, hkdf_sha256, hmac_sha256, sha256};

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

/// An RSA private key, parsed once; clones share it. Its memory is wiped when the last goes.
#[derive(Clone)]
pub struct PrivateKey(Arc<PrivateParts>);

struct PrivateParts {
    rsa: Box<dyn RsaPrivate>,
    public: PublicKey,
    pkcs8: Zeroizing<Vec<u8>>,
    blinding_secret: Zeroizing<[u8; 32]>,
    substitute_secret: Zeroizing<[u8; 32]>,
}

/// An RSA public key, parsed once; clones share it. Equal when their SPKI is.
#[derive(Clone)]
pub struct PublicKey(Arc<PublicParts>);

struct PublicParts {
    rsa: Box<dyn RsaPublic>,
    provider: &'static dyn Provider,
    spki: Vec<u8>,
    bits: usize,
    thumbprint: Thumbprint,
}

impl PrivateKey {
    /// Puts together what a provider parsed and [`crate::key_der`] checked.
    pub(crate) fn assemble(
        rsa: Box<dyn RsaPrivate>,
        public: PublicKey,
        pkcs8: Zeroizing<Vec<u8>>,
    ) -> Self {
        let blinding_secret = hkdf_sha256(b"openset-jose", &pkcs8, b"blinding");
        let substitute_secret = hkdf_sha256(b"openset-jose", &pkcs8, b"substitute content key");
        Self(Arc::new(PrivateParts {
            rsa,
            public,
            pkcs8,
            blinding_secret,
            substitute_secret,
        }))
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.0.public
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
        self.count(Operation::SignPss);
        self.0.rsa.sign_pss(rng, &sha256(message))
    }

    /// Signs with RSASSA-PKCS1-v1_5 and SHA-256, as certificates and CRLs are signed.
    ///
    /// # Errors
    /// [`OperationError::Sign`].
    pub fn sign_pkcs1_sha256(&self, message: &[u8]) -> Result<Vec<u8>, OperationError> {
        self.count(Operation::SignPkcs1);
        let digest = sha256(message);
        self.0.rsa.sign_pkcs1(&self.blinding(&digest), &digest)
    }

    /// Opens what [`PublicKey::encrypt_oaep_sha256`] made.
    ///
    /// # Errors
    /// [`Unopened`], whatever the reason.
    pub fn decrypt_oaep_sha256(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        self.count(Operation::DecryptOaep);
        self.0
            .rsa
            .decrypt_oaep(&self.blinding(ciphertext), ciphertext)
    }

    /// PKCS#8 version 1, DER, in clear: seal it before it is stored.
    #[must_use]
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        self.0.pkcs8.clone()
    }

    /// Unwraps a 256-bit content key, or gives another that nobody can foresee.
    ///
    /// RFC 7516, section 11.5: "the recipient MUST NOT distinguish between format, padding, and
    /// length errors of encrypted keys. It is strongly recommended [...] that the recipient
    /// substitute a randomly generated CEK and proceed to the next step". The substitute is a
    /// secret function of the input, so that the same bytes always fare the same.
    pub(crate) fn unwrap_content_key(&self, wrapped: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new(hmac_sha256(self.0.substitute_secret.as_slice(), wrapped));
        if let Ok(unwrapped) = self.decrypt_oaep_sha256(wrapped)
            && unwrapped.len() == key.len()
        {
            key.copy_from_slice(&unwrapped);
        }
        key
    }

    fn count(&self, operation: Operation) {
        operation.count(self.0.public.bits());
    }

    /// Seeds the blinding of one operation without a random source: secret, and another for
    /// each input.
    fn blinding(&self, input: &[u8]) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(hmac_sha256(self.0.blinding_secret.as_slice(), input))
    }
}

impl PublicKey {
    /// Puts together what a provider parsed and [`crate::key_der`] checked.
    pub(crate) fn assemble(
        rsa: Box<dyn RsaPublic>,
        provider: &'static dyn Provider,
        spki: &[u8],
        bits: usize,
    ) -> Self {
        let thumbprint = Thumbprint::of(spki);
        let spki = spki.to_vec();
        Self(Arc::new(PublicParts {
            rsa,
            provider,
            spki,
            bits,
            thumbprint,
        }))
    }

    /// The DER of the SubjectPublicKeyInfo (RFC 5280, section 4.1).
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.0.spki
    }

    /// Length of the modulus in bits.
    #[must_use]
    pub fn bits(&self) -> usize {
        self.0.bits
    }

    /// The provider that parsed this key and works with it.
    #[must_use]
    pub fn provider(&self) -> &'static dyn Provider {
        self.0.provider
    }

    /// SHA-256 of [`Self::spki_der`].
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        self.0.thumbprint
    }

    /// Verifies a `PS256` signature; the salt must have 32 bytes.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify_pss_sha256(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        self.verify_pss_digest(&sha256(message), signature)
    }

    /// As [`Self::verify_pss_sha256`], for a message of which only the SHA-256 was kept.
    pub(crate) fn verify_pss_digest(
        &self,
        digest: &[u8; 32],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        Operation::VerifyPss.count(self.bits());
        self.0.rsa.verify_pss(digest, signature)
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
        Operation::EncryptOaep.count(self.bits());
        self.0.rsa.encrypt_oaep(rng, plaintext)
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

#[cfg(all(test, feature = "aws-lc-rs"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng as _;

    use super::*;
    use crate::aws_lc;

    #[test]
    fn a_failed_unwrap_goes_on_with_a_key_that_nobody_can_foresee() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut make = || aws_lc().generate_rsa(&mut rng, RsaBits::B2048).unwrap();
        let (key, other) = (make(), make());
        let forged = [1; 256];
        let substitute = key.unwrap_content_key(&forged);
        assert_eq!(
            substitute,
            key.unwrap_content_key(&forged),
            "no oracle by trying twice"
        );
        assert_ne!(substitute, key.unwrap_content_key(&[2; 256]));
        assert_ne!(substitute, other.unwrap_content_key(&forged));
        for wrong_size in [16, 31, 33, 48] {
            let known = vec![7; wrong_size];
            let wrapped = key
                .public_key()
                .encrypt_oaep_sha256(&mut rng, &known)
                .unwrap();
            let unwrapped = key.unwrap_content_key(&wrapped);
            assert_ne!(unwrapped.get(..16), known.get(..16), "{wrong_size}");
        }
        let wrapped = key
            .public_key()
            .encrypt_oaep_sha256(&mut rng, &[7; 32])
            .unwrap();
        assert_eq!(*key.unwrap_content_key(&wrapped), [7; 32]);
    }
}
