//! `GET /orders`: the orders, the newest first, a page at a time.

use std::sync::Arc;

use axum::extract::State;
use openset_protocol::Timestamp;
use openset_protocol::ids::LocalId;
use openset_protocol::messages::initiation::Money;
use openset_service::paging::{Asked, Page, Query};
use openset_service::problem::{Json, Problem};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Operator;
use super::money::invalid_field;
use crate::store::orders::{self, Listed, UNANSWERED};
use crate::store::payments::State as At;
use crate::{Merchant, schema};

/// Which orders, and how many.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// `open`, `ordered`, `authorized`, `captured` or any other state of an order: only those in it. `unanswered`, whatever
    /// their state: those with something that the gateway was asked for 30 days and never answered.
    state: Option<String>,
    /// `next` of the page before.
    after: Option<String>,
    /// At most so many, 1 to 200; 50 if it is left out.
    limit: Option<u16>,
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

/// Lists orders, the newest first.
#[utoipa::path(
    get, path = "/orders", tag = "operator", security(("bearer" = [])), params(Which),
    responses(
        (status = 200, body = Page<ListedOrder>),
        (status = 400, content_type = "application/problem+json", description = "after is no page's next, or another parameter cannot be read"),
        (status = 401, content_type = "application/problem+json", description = "No token"),
        (status = 403, content_type = "application/problem+json", description = "A token of another scope"),
        (status = 422, content_type = "application/problem+json", description = "No such state"),
    )
)]
pub(crate) async fn list(
    State(merchant): State<Arc<Merchant>>,
    _: Operator,
    Query(which): Query<Which>,
) -> Result<Json<Page<ListedOrder>>, Problem> {
    let asked = Asked::new(which.after.as_deref(), which.limit)?;
    let state = which.state.as_deref();
    let known = |state: &str| matches!(state, "open" | UNANSWERED) || state.parse::<At>().is_ok();
    if state.is_some_and(|state| !known(state)) {
        let detail = "no order has such a state; GET /openapi.json names them";
        return Err(invalid_field("/state", detail.to_owned()));
    }
    let mut connection = merchant.db.read().await?;
    let found = orders::list(&mut connection, state, &asked).await?;
    Ok(Json(asked.page(found, Listed::place, ListedOrder::from)))
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
