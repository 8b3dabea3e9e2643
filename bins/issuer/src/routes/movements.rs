//! What gateways do with an authorization: reverse, capture, credit.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use openset_protocol::Timestamp;
use openset_service::problem::Problem;
use openset_store::{StoreError, Tx};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::authorizations::{AuthorizationView, no_such_authorization};
use crate::Issuer;
use crate::answer::{Answer, Call};
use crate::error::IssuerError;
use crate::ledger::{self, Booking};
use crate::money::{RequestedAmount, StandingAmount};
use crate::movement::{self, Effect, Movement};
use crate::request::{Decoded, Gateway, IdempotencyKey};
use crate::store::accounts;
use crate::store::authorizations::{self, Authorization, State as HoldState};

/// An amount to capture or to credit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AmountRequest {
    amount: RequestedAmount,
}

/// What is to stay held.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReverseRequest {
    amount: StandingAmount,
}

/// Takes all or a part of a hold, once; the rest of it is free again.
#[utoipa::path(
    post, path = "/authorizations/{id}/capture", tag = "gateway",
    params(
        ("id" = String, Path, description = "The authorization's id"),
        ("Idempotency-Key" = String, Header, description = "New for each new effect"),
    ),
    request_body = AmountRequest,
    responses(
        (status = 200, body = AuthorizationView, description = "Captured"),
        (status = 404, description = "This gateway has no such authorization"),
        (status = 409, description = "Nothing is held any more"),
        (status = 422, description = "The amount is above the hold, or a field must be mended"),
    )
)]
pub(crate) async fn capture(
    State(issuer): State<Arc<Issuer>>,
    gateway: Gateway,
    key: IdempotencyKey,
    Path(id): Path<String>,
    body: Decoded<AmountRequest>,
) -> Result<Answer, Problem> {
    let movement = Movement::Capture(body.value.amount);
    move_money(&issuer, gateway, key, &id, movement, &body.text).await
}

/// Lowers a hold to an amount, before it is captured; to 0, and nothing is held any more.
#[utoipa::path(
    post, path = "/authorizations/{id}/reverse", tag = "gateway",
    params(
        ("id" = String, Path, description = "The authorization's id"),
        ("Idempotency-Key" = String, Header, description = "New for each new effect"),
    ),
    request_body = ReverseRequest,
    responses(
        (status = 200, body = AuthorizationView, description = "So much is held now"),
        (status = 404, description = "This gateway has no such authorization"),
        (status = 409, description = "The amount was captured, or nothing is held any more"),
        (status = 422, description = "The amount is above the hold, or a field must be mended"),
    )
)]
pub(crate) async fn reverse(
    State(issuer): State<Arc<Issuer>>,
    gateway: Gateway,
    key: IdempotencyKey,
    Path(id): Path<String>,
    body: Decoded<ReverseRequest>,
) -> Result<Answer, Problem> {
    let movement = Movement::Reverse(body.value.amount);
    move_money(&issuer, gateway, key, &id, movement, &body.text).await
}

/// Gives back all or a part of what was captured; several times, up to all of it.
#[utoipa::path(
    post, path = "/authorizations/{id}/credit", tag = "gateway",
    params(
        ("id" = String, Path, description = "The authorization's id"),
        ("Idempotency-Key" = String, Header, description = "New for each new effect"),
    ),
    request_body = AmountRequest,
    responses(
        (status = 200, body = AuthorizationView, description = "Credited"),
        (status = 404, description = "This gateway has no such authorization"),
        (status = 409, description = "Nothing was captured"),
        (status = 422, description = "The amount is above what is left of the capture"),
    )
)]
pub(crate) async fn credit(
    State(issuer): State<Arc<Issuer>>,
    gateway: Gateway,
    key: IdempotencyKey,
    Path(id): Path<String>,
    body: Decoded<AmountRequest>,
) -> Result<Answer, Problem> {
    let movement = Movement::Credit(body.value.amount);
    move_money(&issuer, gateway, key, &id, movement, &body.text).await
}

