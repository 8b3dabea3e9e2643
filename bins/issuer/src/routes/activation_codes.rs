//! A fresh activation code for a card: its first one was guessed at, or the key that used it is lost.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use openset_service::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::accounts::no_such_account;
use crate::Issuer;
use crate::answer::{Answer, Call};
use crate::fresh;
use crate::request::{Decoded, IdempotencyKey, Operator};
use crate::store::{accounts, codes};

/// Nothing needs to be said: `{}`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// A card's new activation code, told this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct FreshCode {
    account_id: String,
    /// Proves to the certificate authority, once, that the wallet is the cardholder's.
    #[schema(examples("K7QWE-2MX9A"))]
    activation_code: String,
}

/// Gives an account's card a fresh activation code. The one before is worth nothing from now on, wrong attempts at
/// it are forgotten, and another key may be registered for the card. A certificate that the card has stays good:
/// have the certificate authority revoke it if its key may be in other hands.
#[utoipa::path(
    post, path = "/accounts/{id}/activation-code", tag = "operator",
    params(
        ("id" = String, Path, description = "The account's id"),
        ("Idempotency-Key" = String, Header, description = "New for each new code"),
    ),
    request_body = Nothing,
    responses(
        (status = 200, body = FreshCode),
        (status = 404, description = "There is no such account"),
    )
)]
pub(crate) async fn renew(
    State(issuer): State<Arc<Issuer>>,
    operator: Operator,
    key: IdempotencyKey,
    Path(id): Path<String>,
    body: Decoded<Nothing>,
) -> Result<Answer, Problem> {
    let vault = &issuer.vault;
    let call = Call::new(
        vault,
        &operator.0,
        "activation-code",
        key,
        &id,
        body.text.get(),
    );
    let now_s = issuer.clock.now().seconds();
    let mut tx = issuer.db.begin().await?;
    if let Some(answer) = call.claim(&mut tx, vault, now_s).await? {
        return Ok(answer);
    }
    let account = accounts::find(&mut tx, &id).await?;
    let account = account.ok_or_else(no_such_account)?;
    let activation_code = fresh::activation_code();
    let hash = issuer.code_hash(&account.card.id, &activation_code);
    codes::renew(&mut tx, &account.card.id, &hash).await?;
    let fresh = FreshCode {
        account_id: account.id,
        activation_code,
    };
    let answer = Answer::json(StatusCode::OK, &fresh)?;
    call.complete(&mut tx, vault, &answer).await?;
    tx.commit().await?;
    tracing::info!(outcome = "renewed", "activation code");
    Ok(answer)
}
