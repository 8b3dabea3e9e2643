//! Registrations in memory: each kind succeeds, and each check has a message that only it refuses. The
//! altered messages are sealed and signed again with the real keys, so nothing but the named check sees
//! the alteration.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod cardholder;
mod cert_inq;
mod cert_req;
mod cert_res;
mod enrolment;
mod old;
mod renewal;
mod tamper;
mod thumbs;
mod world;
