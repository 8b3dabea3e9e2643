//! `GET /batches`: what stands in the acquirer's batches, as the shop counts and as the acquirer says.

use std::sync::Arc;

use axum::extract::{Path, State};
use openset_protocol::ids::LocalId;
use openset_protocol::messages::batch_admin::BatchTotals;
use openset_protocol::messages::initiation::Money;
use openset_protocol::{BrandId, Timestamp};
use openset_service::paging::{Asked, Page, Query};
use openset_service::problem::{Json, Problem};
use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use utoipa::{IntoParams, IntoResponses, ToSchema};

use super::Operator;
use super::money::invalid_field;
use crate::gateway::batches as asking;
use crate::store::batches::{self, Batch, Difference};
use crate::{Merchant, schema};

/// Which batches.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct BatchesQuery {
    /// `open` or `closed`.
    state: Option<String>,
    /// Not before this page's end: the `next` of the page before.
    after: Option<String>,
    /// How many, 50 unless it is said, 200 at most.
    limit: Option<u16>,
}

/// A batch of the acquirer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchView {
    #[schema(value_type = String)]
    batch_id: LocalId,
    #[schema(value_type = String, examples("Visa"))]
    brand: BrandId,
    #[schema(examples("EUR"))]
    currency: String,
    /// `open`, `closed`, or `opening`, `closing` or `purging` while the gateway has not answered.
    state: &'static str,
    /// What the shop counts in it.
    ours: Totals,
    /// What the acquirer counted when it was asked last; absent before.
    #[serde(skip_serializing_if = "Option::is_none")]
    acquirers: Option<Totals>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    opened_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    closed_at: Option<Timestamp>,
    /// SET's TransmissionStatus, once it is closed: `pending`, `inProgress`, `completedSuccessfully` or
    /// `batchRejectedByAcquirer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    transmission: Option<String>,
    /// What the acquirer has paid for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    payout: Option<PayoutView>,
    /// When the acquirer was asked last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    told_at: Option<Timestamp>,
}

/// What stands in a batch.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct Totals {
    /// Captures, and refunds that were cancelled.
    credits: u64,
    credits_minor: u64,
    /// Refunds, and captures that were cancelled.
    debits: u64,
    debits_minor: u64,
}

/// A payout.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PayoutView {
    #[schema(value_type = schema::Amount)]
    amount: Money,
    /// `credit` to the shop's account, `debit` from it.
    #[serde(rename = "type")]
    kind: &'static str,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The acquirer's name for it.
    reference: String,
}

/// What a comparison of a batch with the acquirer's items brought.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Comparison {
    #[schema(value_type = String)]
    batch_id: LocalId,
    /// Movements whose places in the batch were not known here, and are now.
    placed: u64,
    /// Movements that the acquirer had purged, and that are undone here, too, now.
    purged: u64,
    /// What one side has and the other has not, or not so.
    differences: Vec<DifferenceView>,
}

/// An item that both sides do not have alike.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DifferenceView {
    /// Its number in the batch.
    batch_sequence_num: u32,
    /// The purchase.
    xid: String,
    /// `capture`, `credit`, `capture_reversal` or `credit_reversal`.
    kind: String,
    /// `here`, `there` (at the acquirer), or `nowhere` where only the amount or the meaning differs.
    missing: &'static str,
    /// It was asked for, and its answer is still to come.
    awaited: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Amount>)]
    ours: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Amount>)]
    acquirers: Option<Money>,
}

/// Why the acquirer's word about a batch is not given: for the API's description alone.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "described, never made")]
enum NotAsked {
    /// No token
    #[response(status = 401, content_type = "application/problem+json")]
    NoToken,
    /// A token of another scope
    #[response(status = 403, content_type = "application/problem+json")]
    OtherScope,
    /// No such batch
    #[response(status = 404, content_type = "application/problem+json")]
    Unknown,
    /// The gateway does not answer, or not with its signature
    #[response(status = 502, content_type = "application/problem+json")]
    NoAnswer,
}

/// Lists batches, the newest first.
#[utoipa::path(
    get, path = "/batches", tag = "operator", security(("bearer" = [])), params(BatchesQuery),
    responses(
        (status = 200, body = Page<BatchView>),
        (status = 400, content_type = "application/problem+json", description = "`after` is no page's `next`"),
        (status = 401, content_type = "application/problem+json", description = "No token"),
        (status = 403, content_type = "application/problem+json", description = "A token of another scope"),
        (status = 422, content_type = "application/problem+json", description = "No such state"),
    )
)]
pub(crate) async fn list(
    State(merchant): State<Arc<Merchant>>,
    _: Operator,
    Query(query): Query<BatchesQuery>,
) -> Result<Json<Page<BatchView>>, Problem> {
    let asked = Asked::new(query.after.as_deref(), query.limit)?;
    let state = query.state.as_deref().unwrap_or_default();
    if !["", "open", "closed"].contains(&state) {
        let detail = "a batch is open or closed; leave it out for all";
        return Err(invalid_field("/state", detail.to_owned()));
    }
    let mut connection = merchant.db.read().await?;
    let found = batches::list(&mut connection, state, &asked).await?;
    let mut shown = Vec::with_capacity(found.len());
    for batch in found {
        let place = batch.place();
        shown.push((place, BatchView::of(&mut connection, batch).await?));
    }
    Ok(Json(asked.page(
        shown,
        |(place, _)| place.clone(),
        |(_, view)| view,
    )))
}

