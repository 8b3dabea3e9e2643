//! Transactions that decide first, and tell at their end what they write.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use sqlx::AnyConnection;

use super::postgres::{Alone, Session};
use super::writer::Member;
use super::{ACQUIRE_TIMEOUT, Connections, Db, Inner, Tx, counted};
use crate::packed::Packer;
use crate::write::{Write, run_all};
use crate::{Backend, StoreError};

/// A transaction that has only read so far, and writes all that it writes at its end, or nothing.
///
/// On SQLite nobody else writes meanwhile. On PostgreSQL it holds nothing: what was read may have changed when it is committed,
/// so each [`Write`] must say what it counts on. For that nothing but the end costs a round trip there, and nobody waits for
/// another.
pub struct Draft {
    inner: Drafted,
    packer: Arc<Packer>,
}

enum Drafted {
    Turn(Member),
    Session(Session),
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Draft")
    }
}

impl Db {
    /// Begins a transaction that decides first. On SQLite the caution of [`Db::begin`] applies.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when none can be begun in time.
    pub async fn draft(&self) -> Result<Draft, StoreError> {
        let inner = match &self.connections {
            Connections::Sqlite { writer, .. } => {
                Drafted::Turn(writer.begin(ACQUIRE_TIMEOUT).await?)
            }
            Connections::Postgres(postgres) => Drafted::Session(postgres.session().await?),
        };
        Ok(Draft {
            inner,
            packer: Arc::clone(&self.packer),
        })
    }

    /// A transaction of these alone.
    ///
    /// # Errors
    /// As of [`Draft::commit`].
    pub async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        self.draft().await?.commit(writes).await
    }
}

impl Draft {
    /// Writes all of them, in their order, and makes them durable at once.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] with the reason of the first that did not do what it must: then nothing is kept. After
    /// [`StoreError::Unavailable`] it is unknown whether the transaction was kept: ask again by its key.
    pub async fn commit(self, mut writes: Vec<Write>) -> Result<(), StoreError> {
        let session = match self.inner {
            Drafted::Turn(member) => {
                let tx = Tx {
                    inner: Inner::Member(member),
                    half_done: None,
                    refused: None,
                    packer: self.packer,
                };
                return tx.commit_with(writes).await;
            }
            Drafted::Session(session) => session,
        };
        let samples = self.packer.take_offers();
        writes.extend(samples.writes());
        if writes.is_empty() {
            return Ok(());
        }
        // A statement outside any transaction is one. If it is given up half-way, its connection goes on with nothing else
        // before it has ended.
        let mut alone = Alone::from(session);
        let ran = run_all(alone.connection_mut(), Backend::Postgres, writes).await;
        alone.ended();
        ran?;
        counted::commit();
        counted::transaction();
        samples.committed();
        Ok(())
    }
}

impl Deref for Draft {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        match &self.inner {
            Drafted::Turn(member) => member.connection(),
            Drafted::Session(session) => session,
        }
    }
}

/// To read with: what is written so is in no transaction.
impl DerefMut for Draft {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        match &mut self.inner {
            Drafted::Turn(member) => member.connection_mut(),
            Drafted::Session(session) => session,
        }
    }
}

impl Inner {
    fn backend(&self) -> Backend {
        match self {
            Self::Alone(_) => Backend::Postgres,
            Self::Member(_) => Backend::Sqlite,
        }
    }
}

impl Tx {
    /// Writes at once what could wait for the end.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it does not do what it must: then the transaction cannot be committed any more.
    pub async fn write(&mut self, write: Write) -> Result<(), StoreError> {
        let written = write.run(&mut *self).await;
        if let Err(StoreError::Conflict(reason)) = &written {
            self.refused.get_or_insert(reason);
        }
        written
    }

    /// Writes all of these, in their order, and makes the whole durable at once.
    ///
    /// # Errors
    /// As of [`Tx::commit`] and [`Draft::commit`].
    pub async fn commit_with(mut self, mut writes: Vec<Write>) -> Result<(), StoreError> {
        if let Some(reason) = self.refused.or(self.half_done) {
            self.inner.rollback().await?;
            return Err(StoreError::Conflict(reason));
        }
        let samples = self.packer.take_offers();
        writes.extend(samples.writes());
        let backend = self.inner.backend();
        if let Err(error) = run_all(&mut self, backend, writes).await {
            if let StoreError::Conflict(_) = error {
                // Free before the caller goes on, and what was seen of others is on the disk.
                self.inner.rollback().await?;
            }
            return Err(error);
        }
        self.inner.commit().await?;
        samples.committed();
        Ok(())
    }
}
