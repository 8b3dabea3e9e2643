//! The merchant: a web shop over REST, and SET's merchant at `POST /set`. It never sees a card number.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | its options |
//! | `catalogue` | products and prices |
//! | `cardholder_status` | step 7: whether the cardholder's certificate is revoked, by OCSP |
//! | `routes` | the shop's REST interface, one file for each group |
//! | `set` | the wallet's messages: PInitReq, PReq, InqReq; each decodes, verifies, decides, commits, answers |
//! | `gateway` | what is asked of the gateway, and its answers: AuthReq, CapReq, its certificates |
//! | `mail_order` | the signed catalogue, and the folder through which orders by it come |
//! | `store` | its tables |
//! | `unpaid` | how many orders nobody pays, and which of them make room |
//! | `upkeep` | what happens without being asked: enrolment, resending, expiry |

mod cardholder_status;
mod catalogue;
pub mod config;
mod failure;
mod gateway;
mod mail_order;
mod routes;
mod schema;
mod set;
mod store;
mod unpaid;
mod upkeep;

use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use openset_pki::{Expect, PathError, PathVerifier, Purpose, Role};
use openset_protocol::identity::Credentials;
use openset_protocol::{BrandId, Context, Rejection, Thumbprint};
use openset_service::client::HttpClient;
use openset_service::config::Config;
use openset_service::enrolment::Keyring;
use openset_service::shell::Shell;
use openset_service::trust::Trust;
use openset_service::{CancellationToken, clock, random};
use openset_store::{Db, Vault};
use tokio::net::TcpListener;

pub use config::Options;
pub use store::MIGRATIONS;

use crate::config::Settings;
use crate::failure::Failure;
use crate::gateway::certificates::GatewayCertificates;
use crate::unpaid::UnpaidOrders;

/// What every handler holds. Keys and certificates are parsed once and shared.
#[derive(Debug)]
pub(crate) struct Merchant {
    pub(crate) db: Db,
    pub(crate) vault: Vault,
    pub(crate) client: HttpClient,
    pub(crate) settings: Settings,
    pub(crate) keyring: Keyring,
    pub(crate) gateways: GatewayCertificates,
    pub(crate) trust: OnceLock<Arc<Trust>>,
    /// Under which name this replica leases what it sends.
    pub(crate) replica: String,
    /// What the OCSP responder said lately.
    pub(crate) ocsp_answers: cardholder_status::Answers,
    pub(crate) unpaid_orders: UnpaidOrders,
    /// Held while a catalogue is looked for or signed.
    pub(crate) catalogue_lock: tokio::sync::Mutex<()>,
}

impl Merchant {
    /// Verifies the other parties' certificates, once the CA was reached.
    pub(crate) fn verifier(&self) -> Result<Arc<PathVerifier>, Failure> {
        let trust = self.trust.get();
        let trust = trust.ok_or(Failure::NotReady(
            "the certificate authority was not reached yet",
        ))?;
        Ok(Arc::clone(trust.verifier()))
    }

    /// The merchant's own keys for a brand.
    pub(crate) fn credentials(&self, brand: &BrandId) -> Result<Credentials, Failure> {
        let held = self.keyring.of_brand(brand);
        held.ok_or(Failure::NotReady(
            "the merchant's own certificates are not here yet",
        ))
    }

    /// The merchant's own keys that a purchase was opened with. Another replica may have renewed them a moment
    /// ago.
    pub(crate) async fn opened_with(
        &self,
        signature: &Thumbprint,
    ) -> Result<Option<Credentials>, Failure> {
        if let Some(held) = self.keyring.named(signature) {
            return Ok(Some(held));
        }
        self.look_again().await?;
        Ok(self.keyring.named(signature))
    }

    /// The keys that answer about a purchase: those that it was opened with, which the wallet knows, for as long
    /// as their certificate is good, and the current ones after that.
    pub(crate) async fn answering(
        &self,
        brand: &BrandId,
        opened_with: Option<&Thumbprint>,
    ) -> Result<Credentials, Failure> {
        let held = match opened_with {
            Some(signature) => self.opened_with(signature).await?,
            None => None,
        };
        match held {
            Some(held) if is_good(&held, &*self.verifier()?).is_ok() => Ok(held),
            _ => self.credentials(brand),
        }
    }

    /// Whether there may be news after this refusal, so that the same may be judged again: of a certificate, from
    /// the CA; of a key that is not known here, from another replica, which may have renewed a moment ago.
    pub(crate) async fn has_news_after(&self, refusal: &Rejection) -> bool {
        match (refusal, self.trust.get()) {
            (Rejection::Certificate(refusal), Some(trust)) => trust.refresh_after(refusal).await,
            (Rejection::NotSealedForUs, _) => self.look_again().await.is_ok(),
            _ => false,
        }
    }

    /// Takes up what another replica has renewed.
    pub(crate) async fn look_again(&self) -> Result<(), Failure> {
        let looked = self.keyring.look_again().await;
        looked.map_err(|error| Failure::Internal(error.into()))
    }
}

/// Whether others accept what is signed with these keys now.
pub(crate) fn is_good(held: &Credentials, verifier: &PathVerifier) -> Result<(), PathError> {
    let expect = Expect {
        role: Role::Merchant,
        purpose: Purpose::Signature,
        brand: held.signature.brand(),
    };
    let checked = verifier.verify(held.signature.chain(), &expect, clock::now_seconds());
    checked.map(drop)
}

/// Runs protocol work, which signs and opens, where it holds nobody up.
pub(crate) async fn offload<T: Send + 'static>(
    work: impl FnOnce(&mut Context<'_>) -> T + Send + 'static,
) -> T {
    openset_service::offload::offload_brief(move || {
        let mut rng = random::system();
        work(&mut Context {
            now: clock::now(),
            rng: &mut rng,
        })
    })
    .await
}

/// Serves the shop on `listener` until `shutdown`.
///
/// # Errors
/// When the configuration, the database, the passphrase or the pinned root cannot be used.
pub async fn run(
    listener: TcpListener,
    config: Config<Options>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let Config { common, own } = config;
    common.require_root_sha256()?;
    common.require_ca_url()?;
    let settings = own
        .check(&common)
        .context("in the merchant's configuration")?;
    if settings.tokens.is_empty() {
        tracing::warn!("no [[tokens]] are configured: nobody can look at orders or capture");
    }
    let mut shell = Shell::new(&common)?;
    let db = Db::open(&common.database_url, MIGRATIONS).await?;
    let vault = Vault::unlock(&db, common.require_passphrase()?).await?;
    let keyring = Keyring::load(&db, &vault, &settings.brands).await?;
    keyring.register(&shell.metrics);
    let merchant = Arc::new(Merchant {
        db: db.clone(),
        vault: vault.clone(),
        client: shell.client.clone(),
        settings,
        keyring,
        gateways: GatewayCertificates::default(),
        trust: OnceLock::new(),
        replica: common.replica.clone(),
        ocsp_answers: cardholder_status::Answers::default(),
        unpaid_orders: UnpaidOrders::default(),
        catalogue_lock: tokio::sync::Mutex::default(),
    });
    upkeep::add_checks(&mut shell.health, &merchant);
    let upkeep = tokio::spawn(upkeep::run(
        Arc::clone(&merchant),
        common,
        vault,
        shell.metrics.clone(),
        shutdown.clone(),
    ));
    let (router, api) = routes::router(merchant);
    let served = shell
        .serve(listener, router, &db, &api, shutdown.clone())
        .await;
    shutdown.cancel();
    let kept_up = upkeep.await.context("the upkeep ended early")?;
    db.close().await;
    served.and(kept_up)
}
