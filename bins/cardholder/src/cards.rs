//! POST /cards, GET /cards.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use openset_pki::Certificate;
use openset_protocol::card::{CardExpiry, Pan};
use openset_protocol::{BrandId, Timestamp};
use openset_service::problem::{self, Json, Problem};
use openset_service::step_report::StepReport;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::purchases::{check_same_body, idempotency_key};
use crate::registration::{self, Kept, NewCard};
use crate::store::{self, CardRow};
use crate::{Wallet, corrupt};

/// The longest name on a card, in characters.
const HOLDER_CHARS_MAX: usize = 64;
/// The longest activation code, in characters.
const CODE_CHARS_MAX: usize = 64;

pub(crate) fn router(wallet: &Arc<Wallet>) -> Router {
    Router::new()
        .route("/cards", post(register).get(list))
        .with_state(Arc::clone(wallet))
}

/// A card as its owner enters it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CardRequest {
    /// The whole card number: 12 to 19 digits.
    pan: String,
    /// YYYYMM.
    expiry: String,
    brand: String,
    /// The name on the card.
    holder: String,
    /// As the bank gave it with the card.
    activation_code: String,
}

/// A card as the wallet shows it: never the whole number.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CardView {
    card_id: String,
    /// registered, registering or refused.
    state: String,
    brand: String,
    last_four: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    expiry: Option<CardExpiry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<CertificateView>,
    /// Why there is no certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    created_at: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<StepReport>,
}

/// The card's certificate: it names the account by a keyed hash.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CertificateView {
    thumbprint: String,
    account_name: String,
    not_after: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct CardList {
    cards: Vec<CardView>,
}

fn view(wallet: &Wallet, row: &CardRow) -> Result<CardView, Problem> {
    let mut view = CardView {
        card_id: row.card_id.clone(),
        state: row.state.clone(),
        brand: row.brand.clone(),
        last_four: row.last_four.clone(),
        expiry: None,
        holder: None,
        certificate: None,
        reason: row.reason.clone(),
        created_at: Timestamp::from_seconds(row.created_at_s).to_string(),
        steps: Vec::new(),
    };
    if let Kept::Registered {
        chain,
        holder,
        expiry,
        steps,
        ..
    } = wallet.open_card(row)?
    {
        let leaf = chain.first().ok_or_else(|| corrupt("cards.chain"))?;
        let leaf = Certificate::from_der(&leaf.0).map_err(|_| corrupt("cards.chain"))?;
        view.certificate = Some(CertificateView {
            thumbprint: leaf.thumbprint().to_string(),
            account_name: leaf.common_name().to_owned(),
            not_after: Timestamp::from_seconds(leaf.not_after()).to_string(),
        });
        (view.expiry, view.holder, view.steps) = (Some(expiry), Some(holder), steps);
    }
    Ok(view)
}

/// Registers a card with the CA of its brand (step 2).
#[utoipa::path(post, path = "/cards", request_body = CardRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key is the same card")),
    responses((status = 201, body = CardView), (status = 202, description = "Still being registered", body = CardView),
        (status = 422, description = "A field must be mended, or the bank refuses")))]
pub(crate) async fn register(
    State(wallet): State<Arc<Wallet>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    wallet.require_owner(&headers)?;
    let key = idempotency_key(&headers)?;
    let body_digest = openset_jose::sha256(&body);
    if let Some(key) = &key {
        let known = store::card_by_key(&mut *wallet.db.read().await?, key).await?;
        if let Some(row) = known {
            check_same_body(&row.body_digest, &body_digest)?;
            return answer(&wallet, &row);
        }
    }
    let new = decode(problem::from_json(&body)?)?;
    let row = registration::register(&wallet, new, body_digest, key.as_deref()).await?;
    answer(&wallet, &row)
}

fn decode(request: CardRequest) -> Result<NewCard, Problem> {
    let invalid = |pointer: &str, detail: String| {
        Problem::unprocessable("invalid-field", format!("mend the card: {detail}"))
            .with_field(pointer, detail)
    };
    let chars = |text: &str, max: usize| (1..=max).contains(&text.chars().count());
    if !chars(&request.holder, HOLDER_CHARS_MAX) {
        return Err(invalid(
            "/holder",
            format!("the name on the card has 1 to {HOLDER_CHARS_MAX} characters"),
        ));
    }
    if !chars(&request.activation_code, CODE_CHARS_MAX) {
        return Err(invalid(
            "/activation_code",
            format!("the code has 1 to {CODE_CHARS_MAX} characters"),
        ));
    }
    Ok(NewCard {
        pan: request
            .pan
            .parse::<Pan>()
            .map_err(|e| invalid("/pan", e.to_string()))?,
        expiry: request
            .expiry
            .parse::<CardExpiry>()
            .map_err(|e| invalid("/expiry", e.to_string()))?,
        brand: BrandId::new(request.brand).map_err(|e| invalid("/brand", e.to_string()))?,
        holder: request.holder,
        activation_code: request.activation_code,
    })
}

fn answer(wallet: &Wallet, row: &CardRow) -> Result<Response, Problem> {
    let view = view(wallet, row)?;
    let status = match view.state.as_str() {
        "registered" => StatusCode::CREATED,
        "registering" => StatusCode::ACCEPTED,
        _ => {
            let reason = view.reason.unwrap_or_default();
            return Err(Problem::unprocessable(
                "card-refused",
                format!("the CA gave no certificate: {reason}"),
            ));
        }
    };
    Ok((status, Json(view)).into_response())
}

/// The wallet's cards.
#[utoipa::path(get, path = "/cards", responses((status = 200, body = CardList)))]
pub(crate) async fn list(
    State(wallet): State<Arc<Wallet>>,
    headers: HeaderMap,
) -> Result<Json<CardList>, Problem> {
    wallet.require_owner(&headers)?;
    let rows = store::all_cards(&mut *wallet.db.read().await?).await?;
    let cards = rows
        .iter()
        .map(|row| view(&wallet, row))
        .collect::<Result<_, _>>()?;
    Ok(Json(CardList { cards }))
}
