//! The issuer's tables. Every change of money is a guarded UPDATE with one row counted.

pub(crate) mod accounts;
pub(crate) mod authorizations;
pub(crate) mod codes;
pub(crate) mod movements;
pub(crate) mod settlements;

use openset_store::{Migration, StoreError};

/// The issuer's own tables, beside those of `openset-store`.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 100,
        name: "issuer",
        sql: include_str!("../migrations/100_issuer.sql"),
    },
    Migration {
        version: 140,
        name: "locks of activation codes end",
        sql: include_str!("../migrations/140_lock_ends.sql"),
    },
    Migration {
        version: 150,
        name: "reversals",
        sql: include_str!("../migrations/150_reversals.sql"),
    },
    Migration {
        version: 160,
        name: "movements",
        sql: include_str!("../migrations/160_movements.sql"),
    },
    Migration {
        version: 161,
        name: "settlements",
        sql: include_str!("../migrations/161_settlements.sql"),
    },
    Migration {
        version: 162,
        name: "lists",
        sql: include_str!("../migrations/162_lists.sql"),
    },
];

/// A stored text as what it stands for; one that this program cannot have written is damage.
fn stored<T: std::str::FromStr>(text: &str, column: &'static str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt(column))
}

/// The guard of an UPDATE held: exactly one row was changed.
fn one_row(rows: u64, otherwise: &'static str) -> Result<(), StoreError> {
    match rows {
        1 => Ok(()),
        _ => Err(StoreError::Conflict(otherwise)),
    }
}
