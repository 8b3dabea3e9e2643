//! The merchant's dealings with its acquirer's payment gateway.

pub(crate) mod authorization;
pub(crate) mod capture;
pub(crate) mod certificates;
pub(crate) mod reversal;
pub(crate) mod sending;
