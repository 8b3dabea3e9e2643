//! The bank over HTTP: a real service on port 0, with a database of its own for each test.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "rest/authorizations.rs"]
mod authorizations;
#[path = "rest/bank.rs"]
mod bank;
#[path = "rest/books.rs"]
mod books;
#[path = "rest/durability.rs"]
mod durability;
#[path = "rest/lists.rs"]
mod lists;
#[path = "rest/lockout.rs"]
mod lockout;
#[path = "rest/movements.rs"]
mod movements;
#[path = "rest/process.rs"]
mod process;
#[path = "rest/refusals.rs"]
mod refusals;
#[path = "rest/registrations.rs"]
mod registrations;
#[path = "rest/replicas.rs"]
mod replicas;
#[path = "rest/sequences.rs"]
mod sequences;
#[path = "rest/settlements.rs"]
mod settlements;
#[path = "rest/undoing.rs"]
mod undoing;
#[path = "rest/upgrade.rs"]
mod upgrade;
