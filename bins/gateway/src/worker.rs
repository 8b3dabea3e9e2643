//! What happens without being asked: the issuer is asked again until it has spoken, old records go.

use std::sync::Arc;
use std::time::Duration;

use openset_service::client::CALL_TIMEOUT;
use openset_service::outbox_worker::backoff;
use openset_service::{CancellationToken, clock};
use openset_store::{Backend, StoreError, exchanges};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Gateway;
use crate::error::GatewayError;
use crate::store::{batches, pending, settlements};

/// How often it is looked for what is due when nobody wakes the worker.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How often old records are removed.
const PURGE_INTERVAL: Duration = Duration::from_secs(600);
/// Requests asked again at once.
const BATCH_MAX: u32 = 16;
/// How long who asks is left alone: a call's longest time, and some to store its outcome.
pub(crate) const LEASE_MS: i64 = 2 * 1000 * CALL_TIMEOUT.as_secs().cast_signed();

/// Works until `shutdown`; to be spawned. What it is asking then is finished first.
pub(crate) async fn run(gateway: Arc<Gateway>, shutdown: CancellationToken) {
    let mut purged_at: Option<Instant> = None;
    while !shutdown.is_cancelled() {
        if purged_at.is_none_or(|at| at.elapsed() > PURGE_INTERVAL) {
            purged_at = Some(Instant::now());
            log_failure(purge(&gateway).await.map_err(Into::into));
        }
        log_failure(round(&gateway).await);
        tokio::select! {
            () = tokio::time::sleep(POLL_INTERVAL) => {}
            () = gateway.wake.notified() => {}
            () = shutdown.cancelled() => {}
        }
    }
}

/// What was captured before there were batches gets a place in one, once.
pub(crate) async fn adopt(gateway: &Gateway) -> Result<(), StoreError> {
    let mut tx = gateway.db.begin().await?;
    let count = batches::adopt(&mut tx, clock::now_seconds()).await?;
    tx.commit().await?;
    if count > 0 {
        tracing::info!(count, "captures of before were put into batches");
    }
    Ok(())
}

/// SQLite has one process: whatever was asked before its start is asked again now, not when a lease runs out.
pub(crate) async fn take_over(gateway: &Gateway) -> Result<(), StoreError> {
    if gateway.db.backend() == Backend::Sqlite {
        let mut tx = gateway.db.begin().await?;
        let count = pending::release_all(&mut tx).await?;
        settlements::release_all(&mut tx).await?;
        tx.commit().await?;
        if count > 0 {
            tracing::info!("the issuer is asked again for what was open at the last stop");
        }
    }
    Ok(())
}

/// Leaves it to the worker, after a pause that grows with each attempt.
pub(crate) async fn postpone(gateway: &Gateway, id: &str) {
    let postponed = async {
        let mut tx = gateway.db.begin().await?;
        pending::retry_later(&mut tx, id, clock::now_ms(), pause_ms).await?;
        tx.commit().await
    };
    log_failure(postponed.await.map_err(Into::into));
    gateway.wake.notify_one();
}

fn pause_ms(attempts: u32) -> i64 {
    i64::try_from(backoff(attempts).as_millis()).unwrap_or(i64::MAX)
}

async fn round(gateway: &Arc<Gateway>) -> Result<(), GatewayError> {
    let due = pending::lease_due(&gateway.db, clock::now_ms(), LEASE_MS, BATCH_MAX).await?;
    let mut tasks = JoinSet::new();
    for id in due {
        let gateway = Arc::clone(gateway);
        tasks.spawn(async move {
            let Some(flight) = gateway.flights.take_off(&id) else {
                return;
            };
            log_failure(Box::pin(gateway.settle(&flight, &id)).await);
        });
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

async fn purge(gateway: &Gateway) -> Result<(), StoreError> {
    let mut tx = gateway.db.begin().await?;
    exchanges::purge(&mut tx, clock::now_seconds()).await?;
    tx.commit().await
}

fn log_failure(outcome: Result<(), GatewayError>) {
    if let Err(error) = outcome {
        tracing::warn!(
            error = error.chain(),
            "not settled; it is tried again later"
        );
    }
}
