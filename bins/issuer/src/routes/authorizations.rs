//! Authorizations: asked for by gateways, approved with a hold or declined with a reason.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use openset_protocol::card::{CardExpiry, Pan};
use openset_protocol::{BrandId, Timestamp};
use openset_service::auth::Scope;
use openset_service::problem::{Json, Problem};
use openset_service::random;
use openset_store::{Draft, StoreError, idempotency};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Issuer;
use crate::answer::{Answer, Call};
use crate::decision::{self, Decline, Presented};
use crate::error::IssuerError;
use crate::fresh;
use crate::money::{Money, RequestedAmount};
use crate::request::{Decoded, Gateway, IdempotencyKey, Reader};
use crate::store::accounts;
use crate::store::authorizations::{self, Authorization, State as HoldState};

/// The longest id of a merchant, name of a merchant or reference.
const TEXT_CHARS_MAX: usize = 100;

/// A request to hold an amount.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthorizationRequest {
    /// The card number, 12 to 19 digits.
    #[schema(value_type = String, examples("4000001234567899"))]
    pan: Pan,
    /// The card's last month, `YYYYMM`.
    #[schema(value_type = String, examples("202912"))]
    expiry: CardExpiry,
    /// The card's brand.
    #[schema(value_type = String, examples("Visa"))]
    brand: BrandId,
    /// What to hold.
    amount: RequestedAmount,
    /// Who will be paid.
    merchant_id: String,
    /// Who will be paid, as the cardholder knows it.
    #[serde(default)]
    merchant_name: Option<String>,
    /// The gateway's own name for the purchase.
    reference: String,
}

/// Whether the amount is held.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuthorizationAnswer {
    authorization_id: String,
    outcome: Outcome,
    /// Why it is declined.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Decline>,
    /// Six characters, if it is approved.
    #[serde(skip_serializing_if = "Option::is_none")]
    approval_code: Option<String>,
    /// When the hold ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Approved,
    Declined,
}

/// An authorization and what became of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuthorizationView {
    authorization_id: String,
    state: HoldState,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Decline>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval_code: Option<String>,
    /// What was asked for.
    amount: Money,
    /// What of it was given back: before it was captured, and what the capture left over.
    reversed: Money,
    /// What of it is set aside now.
    held: Money,
    /// What of it was taken, unless that was undone.
    captured: Money,
    /// What of that was given back by credits that stand.
    credited: Money,
    merchant_id: String,
    merchant_name: String,
    reference: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Asks for an amount: approved with a hold, or declined with a reason.
#[utoipa::path(
    post, path = "/authorizations", tag = "gateway",
    params(("Idempotency-Key" = String, Header, description = "New for each new effect")),
    request_body = AuthorizationRequest,
    responses(
        (status = 200, body = AuthorizationAnswer, description = "Approved or declined"),
        (status = 409, description = "The first call under this key is still at work"),
        (status = 422, description = "A field must be mended, or the key was used for another request"),
    )
)]
pub(crate) async fn authorize(
    State(issuer): State<Arc<Issuer>>,
    gateway: Gateway,
    key: IdempotencyKey,
    body: Decoded<AuthorizationRequest>,
) -> Result<Answer, Problem> {
    let request = body.value;
    request.verify()?;
    let call = Call::new(
        &issuer.vault,
        &gateway.0,
        "authorize",
        key,
        "",
        body.text.get(),
    );
    let (authorization, answer) = loop {
        let now = issuer.clock.now();
        let mut draft = issuer.db.draft().await?;
        let authorization = decide(&issuer, &mut draft, &request, &gateway.0.name, now).await?;
        let answer = Answer::json(StatusCode::OK, &AuthorizationAnswer::of(&authorization))?;
        let mut writes = vec![call.recorded(&issuer.vault, now.seconds(), &answer)];
        writes.extend(authorization.hold());
        writes.push(authorizations::insert(&authorization));
        match draft.commit(writes).await {
            Ok(()) => break (authorization, answer),
            Err(StoreError::Conflict(idempotency::KNOWN)) => {
                let mut reader = issuer.db.read().await?;
                return call.given(&mut reader, &issuer.vault, now.seconds()).await;
            }
            // Somebody else was given the money: what is left is decided anew.
            Err(StoreError::Conflict(accounts::SPENT_MEANWHILE)) => {}
            Err(error) => return Err(error.into()),
        }
    };
    issuer.metrics.count_authorization(authorization.reason);
    let outcome = authorization.reason.map_or("approved", Decline::name);
    tracing::info!(outcome, "authorization");
    if let Some(pause) = issuer.settings.danger_pause_after_commit {
        tracing::warn!("DANGER: pausing between commit and answer");
        tokio::time::sleep(pause).await;
    }
    Ok(answer)
}

