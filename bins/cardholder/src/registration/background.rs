//! What goes on without anybody asking: registrations that were cut off or not answered, and renewals.

use std::sync::Arc;
use std::time::{Duration, Instant};

use openset_service::CancellationToken;

use super::renewal::look_after;
use super::{REGISTERED, REGISTERING, finish};
use crate::Wallet;
use crate::store;

/// The first pause before an interrupted registration is tried again; each further one doubles.
const RETRY: Duration = Duration::from_secs(1);
/// The longest pause.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Between two looks for certificates that are to be renewed.
const LOOK: Duration = Duration::from_secs(3600);

/// Goes on with registrations that were cut off or not answered, and renews certificates; to be spawned.
pub(crate) async fn go_on(wallet: Arc<Wallet>, shutdown: CancellationToken) {
    let mut pause = RETRY;
    let mut looked: Option<Instant> = None;
    loop {
        let look = looked.is_none_or(|at| at.elapsed() >= LOOK);
        if look {
            looked = Some(Instant::now());
        }
        let left = unfinished(&wallet)
            .await
            .saturating_add(renewals(&wallet, look).await);
        let woken = async {
            if left == 0 {
                tokio::select! {
                    () = tokio::time::sleep(LOOK) => {}
                    () = wallet.work.notified() => {}
                }
            } else {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = wallet.work.notified() => {}
                }
            }
        };
        if shutdown.run_until_cancelled(woken).await.is_none() {
            return;
        }
        pause = if left == 0 {
            RETRY
        } else {
            pause.saturating_mul(2).min(RETRY_MAX)
        };
    }
}

/// Tries every open registration once; says how many are left.
async fn unfinished(wallet: &Arc<Wallet>) -> usize {
    let open = async {
        let mut conn = wallet.db.read().await?;
        store::cards_in(&mut conn, REGISTERING).await
    };
    let rows = open.await.unwrap_or_default();
    let mut left = 0_usize;
    for row in rows {
        if let Err(problem) = finish(wallet, &row, Instant::now()).await {
            tracing::warn!(outcome = "refused", error = %problem.detail, "a registration could not be finished yet");
            left = left.saturating_add(1);
        }
    }
    left
}

/// Goes on with renewals, and at a `look` begins those that are due; says how many are left.
async fn renewals(wallet: &Arc<Wallet>, look: bool) -> usize {
    let registered = async {
        let mut conn = wallet.db.read().await?;
        store::cards_in(&mut conn, REGISTERED).await
    };
    let mut left = 0_usize;
    for row in registered.await.unwrap_or_default() {
        // Without CertReq on its way only a look has something to do.
        if row.wire.is_none() && !look {
            continue;
        }
        if let Err(problem) = look_after(wallet, &row, look).await {
            tracing::warn!(outcome = "refused", error = %problem.detail, "a certificate could not be renewed yet");
            left = left.saturating_add(usize::from(problem.code != "not-renewed"));
        }
    }
    left
}
