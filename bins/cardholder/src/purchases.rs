//! POST /purchases, GET /purchases/{id}, POST /purchases/{id}/inquiry.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use openset_protocol::cardholder::purchase::{KeptReceipt, PurchaseOutcome};
use openset_protocol::messages::auth::AuthCode;
use openset_protocol::messages::initiation::{Money, PaymentInitiation};
use openset_protocol::messages::install_recur::InstallRecurData;
use openset_protocol::messages::mail_order::OrderedItem;
use openset_protocol::messages::p::Receipt;
use openset_protocol::money::CurrencyAmount;
use openset_service::client::{IDEMPOTENCY_KEY, join};
use openset_service::problem::{self, Json, Problem};
use openset_service::random;
use openset_service::step_report::StepReport;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::mail_orders::Bought;
use crate::store::{self, PurchaseRow};
use crate::{Wallet, call_problem, corrupt, payment, taken};

/// The longest Idempotency-Key, in characters.
const KEY_CHARS_MAX: usize = 128;

pub(crate) fn router(wallet: &Arc<Wallet>) -> Router {
    Router::new()
        .route("/purchases", post(create))
        .route("/purchases/{purchase_id}", get(show))
        .route("/purchases/{purchase_id}/inquiry", post(inquire))
        .with_state(Arc::clone(wallet))
}

/// What to buy: `merchant_url` and `items`, or the `initiation` that a shop gave; and what it may cost.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPurchase {
    card_id: String,
    /// What the person expects: another amount from the merchant is refused before anything is signed.
    #[schema(value_type = Object, example = json!({"currency": "EUR", "amount_minor": 1500}))]
    amount: Money,
    /// What the person agreed to pay in parts, or again and again: another plan from the merchant, or one where there is
    /// none here, is refused before anything is signed.
    #[schema(value_type = Option<Object>, example = json!({"recurring": {"frequency_days": 28, "expiry": "2027-11-22T23:59:59Z"}}))]
    plan: Option<InstallRecurData>,
    merchant_url: Option<String>,
    items: Option<Vec<Item>>,
    /// The payment initiation as a shop gave it.
    #[schema(value_type = Option<Object>)]
    initiation: Option<PaymentInitiation>,
}

/// One line of an order, as the merchant takes it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Item {
    pub(crate) product_id: String,
    pub(crate) quantity: u32,
}

impl Item {
    /// As a mail order names it.
    pub(crate) fn ordered(&self) -> OrderedItem {
        OrderedItem {
            product_id: self.product_id.clone(),
            quantity: self.quantity.into(),
        }
    }
}

/// The part of the merchant's order that the wallet needs.
#[derive(Deserialize)]
struct PlacedOrder {
    payment_initiation: PaymentInitiation,
}

#[derive(Serialize)]
struct OrderItems<'a> {
    items: &'a [Item],
}

/// What is kept of a purchase for its owner, sealed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) order_description: String,
    pub(crate) outcome: Option<PurchaseOutcome>,
    pub(crate) problem: Option<String>,
    pub(crate) steps: Vec<StepReport>,
    /// What the person agreed to pay in parts, or again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) plan: Option<InstallRecurData>,
    /// What was bought by mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by_catalogue: Option<Bought>,
}

/// A purchase as its owner sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PurchaseView {
    purchase_id: String,
    /// paid, partly_refunded, refunded, reversed, pending, declined, rejected, unknown or failed.
    status: String,
    card_id: String,
    #[schema(value_type = Object)]
    amount: Money,
    /// In which parts, or how often, the amount is paid; absent if once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    plan: Option<InstallRecurData>,
    order_id: String,
    order_description: String,
    xid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    auth_code: Option<AuthCode>,
    /// What the bank's receipts come to: below the amount while parts are still to be sent, or were given back or not
    /// captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    paid: Option<Money>,
    /// How much of that went back after it was captured, by the same receipts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    refunded: Option<Money>,
    /// The bank's word, signed by the gateway and verified here; of several parts the newest one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    receipt: Option<Receipt>,
    /// The receipt as it was signed, to keep.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt_jws: Option<String>,
    /// Where the order is paid in several parts: the newest receipt of each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    receipts: Vec<KeptReceipt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// Why it failed, or why it is not known yet what became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    steps: Vec<StepReport>,
    created_at: String,
}

