//! POST /cards, GET /cards, GET /cards/{id}, POST /cards/{id}/form.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use openset_jose::Thumbprint;
use openset_protocol::card::{CardExpiry, Pan};
use openset_protocol::ids::{ExactBytes, Language};
use openset_protocol::messages::reg_form::{RegFormData, policy_digest};
use openset_protocol::{BrandId, Timestamp};
use openset_service::problem::{self, Json, Problem};
use openset_service::step_report::StepReport;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::purchases::{check_same_body, idempotency_key};
use crate::registration::expiry;
use crate::registration::renewal::days_left;
use crate::registration::{self, Answers, Consent, FailedAnswer, Kept, NewCard, parsed};
use crate::store::{self, CardRow};
use crate::{Wallet, taken};

pub(crate) fn router(wallet: &Arc<Wallet>) -> Router {
    Router::new()
        .route("/cards", post(register).get(list))
        .route("/cards/{card_id}", get(show))
        .route("/cards/{card_id}/form", post(fill_in))
        .route("/cards/{card_id}/renewal", post(renew))
        .with_state(Arc::clone(wallet))
}

/// A card as its owner enters it. Without `accept_policy` the card waits with the CA's form, to be filled in at
/// `/cards/{card_id}/form`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CardRequest {
    /// The whole card number: 12 to 19 digits.
    pan: String,
    /// YYYYMM.
    expiry: String,
    brand: String,
    /// The language of the CA's form; English unless given.
    language: Option<String>,
    /// Where the CA that serves the card registers, if not with the CA of the configuration.
    registration_url: Option<String>,
    /// Answers to the CA's form by its fields' names; together with `accept_policy`.
    #[schema(value_type = Option<Object>, example = json!({"holder": "Grace Hopper", "activation_code": "VKLH4-UDNJL"}))]
    answers: Option<Answers>,
    /// Accept the CA's policy as it is, unseen.
    #[serde(default)]
    accept_policy: bool,
    /// Ask no CA for a certificate: what is paid with the card is not signed, and taken by few. Only where the wallet's
    /// configuration has `allow_unsigned`.
    #[serde(default)]
    unsigned: bool,
}

/// A form as the person has filled it in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilledForm {
    /// Answers by the fields' names.
    #[schema(value_type = Object, example = json!({"holder": "Grace Hopper", "activation_code": "VKLH4-UDNJL"}))]
    answers: Answers,
    /// The person accepts the policy that the form shows.
    #[serde(default)]
    accept_policy: bool,
}

/// What a renewal needs of the person: an expiry that has changed, or consent to the form that it waits for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RenewalConsent {
    /// YYYYMM: that of the card which the bank has sent in place of this one.
    expiry: Option<String>,
    /// SHA-256 of the policy that the person has read, as `renewal_form` shows it.
    policy_sha256: Option<String>,
    /// The person accepts this policy.
    #[serde(default)]
    accept_policy: bool,
    /// Answers by the fields' names, if the form asks for any.
    #[serde(default)]
    #[schema(value_type = Object)]
    answers: Answers,
}

/// A card as the wallet shows it: never the whole number.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CardView {
    card_id: String,
    /// form, registering, pended, registered, refused or unsigned.
    state: String,
    brand: String,
    last_four: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    expiry: Option<CardExpiry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<String>,
    /// The CA's form, while it is to be filled in.
    #[serde(skip_serializing_if = "Option::is_none")]
    form: Option<FormView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<CertificateView>,
    /// What the CA shows for the certificate's renewal, which waits until the person has accepted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    renewal_form: Option<FormView>,
    /// Why there is no certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The CA's words for the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_url: Option<String>,
    created_at: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<StepReport>,
}

/// A form to be filled in.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FormView {
    reg_form_id: String,
    /// What the person accepts.
    policy_text: String,
    /// Its SHA-256, hexadecimal.
    policy_sha256: String,
    fields: Vec<FieldView>,
    /// Answers that were not taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed_items: Vec<FailedAnswer>,
}

/// One field of a form.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FieldView {
    name: String,
    description: String,
    length_max: u32,
    required: bool,
    /// The answer must not be shown while it is typed.
    invisible: bool,
}

