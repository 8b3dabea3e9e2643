//! `GET /catalogue`: what the shop sells, signed, for orders by mail.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use openset_service::problem::Problem;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{Merchant, mail_order};

/// Of which brand.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// The card's brand; may be left out where the shop takes one alone.
    brand: Option<String>,
}

/// The signed catalogue of a brand: products, prices and all certificates that an order by mail needs. Orders by it are
/// taken, at its prices, for 30 days after its `valid_until`.
#[utoipa::path(
    get, path = "/catalogue", tag = "shop", params(Wanted),
    responses(
        (status = 200, body = String, content_type = "application/jose", description = "A JWS in compact form"),
        (status = 404, content_type = "application/problem+json", description = "This shop takes no mail orders"),
        (status = 422, content_type = "application/problem+json", description = "Name one of the shop's brands"),
        (status = 503, content_type = "application/problem+json", description = "A certificate is not here yet"),
    )
)]
pub(crate) async fn signed(
    State(merchant): State<Arc<Merchant>>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let brands = &merchant.settings.brands;
    let brand = match (&wanted.brand, brands.as_slice()) {
        (Some(name), all) => all.iter().find(|brand| brand.as_str() == name),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    let brand = brand.ok_or_else(|| {
        let names: Vec<&str> = brands.iter().map(|brand| brand.as_str()).collect();
        let detail = format!("name one of the shop's brands: ?brand={}", names.join(", "));
        Problem::unprocessable("invalid-field", detail)
    })?;
    let jws = mail_order::catalogue(&merchant, brand).await?;
    let content_type = HeaderValue::from_static("application/jose");
    Ok(([(header::CONTENT_TYPE, content_type)], jws).into_response())
}
