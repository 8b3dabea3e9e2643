//! After the capture: `POST /orders/{id}/refund` gives money back, `/void-capture` and `/void-refund` cancel.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use openset_protocol::balance::{No, Original, Standing};
use openset_protocol::messages::cap_rev_or_cred::CapRevOrCredCode;
use openset_protocol::messages::initiation::Money;
use openset_service::problem::{self, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Operator;
use super::money::{self, Call, Moved, at_most, invalid_field, not_possible, pick};
use super::replay::{Answer, IdempotencyKey};
use crate::gateway::asking::{What, Wish};
use crate::store::authorizations::Authorization;
use crate::store::movements::Movement;
use crate::store::payments::{Payment, State as At};
use crate::{Merchant, schema};

/// Which capture is cancelled.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VoidCaptureRequest {
    /// The number of the authorization; needed where several were captured.
    #[serde(default)]
    #[schema(minimum = 1)]
    auth: Option<i64>,
}

/// How much goes back, and of which authorization.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefundRequest {
    /// All that is left of the capture, if it is left out.
    #[serde(default)]
    #[schema(value_type = Option<schema::Amount>)]
    amount: Option<Money>,
    /// The number of the authorization; needed where several were captured.
    #[serde(default)]
    #[schema(minimum = 1)]
    auth: Option<i64>,
}

/// Which refund is cancelled.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VoidRefundRequest {
    /// Its `movement`, as the refund was answered.
    refund: String,
}

/// Cancels a capture of which nothing went back: the order is authorized again, for what was captured.
#[utoipa::path(
    post, path = "/orders/{id}/void-capture", tag = "operator", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "order_id"),
        ("Idempotency-Key" = String, Header, description = "The same key brings the same answer, for good"),
    ),
    request_body(content = Option<VoidCaptureRequest>, description = "Nothing, or of which authorization"),
    responses(
        (status = 200, body = Moved, description = "Cancelled"),
        (status = 202, body = Moved, description = "The gateway does not answer; it is asked on"),
        (status = 400, content_type = "application/problem+json", description = "No Idempotency-Key"),
        (status = 401, content_type = "application/problem+json", description = "No token"),
        (status = 403, content_type = "application/problem+json", description = "A token of another scope"),
        (status = 404, content_type = "application/problem+json", description = "No such order"),
        (status = 409, content_type = "application/problem+json", description = "Not captured, or a refund stands"),
        (status = 422, content_type = "application/problem+json", description = "The key was used for another request"),
        (status = 502, content_type = "application/problem+json", description = "The gateway refused"),
    )
)]
pub(crate) async fn void_capture(
    State(merchant): State<Arc<Merchant>>,
    _: Operator,
    Path(order_id): Path<String>,
    key: Option<IdempotencyKey>,
    body: Bytes,
) -> Result<Answer, Problem> {
    let call = Call {
        route: "void-capture",
        order_id,
        key,
        body,
    };
    let request: VoidCaptureRequest = call.body()?;
    money::perform(&merchant, &call, |payment| wish_void(payment, &request)).await
}

fn wish_void(payment: Option<&Payment>, request: &VoidCaptureRequest) -> Result<Wish, Problem> {
    let (payment, one, capture) = captured(payment, request.auth)?;
    let may = payment.for_rules();
    let may = may
        .may_reverse_capture(&one.for_rules(), None, 0)
        .map(|_| ());
    may.map_err(|no| match no {
        No::Busy => Problem::conflict(
            "refund-in-progress",
            "a refund of the capture is asked for; GET the order to see how far that is",
        ),
        No::Code(CapRevOrCredCode::OriginalProcessed) => Problem::conflict(
            "refund-stands",
            "money of this capture went back; cancel its refunds first",
        ),
        No::Code(code) => not_possible(&format!("{code:?}")),
    })?;
    let amount = payment.of(capture.amount_minor);
    let amount = amount.ok_or_else(|| not_possible("its amount"))?;
    Ok(Wish {
        auth_number: one.number,
        what: What::VoidCapture(capture.id.clone(), capture.batch.clone(), amount),
        amount_minor: capture.amount_minor,
    })
}

/// Gives back what was captured, or a part of it; several times, up to what was captured.
#[utoipa::path(
    post, path = "/orders/{id}/refund", tag = "operator", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "order_id"),
        ("Idempotency-Key" = String, Header, description = "The same key brings the same answer, for good"),
    ),
    request_body(content = Option<RefundRequest>, description = "Nothing, or how much"),
    responses(
        (status = 200, body = Moved, description = "So much went back"),
        (status = 202, body = Moved, description = "The gateway does not answer; it is asked on"),
        (status = 400, content_type = "application/problem+json", description = "No Idempotency-Key"),
        (status = 401, content_type = "application/problem+json", description = "No token"),
        (status = 403, content_type = "application/problem+json", description = "A token of another scope"),
        (status = 404, content_type = "application/problem+json", description = "No such order"),
        (status = 409, content_type = "application/problem+json", description = "Not captured, or all of it went back before"),
        (status = 422, content_type = "application/problem+json", description = "More than is left of the capture, another currency, or the key was used for another request"),
        (status = 502, content_type = "application/problem+json", description = "The gateway refused"),
    )
)]
pub(crate) async fn refund(
    State(merchant): State<Arc<Merchant>>,
    _: Operator,
    Path(order_id): Path<String>,
    key: Option<IdempotencyKey>,
    body: Bytes,
) -> Result<Answer, Problem> {
    let call = Call {
        route: "refund",
        order_id,
        key,
        body,
    };
    let request: RefundRequest = call.body()?;
    money::perform(&merchant, &call, |payment| wish_refund(payment, &request)).await
}

