//! What happens without being asked: trust, enrolment, the gateway's certificates, resending, expiry.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use openset_service::config::Common;
use openset_service::enrolment::Enroller;
use openset_service::health::Health;
use openset_service::outbox_worker::OutboxWorker;
use openset_service::telemetry::Metrics;
use openset_service::trust::{Trust, TrustError};
use openset_service::{CancellationToken, clock};
use openset_store::{StoreError, Vault, exchanges, idempotency};
use tokio::task::JoinSet;

use crate::Merchant;
use crate::gateway::sending::Resending;
use crate::gateway::{batches, certificates};
use crate::mail_order;
use crate::store::{catalogues, learned_revocations, orders, purchases};
use crate::unpaid::UNPAID_ORDER_SECONDS;

/// Between two removals of what has expired.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);

/// Runs all of it until `shutdown`.
///
/// # Errors
/// When the CA is not the one that the configuration pins; then `shutdown` is called as well.
pub(crate) async fn run(
    merchant: Arc<Merchant>,
    common: Common,
    vault: Vault,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let purging = tokio::spawn(keep_purging(Arc::clone(&merchant), shutdown.clone()));
    let outcome = begin(merchant, &common, vault, &metrics, &shutdown).await;
    let outcome = match outcome {
        Ok(mut tasks) => {
            while tasks.join_next().await.is_some() {}
            Ok(())
        }
        Err(error) => Err(error),
    };
    shutdown.cancel();
    purging.await?;
    outcome
}

/// Waits for the CA, then starts what needs its word.
async fn begin(
    merchant: Arc<Merchant>,
    common: &Common,
    vault: Vault,
    metrics: &Metrics,
    shutdown: &CancellationToken,
) -> anyhow::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    let mut applications = merchant.settings.applications.iter();
    if applications.all(|one| one.activation_code.is_none())
        && let Err(missing) = merchant.keyring.ready()
    {
        bail!("there is no certificate ({missing}); set activation_code, which the acquirer gave");
    }
    let trust = match Trust::bootstrap(common, &merchant.client, &merchant.db, shutdown).await {
        Ok(trust) => trust,
        Err(TrustError::Stopped) => return Ok(tasks),
        Err(error) => return Err(error.into()),
    };
    let trust = merchant.trust.get_or_init(|| trust);
    trust.register(metrics);
    tasks.spawn(Arc::clone(trust).keep_fresh(shutdown.clone()));
    let enroller = Enroller {
        db: merchant.db.clone(),
        vault,
        client: merchant.client.clone(),
        trust: Arc::clone(trust),
        keyring: merchant.keyring.clone(),
    };
    tasks.spawn(enroller.run(merchant.settings.applications.clone(), shutdown.clone()));
    tasks.spawn(certificates::keep_fresh(
        Arc::clone(&merchant),
        common.trust_refresh,
        shutdown.clone(),
    ));
    tasks.spawn(batches::keep_looking(
        Arc::clone(&merchant),
        shutdown.clone(),
    ));
    if let Some(folder) = merchant.settings.spool.clone() {
        tasks.spawn(mail_order::run(
            Arc::clone(&merchant),
            folder,
            shutdown.clone(),
        ));
    }
    let handler = Arc::new(Resending(Arc::clone(&merchant)));
    let worker = OutboxWorker::new(
        merchant.db.clone(),
        merchant.client.clone(),
        handler,
        &merchant.replica,
    );
    tasks.spawn(worker.run(shutdown.clone()));
    Ok(tasks)
}

async fn keep_purging(merchant: Arc<Merchant>, shutdown: CancellationToken) {
    loop {
        if let Err(error) = purge(&merchant).await {
            tracing::warn!(error = %error, "what has expired could not be removed");
        }
        let pause = tokio::time::sleep(PURGE_INTERVAL);
        if shutdown.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

/// Removes what has expired, each kind in a transaction of its own so that none is long.
async fn purge(merchant: &Merchant) -> Result<(), StoreError> {
    let now_s = clock::now_seconds();
    let db = &merchant.db;
    let mut tx = db.begin().await?;
    exchanges::purge(&mut tx, now_s).await?;
    tx.commit().await?;
    let mut tx = db.begin().await?;
    idempotency::purge(&mut tx, now_s).await?;
    tx.commit().await?;
    let mut tx = db.begin().await?;
    learned_revocations::purge(&mut tx, now_s).await?;
    catalogues::purge(&mut tx, now_s).await?;
    purchases::purge(&mut tx, now_s).await?;
    let created_before_s = now_s.saturating_sub(UNPAID_ORDER_SECONDS);
    orders::purge(&mut tx, now_s, created_before_s).await?;
    tx.commit().await?;
    merchant.unpaid_orders.recount(&mut *db.read().await?).await
}

/// The checks of `/readyz`.
pub(crate) fn add_checks(health: &mut Health, merchant: &Arc<Merchant>) {
    let of = Arc::clone(merchant);
    health.add("database", move || {
        let merchant = Arc::clone(&of);
        async move {
            let connection = merchant.db.read().await;
            let mut connection = connection.map_err(|error| error.to_string())?;
            let asked = orders::find(&mut connection, "").await;
            asked.map(drop).map_err(|error| error.to_string())
        }
    });
    let of = Arc::clone(merchant);
    health.add("trust", move || {
        let found = of
            .verifier()
            .map(drop)
            .map_err(|failure| failure.to_string());
        async { found }
    });
    let of = Arc::clone(merchant);
    health.add("certificates", move || {
        let found = of.keyring.ready();
        async { found }
    });
    let of = Arc::clone(merchant);
    health.add("gateway_certificate", move || {
        let found = match certificates::missing(&of) {
            None => Ok(()),
            Some(brand) => Err(format!("no certificate of the gateway for {brand} yet")),
        };
        async { found }
    });
}
