//! Mail order: the catalogue that customers order by, and the folder that their orders come through.

mod spool;

pub(crate) use spool::{Folder, run};

use openset_protocol::BrandId;
use openset_protocol::merchant::mail_order::{self, Contents};
use openset_protocol::messages::mail_order::Product;
use openset_protocol::thumbs::RevocationState;
use openset_service::clock;
use openset_service::problem::Problem;

use crate::catalogue::Catalogue;
use crate::failure::Failure;
use crate::store::catalogues::{self, SignedCatalogue};
use crate::{Merchant, offload};

/// A catalogue is signed anew after this, though nothing has changed: with newer revocations.
const RENEW_SECONDS: i64 = 24 * 60 * 60;

/// The catalogue of a brand as customers get it; signed anew only if what it says has changed.
///
/// # Errors
/// No mail orders are taken, or a certificate that belongs into it is not here or ends too soon.
pub(crate) async fn catalogue(merchant: &Merchant, brand: &BrandId) -> Result<String, Problem> {
    if merchant.settings.spool.is_none() {
        return Err(Problem::not_found(
            "no-mail-order",
            "this shop takes no mail orders: it has no spool folder",
        ));
    }
    // Two requests at once are one catalogue; of two replicas each may sign one, and both hold.
    let _one = merchant.catalogue_lock.lock().await;
    Ok(current(merchant, brand).await?)
}

async fn current(merchant: &Merchant, brand: &BrandId) -> Result<String, Failure> {
    let ours = merchant.credentials(brand)?;
    let gateway = merchant.gateway_of(brand).await?;
    // Nobody agrees to a plan by mail.
    let products = merchant.settings.catalogue.without_plans();
    let set_url = merchant.settings.set_url.to_string();
    let made_of = made_of(&[
        ours.signature.thumbprint().to_string(),
        ours.key_exchange.thumbprint().to_string(),
        gateway.leaf().thumbprint().to_string(),
        set_url.clone(),
        serde_json::to_string(&products).map_err(|error| Failure::Internal(error.into()))?,
    ]);
    let known = catalogues::newest(&mut *merchant.db.read().await?, brand, &made_of).await?;
    let now = clock::now();
    let still_good = |known: &SignedCatalogue| {
        known.issued_at <= now && now < known.valid_until.min(known.issued_at.plus(RENEW_SECONDS))
    };
    if let Some(known) = known.filter(still_good) {
        return Ok(known.jws);
    }
    let mut kept = SignedCatalogue {
        brand: brand.clone(),
        merchant: ours.signature.thumbprint(),
        gateway: gateway.leaf().thumbprint(),
        products: products.clone(),
        jws: String::new(),
        made_of,
        issued_at: now,
        valid_until: now,
    };
    let verifier = merchant.verifier()?;
    let (of, products) = (brand.clone(), listed(&products));
    let issued = offload(move |ctx| {
        let state = RevocationState::of(&verifier, &of);
        let contents = Contents {
            products,
            set_url: &set_url,
        };
        mail_order::catalogue(ctx, &ours, &gateway, &state, contents)
    });
    let issued = issued.await?;
    kept.jws.clone_from(&issued.jws.0);
    (kept.issued_at, kept.valid_until) = (issued.issued_at, issued.valid_until);
    let mut tx = merchant.db.begin().await?;
    catalogues::insert(&mut tx, &issued, &kept).await?;
    tx.commit().await?;
    tracing::info!(kind = %brand, outcome = "signed", "a catalogue for mail order was signed");
    Ok(kept.jws)
}

/// One text for all that a catalogue is made of.
fn made_of(parts: &[String]) -> String {
    let digest = openset_jose::sha256(parts.join("\n").as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn listed(catalogue: &Catalogue) -> Vec<Product> {
    let product = |product: &crate::catalogue::Product| Product {
        product_id: product.product_id.clone(),
        name: product.name.clone(),
        description: product.description.clone(),
        price: product.price,
    };
    catalogue.products().iter().map(product).collect()
}
