//! How a party comes to trust the hierarchy: a pinned root, then the CA's trust document.
//!
//! The document itself is not signed and need not be: the root is compared with the pinned
//! fingerprint, every chain must lead to it and every CRL be signed by the CA that it is of.

mod document;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use openset_pki::{
    BrandCrlIdentifier, BrandId, Chain, Crl, CrlIssuer, Expect, Installed, PathError, PathVerifier,
    Purpose, Role, TrustAnchor,
};
use openset_store::brand_crl_identifiers::{self as bcis, StoredBrandCrlIdentifier};
use openset_store::crls::{self, StoredCrl};
use openset_store::{Db, StoreError};
use reqwest::Url;
use tokio_util::sync::CancellationToken;

use crate::client::{CallError, HttpClient};
use crate::clock;
use crate::config::Common;

pub use document::{AuthorityEntry, BrandEntry, TrustDocument};

/// Between two looks at the CA: how long a revocation may take to be heard of.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(30);
/// Between two tries while the CA does not answer.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
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
}

/// Where trust comes from and where it is kept.
#[derive(Debug, Clone)]
struct Origin {
    pinned: [u8; 32],
    ca_url: Url,
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
            kept: common.data_dir.join(KEPT_DOCUMENT),
            refresh: common.trust_refresh,
        };
        loop {
            match document::fetch(client, &origin.ca_url, &origin.pinned).await {
                Ok(document) => return Self::hold(&document, origin, client, db).await,
                Err(TrustError::Call(error)) => {
                    tracing::warn!(error = %error, "the certificate authority does not answer");
                }
                Err(error) => return Err(error),
            }
            if let Some(document) = document::kept(&origin.kept)
                && let Ok(trust) = Self::hold(&document, origin.clone(), client, db).await
            {
                return Ok(trust);
            }
            let pause = tokio::time::sleep(RETRY_INTERVAL);
            if shutdown.run_until_cancelled(pause).await.is_none() {
                return Err(TrustError::Stopped);
            }
        }
    }

    /// Trusts what a document shows to lead to the pinned root.
    async fn hold(
        document: &TrustDocument,
        origin: Origin,
        client: &HttpClient,
        db: &Db,
    ) -> Result<Arc<Self>, TrustError> {
        let root = document.pinned_root(&origin.ca_url, &origin.pinned)?;
        let anchor = TrustAnchor::pinned(&root, &origin.pinned)
            .map_err(|error| TrustError::Root(error.to_string()))?;
        let provider = openset_jose::default_provider();
        let trust = Self {
            verifier: Arc::new(PathVerifier::new(anchor, provider)),
            authorities: RwLock::default(),
            client: client.clone(),
            db: db.clone(),
            origin,
        };
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

    /// The issuing CA of a role and brand.
    #[must_use]
    pub fn authority(&self, role: Role, brand: &BrandId) -> Option<Authority> {
        let all = self.authorities();
        let found = |known: &&Authority| known.role == role && known.brand.as_ref() == Some(brand);
        all.iter().find(found).cloned()
    }

    /// Fetches the trust document again and installs what is newer.
    ///
    /// # Errors
    /// When the CA does not answer or what it serves does not hold; what was held stays.
    pub async fn refresh(&self) -> Result<(), TrustError> {
        let Origin { ca_url, pinned, .. } = &self.origin;
        let document = document::fetch(&self.client, ca_url, pinned).await?;
        self.install(&document).await
    }

    /// Refreshes until `shutdown`; to be spawned.
    pub async fn keep_fresh(self: Arc<Self>, shutdown: CancellationToken) {
        let pause = || tokio::time::sleep(self.origin.refresh);
        while shutdown.run_until_cancelled(pause()).await.is_some() {
            if let Err(error) = self.refresh().await {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::warn!(
                    error,
                    "trust not refreshed; what is held goes on until it is stale"
                );
            }
        }
    }

    /// Verifies a document from the roots down and keeps what is newer. A CA whose entry does not
    /// hold, for example one that was revoked, is left out: without a CRL nothing below it passes.
    async fn install(&self, document: &TrustDocument) -> Result<(), TrustError> {
        let (stored, stored_bcis) = {
            let mut conn = self.db.read().await?;
            (crls::all(&mut conn).await?, bcis::all(&mut conn).await?)
        };
        self.accept_roots(document)?;
        let mut found = Vec::with_capacity(document.authorities.len());
        let mut newer = Vec::new();
        let mut without_root = None;
        for entry in &document.authorities {
            let kept = stored.iter().find(|kept| kept.issuer_id == entry.id);
            match self.install_entry(entry, kept) {
                Ok((authority, crl)) => {
                    newer.extend(crl.map(|crl| (entry.id.clone(), crl)));
                    found.push(authority);
                }
                Err(error) => {
                    let shown = with_sources(&error);
                    if entry.chain.is_empty() {
                        without_root.get_or_insert(error);
                    }
                    tracing::warn!(error = shown, kind = %entry.id, "a certificate authority is not trusted");
                }
            }
        }
        // Nothing holds without a root's own CRL.
        if let Some(error) = without_root
            && !found.iter().any(|authority| authority.chain.is_none())
        {
            return Err(error);
        }
        let newer_bcis = self.install_brands(document, &stored_bcis);
        let now = clock::now_seconds();
        found.retain(|authority| match self.verify_own(authority, now) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(error = %error, kind = %authority.id, "a certificate authority is not trusted");
                false
            }
        });
        self.keep(document, &newer, &newer_bcis).await?;
        *self
            .authorities
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(found);
        Ok(())
    }

    /// The roots after the pinned one, link by link; those before it are none of ours.
    fn accept_roots(&self, document: &TrustDocument) -> Result<(), TrustError> {
        for root in document.roots_der()? {
            if let Err(error) = self.verifier.accept_root(&root) {
                tracing::debug!(error = %error, "a root is not trusted");
            }
        }
        Ok(())
    }

    /// The brands' BrandCRLIdentifiers; gives those that are newer. Without one, nothing of its brand passes.
    fn install_brands(
        &self,
        document: &TrustDocument,
        stored: &[StoredBrandCrlIdentifier],
    ) -> Vec<BrandCrlIdentifier> {
        let now = clock::now_seconds();
        for kept in stored {
            let bci = BrandCrlIdentifier::from_der(&kept.der);
            let installed = bci.map_err(|error| error.to_string()).and_then(|bci| {
                self.install_bci(bci, now)
                    .map_err(|error| error.to_string())
            });
            if let Err(error) = installed {
                tracing::debug!(error, kind = %kept.brand, "a kept BrandCRLIdentifier is not used");
            }
        }
        let mut newer = Vec::new();
        for entry in &document.brands {
            let offered = entry.read().and_then(|bci| {
                let installed = self.install_bci(bci.clone(), now);
                let installed = installed.map_err(|source| TrustError::Path {
                    id: entry.brand.to_string(),
                    source,
                })?;
                Ok((bci, installed))
            });
            match offered {
                Ok((bci, Installed::Newer)) => newer.push(bci),
                Ok((_, Installed::Known)) => {}
                Err(error) => {
                    let error = with_sources(&error);
                    tracing::warn!(error, kind = %entry.brand, "a BrandCRLIdentifier is not used");
                }
            }
        }
        newer
    }

    fn install_bci(&self, bci: BrandCrlIdentifier, now: i64) -> Result<Installed, PathError> {
        let brand_ca = self
            .verifier
            .authority_chain(bci.issuer_der(), None)
            .ok_or(PathError::CrlMissing(Role::BrandCa))?;
        self.verifier
            .install_brand_crl_identifier(bci, &brand_ca, now)
    }

    /// A CA's CRL and chain; gives its CRL back if it is a newer one.
    fn install_entry(
        &self,
        entry: &AuthorityEntry,
        kept: Option<&StoredCrl>,
    ) -> Result<(Authority, Option<Crl>), TrustError> {
        let now = clock::now_seconds();
        let authority = entry.read()?;
        if let Some(kept) = kept {
            self.install_stored(kept, &authority, now);
        }
        let crl = Crl::from_der(&entry.crl_der()?)
            .map_err(|error| TrustError::Document(error.to_string()))?;
        let installed = self
            .verifier
            .install_crl(crl.clone(), issuer(&authority), now);
        let newer = match installed {
            Ok(Installed::Newer) => Some(crl),
            Ok(Installed::Known) => None,
            // A document from before the newest CRL takes nothing back.
            Err(PathError::CrlOlder { .. }) => {
                tracing::warn!(kind = %entry.id, "the CA offers an older CRL than it did before");
                None
            }
            Err(source) => {
                let id = entry.id.clone();
                return Err(TrustError::Path { id, source });
            }
        };
        Ok((authority, newer))
    }

    /// A CRL kept from before, which a document may not go behind. One that is stale by now cannot
    /// be installed, and says nothing that a newer one does not.
    fn install_stored(&self, kept: &StoredCrl, authority: &Authority, now: i64) {
        let installed = Crl::from_der(&kept.der)
            .map_err(|error| error.to_string())
            .and_then(|crl| {
                let installed = self.verifier.install_crl(crl, issuer(authority), now);
                installed.map_err(|error| error.to_string())
            });
        if let Err(error) = installed {
            tracing::debug!(error, kind = %authority.id, "a kept CRL is not used");
        }
    }

    /// An issuing CA's own message certificates.
    fn verify_own(&self, authority: &Authority, now: i64) -> Result<(), PathError> {
        let own = [
            (&authority.message_signature, Purpose::Signature),
            (&authority.key_exchange, Purpose::KeyExchange),
        ];
        for (chain, purpose) in own {
            if let Some(chain) = chain {
                let expect = Expect {
                    role: authority.role,
                    purpose,
                    brand: authority.brand.as_ref(),
                };
                self.verifier.verify(chain, &expect, now)?;
            }
        }
        Ok(())
    }

    async fn keep(
        &self,
        document: &TrustDocument,
        newer: &[(String, Crl)],
        newer_bcis: &[BrandCrlIdentifier],
    ) -> Result<(), TrustError> {
        if newer.is_empty() && newer_bcis.is_empty() {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        for (id, crl) in newer {
            crls::put(&mut tx, id, crl.number(), crl.der(), crl.next_update()).await?;
        }
        for bci in newer_bcis {
            let fresh = StoredBrandCrlIdentifier {
                brand: bci.brand().as_str().to_owned(),
                sequence: bci.sequence(),
                der: bci.der().to_vec(),
                not_after: bci.not_after(),
            };
            bcis::put(&mut tx, &fresh).await?;
        }
        tx.commit().await?;
        if let Err(error) = document::keep(&self.origin.kept, document) {
            tracing::warn!(error = %error, "the trust document cannot be kept");
        }
        Ok(())
    }
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

fn issuer(authority: &Authority) -> CrlIssuer<'_> {
    authority
        .chain
        .as_ref()
        .map_or(CrlIssuer::Root, CrlIssuer::Chain)
}
