//! The cardholder's bank: accounts and cards, authorizations and their holds, the books, and the
//! approval of registrations. An ordinary REST service; it speaks no SET message.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | its options |
//! | `routes` | one file for each group of routes: decode, verify, decide, commit, answer |
//! | `decision`, `movement`, `enrolment` | what the bank decides, as pure functions |
//! | `store`, `ledger` | its tables and its books |
//! | `sweep` | what happens without being asked: holds expire |

mod answer;
mod clock;
pub mod config;
mod decision;
mod enrolment;
mod error;
mod fresh;
mod ledger;
mod metrics;
mod money;
mod movement;
mod request;
mod routes;
mod store;
mod sweep;

use std::sync::Arc;

use anyhow::Context as _;
use openset_service::CancellationToken;
use openset_service::config::Config;
use openset_service::shell::Shell;
use openset_store::{Db, Vault};
use tokio::net::TcpListener;

pub use clock::Clock;
pub use config::{IssuedBrand, Options};
pub use store::MIGRATIONS;

use crate::config::Settings;
use crate::metrics::IssuerMetrics;

/// What every handler holds.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) db: Db,
    pub(crate) vault: Vault,
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) metrics: IssuerMetrics,
}

/// Serves the bank on `listener` until `shutdown`.
///
/// # Errors
/// When the configuration, the database or the passphrase cannot be used.
pub async fn run(
    listener: TcpListener,
    config: Config<Options>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    run_by(Clock::system(), listener, config, shutdown).await
}

/// [`run`] by another clock, for tests that cannot wait seven days.
///
/// # Errors
/// As [`run`].
pub async fn run_by(
    clock: Clock,
    listener: TcpListener,
    config: Config<Options>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let Config { common, own } = config;
    let settings = own.check().context("in the issuer's configuration")?;
    warn_of_danger(&settings);
    let mut shell = Shell::new(&common)?;
    let db = Db::open(&common.database_url, MIGRATIONS).await?;
    let vault = Vault::unlock(&db, common.require_passphrase()?).await?;
    check_database(&mut shell, &db);
    divide_settlement(&db, &clock).await?;
    let issuer = Arc::new(Issuer {
        db: db.clone(),
        vault,
        settings,
        clock,
        metrics: IssuerMetrics::register(&shell.metrics),
    });
    let sweeping = tokio::spawn(sweep::keep_sweeping(Arc::clone(&issuer), shutdown.clone()));
    let (router, api) = routes::router(issuer);
    shell
        .serve(listener, router, &db, &api, shutdown.clone())
        .await?;
    shutdown.cancel();
    sweeping.await?;
    db.close().await;
    Ok(())
}

fn warn_of_danger(settings: &Settings) {
    if settings.tokens.is_empty() {
        tracing::warn!("no [[tokens]] are configured: every call will be refused");
    }
    if let Some(pause) = settings.danger_pause_after_commit {
        tracing::warn!(
            "DANGER: danger_pause_after_commit_ms is set: every authorization is answered {} ms late; \
             this is for crash tests alone",
            pause.as_millis()
        );
    }
}

/// Databases of before had one settlement account for all gateways.
async fn divide_settlement(db: &Db, clock: &Clock) -> anyhow::Result<()> {
    let mut tx = db.begin().await?;
    let divided = ledger::divide_settlement(&mut tx, clock.now().seconds()).await;
    divided.context("dividing the settlement account of before among the gateways")?;
    tx.commit().await?;
    Ok(())
}

fn check_database(shell: &mut Shell, db: &Db) {
    let db = db.clone();
    shell.health.add("database", move || {
        let db = db.clone();
        async move {
            let mut connection = db.read().await.map_err(|error| error.to_string())?;
            let asked = sqlx::query("SELECT 1").execute(&mut *connection).await;
            asked
                .map(drop)
                .map_err(|_| "the database does not answer".to_owned())
        }
    });
}
