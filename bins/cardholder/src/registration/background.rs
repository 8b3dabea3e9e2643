//! What goes on without anybody asking: registrations that were cut off or not answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use openset_service::CancellationToken;

use super::{REGISTERING, finish};
use crate::Wallet;
use crate::store;

/// The first pause before an interrupted registration is tried again; each further one doubles.
const RETRY: Duration = Duration::from_secs(1);
/// The longest pause.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Goes on with registrations that were cut off or not answered; to be spawned.
pub(crate) async fn go_on(wallet: Arc<Wallet>, shutdown: CancellationToken) {
    let mut pause = RETRY;
    loop {
        let left = unfinished(&wallet).await;
        let woken = async {
            if left == 0 {
                wallet.work.notified().await;
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
