//! `POST /orders/{id}/reverse`: the shop gives an authorization back, or a part of it, before it is captured.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use openset_protocol::balance::Standing;
use openset_protocol::messages::initiation::Money;
use openset_service::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Operator;
use super::money::{self, Call, Moved, at_most, not_possible, pick};
use super::replay::{Answer, IdempotencyKey};
use crate::gateway::asking::{What, Wish};
use crate::store::authorizations::Authorization;
use crate::store::payments::{Payment, State as At};
use crate::{Merchant, schema};

/// How much is to stay authorized, and of which authorization.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReverseRequest {
    /// Nothing, if it is left out.
    #[serde(default)]
    #[schema(value_type = Option<schema::Amount>)]
    new_amount: Option<Money>,
    /// The number of the authorization; needed where several stand.
    #[serde(default)]
    #[schema(minimum = 1)]
    auth: Option<i64>,
}

/// Gives an authorization back, or a part of it.
#[utoipa::path(
    post, path = "/orders/{id}/reverse", tag = "operator", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "order_id"),
        ("Idempotency-Key" = String, Header, description = "The same key brings the same answer, for good"),
    ),
    request_body(content = Option<ReverseRequest>, description = "Nothing, or what is to stay authorized"),
    responses(
        (status = 200, body = Moved, description = "So much is authorized now"),
        (status = 202, body = Moved, description = "The gateway does not answer; it is asked on"),
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
    Path(order_id): Path<String>,
    key: Option<IdempotencyKey>,
    body: Bytes,
) -> Result<Answer, Problem> {
    let call = Call {
        route: "reverse",
        order_id,
        key,
        body,
    };
    let request: ReverseRequest = call.body()?;
    money::perform(&merchant, &call, |payment| wish(payment, &request)).await
}

fn wish(payment: Option<&Payment>, request: &ReverseRequest) -> Result<Wish, Problem> {
    let Some(payment) = payment else {
        return Err(impossible(None));
    };
    let held = |one: &Authorization| matches!(one.standing(), Standing::Authorized { .. });
    let one = pick(payment, request.auth, held)?;
    let Some((one, Standing::Authorized { amount_minor })) = one.map(|one| (one, one.standing()))
    else {
        return Err(impossible(one.map(Authorization::state)));
    };
    let nothing = Money {
        currency: payment.amount.currency(),
        amount_minor: 0,
    };
    let named = request.new_amount.as_ref().unwrap_or(&nothing);
    let why = "no more is authorized";
    let new_amount = at_most(payment, "new_amount", named, amount_minor, why)?;
    let rules = payment.for_rules();
    let less_minor = rules.may_reverse(&one.for_rules(), new_amount, 0);
    Ok(Wish {
        auth_number: one.number,
        what: What::Reverse(new_amount),
        amount_minor: less_minor.map_err(|no| not_possible(&format!("{no:?}")))?,
    })
}

fn impossible(state: Option<At>) -> Problem {
    match state {
        Some(At::Captured | At::Capturing) => Problem::conflict(
            "already-captured",
            "the order was captured, or is being; nothing was done",
        ),
        Some(At::Reversing) => Problem::conflict(
            "reversal-in-progress",
            "the order is being reversed; GET it to see how far that is",
        ),
        Some(At::Reversed) => Problem::conflict(
            "already-reversed",
            "nothing is authorized any more; nothing was done",
        ),
        state => {
            let state = state.map_or("open", At::name);
            Problem::conflict(
                "not-authorized",
                format!("the order is {state}; only an authorized one can be reversed"),
            )
        }
    }
}
