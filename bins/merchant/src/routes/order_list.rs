//! `GET /orders`: the orders, the newest first, a page at a time.

use std::sync::Arc;

use axum::extract::{Query, State};
use openset_protocol::Timestamp;
use openset_protocol::ids::LocalId;
use openset_protocol::messages::initiation::Money;
use openset_service::problem::{Json, Problem};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Operator;
use super::money::invalid_field;
use crate::store::orders::{self, Listed, Place, UNANSWERED};
use crate::store::payments::State as At;
use crate::{Merchant, schema};

/// Orders of one page, unless the request says otherwise.
const LIMIT: u32 = 50;
/// Orders of one page at most.
const LIMIT_MAX: u32 = 200;

/// Which orders, and how many.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    /// `open`, `ordered`, `authorized`, `captured` or any other state of an order: only those in it. `unanswered`, whatever
    /// their state: those with something that the gateway was asked for 30 days and never answered.
    state: Option<String>,
    /// `next` of the page before.
    after: Option<String>,
    /// At most so many, 1 to 200; 50 if it is left out.
    limit: Option<u32>,
}

/// Some of the orders.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Orders {
    /// The newest first.
    orders: Vec<ListedOrder>,
    /// What the next page is asked for with (`after`); absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// An order in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListedOrder {
    #[schema(value_type = String)]
    order_id: LocalId,
    state: String,
    #[schema(value_type = schema::Amount)]
    amount: Money,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// Lists orders.
#[utoipa::path(
    get, path = "/orders", tag = "operator", security(("bearer" = [])), params(Page),
    responses(
        (status = 200, body = Orders),
        (status = 401, content_type = "application/problem+json", description = "No token"),
        (status = 403, content_type = "application/problem+json", description = "A token of another scope"),
        (status = 422, content_type = "application/problem+json", description = "No such state, page or limit"),
    )
)]
pub(crate) async fn list(
    State(merchant): State<Arc<Merchant>>,
    _: Operator,
    Query(page): Query<Page>,
) -> Result<Json<Orders>, Problem> {
    let limit = page.limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(invalid_field(
            "/limit",
            format!("name 1 to {LIMIT_MAX} orders"),
        ));
    }
    let state = page.state.as_deref();
    let known = |state: &str| matches!(state, "open" | UNANSWERED) || state.parse::<At>().is_ok();
    if state.is_some_and(|state| !known(state)) {
        let detail = "no order has such a state; GET /openapi.json names them";
        return Err(invalid_field("/state", detail.to_owned()));
    }
    let after = page.after.as_deref().map(|text| {
        Place::parse(text)
            .ok_or_else(|| invalid_field("/after", "take next of the page before".to_owned()))
    });
    let after = after.transpose()?;
    let mut connection = merchant.db.read().await?;
    // One more than is shown tells whether there is a next page.
    let asked = i64::from(limit).saturating_add(1);
    let mut found = orders::list(&mut connection, state, after.as_ref(), asked).await?;
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > shown;
    found.truncate(shown);
    let last = found.last().filter(|_| more);
    let next = last.map(|listed| listed.place().to_string());
    let orders = found.into_iter().map(ListedOrder::from).collect();
    Ok(Json(Orders { orders, next }))
}

impl From<Listed> for ListedOrder {
    fn from(listed: Listed) -> Self {
        Self {
            order_id: listed.id,
            state: listed.state,
            amount: listed.amount.into(),
            created_at: Timestamp::from_seconds(listed.created_at_s),
        }
    }
}
