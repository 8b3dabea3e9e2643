//! `/openapi.json`.

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::routing::get;
use utoipa::openapi::OpenApi;

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
