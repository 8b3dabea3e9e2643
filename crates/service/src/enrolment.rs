//! How a merchant or gateway comes by its certificates: Me-AqCInit and Cert, carried through crashes.
//!
//! ```no_run
//! # use openset_service::enrolment::{Application, Enroller, Keyring};
//! # use openset_service::CancellationToken;
//! # async fn start(db: openset_store::Db, vault: openset_store::Vault, client: openset_service::client::HttpClient,
//! #     trust: std::sync::Arc<openset_service::trust::Trust>, applications: Vec<Application>,
//! #     shutdown: CancellationToken) -> anyhow::Result<()> {
//! let brands: Vec<_> = applications.iter().map(|a| a.brand.clone()).collect();
//! let keyring = Keyring::load(&db, &vault, &brands).await?;
//! let enroller = Enroller { db, vault, client, trust, keyring: keyring.clone() };
//! tokio::spawn(enroller.run(applications, shutdown));
//! let ours = keyring.all(); // what is held now, parsed; cheap enough for every request
//! let ready = keyring.ready(); // for /readyz: what is missing, and why
//! # Ok(()) }
//! ```

mod generations;
mod keyring;
mod overview;
mod renewal;
mod steps;

use std::sync::Arc;
use std::time::Duration;

use openset_jose::{KeyError, PrivateKey, Thumbprint};
use openset_pki::{BrandId, Chain};
use openset_protocol::Rejection;
use openset_protocol::identity::IdentityError;
use openset_protocol::messages::me_aq_c_init::IdData;
use openset_store::{Db, SecretString, StoreError, Vault, VaultError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::{CallError, HttpClient};
use crate::outbox_worker::backoff;
use crate::trust::Trust;

pub use generations::{Generation, store};
pub use keyring::{HeldPair, Keyring, RETIRED_KEEP_SECONDS};
pub use overview::{OwnCertificates, days_left};
use steps::Registration;

/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Why there are no certificates (yet).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolmentError {
    /// The CA said no; asking again with the same answers would not help.
    #[error("the certificate authority refuses: {0}; mend the configuration and start again")]
    Refused(String),
    /// The CA's form asks for what is not in the configuration.
    #[error("the certificate authority's form asks for {0:?}, which is not known here")]
    UnknownField(String),
    /// The CA's form has another policy than the one that the configuration accepts.
    #[error(
        "the certificate authority's policy is not the one that policy_sha256 accepts; read it, and if you accept \
         it set policy_sha256 to {0}: {1:?}"
    )]
    AnotherPolicy(String, String),
    /// An operator of the CA has to decide; the CA is asked again and again.
    #[error("the certificate authority has not decided yet: {0}")]
    Pended(String),
    /// There is no code to enrol with.
    #[error(
        "there is no activation_code; set the one that the acquirer or brand gave, and start again"
    )]
    NoActivationCode,
    /// The CA could not take the request; a new registration is begun.
    #[error("the certificate authority could not take the request: {0}")]
    Error(String),
    /// The CA's answer does not hold.
    #[error("the certificate authority's answer was refused: {0}")]
    Answer(#[from] Rejection),
    /// The CA did not answer.
    #[error("the certificate authority did not answer")]
    Call(#[from] CallError),
    /// What is stored cannot be used.
    #[error(
        "the stored keys or certificates of {0} cannot be used; restore the database from a back-up"
    )]
    Damaged(BrandId),
    /// A key could not be made or read.
    #[error("a key could not be made or read")]
    Key(#[from] KeyError),
    /// Key and certificate do not belong together.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A key with its certificate's chain, as stored.
#[derive(Debug, Clone)]
pub struct Certified {
    /// The certificate and its chain.
    pub chain: Chain,
    /// The private key.
    pub key: PrivateKey,
}

/// What is applied for.
#[derive(Debug, Clone)]
pub struct Application {
    /// The brand.
    pub brand: BrandId,
    /// Who applies.
    pub id_data: IdData,
    /// The code that the acquirer or brand gave; not needed any more once there are certificates.
    pub activation_code: Option<SecretString>,
    /// SHA-256 of the one policy that its operator accepts; whichever the CA's form shows if absent.
    pub policy_accepted: Option<Thumbprint>,
}

/// Enrols a party with the CA.
#[derive(Debug, Clone)]
pub struct Enroller {
    /// Where keys, requests and certificates are kept.
    pub db: Db,
    /// Seals them.
    pub vault: Vault,
    /// Calls the CA.
    pub client: HttpClient,
    /// Verifies the CA's answers.
    pub trust: Arc<Trust>,
    /// Receives the certificates.
    pub keyring: Keyring,
}

impl Enroller {
    /// Enrols for every brand of `applications` that has no certificates yet, side by side, and renews those
    /// that it has before they run out, until `shutdown`; to be spawned. Keys and requests are stored before
    /// they are sent, and the same bytes are sent again after a crash.
    pub async fn run(self, applications: Vec<Application>, shutdown: CancellationToken) {
        let mut all = JoinSet::new();
        for application in applications {
            let (enroller, shutdown) = (self.clone(), shutdown.clone());
            all.spawn(async move {
                if enroller.enrol(&application, &shutdown).await {
                    enroller.keep_renewed(&application, &shutdown).await;
                }
            });
        }
        while all.join_next().await.is_some() {}
    }

    /// Whether there are certificates in the end.
    async fn enrol(&self, application: &Application, shutdown: &CancellationToken) -> bool {
        let brand = &application.brand;
        let mut attempts: u32 = 0;
        while self.keyring.of_brand(brand).is_none() {
            let registration = Registration {
                enroller: self,
                application,
                generation: Generation::FIRST,
                renews: None,
            };
            // A step that was begun is finished: it stores what it learns.
            let error = match Box::pin(registration.complete()).await {
                Ok(credentials) => {
                    tracing::info!(kind = %brand, outcome = "enrolled", "certificates received");
                    self.keyring.add(brand, Generation::FIRST, credentials);
                    break;
                }
                Err(error) => error,
            };
            let refused = error.is_final();
            let error = format!("{:#}", anyhow::Error::from(error));
            tracing::warn!(kind = %brand, error, "no certificates yet");
            self.keyring.note_missing(brand, error);
            if refused {
                return false;
            }
            attempts = attempts.saturating_add(1);
            let pause = tokio::time::sleep(backoff(attempts).min(PAUSE_MAX));
            if shutdown.run_until_cancelled(pause).await.is_none() {
                return false;
            }
        }
        true
    }
}

impl EnrolmentError {
    /// Whether somebody has to do something before another attempt may bring more.
    fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Refused(_)
                | Self::UnknownField(_)
                | Self::NoActivationCode
                | Self::AnotherPolicy(..)
        )
    }
}
