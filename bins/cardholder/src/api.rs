//! The wallet's OpenAPI document.

use openset_service::openapi::Bearer;
use utoipa::OpenApi;

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
        crate::cards::show,
        crate::cards::fill_in,
        crate::cards::renew,
        crate::purchases::create,
        crate::purchases::show,
        crate::purchases::inquire,
        crate::mail_orders::create,
        crate::mail_orders::file,
        crate::mail_orders::answer,
        crate::statement::statement,
        crate::backup::back_up,
        crate::backup::restore
    ),
    modifiers(&Bearer),
    security(("bearer" = []))
)]
pub(crate) struct Api;
