//! The shell on real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::large_futures,
    reason = "tests"
)]

mod calls;
mod configuration;
mod keyring;
mod outbox;
mod process;
mod requests;
mod rest;
mod sockets;
mod support;
mod trust;
mod trust_lists;
mod trust_news;
