//! What goes on without anybody asking: registrations that were cut off or not answered, and renewals.

use std::sync::Arc;
use std::time::{Duration, Instant};

use openset_service::CancellationToken;
use openset_store::StoreError;

use super::expiry::{self, Warned};
use super::renewal::look_after;
use super::{PENDED, REGISTERED, REGISTERING, finish};
use crate::Wallet;
use crate::store;

/// The first pause before an interrupted registration is tried again; each further one doubles.
const RETRY: Duration = Duration::from_secs(1);
/// The longest pause; so often a CA is asked whether its operator has decided.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Goes on with registrations that were cut off or not answered, and renews certificates; to be spawned.
pub(crate) async fn go_on(wallet: Arc<Wallet>, shutdown: CancellationToken) {
    let mut pause = RETRY;
    let mut warned = Warned::default();
    let mut next_look = Instant::now();
    loop {
        let look = next_look <= Instant::now();
        let left = unfinished(&wallet)
            .await
            .saturating_add(renewals(&wallet, look).await);
        // After the renewals: there is a warning of what they did not mend.
        if look {
            next_look = Instant::now() + watched(&wallet, &mut warned).await;
        }
        let until_look = next_look.saturating_duration_since(Instant::now());
        let wait = if left == 0 {
            until_look
        } else {
            pause.min(until_look)
        };
        let woken = async {
            tokio::select! {
                () = tokio::time::sleep(wait) => false,
                () = wallet.work.notified() => true,
            }
        };
        match shutdown.run_until_cancelled(woken).await {
            Some(true) => next_look = Instant::now(),
            Some(false) => {}
            None => return,
        }
        pause = if left == 0 {
            RETRY
        } else {
            pause.saturating_mul(2).min(RETRY_MAX)
        };
    }
}

async fn watched(wallet: &Wallet, warned: &mut Warned) -> Duration {
    match expiry::watch(wallet, warned).await {
        Ok(pause) => pause,
        Err(problem) => {
            tracing::warn!(error = %problem.detail, "the certificates could not be looked at");
            RETRY_MAX
        }
    }
}

/// Tries every open registration once; says how many are left.
async fn unfinished(wallet: &Arc<Wallet>) -> usize {
    let open = async {
        let mut conn = wallet.db.read().await?;
        let mut rows = store::cards_in(&mut conn, REGISTERING).await?;
        rows.extend(store::cards_in(&mut conn, PENDED).await?);
        Ok::<_, StoreError>(rows)
    };
    let rows = open.await.unwrap_or_default();
    let mut left = 0_usize;
    for row in rows {
        match finish(wallet, &row, Instant::now()).await {
            Ok(waits) => left = left.saturating_add(usize::from(waits)),
            Err(problem) => {
                tracing::warn!(outcome = "refused", error = %problem.detail, "a registration could not be finished yet");
                left = left.saturating_add(1);
            }
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
        match look_after(wallet, &row, look).await {
            Ok(unanswered) => left = left.saturating_add(usize::from(unanswered)),
            Err(problem) => {
                tracing::warn!(outcome = "refused", error = %problem.detail, "a certificate could not be renewed yet");
                // What a person must mend is tried again at the next look.
                left = left.saturating_add(usize::from(problem.code != "not-renewed"));
            }
        }
    }
    left
}
