//! RustCrypto: `rsa`, `sha2`, `aes-gcm`. All its randomness comes from the caller.

use aes_gcm::aead::{AeadInOut as _, KeyInit as _};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;
use rsa::pkcs1::{DecodeRsaPrivateKey as _, DecodeRsaPublicKey as _, EncodeRsaPrivateKey as _};
use rsa::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use rsa::{Oaep, Pkcs1v15Sign, Pss, RsaPrivateKey, RsaPublicKey};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{Provider, RsaPrivate, RsaPublic};
use crate::key_der::{check_pkcs8, check_spki};
use crate::{
    BadSignature, KeyError, OperationError, PrivateKey, PublicKey, Random, RsaBits, Unopened,
};

const TAG_BYTES: usize = 16;
/// RFC 7518, section 3.5: "The size of the salt value is the same size as the hash".
const SALT_BYTES: usize = 32;

#[derive(Debug)]
pub(super) struct RustCrypto;

impl Provider for RustCrypto {
    fn name(&self) -> &'static str {
        "rustcrypto"
    }

    fn generate_rsa(&self, rng: Random<'_>, bits: RsaBits) -> Result<PrivateKey, KeyError> {
        let bits = match bits {
            RsaBits::B2048 => 2048,
            RsaBits::B3072 => 3072,
        };
        let key = RsaPrivateKey::new(rng, bits).map_err(|_| KeyError::Generation)?;
        let der = key.to_pkcs8_der().map_err(|_| KeyError::Generation)?;
        self.assemble(key, der.to_bytes())
    }

    fn private_key_from_pkcs8(&self, der: &[u8]) -> Result<PrivateKey, KeyError> {
        let pkcs1 = check_pkcs8(der)?;
        let key = RsaPrivateKey::from_pkcs1_der(pkcs1).map_err(|_| KeyError::Inconsistent)?;
        key.validate().map_err(|_| KeyError::Inconsistent)?;
        // `rsa` computes the CRT numbers anew and never looks at those that it was given.
        let again = key.to_pkcs1_der().map_err(|_| KeyError::Inconsistent)?;
        if !bool::from(again.as_bytes().ct_eq(pkcs1)) {
            return Err(KeyError::Inconsistent);
        }
        self.assemble(key, Zeroizing::new(der.to_vec()))
    }

    fn public_key_from_spki(&self, der: &[u8]) -> Result<PublicKey, KeyError> {
        let checked = check_spki(der)?;
        let key =
            RsaPublicKey::from_pkcs1_der(checked.pkcs1).map_err(|_| KeyError::Inconsistent)?;
        Ok(PublicKey::assemble(
            Box::new(Public(key)),
            &RustCrypto,
            der,
            checked.bits,
        ))
    }

    fn seal_aes_256_gcm(
        &self,
        key: &[u8; 32],
        iv: &[u8; 12],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, OperationError> {
        let mut sealed = Vec::with_capacity(plaintext.len().saturating_add(TAG_BYTES));
        sealed.extend_from_slice(plaintext);
        Aes256Gcm::new(&Key::<Aes256Gcm>::from(*key))
            .encrypt_in_place(&Nonce::from(*iv), aad, &mut sealed)
            .map_err(|_| OperationError::Seal)?;
        Ok(sealed)
    }

    fn open_aes_256_gcm(
        &self,
        key: &[u8; 32],
        iv: &[u8; 12],
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        let mut plaintext = Zeroizing::new(sealed.to_vec());
        Aes256Gcm::new(&Key::<Aes256Gcm>::from(*key))
            .decrypt_in_place(&Nonce::from(*iv), aad, &mut *plaintext)
            .map_err(|_| Unopened)?;
        Ok(plaintext)
    }
}

impl RustCrypto {
    fn assemble(
        &self,
        key: RsaPrivateKey,
        pkcs8: Zeroizing<Vec<u8>>,
    ) -> Result<PrivateKey, KeyError> {
        let spki = key
            .as_public_key()
            .to_public_key_der()
            .map_err(|_| KeyError::Malformed)?;
        let public = self.public_key_from_spki(spki.as_bytes())?;
        Ok(PrivateKey::assemble(Box::new(Private(key)), public, pkcs8))
    }
}

struct Private(RsaPrivateKey);

impl RsaPrivate for Private {
    fn sign_pss(&self, rng: Random<'_>, digest: &[u8; 32]) -> Result<Vec<u8>, OperationError> {
        self.0
            .sign_with_rng(rng, Pss::<Sha256>::new_with_salt(SALT_BYTES), digest)
            .map_err(|_| OperationError::Sign)
    }

    fn sign_pkcs1(
        &self,
        blinding: &[u8; 32],
        digest: &[u8; 32],
    ) -> Result<Vec<u8>, OperationError> {
        self.0
            .sign_with_rng(
                &mut blinding_source(blinding),
                Pkcs1v15Sign::new::<Sha256>(),
                digest,
            )
            .map_err(|_| OperationError::Sign)
    }

    fn decrypt_oaep(
        &self,
        blinding: &[u8; 32],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        self.0
            .decrypt_blinded(
                &mut blinding_source(blinding),
                Oaep::<Sha256>::new(),
                ciphertext,
            )
            .map(Zeroizing::new)
            .map_err(|_| Unopened)
    }
}

fn blinding_source(seed: &[u8; 32]) -> ChaCha20Rng {
    ChaCha20Rng::from_seed(*seed)
}

struct Public(RsaPublicKey);

impl RsaPublic for Public {
    fn verify_pss(&self, digest: &[u8; 32], signature: &[u8]) -> Result<(), BadSignature> {
        self.0
            .verify(Pss::<Sha256>::new_with_salt(SALT_BYTES), digest, signature)
            .map_err(|_| BadSignature)
    }

    fn encrypt_oaep(&self, rng: Random<'_>, plaintext: &[u8]) -> Result<Vec<u8>, OperationError> {
        self.0
            .encrypt(rng, Oaep::<Sha256>::new(), plaintext)
            .map_err(|_| OperationError::Encrypt)
    }
}
