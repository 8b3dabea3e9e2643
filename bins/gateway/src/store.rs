//! The gateway's tables. Every change of state is a guarded UPDATE with one row counted.

pub(crate) mod authorizations;
pub(crate) mod batch_reports;
pub(crate) mod batches;
pub(crate) mod books;
pub(crate) mod items;
pub(crate) mod movements;
pub(crate) mod payments;
pub(crate) mod pending;
pub(crate) mod receipts;
pub(crate) mod registrations;
pub(crate) mod reversals;
pub(crate) mod sales;
pub(crate) mod settlements;

use openset_store::{Migration, StoreError};

/// The gateway's own tables, beside those of `openset-store`.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 100,
        name: "gateway",
        sql: include_str!("../migrations/100_gateway.sql"),
    },
    Migration {
        version: 140,
        name: "fresh activation codes",
        sql: include_str!("../migrations/140_fresh_codes.sql"),
    },
    Migration {
        version: 150,
        name: "movements",
        sql: include_str!("../migrations/150_movements.sql"),
    },
    Migration {
        version: 151,
        name: "receipts",
        sql: include_str!("../migrations/151_receipts.sql"),
    },
    Migration {
        version: 160,
        name: "batches",
        sql: include_str!("../migrations/160_batches.sql"),
    },
    Migration {
        version: 170,
        name: "authorization tokens",
        sql: include_str!("../migrations/170_auth_token.sql"),
    },
    Migration {
        version: 171,
        name: "settlement",
        sql: include_str!("../migrations/171_settlement.sql"),
    },
    Migration {
        version: 172,
        name: "effects",
        sql: include_str!("../migrations/172_effects.sql"),
    },
    Migration {
        version: 180,
        name: "names of authorizations",
        sql: include_str!("../migrations/180_authorization_names.sql"),
    },
    Migration {
        version: 201,
        name: "instalments and recurring payments",
        sql: include_str!("../migrations/201_plans.sql"),
    },
    Migration {
        version: 202,
        name: "packed steps",
        sql: include_str!("../migrations/202_packed.sql"),
    },
    Migration {
        version: 203,
        name: "names of all authorizations",
        sql: include_str!("../migrations/203_names_of_all.sql"),
    },
];

/// The guard of an UPDATE held: exactly one row was changed.
fn one_row(rows: u64, otherwise: &'static str) -> Result<(), StoreError> {
    match rows {
        1 => Ok(()),
        _ => Err(StoreError::Conflict(otherwise)),
    }
}
