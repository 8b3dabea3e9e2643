//! `POST /orders/{id}/authorize`: the shop sends a further part of an order, and the bank is asked for it.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use openset_protocol::ids::LocalId;
use openset_protocol::messages::auth::{AuthCode, RespReason};
use openset_protocol::messages::initiation::Money;
use openset_protocol::messages::install_recur::InstallRecurData;
use openset_service::clock;
use openset_service::problem::Problem;
use openset_store::outbox::Outgoing;
use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use tokio::time::timeout;
use tracing::Instrument as _;
use utoipa::ToSchema;

use super::money::{Call, at_most, claim, invalid_field, key_reused, not_possible};
use super::replay::{Answer, IdempotencyKey};
use super::{Operator, order_view};
use crate::catalogue::{is_last, next_payment};
use crate::gateway::authorization::{self, Part};
use crate::gateway::sending::{self, AUTH_REQ};
use crate::store::authorizations::{self, Said};
use crate::store::movements::RestKey;
use crate::store::orders::Order;
use crate::store::payments::{self, Payment, State as At};
use crate::{Merchant, schema};

/// How much is asked for, and whether it is the last part.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthorizeRequest {
    /// All that is not authorized yet, if it is left out; of a plan, what is due.
    #[serde(default)]
    #[schema(value_type = Option<schema::Amount>)]
    amount: Option<Money>,
    /// Whether no more is to follow. Left out: once all of the order is authorized; of a plan, with the last instalment.
    #[serde(default)]
    last: Option<bool>,
    /// Whether it is a sale: captured in the same request. Left out: captured later.
    #[serde(default)]
    capture_now: bool,
}

/// A further authorization.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Authorized {
    #[schema(value_type = String)]
    order_id: LocalId,
    /// Its number, by which it is captured or reversed.
    auth: i64,
    /// `authorized`, `captured` if that was asked for and done, or `declined`; `ordered` while the gateway has not answered; then it is asked on.
    state: &'static str,
    /// What was asked for.
    #[schema(value_type = schema::Amount)]
    amount: Money,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, examples("approved"))]
    auth_code: Option<AuthCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, examples("insufficientFunds"))]
    resp_reason: Option<RespReason>,
    /// Which rule the gateway refused by.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples(
        "recurringTooSoon: the interval since the last payment is not over; the order is paid every 28 days until 2027-11-22T23:59:59Z"
    ))]
    refused_by: Option<String>,
}

/// Asks the bank for a further part of an order that is sent in parts, or for the next payment of a plan.
#[utoipa::path(
    post, path = "/orders/{id}/authorize", tag = "operator", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "order_id"),
        ("Idempotency-Key" = String, Header, description = "The same key brings the same answer, for good"),
    ),
    request_body(content = Option<AuthorizeRequest>, description = "Nothing, or how much"),
    responses(
        (status = 200, body = Authorized, description = "Authorized or declined"),
        (status = 202, body = Authorized, description = "The gateway does not answer; it is asked on"),
        (status = 400, content_type = "application/problem+json", description = "No Idempotency-Key"),
        (status = 401, content_type = "application/problem+json", description = "No token"),
        (status = 403, content_type = "application/problem+json", description = "A token of another scope"),
        (status = 404, content_type = "application/problem+json", description = "No such order"),
        (status = 409, content_type = "application/problem+json", description = "Not an order in parts, or a part of it is being asked for"),
        (status = 422, content_type = "application/problem+json", description = "Nothing is left, another currency, or the key was used for another request"),
        (status = 502, content_type = "application/problem+json", description = "The gateway did not take it"),
    )
)]
pub(crate) async fn authorize(
    State(merchant): State<Arc<Merchant>>,
    _: Operator,
    Path(order_id): Path<String>,
    key: Option<IdempotencyKey>,
    body: Bytes,
) -> Result<Answer, Problem> {
    let call = Call {
        route: "authorize",
        order_id,
        key,
        body,
    };
    let request: AuthorizeRequest = call.body()?;
    let (order, payment) = order_view::find(&merchant, &call.order_id).await?;
    let rest = call.rest_key(&order)?;
    let known = known(&mut *merchant.db.read().await?, &rest).await?;
    if let Some(number) = known {
        return answer(&merchant, &order, number).await;
    }
    let payment = payment.ok_or_else(|| not_in_parts("open"))?;
    let part = part(&payment, &request)?;
    let number = match commit(&merchant, &payment, (&part, &request), &rest).await? {
        Committed::Known(number) => number,
        Committed::Queued(outgoing) => {
            let sending = sending::send_now(Arc::clone(&merchant), outgoing).in_current_span();
            // Without an answer in time the sending goes on by itself.
            let _ = timeout(merchant.settings.authorization_wait, tokio::spawn(sending)).await;
            part.number
        }
    };
    answer(&merchant, &order, number).await
}

