//! An order as the shop's own staff see it. There is no card number here to be hidden.

use openset_protocol::Timestamp;
use openset_protocol::balance::Kind;
use openset_protocol::ids::{LocalId, Xid};
use openset_protocol::messages::auth::{AuthCode, RespReason};
use openset_protocol::messages::initiation::Money;
use openset_service::problem::Problem;
use openset_service::step_report::StepReport;
use serde::Serialize;
use utoipa::ToSchema;

use crate::catalogue::Line;
use crate::store::authorizations::Authorization;
use crate::store::orders::{self, Order};
use crate::store::payments::{self, Payment};
use crate::{Merchant, schema};

/// An order and its payment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderView {
    #[schema(value_type = String)]
    order_id: LocalId,
    /// `open` until somebody begins to pay, then `ordered`, `authorized`, `declined`, `failed`,
    /// `reversing`, `reversed`, `capturing` or `captured`.
    state: &'static str,
    #[schema(value_type = schema::Amount)]
    amount: Money,
    items: Vec<Line>,
    order_description: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// The purchase's global name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    xid: Option<Xid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    brand: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization: Option<AuthorizationView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capture: Option<CaptureView>,
    /// Why there is no authorization, where the bank did not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    /// What was given back of the authorization.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Amount>)]
    reversed: Option<Money>,
    /// Why the last attempt to reverse brought nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    reversal_refusal: Option<String>,
    /// Why the last attempt to capture brought nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    capture_refusal: Option<String>,
    /// What the merchant did for this order.
    steps: Vec<StepReport>,
}

/// The bank's answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuthorizationView {
    #[schema(value_type = String, examples("approved"))]
    auth_code: AuthCode,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval_code: Option<String>,
    /// What is authorized, less what was reversed; 0 unless approved.
    #[schema(value_type = schema::Amount)]
    amount: Money,
    #[schema(value_type = String, format = DateTime)]
    date: Timestamp,
    /// Why it was declined.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, examples("insufficientFunds"))]
    resp_reason: Option<RespReason>,
    /// Whether the gateway's receipt for the cardholder is here.
    receipt: bool,
}

/// The money that was captured.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CaptureView {
    #[schema(value_type = schema::Amount)]
    amount: Money,
    #[schema(value_type = String, format = DateTime)]
    date: Timestamp,
}

/// The order and the payment that has it.
///
/// # Errors
/// 404 when there is no such order.
pub(super) async fn find(
    merchant: &Merchant,
    id: &str,
) -> Result<(Order, Option<Payment>), Problem> {
    let mut connection = merchant.db.read().await?;
    let order = orders::find(&mut connection, id).await?;
    let order = order.ok_or_else(|| {
        Problem::not_found(
            "no-such-order",
            "no order has this id; unpaid ones are kept for a day",
        )
    })?;
    let payment = match &order.xid {
        Some(xid) => payments::find(&mut connection, xid).await?,
        None => None,
    };
    Ok((order, payment))
}

impl OrderView {
    pub(super) fn of(order: &Order, payment: Option<&Payment>) -> Self {
        let leading = payment.and_then(Payment::leading);
        let amount = |minor| {
            payment
                .and_then(|payment| payment.of(minor))
                .map(Into::into)
        };
        let refusal = |kind| leading?.last(&kind)?.refusal.clone();
        Self {
            order_id: order.id.clone(),
            state: payment.map_or("open", |payment| payment.state().name()),
            amount: order.amount.into(),
            items: order.lines.clone(),
            order_description: order.description.clone(),
            created_at: Timestamp::from_seconds(order.created_at_s),
            xid: order.xid,
            brand: payment.map(|payment| payment.brand.to_string()),
            authorization: leading.and_then(|one| {
                let (payload, baggage) = one.answer.as_ref()?;
                Some(AuthorizationView {
                    auth_code: payload.auth_code,
                    approval_code: payload.approval_code.clone(),
                    amount: amount(one.remaining_minor())?,
                    date: payload.auth_date,
                    resp_reason: payload.resp_reason,
                    receipt: baggage.receipt.is_some(),
                })
            }),
            capture: payment
                .and_then(Payment::captured)
                .map(|(date, amount)| CaptureView {
                    amount: amount.into(),
                    date,
                }),
            failure: payment.and_then(Payment::failure).map(ToOwned::to_owned),
            reversed: leading
                .map(Authorization::reversed_minor)
                .filter(|reversed| *reversed > 0)
                .and_then(amount),
            reversal_refusal: refusal(Kind::Reversal),
            capture_refusal: refusal(Kind::Capture),
            steps: payment
                .map(|payment| payment.steps.clone())
                .unwrap_or_default(),
        }
    }
}
