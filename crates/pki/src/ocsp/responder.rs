//! Answers in the name of a CA.

use openset_jose::PrivateKey;
use x509_cert::der::asn1::{Any, BitString, Null, ObjectIdentifier, OctetString};
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::CrlReason;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{
    AsResponseBytes as _, BasicOcspResponse, CertStatus, OcspResponse, ResponderId, ResponseData,
    RevokedInfo, SingleResponse, Version,
};

use super::{Request, Status, names_issuer, nonce_extension, responder_key_hash, to_time};
use crate::authority::{IssueError, RevocationReason};
use crate::{Certificate, Purpose};

const SHA256_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");

/// A delegated responder of one CA.
#[derive(Clone, Debug)]
pub struct Responder {
    issuer: Certificate,
    certificate: Certificate,
    key: PrivateKey,
}

/// Why a responder does not answer (RFC 6960 section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request cannot be read.
    MalformedRequest,
    /// The responder failed.
    InternalError,
    /// The responder cannot answer now.
    TryLater,
    /// The responder does not answer for this CA.
    Unauthorized,
}

impl Responder {
    /// The responder of the CA `issuer`, which issued `certificate` for `key`.
    pub fn new(
        issuer: Certificate,
        certificate: Certificate,
        key: PrivateKey,
    ) -> Result<Self, IssueError> {
        let delegated = certificate.purpose() == Purpose::OcspSigning
            && certificate.role() == issuer.role()
            && certificate.issuer_der() == issuer.subject_der()
            && issuer.is_authority();
        if !delegated {
            return Err(IssueError::NotAnAuthority(
                certificate.role(),
                certificate.purpose(),
            ));
        }
        if key.public_key() != certificate.public_key() {
            return Err(IssueError::KeyMismatch);
        }
        Ok(Self {
            issuer,
            certificate,
            key,
        })
    }

    /// The responder's certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Answers a request: `status_of` tells of a serial number, as [`Request::serials_of`] gives it. Certificates of
    /// other CAs are unknown. The answer is good from `this_update` until just before `next_update` and repeats the
    /// request's nonce.
    pub fn respond(
        &self,
        request: &Request,
        status_of: impl Fn(&[u8]) -> Status,
        this_update: i64,
        next_update: i64,
    ) -> Result<Vec<u8>, IssueError> {
        if next_update <= this_update {
            return Err(IssueError::Dates);
        }
        let time = |seconds| to_time(seconds).ok_or(IssueError::Dates);
        let mut responses = Vec::with_capacity(request.ids.len());
        for id in &request.ids {
            let status = match names_issuer(id, &self.issuer) {
                Some(true) => status_of(id.serial_number.as_bytes()),
                _ => Status::Unknown,
            };
            responses.push(SingleResponse {
                cert_id: id.clone(),
                cert_status: cert_status(status)?,
                this_update: time(this_update)?,
                next_update: Some(time(next_update)?),
                single_extensions: None,
            });
        }
        let key_hash = responder_key_hash(&self.certificate).ok_or(IssueError::PublicKey)?;
        let nonce = match &request.nonce {
            Some(nonce) => Some(vec![nonce_extension(nonce).ok_or(IssueError::Dates)?]),
            None => None,
        };
        let data = ResponseData {
            version: Version::V1,
            responder_id: ResponderId::ByKey(OctetString::new(key_hash)?),
            produced_at: time(this_update)?,
            responses,
            response_extensions: nonce,
        };
        let signature = self
            .key
            .sign_pkcs1_sha256(&data.to_der()?)
            .map_err(|error| IssueError::Library(error.to_string()))?;
        let response = BasicOcspResponse {
            tbs_response_data: data,
            signature_algorithm: AlgorithmIdentifierOwned {
                oid: SHA256_WITH_RSA,
                parameters: Some(Any::from(Null)),
            },
            signature: BitString::from_bytes(&signature)?,
            certs: Some(vec![x509_cert::Certificate::from_der(
                self.certificate.der(),
            )?]),
        };
        let bytes = response.to_response_bytes()?;
        let whole = OcspResponse {
            response_status: x509_ocsp::OcspResponseStatus::Successful,
            response_bytes: Some(bytes),
        };
        Ok(whole.to_der()?)
    }
}

/// The unsigned answer that there is none.
pub fn refusal(refusal: Refusal) -> Vec<u8> {
    // ENUMERATED in a SEQUENCE: five bytes that always look the same but for the last.
    let code = match refusal {
        Refusal::MalformedRequest => 1,
        Refusal::InternalError => 2,
        Refusal::TryLater => 3,
        Refusal::Unauthorized => 6,
    };
    vec![0x30, 3, 0x0a, 1, code]
}

fn cert_status(status: Status) -> Result<CertStatus, IssueError> {
    Ok(match status {
        Status::Good => CertStatus::good(),
        Status::Unknown => CertStatus::unknown(),
        Status::Revoked { at, reason } => CertStatus::revoked(RevokedInfo {
            revocation_time: to_time(at).ok_or(IssueError::Dates)?,
            revocation_reason: crl_reason(reason),
        }),
    })
}

/// No reason given is no reason written (RFC 5280 section 5.3.1).
fn crl_reason(reason: RevocationReason) -> Option<CrlReason> {
    match reason {
        RevocationReason::Unspecified => None,
        RevocationReason::KeyCompromise => Some(CrlReason::KeyCompromise),
        RevocationReason::CaCompromise => Some(CrlReason::CaCompromise),
        RevocationReason::AffiliationChanged => Some(CrlReason::AffiliationChanged),
        RevocationReason::Superseded => Some(CrlReason::Superseded),
        RevocationReason::CessationOfOperation => Some(CrlReason::CessationOfOperation),
        RevocationReason::PrivilegeWithdrawn => Some(CrlReason::PrivilegeWithdrawn),
    }
}

impl From<x509_cert::der::Error> for IssueError {
    fn from(error: x509_cert::der::Error) -> Self {
        Self::Library(error.to_string())
    }
}
