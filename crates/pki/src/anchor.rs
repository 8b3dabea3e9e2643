//! The root that a party is configured to trust.

use std::sync::Arc;

use openset_jose::{Thumbprint, sha256};
use rustls_pki_types::TrustAnchor as Anchor;

use crate::certificate::der_of_pem;
use crate::signature::SignatureCheck;
use crate::{Certificate, CertificateError, Role};

/// The root, known by the SHA-256 of its DER from outside the network.
#[derive(Clone, Debug)]
pub struct TrustAnchor {
    certificate: Certificate,
    anchor: Arc<Anchor<'static>>,
}

/// Why a certificate is not the root to trust.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnchorError {
    /// Another certificate than the one pinned.
    #[error(
        "the root's SHA-256 is {found}, not the one configured: get the right one from whoever runs the certificate authority, never from the network"
    )]
    Unpinned {
        /// The SHA-256 of the certificate, in hexadecimal.
        found: String,
    },
    /// Not a certificate of the profile.
    #[error("the root is not a certificate of the profile")]
    Certificate(#[from] CertificateError),
    /// Not a root's certificate.
    #[error("the pinned certificate belongs to a {0}: pin the root's")]
    NotARoot(Role),
    /// A root that did not sign itself.
    #[error("the root's certificate is not signed with its own key")]
    NotSelfSigned,
    /// A new root whose key the old one does not announce.
    #[error(
        "the new root's key is not the one whose digest the present root holds in hashedRootKey"
    )]
    NotTheSuccessor,
    /// Another certificate of a key that an accepted root has.
    #[error("a root's key has one certificate alone, and another one of this key was accepted")]
    SecondOfKey,
    /// A new root with the name of one that is held.
    #[error("two roots have one name: a new root needs a name of its own")]
    NameTaken,
}

impl TrustAnchor {
    /// Takes `der` as the root if `sha256` is its digest, and checks that it is a root that signed itself.
    pub fn pinned(der: &[u8], sha256: &[u8; 32]) -> Result<Self, AnchorError> {
        let found = self::sha256(der);
        if found != *sha256 {
            return Err(AnchorError::Unpinned {
                found: hex::encode(found),
            });
        }
        Self::self_signed(der)
    }

    /// As [`Self::pinned`], from PEM; `sha256` is still that of the DER inside.
    pub fn pinned_pem(pem: &str, sha256: &[u8; 32]) -> Result<Self, AnchorError> {
        Self::pinned(&der_of_pem(pem)?, sha256)
    }

    /// The root after this one, if its key is the one whose digest this one holds (set-reference section 1,
    /// root rollover).
    pub fn successor(&self, der: &[u8]) -> Result<Self, AnchorError> {
        let next = Self::self_signed(der)?;
        if !self.promises(&next) {
            return Err(AnchorError::NotTheSuccessor);
        }
        Ok(next)
    }

    /// Whether that root's key is the one whose digest this one holds.
    pub(crate) fn promises(&self, next: &Self) -> bool {
        self.certificate.hashed_root_key() == Some(next.certificate.key_thumbprint())
    }

    pub(crate) fn self_signed(der: &[u8]) -> Result<Self, AnchorError> {
        let certificate = Certificate::from_der(der)?;
        if certificate.role() != Role::RootCa {
            return Err(AnchorError::NotARoot(certificate.role()));
        }
        let names_itself = certificate.issuer_der() == certificate.subject_der();
        if !names_itself || !SignatureCheck::default().certificate(&certificate, &certificate) {
            return Err(AnchorError::NotSelfSigned);
        }
        let anchor = webpki::anchor_from_trusted_cert(certificate.as_pki_type())
            .map_err(|_| CertificateError::Malformed)?
            .to_owned();
        Ok(Self {
            certificate,
            anchor: Arc::new(anchor),
        })
    }

    /// The root's certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The SHA-256 of the root's DER.
    pub fn thumbprint(&self) -> Thumbprint {
        self.certificate.thumbprint()
    }

    pub(crate) fn as_pki_type(&self) -> &Anchor<'static> {
        &self.anchor
    }
}
