//! Orders: placed by anyone, shown to the shop's own staff.

use std::sync::Arc;

use axum::extract::{Extension, FromRequest, Path, Request, State};
use axum::http::StatusCode;
use openset_protocol::ids::LocalId;
use openset_protocol::messages::initiation::{Money, PaymentInitiation};
use openset_service::peer::Peer;
use openset_service::problem::{self, Json, Problem};
use openset_service::{clock, random};
use openset_store::{StoreError, idempotency};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Operator;
use super::order_view::{self, OrderView};
use super::replay::{Answer, Call, IdempotencyKey};
use crate::catalogue::Priced;
use crate::store::orders::{self, Order};
use crate::unpaid::{PlacedBy, UNPAID_ORDER_SECONDS};
use crate::{Merchant, schema};

/// An order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderRequest {
    /// 1 to 50 products.
    items: Vec<Item>,
}

/// So many of a product.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Item {
    #[schema(examples("espresso-250"))]
    product_id: String,
    #[schema(minimum = 1, maximum = 99, examples(2))]
    quantity: u64,
}

/// A placed order, and what starts a wallet to pay it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlacedOrder {
    #[schema(value_type = String)]
    order_id: LocalId,
    #[schema(value_type = schema::Amount)]
    amount: Money,
    /// Its UTF-8 bytes are what wallet and shop hash.
    #[schema(examples("2 x Espresso beans 250 g @ EUR 7.50; total EUR 15.00; order 0f…"))]
    order_description: String,
    #[schema(value_type = schema::PaymentInitiation)]
    payment_initiation: PaymentInitiation,
}

/// A JSON body, as its text and as what that says.
pub(crate) struct Decoded<T> {
    text: Box<RawValue>,
    value: T,
}

impl<T: DeserializeOwned> FromRequest<Arc<Merchant>> for Decoded<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, merchant: &Arc<Merchant>) -> Result<Self, Problem> {
        let Json(text) = Json::<Box<RawValue>>::from_request(request, merchant).await?;
        let value = problem::from_json(text.get().as_bytes())?;
        Ok(Self { text, value })
    }
}

/// Places an order. It is forgotten after an hour unless somebody begins to pay it, and sooner if very many are placed
/// that nobody pays.
#[utoipa::path(
    post, path = "/orders", tag = "shop",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request one order. A secret: whoever sends it is given the order, so take a fresh UUID or another random text of at least 16 characters")),
    request_body = OrderRequest,
    responses(
        (status = 201, body = PlacedOrder),
        (status = 400, content_type = "application/problem+json", description = "Not JSON, or an Idempotency-Key that others may think of"),
        (status = 422, content_type = "application/problem+json", description = "A field must be mended, or the key was used for another order"),
        (status = 503, content_type = "application/problem+json", description = "Too many orders that are being paid"),
    )
)]
pub(crate) async fn place(
    State(merchant): State<Arc<Merchant>>,
    key: Option<IdempotencyKey>,
    peer: Option<Extension<Peer>>,
    request: Decoded<OrderRequest>,
) -> Result<Answer, Problem> {
    // All customers share one space of keys, and the answer goes to whoever has the key.
    key.as_ref().map_or(Ok(()), IdempotencyKey::check_secret)?;
    let body = request.text.get().as_bytes();
    let call = Call::new(key, "orders", body, UNPAID_ORDER_SECONDS);
    let priced = price(&merchant, &request.value)?;
    let placed_by = PlacedBy::of(&merchant.vault, peer.map(|Extension(peer)| peer));
    let order = order(priced)?;
    let answer = Answer::json(StatusCode::CREATED, &placed(&merchant, &order))?;
    let unpaid = &merchant.unpaid_orders;
    unpaid.make_sure(&merchant.db, &placed_by).await?;
    let recorded = call.as_ref().map(|call| call.recorded(&answer));
    let inserted = orders::insert(&order, &placed_by)?;
    let committed = if unpaid.is_room_for(&placed_by) {
        let writes = recorded.into_iter().chain([inserted]);
        merchant.db.write(writes.collect()).await
    } else {
        let mut tx = merchant.db.begin().await?;
        // A call that was made before makes no room.
        let is_new = match recorded {
            Some(recorded) => tx.write(recorded).await,
            None => Ok(()),
        };
        match is_new {
            Ok(()) => {
                let room = unpaid.make_room(&mut tx, &placed_by, order.created_at_s);
                if !room.await? {
                    return Err(Problem::unavailable(
                        "too-many-orders",
                        "too many orders are being paid; try again later",
                    ));
                }
                tx.commit_with(vec![inserted]).await
            }
            Err(known) => {
                tx.rollback().await?;
                Err(known)
            }
        }
    };
    match (committed, &call) {
        (Ok(()), _) => {}
        (Err(StoreError::Conflict(idempotency::KNOWN)), Some(call)) => {
            return call.given(&mut *merchant.db.read().await?).await;
        }
        (Err(error), _) => return Err(error.into()),
    }
    unpaid.count(&placed_by);
    tracing::info!(step = 4, lid_m = %order.id, outcome = "placed", "order placed");
    Ok(answer)
}

fn price(merchant: &Merchant, request: &OrderRequest) -> Result<Priced, Problem> {
    let items: Vec<(&str, u64)> = request
        .items
        .iter()
        .map(|item| (item.product_id.as_str(), item.quantity))
        .collect();
    merchant.settings.catalogue.price(&items).map_err(|error| {
        Problem::unprocessable("invalid-order", "mend the order where errors says so")
            .with_field(error.pointer(), error.to_string())
    })
}

fn order(priced: Priced) -> Result<Order, Problem> {
    let now_s = clock::now_seconds();
    let id: LocalId = random::dated_hex_id::<16>()
        .parse()
        .map_err(Problem::internal)?;
    Ok(Order {
        description: priced.description(id.as_str()),
        id,
        amount: priced.amount,
        lines: priced.lines,
        plan: priced.plan.map(|plan| plan.at(now_s)),
        xid: None,
        created_at_s: now_s,
    })
}

fn placed(merchant: &Merchant, order: &Order) -> PlacedOrder {
    let settings = &merchant.settings;
    let amount = Money::from(order.amount);
    PlacedOrder {
        order_id: order.id.clone(),
        amount,
        order_description: order.description.clone(),
        payment_initiation: PaymentInitiation {
            set_initiation_type: "payment".to_owned(),
            set_version: "2.0".to_owned(),
            set_url: settings.set_url.to_string(),
            brands: settings.brands.iter().map(ToString::to_string).collect(),
            amount,
            order_description: order.description.clone(),
            lid_m: order.id.clone(),
            plan: order.plan,
        },
    }
}

/// Shows an order, its payment, and the steps as the merchant saw them.
#[utoipa::path(
    get, path = "/orders/{id}", tag = "operator", security(("bearer" = [])),
    params(("id" = String, Path, description = "order_id")),
    responses(
        (status = 200, body = OrderView),
        (status = 401, content_type = "application/problem+json", description = "No token"),
        (status = 403, content_type = "application/problem+json", description = "A token of another scope"),
        (status = 404, content_type = "application/problem+json", description = "No such order"),
    )
)]
pub(crate) async fn show(
    State(merchant): State<Arc<Merchant>>,
    _: Operator,
    Path(id): Path<String>,
) -> Result<Json<OrderView>, Problem> {
    let (order, payment) = order_view::find(&merchant, &id).await?;
    let steps = match &payment {
        Some(payment) => payment.steps(&mut *merchant.db.read().await?).await?,
        None => Vec::new(),
    };
    Ok(Json(OrderView::of(&order, payment.as_ref(), steps)))
}
