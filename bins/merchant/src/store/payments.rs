//! Payments: one row for each XID under which a verified PReq came, and what became of it.

use std::fmt;
use std::str::FromStr;

use openset_protocol::Timestamp;
use openset_protocol::digest::Digest;
use openset_protocol::ids::{Challenge, LocalId, Rrpid, TransIds, Xid};
use openset_protocol::merchant::auth::AwaitingAuthRes;
use openset_protocol::merchant::cap::AwaitingCapRes;
use openset_protocol::messages::auth::{AuthResBaggage, AuthResPayload};
use openset_protocol::money::CurrencyAmount;
use openset_protocol::wrapper::Jws;
use openset_protocol::{BrandId, Thumbprint};
use openset_service::step_report::StepReport;
use openset_store::{StoreError, Tx};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use utoipa::ToSchema;

use super::{amount, from_json, one_row, stored, to_json};

/// Where a payment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// The gateway was asked and has not answered yet.
    Ordered,
    /// The bank holds the money.
    Authorized,
    /// The gateway was asked to give the authorization back, or a part of it, and has not answered yet.
    Reversing,
    /// All of the authorization was given back.
    Reversed,
    /// The bank or the gateway declined; the order may be paid in another way.
    Declined,
    /// The gateway did not take the request, or never answered.
    Failed,
    /// The merchant did not take it: nothing was asked of the gateway.
    Rejected,
    /// The gateway was asked for the money and has not answered yet.
    Capturing,
    /// The money was captured.
    Captured,
}

impl State {
    const ALL: [Self; 9] = [
        Self::Ordered,
        Self::Authorized,
        Self::Reversing,
        Self::Reversed,
        Self::Declined,
        Self::Failed,
        Self::Rejected,
        Self::Capturing,
        Self::Captured,
    ];

    /// As stored and as REST shows it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::Authorized => "authorized",
            Self::Reversing => "reversing",
            Self::Reversed => "reversed",
            Self::Declined => "declined",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Capturing => "capturing",
            Self::Captured => "captured",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for State {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|state| state.name() == text)
            .ok_or(())
    }
}

/// The PReq that a payment began with: all that its PRes needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskedBy {
    pub(crate) trans_ids: TransIds,
    pub(crate) rrpid: Rrpid,
    pub(crate) chall_c: Challenge,
    /// The digest that PRes repeats.
    pub(crate) request: Digest,
    /// The certificate that the purchase was opened with; absent in what was stored before there were renewals.
    #[serde(default)]
    pub(crate) merchant: Option<Thumbprint>,
}

/// A payment.
#[derive(Debug, Clone)]
pub(crate) struct Payment {
    pub(crate) xid: Xid,
    pub(crate) order_id: LocalId,
    pub(crate) state: State,
    pub(crate) brand: BrandId,
    /// The thumbprint of the certificate that signed PReq: nobody else may inquire.
    pub(crate) cardholder: Thumbprint,
    pub(crate) asked: AskedBy,
    /// The order's amount.
    pub(crate) amount: CurrencyAmount,
    pub(crate) awaiting_auth: Option<AwaitingAuthRes>,
    /// The bank's answer, with what stands of it after reversals.
    pub(crate) auth: Option<(AuthResPayload, AuthResBaggage)>,
    /// Why there is no authorization, where the bank did not say.
    pub(crate) failure: Option<String>,
    pub(crate) awaiting_cap: Option<AwaitingCapRes>,
    /// Why the last attempt to capture brought nothing.
    pub(crate) cap_refusal: Option<String>,
    pub(crate) captured: Option<(Timestamp, CurrencyAmount)>,
    /// What was given back of the authorization.
    pub(crate) reversed: CurrencyAmount,
    /// Why the last attempt to reverse brought nothing.
    pub(crate) rev_refusal: Option<String>,
    pub(crate) steps: Vec<StepReport>,
}

