//! OCSP responses about the cards' certificates, to be sent along with purchases: with one the merchant need not
//! ask, and the CA does not learn who shops where and when.
//!
//! They are fetched on a timer of their own, with jitter and whether anything is bought or not: what the CA sees
//! says nothing about purchases. Without one a purchase goes on without.

use std::sync::Arc;
use std::time::Duration;

use openset_pki::{Certificate, PathError};
use openset_service::CancellationToken;
use openset_service::ocsp::{self, OcspError};
use openset_service::problem::Problem;
use openset_service::{clock, random};

use crate::Wallet;
use crate::registration::{Kept, REGISTERED, parsed};
use crate::store::{self, Staple};

/// Between two looks, unless the configuration says otherwise.
pub(crate) const LOOK_SECONDS: u32 = 60;
/// Between two looks while the CA does not answer, at the longest.
const UNANSWERED_MAX: Duration = Duration::from_secs(600);
/// A response is fetched again when less than this part of its time is left.
const FETCH_SHARE: i64 = 2;
/// A response goes along with a purchase when it is good for so long, that the merchant still finds it fresh.
const FRESH_SECONDS: i64 = 60;

/// Fetches responses until `shutdown`; to be spawned. No time between two looks means none.
pub(crate) async fn keep_fresh(wallet: Arc<Wallet>, look: Duration, shutdown: CancellationToken) {
    if look.is_zero() {
        return;
    }
    let mut pause = look;
    loop {
        let pausing = tokio::time::sleep(jittered(pause));
        if shutdown.run_until_cancelled(pausing).await.is_none() {
            return;
        }
        pause = match fetch_all(&wallet).await {
            Ok(0) => look,
            Ok(_) => pause.saturating_mul(2).min(UNANSWERED_MAX.max(look)),
            Err(problem) => {
                tracing::warn!(error = %problem.detail, "OCSP responses could not be kept");
                look
            }
        };
    }
}

/// Half of it, and up to half more by chance.
fn jittered(pause: Duration) -> Duration {
    let half = pause / 2;
    let chance = u32::from(u16::from_be_bytes(random::bytes::<2>()));
    half.saturating_add(half.saturating_mul(chance) / u32::from(u16::MAX))
}

/// Fetches a response for each certificate that lacks a fresh one; says how many could not be had.
async fn fetch_all(wallet: &Arc<Wallet>) -> Result<usize, Problem> {
    let now = clock::now_seconds();
    let rows = {
        let mut tx = wallet.db.begin().await?;
        store::drop_stale_staples(&mut tx, now).await?;
        let rows = store::cards_in(&mut tx, REGISTERED).await?;
        tx.commit().await?;
        rows
    };
    let mut missing = 0_usize;
    let mut fresh_ones = 0_i64;
    for row in rows {
        let Kept::Registered { chain, .. } = wallet.open_card(&row)? else {
            continue;
        };
        let chain = parsed(&chain)?;
        let leaf = chain.leaf();
        let name = leaf.thumbprint().to_string();
        let held = store::staple_of(&mut *wallet.db.read().await?, &name).await?;
        let is_held = held.is_some_and(|held| is_young(&held, now));
        if leaf.not_after() > now && !is_held && !fetch(wallet, leaf).await? {
            missing = missing.saturating_add(1);
        }
        let fresh = fresh(wallet, &name).await?;
        fresh_ones = fresh_ones.saturating_add(i64::from(fresh.is_some()));
    }
    wallet.metrics.show_ocsp_responses(fresh_ones);
    Ok(missing)
}

/// Fetches one response and keeps it; says whether it was to be had.
async fn fetch(wallet: &Arc<Wallet>, certificate: &Certificate) -> Result<bool, Problem> {
    let name = certificate.thumbprint().to_string();
    let asked = ocsp::ask(&wallet.client, &wallet.trust, certificate).await;
    let mut tx = wallet.db.begin().await?;
    match &asked {
        Ok(good) => {
            let staple = Staple {
                response: good.der.clone(),
                this_update_s: good.window.this_update,
                next_update_s: good.window.next_update,
            };
            store::keep_staple(&mut tx, &name, &staple).await?;
        }
        Err(error) => {
            if matches!(error, OcspError::Refused(PathError::Revoked(_))) {
                store::drop_staple(&mut tx, &name).await?;
            }
            tracing::warn!(outcome = "pending", error = %error, "no OCSP response for a card's certificate");
        }
    }
    tx.commit().await?;
    Ok(asked.is_ok())
}

/// Whether half of its time is still to come.
fn is_young(staple: &Staple, now: i64) -> bool {
    let lifetime = staple.next_update_s.saturating_sub(staple.this_update_s);
    staple.next_update_s.saturating_sub(now) > lifetime / FETCH_SHARE
}

/// The response that goes along with a purchase, if a fresh one is there.
pub(crate) async fn fresh(wallet: &Wallet, certificate: &str) -> Result<Option<Vec<u8>>, Problem> {
    let held = store::staple_of(&mut *wallet.db.read().await?, certificate).await?;
    Ok(if_fresh(held))
}

/// This response, if it is fresh.
pub(crate) fn if_fresh(held: Option<Staple>) -> Option<Vec<u8>> {
    let now = clock::now_seconds();
    let fresh = |staple: &Staple| staple.next_update_s.saturating_sub(now) > FRESH_SECONDS;
    held.filter(fresh).map(|staple| staple.response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_differ_and_stay_between_half_and_whole() {
        let pause = Duration::from_secs(60);
        let pauses: Vec<Duration> = (0..32).map(|_| jittered(pause)).collect();
        assert!(pauses.iter().all(|one| (pause / 2..=pause).contains(one)));
        assert!(pauses.iter().any(|one| *one != pauses[0]));
    }

    #[test]
    fn response_is_fetched_again_at_half_of_its_time() {
        let staple = Staple {
            response: Vec::new(),
            this_update_s: 1000,
            next_update_s: 1600,
        };
        assert!(is_young(&staple, 1299));
        assert!(!is_young(&staple, 1300));
    }
}
