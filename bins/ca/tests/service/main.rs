//! The real service on port 0, with a mock bank beside it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod again;
mod backups;
mod bank;
mod ca;
mod commands;
mod durability;
mod forms;
mod keys;
mod ocsp;
mod operator;
mod pended;
mod process;
mod published;
mod refusals;
mod regions;
mod registrations;
mod renewals;
mod rollover;
mod thumbs;
mod wallet;
