//! `POST /batches` opens a batch, `/close` closes one so that it is paid out, `/purge` undoes what stands in one.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use openset_protocol::BrandId;
use openset_protocol::ids::LocalId;
use openset_protocol::messages::batch_admin::{BaStatus, BatchOperation, BatchTotals};
use openset_protocol::messages::initiation::Money;
use openset_protocol::money::Currency;
use openset_service::clock;
use openset_service::problem::{self, Problem};
use openset_store::StoreError;
use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use tokio::time::timeout;
use tracing::Instrument as _;
use utoipa::{IntoResponses, ToSchema};

use super::Operator;
use super::batches::{Totals, named};
use super::money::{invalid_field, key_reused};
use super::replay::{Answer, IdempotencyKey};
use crate::gateway::{batches as asking, sending};
use crate::store::batch_requests::{self, BatchRequest, Outcome, Wish};
use crate::store::batches;
use crate::store::movements::RestKey;
use crate::{Merchant, schema};

/// Which batch is to be opened.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenRequest {
    /// May be left out by a shop with one brand.
    #[serde(default)]
    #[schema(value_type = Option<String>, examples("Visa"))]
    brand: Option<BrandId>,
    #[schema(value_type = String, examples("EUR"))]
    currency: Currency,
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Changed {
    /// The request's name.
    request: String,
    /// Absent while the acquirer has not named the one that is to be opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    batch_id: Option<LocalId>,
    /// `open`, `closed` or `purged`; `opening`, `closing` or `purging` while the gateway has not answered. Then it is
    /// asked on.
    state: &'static str,
    /// What stands in it, of a closed one for good; of a purge it is asked for by `/refresh`.
    #[serde(skip_serializing_if = "Option::is_none")]
    totals: Option<Totals>,
    /// What a purge has undone: 32 movements at most. Purge again, with another key, until there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    undone: Option<Vec<UndoneView>>,
    /// Numbers of what the acquirer has undone, and that is not known here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown: Vec<u32>,
}

/// A capture or a refund that is as if it had not been.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UndoneView {
    #[schema(value_type = String)]
    order_id: LocalId,
    /// Its name.
    movement: String,
    #[schema(value_type = schema::Amount)]
    amount: Money,
}

/// Opens a batch. One opens of itself with the first capture, so nobody needs to.
#[utoipa::path(
    post, path = "/batches", tag = "operator", security(("bearer" = [])),
    params(("Idempotency-Key" = String, Header, description = "The same key brings the same answer, for good")),
    request_body(content = OpenRequest),
    responses(
        (status = 200, body = Changed, description = "Opened"),
        (status = 202, body = Changed, description = "The gateway does not answer; it is asked on"),
        (status = 400, content_type = "application/problem+json", description = "No Idempotency-Key"),
        (status = 401, content_type = "application/problem+json", description = "No token"),
        (status = 403, content_type = "application/problem+json", description = "A token of another scope"),
        (status = 409, content_type = "application/problem+json", description = "One is open"),
        (status = 422, content_type = "application/problem+json", description = "Not a brand of the shop, or the key was used for another request"),
        (status = 502, content_type = "application/problem+json", description = "The gateway refused"),
    )
)]
pub(crate) async fn open(
    State(merchant): State<Arc<Merchant>>,
    _: Operator,
    key: Option<IdempotencyKey>,
    body: Bytes,
) -> Result<Answer, Problem> {
    let rest = RestKey::of(key, "open-batch", &body)?;
    let request: OpenRequest = problem::from_json(&body)?;
    let brands = &merchant.settings.brands;
    let brand = match (request.brand, brands.as_slice()) {
        (None, [only]) => only.clone(),
        (Some(brand), all) if all.contains(&brand) => brand,
        _ => {
            let detail = format!("name one of the shop's {} brands", brands.len());
            return Err(invalid_field("/brand", detail));
        }
    };
    let wish = Wish {
        operation: BatchOperation::Open,
        brand,
        currency: request.currency,
        batch_id: None,
        totals: None,
    };
    perform(&merchant, rest, wish).await
}

