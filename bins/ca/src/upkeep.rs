//! What happens without being asked: lists are renewed, what has run out is removed.

use std::sync::Arc;
use std::time::Duration;

use openset_service::{CancellationToken, clock};
use openset_store::exchanges;

use crate::CertificateAuthority;
use crate::error::CaError;
use crate::store::sessions;

/// Between two rounds, at most.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Works until `shutdown`.
pub(crate) async fn run(ca: Arc<CertificateAuthority>, shutdown: CancellationToken) {
    let pause = (ca.settings.crl_lifetime / 8).min(PAUSE_MAX);
    loop {
        if let Err(error) = round(&ca).await {
            tracing::error!(
                error = format!("{:#}", anyhow::Error::from(error)),
                "upkeep failed; it is tried again"
            );
        }
        if shutdown
            .run_until_cancelled(tokio::time::sleep(pause))
            .await
            .is_none()
        {
            return;
        }
    }
}

async fn round(ca: &CertificateAuthority) -> Result<(), CaError> {
    ca.renew_crls().await?;
    let now = clock::now_seconds();
    let mut tx = ca.db.begin().await?;
    sessions::purge(&mut tx, now).await?;
    exchanges::purge(&mut tx, now).await?;
    Ok(tx.commit().await?)
}
