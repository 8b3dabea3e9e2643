//! Which merchants' registrations were approved, for which keys.

use openset_store::{StoreError, Tx};
use sqlx::Row;

/// Wrong attempts after which a code is locked.
pub(crate) const WRONG_ATTEMPTS_MAX: i64 = 5;

/// A merchant's registration under a brand, its row locked until the transaction ends.
#[derive(Debug, Clone)]
pub(crate) struct Registration {
    pub(crate) wrong_attempts: i64,
    /// The keys that the code was used for: signature, key exchange.
    pub(crate) keys: Option<(String, String)>,
}

/// Locks and reads. Attempts at the same moment, on any replica, come one after the other.
pub(crate) async fn lock(
    tx: &mut Tx,
    merchant_id: &str,
    brand: &str,
) -> Result<Registration, StoreError> {
    sqlx::query(
        "INSERT INTO registrations (merchant_id, brand, wrong_attempts) VALUES ($1, $2, 0) \
         ON CONFLICT DO NOTHING",
    )
    .bind(merchant_id)
    .bind(brand)
    .execute(&mut **tx)
    .await?;
    let row = sqlx::query(
        "UPDATE registrations SET wrong_attempts = wrong_attempts \
         WHERE merchant_id = $1 AND brand = $2 \
         RETURNING wrong_attempts, key_thumbprint, key_exchange_thumbprint",
    )
    .bind(merchant_id)
    .bind(brand)
    .fetch_one(&mut **tx)
    .await?;
    let signature: Option<String> = row.try_get(1)?;
    let key_exchange: Option<String> = row.try_get(2)?;
    Ok(Registration {
        wrong_attempts: row.try_get(0)?,
        keys: signature.zip(key_exchange),
    })
}

pub(crate) async fn count_wrong_attempt(
    tx: &mut Tx,
    merchant_id: &str,
    brand: &str,
) -> Result<(), StoreError> {
    let rows = sqlx::query(
        "UPDATE registrations SET wrong_attempts = wrong_attempts + 1 \
         WHERE merchant_id = $1 AND brand = $2 AND wrong_attempts < $3",
    )
    .bind(merchant_id)
    .bind(brand)
    .bind(WRONG_ATTEMPTS_MAX)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    super::one_row(rows, "the activation code was locked meanwhile")
}

/// Uses the code up for these keys.
pub(crate) async fn bind_to_keys(
    tx: &mut Tx,
    merchant_id: &str,
    brand: &str,
    keys: (&str, &str),
    now_s: i64,
) -> Result<(), StoreError> {
    let rows = sqlx::query(
        "UPDATE registrations SET key_thumbprint = $1, key_exchange_thumbprint = $2, \
         approved_at_s = $3 WHERE merchant_id = $4 AND brand = $5 AND key_thumbprint IS NULL",
    )
    .bind(keys.0)
    .bind(keys.1)
    .bind(now_s)
    .bind(merchant_id)
    .bind(brand)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    super::one_row(rows, "the activation code was used meanwhile")
}
