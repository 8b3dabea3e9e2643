//! An account as its bank sees it.

use openset_protocol::BrandId;
use openset_protocol::Timestamp;
use openset_protocol::card::{CardExpiry, NotAPan, Pan};
use openset_protocol::money::Currency;
use openset_store::ledger::EntryLine;
use serde::Serialize;
use utoipa::ToSchema;

use super::authorizations::AuthorizationView;
use crate::Issuer;
use crate::error::IssuerError;
use crate::ledger;
use crate::money::Money;
use crate::store::accounts::{self, Account};
use crate::store::authorizations::{self, Authorization, State};

/// Holds shown at most.
const HOLDS_MAX: u32 = 1000;
/// Authorizations and postings shown at most, the newest.
const LINES_MAX: u32 = 100;

/// An account: what is owed, held and available.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountView {
    account_id: String,
    holder: String,
    #[schema(value_type = String)]
    brand: BrandId,
    #[schema(value_type = String)]
    currency: Currency,
    /// Minor units of the currency.
    credit_limit: i64,
    blocked: bool,
    #[schema(value_type = String, format = DateTime)]
    opened_at: Timestamp,
    card: CardView,
    /// What the cardholder owes: the sum of the postings.
    balance: Money,
    /// The sum of the holds.
    held: Money,
    /// What may still be spent: the limit less balance and holds.
    available: Money,
    /// What is held now.
    holds: Vec<AuthorizationView>,
    /// The newest authorizations, whatever became of them.
    authorizations: Vec<AuthorizationView>,
    /// The newest postings.
    postings: Vec<PostingView>,
}

/// A card, its number masked.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CardView {
    #[schema(examples("400000******7899"))]
    pan_masked: String,
    #[schema(value_type = String, examples("202912"))]
    expiry: CardExpiry,
}

/// A line of the statement.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PostingView {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `capture`, `credit`, or the reversal of one.
    kind: String,
    reference: String,
    memo: String,
    /// Above zero: owed from then on.
    amount: Money,
    balance_after: Money,
}

/// Reads all of an account as it is at one moment.
pub(super) async fn of(issuer: &Issuer, id: &str) -> Result<Option<AccountView>, IssuerError> {
    let now = issuer.clock.now();
    let mut seen = issuer.db.snapshot().await?;
    let Some(account) = accounts::find(&mut seen, id).await? else {
        return Ok(None);
    };
    let held = Some(State::Held);
    let holds = authorizations::of_account(&mut seen, id, held, HOLDS_MAX).await?;
    let newest = authorizations::of_account(&mut seen, id, None, LINES_MAX).await?;
    let ledger_account = ledger::cardholder(id);
    let lines = openset_store::ledger::entries(&mut seen, &ledger_account, LINES_MAX).await?;
    let balance_minor = openset_store::ledger::balance(&mut seen, &ledger_account).await?;
    drop(seen);
    let pan_masked = masked_pan(issuer, &account)?;
    let money = |amount_minor| Money::new(account.currency, amount_minor);
    let shown = |list: &[Authorization]| {
        list.iter()
            .map(|one| AuthorizationView::of(one, now))
            .collect()
    };
    Ok(Some(AccountView {
        credit_limit: account.credit_limit_minor,
        blocked: account.blocked,
        opened_at: Timestamp::from_seconds(account.opened_at_s),
        card: CardView {
            pan_masked,
            expiry: account.card.expiry,
        },
        balance: money(balance_minor),
        held: money(account.held_minor),
        available: money(account.available_minor()),
        holds: shown(&holds),
        authorizations: shown(&newest),
        postings: lines
            .into_iter()
            .map(|line| posting(line, account.currency))
            .collect(),
        currency: account.currency,
        account_id: account.id,
        holder: account.holder,
        brand: account.brand,
    }))
}

fn posting(line: EntryLine, currency: Currency) -> PostingView {
    PostingView {
        at: Timestamp::from_seconds(line.at),
        kind: line.kind,
        reference: line.reference,
        memo: line.memo,
        amount: Money::new(currency, line.amount_minor),
        balance_after: Money::new(currency, line.balance_after_minor),
    }
}

fn masked_pan(issuer: &Issuer, account: &Account) -> Result<String, IssuerError> {
    let context = accounts::pan_context(&account.card.id);
    let opened = issuer.vault.open(&context, &account.card.pan_sealed)?;
    let pan: Pan = std::str::from_utf8(&opened).map_err(|_| NotAPan)?.parse()?;
    let hidden = pan.danger_digits().len().saturating_sub(10);
    Ok(format!(
        "{}{}{}",
        pan.bin(),
        "*".repeat(hidden),
        pan.last_four()
    ))
}
