//! What happens without being asked: lists are renewed, what has run out is removed.

use std::sync::Arc;
use std::time::Duration;

use openset_service::{CancellationToken, clock};
use openset_store::exchanges;
use tokio::time::Instant;

use crate::CertificateAuthority;
use crate::error::CaError;
use crate::expiry::{self, Warned};
use crate::store::{earlier, registrations, sessions};

/// Between two rounds, at most.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Between two looks whether another process has changed the hierarchy.
const LOOK: Duration = Duration::from_secs(2);

/// Works until `shutdown`.
pub(crate) async fn run(ca: Arc<CertificateAuthority>, shutdown: CancellationToken) {
    let pause = (ca.settings.crl_lifetime / 8).min(PAUSE_MAX);
    let mut warned = Warned::default();
    loop {
        if let Err(error) = round(&ca, &mut warned).await {
            tracing::error!(
                error = format!("{:#}", anyhow::Error::from(error)),
                "upkeep failed; it is tried again"
            );
        }
        let version = ca.hierarchy().version;
        let next = Instant::now() + pause;
        // Lists run out by the clock: where it is set forward they are due before the timer is.
        let pause_s = i64::try_from(pause.as_secs()).unwrap_or(i64::MAX).max(1);
        let next_s = clock::now_seconds().saturating_add(pause_s);
        while Instant::now() < next && clock::now_seconds() < next_s {
            let look = tokio::time::sleep(LOOK.min(pause));
            if shutdown.run_until_cancelled(look).await.is_none() {
                return;
            }
            match ca.authorities.refresh().await {
                // New CAs have no responders yet. Whoever missed one may have looked before us.
                Ok(_) if ca.hierarchy().version != version => {
                    tracing::info!("the hierarchy was changed and is served anew");
                    break;
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "the hierarchy was not read");
                }
            }
        }
    }
}

async fn round(ca: &CertificateAuthority, warned: &mut Warned) -> Result<(), CaError> {
    let renewed = ca.authorities.renew_crls().await;
    let renewed = renewed.and(ca.authorities.renew_responders().await);
    // Also when the database takes nothing any more.
    expiry::watch(ca, warned).await?;
    renewed?;
    let now = clock::now_seconds();
    let mut tx = ca.db.begin().await?;
    sessions::purge(&mut tx, now).await?;
    registrations::purge(&mut tx, now).await?;
    earlier::purge(&mut tx, now).await?;
    exchanges::purge(&mut tx, now).await?;
    Ok(tx.commit().await?)
}
