//! What everybody may read: the root, the trust document, the revocation lists.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use openset_pki::{BrandCrlIdentifier, BrandId, Role};
use openset_service::clock;
use openset_service::problem::{Json, Problem};
use openset_service::trust::{AuthorityEntry, BrandEntry, TrustDocument};

use crate::CertificateAuthority;
use crate::hierarchy::{Ca, Root};

/// How long others may keep what changes with a new root alone, in seconds.
const ROOT_CACHE_S: u32 = 3_600;
/// How long others may keep a CRL, in seconds: so long may a revocation go unheard of.
const CRL_CACHE_S: i64 = 60;

/// The root's certificate. Compare its SHA-256 with the one that you were given otherwise.
#[utoipa::path(
    get, path = "/root.pem", tag = "public",
    responses((status = 200, content_type = "application/x-pem-file", body = String))
)]
pub(crate) async fn root(State(ca): State<Arc<CertificateAuthority>>) -> Response {
    let pem = ca.hierarchy().pinned_root().certificate.to_pem();
    pem_file(pem)
}

/// All roots' certificates, the oldest first; each announces the key of the one after it.
#[utoipa::path(
    get, path = "/roots.pem", tag = "public",
    responses((status = 200, content_type = "application/x-pem-file", body = String))
)]
pub(crate) async fn roots(State(ca): State<Arc<CertificateAuthority>>) -> Response {
    let hierarchy = ca.hierarchy();
    let roots = hierarchy.roots().iter();
    pem_file(roots.map(|root| root.certificate.to_pem()).collect())
}

fn pem_file(pem: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/x-pem-file".to_owned()),
        (
            header::CACHE_CONTROL,
            format!("public, max-age={ROOT_CACHE_S}"),
        ),
    ];
    (headers, pem).into_response()
}

/// Every CA with its chain and its current CRL, parents first, and every brand with its BrandCRLIdentifier.
#[utoipa::path(
    get, path = "/trust", tag = "public",
    responses((status = 200, body = serde_json::Value, description = "The trust document"))
)]
pub(crate) async fn trust(
    State(ca): State<Arc<CertificateAuthority>>,
) -> Result<Json<TrustDocument>, Problem> {
    let published = ca.authorities.published().await?;
    let (hierarchy, crls, now) = (&published.held, &published.crls, clock::now_seconds());
    let crl = |id: &str| {
        let missing = || Problem::unavailable("crl-missing", "a CRL is being issued; ask again");
        crls.get(id)
            .map(|crl| crl.der.as_slice())
            .ok_or_else(missing)
    };
    let pinned = hierarchy.pinned_root();
    let mut document = TrustDocument::new(pinned.certificate.der(), &pinned.id, crl(&pinned.id)?);
    let later = |root: &&Arc<Root>| root.generation > pinned.generation;
    for root in hierarchy.roots().iter().filter(later) {
        document.add_root(root.certificate.der(), &root.id, crl(&root.id)?);
    }
    for held in hierarchy.all().iter().filter(|held| held.answers(now)) {
        let Some(chain) = held.authority.chain() else {
            continue;
        };
        let mut entry = AuthorityEntry::new(&held.id, &chain, crl(&held.id)?);
        entry.retired = !held.is_current();
        entry.region.clone_from(&held.region);
        if let Some(own) = &held.credentials {
            entry = entry.with_own(own.signature.chain(), own.key_exchange.chain());
        }
        document.authorities.push(entry);
    }
    for stored in &published.brand_crl_identifiers {
        let bci = BrandCrlIdentifier::from_der(&stored.der).map_err(Problem::internal)?;
        document.brands.push(BrandEntry::new(&bci));
    }
    Ok(Json(document))
}

/// A brand's current BrandCRLIdentifier, DER: which CRLs of its CAs count.
///
/// Each generation of a brand's CA has one. That of the newest is given, or of the one that is named.
#[utoipa::path(
    get, path = "/bci/{brand}", tag = "public",
    params(("brand" = String, Path, description = "The brand's name, or the id of one of its brand CAs in the trust document")),
    responses(
        (status = 200, content_type = "application/octet-stream", body = Vec<u8>),
        (status = 404, description = "No such brand"),
    )
)]
pub(crate) async fn brand_crl_identifier(
    State(ca): State<Arc<CertificateAuthority>>,
    Path(brand): Path<String>,
) -> Result<Response, Problem> {
    let published = ca.authorities.published().await?;
    let now = clock::now_seconds();
    let asked = |held: &&Arc<Ca>| {
        let name = held.brand().map(BrandId::as_str);
        held.role() == Role::BrandCa && (held.id == brand || name == Some(brand.as_str()))
    };
    let unknown = || {
        Problem::not_found(
            "no-such-brand",
            "no brand has this name; GET /trust lists them",
        )
    };
    // Newer generations stand behind older ones.
    let newest = published.held.all().iter().rev();
    let found = newest
        .filter(|held| held.answers(now))
        .find(asked)
        .and_then(|held| {
            let all = published.brand_crl_identifiers.iter();
            all.clone().find(|bci| bci.brand == held.id)
        })
        .ok_or_else(unknown)?;
    let media_type = "application/octet-stream";
    Ok(list(
        media_type,
        found.sequence,
        found.not_after,
        found.der.clone(),
    ))
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
    let mut crls = ca.authorities.crls().await?;
    let unknown = || Problem::not_found("no-such-ca", "no CA has this id; GET /trust lists them");
    let crl = crls.remove(&id).ok_or_else(unknown)?;
    Ok(list(
        "application/pkix-crl",
        crl.number,
        crl.next_update,
        crl.der,
    ))
}

/// A list that others may keep for a while, and never beyond its own end.
fn list(media_type: &'static str, number: u64, end_s: i64, der: Vec<u8>) -> Response {
    let left_s = end_s.saturating_sub(clock::now_seconds()).max(0);
    let headers = [
        (header::CONTENT_TYPE, media_type.to_owned()),
        (header::ETAG, format!("\"{number}\"")),
        (
            header::CACHE_CONTROL,
            format!(
                "public, max-age={}, must-revalidate",
                left_s.min(CRL_CACHE_S)
            ),
        ),
    ];
    (headers, der).into_response()
}
