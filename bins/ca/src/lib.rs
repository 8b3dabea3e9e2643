//! The certificate authority: root, brand, regional and issuing CAs; registration; revocation. A mock:
//! all CAs share one process and one database, which no real hierarchy would do.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | its options |
//! | `hierarchy` | the CAs with all their generations, read from the database |
//! | `authorities` | how the hierarchy is made and grows |
//! | [`cli`] | the operator's commands |
//! | `backup` | the whole database in one encrypted file, and back |
//! | `import` | what comes from a root that is kept offline |
//! | `journal` | what a restored back-up must not forget |
//! | `set` | `POST /set`, `POST /regions/{region}/set`: CardCInit, RegForm, Me-AqCInit, Cert |
//! | `bank` | who is asked before a key is certified |
//! | `decisions` | what an operator decides about registrations that wait |
//! | `forms` | what applicants are asked |
//! | `verification` | the certificates that applicants show |
//! | `crl`, `upkeep` | revocation lists, renewed in time |
//! | `responders` | who signs the answers to `/ocsp` |
//! | `expiry` | warnings before anything of the CA's own runs out |
//! | `routes` | what everybody may read, and what the operator does |
//! | `store` | its tables |

mod authorities;
mod backup;
mod bank;
mod brand_crl_identifiers;
pub mod cli;
pub mod config;
mod crl;
mod decisions;
mod error;
mod expiry;
mod fingerprint;
mod forms;
mod hierarchy;
mod import;
mod journal;
mod metrics;
mod responders;
mod routes;
mod set;
mod store;
mod upkeep;
mod verification;

use std::sync::Arc;

use anyhow::Context as _;
use openset_pki::PathVerifier;
use openset_service::client::HttpClient;
use openset_service::config::Config;
use openset_service::shell::Shell;
use openset_service::{CancellationToken, clock};
use openset_store::{Db, Vault};
use tokio::net::TcpListener;

pub use config::{Gateway, Options};
pub use store::MIGRATIONS;

use crate::authorities::Authorities;
use crate::config::Settings;
use crate::hierarchy::Hierarchy;
use crate::journal::Journal;
use crate::metrics::CaMetrics;
use crate::responders::Unsealed;

/// What every handler holds.
#[derive(Debug)]
pub(crate) struct CertificateAuthority {
    pub(crate) public_url: reqwest::Url,
    pub(crate) db: Db,
    pub(crate) settings: Arc<Settings>,
    pub(crate) authorities: Authorities,
    pub(crate) client: HttpClient,
    pub(crate) metrics: CaMetrics,
    pub(crate) responders: Unsealed,
    pub(crate) verifier: Arc<PathVerifier>,
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
    let settings = Arc::new(own.check().context("in the CA's configuration")?);
    warn_of_gaps(&settings);
    let mut shell = Shell::new(&common)?;
    let db = Db::open(&common.database_url, MIGRATIONS).await?;
    let vault = Vault::unlock(&db, common.require_passphrase()?).await?;
    let journal = Journal::open(&common.data_dir, &common.replica, &db).await?;
    let opened = Authorities::open(db.clone(), vault, journal, Arc::clone(&settings));
    let authorities = Box::pin(opened).await?;
    let root = authorities.current().pinned_root().certificate.clone();
    let ca = Arc::new(CertificateAuthority {
        public_url: common.public_url.clone(),
        db: db.clone(),
        client: shell.client.clone(),
        metrics: CaMetrics::register(&shell.metrics),
        responders: Unsealed::default(),
        verifier: verification::verifier(&authorities.current())?,
        settings,
        authorities,
    });
    ca.authorities.renew_crls().await?;
    ca.authorities.renew_responders().await?;
    ca.settle_restored().await?;
    // Whoever finds the fingerprint can begin: from here on every request is taken.
    fingerprint::publish(&common, &root)?;
    add_checks(&mut shell, &ca);
    let upkeep = tokio::spawn(upkeep::run(Arc::clone(&ca), shutdown.clone()));
    let (router, api) = routes::router(Arc::clone(&ca));
    let router = router.merge(set::region::router(ca));
    shell
        .serve(listener, router, &db, &api, shutdown.clone())
        .await?;
    shutdown.cancel();
    upkeep.await?;
    db.close().await;
    Ok(())
}

impl CertificateAuthority {
    /// The CAs as last looked at.
    pub(crate) fn hierarchy(&self) -> Arc<Hierarchy> {
        self.authorities.current()
    }
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
                .authorities
                .crls()
                .await
                .map_err(|_| "the database does not answer".to_owned())?;
            let now = clock::now_seconds();
            let hierarchy = ca.hierarchy();
            let roots = hierarchy.roots().iter().filter(|root| !root.ended(now));
            let below = hierarchy.all().iter().filter(|held| held.answers(now));
            let stale = roots
                .map(|root| &root.id)
                .chain(below.map(|held| &held.id))
                .find(|id| current.get(*id).is_none_or(|crl| crl.next_update <= now));
            stale.map_or(Ok(()), |id| Err(format!("{id} has no current CRL")))
        }
    });
}
