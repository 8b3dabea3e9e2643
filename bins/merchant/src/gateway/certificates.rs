//! The gateway's key-exchange certificates: asked for by PCertReq, verified, kept, asked for again.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use openset_pki::{Chain, Expect, PathError, PathVerifier, Purpose, Role};
use openset_protocol::BrandId;
use openset_protocol::merchant::p_cert;
use openset_protocol::messages::p_cert::PCertCode;
use openset_service::set_endpoint::MediaType;
use openset_service::{CancellationToken, clock};

use super::sending::{check_taken, unusable};
use crate::failure::Failure;
use crate::store::gateway_certificates;
use crate::{Merchant, offload};

/// Between two looks at the gateway, unless the CA is looked at more often: how soon a renewed certificate is used.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);
/// Between two tries while a brand has none.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// The chains held, by brand.
#[derive(Debug, Default)]
pub(crate) struct GatewayCertificates(RwLock<Arc<BTreeMap<BrandId, Chain>>>);

impl GatewayCertificates {
    /// The chain of a brand's gateway, if it holds now.
    pub(crate) fn of_brand(&self, brand: &BrandId, verifier: &PathVerifier) -> Option<Chain> {
        let chain = self.all().get(brand)?.clone();
        verify(&chain, brand, verifier).is_ok().then_some(chain)
    }

    /// The chain of a brand's gateway as it was verified when it came.
    pub(crate) fn last_of(&self, brand: &BrandId) -> Option<Chain> {
        self.all().get(brand).cloned()
    }

    fn all(&self) -> Arc<BTreeMap<BrandId, Chain>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn hold(&self, brand: BrandId, chain: Chain) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut held).insert(brand, chain);
    }
}

impl Merchant {
    /// The chain of a brand's gateway that holds now, if need be after the CA was asked for news.
    pub(crate) async fn gateway_of(&self, brand: &BrandId) -> Result<Chain, Failure> {
        let verifier = self.verifier()?;
        let held = self.gateways.last_of(brand);
        let chain = held.ok_or(Failure::NotReady(
            "the gateway's certificate is not here yet",
        ))?;
        let mut judged = verify(&chain, brand, &verifier);
        if let (Err(refusal), Some(trust)) = (&judged, self.trust.get())
            && trust.refresh_after(refusal).await
        {
            judged = verify(&chain, brand, &verifier);
        }
        match judged {
            Ok(()) => Ok(chain),
            Err(refusal) => {
                tracing::warn!(kind = %brand, error = %refusal, "the gateway's certificate does not hold");
                Err(Failure::NotReady("the gateway's certificate does not hold"))
            }
        }
    }
}

/// Whether a gateway's chain holds now.
pub(crate) fn verify(
    chain: &Chain,
    brand: &BrandId,
    verifier: &PathVerifier,
) -> Result<(), PathError> {
    let expect = Expect {
        role: Role::Gateway,
        purpose: Purpose::KeyExchange,
        brand: Some(brand),
    };
    verifier.verify(chain, &expect, clock::now_seconds())?;
    Ok(())
}

/// Fetches until `shutdown`; what does not hold is never used.
pub(crate) async fn keep_fresh(
    merchant: Arc<Merchant>,
    trust_refresh: Duration,
    shutdown: CancellationToken,
) {
    let refresh = REFRESH_INTERVAL.min(trust_refresh);
    if let Err(error) = take_kept(&merchant).await {
        let error = format!("{error:#}");
        tracing::warn!(error, "the kept gateway certificates cannot be read");
    }
    let mut last_error = String::new();
    loop {
        let error = match fetch(&merchant).await {
            Ok(()) => String::new(),
            Err(error) => format!("{error:#}"),
        };
        // Told once, not every half second.
        if error != last_error && !error.is_empty() {
            tracing::warn!(error, "the gateway's certificates could not be fetched");
        }
        last_error = error;
        let pause = match missing(&merchant) {
            None => refresh,
            Some(_) => RETRY_INTERVAL,
        };
        let pause = tokio::time::sleep(pause);
        if shutdown.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

/// The first brand whose gateway has no certificate that holds.
pub(crate) fn missing(merchant: &Merchant) -> Option<BrandId> {
    let Ok(verifier) = merchant.verifier() else {
        return merchant.settings.brands.first().cloned();
    };
    let lacks = |brand: &&BrandId| merchant.gateways.of_brand(brand, &verifier).is_none();
    merchant.settings.brands.iter().find(lacks).cloned()
}

async fn take_kept(merchant: &Merchant) -> anyhow::Result<()> {
    let kept = gateway_certificates::all(&mut *merchant.db.read().await?).await?;
    for (brand, chain) in kept {
        merchant.gateways.hold(brand, chain);
    }
    Ok(())
}

/// Asks for the chain of every brand; gives the first failure after it has tried all.
async fn fetch(merchant: &Merchant) -> anyhow::Result<()> {
    let mut outcome = Ok(());
    for brand in &merchant.settings.brands {
        let taken = match ask(merchant, brand).await {
            Ok(Told::None(code)) => Err(anyhow::anyhow!("it has none: {code:?}")),
            told => told.map(|_| ()),
        };
        let taken = taken.with_context(|| format!("the gateway's certificate for {brand}"));
        outcome = outcome.and(taken);
    }
    outcome
}

/// What PCertRes brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// The chain that is held already.
    Same,
    /// Another one, which is held from now on.
    New,
    /// None, and why: what is held stays.
    None(PCertCode),
}

/// PCertReq is signed and not sealed, so that the first certificate is asked for with it, too. Nothing is stored before:
/// lost, it is asked again.
pub(crate) async fn ask(merchant: &Merchant, brand: &BrandId) -> anyhow::Result<Told> {
    let ours = merchant.credentials(brand)?;
    let verifier = merchant.verifier()?;
    let made = offload(move |ctx| p_cert::request(ctx, &ours, &verifier)).await;
    let (awaiting, wire) = made?;
    let url = &merchant.settings.gateway_set_url;
    let answer = merchant
        .client
        .post_set(url, MediaType::Payment, wire)
        .await?;
    check_taken(&answer)?;
    let verifier = merchant.verifier()?;
    let body = answer.body.clone();
    let told = offload(move |ctx| awaiting.handle(&body, &verifier, ctx.now)).await;
    let chain = match told {
        Ok(Ok(chain)) => chain,
        Ok(Err(code)) => return Ok(Told::None(code)),
        Err(refusal) => return Err(unusable(merchant, "PCertRes", &answer, &refusal).await),
    };
    if merchant.gateways.all().get(brand) == Some(&chain) {
        return Ok(Told::Same);
    }
    let mut tx = merchant.db.begin().await?;
    gateway_certificates::put(&mut tx, brand, &chain).await?;
    tx.commit().await?;
    merchant.gateways.hold(brand.clone(), chain);
    tracing::info!(kind = %brand, "the gateway's key-exchange certificate was verified");
    Ok(Told::New)
}
