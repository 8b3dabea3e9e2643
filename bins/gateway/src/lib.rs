//! The merchant's bank: opens payment instructions, verifies both halves of a purchase, asks the issuer,
//! captures, and keeps the acquirer's books.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | its options |
//! | `set` | `POST /set`: what is common to all messages, exactly once |
//! | `auth`, `auth_rev` | AuthReq and AuthRevReq: decode, verify, decide, commit, answer |
//! | `cap`, `cap_rev_or_cred`, `items` | CapReq; CapRevReq, CredReq and CredRevReq; and what is common to them |
//! | `batch_admin`, `settlement` | BatchAdminReq; closed batches are settled with the issuer and paid out |
//! | `p_cert` | PCertReq |
//! | `issuer`, `work`, `worker`, `flights` | what the issuer is asked, and asked again until it has spoken |
//! | `routes` | one file for each group of REST routes |
//! | `store` | its tables and its books |
//! | `start` | trust and certificates, fetched while it serves |

mod auth;
mod auth_rev;
mod batch_admin;
mod cap;
mod cap_rev_or_cred;
pub mod config;
mod error;
mod flights;
mod issuer;
mod items;
mod metrics;
mod p_cert;
mod routes;
mod set;
mod settlement;
mod start;
mod store;
mod work;
mod worker;

use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use openset_pki::PathVerifier;
use openset_protocol::Rejection;
use openset_protocol::gateway::auth::TokenKey;
use openset_service::config::Config;
use openset_service::enrolment::Keyring;
use openset_service::shell::Shell;
use openset_service::trust::Trust;
use openset_service::{CancellationToken, set_endpoint};
use openset_store::{Db, Vault};
use tokio::net::TcpListener;
use tokio::sync::Notify;

pub use config::{Merchant, Options};
pub use store::MIGRATIONS;

use crate::config::Settings;
use crate::error::GatewayError;
use crate::flights::{Flight, Flights};
use crate::issuer::{Attempt, Issuer};
use crate::metrics::GatewayMetrics;
use crate::set::SetEndpoint;
use crate::store::pending;
use crate::work::Work;

/// What every handler holds.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) db: Db,
    pub(crate) vault: Vault,
    pub(crate) settings: Settings,
    pub(crate) issuer: Issuer,
    pub(crate) keyring: Keyring,
    pub(crate) token_key: TokenKey,
    pub(crate) metrics: GatewayMetrics,
    pub(crate) flights: Flights,
    pub(crate) p_certs: p_cert::Answers,
    /// Wakes the worker.
    pub(crate) wake: Notify,
    /// Empty until the trust document was verified.
    verifier: OnceLock<Arc<PathVerifier>>,
    /// The same with the way to its CA; empty for good where the verifier came from elsewhere.
    trust: OnceLock<Arc<Trust>>,
}

/// Serves the gateway on `listener` until `shutdown`. Trust and certificates are fetched meanwhile.
///
/// # Errors
/// When the configuration, the database or the passphrase cannot be used, or the CA's root is not the
/// pinned one.
pub async fn run(
    listener: TcpListener,
    config: Config<Options>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    config.common.require_root_sha256()?;
    config.common.require_ca_url()?;
    let (common, settings, shell, db, vault) = open(config).await?;
    let keyring = Keyring::load(&db, &vault, &settings.brands).await?;
    let client = shell.client.clone();
    let gateway = Gateway::new(&shell, settings, db, vault, keyring).await?;
    let background = start::Background {
        common,
        client,
        gateway: Arc::clone(&gateway),
        metrics: shell.metrics.clone(),
    };
    let background = tokio::spawn(background.run(shutdown.clone()));
    let served = serve(listener, shell, gateway, shutdown).await;
    background.await?.and(served)
}

/// [`run`] with trust and certificates that are there already: for whoever needs no CA.
///
/// # Errors
/// As [`run`].
pub async fn run_as(
    keyring: Keyring,
    verifier: Arc<PathVerifier>,
    listener: TcpListener,
    config: Config<Options>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (_, settings, shell, db, vault) = open(config).await?;
    let gateway = Gateway::new(&shell, settings, db, vault, keyring).await?;
    let _ = gateway.verifier.set(verifier);
    serve(listener, shell, gateway, shutdown).await
}

