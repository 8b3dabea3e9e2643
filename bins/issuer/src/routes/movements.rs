//! What gateways do with an authorization: reverse, capture, credit, and undo captures and credits.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use openset_protocol::Timestamp;
use openset_service::auth::Caller;
use openset_service::problem::Problem;
use openset_store::{StoreError, Tx, Vault};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::authorizations::{AuthorizationView, no_such_authorization};
use crate::Issuer;
use crate::answer::{self, Answer, Call};
use crate::error::IssuerError;
use crate::ledger::{self, Booking};
use crate::money::{RequestedAmount, StandingAmount};
use crate::movement::{self, Effect, Movement, Refusal};
use crate::request::{Decoded, Gateway, IdempotencyKey, Nothing};
use crate::store::accounts::Room;
use crate::store::authorizations::{self, Authorization};
use crate::store::movements;

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

/// A credit, made or reversed, and its authorization as it is then.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CreditView {
    /// The credit's id: the Idempotency-Key under which it was made.
    credit_id: String,
    /// Whether it stands or was reversed.
    credit_state: CreditState,
    #[serde(flatten)]
    authorization: AuthorizationView,
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum CreditState {
    Standing,
    Reversed,
}

/// Takes all or a part of a hold; the rest of it is free again.
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
        (status = 409, description = "Nothing is held any more (`not-held`), or it was captured (`already-captured`)"),
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
    let asked = Asked::of(gateway, key, &id, body.text.get());
    move_money(&issuer, asked, Movement::Capture(body.value.amount)).await
}

/// Undoes the capture: what it took is held again, until the hold's time is over; what it left over stays free.
#[utoipa::path(
    post, path = "/authorizations/{id}/capture/reverse", tag = "gateway",
    params(
        ("id" = String, Path, description = "The authorization's id"),
        ("Idempotency-Key" = String, Header, description = "New for each new effect"),
    ),
    request_body = Option<Nothing>,
    responses(
        (status = 200, body = AuthorizationView, description = "Undone: `held` again, or `expired`"),
        (status = 404, description = "This gateway has no such authorization"),
        (status = 409, description = "Nothing is captured, or a credit of it stands"),
    )
)]
pub(crate) async fn reverse_capture(
    State(issuer): State<Arc<Issuer>>,
    gateway: Gateway,
    key: IdempotencyKey,
    Path(id): Path<String>,
    _body: Nothing,
) -> Result<Answer, Problem> {
    let asked = Asked::of(gateway, key, &id, Nothing::TEXT);
    move_money(&issuer, asked, Movement::ReverseCapture).await
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
    let asked = Asked::of(gateway, key, &id, body.text.get());
    move_money(&issuer, asked, Movement::Reverse(body.value.amount)).await
}

/// Gives back all or a part of what was captured; several times, up to all of it.
#[utoipa::path(
    post, path = "/authorizations/{id}/credit", tag = "gateway",
    params(
        ("id" = String, Path, description = "The authorization's id"),
        ("Idempotency-Key" = String, Header, description = "New for each new effect; it is the credit's id"),
    ),
    request_body = AmountRequest,
    responses(
        (status = 200, body = CreditView, description = "Credited"),
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
    let asked = Asked::of(gateway, key, &id, body.text.get());
    move_money(&issuer, asked, Movement::Credit(body.value.amount)).await
}

/// Undoes a credit: what it gave back is owed again, if the account has room for it.
#[utoipa::path(
    post, path = "/authorizations/{id}/credits/{credit_id}/reverse", tag = "gateway",
    params(
        ("id" = String, Path, description = "The authorization's id"),
        ("credit_id" = String, Path, description = "The credit's id, percent-encoded"),
        ("Idempotency-Key" = String, Header, description = "New for each new effect"),
    ),
    request_body = Option<Nothing>,
    responses(
        (status = 200, body = CreditView, description = "Reversed"),
        (status = 404, description = "This gateway has no such authorization, or that no such credit"),
        (status = 409, description = "It was reversed before (`credit-reversed`), or the account has no room for \
                                      what would be owed again (`insufficient-funds`)"),
    )
)]
pub(crate) async fn reverse_credit(
    State(issuer): State<Arc<Issuer>>,
    gateway: Gateway,
    key: IdempotencyKey,
    Path((id, credit_id)): Path<(String, String)>,
    _body: Nothing,
) -> Result<Answer, Problem> {
    let asked = Asked {
        credit_id: Some(&credit_id),
        ..Asked::of(gateway, key, &id, Nothing::TEXT)
    };
    move_money(&issuer, asked, Movement::ReverseCredit(None)).await
}

