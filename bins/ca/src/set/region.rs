//! Regions: each takes registrations at its own address, and refers cards of another one's BINs there.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request};
use axum::routing::post;
use openset_pki::Role;
use openset_protocol::card::Bin;
use openset_service::client::join;
use openset_service::set_endpoint;

use super::SetEndpoint;
use crate::CertificateAuthority;
use crate::hierarchy::Ca;
use crate::store::regions::Region;

/// `POST /set`, the first region's, and `POST /regions/{region}/set`.
pub(crate) fn router(ca: Arc<CertificateAuthority>) -> Router {
    let first = set_endpoint::router(Arc::new(SetEndpoint {
        ca: Arc::clone(&ca),
        region: None,
    }));
    let others = post(move |Path(region): Path<String>, request: Request| {
        let endpoint = SetEndpoint {
            ca: Arc::clone(&ca),
            region: Some(region),
        };
        async move { set_endpoint::answer(&endpoint, request).await }
    });
    first.route("/regions/{region}/set", others)
}

/// Where a card of this BIN belongs, if not to the cardholders' CA that it was shown: to the regions that name
/// its BIN, else to those that take all; else wherever the configuration refers to.
pub(super) fn elsewhere(ca: &CertificateAuthority, shown: &Ca, bin: &Bin) -> Option<Vec<String>> {
    let settings = &ca.settings;
    if !settings.served_bins.is_empty() && !settings.served_bins.contains(bin) {
        return Some(settings.referral_urls.clone());
    }
    let (hierarchy, brand) = (ca.hierarchy(), shown.brand()?);
    let all: Vec<&Region> = hierarchy
        .regions()
        .iter()
        .filter(|region| {
            let issuing = hierarchy.issuing_in(&region.slug, Role::CardholderCa, brand);
            issuing.is_some()
        })
        .collect();
    let named = all.iter().any(|region| region.bins.contains(bin));
    let mut serving = all.into_iter().filter(|region| {
        if named {
            region.bins.contains(bin)
        } else {
            region.bins.is_empty()
        }
    });
    let own = shown.region.as_deref();
    if serving
        .clone()
        .any(|region| Some(region.slug.as_str()) == own)
    {
        return None;
    }
    let first = hierarchy.regions().first();
    let address = |region: &Region| {
        let path = if Some(&region.slug) == first.map(|first| &first.slug) {
            "set".to_owned()
        } else {
            format!("regions/{}/set", region.slug)
        };
        join(&ca.public_url, &path).to_string()
    };
    match serving.next() {
        None => Some(settings.referral_urls.clone()),
        Some(one) => Some([one].into_iter().chain(serving).map(address).collect()),
    }
}
