//! What must survive a crash: exchanges, responses, outgoing requests, secrets, ledgers.
//!
//! One set of SQL texts serves SQLite and PostgreSQL. A caller opens one [`Tx`], puts the new
//! state, the response and what is to be sent next into it, and commits once: after `kill -9`
//! either all of it is there or nothing. State changes are guarded (`ON CONFLICT DO NOTHING` or an
//! `UPDATE` with the old state in `WHERE`, and one row counted), so two replicas that race on
//! PostgreSQL have the same outcome as two requests one after the other.

pub mod brand_crl_identifiers;
pub mod crls;
mod db;
mod error;
pub mod exchanges;
pub mod idempotency;
pub mod keys;
pub mod ledger;
pub mod outbox;
pub mod packed;
mod sqlite;
pub mod vault;
mod write;

pub use db::{
    AtWork, Backend, Db, Draft, Migration, Reader, Snapshot, Tx, commits, is_one_alone_at_work,
    sqlite_url, transactions,
};
pub use error::StoreError;
pub use secrecy::SecretString;
pub use sqlite::install_database_drivers;
pub use sqlx;
pub use vault::{Vault, VaultError};
pub use write::Write;