/// The card's certificate: it names the account by a keyed hash.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CertificateView {
    thumbprint: String,
    account_name: String,
    not_after: String,
    /// valid, renewal-due, expired, revoked or not-verified.
    status: String,
    /// Whole days until it ends.
    days_left: i64,
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
        form: None,
        certificate: None,
        renewal_form: None,
        reason: row.reason.clone(),
        message: None,
        registration_url: row.registration_url.clone(),
        created_at: Timestamp::from_seconds(row.created_at_s).to_string(),
        steps: Vec::new(),
    };
    match wallet.open_card(row)? {
        Kept::Form {
            form,
            expiry,
            failed,
            message,
            ..
        } => {
            view.form = Some(form_view(form.form(), failed));
            (view.expiry, view.message) = (Some(expiry), message);
        }
        Kept::Registering { holder, expiry, .. } => {
            (view.expiry, view.holder) = (Some(expiry), Some(holder));
        }
        Kept::Pended {
            holder,
            expiry,
            message,
            ..
        } => {
            (view.expiry, view.holder) = (Some(expiry), Some(holder));
            view.message = message;
        }
        Kept::Registered {
            chain,
            holder,
            expiry,
            steps,
            message,
            renewal_form,
            ..
        } => {
            view.renewal_form = renewal_form.map(|form| form_view(&form, Vec::new()));
            view.certificate = Some(certificate_view(wallet, &chain, expiry)?);
            (view.expiry, view.holder) = (Some(expiry), Some(holder));
            (view.steps, view.message) = (steps, message);
        }
        Kept::Refused => {}
        Kept::Bare { expiry, .. } => view.expiry = Some(expiry),
    }
    Ok(view)
}

fn certificate_view(
    wallet: &Wallet,
    chain: &[ExactBytes],
    card: CardExpiry,
) -> Result<CertificateView, Problem> {
    let chain = parsed(chain)?;
    let leaf = chain.leaf();
    Ok(CertificateView {
        status: expiry::status(wallet, &chain, card).to_owned(),
        days_left: days_left(leaf),
        thumbprint: leaf.thumbprint().to_string(),
        account_name: leaf.common_name().to_owned(),
        not_after: Timestamp::from_seconds(leaf.not_after()).to_string(),
    })
}

fn form_view(form: &RegFormData, failed_items: Vec<FailedAnswer>) -> FormView {
    let fields = form.fields.iter().map(|field| FieldView {
        name: field.name.clone(),
        description: field.description.clone(),
        length_max: field.length_max,
        required: field.required,
        invisible: field.invisible,
    });
    FormView {
        reg_form_id: form.reg_form_id.clone(),
        policy_text: form.policy_text.clone(),
        policy_sha256: hex::encode(policy_digest(form).as_bytes()),
        fields: fields.collect(),
        failed_items,
    }
}

/// Registers a card with the CA of its brand (step 2).
#[utoipa::path(post, path = "/cards", request_body = CardRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key is the same card")),
    responses((status = 201, body = CardView),
        (status = 202, description = "Its form is to be filled in, it is still being registered, or the CA's operator has to decide", body = CardView),
        (status = 422, description = "A field must be mended, another CA serves the card, or the bank refuses")))]
pub(crate) async fn register(
    State(wallet): State<Arc<Wallet>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    wallet.require_owner(&headers)?;
    let body = taken(body)?;
    let key = idempotency_key(&headers)?;
    let body_digest = openset_jose::sha256(&body);
    if let Some(key) = &key {
        let known = store::card_by_key(&mut *wallet.db.read().await?, key).await?;
        if let Some(row) = known {
            check_same_body(&row.body_digest, &body_digest)?;
            return answer(&wallet, &row);
        }
    }
    let request: CardRequest = problem::from_json(&body)?;
    let unsigned = request.unsigned;
    let new = decode(request)?;
    let row = if unsigned {
        registration::hold(&wallet, new, body_digest, key.as_deref()).await?
    } else {
        registration::register(&wallet, new, body_digest, key.as_deref()).await?
    };
    answer(&wallet, &row)
}

/// Fills in the form that a card waits with; the person accepts its policy. Sent again, it tells what became of it.
#[utoipa::path(post, path = "/cards/{card_id}/form", request_body = FilledForm, params(("card_id" = String, Path)),
    responses((status = 201, body = CardView), (status = 202, description = "Still being registered", body = CardView),
        (status = 404, description = "No such card"),
        (status = 422, description = "Answers must be mended, or the bank refuses")))]
pub(crate) async fn fill_in(
    State(wallet): State<Arc<Wallet>>,
    headers: HeaderMap,
    Path(card_id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    wallet.require_owner(&headers)?;
    let row = registration::load(&wallet, &card_id).await?;
    let filled: FilledForm = problem::from_json(&taken(body)?)?;
    if !filled.accept_policy {
        return Err(policy_not_accepted());
    }
    let row = registration::fill_in(&wallet, row, &filled.answers).await?;
    answer(&wallet, &row)
}

/// Begins a renewal: for a card that the bank has replaced by one of another expiry, or with consent to what it waits
/// for, a policy that has changed or a form that asks for something.
#[utoipa::path(post, path = "/cards/{card_id}/renewal", request_body = RenewalConsent, params(("card_id" = String, Path)),
    responses((status = 202, description = "The card as it is; the renewal goes on", body = CardView),
        (status = 404, description = "No such card"),
        (status = 409, description = "No renewal waits for this policy"),
        (status = 422, description = "The policy must be accepted, or answers must be mended")))]
