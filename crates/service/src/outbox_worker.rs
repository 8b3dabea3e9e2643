//! Sends what stands in the outbox, the same bytes each time, until answered or out of time.

use std::future::Future;
use std::sync::Arc;

use openset_store::Db;
use openset_store::outbox::Outgoing;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::client::{HttpClient, SetAnswer};

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

/// The worker; clones share it.
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
            holder: crate::random::hex_id::<8>(),
            wake: Arc::default(),
        }
    }

    /// Under which name it leases; for `outbox::enqueue_leased` of what is sent inline.
    #[must_use]
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Wakes the worker; call it after the commit of an `outbox::enqueue`.
    #[must_use]
    pub fn waker(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// Works until `shutdown`; to be spawned.
    #[expect(clippy::unused_async, reason = "skeleton")]
    pub async fn run(self, shutdown: CancellationToken) {
        let _ = (&self.db, &self.client, &self.handler, shutdown);
    }
}
