//! What was asked of the acquirer about its batches, each under the Idempotency-Key of who asked, and what came of it.

use openset_protocol::BrandId;
use openset_protocol::ids::LocalId;
use openset_protocol::messages::batch_admin::{BaStatus, BatchOperation, BatchTotals};
use openset_protocol::money::{Currency, CurrencyAmount};
use openset_store::{StoreError, Tx};
use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::movements::RestKey;
use super::{from_json, one_row, stored, to_json};

/// What is wanted of the acquirer.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) operation: BatchOperation,
    pub(crate) brand: BrandId,
    pub(crate) currency: Currency,
    /// None for one that is to be opened.
    pub(crate) batch_id: Option<LocalId>,
    /// What the merchant counts in one that is to be closed.
    pub(crate) totals: Option<BatchTotals>,
}

/// A request, as stored.
#[derive(Debug, Clone)]
pub(crate) struct BatchRequest {
    pub(crate) id: String,
    pub(crate) wish: Wish,
    /// What its answer is checked against, as JSON; none once it is answered.
    pub(crate) awaiting: Option<String>,
    pub(crate) outcome: Option<Outcome>,
    rest_digest: Vec<u8>,
}

/// What came of a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) status: BaStatus,
    pub(crate) batch_id: Option<LocalId>,
    /// What the acquirer counts.
    #[serde(default)]
    pub(crate) totals: Option<BatchTotals>,
    /// What a purge has undone.
    #[serde(default)]
    pub(crate) undone: Vec<Undone>,
    /// Places of what it has undone, and that is not known here.
    #[serde(default)]
    pub(crate) unknown: Vec<u32>,
    /// Why the gateway did not take the request at all.
    #[serde(default)]
    pub(crate) refusal: Option<String>,
}

/// A capture or a refund that a purge has undone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Undone {
    pub(crate) order_id: LocalId,
    /// Of what was undone.
    pub(crate) movement: String,
    pub(crate) amount: CurrencyAmount,
}

const COLUMNS: &str =
    "id, operation, brand, currency, batch_id, totals, awaiting, outcome, rest_digest";

/// Records a request; `false` if its key has one already.
pub(crate) async fn insert(
    tx: &mut Tx,
    id: &str,
    wish: &Wish,
    rest: &RestKey,
    awaiting: &str,
    at_ms: i64,
) -> Result<bool, StoreError> {
    let totals = wish
        .totals
        .map(|totals| to_json(&totals, "batch_requests.totals"));
    let done = sqlx::query(
        "INSERT INTO batch_requests (id, operation, brand, currency, batch_id, totals, rest_key, rest_digest, awaiting, \
         asked_at_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (rest_key) DO NOTHING",
    )
    .bind(id)
    .bind(name(wish.operation))
    .bind(wish.brand.as_str())
    .bind(wish.currency.alpha())
    .bind(wish.batch_id.as_ref().map(|id| id.as_str()))
    .bind(totals.transpose()?)
    .bind(&rest.key)
    .bind(rest.digest.to_vec())
    .bind(awaiting)
    .bind(at_ms)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The request of this name.
pub(crate) async fn find(
    conn: &mut AnyConnection,
    id: &str,
) -> Result<Option<BatchRequest>, StoreError> {
    one(conn, "id", id).await
}

/// The request that a key stands for.
pub(crate) async fn of_key(
    conn: &mut AnyConnection,
    key: &str,
) -> Result<Option<BatchRequest>, StoreError> {
    one(conn, "rest_key", key).await
}

async fn one(
    conn: &mut AnyConnection,
    column: &str,
    value: &str,
) -> Result<Option<BatchRequest>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM batch_requests WHERE {column} = $1");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(value)
        .fetch_optional(conn)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let text = |column: usize| row.try_get::<String, _>(column);
    let optional = |column: usize| row.try_get::<Option<String>, _>(column);
    let batch_id = optional(4)?.map(|id| stored(&id, "batch_requests.batch_id"));
    let totals = optional(5)?.map(|json| from_json(&json, "batch_requests.totals"));
    let outcome = optional(7)?.map(|json| from_json(&json, "batch_requests.outcome"));
    let operation = match text(1)?.as_str() {
        "open" => BatchOperation::Open,
        "purge" => BatchOperation::Purge,
        "close" => BatchOperation::Close,
        _ => return Err(StoreError::Corrupt("batch_requests.operation")),
    };
    Ok(Some(BatchRequest {
        id: text(0)?,
        wish: Wish {
            operation,
            brand: stored(&text(2)?, "batch_requests.brand")?,
            currency: Currency::from_alpha(&text(3)?)
                .map_err(|_| StoreError::Corrupt("batch_requests.currency"))?,
            batch_id: batch_id.transpose()?,
            totals: totals.transpose()?,
        },
        awaiting: optional(6)?,
        outcome: outcome.transpose()?,
        rest_digest: row.try_get(8)?,
    }))
}

/// The same is asked for with another request.
pub(crate) async fn await_anew(tx: &mut Tx, id: &str, awaiting: &str) -> Result<(), StoreError> {
    let done =
        sqlx::query("UPDATE batch_requests SET awaiting = $1 WHERE id = $2 AND outcome IS NULL")
            .bind(awaiting)
            .bind(id)
            .execute(&mut **tx)
            .await?;
    one_row(done.rows_affected(), "the request was answered meanwhile")
}

/// Ends a request.
pub(crate) async fn end(
    tx: &mut Tx,
    id: &str,
    outcome: &Outcome,
    at_ms: i64,
) -> Result<(), StoreError> {
    let done = sqlx::query(
        "UPDATE batch_requests SET outcome = $1, done_at_ms = $2, awaiting = NULL WHERE id = $3 AND outcome IS NULL",
    )
    .bind(to_json(outcome, "batch_requests.outcome")?)
    .bind(at_ms)
    .bind(id)
    .execute(&mut **tx)
    .await?;
    one_row(done.rows_affected(), "the request was answered meanwhile")
}

fn name(operation: BatchOperation) -> &'static str {
    match operation {
        BatchOperation::Open => "open",
        BatchOperation::Purge => "purge",
        BatchOperation::Close => "close",
    }
}

impl BatchRequest {
    /// Whether the same was asked for.
    pub(crate) fn is_for(&self, rest: &RestKey) -> bool {
        self.rest_digest == rest.digest
    }
}
