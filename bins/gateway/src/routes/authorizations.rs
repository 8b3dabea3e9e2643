//! What the gateway knows of a purchase.

use std::sync::Arc;

use axum::extract::{Path, State};
use openset_protocol::Timestamp;
use openset_protocol::balance::{Kind, Progress, Standing};
use openset_protocol::ids::Xid;
use openset_protocol::messages::initiation::Money;
use openset_protocol::money::Currency;
use openset_service::clock;
use openset_service::problem::{Json, Problem};
use openset_service::step_report::StepReport;
use openset_store::StoreError;
use serde::Serialize;
use sqlx::AnyConnection;
use utoipa::ToSchema;

use super::Operator;
use crate::Gateway;
use crate::error::GatewayError;
use crate::store::authorizations::{self, Authorization, State as Answered};
use crate::store::movements::{self, Movement};
use crate::store::{books, payments};

/// The most requests shown of one purchase.
const ATTEMPTS_MAX: u32 = 20;

/// How far an authorization has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Stage {
    /// The issuer was asked; what it did is not known yet.
    Asked,
    /// The issuer holds the amount.
    Authorized,
    /// The issuer said no.
    Declined,
    /// The gateway said no: the issuer was never asked.
    Refused,
    /// The issuer was asked to hold less; whether it does is not known yet.
    Reversing,
    /// The issuer was asked to pay; whether it did is not known yet.
    Capturing,
    /// The issuer owes the amount.
    Captured,
    /// Given back, all of it.
    Reversed,
    /// The hold ran out before it was captured.
    Expired,
}

/// A purchase as the gateway knows it. There is no order description: the gateway never has it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuthorizationView {
    xid: String,
    /// The merchant's name for the request.
    auth_rrpid: String,
    state: Stage,
    /// SET's AuthCode, once it is decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_code: Option<String>,
    /// Why the issuer declines.
    #[serde(skip_serializing_if = "Option::is_none")]
    resp_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval_code: Option<String>,
    /// The issuer's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer_authorization: Option<String>,
    merchant_id: String,
    brand: String,
    /// The last four digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("**** **** **** 1234"))]
    card: Option<String>,
    /// Its expiry, YYYYMM.
    #[serde(skip_serializing_if = "Option::is_none")]
    card_expiry: Option<String>,
    /// What was asked for.
    #[schema(value_type = Object)]
    amount: Money,
    #[schema(value_type = String, format = DateTime)]
    received_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    decided_at: Option<Timestamp>,
    /// What was captured and not cancelled since.
    captures: Vec<CaptureView>,
    /// What was done with it, in order.
    movements: Vec<MovementView>,
    /// What stands in the acquirer's books.
    ledger: Vec<LineView>,
    /// What was done, in order.
    steps: Vec<StepReport>,
    /// Every request for this purchase; the first is the one above.
    attempts: Vec<AttemptView>,
}

#[derive(Debug, Serialize, ToSchema)]
struct CaptureView {
    #[schema(value_type = Object)]
    amount: Money,
    #[schema(value_type = Option<String>, format = DateTime)]
    captured_at: Option<Timestamp>,
}

#[derive(Debug, Serialize, ToSchema)]
struct MovementView {
    /// `reversal`, `capture`, `capture_reversal`, `credit` or `credit_reversal`.
    kind: &'static str,
    #[schema(value_type = Object)]
    amount: Money,
    /// `asked`, `done` or `refused`.
    state: &'static str,
    /// SET's code, of one that was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// Whether a later one undid it.
    undone: bool,
    /// The batch that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_id: Option<String>,
    /// Where it stands there, once it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_sequence_num: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
}

#[derive(Debug, Serialize, ToSchema)]
struct LineView {
    account: String,
    currency: String,
    /// Above zero is a debit, below a credit.
    amount_minor: i64,
}

#[derive(Debug, Serialize, ToSchema)]
struct AttemptView {
    auth_rrpid: String,
    state: Stage,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_code: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    received_at: Timestamp,
}

/// What the gateway knows of a purchase.
#[utoipa::path(
    get, path = "/authorizations/{xid}", tag = "operator",
    params(("xid" = String, Path, description = "The purchase's XID, 43 characters of base64url")),
    responses(
        (status = 200, body = AuthorizationView),
        (status = 404, description = "Nothing was asked for such a purchase"),
    )
)]
pub(super) async fn show(
    State(gateway): State<Arc<Gateway>>,
    _: Operator,
    Path(xid): Path<String>,
) -> Result<Json<AuthorizationView>, Problem> {
    let parsed: Xid = xid.parse().map_err(|_| no_such_purchase())?;
    let mut connection = gateway.db.read().await?;
    let all = authorizations::of_purchase(&mut connection, &parsed, ATTEMPTS_MAX).await?;
    let first = all.first().cloned().ok_or_else(no_such_purchase)?;
    let lines = books::lines(&mut connection, &first.id).await?;
    let movements = movements::of_authorization(&mut connection, &first.id).await?;
    let mut stages = Vec::with_capacity(all.len());
    for one in &all {
        stages.push(stage(&mut connection, one).await?);
    }
    drop(connection);
    let card = authorizations::open_card(&gateway.vault, &first)?;
    let attempts = all.iter().zip(&stages).map(AttemptView::of).collect();
    let stage = stages.first().copied().ok_or_else(no_such_purchase)?;
    let view = AuthorizationView::of(xid, first, stage, card, &movements, lines, attempts);
    Ok(Json(view))
}

