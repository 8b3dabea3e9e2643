//! PKCS#10 requests (RFC 2986): how a CA asks a root that is kept on another machine.

use openset_jose::{PrivateKey, PublicKey, default_provider};
use rcgen::CertificateParams;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

use super::signer::Signer;
use super::{IssueError, Subject};
use crate::name::Name;
use crate::reading::is_sha256_with_rsa;
use crate::signature::{SignatureCheck, key_bits};
use crate::{BrandId, CertificateError};

/// The most bytes that a request has.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// A request whose sender has the private key.
#[derive(Clone, Debug)]
pub struct CertificationRequest {
    public_key: PublicKey,
    subject: Subject,
}

/// Why bytes are not a request to be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificationRequestError {
    /// Not one PKCS#10 request.
    #[error(
        "expected one PKCS#10 request in DER of at most {REQUEST_BYTES_MAX} bytes and nothing after it"
    )]
    Malformed,
    /// A signature that is not of the key inside.
    #[error(
        "the request is not signed with the key that it names: its sender does not have that key"
    )]
    NotPossessed,
    /// Another algorithm than RSA PKCS#1 v1.5 with SHA-256, or a key that is not fit for it.
    #[error("requests are for RSA keys of 2048 bits and more, signed with sha256WithRSAEncryption")]
    Key,
    /// A name that cannot stand in a certificate.
    #[error("the request's name cannot stand in a certificate")]
    Name(#[from] CertificateError),
}

impl CertificationRequest {
    /// Writes a request for a key, signed with it.
    pub fn write(key: &PrivateKey, subject: &Subject) -> Result<Vec<u8>, IssueError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = subject.to_name()?;
        let request = params.serialize_request(&Signer::new(key)?)?;
        Ok(request.der().to_vec())
    }

    /// Reads a request and checks that its sender has the private key.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificationRequestError> {
        use CertificationRequestError::{Key, Malformed, NotPossessed};
        if der.len() > REQUEST_BYTES_MAX {
            return Err(Malformed);
        }
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| Malformed)?;
        if !rest.is_empty() {
            return Err(Malformed);
        }
        if !is_sha256_with_rsa(&request.signature_algorithm) {
            return Err(Key);
        }
        let info = &request.certification_request_info;
        let spki = info.subject_pki.raw;
        let public_key = default_provider()
            .public_key_from_spki(spki)
            .map_err(|_| Key)?;
        let bits = key_bits(spki).ok_or(Key)?;
        let signature = &request.signature_value.data;
        SignatureCheck::default()
            .by_key(&bits, info.raw, signature)
            .then_some(())
            .ok_or(NotPossessed)?;
        let name = Name::read(&info.subject)?;
        let brand = name.organization.map(BrandId::new).transpose();
        Ok(Self {
            public_key,
            subject: Subject {
                country: name.country,
                brand: brand.map_err(|_| CertificateError::Name("O is not the name of a brand"))?,
                organizational_unit: name.organizational_unit,
                common_name: name
                    .common_name
                    .ok_or(CertificateError::Name("it has no CN"))?,
            },
        })
    }

    /// The key to certify.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The name that is asked for.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }
}
