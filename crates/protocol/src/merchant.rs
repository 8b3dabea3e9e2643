//! The merchant: answers purchases, asks the gateway to authorize and to capture. It has no way to open a
//! payment instruction: [`Jwe`](crate::wrapper::Jwe) values of PI pass through unread.
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
pub mod cap;
pub mod inq;
pub mod p;
pub mod p_init;

use crate::Rejection;
use crate::identity::Credentials;
use openset_pki::MerchantData;

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
