//! How a party comes to trust the hierarchy: a pinned root, then the CA's trust document.

use std::sync::Arc;

use openset_pki::{BrandId, Chain, PathError, PathVerifier, Role};
use openset_store::{Db, StoreError};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::client::{CallError, HttpClient};
use crate::config::Common;

/// `GET /trust` of the certificate authority: every CA with its chain and CRL, parents first.
/// Nothing in it is believed but by its signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustDocument {
    /// The root's certificate, base64 of DER.
    pub root: String,
    /// All CAs, parents before children; the root is the first.
    pub authorities: Vec<AuthorityEntry>,
}

/// One CA in the trust document. Certificates and CRLs are base64 of DER.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorityEntry {
    /// Its name in `/crl/{id}`.
    pub id: String,
    /// [`Role::name`].
    pub role: String,
    /// The brand that it issues for; none for the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brand: Option<BrandId>,
    /// Its chain, itself first, without the root; empty for the root.
    pub chain: Vec<String>,
    /// Its current CRL.
    pub crl: String,
    /// Chain of its message-signature certificate, for issuing CAs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub message_signature: Vec<String>,
    /// Chain of its key-exchange certificate, for issuing CAs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_exchange: Vec<String>,
}

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
        "the CA at {url} has the root {found}, but root_sha256 pins {pinned}; find out which is right before you change it"
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
}

impl Trust {
    /// Fetches and verifies root, chains and CRLs; waits for a CA that is not up yet.
    ///
    /// # Errors
    /// When the CA's root is not the pinned one, or what it serves does not hold.
    #[expect(clippy::unused_async, reason = "skeleton")]
    pub async fn bootstrap(
        common: &Common,
        client: &HttpClient,
        db: &Db,
        shutdown: &CancellationToken,
    ) -> Result<Arc<Self>, TrustError> {
        let _ = (common, client, db, shutdown);
        Err(TrustError::Stopped)
    }

    /// Verifies certificate paths.
    #[must_use]
    pub fn verifier(&self) -> &Arc<PathVerifier> {
        &self.verifier
    }

    /// The CAs known now.
    #[must_use]
    pub fn authorities(&self) -> Arc<Vec<Authority>> {
        Arc::default()
    }

    /// Fetches the trust document again and installs what is newer.
    ///
    /// # Errors
    /// When the CA does not answer or what it serves does not hold; what was held stays.
    #[expect(clippy::unused_async, reason = "skeleton")]
    pub async fn refresh(&self) -> Result<(), TrustError> {
        Ok(())
    }

    /// Refreshes until `shutdown`; to be spawned.
    #[expect(clippy::unused_async, reason = "skeleton")]
    pub async fn keep_fresh(self: Arc<Self>, shutdown: CancellationToken) {
        let _ = shutdown;
    }
}
