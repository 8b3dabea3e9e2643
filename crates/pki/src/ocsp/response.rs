//! What is answered.

use std::fmt;
use std::sync::Arc;

use openset_jose::Thumbprint;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _, Tag, Tagged as _};
use x509_ocsp::{
    BasicOcspResponse, CertStatus, OcspResponse, OcspResponseStatus, ResponderId, SingleResponse,
};

use super::{
    OCSP_BYTES_MAX, OCSP_CERTIFICATES_MAX, OcspWindow, names_issuer, read_nonce,
    responder_key_hash, to_seconds,
};
use crate::der::{self, Reader};
use crate::{CHAIN_LENGTH_MAX, Certificate, CertificateError};

const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
const SHA256_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");

/// A response that was read; clones share it. It says nothing before [`crate::PathVerifier::check_ocsp`].
#[derive(Clone)]
pub struct Response(Arc<Fields>);

struct Fields {
    der: Vec<u8>,
    thumbprint: Thumbprint,
    /// What is signed, as it came.
    tbs: Vec<u8>,
    signature: Vec<u8>,
    responder: Certificate,
    /// Whether the responder's certificate is the one that the response names.
    names_responder: bool,
    nonce: Option<Vec<u8>>,
    lines: Vec<SingleResponse>,
}

/// What a response says of one certificate.
pub(crate) enum Line {
    Good(OcspWindow),
    Revoked(OcspWindow),
    Unknown(OcspWindow),
}

/// Which certificate a response is about.
pub(crate) enum About {
    /// The one asked for.
    It(Line),
    /// One with the same number, of another CA.
    AnotherIssuer,
    /// None with that number.
    Another,
}