impl Wallet {
    pub(crate) fn open_record(&self, row: &PurchaseRow) -> Result<Record, Problem> {
        let json = self
            .vault
            .open(&record_context(&row.purchase_id), &row.record)
            .map_err(Problem::internal)?;
        serde_json::from_slice(&json).map_err(|_| corrupt("purchases.record"))
    }

    pub(crate) fn seal_record(
        &self,
        purchase_id: &str,
        record: &Record,
    ) -> Result<Vec<u8>, Problem> {
        let json = serde_json::to_vec(record).map_err(Problem::internal)?;
        let context = record_context(purchase_id);
        Ok(self
            .db
            .packer()
            .seal_packed(&self.vault, "purchases/record", &context, (&json, 0)))
    }

    pub(crate) fn view(&self, row: &PurchaseRow) -> Result<PurchaseView, Problem> {
        let record = self.open_record(row)?;
        let currency = openset_protocol::money::Currency::from_alpha(&row.currency);
        let outcome = record.outcome;
        let currency = currency.map_err(|_| corrupt("purchases.currency"))?;
        let receipts = outcome.as_ref().map(PurchaseOutcome::all_receipts);
        let paid = receipts.as_ref().filter(|receipts| !receipts.is_empty());
        let refunded = outcome.as_ref().map(PurchaseOutcome::refunded_minor);
        // Until the merchant's word is there, nothing is known: never "paid".
        let status = if row.state == "sent" {
            "pending"
        } else {
            &row.state
        };
        Ok(PurchaseView {
            purchase_id: row.purchase_id.clone(),
            status: status.to_owned(),
            card_id: row.card_id.clone(),
            amount: Money {
                currency,
                amount_minor: u64::try_from(row.amount_minor)
                    .map_err(|_| corrupt("purchases.amount_minor"))?,
            },
            plan: record.plan,
            order_id: row.lid_m.clone(),
            order_description: record.order_description,
            xid: row.xid.clone(),
            auth_code: outcome
                .as_ref()
                .and_then(|o| o.auth_status.as_ref())
                .map(|a| a.auth_code),
            paid: paid.and(outcome.as_ref()).map(|outcome| Money {
                currency,
                amount_minor: outcome.paid_minor(),
            }),
            refunded: refunded.filter(|minor| *minor > 0).map(|minor| Money {
                currency,
                amount_minor: minor,
            }),
            receipts: match receipts {
                Some(several) if several.len() > 1 => several.into_values().collect(),
                _ => Vec::new(),
            },
            receipt: outcome.as_ref().and_then(|o| o.receipt.clone()),
            receipt_jws: outcome
                .as_ref()
                .and_then(|o| o.receipt_jws.clone())
                .map(|jws| jws.0),
            message: outcome.and_then(|o| o.message),
            problem: record.problem,
            steps: record.steps,
            created_at: openset_protocol::Timestamp::from_seconds(row.created_at_s).to_string(),
        })
    }
}

fn record_context(purchase_id: &str) -> String {
    format!("purchases/record/{purchase_id}")
}

/// The Idempotency-Key of a request, if it has one.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let key = value
        .to_str()
        .ok()
        .filter(|k| (1..=KEY_CHARS_MAX).contains(&k.len()));
    let wrong = || {
        Problem::bad_request(
            "invalid-idempotency-key",
            "Idempotency-Key takes 1 to 128 ASCII characters",
        )
    };
    key.map(|k| Some(k.to_owned())).ok_or_else(wrong)
}

/// The same key with another body is refused; with the same body it is the same purchase.
pub(crate) fn check_same_body(stored: &[u8], body: &[u8; 32]) -> Result<(), Problem> {
    if stored == body {
        return Ok(());
    }
    let detail =
        "this Idempotency-Key was used with another body; take a new key for a new request";
    Err(Problem::unprocessable("idempotency-key-reused", detail))
}

/// Buys: steps 4 to 10.
#[utoipa::path(post, path = "/purchases", request_body = NewPurchase,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key is the same purchase")),
    responses((status = 201, description = "Paid, declined or rejected", body = PurchaseView),
        (status = 202, description = "Pending: ask again, or inquire", body = PurchaseView),
        (status = 409, description = "The merchant asks for another amount or plan; nothing was signed"),
        (status = 422, description = "A field must be mended")))]
