//! `/openapi.json`.

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::routing::get;
use utoipa::Modify;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

/// Serves a service's OpenAPI document.
///
/// # Errors
/// When the document cannot be written as JSON.
pub fn router(document: &OpenApi) -> anyhow::Result<Router> {
    let json = Bytes::from(document.to_json()?);
    let route = get(move || {
        let json = json.clone();
        async move { ([(header::CONTENT_TYPE, "application/json")], json) }
    });
    Ok(Router::new().route("/openapi.json", route))
}

/// Says in a document that calls carry bearer tokens with a scope: `modifiers(&Bearer)`.
#[derive(Debug, Clone, Copy)]
pub struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}
