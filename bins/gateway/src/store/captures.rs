//! Captures: at most one of each authorization, and the books of what the issuer owes for it.

use openset_protocol::messages::cap::{CapCode, CapItem};
use openset_service::step_report::StepReport;
use openset_store::ledger::{self, Entry, Posting};
use openset_store::{StoreError, Tx};
use sqlx::{AnyConnection, Row};

use super::authorizations::{self, Authorization, State};
use super::one_row;
use crate::error::GatewayError;
use crate::work::CaptureOrder;

/// The kind of a capture's entry in the books.
pub(crate) const ENTRY_KIND: &str = "capture";

/// Begins the capture of an authorization under the name `capture_id`, or says why there is none to begin.
pub(crate) async fn begin(
    tx: &mut Tx,
    merchant_id: &str,
    item: &CapItem,
    capture_id: &str,
) -> Result<Result<CaptureOrder, CapCode>, GatewayError> {
    let (xid, rrpid) = (&item.trans_ids.xid, item.auth_rrpid.to_string());
    let found = authorizations::find_approved(&mut *tx, merchant_id, xid, &rrpid).await?;
    let Some(authorization) = found else {
        return Ok(Err(CapCode::AuthDataMissing));
    };
    if let Err(code) = judge(&authorization, item) {
        return Ok(Err(code));
    }
    let begun = sqlx::query(
        "UPDATE authorizations SET state = 'capturing', capture_id = $1 \
         WHERE id = $2 AND state = 'authorized' AND amount_minor >= $3",
    )
    .bind(capture_id)
    .bind(authorization.id.as_str())
    .bind(item.cap_req_amt.minor_i64())
    .execute(&mut **tx)
    .await?;
    if begun.rows_affected() != 1 {
        return Ok(Err(CapCode::DuplicateRequest));
    }
    let issuer_authorization = authorization
        .issuer_authorization
        .ok_or(StoreError::Corrupt("authorizations.issuer_authorization"))?;
    Ok(Ok(CaptureOrder {
        authorization: authorization.id,
        issuer_authorization,
        capture_id: capture_id.to_owned(),
        amount: item.cap_req_amt,
    }))
}

fn judge(authorization: &Authorization, item: &CapItem) -> Result<(), CapCode> {
    match authorization.state {
        State::Authorized => {}
        State::Capturing | State::Captured => return Err(CapCode::DuplicateRequest),
        State::Expired => return Err(CapCode::AuthExpired),
        State::Asked | State::Declined | State::Refused => return Err(CapCode::AuthDataMissing),
    }
    let amount = item.cap_req_amt;
    let fits = amount.currency() == authorization.currency
        && (1..=authorization.amount_minor).contains(&amount.minor_i64());
    if fits {
        Ok(())
    } else {
        Err(CapCode::InvalidAuthData)
    }
}

/// The issuer pays: state and books.
pub(crate) async fn succeed(
    tx: &mut Tx,
    merchant_id: &str,
    order: &CaptureOrder,
    step: &StepReport,
    at_s: i64,
) -> Result<(), GatewayError> {
    let steps = with_step(&mut *tx, &order.authorization, step).await?;
    let rows = sqlx::query(
        "UPDATE authorizations SET state = 'captured', captured_minor = $1, captured_at_s = $2, \
         steps = $3 WHERE id = $4 AND state = 'capturing' AND capture_id = $5",
    )
    .bind(order.amount.minor_i64())
    .bind(at_s)
    .bind(steps)
    .bind(order.authorization.as_str())
    .bind(order.capture_id.as_str())
    .execute(&mut **tx)
    .await?
    .rows_affected();
    one_row(rows, "the capture was ended meanwhile")?;
    book(tx, merchant_id, order, at_s).await
}

/// The issuer does not pay: the hold is as it was, or over.
pub(crate) async fn fail(
    tx: &mut Tx,
    order: &CaptureOrder,
    code: CapCode,
) -> Result<(), GatewayError> {
    let state = match code {
        CapCode::AuthExpired => State::Expired,
        _ => State::Authorized,
    };
    let rows = sqlx::query(
        "UPDATE authorizations SET state = $1, capture_id = NULL \
         WHERE id = $2 AND state = 'capturing' AND capture_id = $3",
    )
    .bind(state.name())
    .bind(order.authorization.as_str())
    .bind(order.capture_id.as_str())
    .execute(&mut **tx)
    .await?
    .rows_affected();
    Ok(one_row(rows, "the capture was ended meanwhile")?)
}

/// The issuer owes us what we owe the merchant.
async fn book(
    tx: &mut Tx,
    merchant_id: &str,
    order: &CaptureOrder,
    at_s: i64,
) -> Result<(), GatewayError> {
    let currency = order.amount.currency().alpha();
    let amount_minor = order.amount.minor_i64();
    let receivable = format!("receivable/issuer/{currency}");
    let payable = format!("payable/{merchant_id}/{currency}");
    ledger::open_account(tx, &receivable, "receivable", currency).await?;
    ledger::open_account(tx, &payable, "payable", currency).await?;
    let postings = [
        Posting {
            account: &receivable,
            currency,
            amount_minor,
        },
        Posting {
            account: &payable,
            currency,
            amount_minor: -amount_minor,
        },
    ];
    let entry = Entry {
        kind: ENTRY_KIND,
        reference: &order.authorization,
        at: at_s,
        memo: merchant_id,
        postings: &postings,
    };
    ledger::post(tx, &entry).await?;
    Ok(())
}

async fn with_step(
    conn: &mut AnyConnection,
    id: &str,
    step: &StepReport,
) -> Result<String, GatewayError> {
    let row = sqlx::query("SELECT steps FROM authorizations WHERE id = $1").bind(id);
    let steps: String = row.fetch_one(conn).await?.try_get(0)?;
    let mut steps: Vec<StepReport> = serde_json::from_str(&steps)?;
    steps.push(step.clone());
    Ok(serde_json::to_string(&steps)?)
}

/// An account of the acquirer's books.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) currency: String,
    pub(crate) balance_minor: i64,
}

/// The acquirer's accounts.
pub(crate) async fn accounts(
    conn: &mut AnyConnection,
    limit: u32,
) -> Result<Vec<Account>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, kind, currency, balance_minor FROM ledger_accounts ORDER BY id LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await?;
    let account = |row: &sqlx::any::AnyRow| {
        Ok(Account {
            id: row.try_get(0)?,
            kind: row.try_get(1)?,
            currency: row.try_get(2)?,
            balance_minor: row.try_get(3)?,
        })
    };
    rows.iter().map(account).collect()
}

/// A line that a capture wrote in the books: account, currency, amount.
pub(crate) async fn lines(
    conn: &mut AnyConnection,
    authorization: &str,
) -> Result<Vec<(String, String, i64)>, StoreError> {
    let rows = sqlx::query(
        "SELECT account, currency, amount_minor FROM ledger_postings \
         WHERE kind = $1 AND reference = $2 ORDER BY line",
    )
    .bind(ENTRY_KIND)
    .bind(authorization)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)))
        .collect()
}