enum Committed {
    /// The same call was a moment faster.
    Known(i64),
    /// AuthReq, which is to be sent now.
    Queued(Outgoing),
}

/// One transaction: the key has its authorization, which is asked for, and AuthReq stands in the outbox.
async fn commit(
    merchant: &Arc<Merchant>,
    payment: &Payment,
    (wanted, request): (&Part, &AuthorizeRequest),
    rest: &RestKey,
) -> Result<Committed, Problem> {
    let (awaiting, wire) = authorization::draft(merchant, payment, wanted).await?;
    let xid = &payment.xid;
    let mut tx = merchant.db.begin().await?;
    let locked = payments::lock(&mut tx, xid).await?;
    if let Some(number) = known(&mut tx, rest).await? {
        return Ok(Committed::Known(number));
    }
    claim(&mut tx, rest).await?;
    if part(&locked, request)? != *wanted {
        return Err(Problem::unavailable(
            "overtaken",
            "another request has changed the payment; send the same again",
        ));
    }
    let now = (clock::now_ms(), Some(rest));
    let asked = (wanted.number, wanted.amount);
    let asked = authorizations::insert(tx.packer(), xid, asked, &awaiting, now)?;
    tx.write(asked).await?;
    payments::restate(&mut tx, xid).await?;
    let rrpid = awaiting.rrpid();
    let queued = sending::outgoing(merchant, AUTH_REQ, rrpid, xid.to_string(), wire);
    tx.commit_with(vec![sending::enqueue(merchant, &queued)])
        .await?;
    Ok(Committed::Queued(queued))
}

/// The authorization that the key stands for.
async fn known(conn: &mut AnyConnection, rest: &RestKey) -> Result<Option<i64>, Problem> {
    let other = crate::store::movements::of_key(&mut *conn, &rest.key).await?;
    match authorizations::of_key(conn, &rest.key).await? {
        Some((_, known)) if known.digest != rest.digest => Err(key_reused()),
        Some((number, _)) => Ok(Some(number)),
        None if other.is_some() => Err(key_reused()),
        None => Ok(None),
    }
}

/// What is to be asked for. How much may be, the gateway knows: the acquirer may tolerate more than was signed.
fn part(payment: &Payment, request: &AuthorizeRequest) -> Result<Part, Problem> {
    let all = &payment.authorizations;
    if all.iter().any(|one| one.said == Said::Nothing) {
        return Err(Problem::conflict(
            "authorization-in-progress",
            "a part of the order is being asked for; GET the order to see how far that is",
        ));
    }
    let newest = all.iter().rfind(|one| one.said == Said::Approved);
    let newest = newest.and_then(|one| Some((one, one.auth_token()?)));
    let Some((newest, token)) = newest else {
        return Err(not_in_parts(payment.state().name()));
    };
    let rules = payment.for_rules();
    let made = made(payment);
    let left_minor = match payment.plan {
        Some(InstallRecurData::Recurring { .. }) => payment.amount.minor(),
        _ => rules.limit_minor.saturating_sub(rules.counts_minor(0)),
    };
    let usual_minor = match payment.plan {
        None => left_minor,
        // Whatever is left is due with the last one.
        Some(plan) if is_last(plan, made) => left_minor,
        Some(plan) => next_payment(plan, payment.amount.minor(), made).min(left_minor),
    };
    let minor = request
        .amount
        .as_ref()
        .map_or(usual_minor, |amount| amount.amount_minor);
    if minor == 0 {
        let detail = "all of the order is authorized; name what else is asked for";
        return Err(invalid_field("/amount", detail.to_owned()));
    }
    let amount = match &request.amount {
        Some(named) => at_most(payment, "amount", named, u64::MAX, "no order is so large")?,
        None => payment
            .of(usual_minor)
            .ok_or_else(|| not_possible("its amount"))?,
    };
    let last = request.last.unwrap_or(match payment.plan {
        None => minor >= left_minor,
        Some(plan) => is_last(plan, made),
    });
    let number = all.iter().map(|one| one.number).max().unwrap_or_default();
    Ok(Part {
        number: number.saturating_add(1),
        amount,
        more: !last,
        capture_now: request.capture_now,
        token: token.clone(),
        hod: newest.awaiting.hod(),
    })
}