/// A payment that begins.
#[derive(Debug)]
pub(crate) struct NewPayment<'a> {
    pub(crate) order_id: &'a LocalId,
    pub(crate) brand: &'a BrandId,
    pub(crate) cardholder: Thumbprint,
    pub(crate) asked: &'a AskedBy,
    pub(crate) dual_signature: &'a Jws,
    /// None for one that is rejected at once.
    pub(crate) awaiting_auth: Option<&'a AwaitingAuthRes>,
    pub(crate) steps: &'a [StepReport],
    pub(crate) created_at_ms: i64,
}

/// Records a payment. `false`: its XID has one already.
pub(crate) async fn insert(tx: &mut Tx, new: &NewPayment<'_>) -> Result<bool, StoreError> {
    let (state, failure) = match new.awaiting_auth {
        Some(_) => (State::Ordered, None),
        None => (
            State::Rejected,
            Some("not the order that was placed, or paid already"),
        ),
    };
    let awaiting = new
        .awaiting_auth
        .map(|auth| to_json(auth, "payments.awaiting_auth"));
    let done = sqlx::query(
        "INSERT INTO payments (xid, order_id, state, brand, cardholder, asked, dual_signature, \
         awaiting_auth, failure, steps, created_at_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING",
    )
    .bind(new.asked.trans_ids.xid.to_string())
    .bind(new.order_id.as_str())
    .bind(state.name())
    .bind(new.brand.as_str())
    .bind(new.cardholder.to_string())
    .bind(to_json(new.asked, "payments.asked")?)
    .bind(new.dual_signature.0.as_str())
    .bind(awaiting.transpose()?)
    .bind(failure)
    .bind(to_json(&new.steps, "payments.steps")?)
    .bind(new.created_at_ms)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn find(
    conn: &mut AnyConnection,
    xid: &Xid,
) -> Result<Option<Payment>, StoreError> {
    let row = sqlx::query(
        "SELECT p.xid, p.order_id, p.state, p.brand, p.cardholder, p.asked, o.currency, \
         o.amount_minor, p.awaiting_auth, p.auth_payload, p.auth_baggage, p.failure, \
         p.awaiting_cap, p.cap_refusal, p.captured_minor, p.captured_at_s, p.steps, \
         p.reversed_minor, p.rev_refusal \
         FROM payments p JOIN orders o ON o.id = p.order_id WHERE p.xid = $1",
    )
    .bind(xid.to_string())
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &AnyRow) -> Result<Payment, StoreError> {
    let text = |column: usize| row.try_get::<String, _>(column);
    let optional = |column: usize| row.try_get::<Option<String>, _>(column);
    let currency = text(6)?;
    let payload = optional(9)?
        .map(|t| from_json(&t, "payments.auth_payload"))
        .transpose()?;
    let baggage = optional(10)?
        .map(|t| from_json(&t, "payments.auth_baggage"))
        .transpose()?;
    let captured: (Option<i64>, Option<i64>) = (row.try_get(14)?, row.try_get(15)?);
    let captured = match captured {
        (Some(minor), Some(at)) => Some((
            Timestamp::from_seconds(at),
            amount(&currency, minor, "payments.captured_minor")?,
        )),
        _ => None,
    };
    Ok(Payment {
        xid: stored(&text(0)?, "payments.xid")?,
        order_id: stored(&text(1)?, "payments.order_id")?,
        state: stored(&text(2)?, "payments.state")?,
        brand: stored(&text(3)?, "payments.brand")?,
        cardholder: stored(&text(4)?, "payments.cardholder")?,
        asked: from_json(&text(5)?, "payments.asked")?,
        amount: amount(&currency, row.try_get(7)?, "orders.amount_minor")?,
        awaiting_auth: optional(8)?
            .map(|t| from_json(&t, "payments.awaiting_auth"))
            .transpose()?,
        auth: payload.zip(baggage),
        failure: optional(11)?,
        awaiting_cap: optional(12)?
            .map(|t| from_json(&t, "payments.awaiting_cap"))
            .transpose()?,
        cap_refusal: optional(13)?,
        captured,
        reversed: amount(&currency, row.try_get(17)?, "payments.reversed_minor")?,
        rev_refusal: optional(18)?,
        steps: from_json(&text(16)?, "payments.steps")?,
    })
}

/// What ended the wait for an authorization.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// The gateway's signed answer, an approval or a decline.
    Answered(Box<(AuthResPayload, AuthResBaggage)>),
    /// No signed answer will come, and why.
    Failed(String),
}

