//! GET /statement: what the bank's receipts say was paid, purchase by purchase.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::get;
use openset_protocol::Timestamp;
use openset_protocol::messages::initiation::Money;
use openset_protocol::messages::p::{Credited, RECEIPT_SEQUENCE_FIRST, Receipt};
use openset_protocol::money::Currency;
use openset_service::paging::{Asked, Page, Place, Query, days};
use openset_service::problem::{Json, Problem};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::store::{self, PurchaseRow};
use crate::{Wallet, corrupt};

pub(crate) fn router(wallet: &Arc<Wallet>) -> Router {
    Router::new()
        .route("/statement", get(statement))
        .with_state(Arc::clone(wallet))
}

/// Which purchases.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// Those that were ordered from this day on, `YYYY-MM-DD` (UTC).
    #[param(example = "2026-11-01")]
    from: Option<String>,
    /// Those that were ordered until this day, it included.
    #[param(example = "2026-11-30")]
    to: Option<String>,
    /// Only those in this currency, three letters.
    #[param(value_type = Option<String>, example = "EUR")]
    currency: Option<Currency>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Items of a page: 50 unless given, 200 at most.
    limit: Option<u16>,
}

/// A purchase of which the bank has said something.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatementEntry {
    purchase_id: String,
    #[schema(value_type = String, format = DateTime)]
    ordered_at: Timestamp,
    /// `paid`; `partly_refunded` or `refunded` where money went back; `reversed` once nothing of it stands.
    status: String,
    card_id: String,
    order_id: String,
    order_description: String,
    /// The merchant, as the acquirer names it.
    merchant_id: String,
    /// What was ordered.
    #[schema(value_type = Object)]
    amount: Money,
    /// What the receipts come to.
    #[schema(value_type = Object)]
    paid: Money,
    /// How much of that went back; absent where nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    refunded: Option<Money>,
    /// Each authorization by its newest receipt, the oldest first; several where an order is sent in parts.
    parts: Vec<Part>,
}

/// An authorization, as its newest receipt has it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Part {
    /// When the bank signed that receipt.
    #[schema(value_type = String, format = DateTime)]
    as_of: Timestamp,
    approval_code: String,
    /// What stands of it, or was captured.
    #[schema(value_type = Object)]
    amount: Money,
    /// `authorized`; `reduced` where it is not the first receipt and stands for less than was ordered: a part was given
    /// back, or not captured; `reversed` when all was given back; `partly_refunded` or `refunded` after the capture.
    state: &'static str,
    /// What went back after the capture, the oldest first; of very many the oldest as one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refunds: Vec<Refund>,
}

/// Money that went back.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Refund {
    #[schema(value_type = String, format = DateTime)]
    refunded_at: Timestamp,
    #[schema(value_type = Object)]
    amount: Money,
}

impl Part {
    fn of(receipt: &Receipt, ordered_minor: u64) -> Self {
        let refund = |credit: &Credited| Refund {
            refunded_at: credit.cred_date,
            amount: credit.cred_amt.into(),
        };
        let (stands, refunded) = (receipt.auth_amt.minor(), receipt.refunded_minor());
        let state = match receipt.sequence {
            _ if stands == 0 => "reversed",
            _ if refunded >= stands => "refunded",
            _ if refunded > 0 => "partly_refunded",
            RECEIPT_SEQUENCE_FIRST => "authorized",
            _ if stands >= ordered_minor => "authorized",
            _ => "reduced",
        };
        Self {
            as_of: receipt.auth_date,
            approval_code: receipt.approval_code.clone(),
            amount: receipt.auth_amt.into(),
            state,
            refunds: receipt.credits.iter().map(refund).collect(),
        }
    }
}

/// What was paid, by the bank's receipts alone, in the order in which it was ordered.
#[utoipa::path(get, path = "/statement", params(Which),
    responses((status = 200, body = Page<StatementEntry>),
        (status = 400, description = "A day, a currency or `after` cannot be read")))]
pub(crate) async fn statement(
    State(wallet): State<Arc<Wallet>>,
    headers: HeaderMap,
    Query(which): Query<Which>,
) -> Result<Json<Page<StatementEntry>>, Problem> {
    wallet.require_owner(&headers)?;
    let asked = Asked::new(which.after.as_deref(), which.limit)?;
    let days = days(which.from.as_deref(), which.to.as_deref())?;
    let currency = which.currency.map(Currency::alpha);
    let mut connection = wallet.db.read().await?;
    let found = store::settled_purchases(&mut connection, days, currency, &asked).await?;
    drop(connection);
    let place = |row: &PurchaseRow| Place {
        at: row.created_at_s,
        id: row.purchase_id.clone(),
    };
    let page = asked.page(found, place, |row| wallet.entry(row));
    Ok(Json(Page {
        items: page.items.into_iter().collect::<Result<_, _>>()?,
        next: page.next,
    }))
}

impl Wallet {
    fn entry(&self, row: PurchaseRow) -> Result<StatementEntry, Problem> {
        let record = self.open_record(&row)?;
        let outcome = record.outcome.ok_or_else(|| corrupt("purchases.record"))?;
        let mut receipts: Vec<Receipt> = outcome
            .all_receipts()
            .into_values()
            .map(|kept| kept.receipt)
            .collect();
        receipts.sort_by_key(|receipt| receipt.auth_date.seconds());
        let currency =
            Currency::from_alpha(&row.currency).map_err(|_| corrupt("purchases.currency"))?;
        let money = |amount_minor| Money {
            currency,
            amount_minor,
        };
        let ordered = u64::try_from(row.amount_minor);
        let ordered = ordered.map_err(|_| corrupt("purchases.amount_minor"))?;
        let part = |receipt: &Receipt| Part::of(receipt, ordered);
        let merchant = receipts.first().map(|receipt| receipt.merchant_id.clone());
        Ok(StatementEntry {
            ordered_at: Timestamp::from_seconds(row.created_at_s),
            order_description: record.order_description,
            merchant_id: merchant.unwrap_or_default(),
            amount: money(ordered),
            paid: money(outcome.paid_minor()),
            refunded: Some(outcome.refunded_minor())
                .filter(|minor| *minor > 0)
                .map(money),
            parts: receipts.iter().map(part).collect(),
            purchase_id: row.purchase_id,
            status: row.state,
            card_id: row.card_id,
            order_id: row.lid_m,
        })
    }
}
