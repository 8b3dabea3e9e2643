//! `POST /orders/{id}/capture`: the shop asks for its money.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use openset_protocol::Timestamp;
use openset_protocol::ids::LocalId;
use openset_protocol::messages::initiation::Money;
use openset_service::problem::{self, Problem};
use openset_store::outbox::Outgoing;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tracing::Instrument as _;
use utoipa::ToSchema;

use super::Operator;
use super::order_view;
use super::replay::{Answer, Call, IdempotencyKey, Known};
use crate::gateway::capture::{self as cap, Draft};
use crate::gateway::sending::{self, CAP_REQ};
use crate::store::orders::Order;
use crate::store::payments::{self, Payment, State as Standing};
use crate::{Merchant, schema};

/// The whole amount is captured, so there is nothing to say.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CaptureRequest {}

/// How far the capture came.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CaptureAnswer {
    #[schema(value_type = String)]
    order_id: LocalId,
    /// `captured`, or `capturing` while the gateway does not answer; then it is asked on.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Amount>)]
    captured: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    captured_at: Option<Timestamp>,
}

/// Captures all that was authorized.
#[utoipa::path(
    post, path = "/orders/{id}/capture", tag = "operator", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "order_id"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key brings the same answer"),
    ),
    request_body(content = Option<CaptureRequest>, description = "Nothing, or an empty object"),
    responses(
        (status = 200, body = CaptureAnswer, description = "Captured"),
        (status = 202, body = CaptureAnswer, description = "The gateway does not answer; it is asked on"),
        (status = 401, content_type = "application/problem+json", description = "No token"),
        (status = 403, content_type = "application/problem+json", description = "A token of another scope"),
        (status = 404, content_type = "application/problem+json", description = "No such order"),
        (status = 409, content_type = "application/problem+json", description = "Not authorized, or captured before"),
        (status = 422, content_type = "application/problem+json", description = "The key was used for another request"),
        (status = 502, content_type = "application/problem+json", description = "The gateway refused"),
    )
)]
pub(crate) async fn capture(
    State(merchant): State<Arc<Merchant>>,
    _: Operator,
    Path(id): Path<String>,
    key: Option<IdempotencyKey>,
    body: Bytes,
) -> Result<Answer, Problem> {
    if !body.is_empty() {
        let CaptureRequest {} = problem::from_json(&body)?;
    }
    let (order, payment) = order_view::find(&merchant, &id).await?;
    // Which order it is belongs to what the key stands for.
    let call = Call::new(key, "captures", order.id.as_str().as_bytes());
    let draft = match &payment {
        Some(payment) if payment.state == Standing::Authorized => {
            Some((payment, cap::draft(&merchant, payment).await?))
        }
        _ => None,
    };
    match commit(&merchant, call.as_ref(), draft).await? {
        Committed::Answered(answer) => return Ok(answer),
        Committed::Known => {}
        Committed::Impossible => return Err(impossible(payment.as_ref())),
        Committed::Queued(outgoing) => {
            let sending = sending::send_now(Arc::clone(&merchant), outgoing).in_current_span();
            // Without an answer in time the sending goes on by itself.
            let _ = timeout(merchant.settings.authorization_wait, tokio::spawn(sending)).await;
        }
    }
    let (order, payment) = order_view::find(&merchant, &id).await?;
    conclude(&merchant, &order, payment.as_ref(), call.as_ref()).await
}

/// What stands in the database after [`commit`].
enum Committed {
    /// The key's call was answered before.
    Answered(Answer),
    /// The key's call was begun before; the order tells how far it came.
    Known,
    /// CapReq, which is to be sent now.
    Queued(Outgoing),
    /// There is nothing to capture; nothing was changed.
    Impossible,
}

/// One transaction: the key is claimed, the payment is being captured, CapReq stands in the outbox.
async fn commit(
    merchant: &Merchant,
    call: Option<&Call>,
    draft: Option<(&Payment, Draft)>,
) -> Result<Committed, Problem> {
    let mut tx = merchant.db.begin().await?;
    if let Some(call) = call {
        match call.claim(&mut tx).await? {
            Known::Answered(answer) => return Ok(Committed::Answered(answer)),
            Known::Begun => return Ok(Committed::Known),
            Known::New => {}
        }
    }
    let Some((payment, Draft { awaiting, wire })) = draft else {
        return Ok(Committed::Impossible);
    };
    if !payments::begin_capture(&mut tx, &payment.xid, &awaiting).await? {
        return Ok(Committed::Impossible);
    }
    let (rrpid, reference) = (awaiting.rrpid(), payment.xid.to_string());
    let queued = sending::enqueue(&mut tx, merchant, CAP_REQ, rrpid, reference, wire).await?;
    tx.commit().await?;
    Ok(Committed::Queued(queued))
}

/// The answer by what the order has become; kept under the key once it is final.
async fn conclude(
    merchant: &Merchant,
    order: &Order,
    payment: Option<&Payment>,
    call: Option<&Call>,
) -> Result<Answer, Problem> {
    let answer = |status, state, payment: Option<&Payment>| {
        let captured = payment.and_then(|payment| payment.captured);
        let view = CaptureAnswer {
            order_id: order.id.clone(),
            state,
            captured: captured.map(|(_, amount)| amount.into()),
            captured_at: captured.map(|(at, _)| at),
        };
        Answer::json(status, &view)
    };
    let answer = match payment.map(|payment| payment.state) {
        Some(Standing::Captured) => answer(StatusCode::OK, "captured", payment)?,
        Some(Standing::Capturing) => return answer(StatusCode::ACCEPTED, "capturing", None),
        _ => {
            let reason = payment.and_then(|payment| payment.cap_refusal.clone());
            let reason = reason.unwrap_or_else(|| "the capture brought nothing".to_owned());
            Answer::problem(&Problem::bad_gateway("capture-refused", reason))?
        }
    };
    if let Some(call) = call {
        let mut tx = merchant.db.begin().await?;
        match call.claim(&mut tx).await? {
            Known::Answered(answer) => return Ok(answer),
            Known::Begun | Known::New => call.complete(&mut tx, &answer).await?,
        }
        tx.commit().await?;
    }
    Ok(answer)
}

fn impossible(payment: Option<&Payment>) -> Problem {
    match payment.map(|payment| payment.state) {
        Some(Standing::Captured) => Problem::conflict(
            "already-captured",
            "the order was captured before; nothing was done",
        ),
        Some(Standing::Reversing) => Problem::conflict(
            "reversal-in-progress",
            "the authorization is being reversed; GET the order to see how far that is",
        ),
        Some(Standing::Capturing | Standing::Authorized) => Problem::conflict(
            "capture-in-progress",
            "the order is being captured; GET it to see how far that is",
        ),
        state => {
            let state = state.map_or("open", Standing::name);
            Problem::conflict(
                "not-authorized",
                format!("the order is {state}; only an authorized one can be captured"),
            )
        }
    }
}