/// Decides by what the database says now.
async fn decide(
    issuer: &Issuer,
    draft: &mut Draft,
    request: &AuthorizationRequest,
    gateway: &str,
    now: Timestamp,
) -> Result<Authorization, IssuerError> {
    let digits = request.pan.danger_digits().as_bytes();
    let pan_index = issuer.vault.index(accounts::PAN_INDEX, digits);
    let account = accounts::find_by_pan(draft, &pan_index).await?;
    let facts = account.as_ref().map(accounts::Account::card_facts);
    let amount_minor = request.amount.amount_minor.get();
    let presented = Presented {
        brand: &request.brand,
        expiry: request.expiry,
        currency: request.amount.currency,
        amount_minor,
    };
    let decline = decision::decide(facts.as_ref(), &presented, now).err();
    Ok(Authorization {
        id: random::dated_hex_id::<16>(),
        gateway: gateway.to_owned(),
        account_id: facts.map(|card| card.account_id),
        state: decline.map_or(HoldState::Held, |_| HoldState::Declined),
        reason: decline,
        approval_code: decline.is_none().then(fresh::approval_code),
        currency: request.amount.currency,
        amount_minor,
        captured_minor: 0,
        reversed_minor: 0,
        held_minor: if decline.is_none() { amount_minor } else { 0 },
        credited_minor: 0,
        credits: 0,
        captures: 0,
        merchant_id: request.merchant_id.clone(),
        merchant_name: request.merchant_name.clone().unwrap_or_default(),
        reference: request.reference.clone(),
        created_at_s: now.seconds(),
        expires_at_s: now.plus(issuer.settings.hold_lifetime_s).seconds(),
    })
}

/// What became of an authorization.
#[utoipa::path(
    get, path = "/authorizations/{id}", tag = "gateway",
    params(("id" = String, Path, description = "The authorization's id")),
    responses(
        (status = 200, body = AuthorizationView),
        (status = 404, description = "This gateway has no such authorization"),
    )
)]
pub(crate) async fn show(
    State(issuer): State<Arc<Issuer>>,
    reader: Reader,
    Path(id): Path<String>,
) -> Result<Json<AuthorizationView>, Problem> {
    let now = issuer.clock.now();
    let found = authorizations::find(&mut *issuer.db.read().await?, &id).await?;
    // To a gateway, another one's authorization is like none.
    let seen =
        found.filter(|found| reader.0.scope == Scope::Operator || found.gateway == reader.0.name);
    let authorization = seen.ok_or_else(no_such_authorization)?;
    Ok(Json(AuthorizationView::of(&authorization, now)))
}

pub(super) fn no_such_authorization() -> Problem {
    Problem::not_found(
        "no-such-authorization",
        "use the authorization_id of an answer that this gateway was given",
    )
}

impl AuthorizationRequest {
    fn verify(&self) -> Result<(), Problem> {
        let merchant_name = self.merchant_name.as_deref().unwrap_or("-");
        let texts = [
            ("/merchant_id", self.merchant_id.as_str()),
            ("/merchant_name", merchant_name),
            ("/reference", self.reference.as_str()),
        ];
        for (pointer, text) in texts {
            let length = text.chars().count();
            let readable =
                (1..=TEXT_CHARS_MAX).contains(&length) && !text.contains(char::is_control);
            if !readable || text.contains(self.pan.danger_digits()) {
                let detail = format!(
                    "give 1 to {TEXT_CHARS_MAX} characters without control characters or the card number"
                );
                return Err(Problem::unprocessable("invalid-field", detail.clone())
                    .with_field(pointer, detail));
            }
        }
        Ok(())
    }
}

impl AuthorizationAnswer {
    fn of(authorization: &Authorization) -> Self {
        let approved = authorization.reason.is_none();
        let expires_at = Timestamp::from_seconds(authorization.expires_at_s);
        Self {
            authorization_id: authorization.id.clone(),
            outcome: if approved {
                Outcome::Approved
            } else {
                Outcome::Declined
            },
            reason: authorization.reason,
            approval_code: authorization.approval_code.clone(),
            expires_at: approved.then_some(expires_at),
        }
    }
}

impl AuthorizationView {
    pub(super) fn of(authorization: &Authorization, now: Timestamp) -> Self {
        Self {
            authorization_id: authorization.id.clone(),
            state: authorization.state_at(now.seconds()),
            reason: authorization.reason,
            approval_code: authorization.approval_code.clone(),
            amount: authorization.money(authorization.amount_minor),
            reversed: authorization.money(authorization.reversed_minor),
            held: authorization.money(authorization.held_minor),
            captured: authorization.money(authorization.captured_minor),
            credited: authorization.money(authorization.credited_minor),
            merchant_id: authorization.merchant_id.clone(),
            merchant_name: authorization.merchant_name.clone(),
            reference: authorization.reference.clone(),
            created_at: Timestamp::from_seconds(authorization.created_at_s),
            expires_at: Timestamp::from_seconds(authorization.expires_at_s),
        }
    }
}
