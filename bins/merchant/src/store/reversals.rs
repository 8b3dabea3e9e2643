//! Reversals of authorizations: at most one at a time of each payment.

use openset_protocol::ids::Xid;
use openset_protocol::merchant::auth_rev::{AwaitingAuthRevRes, ReversalAnswer};
use openset_store::{StoreError, Tx};
use sqlx::{AnyConnection, Row};

use super::payments::{Payment, State};
use super::{from_json, one_row, to_json};

/// Begins a reversal. `false`: the payment is not (or no longer) authorized.
pub(crate) async fn begin(
    tx: &mut Tx,
    xid: &Xid,
    awaiting: &AwaitingAuthRevRes,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE payments SET state = 'reversing', awaiting_rev = $1, rev_refusal = NULL \
         WHERE xid = $2 AND state = 'authorized'",
    )
    .bind(to_json(awaiting, "payments.awaiting_rev")?)
    .bind(xid.to_string())
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What the answer of the last one is checked against.
pub(crate) async fn awaiting(
    conn: &mut AnyConnection,
    xid: &Xid,
) -> Result<Option<AwaitingAuthRevRes>, StoreError> {
    let row = sqlx::query("SELECT awaiting_rev FROM payments WHERE xid = $1")
        .bind(xid.to_string())
        .fetch_optional(conn)
        .await?;
    let text = row.map(|row| row.try_get::<Option<String>, _>(0));
    let text = text.transpose()?.flatten();
    text.map(|text| from_json(&text, "payments.awaiting_rev"))
        .transpose()
}

/// What ended the wait for a reversal.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// So much is authorized now.
    Reversed(ReversalAnswer),
    /// Nothing has changed, and why.
    Refused(String),
}

/// Ends the wait for a reversal: what stands authorized from now on takes the place of what stood, with the receipt
/// that says so.
pub(crate) async fn conclude(
    tx: &mut Tx,
    payment: &Payment,
    outcome: &Outcome,
) -> Result<(), StoreError> {
    let (auth, refusal) = (payment.auth.as_ref(), None);
    let (mut payload, mut baggage) = auth
        .cloned()
        .ok_or(StoreError::Corrupt("payments.auth_payload"))?;
    let (state, refusal) = match outcome {
        Outcome::Refused(reason) => (State::Authorized, Some(reason.as_str())),
        Outcome::Reversed(answer) if answer.new_amount.minor() == 0 => (State::Reversed, refusal),
        Outcome::Reversed(_) => (State::Authorized, refusal),
    };
    let mut reversed_minor = payment.reversed.minor_i64();
    if let Outcome::Reversed(ReversalAnswer {
        new_amount,
        receipt,
        ..
    }) = outcome
    {
        reversed_minor += payload.auth_amt.minor_i64() - new_amount.minor_i64();
        payload.auth_amt = *new_amount;
        // The wallet believes the bank's word alone: what it is told is what the receipt says.
        if let Some((receipt, date)) = receipt {
            payload.auth_date = *date;
            baggage.receipt = Some(receipt.clone());
        }
    }
    let done = sqlx::query(
        "UPDATE payments SET state = $1, auth_payload = $2, auth_baggage = $3, rev_refusal = $4, \
         reversed_minor = $5, awaiting_rev = NULL WHERE xid = $6 AND state = 'reversing'",
    )
    .bind(state.name())
    .bind(to_json(&payload, "payments.auth_payload")?)
    .bind(to_json(&baggage, "payments.auth_baggage")?)
    .bind(refusal)
    .bind(reversed_minor)
    .bind(payment.xid.to_string())
    .execute(&mut **tx)
    .await?;
    one_row(
        done.rows_affected(),
        "the payment was not waiting for a reversal",
    )
}