pub(crate) async fn create(
    State(wallet): State<Arc<Wallet>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    wallet.require_owner(&headers)?;
    let body = taken(body)?;
    let key = idempotency_key(&headers)?;
    let body_digest = openset_jose::sha256(&body);
    if let Some(known) = known_purchase(&wallet, key.as_deref(), &body_digest).await? {
        return answer(&wallet, &known);
    }
    let request: NewPurchase = problem::from_json(&body)?;
    let purchase_id = random::dated_hex_id::<16>();
    let started = Instant::now();
    let (initiation, bytes) = initiation(&wallet, &request, &purchase_id, key.as_deref()).await?;
    let terms = Terms {
        purchase_id,
        body_digest,
        key: key.as_deref(),
        card_id: request.card_id,
    };
    let order = agreed(&wallet, initiation, (request.amount, request.plan))?;
    let step = StepReport::since(
        started,
        4,
        "order placed",
        ["cardholder", "merchant"],
        "POST /orders",
        bytes,
        &[
            "amount is what the person expects",
            "address allowed by the wallet's policy",
        ],
    );
    let row = payment::purchase(&wallet, terms, order, step).await?;
    answer(&wallet, &row)
}

/// What the wallet knows before it talks to the merchant.
pub(crate) struct Terms<'a> {
    pub(crate) purchase_id: String,
    pub(crate) body_digest: [u8; 32],
    pub(crate) key: Option<&'a str>,
    pub(crate) card_id: String,
}

/// An order whose amount and address were agreed to.
pub(crate) struct AgreedOrder {
    pub(crate) initiation: PaymentInitiation,
    pub(crate) set_url: Url,
    pub(crate) amount: CurrencyAmount,
}

pub(crate) async fn known_purchase(
    wallet: &Wallet,
    key: Option<&str>,
    body_digest: &[u8; 32],
) -> Result<Option<PurchaseRow>, Problem> {
    let Some(key) = key else { return Ok(None) };
    let known = store::purchase_by_key(&mut *wallet.db.read().await?, key).await?;
    if let Some(row) = &known {
        check_same_body(&row.body_digest, body_digest)?;
    }
    Ok(known)
}

/// The initiation that came with the request, or the one that the merchant gives for the items.
async fn initiation(
    wallet: &Wallet,
    request: &NewPurchase,
    purchase_id: &str,
    key: Option<&str>,
) -> Result<(PaymentInitiation, usize), Problem> {
    match (&request.initiation, &request.merchant_url, &request.items) {
        (Some(initiation), None, None) => Ok((initiation.clone(), 0)),
        (None, Some(merchant_url), Some(items)) => {
            let base = allowed(wallet, merchant_url, "/merchant_url")?;
            let order = OrderItems { items };
            let bytes = serde_json::to_vec(&order).map_or(0, |json| json.len());
            let url = join(&base, "orders");
            // The person's key makes a repeated request the same order; without one each is new. All wallets
            // share the shop's keys: whoever could guess this one would be given the order.
            let order_key = key.map_or_else(
                || purchase_id.to_owned(),
                |k| hex::encode(wallet.vault.index("purchases/order_key", k.as_bytes())),
            );
            let placed: PlacedOrder = wallet
                .client
                .post_json(&url, None, Some(&order_key), &order)
                .await
                .map_err(|error| call_problem("merchant-refused-order", &error))?;
            Ok((placed.payment_initiation, bytes))
        }
        _ => {
            let detail = "give either merchant_url and items, or the initiation that the shop gave";
            Err(Problem::unprocessable("invalid-field", detail).with_field("", detail))
        }
    }
}

pub(crate) fn allowed(wallet: &Wallet, text: &str, pointer: &str) -> Result<Url, Problem> {
    let url = Url::parse(text)
        .ok()
        .filter(|url| wallet.policy.allows(url));
    url.ok_or_else(|| {
        let detail = "not an address that this wallet may call; add its origin to allowed_origins";
        Problem::unprocessable("address-not-allowed", detail).with_field(pointer, detail)
    })
}

