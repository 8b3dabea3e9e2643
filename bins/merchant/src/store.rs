//! The merchant's tables. Every change of state is a guarded UPDATE with one row counted.

pub(crate) mod authorizations;
pub(crate) mod batch_requests;
pub(crate) mod batches;
pub(crate) mod books;
pub(crate) mod catalogues;
pub(crate) mod gateway_certificates;
pub(crate) mod learned_revocations;
pub(crate) mod movements;
pub(crate) mod orders;
pub(crate) mod payments;
pub(crate) mod purchases;

use std::str::FromStr;

use openset_protocol::money::{Currency, CurrencyAmount};
use openset_store::packed::unpack;
use openset_store::{Migration, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::AnyConnection;

/// The merchant's own tables, beside those of `openset-store`.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 100,
        name: "merchant",
        sql: include_str!("../migrations/100_merchant.sql"),
    },
    Migration {
        version: 140,
        name: "who placed an order",
        sql: include_str!("../migrations/140_placed_by.sql"),
    },
    Migration {
        version: 150,
        name: "revocations",
        sql: include_str!("../migrations/150_revocations.sql"),
    },
    Migration {
        version: 160,
        name: "reversals",
        sql: include_str!("../migrations/160_reversals.sql"),
    },
    Migration {
        version: 170,
        name: "authorizations and movements",
        sql: include_str!("../migrations/170_movements.sql"),
    },
    Migration {
        version: 175,
        name: "orders in parts",
        sql: include_str!("../migrations/175_parts.sql"),
    },
    Migration {
        version: 176,
        name: "order lists",
        sql: include_str!("../migrations/176_order_lists.sql"),
    },
    Migration {
        version: 180,
        name: "catalogues for mail order",
        sql: include_str!("../migrations/180_catalogues.sql"),
    },
    Migration {
        version: 185,
        name: "batches",
        sql: include_str!("../migrations/185_batches.sql"),
    },
    Migration {
        version: 186,
        name: "books",
        sql: include_str!("../migrations/186_books.sql"),
    },
    Migration {
        version: 201,
        name: "instalments and recurring payments",
        sql: include_str!("../migrations/201_plans.sql"),
    },
    Migration {
        version: 202,
        name: "packed texts",
        sql: include_str!("../migrations/202_packed.sql"),
    },
    Migration {
        version: 203,
        name: "short rows",
        sql: include_str!("../migrations/203_short_rows.sql"),
    },
    Migration {
        version: 204,
        name: "revision",
        sql: include_str!("../migrations/204_revision.sql"),
    },
];

/// A stored text as what it stands for; one that this program cannot have written is damage.
fn stored<T: FromStr>(text: &str, column: &'static str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt(column))
}

fn from_json<T: DeserializeOwned>(text: &str, column: &'static str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Corrupt(column))
}

fn to_json<T: Serialize>(value: &T, column: &'static str) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|_| StoreError::Corrupt(column))
}

fn amount(currency: &str, minor: i64, column: &'static str) -> Result<CurrencyAmount, StoreError> {
    let damaged = || StoreError::Corrupt(column);
    let currency = Currency::from_alpha(currency).map_err(|_| damaged())?;
    let minor = u64::try_from(minor).map_err(|_| damaged())?;
    CurrencyAmount::new(currency, minor).map_err(|_| damaged())
}

/// A long text as it was: packed, or in a row of before in another column.
async fn long_text(
    conn: &mut AnyConnection,
    packed: Option<Vec<u8>>,
    of_before: Option<String>,
) -> Result<Option<String>, StoreError> {
    let Some(packed) = packed else {
        return Ok(of_before);
    };
    let text = String::from_utf8(unpack(conn, packed).await?);
    text.map(Some)
        .map_err(|_| StoreError::Corrupt("a packed text"))
}

/// The guard of an UPDATE held: exactly one row was changed.
fn one_row(rows: u64, otherwise: &'static str) -> Result<(), StoreError> {
    match rows {
        1 => Ok(()),
        _ => Err(StoreError::Conflict(otherwise)),
    }
}
