//! `GET /products`: what the shop sells.

use std::sync::Arc;

use axum::extract::State;
use openset_service::problem::Json;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Merchant;
use crate::catalogue::Product;

/// The shop window.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Shop {
    /// The shop's name.
    shop: String,
    products: Vec<Product>,
}

/// Lists the products and their prices.
#[utoipa::path(
    get, path = "/products", tag = "shop",
    responses((status = 200, body = Shop))
)]
pub(crate) async fn list(State(merchant): State<Arc<Merchant>>) -> Json<Shop> {
    Json(Shop {
        shop: merchant.settings.name.clone(),
        products: merchant.settings.catalogue.products().to_vec(),
    })
}
