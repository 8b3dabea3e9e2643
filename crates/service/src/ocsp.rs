//! Asks the certificate authority's OCSP responder whether a certificate is good (RFC 6960).
//!
//! The responder's address comes from the configured trust, never from the certificate that is asked about.

use std::sync::Arc;

use openset_pki::ocsp::{self, OcspWindow, Response};
use openset_pki::{Certificate, PathError};

use crate::client::{self, CallError, HttpClient};
use crate::trust::Trust;
use crate::{clock, random};

/// The media type of a request.
pub const OCSP_REQUEST: &str = "application/ocsp-request";
/// The media type of a response.
pub const OCSP_RESPONSE: &str = "application/ocsp-response";
/// The bytes of a nonce (RFC 9654).
const NONCE_BYTES: usize = 32;

/// A good certificate: the response that says so, and while it says so.
#[derive(Debug, Clone)]
pub struct Good {
    /// The response, DER.
    pub der: Vec<u8>,
    /// From when to when it is good, in seconds since 1970.
    pub window: OcspWindow,
}

/// Why it is not known that a certificate is good.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OcspError {
    /// The certificate's issuer is not one of the CAs known here.
    #[error("no OCSP responder is known for the certificate's issuer")]
    NoResponder,
    /// The responder did not answer.
    #[error("the OCSP responder did not answer")]
    Call(#[from] CallError),
    /// The response does not hold, or says that the certificate is revoked.
    #[error("the OCSP response does not show the certificate to be good: {0}")]
    Refused(#[from] PathError),
}

/// Asks, with a fresh nonce.
///
/// # Errors
/// [`OcspError::Refused`] with [`PathError::Revoked`] when the certificate is revoked; anything else leaves it open.
pub async fn ask(
    client: &HttpClient,
    trust: &Arc<Trust>,
    subject: &Certificate,
) -> Result<Good, OcspError> {
    let verifier = trust.verifier();
    let issuer = verifier.issuer_of(subject).ok_or(OcspError::NoResponder)?;
    let id = trust
        .authorities()
        .iter()
        .find(|known| {
            let own = known.chain.as_ref().map(openset_pki::Chain::leaf);
            own.is_some_and(|own| own.thumbprint() == issuer.thumbprint())
        })
        .map(|known| known.id.clone())
        .ok_or(OcspError::NoResponder)?;
    let nonce = random::bytes::<NONCE_BYTES>();
    let request = ocsp::request(subject, &issuer, Some(&nonce)).map_err(PathError::from)?;
    let url = client::join(trust.ca_url(), &format!("ocsp/{id}"));
    let der = client.post_bytes(&url, OCSP_REQUEST, request).await?;
    let response = Response::from_der(&der).map_err(PathError::from)?;
    let window = verifier.check_ocsp(&response, subject, Some(&nonce), clock::now_seconds())?;
    Ok(Good { der, window })
}
