//! `POST /orders/{id}/capture`: the shop asks for its money.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use openset_protocol::balance::Standing;
use openset_protocol::messages::initiation::Money;
use openset_service::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Operator;
use super::money::{self, Call, Moved, at_most, invalid_field, not_possible, pick};
use super::replay::{Answer, IdempotencyKey};
use crate::gateway::asking::{What, Wish};
use crate::store::authorizations::Authorization;
use crate::store::payments::{Payment, State as At};
use crate::{Merchant, schema};

/// How much is captured, and of which authorization.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CaptureRequest {
    /// All that is authorized, if it is left out. What is not captured is free again: it cannot be captured later.
    #[serde(default)]
    #[schema(value_type = Option<schema::Amount>)]
    amount: Option<Money>,
    /// The number of the authorization; needed where several stand.
    #[serde(default)]
    #[schema(minimum = 1)]
    auth: Option<i64>,
}

/// Captures what was authorized, or a part of it.
#[utoipa::path(
    post, path = "/orders/{id}/capture", tag = "operator", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "order_id"),
        ("Idempotency-Key" = String, Header, description = "The same key brings the same answer, for good"),
    ),
    request_body(content = Option<CaptureRequest>, description = "Nothing, or how much"),
    responses(
        (status = 200, body = Moved, description = "Captured"),
        (status = 202, body = Moved, description = "The gateway does not answer; it is asked on"),
        (status = 400, content_type = "application/problem+json", description = "No Idempotency-Key"),
        (status = 401, content_type = "application/problem+json", description = "No token"),
        (status = 403, content_type = "application/problem+json", description = "A token of another scope"),
        (status = 404, content_type = "application/problem+json", description = "No such order"),
        (status = 409, content_type = "application/problem+json", description = "Not authorized, or captured before"),
        (status = 422, content_type = "application/problem+json", description = "More than is authorized, another currency, or the key was used for another request"),
        (status = 502, content_type = "application/problem+json", description = "The gateway refused"),
    )
)]
pub(crate) async fn capture(
    State(merchant): State<Arc<Merchant>>,
    _: Operator,
    Path(order_id): Path<String>,
    key: Option<IdempotencyKey>,
    body: Bytes,
) -> Result<Answer, Problem> {
    let call = Call {
        route: "capture",
        order_id,
        key,
        body,
    };
    let request: CaptureRequest = call.body()?;
    money::perform(&merchant, &call, |payment| wish(payment, &request)).await
}

fn wish(payment: Option<&Payment>, request: &CaptureRequest) -> Result<Wish, Problem> {
    let Some(payment) = payment else {
        return Err(impossible(None));
    };
    let held = |one: &Authorization| matches!(one.standing(), Standing::Authorized { .. });
    let one = pick(payment, request.auth, held)?;
    let Some((one, Standing::Authorized { amount_minor })) = one.map(|one| (one, one.standing()))
    else {
        return Err(impossible(one.map(Authorization::state)));
    };
    let amount = match &request.amount {
        Some(named) if named.amount_minor == 0 => {
            let detail = "name at least 1 minor unit; POST …/reverse gives an authorization back";
            return Err(invalid_field("/amount/amount_minor", detail.to_owned()));
        }
        Some(named) => at_most(
            payment,
            "amount",
            named,
            amount_minor,
            "no more is authorized",
        )?,
        None => payment
            .of(amount_minor)
            .ok_or_else(|| not_possible("its amount"))?,
    };
    let may = payment.for_rules().may_capture(&one.for_rules(), amount, 0);
    may.map_err(|no| not_possible(&format!("{no:?}")))?;
    Ok(Wish {
        auth_number: one.number,
        what: What::Capture(amount),
        amount_minor: amount.minor(),
    })
}

fn impossible(state: Option<At>) -> Problem {
    match state {
        Some(At::Captured) => Problem::conflict(
            "already-captured",
            "the order was captured before; nothing was done",
        ),
        Some(At::Reversing) => Problem::conflict(
            "reversal-in-progress",
            "the authorization is being reversed; GET the order to see how far that is",
        ),
        Some(At::Capturing) => Problem::conflict(
            "capture-in-progress",
            "the order is being captured; GET it to see how far that is",
        ),
        state => {
            let state = state.map_or("open", At::name);
            Problem::conflict(
                "not-authorized",
                format!("the order is {state}; only an authorized one can be captured"),
            )
        }
    }
}
