//! Activation codes: one for each card, kept as a keyed hash, used for one key.

use openset_store::{StoreError, Tx};
use sqlx::Row;

/// Wrong attempts after which a code is locked.
pub(crate) const WRONG_ATTEMPTS_MAX: i64 = 5;

/// A code as stored, its row locked until the transaction ends.
#[derive(Debug, Clone)]
pub(crate) struct StoredCode {
    pub(crate) hash: Vec<u8>,
    pub(crate) wrong_attempts: i64,
    /// The key that the code was used for.
    pub(crate) key_thumbprint: Option<String>,
}

/// What a code is hashed with.
pub(crate) fn hash_context(card_id: &str) -> String {
    format!("activation_codes/code_hash/{card_id}")
}

pub(crate) async fn insert(tx: &mut Tx, card_id: &str, hash: &[u8; 32]) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO activation_codes (card_id, code_hash, wrong_attempts) VALUES ($1, $2, 0)",
    )
    .bind(card_id)
    .bind(&hash[..])
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Locks and reads a card's code. Attempts at the same moment, on any replica, come one after the
/// other: none is judged before the one ahead of it is counted.
pub(crate) async fn lock(tx: &mut Tx, card_id: &str) -> Result<StoredCode, StoreError> {
    // An UPDATE locks the row on both databases; SQLite has no FOR UPDATE.
    let row = sqlx::query(
        "UPDATE activation_codes SET wrong_attempts = wrong_attempts WHERE card_id = $1 \
         RETURNING code_hash, wrong_attempts, key_thumbprint",
    )
    .bind(card_id)
    .fetch_optional(&mut **tx)
    .await?
    .ok_or(StoreError::Corrupt("activation_codes.card_id"))?;
    Ok(StoredCode {
        hash: row.try_get(0)?,
        wrong_attempts: row.try_get(1)?,
        key_thumbprint: row.try_get(2)?,
    })
}

pub(crate) async fn count_wrong_attempt(tx: &mut Tx, card_id: &str) -> Result<(), StoreError> {
    let rows = sqlx::query(
        "UPDATE activation_codes SET wrong_attempts = wrong_attempts + 1 \
         WHERE card_id = $1 AND key_thumbprint IS NULL AND wrong_attempts < $2",
    )
    .bind(card_id)
    .bind(WRONG_ATTEMPTS_MAX)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    super::one_row(rows, "the activation code was used or locked meanwhile")
}

/// Uses a code up for a key.
pub(crate) async fn bind_to_key(
    tx: &mut Tx,
    card_id: &str,
    key_thumbprint: &str,
    now_s: i64,
) -> Result<(), StoreError> {
    let rows = sqlx::query(
        "UPDATE activation_codes SET key_thumbprint = $1, used_at_s = $2 \
         WHERE card_id = $3 AND key_thumbprint IS NULL AND wrong_attempts < $4",
    )
    .bind(key_thumbprint)
    .bind(now_s)
    .bind(card_id)
    .bind(WRONG_ATTEMPTS_MAX)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    super::one_row(rows, "the activation code was used or locked meanwhile")
}
