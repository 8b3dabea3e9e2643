//! Which merchants' registrations were approved, for which keys.

use openset_store::{StoreError, Tx};
use sqlx::{AssertSqlSafe, Row};

/// Wrong attempts after which a code is locked.
pub(crate) const WRONG_ATTEMPTS_MAX: i64 = 5;
/// So long after the first of them the attempts are forgotten: who guesses at a code cannot keep its owner out.
const WRONG_ATTEMPTS_SECONDS: i64 = 60 * 60;

/// A merchant's registration under a brand, its row locked until the transaction ends.
#[derive(Debug, Clone)]
pub(crate) struct Registration {
    /// Those of the last hour.
    pub(crate) wrong_attempts: i64,
    /// The keys that the code was used for: signature, key exchange.
    pub(crate) keys: Option<(String, String)>,
}

/// Locks and reads. Attempts at the same moment, on any replica, come one after the other. Another code than the
/// last one is unused, and nobody has guessed at it.
pub(crate) async fn lock(
    tx: &mut Tx,
    merchant_id: &str,
    brand: &str,
    code_hash: &[u8; 32],
    now_s: i64,
) -> Result<Registration, StoreError> {
    const SAME: &str =
        "(registrations.code_hash IS NULL OR registrations.code_hash = excluded.code_hash)";
    let row = sqlx::query(AssertSqlSafe(format!(
        "INSERT INTO registrations (merchant_id, brand, wrong_attempts, code_hash) \
         VALUES ($1, $2, 0, $3) ON CONFLICT (merchant_id, brand) DO UPDATE SET \
         wrong_attempts = CASE WHEN {SAME} AND registrations.wrong_since_s > $4 \
            THEN registrations.wrong_attempts ELSE 0 END, \
         key_thumbprint = CASE WHEN {SAME} THEN registrations.key_thumbprint ELSE NULL END, \
         key_exchange_thumbprint = CASE WHEN {SAME} \
            THEN registrations.key_exchange_thumbprint ELSE NULL END, \
         code_hash = excluded.code_hash \
         RETURNING wrong_attempts, key_thumbprint, key_exchange_thumbprint"
    )))
    .bind(merchant_id)
    .bind(brand)
    .bind(&code_hash[..])
    .bind(now_s.saturating_sub(WRONG_ATTEMPTS_SECONDS))
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
    now_s: i64,
) -> Result<(), StoreError> {
    let rows = sqlx::query(
        "UPDATE registrations SET wrong_attempts = wrong_attempts + 1, \
         wrong_since_s = CASE WHEN wrong_attempts = 0 THEN $1 ELSE wrong_since_s END \
         WHERE merchant_id = $2 AND brand = $3 AND wrong_attempts < $4",
    )
    .bind(now_s)
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
