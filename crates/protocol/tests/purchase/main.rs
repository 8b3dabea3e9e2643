//! The purchase in memory: cardholder, merchant and gateway by pure calls. That it comes out right, and
//! that nothing altered, forwarded, mirrored or signed by somebody else comes through.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "tests"
)]

mod algorithms;
mod batch;
mod certificates;
mod errors;
mod exchanges;
mod flow;
mod inquiry;
#[path = "../support/layers.rs"]
mod layers;
mod mail;
mod matrix;
mod money;
mod p_cert;
mod parts;
mod refunds;
#[path = "../support/rows.rs"]
mod rows;
mod run;
mod thumbs;
mod tokens;
#[path = "../support/matrix.rs"]
mod trial;
mod unsigned;
mod world;
