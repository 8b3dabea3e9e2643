//! The bank's books: what each cardholder owes, against what is settled with other banks.

use openset_protocol::money::Currency;
use openset_store::Tx;
use openset_store::ledger::{self, Entry, Posted, Posting};

use crate::error::IssuerError;

/// The ledger account of a cardholder: its balance is what is owed.
pub(crate) fn cardholder(account_id: &str) -> String {
    format!("cardholder/{account_id}")
}

fn settlement(currency: Currency) -> String {
    format!("settlement/{}", currency.alpha())
}

/// Opens a cardholder's ledger account, and the settlement account of its currency.
pub(crate) async fn open(
    tx: &mut Tx,
    account_id: &str,
    currency: Currency,
) -> Result<(), IssuerError> {
    ledger::open_account(tx, &cardholder(account_id), "cardholder", currency.alpha()).await?;
    ledger::open_account(tx, &settlement(currency), "settlement", currency.alpha()).await?;
    Ok(())
}

/// A movement between a cardholder and settlement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Booking<'a> {
    /// That of the movement.
    pub(crate) kind: &'static str,
    /// Unique among those of its kind.
    pub(crate) reference: &'a str,
    pub(crate) account_id: &'a str,
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
    let (cardholder, settlement) = (cardholder(booking.account_id), settlement(booking.currency));
    let posting = |account, amount_minor| Posting {
        account,
        currency: booking.currency.alpha(),
        amount_minor,
    };
    let postings = [
        posting(&cardholder, booking.owed_minor),
        posting(&settlement, -booking.owed_minor),
    ];
    let entry = Entry {
        kind: booking.kind,
        reference: booking.reference,
        at: booking.at_s,
        memo: booking.memo,
        postings: &postings,
    };
    match ledger::post(tx, &entry).await? {
        Posted::New => Ok(()),
        Posted::Already => Err(IssuerError::BookedBefore {
            kind: booking.kind,
            reference: booking.reference.to_owned(),
        }),
    }
}
