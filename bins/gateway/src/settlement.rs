//! What happens to a closed batch: the issuer settles it part by part, then the merchant is paid. Each step is booked before
//! and after, so that it may be cut short anywhere and repeated.

use std::sync::Arc;
use std::time::Duration;

use openset_service::{CancellationToken, clock};

use crate::error::GatewayError;
use crate::issuer::Settled;
use crate::store::settlements::{self, Batch};
use crate::{Gateway, worker};

/// How often it is looked for closed batches.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Batches leased at once.
const BATCHES_MAX: u32 = 8;
/// How long a batch is left alone after the issuer did not answer.
const PAUSE_MS: i64 = 5_000;

/// Works until `shutdown`; to be spawned. A part that is being settled then is finished first.
pub(crate) async fn run(gateway: Arc<Gateway>, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        if let Err(error) = round(&gateway, &shutdown).await {
            tracing::warn!(error = error.chain(), "batches are settled later");
        }
        tokio::select! {
            () = tokio::time::sleep(POLL_INTERVAL) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

/// Goes on with every closed batch that is due.
async fn round(gateway: &Gateway, shutdown: &CancellationToken) -> Result<(), GatewayError> {
    let now_ms = clock::now_ms();
    let due = settlements::lease_due(&gateway.db, now_ms, worker::LEASE_MS, BATCHES_MAX).await?;
    for id in due {
        if let Err(error) = settle(gateway, &id, shutdown).await {
            let mut tx = gateway.db.begin().await?;
            let until_ms = clock::now_ms().saturating_add(PAUSE_MS);
            settlements::postpone(&mut tx, &id, until_ms).await?;
            tx.commit().await?;
            tracing::warn!(
                batch = id,
                error = error.chain(),
                "batch not settled; it is tried again later"
            );
        }
    }
    Ok(())
}

async fn settle(
    gateway: &Gateway,
    id: &str,
    shutdown: &CancellationToken,
) -> Result<(), GatewayError> {
    let batch = settlements::load(&mut *gateway.db.read().await?, id).await?;
    for number in batch.settled_parts..batch.parts {
        if shutdown.is_cancelled() || !settle_part(gateway, &batch, number).await? {
            return Ok(());
        }
    }
    let mut tx = gateway.db.begin().await?;
    settlements::book_payout(&mut tx, &batch, clock::now_seconds()).await?;
    tx.commit().await?;
    // A real acquirer's bank transfer would begin here, and be told of later.
    let mut tx = gateway.db.begin().await?;
    if settlements::book_paid(&mut tx, &batch, clock::now_seconds()).await? {
        tx.commit().await?;
        tracing::info!(batch = id, "batch paid out");
    }
    Ok(())
}

/// `false`: it is not to be gone on with.
async fn settle_part(gateway: &Gateway, batch: &Batch, number: i64) -> Result<bool, GatewayError> {
    let part = settlements::part(&mut *gateway.db.read().await?, batch, number).await?;
    let booked = (number, part.net_minor);
    let mut tx = gateway.db.begin().await?;
    settlements::book_asked(&mut tx, batch, booked, clock::now_seconds()).await?;
    tx.commit().await?;
    let settled = gateway.issuer.settle(batch, number, &part).await?;
    let mut tx = gateway.db.begin().await?;
    match settled {
        Settled::Yes => {
            let goes_on =
                settlements::book_settled(&mut tx, batch, booked, clock::now_seconds()).await?;
            if goes_on {
                tx.commit().await?;
            }
            Ok(goes_on)
        }
        Settled::No(problem) => {
            settlements::reject(&mut tx, &batch.id).await?;
            tx.commit().await?;
            tracing::error!(
                batch = batch.id,
                part = number,
                problem,
                "the issuer does not settle the batch; run the audit"
            );
            Ok(false)
        }
    }
}
