//! The merchant: answers purchases, asks the gateway to authorize and to capture. It has no way to open a
//! payment instruction: [`Jwe`] values of PI pass through unread.
//!
//! The merchant's code cannot name what is inside a payment instruction:
//! ```compile_fail
//! use openset_protocol::merchant::p::VerifiedPReq;
//! fn look(preq: &VerifiedPReq) -> &openset_protocol::card::Pan {
//!     &preq.pan
//! }
//! ```
//! What it can name is its own half:
//! ```
//! use openset_protocol::merchant::p::VerifiedPReq;
//! fn look(preq: &VerifiedPReq) -> &openset_protocol::digest::Digest {
//!     &preq.hoi
//! }
//! ```

pub mod auth;
pub mod auth_rev;
pub mod batch_admin;
pub mod cap;
pub mod cap_rev_or_cred;
pub mod inq;
pub mod mail_order;
pub mod p;
pub mod p_cert;
pub mod p_init;
mod receipts;

pub use receipts::kept_receipt;

use crate::content_type::ContentType;
use crate::digest::Digest;
use crate::identity::{Credentials, same_party};
use crate::ids::{ExactBytes, Rrpid};
use crate::sealed::open;
use crate::signed::{Expected, Signer, Verified, Who, verify};
use crate::thumbs::Thumbs;
use crate::wrapper::{Jwe, Jws, MessageWrapper};
use crate::{BrandId, Rejection, Timestamp};
use openset_jose::Thumbprint;
use openset_pki::{Certificate, MerchantData, PathVerifier, Role};
use serde::de::DeserializeOwned;

/// The merchant's name at its acquirer, as its certificate has it.
///
/// # Errors
/// The certificate has no merchantData.
pub fn merchant_data(credentials: &Credentials) -> Result<&MerchantData, Rejection> {
    credentials
        .signature
        .certificate()
        .merchant_data()
        .ok_or(Rejection::MissingCertificate("merchantData"))
}

/// Opens an answer with whichever of our key-exchange keys it names: it may have been asked for before a renewal.
/// Gives the signature certificate of the same pair, too.
fn open_ours<T: DeserializeOwned>(
    jwe: &Jwe,
    ours: &[&Credentials],
    content: ContentType,
) -> Result<(T, Thumbprint), Rejection> {
    let keys: Vec<_> = ours.iter().map(|pair| &pair.key_exchange).collect();
    let opened = open(jwe, &keys, content)?;
    let named = openset_jose::jwe::Sealed::parse(&jwe.0)?.header().x5t_s256;
    let pair = ours
        .iter()
        .find(|pair| Some(pair.key_exchange.thumbprint()) == named);
    let pair = pair.ok_or(Rejection::NotSealedForUs)?;
    Ok((opened, pair.signature.thumbprint()))
}

/// What the answer of a gateway is checked against.
struct ExpectedAnswer<'a> {
    content: ContentType,
    message: &'static str,
    brand: &'a BrandId,
    /// The certificate that signed the request, to which the answer is addressed.
    to: Thumbprint,
    rrpid: Rrpid,
    request: Digest,
    thumbs: Option<&'a Thumbs>,
    /// The gateway's key-exchange certificate that the request was sealed for.
    gateway: &'a ExactBytes,
}

/// Verifies an answer: signed for us by the gateway that was asked, to this very request, on the header's date. Gives
/// the certificate of that gateway, too.
fn verify_answer<T: DeserializeOwned>(
    wrapper: &MessageWrapper,
    jws: &Jws,
    expected: &ExpectedAnswer<'_>,
    verifier: &PathVerifier,
    now: Timestamp,
) -> Result<(T, Certificate), Rejection> {
    let signed = Expected {
        content: expected.content,
        signer: Signer {
            role: Role::Gateway,
            brand: Some(expected.brand),
        },
        to: Who::Certificate(expected.to),
        message: expected.message,
        rrpid: expected.rrpid,
        answers: Some(expected.request),
        thumbs: expected.thumbs,
    };
    let verified: Verified<T> = verify(jws, &signed, verifier, now)?;
    let chosen =
        Certificate::from_der(&expected.gateway.0).map_err(|e| Rejection::Certificate(e.into()))?;
    if !same_party(&verified.certificate, &chosen) {
        return Err(Rejection::AnotherParty("gateway"));
    }
    wrapper.check_signed_date(verified.date)?;
    Ok((verified.data, chosen))
}
