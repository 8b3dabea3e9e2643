//! A public key infrastructure of two brands, and all that its verifier must refuse.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]
#![allow(clippy::indexing_slicing, reason = "tests")]

mod authority;
mod bci_rule;
mod brand_crl_identifier;
mod forge;
mod known_chains;
mod matrix;
mod matrix_ocsp;
mod news;
mod ocsp;
mod openssl;
mod openssl_ocsp;
mod path;
mod pkilint;
mod profile;
mod revocation;
mod roots;
mod world;
