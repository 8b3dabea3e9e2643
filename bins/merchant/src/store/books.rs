//! The merchant's books: what it sold, what the acquirer owes it for that, and what the acquirer has paid out.

use openset_protocol::ids::LocalId;
use openset_protocol::money::Currency;
use openset_store::ledger::{self, Entry, LedgerError, Posted, Posting};
use openset_store::{StoreError, Tx};
use sqlx::{AnyConnection, Row};

use super::batches;

/// Books a movement of money that has just been done, and notes the batch that it stands in. Reversals of what was only
/// held move nothing.
pub(crate) async fn done(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    let row = sqlx::query(
        "SELECT m.kind, m.amount_minor, COALESCE(m.done_at_ms, m.asked_at_ms), m.batch_id, p.order_id, p.brand, o.currency \
         FROM movements m JOIN payments p ON p.xid = m.xid JOIN orders o ON o.id = p.order_id \
         WHERE m.id = $1 AND m.state = 'done' AND m.kind <> 'reversal'",
    )
    .bind(id)
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = row else { return Ok(()) };
    let (kind, minor, at_ms): (String, i64, i64) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let (order, currency): (String, String) = (row.try_get(4)?, row.try_get(6)?);
    if let Some(batch) = row.try_get::<Option<String>, _>(3)? {
        let brand: String = row.try_get(5)?;
        batches::see(tx, &batch, &brand, &currency, at_ms).await?;
    }
    let minor = match kind.as_str() {
        "capture" | "credit_reversal" => minor,
        _ => -minor,
    };
    let (receivable, sales) = (receivable(&currency), format!("sales/{currency}"));
    let accounts = [(&*receivable, "receivable"), (&*sales, "sales")];
    let at_s = at_ms.div_euclid(1000);
    transfer(
        tx,
        (&kind, id),
        accounts,
        (&currency, minor),
        (at_s, &order),
    )
    .await
}

/// Books what the acquirer has paid out for a batch; below zero, what it has taken.
pub(crate) async fn payout(
    tx: &mut Tx,
    batch: &LocalId,
    currency: Currency,
    minor: i64,
    at_s: i64,
) -> Result<(), StoreError> {
    let currency = currency.alpha();
    let (bank, receivable) = (format!("bank/{currency}"), receivable(currency));
    let accounts = [(&*bank, "bank"), (&*receivable, "receivable")];
    transfer(
        tx,
        ("payout", batch.as_str()),
        accounts,
        (currency, minor),
        (at_s, ""),
    )
    .await
}

fn receivable(currency: &str) -> String {
    format!("receivable/acquirer/{currency}")
}

/// So much to the first account, from the second.
async fn transfer(
    tx: &mut Tx,
    (kind, reference): (&str, &str),
    accounts: [(&str, &str); 2],
    (currency, minor): (&str, i64),
    (at_s, memo): (i64, &str),
) -> Result<(), StoreError> {
    if minor == 0 {
        return Ok(());
    }
    for (account, kind) in accounts {
        let opened = ledger::open_account(tx, account, kind, currency).await;
        opened.map_err(damaged)?;
    }
    let [(to, _), (from, _)] = accounts;
    let posting = |account, amount_minor| Posting {
        account,
        currency,
        amount_minor,
    };
    let entry = Entry {
        kind,
        reference,
        at: at_s,
        memo,
        postings: &[posting(to, minor), posting(from, -minor)],
    };
    match ledger::post(tx, &entry).await.map_err(damaged)? {
        Posted::New => Ok(()),
        // What has just been done cannot stand in the books.
        Posted::Already => Err(StoreError::Corrupt("ledger_entries.reference")),
    }
}

fn damaged(error: LedgerError) -> StoreError {
    match error {
        LedgerError::Store(error) => error,
        _ => StoreError::Corrupt("ledger_accounts"),
    }
}

/// An account of the merchant's books.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) currency: String,
    pub(crate) balance_minor: i64,
}

/// All accounts: three for each currency.
pub(crate) async fn accounts(conn: &mut AnyConnection) -> Result<Vec<Account>, StoreError> {
    let rows = sqlx::query("SELECT id, currency, balance_minor FROM ledger_accounts ORDER BY id")
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Account {
                id: row.try_get(0)?,
                currency: row.try_get(1)?,
                balance_minor: row.try_get(2)?,
            })
        })
        .collect()
}
