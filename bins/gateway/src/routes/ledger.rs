//! The acquirer's books.

use std::sync::Arc;

use axum::extract::State;
use openset_service::problem::{Json, Problem};
use openset_store::ledger;
use serde::Serialize;
use utoipa::ToSchema;

use super::Operator;
use crate::Gateway;
use crate::error::GatewayError;
use crate::store::books;

/// The most accounts shown.
const ACCOUNTS_MAX: u32 = 1000;

/// Balances, and whether the books are right.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LedgerView {
    accounts: Vec<AccountView>,
    audit: AuditView,
}

#[derive(Debug, Serialize, ToSchema)]
struct AccountView {
    #[schema(examples("payable/shop-1/EUR"))]
    id: String,
    kind: String,
    currency: String,
    /// Above zero is a debit, below a credit.
    balance_minor: i64,
}

/// What recomputing every balance and every zero sum found.
#[derive(Debug, Serialize, ToSchema)]
struct AuditView {
    /// Whether everything adds up.
    balanced: bool,
    accounts: u64,
    entries: u64,
    postings: u64,
    faults: Vec<String>,
}

/// The acquirer's balances, and an audit of its books.
#[utoipa::path(
    get, path = "/ledger", tag = "operator",
    responses((status = 200, body = LedgerView))
)]
pub(super) async fn show(
    State(gateway): State<Arc<Gateway>>,
    _: Operator,
) -> Result<Json<LedgerView>, Problem> {
    let mut snapshot = gateway.db.snapshot().await?;
    let accounts = books::accounts(&mut snapshot, ACCOUNTS_MAX).await?;
    let audit = ledger::check(&mut snapshot)
        .await
        .map_err(GatewayError::from)?;
    let account = |account: books::Account| AccountView {
        id: account.id,
        kind: account.kind,
        currency: account.currency,
        balance_minor: account.balance_minor,
    };
    Ok(Json(LedgerView {
        accounts: accounts.into_iter().map(account).collect(),
        audit: AuditView {
            balanced: audit.faults.is_empty(),
            accounts: audit.accounts,
            entries: audit.entries,
            postings: audit.postings,
            faults: audit
                .faults
                .iter()
                .map(|fault| format!("{fault:?}"))
                .collect(),
        },
    }))
}
