//! The bank's books: what each cardholder owes, what is to be settled with each gateway, and the bank's cash.

use openset_protocol::money::Currency;
use openset_store::ledger::{self, Entry, Posted, Posting};
use openset_store::{StoreError, Tx};

use crate::error::IssuerError;
use crate::store::settlements::Settlement;

/// The ledger account of a cardholder: its balance is what is owed.
pub(crate) fn cardholder(account_id: &str) -> String {
    format!("cardholder/{account_id}")
}

/// The ledger account of a gateway: what is still to be paid to it, as a balance below zero.
fn settlement(gateway: &str, currency: Currency) -> String {
    format!("settlement/{gateway}/{}", currency.alpha())
}

fn cash(currency: Currency) -> String {
    format!("cash/{}", currency.alpha())
}

/// Opens a cardholder's ledger account.
pub(crate) async fn open(
    tx: &mut Tx,
    account_id: &str,
    currency: Currency,
) -> Result<(), IssuerError> {
    ledger::open_account(tx, &cardholder(account_id), "cardholder", currency.alpha()).await?;
    Ok(())
}

/// A movement between a cardholder and the settlement with a gateway.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Booking<'a> {
    /// That of the movement.
    pub(crate) kind: &'static str,
    /// Unique among those of its kind.
    pub(crate) reference: &'a str,
    pub(crate) account_id: &'a str,
    pub(crate) gateway: &'a str,
    pub(crate) currency: Currency,
    /// How much more the cardholder owes; below zero, how much less.
    pub(crate) owed_minor: i64,
    pub(crate) memo: &'a str,
    pub(crate) at_s: i64,
}

/// Books a movement that was not booked before.
///
/// # Errors
/// Also when it was: then the books and the accounts disagree, and nothing may be committed.
pub(crate) async fn book(tx: &mut Tx, booking: &Booking<'_>) -> Result<(), IssuerError> {
    let currency = booking.currency.alpha();
    let settlement = settlement(booking.gateway, booking.currency);
    ledger::open_account(tx, &settlement, "settlement", currency).await?;
    let transfer = Transfer {
        kind: booking.kind,
        reference: booking.reference,
        to: &cardholder(booking.account_id),
        from: &settlement,
        currency,
        amount_minor: booking.owed_minor,
        memo: booking.memo,
        at_s: booking.at_s,
    };
    transfer.post_new(tx).await
}

/// Books what is paid to a gateway, or comes back from it.
///
/// # Errors
/// As [`book`].
pub(crate) async fn pay(tx: &mut Tx, paid: &Settlement) -> Result<(), IssuerError> {
    let currency = paid.currency.alpha();
    let (settlement, cash) = (
        settlement(&paid.gateway, paid.currency),
        cash(paid.currency),
    );
    ledger::open_account(tx, &cash, "cash", currency).await?;
    let transfer = Transfer {
        kind: "settlement",
        // A gateway's batches are its own: another one may have a batch of the same name.
        reference: &paid.name(),
        to: &settlement,
        from: &cash,
        currency,
        amount_minor: paid.net_minor,
        memo: &paid.gateway,
        at_s: paid.settled_at_s,
    };
    transfer.post_new(tx).await
}

/// Divides what stands in the settlement account that all gateways of a currency once shared among accounts of their
/// own: one entry for each currency, once.
///
/// # Errors
/// Also when the postings in it do not belong to authorizations: then the books are damaged.
pub(crate) async fn divide_settlement(tx: &mut Tx, at_s: i64) -> Result<(), IssuerError> {
    let shared: Vec<(String, String)> = sqlx::query_as(
        "SELECT id, currency FROM ledger_accounts \
         WHERE kind = 'settlement' AND id = 'settlement/' || currency ORDER BY id",
    )
    .fetch_all(&mut **tx)
    .await
    .map_err(StoreError::from)?;
    for (account, currency) in shared {
        // Of two replicas the second waits here, and finds nothing left.
        let balance_minor = ledger::lock_balance(tx, &account).await?;
        let shares = shares(tx, &account).await?;
        if shares.is_empty() {
            continue;
        }
        let mut moved = vec![(account.clone(), -balance_minor)];
        for (gateway, share_minor) in shares {
            let own = format!("settlement/{gateway}/{currency}");
            ledger::open_account(tx, &own, "settlement", &currency).await?;
            moved.push((own, share_minor));
        }
        let postings: Vec<Posting<'_>> = moved
            .iter()
            .map(|(account, amount_minor)| Posting {
                account,
                currency: &currency,
                amount_minor: *amount_minor,
            })
            .collect();
        let entry = Entry {
            kind: "opening",
            reference: &account,
            at: at_s,
            memo: "each gateway has an account of its own",
            postings: &postings,
        };
        post_new(tx, &entry).await?;
    }
    Ok(())
}

/// Of which gateway how much stands in the account that all of them shared; nothing once it was divided.
async fn shares(tx: &mut Tx, account: &str) -> Result<Vec<(String, i64)>, StoreError> {
    let divided =
        sqlx::query("SELECT 1 FROM ledger_entries WHERE kind = 'opening' AND reference = $1")
            .bind(account)
            .fetch_optional(&mut **tx)
            .await?;
    if divided.is_some() {
        return Ok(Vec::new());
    }
    // A reference begins with the authorization's id, which has 32 characters.
    let shares = sqlx::query_as(
        "SELECT a.gateway, CAST(SUM(p.amount_minor) AS BIGINT) FROM ledger_postings p \
         JOIN authorizations a ON a.id = SUBSTR(p.reference, 1, 32) \
         WHERE p.account = $1 GROUP BY a.gateway ORDER BY a.gateway",
    )
    .bind(account)
    .fetch_all(&mut **tx)
    .await?;
    Ok(shares)
}

/// So much more in one account, so much less in the other.
#[derive(Debug, Clone, Copy)]
struct Transfer<'a> {
    kind: &'static str,
    reference: &'a str,
    to: &'a str,
    from: &'a str,
    currency: &'a str,
    amount_minor: i64,
    memo: &'a str,
    at_s: i64,
}

impl Transfer<'_> {
    async fn post_new(&self, tx: &mut Tx) -> Result<(), IssuerError> {
        let posting = |account, amount_minor| Posting {
            account,
            currency: self.currency,
            amount_minor,
        };
        let entry = Entry {
            kind: self.kind,
            reference: self.reference,
            at: self.at_s,
            memo: self.memo,
            postings: &[
                posting(self.to, self.amount_minor),
                posting(self.from, -self.amount_minor),
            ],
        };
        post_new(tx, &entry).await
    }
}

async fn post_new(tx: &mut Tx, entry: &Entry<'_>) -> Result<(), IssuerError> {
    match ledger::post(tx, entry).await? {
        Posted::New => Ok(()),
        Posted::Already => Err(IssuerError::BookedBefore {
            kind: entry.kind.to_owned(),
            reference: entry.reference.to_owned(),
        }),
    }
}
