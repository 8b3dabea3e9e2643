//! The batches of merchants, and how far they are paid out.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use openset_protocol::Timestamp;
use openset_protocol::messages::batch_admin::BatchTotals;
use openset_service::paging::{Asked, Page, Query};
use openset_service::problem::{Json, Problem};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Operator;
use crate::Gateway;
use crate::store::batch_reports::{self, Batch, Filter};
use crate::store::settlements;

/// Which batches.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct BatchesQuery {
    /// Of this merchant alone.
    merchant_id: Option<String>,
    /// `open`, `closing` or `closed`.
    state: Option<String>,
    /// Not before this page's end: the `next` of the page before.
    after: Option<String>,
    /// How many, 50 unless it is said, 200 at most.
    limit: Option<u16>,
}

/// A merchant's batch.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchView {
    id: String,
    merchant_id: String,
    #[schema(examples("Visa"))]
    brand: String,
    #[schema(examples("EUR"))]
    currency: String,
    /// `open`, `closing` (something of it is at work) or `closed`.
    state: &'static str,
    #[schema(value_type = String, format = DateTime)]
    opened_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    closed_at: Option<Timestamp>,
    /// Captures, and refunds that were cancelled.
    credits: u64,
    credits_minor: u64,
    /// Refunds, and captures that were cancelled.
    debits: u64,
    debits_minor: u64,
    /// SET's TransmissionStatus, once it is closed: `pending`, `inProgress`, `completedSuccessfully` or
    /// `batchRejectedByAcquirer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    transmission: Option<String>,
    /// When it was paid out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    paid_at: Option<Timestamp>,
}

/// The batches of all merchants, the newest first.
#[utoipa::path(
    get, path = "/batches", tag = "operator",
    params(BatchesQuery),
    responses(
        (status = 200, body = Page<BatchView>),
        (status = 400, content_type = "application/problem+json", description = "`after` is no page's `next`"),
    )
)]
pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    _: Operator,
    Query(query): Query<BatchesQuery>,
) -> Result<Json<Page<BatchView>>, Problem> {
    let asked = Asked::new(query.after.as_deref(), query.limit)?;
    let filter = Filter {
        merchant_id: query.merchant_id.as_deref().unwrap_or_default(),
        state: query.state.as_deref().unwrap_or_default(),
    };
    let mut connection = gateway.db.read().await?;
    let found = batch_reports::list(&mut connection, &filter, &asked).await?;
    let mut shown = Vec::with_capacity(found.len());
    for batch in found {
        let totals = batch_reports::totals(&mut connection, &batch).await?;
        shown.push((batch, totals));
    }
    Ok(Json(asked.page(
        shown,
        |(batch, _)| batch.place(),
        |(batch, totals)| BatchView::of(batch, totals),
    )))
}

/// Goes on with a batch that the issuer had rejected, once people have looked into it.
#[utoipa::path(
    post, path = "/batches/{id}/settle", tag = "operator",
    params(("id" = String, Path, description = "The batch's id")),
    responses(
        (status = 204, description = "The issuer is asked again"),
        (status = 409, content_type = "application/problem+json", description = "There is no such batch, or it was not rejected"),
    )
)]
pub(super) async fn settle(
    State(gateway): State<Arc<Gateway>>,
    _: Operator,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let mut tx = gateway.db.begin().await?;
    if !settlements::retry(&mut tx, &id).await? {
        return Err(Problem::conflict(
            "not-rejected",
            "only a batch that the issuer has rejected is settled again; GET /batches to see them",
        ));
    }
    tx.commit().await?;
    tracing::info!(batch = id, "a rejected batch is settled again");
    Ok(StatusCode::NO_CONTENT)
}

impl BatchView {
    fn of(batch: Batch, totals: BatchTotals) -> Self {
        Self {
            state: batch.state.name(),
            opened_at: Timestamp::from_seconds(batch.opened_at_s),
            closed_at: batch.closed_at_s.map(Timestamp::from_seconds),
            credits: totals.transaction_count_credit,
            credits_minor: totals.transaction_total_credit_minor,
            debits: totals.transaction_count_debit,
            debits_minor: totals.transaction_total_debit_minor,
            paid_at: batch.paid_at_s.map(Timestamp::from_seconds),
            id: batch.id,
            merchant_id: batch.merchant_id,
            brand: batch.brand,
            currency: batch.currency,
            transmission: batch.transmission,
        }
    }
}
