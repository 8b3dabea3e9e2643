//! The acquirer's books: what the issuer owes, and what is owed to merchants.

use openset_protocol::balance::Kind;
use openset_protocol::money::CurrencyAmount;
use openset_store::ledger::{self, Entry, Posted, Posting};
use openset_store::{StoreError, Tx};
use sqlx::{AnyConnection, Row};

use crate::error::GatewayError;

/// Books a movement that the issuer has just done. Its id is the entry's reference.
pub(crate) async fn book(
    tx: &mut Tx,
    merchant_id: &str,
    (id, kind): (&str, &Kind),
    amount: CurrencyAmount,
    at_s: i64,
) -> Result<(), GatewayError> {
    let currency = amount.currency().alpha();
    // Refunds and cancelled captures go the other way.
    let minor = match kind {
        Kind::Capture | Kind::CreditReversal(_) => amount.minor_i64(),
        Kind::Credit | Kind::CaptureReversal(_) => -amount.minor_i64(),
        Kind::Reversal => return Ok(()),
    };
    let receivable = format!("receivable/issuer/{currency}");
    let payable = format!("payable/{merchant_id}/{currency}");
    ledger::open_account(tx, &receivable, "receivable", currency).await?;
    ledger::open_account(tx, &payable, "payable", currency).await?;
    let postings = [
        Posting {
            account: &receivable,
            currency,
            amount_minor: minor,
        },
        Posting {
            account: &payable,
            currency,
            amount_minor: -minor,
        },
    ];
    let entry = Entry {
        kind: kind.name(),
        reference: id,
        at: at_s,
        memo: merchant_id,
        postings: &postings,
    };
    match ledger::post(tx, &entry).await? {
        Posted::New => Ok(()),
        // What has just been done cannot stand in the books.
        Posted::Already => Err(StoreError::Corrupt("ledger_entries.reference").into()),
    }
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

/// The lines that an authorization's movements wrote in the books: account, currency, amount.
pub(crate) async fn lines(
    conn: &mut AnyConnection,
    authorization_id: &str,
) -> Result<Vec<(String, String, i64)>, StoreError> {
    let rows = sqlx::query(
        "SELECT p.account, p.currency, p.amount_minor FROM movements m \
         JOIN ledger_postings p ON p.kind = m.kind AND p.reference = m.id \
         WHERE m.authorization_id = $1 ORDER BY m.asked_at_s, m.id, p.line",
    )
    .bind(authorization_id)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)))
        .collect()
}
