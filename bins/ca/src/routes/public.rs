//! What everybody may read: the root, the trust document, the revocation lists.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use openset_pki::BrandCrlIdentifier;
use openset_service::problem::{Json, Problem};
use openset_service::trust::{AuthorityEntry, BrandEntry, TrustDocument};

use crate::CertificateAuthority;
use crate::hierarchy::ROOT;

/// The root's certificate. Compare its SHA-256 with the one that you were given otherwise.
#[utoipa::path(
    get, path = "/root.pem", tag = "public",
    responses((status = 200, content_type = "application/x-pem-file", body = String))
)]
pub(crate) async fn root(State(ca): State<Arc<CertificateAuthority>>) -> Response {
    let pem = ca.hierarchy.root().to_pem();
    ([(header::CONTENT_TYPE, "application/x-pem-file")], pem).into_response()
}

/// Every CA with its chain and its current CRL, parents first, and every brand with its BrandCRLIdentifier.
#[utoipa::path(
    get, path = "/trust", tag = "public",
    responses((status = 200, body = serde_json::Value, description = "The trust document"))
)]
pub(crate) async fn trust(
    State(ca): State<Arc<CertificateAuthority>>,
) -> Result<Json<TrustDocument>, Problem> {
    // Read first: so no list is older than the one that is named here.
    let brands = ca.brand_crl_identifiers().await?;
    let crls = ca.crls().await?;
    let crl = |id: &str| crls.get(id).map(|crl| crl.der.as_slice());
    let missing = || Problem::unavailable("crl-missing", "a CRL is being issued; ask again");
    let root_crl = crl(ROOT).ok_or_else(missing)?;
    let mut document = TrustDocument::new(ca.hierarchy.root().der(), ROOT, root_crl);
    for held in ca.hierarchy.all() {
        let Some(chain) = held.authority.chain() else {
            continue;
        };
        let mut entry = AuthorityEntry::new(&held.id, &chain, crl(&held.id).ok_or_else(missing)?);
        if let Some(own) = &held.credentials {
            entry = entry.with_own(own.signature.chain(), own.key_exchange.chain());
        }
        document.authorities.push(entry);
    }
    for stored in brands {
        let bci = BrandCrlIdentifier::from_der(&stored.der).map_err(Problem::internal)?;
        document.brands.push(BrandEntry::new(&bci));
    }
    Ok(Json(document))
}

/// The current CRL of a CA, DER.
#[utoipa::path(
    get, path = "/crl/{ca}", tag = "public",
    params(("ca" = String, Path, description = "The CA's id in the trust document")),
    responses(
        (status = 200, content_type = "application/pkix-crl", body = Vec<u8>),
        (status = 404, description = "No such CA"),
    )
)]
pub(crate) async fn crl(
    State(ca): State<Arc<CertificateAuthority>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let mut crls = ca.crls().await?;
    let unknown = || Problem::not_found("no-such-ca", "no CA has this id; GET /trust lists them");
    let crl = crls.remove(&id).ok_or_else(unknown)?;
    Ok(([(header::CONTENT_TYPE, "application/pkix-crl")], crl.der).into_response())
}
