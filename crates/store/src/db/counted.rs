//! How many transactions this process has kept.

use std::sync::atomic::{AtomicU64, Ordering};

static COMMITS: AtomicU64 = AtomicU64::new(0);
static TRANSACTIONS: AtomicU64 = AtomicU64::new(0);

/// Commits of databases, of which each waits for the disk; several transactions may share one.
#[must_use]
pub fn commits() -> u64 {
    COMMITS.load(Ordering::Relaxed)
}

/// Transactions that were kept.
#[must_use]
pub fn transactions() -> u64 {
    TRANSACTIONS.load(Ordering::Relaxed)
}

pub(super) fn commit() {
    COMMITS.fetch_add(1, Ordering::Relaxed);
}

pub(super) fn transaction() {
    TRANSACTIONS.fetch_add(1, Ordering::Relaxed);
}
