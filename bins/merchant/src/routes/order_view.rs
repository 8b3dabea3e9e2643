//! An order as the shop's own staff see it. There is no card number here to be hidden.

use openset_protocol::Timestamp;
use openset_protocol::balance::Kind;
use openset_protocol::ids::{LocalId, Xid};
use openset_protocol::messages::auth::{AuthCode, RespReason};
use openset_protocol::messages::batch::BatchPlace;
use openset_protocol::messages::initiation::Money;
use openset_protocol::messages::install_recur::InstallRecurData;
use openset_service::problem::Problem;
use openset_service::step_report::StepReport;
use serde::Serialize;
use utoipa::ToSchema;

use super::authorize::refused_by;
use crate::catalogue::Line;
use crate::store::authorizations::Authorization;
use crate::store::movements::Movement;
use crate::store::orders::{self, Order};
use crate::store::payments::{self, Payment};
use crate::{Merchant, schema};

/// An order and its payment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderView {
    #[schema(value_type = String)]
    order_id: LocalId,
    /// `open` until somebody begins to pay, then `ordered`, `authorized`, `declined`, `failed`,
    /// `reversing`, `reversed`, `capturing`, `captured`, `voiding` or `refunded`.
    state: &'static str,
    #[schema(value_type = schema::Amount)]
    amount: Money,
    /// In which parts, or how often, the amount is paid; absent if once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::InstallRecurData>)]
    plan: Option<InstallRecurData>,
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
    /// What went back of the capture.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Amount>)]
    refunded: Option<Money>,
    /// What was asked of the gateway: each authorization, with what was done about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    authorizations: Vec<AskedView>,
    /// Where the order is sent in parts: each of them, by its number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parts: Vec<PartView>,
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

/// An authorization, whatever became of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AskedView {
    /// Its number within the order.
    number: i64,
    /// As the order's.
    state: &'static str,
    /// What was asked for.
    #[schema(value_type = schema::Amount)]
    asked: Money,
    /// What is authorized of it, or captured.
    #[schema(value_type = schema::Amount)]
    stands: Money,
    captures: Vec<MovementView>,
    refunds: Vec<MovementView>,
    reversals: Vec<MovementView>,
}

/// A capture, a refund, a reversal or the cancellation of one.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MovementView {
    /// Its name.
    movement: String,
    /// `asked`, `done`, `refused`, `voided` once it was cancelled, or `purged` with its batch.
    state: &'static str,
    #[schema(value_type = schema::Amount)]
    amount: Money,
    #[schema(value_type = String, format = DateTime)]
    asked_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    answered_at: Option<Timestamp>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
    /// Where it stands at the acquirer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::BatchPlace>)]
    batch: Option<BatchPlace>,
}

impl AskedView {
    fn of(payment: &Payment, one: &Authorization) -> Option<Self> {
        let rules = one.for_rules();
        let view = |movement: &Movement| {
            let at = |ms: i64| Timestamp::from_seconds(ms.div_euclid(1000));
            Some(MovementView {
                movement: movement.id.clone(),
                state: if movement.purged {
                    "purged"
                } else if rules.is_undone(&movement.id) {
                    "voided"
                } else {
                    movement.progress.name()
                },
                amount: payment.of(movement.amount_minor)?.into(),
                asked_at: at(movement.asked_at_ms),
                answered_at: movement.done_at_ms.map(at),
                refusal: movement.refusal.clone(),
                batch: movement.batch.clone(),
            })
        };
        let all = |kind: Kind| {
            let of_kind = one
                .movements
                .iter()
                .filter(|movement| movement.kind == kind);
            of_kind.filter_map(view).collect()
        };
        Some(Self {
            number: one.number,
            state: one.state().name(),
            asked: one.amount.into(),
            stands: payment.of(one.remaining_minor())?.into(),
            captures: all(Kind::Capture),
            refunds: all(Kind::Credit),
            reversals: all(Kind::Reversal),
        })
    }
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

/// A part of an order that is sent in several.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PartView {
    /// Its authorization's number.
    auth: i64,
    /// As the order's.
    state: &'static str,
    /// What was asked for.
    #[schema(value_type = schema::Amount)]
    amount: Money,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, examples("approved"))]
    auth_code: Option<AuthCode>,
    /// Which rule the gateway refused by.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Amount>)]
    captured: Option<Money>,
}

/// The parts, if there are or will be several.
fn parts(payment: &Payment) -> Vec<PartView> {
    let all = &payment.authorizations;
    let several = all.len() > 1 || all.iter().any(|one| one.auth_token().is_some());
    let code = |one: &Authorization| one.answer.as_ref().map(|(payload, _)| payload.auth_code);
    let view = |one: &Authorization| PartView {
        auth: one.number,
        state: one.state().name(),
        amount: one.amount.into(),
        auth_code: code(one),
        refused_by: code(one).and_then(|code| refused_by(code, payment.plan)),
        captured: payment.captured_of(one).map(|(_, amount)| amount.into()),
    };
    all.iter().filter(|_| several).map(view).collect()
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
            "no order has this id; unpaid ones are kept for an hour",
        )
    })?;
    let payment = match &order.xid {
        Some(xid) => payments::find(&mut connection, xid).await?,
        None => None,
    };
    // An order never shows another's money, whoever named the XID.
    let payment = payment.filter(|payment| payment.order_id == order.id);
    Ok((order, payment))
}

fn authorizations(payment: &Payment) -> Vec<AskedView> {
    let view = |one| AskedView::of(payment, one);
    payment.authorizations.iter().filter_map(view).collect()
}

impl OrderView {
    pub(super) fn of(order: &Order, payment: Option<&Payment>, steps: Vec<StepReport>) -> Self {
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
            plan: order.plan,
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
            refunded: leading
                .map(Authorization::refunded_minor)
                .filter(|refunded| *refunded > 0)
                .and_then(amount),
            authorizations: payment.map(authorizations).unwrap_or_default(),
            parts: payment.map(parts).unwrap_or_default(),
            failure: payment.and_then(Payment::failure).map(ToOwned::to_owned),
            reversed: leading
                .map(Authorization::reversed_minor)
                .filter(|reversed| *reversed > 0)
                .and_then(amount),
            reversal_refusal: refusal(Kind::Reversal),
            capture_refusal: refusal(Kind::Capture),
            steps,
        }
    }
}