/// The wallet never signs blind: the amount must be the one that the person expects.
fn agreed(
    wallet: &Wallet,
    initiation: PaymentInitiation,
    (expected, plan): (Money, Option<InstallRecurData>),
) -> Result<AgreedOrder, Problem> {
    let set_url = allowed(wallet, &initiation.set_url, "/initiation/set_url")?;
    check_amount(initiation.amount, expected)?;
    check_plan(initiation.plan, plan)?;
    let amount = CurrencyAmount::try_from(expected)
        .ok()
        .filter(|amount| amount.minor() > 0)
        .ok_or_else(|| {
            let detail = "an amount is at least 1 and at most 999999999999 minor units";
            Problem::unprocessable("invalid-field", detail)
                .with_field("/amount/amount_minor", detail)
        })?;
    Ok(AgreedOrder {
        initiation,
        set_url,
        amount,
    })
}

/// The amount that the merchant asks for is the one that the person expects.
pub(crate) fn check_amount(asked: Money, expected: Money) -> Result<(), Problem> {
    if asked == expected {
        return Ok(());
    }
    let (asked, expected) = (shown(asked), shown(expected));
    let detail =
        format!("the merchant asks for {asked}, but {expected} is expected; nothing was signed");
    Err(Problem::conflict("amount-differs", detail)
        .with_field("/amount", format!("the merchant asks for {asked}")))
}

/// The merchant's plan is the one that the person agreed to, which is none unless it was named.
fn check_plan(
    asked: Option<InstallRecurData>,
    expected: Option<InstallRecurData>,
) -> Result<(), Problem> {
    if asked == expected && asked.as_ref().is_none_or(InstallRecurData::is_sound) {
        return Ok(());
    }
    let told = |plan: Option<InstallRecurData>| {
        plan.map_or_else(|| "once".to_owned(), |plan| plan.to_string())
    };
    let detail = format!(
        "the merchant wants to be paid {}, but {} is expected; nothing was signed: whoever agrees sends the plan, too",
        told(asked),
        told(expected)
    );
    let asked = format!("the merchant wants to be paid {}", told(asked));
    Err(Problem::conflict("plan-differs", detail).with_field("/plan", asked))
}

fn shown(money: Money) -> String {
    CurrencyAmount::try_from(money).map_or_else(
        |_| "an amount out of range".to_owned(),
        |amount| amount.to_string(),
    )
}

fn answer(wallet: &Wallet, row: &PurchaseRow) -> Result<Response, Problem> {
    let view = wallet.view(row)?;
    let status = if view.status == "pending" {
        StatusCode::ACCEPTED
    } else {
        StatusCode::CREATED
    };
    Ok((status, Json(view)).into_response())
}

pub(crate) async fn load(wallet: &Wallet, purchase_id: &str) -> Result<PurchaseRow, Problem> {
    let row = store::purchase_by_id(&mut *wallet.db.read().await?, purchase_id).await?;
    row.ok_or_else(|| {
        Problem::not_found("no-such-purchase", "this wallet has no purchase of this id")
    })
}

/// A purchase as the wallet knows it.
#[utoipa::path(get, path = "/purchases/{purchase_id}", params(("purchase_id" = String, Path)),
    responses((status = 200, body = PurchaseView), (status = 404, description = "No such purchase")))]
pub(crate) async fn show(
    State(wallet): State<Arc<Wallet>>,
    headers: HeaderMap,
    Path(purchase_id): Path<String>,
) -> Result<Json<PurchaseView>, Problem> {
    wallet.require_owner(&headers)?;
    let row = load(&wallet, &purchase_id).await?;
    Ok(Json(wallet.view(&row)?))
}

/// Asks the merchant what became of a purchase.
#[utoipa::path(post, path = "/purchases/{purchase_id}/inquiry", params(("purchase_id" = String, Path)),
    responses((status = 200, body = PurchaseView), (status = 502, description = "The merchant's answer does not hold")))]
pub(crate) async fn inquire(
    State(wallet): State<Arc<Wallet>>,
    headers: HeaderMap,
    Path(purchase_id): Path<String>,
) -> Result<Json<PurchaseView>, Problem> {
    wallet.require_owner(&headers)?;
    let row = load(&wallet, &purchase_id).await?;
    payment::inquire(&wallet, &row).await?;
    let row = load(&wallet, &purchase_id).await?;
    Ok(Json(wallet.view(&row)?))
}
