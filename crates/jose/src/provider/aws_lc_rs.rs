//! AWS-LC through `aws-lc-rs`. It draws its own randomness for keys, PSS and OAEP.

use std::sync::OnceLock;

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeyPair, KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey,
};
use aws_lc_rs::signature::{
    KeyPair as _, ParsedPublicKey, RSA_PKCS1_SHA256, RSA_PSS_2048_8192_SHA256, RSA_PSS_SHA256,
    RsaEncoding,
};
use zeroize::Zeroizing;

use super::{Provider, RsaPrivate, RsaPublic};
use crate::key_der::{check_pkcs8, check_spki};
use crate::{
    BadSignature, KeyError, OperationError, PrivateKey, PublicKey, Random, RsaBits, Unopened,
};

const TAG_BYTES: usize = 16;

#[derive(Debug)]
pub(super) struct AwsLcRs;

impl Provider for AwsLcRs {
    fn name(&self) -> &'static str {
        "aws-lc-rs"
    }

    fn generate_rsa(&self, _rng: Random<'_>, bits: RsaBits) -> Result<PrivateKey, KeyError> {
        let size = match bits {
            RsaBits::B2048 => KeySize::Rsa2048,
            RsaBits::B3072 => KeySize::Rsa3072,
        };
        let pair = KeyPair::generate(size).map_err(|_| KeyError::Generation)?;
        let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyError::Generation)?;
        let pkcs8 = Zeroizing::new(der.as_ref().to_vec());
        self.assemble(pair, pkcs8)
    }

    fn private_key_from_pkcs8(&self, der: &[u8]) -> Result<PrivateKey, KeyError> {
        check_pkcs8(der)?;
        let pair = KeyPair::from_pkcs8(der).map_err(|_| KeyError::Inconsistent)?;
        self.assemble(pair, Zeroizing::new(der.to_vec()))
    }

    fn public_key_from_spki(&self, der: &[u8]) -> Result<PublicKey, KeyError> {
        let checked = check_spki(der)?;
        let verifying = ParsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, checked.pkcs1)
            .map_err(|_| KeyError::Inconsistent)?;
        let rsa = Public {
            verifying,
            encrypting: OnceLock::new(),
            spki: der.into(),
        };
        Ok(PublicKey::assemble(
            Box::new(rsa),
            &AwsLcRs,
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
        let mut sealed = vec![0; plaintext.len().saturating_add(TAG_BYTES)];
        let (ciphertext, tag) = sealed.split_at_mut(plaintext.len());
        aes_256_gcm(key)
            .and_then(|aes| {
                let nonce = Nonce::assume_unique_for_key(*iv);
                let aad = Aad::from(aad);
                aes.seal_out_of_place_scatter(nonce, aad, plaintext, ciphertext, &[], tag)
            })
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
        let (ciphertext, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(Unopened)?;
        let mut plaintext = Zeroizing::new(vec![0; ciphertext.len()]);
        aes_256_gcm(key)
            .and_then(|aes| {
                let nonce = Nonce::assume_unique_for_key(*iv);
                aes.open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, &mut plaintext)
            })
            .map_err(|_| Unopened)?;
        Ok(plaintext)
    }
}

impl AwsLcRs {
    fn assemble(&self, pair: KeyPair, pkcs8: Zeroizing<Vec<u8>>) -> Result<PrivateKey, KeyError> {
        let spki: PublicKeyX509Der<'_> = pair
            .public_key()
            .as_der()
            .map_err(|_| KeyError::Malformed)?;
        let public = self.public_key_from_spki(spki.as_ref())?;
        let rsa = Private {
            pair,
            decrypting: OnceLock::new(),
        };
        Ok(PrivateKey::assemble(Box::new(rsa), public, pkcs8))
    }
}

fn aes_256_gcm(key: &[u8; 32]) -> Result<LessSafeKey, aws_lc_rs::error::Unspecified> {
    Ok(LessSafeKey::new(UnboundKey::new(&aead::AES_256_GCM, key)?))
}

/// A certificate allows either signing or decrypting, so the second form is parsed on demand.
struct Private {
    pair: KeyPair,
    decrypting: OnceLock<OaepPrivateDecryptingKey>,
}

impl Private {
    fn sign(
        &self,
        encoding: &'static dyn RsaEncoding,
        digest: &[u8; 32],
    ) -> Result<Vec<u8>, OperationError> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        Digest::import_less_safe(digest, &SHA256)
            .and_then(|digest| self.pair.sign_digest(encoding, &digest, &mut signature))
            .map_err(|_| OperationError::Sign)?;
        Ok(signature)
    }

    fn decrypting(&self) -> Result<&OaepPrivateDecryptingKey, Unopened> {
        held(&self.decrypting, || {
            let der: Pkcs8V1Der<'_> = self.pair.as_der().ok()?;
            let key = PrivateDecryptingKey::from_pkcs8(der.as_ref()).ok()?;
            OaepPrivateDecryptingKey::new(key).ok()
        })
        .ok_or(Unopened)
    }
}

impl RsaPrivate for Private {
    fn sign_pss(&self, _rng: Random<'_>, digest: &[u8; 32]) -> Result<Vec<u8>, OperationError> {
        self.sign(&RSA_PSS_SHA256, digest)
    }

    fn sign_pkcs1(
        &self,
        _blinding: &[u8; 32],
        digest: &[u8; 32],
    ) -> Result<Vec<u8>, OperationError> {
        self.sign(&RSA_PKCS1_SHA256, digest)
    }

    fn decrypt_oaep(
        &self,
        _blinding: &[u8; 32],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        let key = self.decrypting()?;
        let mut plaintext = Zeroizing::new(vec![0; key.min_output_size()]);
        let length = key
            .decrypt(&OAEP_SHA256_MGF1SHA256, ciphertext, &mut plaintext, None)
            .map_err(|_| Unopened)?
            .len();
        plaintext.truncate(length);
        Ok(plaintext)
    }
}

/// As with [`Private`], the encrypting form is parsed on demand.
struct Public {
    verifying: ParsedPublicKey,
    encrypting: OnceLock<OaepPublicEncryptingKey>,
    spki: Box<[u8]>,
}

impl RsaPublic for Public {
    fn verify_pss(&self, digest: &[u8; 32], signature: &[u8]) -> Result<(), BadSignature> {
        Digest::import_less_safe(digest, &SHA256)
            .and_then(|digest| self.verifying.verify_digest_sig(&digest, signature))
            .map_err(|_| BadSignature)
    }

    fn encrypt_oaep(&self, _rng: Random<'_>, plaintext: &[u8]) -> Result<Vec<u8>, OperationError> {
        let key = held(&self.encrypting, || {
            OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&self.spki).ok()?).ok()
        })
        .ok_or(OperationError::Encrypt)?;
        let mut ciphertext = vec![0; key.ciphertext_size()];
        key.encrypt(&OAEP_SHA256_MGF1SHA256, plaintext, &mut ciphertext, None)
            .map_err(|_| OperationError::Encrypt)?;
        Ok(ciphertext)
    }
}

fn held<T>(cell: &OnceLock<T>, parse: impl FnOnce() -> Option<T>) -> Option<&T> {
    if cell.get().is_none() {
        // Two threads may both parse at first; one result is kept.
        let _ = cell.set(parse()?);
    }
    cell.get()
}
