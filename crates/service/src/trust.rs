//! How a party comes to trust the hierarchy: a pinned root, then the CA's trust document.
//!
//! The document itself is not signed and need not be: the root is compared with the pinned
//! fingerprint, every chain must lead to it and every CRL be signed by the CA that it is of.

mod document;
mod install;
mod lists;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use openset_jose::Thumbprint;
use openset_pki::{BrandCrlIdentifier, BrandId, Chain, PathError, PathVerifier, Role, TrustAnchor};
use openset_store::{Db, StoreError};
use reqwest::Url;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::{CallError, HttpClient};
use crate::clock;
use crate::config::Common;

pub use document::{AuthorityEntry, BrandEntry, TrustDocument};

/// Between two looks at the CA: how long a revocation may take to be heard of.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(30);
/// Between two tries while the CA does not answer.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// Between two looks at the CA after one that failed, where [`REFRESH_INTERVAL`] was configured to be longer.
const RETRY_REFRESH_INTERVAL: Duration = Duration::from_secs(10);
/// Between two looks at the CA that refused certificates cause, however many come.
const REFUSAL_REFRESH_INTERVAL: Duration = Duration::from_secs(2);
/// How long a refused message waits for the CA.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(5);
/// Of the time that a CRL is still good, this part may pass until the CA is asked for its successor.
const FRESHNESS_SHARE: u32 = 3;
/// The trust document as last seen, in the data folder: a party starts without its CA, too.
const KEPT_DOCUMENT: &str = "trust.json";

/// A CA whose chain and CRL were verified.
#[derive(Debug, Clone)]
pub struct Authority {
    /// Its name in `/crl/{id}`.
    pub id: String,
    /// Its role.
    pub role: Role,
    /// Its brand; none for the root.
    pub brand: Option<BrandId>,
    /// The region that it is for, by its name in URLs; none for roots and brand CAs.
    pub region: Option<String>,
    /// Whether a newer generation issues in its place.
    pub retired: bool,
    /// Its chain; none for the root.
    pub chain: Option<Chain>,
    /// Its message-signature certificate's chain, verified.
    pub message_signature: Option<Chain>,
    /// Its key-exchange certificate's chain, verified.
    pub key_exchange: Option<Chain>,
}