async fn move_money(
    issuer: &Issuer,
    gateway: Gateway,
    key: IdempotencyKey,
    id: &str,
    movement: Movement,
    body: &RawValue,
) -> Result<Answer, Problem> {
    let operation = movement.operation();
    let call = Call::new(&issuer.vault, &gateway.0, operation, key, id, body);
    let now = issuer.clock.now();
    let mut tx = issuer.db.begin().await?;
    if let Some(answer) = call.claim(&mut tx, &issuer.vault, now.seconds()).await? {
        return Ok(answer);
    }
    // To a gateway, another one's authorization is like none.
    let found = authorizations::lock(&mut tx, id).await?;
    let held = found.filter(|found| found.gateway == gateway.0.name);
    let held = held.ok_or_else(no_such_authorization)?;
    let answer = match movement::decide(&held, movement, now.seconds()) {
        Ok(effect) => {
            let moved = apply(&mut tx, held, effect, now).await?;
            Answer::json(StatusCode::OK, &AuthorizationView::of(&moved, now))?
        }
        Err(refusal) => Answer::problem(&refusal.into())?,
    };
    call.complete(&mut tx, &issuer.vault, &answer).await?;
    tx.commit().await?;
    if answer.status() == StatusCode::OK {
        issuer.metrics.count_movement(operation);
    }
    tracing::info!(kind = operation, status = answer.status(), "movement");
    Ok(answer)
}

/// Changes the authorization, the account's counters and the books, all in one transaction.
async fn apply(
    tx: &mut Tx,
    held: Authorization,
    effect: Effect,
    now: Timestamp,
) -> Result<Authorization, IssuerError> {
    let moved = match effect {
        Effect::None => return Ok(held),
        Effect::EndHold {
            state,
            captured_minor,
        } => Authorization {
            state,
            captured_minor,
            ..held
        },
        Effect::LowerHold { by_minor } => Authorization {
            reversed_minor: held.reversed_minor + by_minor,
            ..held
        },
        Effect::Credit { amount_minor } => Authorization {
            credited_minor: held.credited_minor + amount_minor,
            credits: held.credits + 1,
            ..held
        },
    };
    let account_id = moved.account_id.as_deref();
    let account_id = account_id.ok_or(StoreError::Corrupt("authorizations.account_id"))?;
    let booking = Booking {
        kind: "capture",
        reference: &moved.id,
        account_id,
        currency: moved.currency,
        owed_minor: moved.captured_minor,
        memo: moved.memo(),
        at_s: now.seconds(),
    };
    match effect {
        Effect::None => {}
        Effect::EndHold {
            state,
            captured_minor,
        } => {
            authorizations::end_hold(tx, &moved.id, state, captured_minor).await?;
            accounts::settle_hold(tx, account_id, moved.held_minor(), captured_minor).await?;
            if state == HoldState::Captured {
                ledger::book(tx, &booking).await?;
            }
        }
        Effect::LowerHold { by_minor } => {
            authorizations::lower_hold(tx, &moved.id, by_minor).await?;
            accounts::settle_hold(tx, account_id, by_minor, 0).await?;
        }
        Effect::Credit { amount_minor } => {
            authorizations::add_credit(tx, &moved.id, amount_minor).await?;
            accounts::credit(tx, account_id, amount_minor).await?;
            let reference = format!("{}/{}", moved.id, moved.credits);
            let owed_minor = -amount_minor;
            let credit = Booking {
                kind: "credit",
                reference: &reference,
                owed_minor,
                ..booking
            };
            ledger::book(tx, &credit).await?;
        }
    }
    Ok(moved)
}

impl Authorization {
    /// For the reader of a statement.
    fn memo(&self) -> &str {
        if self.merchant_name.is_empty() {
            &self.merchant_id
        } else {
            &self.merchant_name
        }
    }
}
