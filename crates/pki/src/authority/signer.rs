//! Our keys as rcgen wants them, so that no private key leaves the memory that wipes itself.

use openset_jose::{PrivateKey, PublicKey};
use rcgen::{PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};

use super::IssueError;
use crate::signature::key_bits;

/// A public key to certify.
pub(super) struct SubjectKey {
    bits: Vec<u8>,
}

impl SubjectKey {
    pub(super) fn new(key: &PublicKey) -> Result<Self, IssueError> {
        let bits = key_bits(key.spki_der()).ok_or(IssueError::PublicKey)?;
        Ok(Self { bits })
    }
}

impl PublicKeyData for SubjectKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bits
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

/// A private key that signs certificates and CRLs.
pub(super) struct Signer {
    key: PrivateKey,
    public: SubjectKey,
}

impl Signer {
    pub(super) fn new(key: &PrivateKey) -> Result<Self, IssueError> {
        Ok(Self {
            key: key.clone(),
            public: SubjectKey::new(key.public_key())?,
        })
    }
}

impl PublicKeyData for Signer {
    fn der_bytes(&self) -> &[u8] {
        self.public.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.public.algorithm()
    }
}

impl SigningKey for Signer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.key
            .sign_pkcs1_sha256(message)
            .map_err(|_| rcgen::Error::RemoteKeyError)
    }
}
