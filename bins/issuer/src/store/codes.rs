//! Activation codes: one for each card, kept as a keyed hash, used for one key.

use openset_store::{StoreError, Tx};
use sqlx::Row;

/// Wrong attempts after which a code is locked. A code has 50 bits: at five an hour nobody finds it.
pub(crate) const WRONG_ATTEMPTS_MAX: i64 = 5;
/// So long after the first of them the attempts are forgotten: who guesses at a code cannot keep its owner out.
const WRONG_ATTEMPTS_SECONDS: i64 = 60 * 60;

/// A code as stored, its row locked until the transaction ends.
#[derive(Debug, Clone)]
pub(crate) struct StoredCode {
    pub(crate) hash: Vec<u8>,
    /// Those of the last hour.
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

/// Gives the card another code, which no key has used and nobody has guessed at.
pub(crate) async fn renew(tx: &mut Tx, card_id: &str, hash: &[u8; 32]) -> Result<(), StoreError> {
    let rows = sqlx::query(
        "UPDATE activation_codes SET code_hash = $1, wrong_attempts = 0, wrong_since_s = 0, \
         key_thumbprint = NULL, used_at_s = NULL WHERE card_id = $2",
    )
    .bind(&hash[..])
    .bind(card_id)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    super::one_row(rows, "the card has no activation code")
}

/// Locks and reads a card's code. Attempts at the same moment, on any replica, come one after the
/// other: none is judged before the one ahead of it is counted.
pub(crate) async fn lock(tx: &mut Tx, card_id: &str, now_s: i64) -> Result<StoredCode, StoreError> {
    // An UPDATE locks the row on both databases; SQLite has no FOR UPDATE.
    let row = sqlx::query(
        "UPDATE activation_codes SET wrong_attempts = \
            CASE WHEN wrong_since_s > $1 THEN wrong_attempts ELSE 0 END WHERE card_id = $2 \
         RETURNING code_hash, wrong_attempts, key_thumbprint",
    )
    .bind(now_s.saturating_sub(WRONG_ATTEMPTS_SECONDS))
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

pub(crate) async fn count_wrong_attempt(
    tx: &mut Tx,
    card_id: &str,
    now_s: i64,
) -> Result<(), StoreError> {
    let rows = sqlx::query(
        "UPDATE activation_codes SET wrong_attempts = wrong_attempts + 1, \
         wrong_since_s = CASE WHEN wrong_attempts = 0 THEN $1 ELSE wrong_since_s END \
         WHERE card_id = $2 AND key_thumbprint IS NULL AND wrong_attempts < $3",
    )
    .bind(now_s)
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
