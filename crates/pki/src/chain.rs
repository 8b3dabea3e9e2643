//! A certificate with the certificates of the CAs above it.

use std::sync::Arc;

use crate::{Certificate, CertificateError, Role};

/// The most certificates in a chain.
pub const CHAIN_LENGTH_MAX: usize = 6;

/// A chain: the leaf first, then the CA that issued it, and so on; the root is never inside. Clones share it.
///
/// That the links belong together is for [`crate::PathVerifier`] to find out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain(Arc<[Certificate]>);

impl Chain {
    /// Takes 1 to [`CHAIN_LENGTH_MAX`] certificates, leaf first, as a chain.
    pub fn new(certificates: Vec<Certificate>) -> Result<Self, CertificateError> {
        if certificates.is_empty() {
            return Err(CertificateError::EmptyChain);
        }
        if certificates.len() > CHAIN_LENGTH_MAX {
            return Err(CertificateError::ChainTooLong);
        }
        if certificates
            .iter()
            .any(|certificate| certificate.role() == Role::RootCa)
        {
            return Err(CertificateError::RootInChain);
        }
        Ok(Self(certificates.into()))
    }

    /// Reads the DER certificates of an `x5c` header.
    pub fn from_x5c(x5c: &[Vec<u8>]) -> Result<Self, CertificateError> {
        let (leaf, authorities) = x5c.split_first().ok_or(CertificateError::EmptyChain)?;
        // Before any of it is read.
        if authorities.len() >= CHAIN_LENGTH_MAX {
            return Err(CertificateError::ChainTooLong);
        }
        Self::of(Certificate::from_der(leaf)?, authorities)
    }

    /// Reads the DER certificates that come after the leaf's in an `x5c` header.
    pub fn of(leaf: Certificate, authorities: &[Vec<u8>]) -> Result<Self, CertificateError> {
        if authorities.len() >= CHAIN_LENGTH_MAX {
            return Err(CertificateError::ChainTooLong);
        }
        let authorities = authorities.iter().map(|der| Certificate::from_der(der));
        let certificates = std::iter::once(Ok(leaf)).chain(authorities);
        Self::new(certificates.collect::<Result<_, _>>()?)
    }

    /// The DER certificates for an `x5c` header.
    pub fn to_x5c(&self) -> Vec<Vec<u8>> {
        self.0
            .iter()
            .map(|certificate| certificate.der().to_vec())
            .collect()
    }

    /// The first certificate: the one that the chain is for.
    pub fn leaf(&self) -> &Certificate {
        self.0
            .first()
            .expect("a chain has at least one certificate")
    }

    /// All certificates, leaf first.
    pub fn certificates(&self) -> &[Certificate] {
        &self.0
    }

    /// The certificates of the CAs above the leaf, from the leaf's issuer up.
    pub fn authorities(&self) -> &[Certificate] {
        self.0.get(1..).unwrap_or_default()
    }
}