/// Who asks, under which key, about what.
#[derive(Debug)]
struct Asked<'a> {
    gateway: Caller,
    key: IdempotencyKey,
    id: &'a str,
    /// The credit that is to be reversed.
    credit_id: Option<&'a str>,
    body: &'a str,
}

async fn move_money(
    issuer: &Issuer,
    asked: Asked<'_>,
    movement: Movement,
) -> Result<Answer, Problem> {
    let operation = movement.operation();
    let now = issuer.clock.now();
    let call = asked.call(&issuer.vault, operation);
    let mut tx = issuer.db.begin().await?;
    if let Some(answer) = call.claim(&mut tx, &issuer.vault, now.seconds()).await? {
        return Ok(answer);
    }
    // To a gateway, another one's authorization is like none.
    let found = authorizations::lock(&mut tx, asked.id).await?;
    let before = found.filter(|found| found.gateway == asked.gateway.name);
    let before = before.ok_or_else(no_such_authorization)?;
    let movement = match asked.credit_id {
        Some(credit_id) => {
            let (gateway, id) = (&before.gateway, &before.id);
            Movement::ReverseCredit(movements::credit(&mut tx, gateway, id, credit_id).await?)
        }
        None => movement,
    };
    // Answers are forgotten after a time, movements never: asked late again, it is still one effect.
    let made = movements::made(&mut tx, &before.gateway, &asked.key.0).await?;
    let outcome = match made {
        Some(made) if made.authorization_id == before.id && movement.is(&made) => {
            Ok(before.clone())
        }
        Some(_) => return Err(answer::key_reused()),
        None => match movement::decide(&before, movement, now.seconds()) {
            Ok(effect) => apply(&mut tx, &before, effect, &asked.key, now).await?,
            Err(refusal) => Err(refusal),
        },
    };
    let answer = match outcome {
        Ok(after) => asked.answer(movement, &after, now)?,
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
    before: &Authorization,
    effect: Effect,
    key: &IdempotencyKey,
    now: Timestamp,
) -> Result<Result<Authorization, Refusal>, Problem> {
    let Effect { after, booked } = effect;
    if after == *before {
        return Ok(Ok(after));
    }
    if authorizations::change(tx, before, &after).await? == Room::TooLittle {
        return Ok(Err(Refusal::InsufficientFunds));
    }
    let Some((kind, n)) = booked else {
        return Ok(Ok(after));
    };
    let moved = movements::Movement {
        gateway: &before.gateway,
        id: &key.0,
        authorization_id: &before.id,
        kind,
        n,
        currency: before.currency,
        amount_minor: after.owed_minor() - before.owed_minor(),
        at_s: now.seconds(),
    };
    if !movements::insert(tx, &moved).await? {
        return Err(answer::key_reused());
    }
    book(tx, &after, &moved).await?;
    Ok(Ok(after))
}

async fn book(
    tx: &mut Tx,
    authorization: &Authorization,
    moved: &movements::Movement<'_>,
) -> Result<(), IssuerError> {
    let account_id = authorization.account_id.as_deref();
    let booking = Booking {
        kind: moved.kind.name(),
        reference: &moved.kind.reference(moved.authorization_id, moved.n),
        account_id: account_id.ok_or(StoreError::Corrupt("authorizations.account_id"))?,
        gateway: &authorization.gateway,
        currency: authorization.currency,
        owed_minor: moved.amount_minor,
        memo: authorization.memo(),
        at_s: moved.at_s,
    };
    ledger::book(tx, &booking).await
}

impl<'a> Asked<'a> {
    fn of(gateway: Gateway, key: IdempotencyKey, id: &'a str, body: &'a str) -> Self {
        Self {
            gateway: gateway.0,
            key,
            id,
            credit_id: None,
            body,
        }
    }

    fn call(&self, vault: &Vault, operation: &str) -> Call {
        let target = match self.credit_id {
            Some(credit_id) => format!("{}/{credit_id}", self.id),
            None => self.id.to_owned(),
        };
        let key = self.key.clone();
        Call::new(vault, &self.gateway, operation, key, &target, self.body)
    }

    /// What the gateway is told of a movement that was made.
    fn answer(
        &self,
        movement: Movement,
        after: &Authorization,
        now: Timestamp,
    ) -> Result<Answer, IssuerError> {
        let authorization = AuthorizationView::of(after, now);
        let (credit_id, credit_state) = match (movement, self.credit_id) {
            (Movement::Credit(_), _) => (self.key.0.as_str(), CreditState::Standing),
            (_, Some(credit_id)) => (credit_id, CreditState::Reversed),
            (_, None) => return Answer::json(StatusCode::OK, &authorization),
        };
        let credit = CreditView {
            credit_id: credit_id.to_owned(),
            credit_state,
            authorization,
        };
        Answer::json(StatusCode::OK, &credit)
    }
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