/// Why bytes are not an OCSP request or response of the profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OcspError {
    /// More bytes than [`OCSP_BYTES_MAX`].
    #[error("an OCSP message has at most {OCSP_BYTES_MAX} bytes")]
    TooLarge,
    /// Not one OCSP message in DER.
    #[error("expected one OCSP message in DER and nothing after it")]
    Malformed,
    /// The responder answered that it has no answer.
    #[error("the OCSP responder refuses: {0}")]
    Refused(&'static str),
    /// Another kind of response than the basic one.
    #[error("only basic OCSP responses are understood")]
    Kind,
    /// Another signature algorithm than RSA PKCS#1 v1.5 with SHA-256.
    #[error("OCSP responses are signed with sha256WithRSAEncryption alone")]
    SignatureAlgorithm,
    /// A critical extension that is not known here, or a nonce that is none.
    #[error("the OCSP message has an extension that is critical and unknown, or no nonce")]
    CriticalExtension,
    /// No nextUpdate: the response would be good for ever.
    #[error("an OCSP response needs a nextUpdate after its thisUpdate")]
    NextUpdate,
    /// The responder's certificate is not there.
    #[error("an OCSP response needs its responder's certificate")]
    NoResponder,
    /// The responder's certificate is not of the profile.
    #[error("the certificate of the OCSP responder breaks the profile")]
    Responder(#[from] CertificateError),
}

impl Response {
    /// Reads a response.
    pub fn from_der(der: &[u8]) -> Result<Self, OcspError> {
        if der.len() > OCSP_BYTES_MAX {
            return Err(OcspError::TooLarge);
        }
        let outer = OcspResponse::from_der(der).map_err(|_| OcspError::Malformed)?;
        check_answered(outer.response_status)?;
        let bytes = outer.response_bytes.ok_or(OcspError::Malformed)?;
        if bytes.response_type != BASIC {
            return Err(OcspError::Kind);
        }
        let inner = bytes.response.as_bytes();
        let basic = BasicOcspResponse::from_der(inner).map_err(|_| OcspError::Malformed)?;
        let algorithm = &basic.signature_algorithm;
        let null = |parameters: &x509_cert::der::Any| {
            parameters.tag() == Tag::Null && parameters.value().is_empty()
        };
        if algorithm.oid != SHA256_WITH_RSA || !algorithm.parameters.as_ref().is_some_and(null) {
            return Err(OcspError::SignatureAlgorithm);
        }
        let signature = basic.signature.as_bytes().ok_or(OcspError::Malformed)?;
        let tbs = Reader::new(inner)
            .read(der::SEQUENCE)
            .and_then(|content| Reader::new(content).read_whole(der::SEQUENCE))
            .ok_or(OcspError::Malformed)?;
        let data = basic.tbs_response_data;
        check_lines(&data.responses)?;
        let nonce = read_nonce(data.response_extensions.as_ref());
        let responder = responder(&basic.certs.unwrap_or_default())?;
        let names_responder = match &data.responder_id {
            ResponderId::ByKey(hash) => {
                responder_key_hash(&responder).as_deref() == Some(hash.as_bytes())
            }
            ResponderId::ByName(name) => {
                name.to_der().ok().as_deref() == Some(responder.subject_der())
            }
        };
        Ok(Self(Arc::new(Fields {
            der: der.to_vec(),
            thumbprint: Thumbprint::of(der),
            tbs: tbs.to_vec(),
            signature: signature.to_vec(),
            names_responder,
            responder,
            nonce: nonce.map_err(|()| OcspError::CriticalExtension)?,
            lines: data.responses,
        })))
    }

    /// The DER, as it was read.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// The certificate of whoever answered.
    pub fn responder(&self) -> &Certificate {
        &self.0.responder
    }

    pub(crate) fn thumbprint(&self) -> Thumbprint {
        self.0.thumbprint
    }

    pub(crate) fn names_its_responder(&self) -> bool {
        self.0.names_responder
    }

    pub(crate) fn nonce(&self) -> Option<&[u8]> {
        self.0.nonce.as_deref()
    }

    /// What is signed, and the signature.
    pub(crate) fn signed_parts(&self) -> (&[u8], &[u8]) {
        (&self.0.tbs, &self.0.signature)
    }

    /// What it says of a certificate that `issuer` issued.
    pub(crate) fn about(&self, subject: &Certificate, issuer: &Certificate) -> About {
        let mut found = About::Another;
        for line in &self.0.lines {
            if line.cert_id.serial_number.as_bytes() != subject.serial() {
                continue;
            }
            if names_issuer(&line.cert_id, issuer) == Some(true) {
                return About::It(Line::of(line));
            }
            found = About::AnotherIssuer;
        }
        found
    }
}

impl Line {
    fn of(line: &SingleResponse) -> Self {
        let window = OcspWindow {
            this_update: to_seconds(line.this_update),
            next_update: line.next_update.map_or(i64::MIN, to_seconds),
        };
        match line.cert_status {
            CertStatus::Good(_) => Self::Good(window),
            CertStatus::Revoked(_) => Self::Revoked(window),
            CertStatus::Unknown(_) => Self::Unknown(window),
        }
    }

    pub(crate) fn window(&self) -> OcspWindow {
        match self {
            Self::Good(window) | Self::Revoked(window) | Self::Unknown(window) => *window,
        }
    }
}

fn check_answered(status: OcspResponseStatus) -> Result<(), OcspError> {
    Err(OcspError::Refused(match status {
        OcspResponseStatus::Successful => return Ok(()),
        OcspResponseStatus::MalformedRequest => "it cannot read the request",
        OcspResponseStatus::InternalError => "it failed",
        OcspResponseStatus::TryLater => "it asks to try later",
        OcspResponseStatus::SigRequired => "it wants a signed request",
        OcspResponseStatus::Unauthorized => "it does not answer for this CA",
    }))
}

fn check_lines(lines: &[SingleResponse]) -> Result<(), OcspError> {
    if !(1..=OCSP_CERTIFICATES_MAX).contains(&lines.len()) {
        return Err(OcspError::Malformed);
    }
    for line in lines {
        let this_update = to_seconds(line.this_update);
        if line
            .next_update
            .is_none_or(|next| to_seconds(next) <= this_update)
        {
            return Err(OcspError::NextUpdate);
        }
        let extensions = line.single_extensions.iter().flatten();
        if extensions.into_iter().any(|extension| extension.critical) {
            return Err(OcspError::CriticalExtension);
        }
    }
    Ok(())
}

/// The responder's certificate is the first one.
fn responder(certificates: &[x509_cert::Certificate]) -> Result<Certificate, OcspError> {
    if certificates.len() > CHAIN_LENGTH_MAX {
        return Err(OcspError::Malformed);
    }
    let first = certificates.first().ok_or(OcspError::NoResponder)?;
    let der = first.to_der().map_err(|_| OcspError::Malformed)?;
    Ok(Certificate::from_der(&der)?)
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("responder", &self.0.responder)
            .field("lines", &self.0.lines.len())
            .finish_non_exhaustive()
    }
}
