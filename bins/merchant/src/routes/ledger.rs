//! `GET /ledger`: the merchant's books.

use std::sync::Arc;

use axum::extract::State;
use openset_service::problem::{Json, Problem};
use openset_store::ledger::{self, LedgerError};
use serde::Serialize;
use utoipa::ToSchema;

use super::Operator;
use crate::Merchant;
use crate::store::books;

/// What the shop sold, what the acquirer owes it, and what was paid out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Books {
    /// Three for each currency.
    accounts: Vec<AccountView>,
    /// Whether every balance is the sum of its postings, and every entry sums to zero.
    balanced: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct AccountView {
    /// `receivable/acquirer/…`, `sales/…` or `bank/…`.
    #[schema(examples("receivable/acquirer/EUR"))]
    id: String,
    currency: String,
    /// Above zero is owed to the shop or lies in its bank, below is what it sold.
    balance_minor: i64,
}

/// The merchant's balances.
#[utoipa::path(
    get, path = "/ledger", tag = "operator", security(("bearer" = [])),
    responses(
        (status = 200, body = Books),
        (status = 401, content_type = "application/problem+json", description = "No token"),
        (status = 403, content_type = "application/problem+json", description = "A token of another scope"),
    )
)]
pub(crate) async fn show(
    State(merchant): State<Arc<Merchant>>,
    _: Operator,
) -> Result<Json<Books>, Problem> {
    let mut snapshot = merchant.db.snapshot().await?;
    let accounts = books::accounts(&mut snapshot).await?;
    let checked = match ledger::check(&mut snapshot).await {
        Ok(checked) => checked,
        Err(LedgerError::Store(error)) => return Err(error.into()),
        Err(error) => return Err(Problem::internal(error)),
    };
    let view = |account: books::Account| AccountView {
        id: account.id,
        currency: account.currency,
        balance_minor: account.balance_minor,
    };
    Ok(Json(Books {
        accounts: accounts.into_iter().map(view).collect(),
        balanced: checked.faults.is_empty(),
    }))
}