/// Why a batch stays as it is: for the API's description alone.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "described, never made")]
enum Unchanged {
    /// No Idempotency-Key
    #[response(status = 400, content_type = "application/problem+json")]
    NoKey,
    /// No token
    #[response(status = 401, content_type = "application/problem+json")]
    NoToken,
    /// A token of another scope
    #[response(status = 403, content_type = "application/problem+json")]
    OtherScope,
    /// No such batch
    #[response(status = 404, content_type = "application/problem+json")]
    Unknown,
    /// The key was used for another request
    #[response(status = 422, content_type = "application/problem+json")]
    KeyReused,
    /// The gateway refused
    #[response(status = 502, content_type = "application/problem+json")]
    Refused,
}

/// Closes a batch with what the shop counts in it. The acquirer pays it out if it counts the same.
#[utoipa::path(
    post, path = "/batches/{id}/close", tag = "operator", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "batch_id"),
        ("Idempotency-Key" = String, Header, description = "The same key brings the same answer, for good"),
    ),
    responses(
        (status = 200, body = Changed, description = "Closed"),
        (status = 202, body = Changed, description = "The gateway does not answer, or something of the batch is at work; it is asked on"),
        Unchanged,
        (status = 409, content_type = "application/problem+json", description = "It is not open, or the acquirer counts otherwise: POST /batches/{id}/reconcile tells what"),
    )
)]
pub(crate) async fn close(
    State(merchant): State<Arc<Merchant>>,
    _: Operator,
    Path(id): Path<String>,
    key: Option<IdempotencyKey>,
) -> Result<Answer, Problem> {
    change(&merchant, &id, key, BatchOperation::Close).await
}

/// Undoes what stands in an open batch, 32 captures and refunds at a time: the orders are authorized again.
#[utoipa::path(
    post, path = "/batches/{id}/purge", tag = "operator", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "batch_id"),
        ("Idempotency-Key" = String, Header, description = "The same key brings the same answer, for good"),
    ),
    responses(
        (status = 200, body = Changed, description = "What was undone"),
        (status = 202, body = Changed, description = "The gateway does not answer; it is asked on"),
        Unchanged,
        (status = 409, content_type = "application/problem+json", description = "It is not open"),
    )
)]
pub(crate) async fn purge(
    State(merchant): State<Arc<Merchant>>,
    _: Operator,
    Path(id): Path<String>,
    key: Option<IdempotencyKey>,
) -> Result<Answer, Problem> {
    change(&merchant, &id, key, BatchOperation::Purge).await
}

async fn change(
    merchant: &Arc<Merchant>,
    id: &str,
    key: Option<IdempotencyKey>,
    operation: BatchOperation,
) -> Result<Answer, Problem> {
    let mut connection = merchant.db.read().await?;
    let batch = named(&mut connection, id).await?;
    let (route, totals) = match operation {
        BatchOperation::Close => {
            let totals = batches::own_totals(&mut connection, &batch.id).await?;
            ("close-batch", Some(totals))
        }
        _ => ("purge-batch", None),
    };
    drop(connection);
    let rest = RestKey::of(key, route, batch.id.as_str().as_bytes())?;
    let wish = Wish {
        operation,
        brand: batch.brand,
        currency: batch.currency,
        batch_id: Some(batch.id),
        totals,
    };
    perform(merchant, rest, wish).await
}

impl RestKey {
    /// The key of a request about batches, and what it stands for.
    fn of(key: Option<IdempotencyKey>, route: &str, about: &[u8]) -> Result<Self, Problem> {
        let key = key.ok_or_else(super::money::key_missing)?;
        let mut stands_for = format!("{route}\n").into_bytes();
        stands_for.extend_from_slice(about);
        Ok(Self {
            key: key.into(),
            digest: openset_jose::sha256(&stands_for),
        })
    }
}

