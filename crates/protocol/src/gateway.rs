//! The payment gateway: opens payment instructions, verifies both halves, answers with the bank's word.
//! It has no way to name an order description: only its digest, HOD, ever comes here.
//!
//! ```compile_fail
//! use openset_protocol::gateway::auth::VerifiedPayment;
//! fn look(payment: &VerifiedPayment) -> &[u8] {
//!     &payment.order_description
//! }
//! ```
//! What it can name is its own half:
//! ```
//! use openset_protocol::gateway::auth::VerifiedPayment;
//! fn look(payment: &VerifiedPayment) -> &openset_protocol::digest::Digest {
//!     &payment.hod
//! }
//! ```

pub mod asking;
pub mod auth;
pub mod auth_rev;
pub mod batch_admin;
pub mod cap;
pub mod cap_rev_or_cred;
pub mod p_cert;
mod pi;
pub mod receipt;
mod sealed_answer;

pub use sealed_answer::SealedAnswer;
