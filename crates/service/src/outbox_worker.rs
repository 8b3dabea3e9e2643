//! Sends what stands in the outbox, the same bytes each time, until answered or out of time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use openset_store::outbox::{self, Outgoing};
use openset_store::{Db, StoreError};
use reqwest::Url;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::client::{CALL_TIMEOUT, HttpClient, SetAnswer};
use crate::server::DRAIN_DEADLINE;
use crate::set_endpoint::MediaType;
use crate::{clock, random};

/// How long a replica holds what it sends: a call's longest time, and some to handle the answer.
pub const LEASE: Duration = CALL_TIMEOUT.saturating_add(Duration::from_secs(10));
/// How often the outbox is looked at.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The first pause; each further one doubles, with jitter.
pub const BACKOFF_MIN: Duration = Duration::from_millis(500);
/// The longest pause.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// After so many attempts, about a day of them, only [`SLOW`] ones follow.
pub const SLOW_AFTER_ATTEMPTS: u32 = 2_000;
/// The pause of a request that was not answered for so long.
pub const SLOW: Duration = Duration::from_secs(60 * 60);
/// Requests being sent at once.
const IN_FLIGHT_MAX: usize = 16;

/// What a party does with the answers to what it sent.
pub trait OutboxHandler: Send + Sync + 'static {
    /// Handles an answer: commits its effects and `outbox::remove` in one transaction.
    /// After an error the same bytes are sent again later.
    fn answered(
        &self,
        outgoing: &Outgoing,
        answer: SetAnswer,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// The deadline has passed without an answer: commits what follows and `outbox::remove`.
    fn gave_up(&self, outgoing: &Outgoing) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// The worker of one process.
#[derive(Debug)]
pub struct OutboxWorker<H> {
    db: Db,
    client: HttpClient,
    handler: Arc<H>,
    holder: String,
}

impl<H: OutboxHandler> OutboxWorker<H> {
    /// The worker of the replica `holder`, which is [`Common::replica`](crate::config::Common::replica).
    #[must_use]
    pub fn new(db: Db, client: HttpClient, handler: Arc<H>, holder: &str) -> Self {
        Self {
            db,
            client,
            handler,
            holder: holder.to_owned(),
        }
    }

    /// Works until `shutdown`; to be spawned. What it is sending then may still end in time.
    pub async fn run(self, shutdown: CancellationToken) {
        // What this replica was sending when it was killed need not wait for its lease to run out.
        self.release().await;
        let worker = Arc::new(self);
        let mut sending = JoinSet::new();
        while !shutdown.is_cancelled() {
            if let Err(error) = worker.send_due(&mut sending).await {
                tracing::error!(error = %chain(error), "the outbox cannot be read");
            }
            tokio::select! {
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                Some(_) = sending.join_next() => {}
                () = shutdown.cancelled() => {}
            }
        }
        let ended = async { while sending.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_DEADLINE, ended).await.is_err() {
            sending.shutdown().await;
        }
        worker.release().await;
    }

    /// Starts sending what is due, side by side, as far as there is room.
    async fn send_due(self: &Arc<Self>, sending: &mut JoinSet<()>) -> Result<(), StoreError> {
        let room = IN_FLIGHT_MAX.saturating_sub(sending.len());
        let (now_ms, lease_ms) = (clock::now_ms(), millis(LEASE));
        let room = u32::try_from(room).unwrap_or_default();
        if room == 0 {
            return Ok(());
        }
        for outgoing in outbox::lease_due(&self.db, &self.holder, now_ms, lease_ms, room).await? {
            let worker = Arc::clone(self);
            let span = tracing::info_span!("outbox", kind = %outgoing.kind);
            let work = async move { worker.settle(outgoing).await };
            sending.spawn(work.instrument(span));
        }
        Ok(())
    }

    async fn release(&self) {
        let released = async {
            let mut tx = self.db.begin().await?;
            outbox::release_held_by(&mut tx, &self.holder).await?;
            tx.commit().await
        };
        if let Err(error) = released.await {
            tracing::warn!(error = %chain(error), "leases stay until they run out");
        }
    }

    async fn settle(&self, outgoing: Outgoing) {
        let outcome = if outgoing.is_overdue(clock::now_ms()) {
            tracing::warn!(outcome = "gave up", "no answer before the deadline");
            let _at_work = self.db.at_work();
            self.handler.gave_up(&outgoing).await
        } else {
            self.send(&outgoing).await
        };
        let Err(error) = outcome else { return };
        tracing::warn!(error = %chain(error), "not settled; it is tried again later");
        if let Err(error) = self.postpone(&outgoing.id).await {
            // The lease runs out by itself.
            tracing::error!(error = %chain(error), "cannot set the next attempt");
        }
    }

    async fn send(&self, outgoing: &Outgoing) -> anyhow::Result<()> {
        let url = Url::parse(&outgoing.url).context("the outbox holds a malformed URL")?;
        let Some(media_type) = MediaType::from_name(&outgoing.media_type) else {
            bail!("the outbox holds an unknown media type");
        };
        let answer = self
            .client
            .post_set(&url, media_type, outgoing.body.clone())
            .await?;
        let _at_work = self.db.at_work();
        self.handler.answered(outgoing, answer).await
    }

    async fn postpone(&self, id: &str) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        let attempts = outbox::attempts(&mut tx, id).await?.unwrap_or(1);
        let at_ms = clock::now_ms().saturating_add(millis(pause(attempts)));
        outbox::retry_at(&mut tx, id, at_ms).await?;
        tx.commit().await
    }
}

/// The pause before a request is sent again: as [`backoff`] says for a day, and an hour from then on.
#[must_use]
pub fn pause(attempts: u32) -> Duration {
    if attempts > SLOW_AFTER_ATTEMPTS {
        SLOW
    } else {
        backoff(attempts)
    }
}

/// The pause after so many attempts: doubled each time, and between half and all of that, so that
/// requests that failed together do not come back together.
#[must_use]
pub fn backoff(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    let pause = BACKOFF_MIN
        .saturating_mul(2u32.saturating_pow(doublings))
        .min(BACKOFF_MAX);
    let share = u32::from(random::bytes::<1>()[0]);
    pause / 2 + (pause / 2) * share / 255
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn chain(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}
