//! The wallet as its owner sees it: the real service on port 0 with a database of its own, against a certificate
//! authority and a shop in memory.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod authority;
mod backups;
mod crashes;
mod owner;
mod pended;
mod purchases;
mod registrations;
mod renewals;
mod shop;
mod staples;
mod statement;
mod world;
