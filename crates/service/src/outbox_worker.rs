//! Sends what stands in the outbox, the same bytes each time, until answered or out of time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use openset_store::outbox::{self, Outgoing};
use openset_store::{Db, StoreError};
use reqwest::Url;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::client::{CALL_TIMEOUT, HttpClient, SetAnswer};
use crate::set_endpoint::MediaType;
use crate::{clock, random};

/// How long a replica holds what it sends: a call's longest time, and as much again to handle the answer.
pub const LEASE: Duration = CALL_TIMEOUT.saturating_mul(2);
/// How often the outbox is looked at when nobody wakes the worker.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The first pause; each further one doubles, with jitter.
pub const BACKOFF_MIN: Duration = Duration::from_millis(500);
/// The longest pause.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Requests sent at once.
const BATCH_MAX: u32 = 16;

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
    wake: Arc<Notify>,
}

impl<H: OutboxHandler> OutboxWorker<H> {
    /// A worker of this process.
    #[must_use]
    pub fn new(db: Db, client: HttpClient, handler: Arc<H>) -> Self {
        Self {
            db,
            client,
            handler,
            holder: random::hex_id::<8>(),
            wake: Arc::default(),
        }
    }

    /// Under which name it leases; for `outbox::enqueue_leased` of what is sent inline.
    #[must_use]
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Wakes the worker; call `notify_one` after the commit of an `outbox::enqueue`.
    #[must_use]
    pub fn waker(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// Works until `shutdown`; to be spawned. What it is sending then is finished first.
    pub async fn run(self, shutdown: CancellationToken) {
        let worker = Arc::new(self);
        while !shutdown.is_cancelled() {
            let sent = match worker.round().await {
                Ok(sent) => sent,
                Err(error) => {
                    tracing::error!(error = %chain(error.into()), "the outbox cannot be read");
                    0
                }
            };
            // A full batch means that more may be due.
            if sent < BATCH_MAX as usize {
                tokio::select! {
                    () = tokio::time::sleep(POLL_INTERVAL) => {}
                    () = worker.wake.notified() => {}
                    () = shutdown.cancelled() => {}
                }
            }
        }
    }

    /// Sends all that is due, side by side, each in a task that is not cut by a shutdown.
    async fn round(self: &Arc<Self>) -> Result<usize, StoreError> {
        let lease_ms = millis(LEASE);
        let now_ms = clock::now_ms();
        let due = outbox::lease_due(&self.db, &self.holder, now_ms, lease_ms, BATCH_MAX).await?;
        let count = due.len();
        let mut tasks = JoinSet::new();
        for outgoing in due {
            let worker = Arc::clone(self);
            let span = tracing::info_span!("outbox", kind = %outgoing.kind);
            let work = async move { worker.settle(outgoing).await };
            tasks.spawn(work.instrument(span));
        }
        while tasks.join_next().await.is_some() {}
        Ok(count)
    }

    async fn settle(&self, outgoing: Outgoing) {
        let outcome = if outgoing.is_overdue(clock::now_ms()) {
            tracing::warn!(outcome = "gave up", "no answer before the deadline");
            self.handler.gave_up(&outgoing).await
        } else {
            self.send(&outgoing).await
        };
        let Err(error) = outcome else { return };
        tracing::warn!(error = %chain(error), "not settled; it is tried again later");
        if let Err(error) = self.postpone(&outgoing.id).await {
            // The lease runs out by itself.
            tracing::error!(error = %chain(error.into()), "cannot set the next attempt");
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
        self.handler.answered(outgoing, answer).await
    }

    async fn postpone(&self, id: &str) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        let attempts = outbox::attempts(&mut tx, id).await?.unwrap_or(1);
        let at_ms = clock::now_ms().saturating_add(millis(backoff(attempts)));
        outbox::retry_at(&mut tx, id, at_ms).await?;
        tx.commit().await
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

fn chain(error: anyhow::Error) -> String {
    format!("{error:#}")
}
