//! The state rules of a payment: every state against every request, and random sequences against a bank that keeps
//! its own books.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    unreachable_pub,
    reason = "tests"
)]

mod sequences;
mod table;
mod world;
