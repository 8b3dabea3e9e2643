//! The wallet's OpenAPI document.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

/// What `/openapi.json` serves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "OpenSET wallet",
        description = "The cardholder's wallet. Amounts are integers in minor units. Errors are \
                       application/problem+json (RFC 9457) and name the field that must be mended."
    ),
    paths(
        crate::cards::register,
        crate::cards::list,
        crate::purchases::create,
        crate::purchases::show,
        crate::purchases::inquire
    ),
    modifiers(&Bearer),
    security(("bearer" = []))
)]
pub(crate) struct Api;

/// Bearer tokens.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("bearer", scheme);
    }
}
