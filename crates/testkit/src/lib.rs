//! Fixtures for tests only: keys, a PKI, a private PostgreSQL.

pub mod keys;
pub mod pki;
pub mod postgres;