/// Why the hierarchy is not trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The CA's root is not the one that the configuration pins.
    #[error(
        "the CA at {url} has the root {found}, but root_sha256 pins {pinned}; find out which is \
         right before you change it"
    )]
    RootMismatch {
        /// The CA asked.
        url: String,
        /// SHA-256 of the root that it has.
        found: String,
        /// SHA-256 that the configuration pins.
        pinned: String,
    },
    /// The root is no certificate, or not fit for a root.
    #[error("the CA's root cannot be used: {0}")]
    Root(String),
    /// The trust document is not what it must be.
    #[error("the CA's trust document cannot be read: {0}")]
    Document(String),
    /// A certificate or CRL in the trust document does not hold.
    #[error("the CA's trust document does not hold at {id}")]
    Path {
        /// Which CA's entry.
        id: String,
        /// What is wrong with it.
        #[source]
        source: PathError,
    },
    /// The configuration lacks what is needed.
    #[error("{0:#}")]
    Configuration(anyhow::Error),
    /// The CA did not answer.
    #[error("the certificate authority did not answer")]
    Call(#[from] CallError),
    /// CRLs could not be kept.
    #[error("the trust could not be stored")]
    Store(#[from] StoreError),
    /// The service was told to stop before the CA answered.
    #[error("stopped before the certificate authority answered")]
    Stopped,
}

/// The verifier of all paths, and the CAs it knows; kept fresh in the background.
#[derive(Debug)]
pub struct Trust {
    verifier: Arc<PathVerifier>,
    authorities: RwLock<Arc<Vec<Authority>>>,
    client: HttpClient,
    db: Db,
    origin: Origin,
    /// When the CA was asked last. Held while it is asked.
    refreshed: Mutex<Option<Instant>>,
    /// What lies in the data folder.
    kept: std::sync::Mutex<Option<TrustDocument>>,
    /// Lists of which was said that they run out.
    warned: std::sync::Mutex<HashSet<Thumbprint>>,
}

/// Where trust comes from and where it is kept.
#[derive(Debug, Clone)]
struct Origin {
    pinned: [u8; 32],
    ca_url: Url,
    registration_url: Url,
    kept: PathBuf,
    refresh: Duration,
}

impl Trust {
    /// Fetches and verifies root, chains and CRLs. Without an answer from the CA it takes what it
    /// kept, and else waits for the CA to come up.
    ///
    /// # Errors
    /// When the CA's root is not the pinned one, or what it serves does not hold.
    pub async fn bootstrap(
        common: &Common,
        client: &HttpClient,
        db: &Db,
        shutdown: &CancellationToken,
    ) -> Result<Arc<Self>, TrustError> {
        let missing = TrustError::Configuration;
        let origin = Origin {
            pinned: common.require_root_sha256().map_err(missing)?,
            ca_url: common.require_ca_url().map_err(missing)?.clone(),
            registration_url: common.require_registration_url().map_err(missing)?,
            kept: common.data_dir.join(KEPT_DOCUMENT),
            refresh: common.trust_refresh,
        };
        loop {
            let kept = document::kept(&origin.kept);
            match document::fetch(client, &origin.ca_url).await {
                Ok(document) => return Self::hold(&document, kept, origin, client, db).await,
                Err(TrustError::Call(error)) => {
                    tracing::warn!(error = %error, "the certificate authority does not answer");
                }
                Err(error) => return Err(error),
            }
            if let Some(document) = &kept
                && let Ok(trust) =
                    Self::hold(document, kept.clone(), origin.clone(), client, db).await
            {
                return Ok(trust);
            }
            let pause = tokio::time::sleep(RETRY_INTERVAL);
            if shutdown.run_until_cancelled(pause).await.is_none() {
                return Err(TrustError::Stopped);
            }
        }
    }

    /// Trusts what a document shows to lead to the pinned root, which stands there or was kept with the links
    /// from it to the roots that stand there.
    async fn hold(
        document: &TrustDocument,
        kept: Option<TrustDocument>,
        origin: Origin,
        client: &HttpClient,
        db: &Db,
    ) -> Result<Arc<Self>, TrustError> {
        let mut roots = match &kept {
            Some(kept) => kept.roots_der()?,
            None => Vec::new(),
        };
        roots.extend(document.roots_der()?);
        let root = document::pinned(&roots, &origin.ca_url, &origin.pinned)?;
        let anchor = TrustAnchor::pinned(root, &origin.pinned)
            .map_err(|error| TrustError::Root(error.to_string()))?;
        let provider = openset_jose::default_provider();
        let trust = Self {
            verifier: Arc::new(PathVerifier::new(anchor, provider)),
            authorities: RwLock::default(),
            client: client.clone(),
            db: db.clone(),
            origin,
            refreshed: Mutex::default(),
            kept: std::sync::Mutex::new(kept),
            warned: std::sync::Mutex::default(),
        };
        trust.accept_roots(&roots);
        trust.install(document).await?;
        Ok(Arc::new(trust))
    }

    /// Verifies certificate paths.
    #[must_use]
    pub fn verifier(&self) -> &Arc<PathVerifier> {
        &self.verifier
    }

    /// Where the certificate authority answers.
    #[must_use]
    pub fn ca_url(&self) -> &Url {
        &self.origin.ca_url
    }

    /// Where registrations go.
    #[must_use]
    pub fn registration_url(&self) -> &Url {
        &self.origin.registration_url
    }

    /// The CAs known now.
    #[must_use]
    pub fn authorities(&self) -> Arc<Vec<Authority>> {
        Arc::clone(
            &self
                .authorities
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// The CA of a role and brand that issues now, of the first region that has one.
    #[must_use]
    pub fn authority(&self, role: Role, brand: &BrandId) -> Option<Authority> {
        self.find(role, brand, None)
    }

    /// The CA of a role, brand and region that issues now.
    #[must_use]
    pub fn authority_of_region(
        &self,
        role: Role,
        brand: &BrandId,
        region: &str,
    ) -> Option<Authority> {
        self.find(role, brand, Some(region))
    }

    fn find(&self, role: Role, brand: &BrandId, region: Option<&str>) -> Option<Authority> {
        let all = self.authorities();
        let found = |known: &&Authority| {
            !known.retired
                && known.role == role
                && known.brand.as_ref() == Some(brand)
                && (region.is_none() || known.region.as_deref() == region)
        };
        all.iter().find(found).cloned()
    }

    /// Whether the CA that issued this chain's leaf was renewed since: what it issued is to be renewed, too.
    #[must_use]
    pub fn is_issuer_retired(&self, chain: &Chain) -> bool {
        let Some(issuer) = chain.authorities().first() else {
            return false;
        };
        let all = self.authorities();
        all.iter().any(|known| {
            let certificate = known.chain.as_ref().map(Chain::leaf);
            known.retired && certificate.is_some_and(|c| c.thumbprint() == issuer.thumbprint())
        })
    }

    /// Fetches the trust document again and installs what is newer.
    ///
    /// # Errors
    /// When the CA does not answer or what it serves does not hold; what was held stays.
    pub async fn refresh(&self) -> Result<(), TrustError> {
        let mut refreshed = self.refreshed.lock().await;
        let outcome = self.fetch().await;
        *refreshed = Some(Instant::now());
        outcome
    }

    async fn fetch(&self) -> Result<(), TrustError> {
        let document = document::fetch(&self.client, &self.origin.ca_url).await?;
        self.install(&document).await
    }

    /// To be called when a certificate was refused. When the reason may be that something new is not known here,
    /// the CA is asked at once; true means that the same certificate may be judged again now.
    ///
    /// However many are refused, the CA is asked every two seconds at most.
    pub async fn refresh_after(&self, refusal: &PathError) -> bool {
        if !may_be_mended_by_news(refusal) {
            return false;
        }
        let asked = Instant::now();
        let refreshing = async {
            let mut refreshed = self.refreshed.lock().await;
            match *refreshed {
                // Somebody else has asked meanwhile.
                Some(at) if at >= asked => return true,
                Some(at) if at.elapsed() < REFUSAL_REFRESH_INTERVAL => return false,
                _ => {}
            }
            let outcome = self.fetch().await;
            *refreshed = Some(Instant::now());
            if let Err(error) = &outcome {
                let error = with_sources(error);
                tracing::warn!(error, "no news from the CA about a refused certificate");
            }
            outcome.is_ok()
        };
        tokio::time::timeout(REFUSAL_PATIENCE, refreshing)
            .await
            .unwrap_or(false)
    }

    /// Refreshes until `shutdown`; to be spawned.
    pub async fn keep_fresh(self: Arc<Self>, shutdown: CancellationToken) {
        let mut pause = self.pause();
        while shutdown
            .run_until_cancelled(tokio::time::sleep(pause))
            .await
            .is_some()
        {
            pause = match self.refresh().await {
                Ok(()) => self.pause(),
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::from(error));
                    tracing::warn!(
                        error,
                        "trust not refreshed; what is held goes on until it is stale"
                    );
                    self.pause().min(RETRY_REFRESH_INTERVAL)
                }
            };
            self.warn_of_lists();
        }
    }

    /// Until the next look at the CA: as configured, and sooner where something held runs out before.
    fn pause(&self) -> Duration {
        let now = clock::now_seconds();
        let left = |ending: i64| u64::try_from(ending.saturating_sub(now)).ok();
        let soonest = self.freshness().into_iter().filter_map(left).min();
        let due = soonest.map(|seconds| Duration::from_secs(seconds) / FRESHNESS_SHARE);
        due.map_or(self.origin.refresh, |due| {
            due.max(RETRY_INTERVAL).min(self.origin.refresh)
        })
    }

    /// The BrandCRLIdentifier of each of a brand's CAs that counts now; where one that waits for its CRLs is the only
    /// one, that.
    fn bcis_in_effect(&self, brand: &BrandId) -> Vec<BrandCrlIdentifier> {
        let mut held = self.verifier.brand_crl_identifiers_held(brand);
        // The one that waits is the newer one.
        held.sort_by_key(BrandCrlIdentifier::sequence);
        let mut seen = HashSet::new();
        held.retain(|bci| seen.insert(bci.issuer_der().to_vec()));
        held
    }

    /// The brands whose CAs are known.
    pub(crate) fn brands(&self) -> Vec<BrandId> {
        let all = self.authorities();
        let mut brands: Vec<BrandId> = all.iter().filter_map(|one| one.brand.clone()).collect();
        brands.sort_unstable();
        brands.dedup();
        brands
    }
}

/// Whether the reason for a refusal may be that a CRL, BrandCRLIdentifier, CA or root is not known here yet.
fn may_be_mended_by_news(refusal: &PathError) -> bool {
    matches!(
        refusal,
        PathError::CrlMissing(_)
            | PathError::CrlStale(_)
            | PathError::BciMissing(_)
            | PathError::BciStale(_)
            | PathError::BciOmits(_)
            | PathError::CrlBehindBci { .. }
            | PathError::UnknownIssuer
    )
}

/// An error with its sources, for the log.
fn with_sources(error: &TrustError) -> String {
    let mut shown = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        shown = format!("{shown}: {error}");
        source = error.source();
    }
    shown
}
