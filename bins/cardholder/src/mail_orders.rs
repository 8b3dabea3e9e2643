//! POST /mail-orders, GET /mail-orders/{id}, POST /mail-orders/{id}/answer: purchases by mail, from a shop's catalogue.
//! The wallet calls nobody: it gives PReq to be put into a file, and takes PRes out of one.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use openset_protocol::Timestamp;
use openset_protocol::cardholder::mail_order::{Catalogue, Ordering};
use openset_protocol::ids::Language;
use openset_protocol::messages::initiation::Money;
use openset_protocol::messages::mail_order::{CATALOGUE_BYTES_MAX, MailOrder, OrderedItem};
use openset_protocol::money::CurrencyAmount;
use openset_protocol::wrapper::{Message, MessageWrapper};
use openset_service::client::SetAnswer;
use openset_service::offload::offload;
use openset_service::problem::{self, Json, Problem};
use openset_service::server::SET_BODY_LIMIT_BYTES;
use openset_service::set_endpoint::SET_PAYMENT;
use openset_service::step_report::StepReport;
use openset_service::{clock, random};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::payment::{sealed_state, settle};
use crate::purchases::{
    Item, PurchaseView, Record, Terms, allowed, check_amount, idempotency_key, known_purchase, load,
};
use crate::store::{self, PurchaseRow};
use crate::{Wallet, corrupt, registration, staples, taken_up_to, with_context};

/// What JSON adds to a catalogue around it.
const JSON_BYTES_MAX: usize = 64 * 1024;
const BODY_BYTES_MAX: usize = CATALOGUE_BYTES_MAX.saturating_add(JSON_BYTES_MAX);

pub(crate) fn router(wallet: &Arc<Wallet>) -> Router {
    let create = post(create).layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    let answer = post(answer).layer(DefaultBodyLimit::max(SET_BODY_LIMIT_BYTES));
    Router::new()
        .route("/mail-orders", create)
        .route("/mail-orders/{id}", get(file))
        .route("/mail-orders/{id}/answer", answer)
        .with_state(Arc::clone(wallet))
}

/// What to order from a shop's catalogue, and what it may cost.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMailOrder {
    card_id: String,
    /// What the person expects: nothing is signed if the order comes to another amount.
    #[schema(value_type = Object, example = json!({"currency": "EUR", "amount_minor": 1500}))]
    amount: Money,
    /// The shop's catalogue, as it came: a JWS in compact form.
    catalogue: String,
    items: Vec<Item>,
}

/// A mail order as its owner sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MailOrderView {
    purchase: PurchaseView,
    bought: Bought,
    /// The message to send, byte by byte.
    p_req: String,
}

/// What is bought, as the catalogue has it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Bought {
    /// The merchant, as its acquirer names and certifies it.
    merchant_id: String,
    items: Vec<BoughtItem>,
    /// Until when one may order by the catalogue. An order may then still be on its way for 30 days.
    #[schema(value_type = String, format = DateTime)]
    valid_until: Timestamp,
}

/// A line of the order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct BoughtItem {
    product_id: String,
    name: String,
    quantity: u64,
    #[schema(value_type = Object)]
    unit_price: Money,
}

/// Makes an order by mail: verifies the catalogue as it would PInitRes, and gives PReq to be put into a file.
#[utoipa::path(post, path = "/mail-orders", request_body = NewMailOrder,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key is the same order and the same file")),
    responses((status = 201, description = "Write p_req to a file and send it to the shop", body = MailOrderView),
        (status = 409, description = "The order comes to another amount, or the card cannot be used; nothing was signed"),
        (status = 422, description = "A field must be mended, or the catalogue does not hold; nothing was signed")))]
pub(crate) async fn create(
    State(wallet): State<Arc<Wallet>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    wallet.require_owner(&headers)?;
    let body = taken_up_to(BODY_BYTES_MAX, body)?;
    let key = idempotency_key(&headers)?;
    let body_digest = openset_jose::sha256(&body);
    let request: NewMailOrder = problem::from_json(&body)?;
    if let Some(known) = known_purchase(&wallet, key.as_deref(), &body_digest).await? {
        return written(&wallet, &known).await;
    }
    let terms = Terms {
        purchase_id: random::dated_hex_id::<16>(),
        body_digest,
        key: key.as_deref(),
        card_id: request.card_id.clone(),
    };
    let catalogue = read(&wallet, &request).await?;
    let row = order(&wallet, &terms, catalogue, &request).await?;
    written(&wallet, &row).await
}