/// How many payments of a plan stand.
fn made(payment: &Payment) -> u64 {
    let standing = payment.authorizations.iter();
    let standing = standing.filter(|one| one.remaining_minor() > 0);
    u64::try_from(standing.count()).unwrap_or(u64::MAX)
}

/// Which rule the gateway refused by, for people; none where the bank declined.
pub(super) fn refused_by(code: AuthCode, plan: Option<InstallRecurData>) -> Option<String> {
    let plan = plan.map_or_else(|| "at once".to_owned(), |plan| plan.to_string());
    let rule = match code {
        AuthCode::RecurringTooSoon => {
            "recurringTooSoon: the interval since the last payment is not over"
        }
        AuthCode::RecurringExpired => {
            "recurringExpired: the last payment was made, or the plan has ended"
        }
        AuthCode::InstallRecurMismatch => {
            "installRecurMismatch: the cardholder signed another plan"
        }
        AuthCode::AmountError => "amountError: more than the cardholder signed",
        AuthCode::CaptureNotSupported => {
            "captureNotSupported: the acquirer captures in a request of its own"
        }
        _ => return None,
    };
    Some(format!("{rule}; the order is paid {plan}"))
}

fn not_in_parts(state: &str) -> Problem {
    Problem::conflict(
        "not-in-parts",
        format!(
            "the order is {state}, and the gateway gave nothing to ask with for more: only what was ordered with \
             products that ship later is sent in parts, until the last one, or is paid by a plan"
        ),
    )
}

/// The answer by what the bank said; the same for good once it has.
async fn answer(merchant: &Merchant, order: &Order, number: i64) -> Result<Answer, Problem> {
    let (_, payment) = order_view::find(merchant, order.id.as_str()).await?;
    let one = payment
        .as_ref()
        .and_then(|payment| payment.numbered(number));
    let one = one.ok_or_else(|| not_possible("of another payment"))?;
    let payload = one.answer.as_ref().map(|(payload, _)| payload);
    let view = |state: At| Authorized {
        order_id: order.id.clone(),
        auth: number,
        state: state.name(),
        amount: one.amount.into(),
        auth_code: payload.map(|payload| payload.auth_code),
        approval_code: payload.and_then(|payload| payload.approval_code.clone()),
        resp_reason: payload.and_then(|payload| payload.resp_reason),
        refused_by: payload.and_then(|payload| refused_by(payload.auth_code, order.plan)),
    };
    match one.said {
        Said::Nothing => Answer::json(StatusCode::ACCEPTED, &view(At::Ordered)),
        Said::Approved => {
            let sold = payload.and_then(|payload| payload.cap_res_payload.as_ref());
            let state = match sold {
                Some(sold) if sold.captured() => At::Captured,
                _ => At::Authorized,
            };
            Answer::json(StatusCode::OK, &view(state))
        }
        Said::Declined => Answer::json(StatusCode::OK, &view(At::Declined)),
        Said::Refused => {
            let reason = one.failure.clone().unwrap_or_default();
            Answer::problem(Problem::bad_gateway("authorization-refused", reason))
        }
    }
}
