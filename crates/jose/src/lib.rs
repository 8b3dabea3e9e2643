//! JWS (`PS256`) and JWE (`RSA-OAEP-256` or `dir`, with `A256GCM`) in compact form, over two
//! interchangeable cryptographic providers.
//!
//! Nothing here reads a clock, a file or a socket, and randomness comes in as an argument.
//! The crate accepts exactly the algorithms and header members that it writes; every other
//! member is refused by name (RFC 8725, section 3.1). Which key and which content type fit an
//! object is for the caller to decide, never for the object.
#![warn(clippy::indexing_slicing, clippy::as_conversions)]

pub mod base64url;
mod content_key;
mod digest;
mod header;
pub mod jwe;
pub mod jws;
mod key;
mod key_der;
mod operations;
mod provider;

pub use content_key::ContentKey;
pub use digest::{Thumbprint, ThumbprintError, hkdf_sha256, hmac_sha256, sha256, sha256_of};
pub use header::HeaderError;
pub use key::{BadSignature, KeyError, OperationError, PrivateKey, PublicKey, RsaBits, Unopened};
pub use operations::{KeySize, Operation};
#[cfg(feature = "aws-lc-rs")]
pub use provider::aws_lc;
#[cfg(feature = "rustcrypto")]
pub use provider::rust_crypto;
pub use provider::{Provider, default_provider};
pub use rand_core;

/// A source of randomness, handed in by the caller.
///
/// The `aws-lc-rs` provider takes content keys and initialization vectors from it but draws its
/// own for key generation, PSS salts and OAEP seeds; the `rustcrypto` provider takes all from it.
pub type Random<'a> = &'a mut dyn rand_core::CryptoRng;
