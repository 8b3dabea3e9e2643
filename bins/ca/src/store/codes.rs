//! The use of the activation codes that brands gave to gateways: single use, few attempts, bound to the
//! keys that they were used for.

use openset_store::{StoreError, Tx};
use sqlx::Row;

/// Wrong attempts after which a code is locked; a new code in the configuration starts anew.
pub(crate) const WRONG_ATTEMPTS_MAX: i64 = 5;
/// So long after the first of them the attempts are forgotten: who guesses at a code cannot keep its owner out.
const WRONG_ATTEMPTS_SECONDS: i64 = 60 * 60;

/// Which code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder<'a> {
    pub(crate) acquirer_bin: &'a str,
    pub(crate) gateway_id: &'a str,
    pub(crate) brand: &'a str,
}

/// The keys that a code was used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) signature: String,
    pub(crate) key_exchange: String,
}

/// How far a code is used.
#[derive(Debug)]
pub(crate) struct Use {
    /// Those of the last hour.
    pub(crate) wrong_attempts: i64,
    pub(crate) keys: Option<Keys>,
}

/// The use of a code, locked until the transaction ends. Another code than the last one is unused.
pub(crate) async fn lock(
    tx: &mut Tx,
    holder: Holder<'_>,
    code_hash: &[u8; 32],
    now_s: i64,
) -> Result<Use, StoreError> {
    // The row is written in any case: of two who ask at once, one waits for the other.
    let row = sqlx::query(
        "INSERT INTO gateway_codes (acquirer_bin, gateway_id, brand, code_hash, wrong_attempts) \
         VALUES ($1, $2, $3, $4, 0) ON CONFLICT (acquirer_bin, gateway_id, brand) DO UPDATE SET \
         wrong_attempts = CASE WHEN gateway_codes.code_hash = excluded.code_hash \
            AND gateway_codes.wrong_since_s > $5 THEN gateway_codes.wrong_attempts ELSE 0 END, \
         key_thumbprint = CASE WHEN gateway_codes.code_hash = excluded.code_hash \
            THEN gateway_codes.key_thumbprint ELSE NULL END, \
         key_exchange_thumbprint = CASE WHEN gateway_codes.code_hash = excluded.code_hash \
            THEN gateway_codes.key_exchange_thumbprint ELSE NULL END, \
         code_hash = excluded.code_hash \
         RETURNING wrong_attempts, key_thumbprint, key_exchange_thumbprint",
    )
    .bind(holder.acquirer_bin)
    .bind(holder.gateway_id)
    .bind(holder.brand)
    .bind(&code_hash[..])
    .bind(now_s.saturating_sub(WRONG_ATTEMPTS_SECONDS))
    .fetch_one(&mut **tx)
    .await?;
    let signature: Option<String> = row.try_get(1)?;
    let key_exchange: Option<String> = row.try_get(2)?;
    let keys = signature
        .zip(key_exchange)
        .map(|(signature, key_exchange)| Keys {
            signature,
            key_exchange,
        });
    Ok(Use {
        wrong_attempts: row.try_get(0)?,
        keys,
    })
}

/// Counts a wrong attempt.
pub(crate) async fn count_wrong(
    tx: &mut Tx,
    holder: Holder<'_>,
    now_s: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE gateway_codes SET wrong_attempts = wrong_attempts + 1, \
         wrong_since_s = CASE WHEN wrong_attempts = 0 THEN $1 ELSE wrong_since_s END \
         WHERE acquirer_bin = $2 AND gateway_id = $3 AND brand = $4",
    )
    .bind(now_s)
    .bind(holder.acquirer_bin)
    .bind(holder.gateway_id)
    .bind(holder.brand)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Uses a code up for these keys.
pub(crate) async fn bind(tx: &mut Tx, holder: Holder<'_>, keys: &Keys) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE gateway_codes SET key_thumbprint = $1, key_exchange_thumbprint = $2 \
         WHERE acquirer_bin = $3 AND gateway_id = $4 AND brand = $5",
    )
    .bind(&keys.signature)
    .bind(&keys.key_exchange)
    .bind(holder.acquirer_bin)
    .bind(holder.gateway_id)
    .bind(holder.brand)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
