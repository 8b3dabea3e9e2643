//! SET's certificate profile: issue, read, verify a path, revoke.
//!
//! - [`Certificate`] and [`Chain`] read what came over the network and hold it only if it fits the profile.
//! - [`PathVerifier`] decides whether a chain is good for a role, a purpose and a brand at a moment.
//! - [`Crl`] is one CA's list of revoked certificates; a verifier trusts no CA whose current list it lacks.
//! - [`BrandCrlIdentifier`] is a brand's word on which lists are current; a verifier trusts no leaf without it.
//! - [`ocsp`] asks and answers whether one certificate is revoked now.
//! - [`authority`] issues all of them.
//!
//! The crate reads no clock and opens no file: moments come in as seconds since 1970 (`now`), randomness
//! as [`openset_jose::Random`]. The profile itself stands in [`Role`], [`Purpose`] and the `oid` module.
#![warn(clippy::indexing_slicing, clippy::as_conversions)]
#![cfg_attr(test, allow(clippy::indexing_slicing, reason = "tests"))]

mod anchor;
pub mod authority;
mod brand;
mod brand_crl_identifier;
mod cache;
mod certificate;
mod chain;
mod crl;
mod der;
mod extensions;
mod name;
pub mod ocsp;
pub mod oid;
mod path;
mod profile;
mod reading;
mod signature;
#[cfg(test)]
mod test_pki;
mod verifier;
mod walk;

pub use anchor::{AnchorError, TrustAnchor};
pub use brand::{BrandId, BrandIdError};
pub use brand_crl_identifier::{
    BRAND_CRL_IDENTIFIER_BYTES_MAX, BrandCrlIdentifier, BrandCrlIdentifierError, CrlIdentifier,
};
pub use certificate::{CERTIFICATE_BYTES_MAX, Certificate, CertificateError};
pub use chain::{CHAIN_LENGTH_MAX, Chain};
pub use crl::{CRL_BYTES_MAX, Crl, CrlError};
pub use extensions::{MerchantData, MerchantDataError};
pub use path::{Expect, PathError};
pub use profile::{Purpose, Role};
pub use verifier::{
    CLOCK_SKEW_S, CrlIssuer, Installed, KNOWN_AUTHORITIES_MAX, KNOWN_CHAINS_MAX,
    KNOWN_RESPONSES_MAX, NEWS_AUTHORITIES_MAX, NEWS_CRLS_MAX, NUMBER_AHEAD_MAX, PathVerifier,
    REVOKED_MARKS_MAX, ROOT_OVERLAP_S,
};