async fn written(wallet: &Wallet, row: &PurchaseRow) -> Result<Response, Problem> {
    let p_req = stored(wallet, &row.purchase_id).await?;
    let bought = wallet.open_record(row)?.by_catalogue;
    let view = MailOrderView {
        purchase: wallet.view(row)?,
        bought: bought.ok_or_else(|| corrupt("purchases.record"))?,
        p_req: String::from_utf8(p_req).map_err(|_| corrupt("mail_orders.p_req"))?,
    };
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

fn bought(catalogue: &Catalogue, items: &[Item]) -> Bought {
    let line = |item: &Item| {
        let products = catalogue.products().iter();
        let mut named = products.filter(|product| product.product_id == item.product_id);
        let product = named.next()?;
        Some(BoughtItem {
            product_id: product.product_id.clone(),
            name: product.name.clone(),
            quantity: item.quantity.into(),
            unit_price: product.price,
        })
    };
    Bought {
        merchant_id: catalogue.merchant_id().to_owned(),
        items: items.iter().filter_map(line).collect(),
        valid_until: catalogue.valid_until(),
    }
}

/// Verifies the catalogue, for the brand of the card.
async fn read(wallet: &Arc<Wallet>, request: &NewMailOrder) -> Result<Catalogue, Problem> {
    let card = registration::card(wallet, &request.card_id, None).await?;
    let brand = card
        .brand()
        .map_err(|error| Problem::conflict("card-not-usable", error.to_string()))?
        .clone();
    let (verifier, jws) = (
        Arc::clone(wallet.trust.verifier()),
        request.catalogue.trim_ascii_end().to_owned(),
    );
    let read = offload(move || Catalogue::read(&jws, &brand, &verifier, clock::now())).await;
    read.map_err(|refusal| {
        let detail = format!("the catalogue does not hold: {refusal}; nothing was signed");
        Problem::unprocessable("catalogue-not-verified", detail)
            .with_field("/catalogue", refusal.to_string())
    })
}

/// Makes PReq and keeps it with its purchase, in one transaction; gives the purchase that has the key.
async fn order(
    wallet: &Arc<Wallet>,
    terms: &Terms<'_>,
    catalogue: Catalogue,
    request: &NewMailOrder,
) -> Result<PurchaseRow, Problem> {
    let begun = Instant::now();
    let set_url = allowed(wallet, catalogue.set_url(), "/catalogue")?;
    let items: Vec<OrderedItem> = request.items.iter().map(Item::ordered).collect();
    let priced = catalogue.price(&items).map_err(|error| {
        Problem::unprocessable("invalid-order", "mend the order where errors says so")
            .with_field("/items", error.to_string())
    })?;
    check_amount(priced.into(), request.amount)?;
    let bought = bought(&catalogue, &request.items);
    let card = registration::card(wallet, &terms.card_id, None).await?;
    let ocsp = staples::fresh(wallet, &card.signature.thumbprint().to_string()).await?;
    let ordered = MailOrder {
        catalogue: catalogue.digest(),
        items: items.clone(),
    };
    let ordering = Ordering {
        items,
        purch_amt: priced,
        language: Language::english(),
    };
    let signing = Arc::clone(&card);
    let step = offload(move || with_context(|ctx| catalogue.order(ctx, &signing, ordering, ocsp)))
        .await
        .map_err(|refusal| Problem::conflict("card-not-usable", refusal.to_string()))?;
    let trans_ids = step.state.purchase().trans_ids();
    let record = Record {
        order_description: ordered.description(&trans_ids.lid_m),
        by_catalogue: Some(bought),
        steps: vec![StepReport::since(
            begun,
            6,
            "order and payment written to a file",
            ["cardholder", "merchant"],
            "PReq",
            step.wire.len(),
            &[
                "merchant's signature on the catalogue and path to the pinned root",
                "gateway's certificate and path",
                "revocation lists",
                "brand",
                "dates of the catalogue",
                "amount is what the person expects",
            ],
        )],
        ..Record::default()
    };
    let row = new_row(
        wallet,
        terms,
        &step.state,
        &record,
        set_url.as_str(),
        priced,
    )?;
    let row = PurchaseRow {
        certificate: Some(card.signature.thumbprint().to_string()),
        ..row
    };
    let mut tx = wallet.db.begin().await?;
    if !store::insert_purchase(&mut tx, &row).await? {
        drop(tx);
        // Another request with the same key was first: its order is the one.
        let known = known_purchase(wallet, terms.key, &terms.body_digest).await?;
        return known.ok_or_else(|| corrupt("purchases.idempotency_key"));
    }
    store::insert_mail_order(&mut tx, &row.purchase_id, &step.wire).await?;
    tx.commit().await?;
    Ok(row)
}

fn new_row(
    wallet: &Wallet,
    terms: &Terms<'_>,
    state: &openset_protocol::cardholder::purchase::AwaitingPRes,
    record: &Record,
    set_url: &str,
    amount: CurrencyAmount,
) -> Result<PurchaseRow, Problem> {
    let trans_ids = state.purchase().trans_ids();
    Ok(PurchaseRow {
        sealed: sealed_state(wallet, &terms.purchase_id, state)?,
        record: wallet.seal_record(&terms.purchase_id, record)?,
        purchase_id: terms.purchase_id.clone(),
        body_digest: terms.body_digest.to_vec(),
        card_id: terms.card_id.clone(),
        state: "sent".to_owned(),
        set_url: set_url.to_owned(),
        lid_m: trans_ids.lid_m.to_string(),
        xid: trans_ids.xid.to_string(),
        currency: amount.currency().alpha().to_owned(),
        amount_minor: amount.minor_i64(),
        idempotency_key: terms.key.map(str::to_owned),
        certificate: None,
        revision: 0,
        created_at_s: clock::now_seconds(),
    })
}

async fn stored(wallet: &Wallet, purchase_id: &str) -> Result<Vec<u8>, Problem> {
    let mut connection = wallet.db.read().await?;
    let p_req = store::mail_order_of(&mut connection, purchase_id).await?;
    p_req.ok_or_else(unknown)
}

/// An order by mail, by its purchase_id or the xid that its messages name.
async fn find(wallet: &Wallet, id: &str) -> Result<(PurchaseRow, Vec<u8>), Problem> {
    let mut connection = wallet.db.read().await?;
    let row = match store::purchase_by_id(&mut connection, id).await? {
        Some(row) => Some(row),
        None => store::purchase_by_xid(&mut connection, id).await?,
    };
    drop(connection);
    let row = row.ok_or_else(unknown)?;
    let p_req = stored(wallet, &row.purchase_id).await?;
    Ok((row, p_req))
}

fn unknown() -> Problem {
    Problem::not_found(
        "no-such-mail-order",
        "this wallet has no order by mail of this id",
    )
}

/// PReq of an order by mail, as it is to be sent.
#[utoipa::path(get, path = "/mail-orders/{id}", params(("id" = String, Path, description = "purchase_id or xid")),
    responses((status = 200, content_type = "application/set-payment+json", description = "PReq", body = Object),
        (status = 404, description = "No such order by mail")))]