pub(crate) async fn renew(
    State(wallet): State<Arc<Wallet>>,
    headers: HeaderMap,
    Path(card_id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    wallet.require_owner(&headers)?;
    let row = registration::load(&wallet, &card_id).await?;
    let said: RenewalConsent = problem::from_json(&taken(body)?)?;
    let invalid = |pointer: &str, detail: String| {
        Problem::unprocessable("invalid-field", detail.clone()).with_field(pointer, detail)
    };
    let expiry = said.expiry.map(|text| text.parse::<CardExpiry>());
    let expiry = expiry
        .transpose()
        .map_err(|e| invalid("/expiry", e.to_string()))?;
    let Some(sha256) = said.policy_sha256 else {
        let expiry = expiry.ok_or_else(|| {
            let detail =
                "give the new expiry of the card, or policy_sha256 of the form that is accepted";
            invalid("/expiry", detail.to_owned())
        })?;
        let row = registration::replace(&wallet, row, expiry).await?;
        return Ok((StatusCode::ACCEPTED, Json(view(&wallet, &row)?)).into_response());
    };
    if expiry.is_some() {
        let detail = "the new expiry first, then consent to what the CA shows".to_owned();
        return Err(invalid("/expiry", detail));
    }
    if !said.accept_policy {
        return Err(policy_not_accepted());
    }
    let mut policy = [0; 32];
    hex::decode_to_slice(&sha256, &mut policy).map_err(|_| {
        let detail = "64 hexadecimal digits, as renewal_form in GET /cards shows them";
        invalid("/policy_sha256", detail.to_owned())
    })?;
    let consent = Consent {
        policy: Thumbprint::from_bytes(policy),
        answers: said.answers,
    };
    let row = registration::agree(&wallet, row, &consent).await?;
    Ok((StatusCode::ACCEPTED, Json(view(&wallet, &row)?)).into_response())
}

fn policy_not_accepted() -> Problem {
    let detail =
        "the CA registers a card only when its policy is accepted: accept_policy must be true";
    Problem::unprocessable("policy-not-accepted", detail)
        .with_field("/accept_policy", "must be true")
}

fn decode(request: CardRequest) -> Result<NewCard, Problem> {
    let invalid = |pointer: &str, detail: String| {
        Problem::unprocessable("invalid-field", format!("mend the card: {detail}"))
            .with_field(pointer, detail)
    };
    // Answers without consent are nobody's to send.
    if request.answers.is_some() && !request.accept_policy {
        return Err(policy_not_accepted());
    }
    if request.accept_policy && request.answers.is_none() {
        return Err(invalid(
            "/answers",
            "accept_policy goes with the answers to the form".to_owned(),
        ));
    }
    if request.unsigned && (request.answers.is_some() || request.registration_url.is_some()) {
        let detail = "a card that is not registered has no form and no CA";
        return Err(invalid("/unsigned", detail.to_owned()));
    }
    let language = match request.language {
        Some(tag) => tag
            .parse::<Language>()
            .map_err(|e| invalid("/language", e.to_string()))?,
        None => Language::english(),
    };
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
        language,
        registration_url: request.registration_url,
        answers: request.answers,
    })
}

fn answer(wallet: &Wallet, row: &CardRow) -> Result<Response, Problem> {
    let view = view(wallet, row)?;
    if let Some(form) = &view.form
        && !form.failed_items.is_empty()
    {
        return Err(registration::to_mend(&row.card_id, &form.failed_items));
    }
    let status = match view.state.as_str() {
        registration::REGISTERED | registration::UNSIGNED => StatusCode::CREATED,
        registration::REFUSED => {
            let reason = view.reason.unwrap_or_default();
            return Err(Problem::unprocessable(
                "card-refused",
                format!("the CA gave no certificate: {reason}"),
            ));
        }
        _ => StatusCode::ACCEPTED,
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

/// One card.
#[utoipa::path(get, path = "/cards/{card_id}", params(("card_id" = String, Path)),
    responses((status = 200, body = CardView), (status = 404, description = "No such card")))]
pub(crate) async fn show(
    State(wallet): State<Arc<Wallet>>,
    headers: HeaderMap,
    Path(card_id): Path<String>,
) -> Result<Json<CardView>, Problem> {
    wallet.require_owner(&headers)?;
    let row = registration::load(&wallet, &card_id).await?;
    Ok(Json(view(&wallet, &row)?))
}
