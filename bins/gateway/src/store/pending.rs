//! What the issuer was asked and has not answered yet. A row is taken out in the transaction that stores the
//! outcome: whoever takes it out is the one that answers.

use openset_store::{Db, StoreError, Tx, Vault, Write};
use sqlx::{AnyConnection, Row};
use zeroize::Zeroizing;

use crate::error::GatewayError;
use crate::work::{Work, WorkRef};

const FINISH: &str = "DELETE FROM pending WHERE id = $1";
/// Why nothing is kept when somebody else has stored the outcome.
pub(crate) const FINISHED_BEFORE: &str = "the outcome was stored by somebody else";

/// Something that the issuer is to be asked.
#[derive(Debug)]
pub(crate) struct Pending<'a> {
    pub(crate) id: &'a str,
    /// SHA-256 of the merchant's request, by which a repeated one finds it.
    pub(crate) wire_digest: &'a [u8; 32],
    pub(crate) work: WorkRef<'a>,
    /// Others leave it alone until then.
    pub(crate) next_attempt_at_ms: i64,
}

pub(crate) fn insert(vault: &Vault, new: &Pending<'_>) -> Result<Write, GatewayError> {
    let plain = Zeroizing::new(serde_json::to_vec(&new.work)?);
    let insert = sqlx::query(
        "INSERT INTO pending (id, wire_digest, sealed, next_attempt_at_ms, attempts) \
         VALUES ($1, $2, $3, $4, 1)",
    )
    .bind(new.id)
    .bind(&new.wire_digest[..])
    .bind(vault.seal(&context(new.id), &plain))
    .bind(new.next_attempt_at_ms);
    Ok(Write::may(insert))
}

pub(crate) async fn load(
    conn: &mut AnyConnection,
    vault: &Vault,
    id: &str,
) -> Result<Option<(Work, [u8; 32])>, GatewayError> {
    let row = sqlx::query("SELECT sealed, wire_digest FROM pending WHERE id = $1")
        .bind(id)
        .fetch_optional(conn)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let plain = vault.open(&context(id), &row.try_get::<Vec<u8>, _>(0)?)?;
    let wire_digest: Vec<u8> = row.try_get(1)?;
    let wire_digest = wire_digest
        .try_into()
        .map_err(|_| StoreError::Corrupt("pending.wire_digest"))?;
    Ok(Some((serde_json::from_slice(&plain)?, wire_digest)))
}

pub(crate) async fn find_by_digest(
    conn: &mut AnyConnection,
    wire_digest: &[u8; 32],
) -> Result<Option<String>, StoreError> {
    let id = sqlx::query_scalar("SELECT id FROM pending WHERE wire_digest = $1")
        .bind(&wire_digest[..])
        .fetch_optional(conn)
        .await?;
    Ok(id)
}

/// Takes it out. `false`: somebody else has stored the outcome, so the caller's transaction must be dropped.
pub(crate) async fn finish(tx: &mut Tx, id: &str) -> Result<bool, StoreError> {
    let done = sqlx::query(FINISH).bind(id).execute(&mut **tx).await?;
    Ok(done.rows_affected() == 1)
}

/// [`finish`], at the end of the transaction that stores the outcome: refused as [`FINISHED_BEFORE`].
pub(crate) fn finished(id: &str) -> Write {
    Write::must(sqlx::query(FINISH).bind(id), FINISHED_BEFORE)
}

/// Takes up to `limit` of what is due for `lease_ms`.
pub(crate) async fn lease_due(
    db: &Db,
    now_ms: i64,
    lease_ms: i64,
    limit: u32,
) -> Result<Vec<String>, StoreError> {
    // Looking first costs no write transaction while nothing is due, which is nearly always.
    let mut ids: Vec<String> = sqlx::query_scalar(
        "SELECT id FROM pending WHERE next_attempt_at_ms <= $1 ORDER BY next_attempt_at_ms LIMIT $2",
    )
    .bind(now_ms)
    .bind(i64::from(limit))
    .fetch_all(&mut *db.read().await?)
    .await?;
    if ids.is_empty() {
        return Ok(ids);
    }
    // In one order everywhere: two replicas that lock the same rows cannot deadlock.
    ids.sort_unstable();
    let mut leased = Vec::with_capacity(ids.len());
    let mut tx = db.begin().await?;
    for id in ids {
        let taken = sqlx::query(
            "UPDATE pending SET next_attempt_at_ms = $1, attempts = attempts + 1 \
             WHERE id = $2 AND next_attempt_at_ms <= $3",
        )
        .bind(now_ms.saturating_add(lease_ms))
        .bind(id.as_str())
        .bind(now_ms)
        .execute(&mut *tx)
        .await?;
        if taken.rows_affected() == 1 {
            leased.push(id);
        }
    }
    tx.commit().await?;
    Ok(leased)
}

/// Lets go of it until a pause after `now_ms`, as long as the number of attempts says.
pub(crate) async fn retry_later(
    tx: &mut Tx,
    id: &str,
    now_ms: i64,
    pause_ms: impl FnOnce(u32) -> i64,
) -> Result<(), StoreError> {
    let row = sqlx::query("SELECT attempts FROM pending WHERE id = $1")
        .bind(id)
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = row else { return Ok(()) };
    let attempts = u32::try_from(row.try_get::<i64, _>(0)?).unwrap_or(1);
    sqlx::query("UPDATE pending SET next_attempt_at_ms = $1 WHERE id = $2")
        .bind(now_ms.saturating_add(pause_ms(attempts)))
        .bind(id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Makes everything due at once: for a process that knows itself to be alone.
pub(crate) async fn release_all(tx: &mut Tx) -> Result<u64, StoreError> {
    let done =
        sqlx::query("UPDATE pending SET next_attempt_at_ms = 0 WHERE next_attempt_at_ms > 0")
            .execute(&mut **tx)
            .await?;
    Ok(done.rows_affected())
}

fn context(id: &str) -> String {
    format!("pending/sealed/{id}")
}