fn wish_refund(payment: Option<&Payment>, request: &RefundRequest) -> Result<Wish, Problem> {
    let (payment, one, capture) = captured(payment, request.auth)?;
    let rules = one.for_rules();
    let left_minor = capture.amount_minor.saturating_sub(rules.credited_minor());
    if left_minor == 0 {
        return Err(Problem::conflict(
            "already-refunded",
            "all that was captured went back, or is about to; nothing was done",
        ));
    }
    let amount = match &request.amount {
        Some(named) if named.amount_minor == 0 => {
            let detail = "name at least 1 minor unit".to_owned();
            return Err(invalid_field("/amount/amount_minor", detail));
        }
        Some(named) => {
            let why = "no more is left of the capture";
            at_most(payment, "amount", named, left_minor, why)?
        }
        None => payment
            .of(left_minor)
            .ok_or_else(|| not_possible("its amount"))?,
    };
    let may = payment.for_rules().may_credit(&rules, amount, 0);
    may.map_err(|no| not_possible(&format!("{no:?}")))?;
    Ok(Wish {
        auth_number: one.number,
        what: What::Refund(capture.batch.clone(), amount),
        amount_minor: amount.minor(),
    })
}

/// Cancels a refund: what went back is owed again.
#[utoipa::path(
    post, path = "/orders/{id}/void-refund", tag = "operator", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "order_id"),
        ("Idempotency-Key" = String, Header, description = "The same key brings the same answer, for good"),
    ),
    request_body(content = VoidRefundRequest, description = "Which refund"),
    responses(
        (status = 200, body = Moved, description = "Cancelled"),
        (status = 202, body = Moved, description = "The gateway does not answer; it is asked on"),
        (status = 400, content_type = "application/problem+json", description = "No Idempotency-Key"),
        (status = 401, content_type = "application/problem+json", description = "No token"),
        (status = 403, content_type = "application/problem+json", description = "A token of another scope"),
        (status = 404, content_type = "application/problem+json", description = "No such order"),
        (status = 409, content_type = "application/problem+json", description = "The refund was cancelled before, or is not answered yet"),
        (status = 422, content_type = "application/problem+json", description = "No refund of the order has this name, or the key was used for another request"),
        (status = 502, content_type = "application/problem+json", description = "The gateway refused"),
    )
)]
pub(crate) async fn void_refund(
    State(merchant): State<Arc<Merchant>>,
    _: Operator,
    Path(order_id): Path<String>,
    key: Option<IdempotencyKey>,
    body: Bytes,
) -> Result<Answer, Problem> {
    let call = Call {
        route: "void-refund",
        order_id,
        key,
        body,
    };
    let request: VoidRefundRequest = problem::from_json(&call.body)?;
    money::perform(&merchant, &call, |payment| {
        wish_void_refund(payment, &request.refund)
    })
    .await
}

fn wish_void_refund(payment: Option<&Payment>, refund: &str) -> Result<Wish, Problem> {
    let Some(payment) = payment else {
        return Err(impossible(None));
    };
    let unknown = || {
        let detail = "no refund of this order has this name: take the movement of its answer";
        invalid_field("/refund", detail.to_owned())
    };
    let of = |one: &&Authorization| one.movements.iter().any(|movement| movement.id == refund);
    let one = payment.authorizations.iter().find(of);
    let one = one.ok_or_else(unknown)?;
    let original = Original {
        id: refund,
        amount: None,
    };
    let rules = payment.for_rules();
    match rules.may_reverse_credit(&one.for_rules(), original, 0) {
        Ok(_) => {}
        Err(No::Busy) => {
            return Err(Problem::conflict(
                "refund-in-progress",
                "the refund, or something else of the payment, is not answered yet; GET the order to see how far it is",
            ));
        }
        Err(No::Code(CapRevOrCredCode::OriginalProcessed | CapRevOrCredCode::CapPurged)) => {
            return Err(Problem::conflict(
                "already-voided",
                "the refund was cancelled before; nothing was done",
            ));
        }
        Err(No::Code(_)) => return Err(unknown()),
    }
    let credit = one.movements.iter().find(|movement| movement.id == refund);
    let credit = credit.ok_or_else(unknown)?;
    let amount = payment.of(credit.amount_minor);
    let amount = amount.ok_or_else(|| not_possible("its amount"))?;
    Ok(Wish {
        auth_number: one.number,
        what: What::VoidRefund(credit.id.clone(), credit.batch.clone(), amount),
        amount_minor: credit.amount_minor,
    })
}

/// The authorization whose capture a request is about, and the capture.
fn captured(
    payment: Option<&Payment>,
    auth: Option<i64>,
) -> Result<(&Payment, &Authorization, &Movement), Problem> {
    let Some(payment) = payment else {
        return Err(impossible(None));
    };
    let taken = |one: &Authorization| matches!(one.standing(), Standing::Captured { .. });
    let one = pick(payment, auth, taken)?;
    match one.map(|one| (one, one.capture())) {
        Some((one, Some(capture))) if taken(one) => Ok((payment, one, capture)),
        _ => Err(impossible(one.map(Authorization::state))),
    }
}

fn impossible(state: Option<At>) -> Problem {
    match state {
        Some(At::Capturing) => Problem::conflict(
            "capture-in-progress",
            "the order is being captured; GET it to see how far that is",
        ),
        Some(At::Voiding) => Problem::conflict(
            "void-in-progress",
            "a capture or a refund is being cancelled; GET the order to see how far that is",
        ),
        state => {
            let state = state.map_or("open", At::name);
            Problem::conflict(
                "not-captured",
                format!("the order is {state}; only what was captured can go back"),
            )
        }
    }
}