pub(crate) async fn file(
    State(wallet): State<Arc<Wallet>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    wallet.require_owner(&headers)?;
    let (_, p_req) = find(&wallet, &id).await?;
    let content_type = HeaderValue::from_static(SET_PAYMENT);
    Ok(([(header::CONTENT_TYPE, content_type)], p_req).into_response())
}

/// Takes the shop's answer, the file as it came.
#[utoipa::path(post, path = "/mail-orders/{id}/answer", params(("id" = String, Path, description = "purchase_id or xid")),
    request_body(content = Object, content_type = "application/set-payment+json"),
    responses((status = 200, body = PurchaseView),
        (status = 404, description = "No such order by mail"),
        (status = 422, description = "The answer does not hold, or is to another order")))]
pub(crate) async fn answer(
    State(wallet): State<Arc<Wallet>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<PurchaseView>, Problem> {
    wallet.require_owner(&headers)?;
    let body = taken_up_to(SET_BODY_LIMIT_BYTES, body)?;
    let (row, _) = find(&wallet, &id).await?;
    let state = crate::payment::stored_state(&wallet, &row)?;
    let record = wallet.open_record(&row)?;
    let refused = |why: String| {
        let detail = format!("the answer does not hold: {why}");
        Problem::unprocessable("answer-not-verified", detail)
    };
    let wrapper = MessageWrapper::decode(&body).map_err(|error| refused(error.to_string()))?;
    if let Message::Error(error) = &wrapper.message
        && error
            .claim()
            .is_none_or(|said| said.error_msg.rrpid != Some(state.rrpid()))
    {
        return Err(refused("it is an Error about another message".to_owned()));
    }
    let is_error = matches!(wrapper.message, Message::Error(_));
    let answer = SetAnswer {
        status: if is_error { 400 } else { 200 },
        body: body.to_vec(),
    };
    // It came by whatever way: nobody is told over HTTP.
    let answer = (answer, None);
    let settled = settle(&wallet, &row, record, state, answer, Instant::now()).await;
    settled.map_err(|told| told.or_refused(refused))?;
    let row = load(&wallet, &row.purchase_id).await?;
    Ok(Json(wallet.view(&row)?))
}