/// A batch.
#[utoipa::path(
    get, path = "/batches/{id}", tag = "operator", security(("bearer" = [])),
    params(("id" = String, Path, description = "batch_id")),
    responses(
        (status = 200, body = BatchView),
        (status = 401, content_type = "application/problem+json", description = "No token"),
        (status = 403, content_type = "application/problem+json", description = "A token of another scope"),
        (status = 404, content_type = "application/problem+json", description = "No such batch"),
    )
)]
pub(crate) async fn show(
    State(merchant): State<Arc<Merchant>>,
    _: Operator,
    Path(id): Path<String>,
) -> Result<Json<BatchView>, Problem> {
    let mut connection = merchant.db.read().await?;
    let batch = named(&mut connection, &id).await?;
    Ok(Json(BatchView::of(&mut connection, batch).await?))
}

/// Asks the acquirer how a batch stands. Closed ones are asked about without that until they are paid out.
#[utoipa::path(
    post, path = "/batches/{id}/refresh", tag = "operator", security(("bearer" = [])),
    params(("id" = String, Path, description = "batch_id")),
    responses(
        (status = 200, body = BatchView),
        NotAsked,
    )
)]
pub(crate) async fn refresh(
    State(merchant): State<Arc<Merchant>>,
    _: Operator,
    Path(id): Path<String>,
) -> Result<Json<BatchView>, Problem> {
    let batch = named(&mut *merchant.db.read().await?, &id).await?;
    let told = asking::look(&merchant, &batch, None).await;
    told.map_err(|error| no_answer(&error))?;
    let mut connection = merchant.db.read().await?;
    let batch = named(&mut connection, &id).await?;
    Ok(Json(BatchView::of(&mut connection, batch).await?))
}

/// Reads the acquirer's items of a batch, page by page, takes up what was not known here, and lists what differs.
#[utoipa::path(
    post, path = "/batches/{id}/reconcile", tag = "operator", security(("bearer" = [])),
    params(("id" = String, Path, description = "batch_id")),
    responses(
        (status = 200, body = Comparison),
        NotAsked,
    )
)]
pub(crate) async fn reconcile(
    State(merchant): State<Arc<Merchant>>,
    _: Operator,
    Path(id): Path<String>,
) -> Result<Json<Comparison>, Problem> {
    let batch = named(&mut *merchant.db.read().await?, &id).await?;
    let compared = asking::reconcile(&merchant, &batch).await;
    let compared = compared.map_err(|error| no_answer(&error))?;
    Ok(Json(Comparison {
        batch_id: batch.id,
        placed: compared.placed,
        purged: compared.purged,
        differences: compared
            .differences
            .into_iter()
            .map(DifferenceView::from)
            .collect(),
    }))
}

/// The batch of this name.
///
/// # Errors
/// 404 when there is none.
pub(super) async fn named(conn: &mut AnyConnection, id: &str) -> Result<Batch, Problem> {
    let found = batches::find(conn, id).await?;
    found.ok_or_else(|| {
        Problem::not_found(
            "no-such-batch",
            "nothing of this shop stands in a batch of this name; GET /batches to see those that are known",
        )
    })
}

/// The gateway was asked how something stands, and did not say.
pub(super) fn no_answer(error: &anyhow::Error) -> Problem {
    let error = format!("{error:#}");
    tracing::warn!(error, "the gateway was asked how something stands");
    Problem::bad_gateway(
        "no-answer",
        "the gateway does not answer, or not with its signature; nothing was changed there, ask again",
    )
}

impl BatchView {
    async fn of(conn: &mut AnyConnection, batch: Batch) -> Result<Self, Problem> {
        let ours = batches::own_totals(conn, &batch.id).await?;
        let payout = batch.payout.as_ref().map(|payout| PayoutView {
            amount: Money {
                currency: batch.currency,
                amount_minor: payout.minor.unsigned_abs(),
            },
            kind: if payout.minor < 0 { "debit" } else { "credit" },
            at: Timestamp::from_seconds(payout.at_s),
            reference: payout.reference.clone(),
        });
        let at = |ms: i64| Timestamp::from_seconds(ms.div_euclid(1000));
        Ok(Self {
            state: match batch.asked.as_deref() {
                _ if batch.is_closed => "closed",
                Some("close") => "closing",
                Some("purge") => "purging",
                _ => "open",
            },
            ours: ours.into(),
            acquirers: batch.told.map(Totals::from),
            opened_at: batch.opened_at_s.map(Timestamp::from_seconds),
            closed_at: batch.closed_at_s.map(Timestamp::from_seconds),
            payout,
            told_at: batch.told_at_ms.map(at),
            currency: batch.currency.alpha().to_owned(),
            batch_id: batch.id,
            brand: batch.brand,
            transmission: batch.transmission,
        })
    }
}

impl From<BatchTotals> for Totals {
    fn from(totals: BatchTotals) -> Self {
        Self {
            credits: totals.transaction_count_credit,
            credits_minor: totals.transaction_total_credit_minor,
            debits: totals.transaction_count_debit,
            debits_minor: totals.transaction_total_debit_minor,
        }
    }
}

impl From<Difference> for DifferenceView {
    fn from(one: Difference) -> Self {
        Self {
            batch_sequence_num: one.seq,
            xid: one.xid,
            kind: one.kind,
            missing: match (&one.ours, &one.theirs) {
                (None, _) => "here",
                (_, None) => "there",
                _ => "nowhere",
            },
            awaited: one.awaited,
            ours: one.ours.map(Money::from),
            acquirers: one.theirs.map(Money::from),
        }
    }
}