impl Outcome {
    pub(crate) fn state(&self) -> State {
        match self {
            Self::Answered(answer) if answer.0.approved() => State::Authorized,
            Self::Answered(_) => State::Declined,
            Self::Failed(_) => State::Failed,
        }
    }
}

/// Ends the wait for an authorization.
pub(crate) async fn conclude(
    tx: &mut Tx,
    xid: &Xid,
    outcome: &Outcome,
    steps: &[StepReport],
) -> Result<(), StoreError> {
    let (payload, baggage, failure) = match outcome {
        Outcome::Answered(answer) => (
            Some(to_json(&answer.0, "payments.auth_payload")?),
            Some(to_json(&answer.1, "payments.auth_baggage")?),
            None,
        ),
        Outcome::Failed(reason) => (None, None, Some(reason.as_str())),
    };
    let done = sqlx::query(
        "UPDATE payments SET state = $1, auth_payload = $2, auth_baggage = $3, failure = $4, \
         steps = $5 WHERE xid = $6 AND state = 'ordered'",
    )
    .bind(outcome.state().name())
    .bind(payload)
    .bind(baggage)
    .bind(failure)
    .bind(to_json(&steps, "payments.steps")?)
    .bind(xid.to_string())
    .execute(&mut **tx)
    .await?;
    one_row(
        done.rows_affected(),
        "the payment was not waiting for an authorization",
    )
}

/// Begins a capture. `false`: the payment is not (or no longer) authorized.
pub(crate) async fn begin_capture(
    tx: &mut Tx,
    xid: &Xid,
    awaiting: &AwaitingCapRes,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE payments SET state = 'capturing', awaiting_cap = $1, cap_refusal = NULL \
         WHERE xid = $2 AND state = 'authorized'",
    )
    .bind(to_json(awaiting, "payments.awaiting_cap")?)
    .bind(xid.to_string())
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What ended the wait for a capture.
#[derive(Debug, Clone)]
pub(crate) enum CaptureOutcome {
    /// The money was captured: when and how much.
    Captured(Timestamp, CurrencyAmount),
    /// It was not, and why; the authorization stands.
    Refused(String),
}

/// Ends the wait for a capture.
pub(crate) async fn conclude_capture(
    tx: &mut Tx,
    xid: &Xid,
    outcome: &CaptureOutcome,
    steps: &[StepReport],
) -> Result<(), StoreError> {
    let (state, minor, at, refusal) = match outcome {
        CaptureOutcome::Captured(at, amount) => (
            State::Captured,
            Some(amount.minor_i64()),
            Some(at.seconds()),
            None,
        ),
        CaptureOutcome::Refused(reason) => (State::Authorized, None, None, Some(reason.as_str())),
    };
    let done = sqlx::query(
        "UPDATE payments SET state = $1, captured_minor = $2, captured_at_s = $3, \
         cap_refusal = $4, steps = $5 WHERE xid = $6 AND state = 'capturing'",
    )
    .bind(state.name())
    .bind(minor)
    .bind(at)
    .bind(refusal)
    .bind(to_json(&steps, "payments.steps")?)
    .bind(xid.to_string())
    .execute(&mut **tx)
    .await?;
    one_row(
        done.rows_affected(),
        "the payment was not waiting for a capture",
    )
}
