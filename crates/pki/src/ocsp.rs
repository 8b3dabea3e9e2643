//! OCSP (RFC 6960): asks whether one certificate is revoked, and answers with a delegated responder's signature.
//!
//! Requests may name certificates by SHA-1 or SHA-256 hashes of their issuer; ours use SHA-256. A response carries
//! the certificate of its responder, which the CA issued itself. What a [`Response`] is worth only
//! [`crate::PathVerifier::check_ocsp`] finds out.

mod request;
mod responder;
mod response;

use std::time::Duration;

use aws_lc_rs::digest;
use x509_cert::der::asn1::{GeneralizedTime, ObjectIdentifier, OctetString};
use x509_cert::der::{Decode as _, Encode as _, Tag, Tagged as _};
use x509_cert::ext::{Extension, Extensions};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::ext::Nonce;
use x509_ocsp::{CertId, OcspGeneralizedTime};

use crate::Certificate;
use crate::authority::RevocationReason;
use crate::signature::key_bits;

pub use request::{Request, request};
pub use responder::{Refusal, Responder, refusal};
pub(crate) use response::{About, Line};
pub use response::{OcspError, Response};

/// The most bytes that a request or a response has.
pub const OCSP_BYTES_MAX: usize = 16 * 1024;
/// The most certificates that one request asks about.
pub const OCSP_CERTIFICATES_MAX: usize = 16;
/// The longest nonce (RFC 9654 section 2.1).
pub const OCSP_NONCE_BYTES_MAX: usize = 128;

const SHA_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");

/// What a responder says of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was issued and is not revoked.
    Good,
    /// It is revoked.
    Revoked {
        /// Since when, in seconds since 1970.
        at: i64,
        /// Why.
        reason: RevocationReason,
    },
    /// The CA did not issue it.
    Unknown,
}

/// While a response is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OcspWindow {
    /// When the status was known to be right.
    pub this_update: i64,
    /// When it stops being good.
    pub next_update: i64,
}

/// The hashes by which a request may name an issuer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IssuerHash {
    Sha1,
    Sha256,
}

impl IssuerHash {
    fn of(algorithm: &AlgorithmIdentifierOwned) -> Option<Self> {
        let parameters = algorithm.parameters.as_ref();
        if parameters.is_some_and(|parameters| parameters.tag() != Tag::Null) {
            return None;
        }
        match algorithm.oid {
            SHA_1 => Some(Self::Sha1),
            SHA_256 => Some(Self::Sha256),
            _ => None,
        }
    }

    fn hash(self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
        };
        digest::digest(algorithm, bytes).as_ref().to_vec()
    }
}

/// Whether the CertID names this issuer; None for a hash that is not known here.
fn names_issuer(id: &CertId, issuer: &Certificate) -> Option<bool> {
    let hash = IssuerHash::of(&id.hash_algorithm)?;
    let key = key_bits(issuer.public_key().spki_der())?;
    Some(
        id.issuer_name_hash.as_bytes() == hash.hash(issuer.subject_der())
            && id.issuer_key_hash.as_bytes() == hash.hash(&key),
    )
}

/// The CertID of a certificate, with SHA-256.
fn cert_id(issuer: &Certificate, serial: &[u8]) -> Option<CertId> {
    let key = key_bits(issuer.public_key().spki_der())?;
    let hashed = |bytes| OctetString::new(IssuerHash::Sha256.hash(bytes)).ok();
    Some(CertId {
        hash_algorithm: AlgorithmIdentifierOwned {
            oid: SHA_256,
            parameters: None,
        },
        issuer_name_hash: hashed(issuer.subject_der())?,
        issuer_key_hash: hashed(&key)?,
        serial_number: SerialNumber::new(serial).ok()?,
    })
}

/// The SHA-1 of a certificate's key, by which a response names its responder.
fn responder_key_hash(certificate: &Certificate) -> Option<Vec<u8>> {
    let key = key_bits(certificate.public_key().spki_der())?;
    Some(IssuerHash::Sha1.hash(&key))
}

fn nonce_extension(nonce: &[u8]) -> Option<Extension> {
    let nonce = Nonce::new(nonce).ok()?.to_der().ok()?;
    Some(Extension {
        extn_id: NONCE,
        critical: false,
        extn_value: OctetString::new(nonce).ok()?,
    })
}

/// The nonce among extensions none of which stands there twice and none of which is critical but unknown here; the
/// error stands for anything else.
fn read_nonce(extensions: Option<&Extensions>) -> Result<Option<Vec<u8>>, ()> {
    let mut nonce = None;
    for extension in extensions.into_iter().flatten() {
        if extension.extn_id == NONCE {
            let read = Nonce::from_der(extension.extn_value.as_bytes()).map_err(|_| ())?;
            let bytes = read.0.as_bytes();
            let fits = (1..=OCSP_NONCE_BYTES_MAX).contains(&bytes.len());
            if !fits || nonce.replace(bytes.to_vec()).is_some() {
                return Err(());
            }
        } else if extension.critical {
            return Err(());
        }
    }
    Ok(nonce)
}

fn to_time(seconds: i64) -> Option<OcspGeneralizedTime> {
    let duration = Duration::from_secs(u64::try_from(seconds).ok()?);
    Some(OcspGeneralizedTime(
        GeneralizedTime::from_unix_duration(duration).ok()?,
    ))
}

fn to_seconds(time: OcspGeneralizedTime) -> i64 {
    i64::try_from(time.0.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
}
