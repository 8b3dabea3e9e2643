//! The certificate authority: root, brand, regional and issuing CAs; registration; revocation. A mock:
//! all CAs share one process and one database, which no real hierarchy would do.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | its options |
//! | `hierarchy` | the CAs, made at the first start and read back at every other |
//! | `set` | `POST /set`: CardCInit, RegForm, Me-AqCInit, Cert |
//! | `bank` | who is asked before a key is certified |
//! | `verification` | the certificates that applicants show |
//! | `crl`, `upkeep` | revocation lists, renewed in time |
//! | `routes` | what everybody may read, and what the operator does |
//! | `store` | its tables |

mod bank;
pub mod config;
mod crl;
mod error;
mod fingerprint;
mod hierarchy;
mod metrics;
mod routes;
mod set;
mod store;
mod upkeep;
mod verification;

use std::sync::Arc;

use anyhow::Context as _;
use openset_pki::PathVerifier;
use openset_protocol::ca::form;
use openset_protocol::messages::reg_form::RegFormData;
use openset_service::client::HttpClient;
use openset_service::config::Config;
use openset_service::shell::Shell;
use openset_service::{CancellationToken, clock, set_endpoint};
use openset_store::{Db, Vault};
use tokio::net::TcpListener;

pub use config::{Gateway, Options};
pub use store::MIGRATIONS;

use crate::config::Settings;
use crate::hierarchy::Hierarchy;
use crate::metrics::CaMetrics;

/// What every handler holds.
#[derive(Debug)]
pub(crate) struct CertificateAuthority {
    pub(crate) db: Db,
    pub(crate) settings: Settings,
    pub(crate) hierarchy: Hierarchy,
    pub(crate) client: HttpClient,
    pub(crate) metrics: CaMetrics,
    pub(crate) forms: Forms,
    pub(crate) verifier: Arc<PathVerifier>,
}

/// What applicants are asked.
#[derive(Debug)]
pub(crate) struct Forms {
    pub(crate) cardholder: RegFormData,
    pub(crate) merchant: RegFormData,
    pub(crate) gateway: RegFormData,
}

/// Serves the CA on `listener` until `shutdown`. The first start makes the hierarchy and prints the root's
/// fingerprint.
///
/// # Errors
/// When the configuration, the database or the passphrase cannot be used.
pub async fn run(
    listener: TcpListener,
    config: Config<Options>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let Config { common, own } = config;
    let settings = own.check().context("in the CA's configuration")?;
    warn_of_gaps(&settings);
    let mut shell = Shell::new(&common)?;
    let db = Db::open(&common.database_url, MIGRATIONS).await?;
    let vault = Vault::unlock(&db, common.require_passphrase()?).await?;
    let hierarchy = Box::pin(hierarchy::open(&db, &vault, &settings)).await?;
    let root = hierarchy.root().clone();
    let text = &settings.policy_text;
    let ca = Arc::new(CertificateAuthority {
        forms: Forms {
            cardholder: form::cardholder(text),
            merchant: form::merchant(text),
            gateway: form::gateway(text),
        },
        db: db.clone(),
        client: shell.client.clone(),
        metrics: CaMetrics::register(&shell.metrics),
        verifier: verification::verifier(&hierarchy)?,
        settings,
        hierarchy,
    });
    ca.renew_crls().await?;
    // Whoever finds the fingerprint can begin: from here on every request is taken.
    fingerprint::publish(&common, &root)?;
    add_checks(&mut shell, &ca);
    let upkeep = tokio::spawn(upkeep::run(Arc::clone(&ca), shutdown.clone()));
    let (router, api) = routes::router(Arc::clone(&ca));
    let router = router.merge(set_endpoint::router(Arc::new(set::SetEndpoint(ca))));
    shell
        .serve(listener, router, &api, shutdown.clone())
        .await?;
    shutdown.cancel();
    upkeep.await?;
    db.close().await;
    Ok(())
}

fn warn_of_gaps(settings: &Settings) {
    let gaps = [
        (
            settings.issuer.is_none(),
            "no issuer_url is configured: no cardholder can be registered",
        ),
        (
            settings.acquirer.is_none(),
            "no acquirer_url is configured: no merchant can be registered",
        ),
        (
            settings.gateways.is_empty(),
            "no [[gateways]] are configured: no gateway can be registered",
        ),
        (
            settings.tokens.is_empty(),
            "no [[tokens]] are configured: nobody can list or revoke certificates",
        ),
    ];
    for (_, gap) in gaps.iter().filter(|(there, _)| *there) {
        tracing::warn!("{gap}");
    }
}

fn add_checks(shell: &mut Shell, ca: &Arc<CertificateAuthority>) {
    let ca = Arc::clone(ca);
    shell.health.add("crls", move || {
        let ca = Arc::clone(&ca);
        async move {
            let current = ca
                .crls()
                .await
                .map_err(|_| "the database does not answer".to_owned())?;
            let now = clock::now_seconds();
            let stale = ca.hierarchy.all().iter().find(|held| {
                current
                    .get(&held.id)
                    .is_none_or(|crl| crl.next_update <= now)
            });
            stale.map_or(Ok(()), |held| {
                Err(format!("{} has no current CRL", held.id))
            })
        }
    });
}
