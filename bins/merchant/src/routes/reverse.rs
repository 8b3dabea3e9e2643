//! `POST /orders/{id}/reverse`: the shop gives an authorization back, or a part of it, before it is captured.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use openset_protocol::ids::LocalId;
use openset_protocol::messages::initiation::Money;
use openset_protocol::money::CurrencyAmount;
use openset_service::problem::{self, Problem};
use openset_store::outbox::Outgoing;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tracing::Instrument as _;
use utoipa::ToSchema;

use super::Operator;
use super::order_view;
use super::replay::{Answer, Call, IdempotencyKey, Known};
use crate::gateway::reversal::{self, Draft};
use crate::gateway::sending::{self, AUTH_REV_REQ};
use crate::store::orders::Order;
use crate::store::payments::{Payment, State as Standing};
use crate::store::reversals;
use crate::{Merchant, schema};

/// How much is to stay authorized.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReverseRequest {
    /// Nothing, if it is left out.
    #[serde(default)]
    #[schema(value_type = Option<schema::Amount>)]
    new_amount: Option<Money>,
}

/// How far the reversal came.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReverseAnswer {
    #[schema(value_type = String)]
    order_id: LocalId,
    /// `reversed` when nothing is authorized any more, `authorized` for what is left, or `reversing` while the gateway
    /// does not answer; then it is asked on.
    state: &'static str,
    /// What is authorized now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Amount>)]
    authorized: Option<Money>,
}

/// Gives an authorization back, or a part of it.
#[utoipa::path(
    post, path = "/orders/{id}/reverse", tag = "operator", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "order_id"),
        ("Idempotency-Key" = String, Header, description = "The same key brings the same answer"),
    ),
    request_body(content = Option<ReverseRequest>, description = "Nothing, or what is to stay authorized"),
    responses(
        (status = 200, body = ReverseAnswer, description = "So much is authorized now"),
        (status = 202, body = ReverseAnswer, description = "The gateway does not answer; it is asked on"),
        (status = 400, content_type = "application/problem+json", description = "No Idempotency-Key"),
        (status = 401, content_type = "application/problem+json", description = "No token"),
        (status = 403, content_type = "application/problem+json", description = "A token of another scope"),
        (status = 404, content_type = "application/problem+json", description = "No such order"),
        (status = 409, content_type = "application/problem+json", description = "Not authorized, or captured"),
        (status = 422, content_type = "application/problem+json", description = "More than is authorized, another currency, or the key was used for another request"),
        (status = 502, content_type = "application/problem+json", description = "The gateway refused"),
    )
)]
pub(crate) async fn reverse(
    State(merchant): State<Arc<Merchant>>,
    _: Operator,
    Path(id): Path<String>,
    key: Option<IdempotencyKey>,
    body: Bytes,
) -> Result<Answer, Problem> {
    let request = if body.is_empty() {
        ReverseRequest::default()
    } else {
        problem::from_json(&body)?
    };
    let key = key.ok_or_else(|| {
        Problem::bad_request(
            "idempotency-key-missing",
            "send an Idempotency-Key, a fresh UUID for example, so that the request may be sent again",
        )
    })?;
    let (order, payment) = order_view::find(&merchant, &id).await?;
    let stands_for = format!("{}\n{}", order.id, String::from_utf8_lossy(&body));
    let call = Call::new(Some(key), "reversals", stands_for.as_bytes());
    let draft = match &payment {
        Some(payment) if payment.state == Standing::Authorized => {
            let new_amount = wanted(payment, request.new_amount)?;
            let draft = reversal::draft(&merchant, payment, new_amount).await?;
            Some((payment, draft))
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

/// What is to stay authorized of a payment.
fn wanted(payment: &Payment, new_amount: Option<Money>) -> Result<CurrencyAmount, Problem> {
    let refused = |pointer: &str, detail: String| {
        Problem::unprocessable("invalid-field", detail.clone()).with_field(pointer, detail)
    };
    let standing = payment.auth.as_ref().map(|(payload, _)| payload.auth_amt);
    let standing = standing.unwrap_or(payment.amount);
    let Some(new) = new_amount else {
        let nothing = CurrencyAmount::new(standing.currency(), 0);
        return nothing.map_err(Problem::internal);
    };
    if new.currency != standing.currency() {
        let detail = format!("use the order's currency, {}", standing.currency().alpha());
        return Err(refused("/new_amount/currency", detail));
    }
    if new.amount_minor > standing.minor() {
        let detail = format!(
            "name at most {} minor units: no more is authorized",
            standing.minor()
        );
        return Err(refused("/new_amount/amount_minor", detail));
    }
    CurrencyAmount::new(new.currency, new.amount_minor).map_err(Problem::internal)
}

/// What stands in the database after [`commit`].
enum Committed {
    /// The key's call was answered before.
    Answered(Answer),
    /// The key's call was begun before; the order tells how far it came.
    Known,
    /// AuthRevReq, which is to be sent now.
    Queued(Outgoing),
    /// There is nothing to reverse; nothing was changed.
    Impossible,
}

/// One transaction: the key is claimed, the payment is being reversed, AuthRevReq stands in the outbox.
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
    if !reversals::begin(&mut tx, &payment.xid, &awaiting).await? {
        return Ok(Committed::Impossible);
    }
    let (rrpid, reference) = (awaiting.rrpid(), payment.xid.to_string());
    let queued = sending::enqueue(&mut tx, merchant, AUTH_REV_REQ, rrpid, reference, wire).await?;
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
    let state = payment.map(|payment| payment.state);
    let refusal = payment.and_then(|payment| payment.rev_refusal.clone());
    let view = |state: Standing, authorized| ReverseAnswer {
        order_id: order.id.clone(),
        state: state.name(),
        authorized,
    };
    let answer = match (state, refusal) {
        (Some(state @ Standing::Reversing), _) => {
            return Answer::json(StatusCode::ACCEPTED, &view(state, None));
        }
        (_, Some(reason)) => Answer::problem(&Problem::bad_gateway("reversal-refused", reason))?,
        (state, None) => {
            let standing = payment.and_then(|payment| payment.auth.as_ref());
            let authorized = standing.map(|(payload, _)| payload.auth_amt.into());
            let state = state.unwrap_or(Standing::Authorized);
            Answer::json(StatusCode::OK, &view(state, authorized))?
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
        Some(Standing::Captured | Standing::Capturing) => Problem::conflict(
            "already-captured",
            "the order was captured, or is being; nothing was done",
        ),
        Some(Standing::Reversing | Standing::Authorized) => Problem::conflict(
            "reversal-in-progress",
            "the order is being reversed; GET it to see how far that is",
        ),
        Some(Standing::Reversed) => Problem::conflict(
            "already-reversed",
            "nothing is authorized any more; nothing was done",
        ),
        state => {
            let state = state.map_or("open", Standing::name);
            Problem::conflict(
                "not-authorized",
                format!("the order is {state}; only an authorized one can be reversed"),
            )
        }
    }
}
