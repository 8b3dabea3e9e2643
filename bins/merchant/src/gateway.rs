//! The merchant's dealings with its acquirer's payment gateway.

pub(crate) mod asking;
pub(crate) mod authorization;
mod batch_items;
pub(crate) mod batches;
mod capture;
pub(crate) mod certificates;
mod refund;
mod reversal;
mod sale;
pub(crate) mod sending;
