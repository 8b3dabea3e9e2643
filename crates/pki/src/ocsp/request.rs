//! What is asked.

use x509_cert::der::{Decode as _, Encode as _};
use x509_ocsp::{CertId, OcspRequest, TbsRequest, Version};

use super::{
    OCSP_BYTES_MAX, OCSP_CERTIFICATES_MAX, OcspError, cert_id, names_issuer, nonce_extension,
    read_nonce,
};
use crate::Certificate;

/// A request that was read. Whether it is signed does not matter: anybody may ask.
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) ids: Vec<CertId>,
    pub(super) nonce: Option<Vec<u8>>,
}

/// A request about one certificate. A nonce, 1 to [`super::OCSP_NONCE_BYTES_MAX`] bytes, asks for an answer made
/// for it.
///
/// # Errors
/// [`OcspError::Malformed`] for a nonce out of bounds.
pub fn request(
    subject: &Certificate,
    issuer: &Certificate,
    nonce: Option<&[u8]>,
) -> Result<Vec<u8>, OcspError> {
    let id = cert_id(issuer, subject.serial()).ok_or(OcspError::Malformed)?;
    let nonce = nonce
        .map(|nonce| nonce_extension(nonce).ok_or(OcspError::Malformed))
        .transpose()?;
    let request = OcspRequest {
        tbs_request: TbsRequest {
            version: Version::V1,
            requestor_name: None,
            request_list: vec![x509_ocsp::Request {
                req_cert: id,
                single_request_extensions: None,
            }],
            request_extensions: nonce.map(|nonce| vec![nonce]),
        },
        optional_signature: None,
    };
    request.to_der().map_err(|_| OcspError::Malformed)
}

impl Request {
    /// Reads a request about 1 to [`OCSP_CERTIFICATES_MAX`] certificates.
    pub fn from_der(der: &[u8]) -> Result<Self, OcspError> {
        if der.len() > OCSP_BYTES_MAX {
            return Err(OcspError::TooLarge);
        }
        let parsed = OcspRequest::from_der(der).map_err(|_| OcspError::Malformed)?;
        let tbs = parsed.tbs_request;
        if !(1..=OCSP_CERTIFICATES_MAX).contains(&tbs.request_list.len()) {
            return Err(OcspError::Malformed);
        }
        let single = |request: &x509_ocsp::Request| {
            read_nonce(request.single_request_extensions.as_ref()).is_ok()
        };
        if !tbs.request_list.iter().all(single) {
            return Err(OcspError::CriticalExtension);
        }
        let nonce = read_nonce(tbs.request_extensions.as_ref());
        Ok(Self {
            nonce: nonce.map_err(|()| OcspError::CriticalExtension)?,
            ids: tbs
                .request_list
                .into_iter()
                .map(|request| request.req_cert)
                .collect(),
        })
    }

    /// The serial numbers that are asked about in the name of this issuer.
    pub fn serials_of(&self, issuer: &Certificate) -> Vec<Vec<u8>> {
        self.ids
            .iter()
            .filter(|id| names_issuer(id, issuer) == Some(true))
            .map(|id| id.serial_number.as_bytes().to_vec())
            .collect()
    }

    /// The nonce that the answer must repeat.
    pub fn nonce(&self) -> Option<&[u8]> {
        self.nonce.as_deref()
    }
}
