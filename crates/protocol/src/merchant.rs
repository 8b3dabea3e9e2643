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
pub mod cap;
pub mod inq;
pub mod p;
pub mod p_init;

use crate::Rejection;
use crate::content_type::ContentType;
use crate::identity::Credentials;
use crate::sealed::open;
use crate::wrapper::Jwe;
use openset_jose::Thumbprint;
use openset_pki::MerchantData;
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
