//! Real services on port 0 and in-memory fixtures, for tests only.

pub mod postgres;