/// Asks the gateway once, and waits for the answer, but not for ever.
async fn perform(merchant: &Arc<Merchant>, rest: RestKey, wish: Wish) -> Result<Answer, Problem> {
    if let Some(known) = known(&mut *merchant.db.read().await?, &rest).await? {
        return answer(&known);
    }
    let draft = asking::draft(merchant, &wish).await?;
    let id = draft.id();
    let mut tx = merchant.db.begin().await?;
    if let (Some(totals), Some(batch_id)) = (wish.totals, &wish.batch_id)
        && batches::own_totals(&mut tx, batch_id).await? != totals
    {
        return Err(Problem::unavailable(
            "overtaken",
            "something has come into the batch meanwhile; send the same again",
        ));
    }
    let now_ms = clock::now_ms();
    if !batch_requests::insert(&mut tx, &id, &wish, &rest, &draft.awaiting, now_ms).await? {
        drop(tx);
        // The same call was a moment faster.
        let known = known(&mut *merchant.db.read().await?, &rest).await?;
        return answer(&known.ok_or_else(key_reused)?);
    }
    let outgoing = draft.outgoing(merchant, id.clone());
    tx.commit_with(vec![sending::enqueue(merchant, &outgoing)])
        .await?;
    let sending = sending::send_now(Arc::clone(merchant), outgoing).in_current_span();
    // Without an answer in time the sending goes on by itself.
    let _ = timeout(merchant.settings.authorization_wait, tokio::spawn(sending)).await;
    let stored = batch_requests::find(&mut *merchant.db.read().await?, &id).await?;
    answer(&stored.ok_or(StoreError::Corrupt("batch_requests.id"))?)
}

/// The request that the key stands for.
///
/// # Errors
/// 422 when it stands for another one.
async fn known(conn: &mut AnyConnection, rest: &RestKey) -> Result<Option<BatchRequest>, Problem> {
    match batch_requests::of_key(conn, &rest.key).await? {
        Some(known) if !known.is_for(rest) => Err(key_reused()),
        known => Ok(known),
    }
}

/// The answer by what came of the request; the same for good once the gateway has spoken.
fn answer(stored: &BatchRequest) -> Result<Answer, Problem> {
    let operation = stored.wish.operation;
    let Some(outcome) = &stored.outcome else {
        let state = match operation {
            BatchOperation::Open => "opening",
            BatchOperation::Purge => "purging",
            BatchOperation::Close => "closing",
        };
        let view = Changed {
            request: stored.id.clone(),
            batch_id: stored.wish.batch_id.clone(),
            state,
            totals: None,
            undone: None,
            unknown: Vec::new(),
        };
        return Answer::json(StatusCode::ACCEPTED, &view);
    };
    if outcome.status != BaStatus::Success {
        return Answer::problem(refused(stored, outcome));
    }
    let state = match operation {
        BatchOperation::Open => "open",
        BatchOperation::Purge => "purged",
        BatchOperation::Close => "closed",
    };
    let undone = outcome.undone.iter().map(|one| UndoneView {
        order_id: one.order_id.clone(),
        movement: one.movement.clone(),
        amount: one.amount.into(),
    });
    let is_purge = operation == BatchOperation::Purge;
    let view = Changed {
        request: stored.id.clone(),
        batch_id: outcome.batch_id.clone(),
        state,
        totals: outcome.totals.map(Totals::from),
        undone: is_purge.then(|| undone.collect()),
        unknown: outcome.unknown.clone(),
    };
    Answer::json(StatusCode::OK, &view)
}

fn refused(stored: &BatchRequest, outcome: &Outcome) -> Problem {
    match outcome.status {
        BaStatus::TotalsOutOfBalance => Problem::conflict(
            "totals-out-of-balance",
            format!(
                "the shop counts {}, the acquirer {}; POST /batches/{{id}}/reconcile tells which movement is missing where, \
                 then close it with another key",
                shown(stored.wish.totals),
                shown(outcome.totals)
            ),
        ),
        BaStatus::UnknownBatchId => Problem::conflict(
            "batch-not-open",
            "the acquirer has no open batch of this name; POST /batches/{id}/refresh tells how it stands",
        ),
        BaStatus::BatchAlreadyOpen => {
            let named = outcome.batch_id.as_ref().map_or("", LocalId::as_str);
            Problem::conflict(
                "batch-already-open",
                format!("batch {named} is open in this currency; use that one"),
            )
        }
        status => {
            let why = outcome.refusal.clone();
            let why = why.unwrap_or_else(|| format!("the gateway did not do it: {status:?}"));
            Problem::bad_gateway("batch-refused", why)
        }
    }
}

fn shown(totals: Option<BatchTotals>) -> String {
    let Some(totals) = totals else {
        return "nothing".to_owned();
    };
    format!(
        "{} credits of {} and {} debits of {} minor units",
        totals.transaction_count_credit,
        totals.transaction_total_credit_minor,
        totals.transaction_count_debit,
        totals.transaction_total_debit_minor
    )
}
