//! Lists for people: accounts, authorizations, settlements, and an account's statement.

use std::sync::Arc;

use axum::extract::{Path, State};
use openset_protocol::money::Currency;
use openset_protocol::{BrandId, Timestamp};
use openset_service::auth::Scope;
use openset_service::paging::{Asked, Page, Place, Query, days};
use openset_service::problem::{Json, Problem};
use openset_store::ledger::EntryLine;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::accounts::no_such_account;
use super::authorizations::AuthorizationView;
use crate::Issuer;
use crate::error::IssuerError;
use crate::ledger;
use crate::money::Money;
use crate::request::{Operator, Reader};
use crate::store::accounts::{self, Account};
use crate::store::authorizations::{self, Authorization, Filter, State as HoldState};
use crate::store::settlements::{self, Settlement};

/// Which accounts.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountsQuery {
    /// Only those that are open or blocked.
    state: Option<AccountState>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Items of a page: 50 unless given, 200 at most.
    limit: Option<u16>,
}

/// Whether an account's card may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AccountState {
    /// It may.
    Open,
    /// Every authorization is declined.
    Blocked,
}

/// An account in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListedAccount {
    account_id: String,
    holder: String,
    #[schema(value_type = String)]
    brand: BrandId,
    state: AccountState,
    #[schema(value_type = String, format = DateTime)]
    opened_at: Timestamp,
    credit_limit: Money,
    /// What the cardholder owes.
    balance: Money,
    held: Money,
    available: Money,
}

/// Accounts, the newest first.
#[utoipa::path(
    get, path = "/accounts", tag = "operator", params(AccountsQuery),
    responses((status = 200, body = Page<ListedAccount>))
)]
pub(crate) async fn accounts(
    State(issuer): State<Arc<Issuer>>,
    _operator: Operator,
    Query(query): Query<AccountsQuery>,
) -> Result<Json<Page<ListedAccount>>, Problem> {
    let asked = Asked::new(query.after.as_deref(), query.limit)?;
    let blocked = query.state.map(|state| state == AccountState::Blocked);
    let found = accounts::list(&mut *issuer.db.read().await?, blocked, &asked).await?;
    let place = |last: &Account| Place {
        at: last.opened_at_s,
        id: last.id.clone(),
    };
    Ok(Json(asked.page(found, place, ListedAccount::of)))
}

/// Which authorizations.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthorizationsQuery {
    /// Only those in this state.
    state: Option<HoldState>,
    /// Only this account's.
    account: Option<String>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Items of a page: 50 unless given, 200 at most.
    limit: Option<u16>,
}

/// An authorization in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListedAuthorization {
    /// Absent for an unknown card.
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<String>,
    /// Who asked for it.
    gateway: String,
    #[serde(flatten)]
    authorization: AuthorizationView,
}

/// Authorizations, the newest first.
#[utoipa::path(
    get, path = "/authorizations", tag = "operator", params(AuthorizationsQuery),
    responses((status = 200, body = Page<ListedAuthorization>))
)]
pub(crate) async fn authorizations(
    State(issuer): State<Arc<Issuer>>,
    _operator: Operator,
    Query(query): Query<AuthorizationsQuery>,
) -> Result<Json<Page<ListedAuthorization>>, Problem> {
    let asked = Asked::new(query.after.as_deref(), query.limit)?;
    let now = issuer.clock.now();
    let filter = Filter {
        state: query.state,
        account_id: query.account.as_deref(),
        now_s: now.seconds(),
    };
    let found = authorizations::list(&mut *issuer.db.read().await?, filter, &asked).await?;
    let place = |last: &Authorization| Place {
        at: last.created_at_s,
        id: last.id.clone(),
    };
    let show = |one: Authorization| ListedAuthorization {
        authorization: AuthorizationView::of(&one, now),
        account_id: one.account_id,
        gateway: one.gateway,
    };
    Ok(Json(asked.page(found, place, show)))
}

/// Which settlements.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct SettlementsQuery {
    /// The `next` of the page before.
    after: Option<String>,
    /// Items of a page: 50 unless given, 200 at most.
    limit: Option<u16>,
}

/// A settlement in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListedSettlement {
    gateway: String,
    batch_id: String,
    part: u32,
    /// No part of the batch comes after it.
    last: bool,
    /// What the bank paid; below zero, what it got back.
    net: Money,
    /// How many movements it settled.
    items: u32,
    #[schema(value_type = String, format = DateTime)]
    settled_at: Timestamp,
}