/// By the state rules, at this moment.
async fn stage(conn: &mut AnyConnection, one: &Authorization) -> Result<Stage, GatewayError> {
    match one.state {
        Answered::Asked => return Ok(Stage::Asked),
        Answered::Declined => return Ok(Stage::Declined),
        Answered::Refused => return Ok(Stage::Refused),
        Answered::Authorized => {}
    }
    let corrupt = || StoreError::Corrupt("authorizations.payment_id");
    let payment = one.payment_id.as_deref().ok_or_else(corrupt)?;
    let payment = payments::load(conn, payment).await?;
    let rrpid = one.auth_rrpid.parse().map_err(|_| corrupt())?;
    let standing = payment.find(&rrpid).ok_or_else(corrupt)?;
    Ok(match standing.standing(clock::now_seconds()) {
        Standing::AtWork => {
            let reversing = standing.movements.iter().any(|movement| {
                movement.progress == Progress::Asked && movement.kind == Kind::Reversal
            });
            if reversing {
                Stage::Reversing
            } else {
                Stage::Capturing
            }
        }
        Standing::Refused => Stage::Declined,
        Standing::Authorized { .. } => Stage::Authorized,
        Standing::Reversed => Stage::Reversed,
        Standing::Expired => Stage::Expired,
        Standing::Captured { .. } => Stage::Captured,
    })
}

fn no_such_purchase() -> Problem {
    Problem::not_found(
        "no-such-purchase",
        "use the XID of a purchase that a merchant asked us to authorize",
    )
}

impl AuthorizationView {
    fn of(
        xid: String,
        row: Authorization,
        state: Stage,
        card: Option<(String, String)>,
        movements: &[Movement],
        lines: Vec<(String, String, i64)>,
        attempts: Vec<AttemptView>,
    ) -> Self {
        let captured = movements
            .iter()
            .filter(|movement| {
                movement.kind == Kind::Capture
                    && movement.progress == Progress::Done
                    && !is_undone(movements, movement)
            })
            .map(|movement| CaptureView {
                amount: Money {
                    currency: row.currency,
                    amount_minor: movement.amount_minor,
                },
                captured_at: movement.ended_at_s.map(Timestamp::from_seconds),
            });
        let line = |(account, currency, amount_minor)| LineView {
            account,
            currency,
            amount_minor,
        };
        let (card, card_expiry) = card.unzip();
        Self {
            xid,
            amount: row.amount(),
            state,
            card,
            card_expiry,
            received_at: Timestamp::from_seconds(row.received_at_s),
            decided_at: row.decided_at_s.map(Timestamp::from_seconds),
            captures: captured.collect(),
            movements: movements
                .iter()
                .map(|movement| MovementView::of(movement, row.currency, movements))
                .collect(),
            ledger: lines.into_iter().map(line).collect(),
            attempts,
            auth_rrpid: row.auth_rrpid,
            auth_code: row.auth_code,
            resp_reason: row.resp_reason,
            approval_code: row.approval_code,
            issuer_authorization: row.issuer_authorization,
            merchant_id: row.merchant_id,
            brand: row.brand,
            steps: row.steps,
        }
    }
}

/// Whether one of them undid it.
fn is_undone(all: &[Movement], one: &Movement) -> bool {
    all.iter().any(|other| {
        other.progress == Progress::Done
            && matches!(&other.kind, Kind::CaptureReversal(id) | Kind::CreditReversal(id) if *id == one.id)
    })
}

impl MovementView {
    fn of(one: &Movement, currency: Currency, all: &[Movement]) -> Self {
        Self {
            kind: one.kind.name(),
            amount: Money {
                currency,
                amount_minor: one.amount_minor,
            },
            state: one.progress.name(),
            code: one.code.clone(),
            undone: is_undone(all, one),
            batch_id: one.batch_id.clone(),
            batch_sequence_num: one.place.as_ref().map(|place| place.batch_sequence_num),
            ended_at: one.ended_at_s.map(Timestamp::from_seconds),
        }
    }
}

impl AttemptView {
    fn of((row, state): (&Authorization, &Stage)) -> Self {
        Self {
            auth_rrpid: row.auth_rrpid.clone(),
            state: *state,
            auth_code: row.auth_code.clone(),
            received_at: Timestamp::from_seconds(row.received_at_s),
        }
    }
}
