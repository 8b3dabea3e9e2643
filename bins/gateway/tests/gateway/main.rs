//! The gateway against real messages, a bank that can be told how to behave, and crashes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod anew;
mod authority;
mod authorizations;
mod bank;
mod batches;
mod captures;
mod certificates;
mod contests;
mod crashes;
mod credits;
mod enrolment;
mod lockout;
mod plans;
mod privacy;
mod purchase;
mod receipts;
mod renewals;
mod replicas;
mod rest;
mod reversals;
mod sale;
mod sales;
mod service;
mod stored;
mod tokens;
mod upgrade;