/// Settlements, the newest first; a gateway sees its own.
#[utoipa::path(
    get, path = "/settlements", tag = "gateway", params(SettlementsQuery),
    responses((status = 200, body = Page<ListedSettlement>))
)]
pub(crate) async fn settlements(
    State(issuer): State<Arc<Issuer>>,
    Reader(reader): Reader,
    Query(query): Query<SettlementsQuery>,
) -> Result<Json<Page<ListedSettlement>>, Problem> {
    let asked = Asked::new(query.after.as_deref(), query.limit)?;
    let gateway = (reader.scope != Scope::Operator).then_some(reader.name.as_str());
    let found = settlements::list(&mut *issuer.db.read().await?, gateway, &asked).await?;
    let place = |last: &Settlement| Place {
        at: last.settled_at_s,
        id: last.name(),
    };
    Ok(Json(asked.page(found, place, ListedSettlement::of)))
}

/// Which lines of a statement.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatementQuery {
    /// The first day, `YYYY-MM-DD` (UTC).
    #[param(example = "2026-11-01")]
    from: Option<String>,
    /// The last day, `YYYY-MM-DD` (UTC).
    #[param(example = "2026-11-30")]
    to: Option<String>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Items of a page: 50 unless given, 200 at most.
    limit: Option<u16>,
}

/// A line of a statement.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatementEntry {
    #[schema(value_type = String, format = DateTime)]
    date: Timestamp,
    /// `capture`, `credit`, or the reversal of one: `capture_reversal`, `credit_reversal`.
    kind: String,
    /// Who was paid, or paid back.
    merchant: String,
    /// The bank's name for the line.
    reference: String,
    /// Above zero: owed from then on.
    amount: Money,
    /// What was owed after it.
    owed: Money,
}

/// What an account owes and how that came about, line by line, the oldest first.
#[utoipa::path(
    get, path = "/accounts/{id}/statement", tag = "operator",
    params(("id" = String, Path, description = "The account's id"), StatementQuery),
    responses(
        (status = 200, body = Page<StatementEntry>),
        (status = 400, description = "A day or `after` cannot be read"),
        (status = 404, description = "There is no such account"),
    )
)]
pub(crate) async fn statement(
    State(issuer): State<Arc<Issuer>>,
    _operator: Operator,
    Path(id): Path<String>,
    Query(query): Query<StatementQuery>,
) -> Result<Json<Page<StatementEntry>>, Problem> {
    let asked = Asked::new(query.after.as_deref(), query.limit)?;
    let days = days(query.from.as_deref(), query.to.as_deref())?;
    let mut connection = issuer.db.read().await?;
    let account = accounts::find(&mut connection, &id).await?;
    let account = account.ok_or_else(no_such_account)?;
    let name = ledger::cardholder(&account.id);
    let (after, rows) = (asked.at(), asked.rows());
    let found = openset_store::ledger::statement(&mut connection, &name, days, after, rows).await;
    let place = |last: &EntryLine| Place {
        at: last.account_line,
        id: account.id.clone(),
    };
    let show = |line| StatementEntry::of(line, account.currency);
    Ok(Json(asked.page(
        found.map_err(IssuerError::from)?,
        place,
        show,
    )))
}

impl ListedAccount {
    fn of(account: Account) -> Self {
        let money = |amount_minor| Money::new(account.currency, amount_minor);
        Self {
            state: if account.blocked {
                AccountState::Blocked
            } else {
                AccountState::Open
            },
            opened_at: Timestamp::from_seconds(account.opened_at_s),
            credit_limit: money(account.credit_limit_minor),
            balance: money(account.owed_minor),
            held: money(account.held_minor),
            available: money(account.available_minor()),
            account_id: account.id,
            holder: account.holder,
            brand: account.brand,
        }
    }
}

impl ListedSettlement {
    fn of(settled: Settlement) -> Self {
        Self {
            net: Money::new(settled.currency, settled.net_minor),
            gateway: settled.gateway,
            batch_id: settled.batch_id,
            part: settled.part,
            last: settled.last,
            items: settled.items,
            settled_at: Timestamp::from_seconds(settled.settled_at_s),
        }
    }
}

impl StatementEntry {
    fn of(line: EntryLine, currency: Currency) -> Self {
        Self {
            date: Timestamp::from_seconds(line.at),
            kind: line.kind,
            merchant: line.memo,
            reference: line.reference,
            amount: Money::new(currency, line.amount_minor),
            owed: Money::new(currency, line.balance_after_minor),
        }
    }
}
