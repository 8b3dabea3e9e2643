//! Gives back what nobody captured in time, and forgets answers that nobody asks for any more.

use std::sync::Arc;

use openset_service::CancellationToken;
use openset_store::{StoreError, idempotency};

use crate::Issuer;
use crate::error::IssuerError;
use crate::store::accounts::Room;
use crate::store::authorizations::{self, State};

/// Holds that one sweep ends at most; the next one goes on.
const HOLDS_MAX: u32 = 500;

/// Sweeps until `shutdown`.
pub(crate) async fn keep_sweeping(issuer: Arc<Issuer>, shutdown: CancellationToken) {
    // Only the waiting is cut short: a transaction under way is never dropped half-way.
    while shutdown
        .run_until_cancelled(tokio::time::sleep(issuer.settings.sweep_every))
        .await
        .is_some()
    {
        match sweep(&issuer).await {
            Ok(0) => {}
            Ok(ended) => tracing::info!(outcome = "expired", "{ended} holds ended by age"),
            Err(error) => tracing::warn!(error = %error, "the search for expired holds failed"),
        }
    }
}

/// Ends the holds whose time is over; says how many.
pub(crate) async fn sweep(issuer: &Issuer) -> Result<u32, IssuerError> {
    let now_s = issuer.clock.now().seconds();
    let overdue = authorizations::overdue(&mut *issuer.db.read().await?, now_s, HOLDS_MAX).await?;
    let mut ended = 0;
    for id in overdue {
        ended += u32::from(expire(issuer, &id, now_s).await?);
    }
    let mut tx = issuer.db.begin().await?;
    idempotency::purge(&mut tx, now_s).await?;
    tx.commit().await?;
    Ok(ended)
}

/// Ends one hold, unless another replica or its gateway has done so meanwhile.
async fn expire(issuer: &Issuer, id: &str, now_s: i64) -> Result<bool, IssuerError> {
    let mut tx = issuer.db.begin().await?;
    let Some(held) = authorizations::lock(&mut tx, id).await? else {
        return Ok(false);
    };
    let (State::Held, State::Expired) = (held.state, held.state_at(now_s)) else {
        return Ok(false);
    };
    match authorizations::change(&mut tx, &held, &held.ended(State::Expired)).await? {
        Room::Enough => tx.commit().await?,
        Room::TooLittle => return Err(StoreError::Corrupt("accounts.held_minor").into()),
    }
    Ok(true)
}
