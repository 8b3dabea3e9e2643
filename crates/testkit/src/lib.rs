//! Real services on port 0 and in-memory fixtures, for tests only.

pub mod keys;
pub mod pki;
pub mod postgres;
