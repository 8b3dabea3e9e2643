//! The merchant as wallets, customers, its own staff and its gateway see it: the real service on port 0
//! with a database of its own, against a gateway and a certificate authority in memory.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod authority;
mod bank;
mod bank_batches;
mod bank_receipts;
mod batch_items;
mod batches;
mod captures;
mod cardholder_status;
mod crashes;
mod gateway_certificates;
mod mail_orders;
mod movements;
mod orders;
mod plans;
mod purchases;
mod receipts;
mod refunds;
mod refusals;
mod renewals;
mod replicas;
mod reversals;
mod sales;
mod shop;
mod unpaid;
mod upgrade;
mod wallet;