type Opened = (openset_service::config::Common, Settings, Shell, Db, Vault);

async fn open(config: Config<Options>) -> anyhow::Result<Opened> {
    let Config { common, own } = config;
    let settings = own.check().context("in the gateway's configuration")?;
    if settings.tokens.is_empty() {
        tracing::warn!("no [[tokens]] are configured: every REST call will be refused");
    }
    if settings.danger_pause_before_issuer.is_some() {
        tracing::warn!(
            "DANGER: danger_pause_before_issuer_ms is set; this is for crash tests alone"
        );
    }
    let shell = Shell::new(&common)?;
    let db = Db::open(&common.database_url, MIGRATIONS).await?;
    let vault = Vault::unlock(&db, common.require_passphrase()?).await?;
    Ok((common, settings, shell, db, vault))
}

async fn serve(
    listener: TcpListener,
    mut shell: Shell,
    gateway: Arc<Gateway>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    worker::adopt(&gateway).await?;
    worker::take_over(&gateway).await?;
    start::add_checks(&mut shell.health, &gateway);
    let db = gateway.db.clone();
    let working = tokio::spawn(worker::run(Arc::clone(&gateway), shutdown.clone()));
    let settling = tokio::spawn(settlement::run(Arc::clone(&gateway), shutdown.clone()));
    let (router, api) = routes::router(Arc::clone(&gateway));
    let router = router.merge(set_endpoint::router(Arc::new(SetEndpoint(gateway))));
    let served = shell
        .serve(listener, router, &db, &api, shutdown.clone())
        .await;
    shutdown.cancel();
    working.await?;
    settling.await?;
    db.close().await;
    served
}

impl Gateway {
    async fn new(
        shell: &Shell,
        settings: Settings,
        db: Db,
        vault: Vault,
        keyring: Keyring,
    ) -> anyhow::Result<Arc<Self>> {
        keyring.register(&shell.metrics);
        let token_key = start::token_key(&db, &vault).await?;
        let issuer_url = settings.issuer_url.clone();
        let issuer_token = settings.issuer_token.clone();
        Ok(Arc::new(Self {
            issuer: Issuer::new(shell.client.clone(), issuer_url, issuer_token),
            metrics: GatewayMetrics::register(&shell.metrics),
            flights: Flights::default(),
            p_certs: p_cert::Answers::default(),
            wake: Notify::new(),
            verifier: OnceLock::new(),
            trust: OnceLock::new(),
            db,
            vault,
            settings,
            keyring,
            token_key,
        }))
    }

    fn hold(&self, trust: Arc<Trust>) {
        // What is pinned stays for the life of a process: the first one does.
        let _ = self.verifier.set(Arc::clone(trust.verifier()));
        let _ = self.trust.set(trust);
    }

    /// Whether the CA was asked after this refusal of a certificate, so that it may be judged again.
    pub(crate) async fn has_news_after(&self, refusal: &Rejection) -> bool {
        match (refusal, self.trust.get()) {
            (Rejection::Certificate(refusal), Some(trust)) => trust.refresh_after(refusal).await,
            _ => false,
        }
    }

    /// Verifies paths, once the trust document was verified.
    pub(crate) fn verifier(&self) -> Result<Arc<PathVerifier>, GatewayError> {
        self.verifier.get().cloned().ok_or(GatewayError::NotReady)
    }

    /// Asks the issuer again for what is pending under this id, and stores outcome and answer.
    pub(crate) async fn settle(&self, _flight: &Flight<'_>, id: &str) -> Result<(), GatewayError> {
        let work = pending::load(&mut *self.db.read().await?, &self.vault, id).await?;
        let Some((work, wire_digest)) = work else {
            return Ok(());
        };
        let settled = match &work {
            Work::Authorize(asked) => {
                auth::settle(self, id, asked, Attempt::Again, &wire_digest).await
            }
            Work::Capture(asked) => items::settle(self, id, asked, &wire_digest).await,
            Work::CapRevOrCred(asked) => items::settle(self, id, asked, &wire_digest).await,
            Work::Purge(asked) => items::settle(self, id, asked, &wire_digest).await,
            Work::Reverse(reverse) => auth_rev::settle(self, id, reverse, &wire_digest).await,
        };
        if settled.is_err() {
            worker::postpone(self, id).await;
        }
        settled.map(drop)
    }
}
