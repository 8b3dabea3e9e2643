//! The journal: a file that only grows, with a line for every change that a restored back-up must not
//! forget: what was certified, revoked and retired, and the CAs with their sealed keys.
//!
//! A line is on the disk before its transaction is committed. So the journal may know of a change that
//! was never made, and never misses one that was. Each line has the digest of itself and of all before it:
//! a line that was cut off by a crash is the last one and is taken away by the next; a journal that was
//! altered, or has lost lines in the middle, is refused.

mod file;

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use openset_jose::Thumbprint;
use openset_pki::authority::RevocationReason;
use openset_service::offload::offload;
use openset_store::{Db, StoreError, Tx};
use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row};

pub(crate) use file::{Entry, Head, JournalError, read};

use crate::error::CaError;
use crate::store::certificates::Origin;
use crate::store::regions::Region;
use file::Tail;

/// The name of the file in the data folder.
pub(crate) const FILE: &str = "journal.log";

/// A change that a restored back-up must not forget. DER and sealed keys are base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Event {
    /// A CA was made.
    Authority(AuthorityMade),
    /// A certificate was issued.
    Certificate {
        authority: String,
        owner: Option<String>,
        certificate: String,
        #[serde(default)]
        origin: Origin,
        at_s: i64,
    },
    /// A CA was retired.
    Retired { id: String, at_s: i64 },
    /// A certificate was revoked.
    Revoked {
        serial: String,
        reason: RevocationReason,
        at_s: i64,
    },
    /// The CRL of a root that is kept offline was taken over.
    Crl { id: String, crl: String },
    /// A region was added or changed.
    Region {
        slug: String,
        name: String,
        bins: Vec<String>,
    },
}

/// A CA as it stands in the journal, with its keys as the vault sealed them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthorityMade {
    pub(crate) id: String,
    pub(crate) place: i64,
    pub(crate) parent: Option<String>,
    pub(crate) series: String,
    pub(crate) generation: i64,
    pub(crate) region: Option<String>,
    pub(crate) certificate: String,
    pub(crate) message_signature: Option<String>,
    pub(crate) key_exchange: Option<String>,
    /// Names in the vault, and what stands there.
    pub(crate) secrets: Vec<(String, String)>,
}

impl From<&Region> for Event {
    fn from(region: &Region) -> Self {
        Self::Region {
            slug: region.slug.clone(),
            name: region.name.clone(),
            bins: region.bins.iter().map(ToString::to_string).collect(),
        }
    }
}

/// One data folder's journal. Processes that share the folder may write to it side by side.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    /// The data folder's name for itself.
    id: String,
    path: PathBuf,
    tail: Arc<Mutex<Tail>>,
}

impl Journal {
    /// Reads the journal of a data folder, or begins one.
    ///
    /// # Errors
    /// When it is damaged, or ends before what the database has seen of it.
    pub(crate) async fn open(data_dir: &Path, id: &str, db: &Db) -> Result<Self, CaError> {
        let path = data_dir.join(FILE);
        let journal = Self {
            id: id.to_owned(),
            tail: Arc::default(),
            path,
        };
        let seen = seen(&mut *db.read().await?, id).await?;
        let (own, id) = (journal.clone(), journal.id.clone());
        offload(move || own.lock().catch_up(&own.path, &id, seen.as_ref())).await?;
        Ok(journal)
    }

    /// Begins a transaction whose changes are journaled.
    pub(crate) async fn begin(&self, db: &Db) -> Result<RecordedTx, StoreError> {
        Ok(RecordedTx {
            tx: db.begin().await?,
            journal: self.clone(),
            events: Vec::new(),
        })
    }

    async fn append(&self, events: Vec<Event>) -> Result<Head, JournalError> {
        let own = self.clone();
        offload(move || own.lock().append(&own.path, &own.id, events)).await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A write transaction that is journaled before it is committed. Dropped, it leaves nothing.
pub(crate) struct RecordedTx {
    tx: Tx,
    journal: Journal,
    events: Vec<Event>,
}

impl RecordedTx {
    /// Notes a change that was made in this transaction.
    pub(crate) fn record(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Writes the journal, then makes all of it durable.
    ///
    /// # Errors
    /// When the journal or the database cannot be written; nothing is changed then.
    pub(crate) async fn commit(mut self) -> Result<(), CaError> {
        let events = std::mem::take(&mut self.events);
        if !events.is_empty() {
            let head = self.journal.append(events).await?;
            put_seen(&mut self.tx, &self.journal.id, &head).await?;
        }
        Ok(self.tx.commit().await?)
    }

    /// Undoes all of it.
    pub(crate) async fn rollback(self) -> Result<(), StoreError> {
        self.tx.rollback().await
    }
}

impl Deref for RecordedTx {
    type Target = Tx;

    fn deref(&self) -> &Tx {
        &self.tx
    }
}

impl DerefMut for RecordedTx {
    fn deref_mut(&mut self) -> &mut Tx {
        &mut self.tx
    }
}

impl std::fmt::Debug for RecordedTx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecordedTx({} events)", self.events.len())
    }
}

/// How far the database has seen a journal.
pub(crate) async fn seen(conn: &mut AnyConnection, id: &str) -> Result<Option<Head>, StoreError> {
    let all = all_seen(conn).await?;
    Ok(all
        .into_iter()
        .find(|(held, _)| held == id)
        .map(|(_, head)| head))
}

/// How far the database has seen each journal.
pub(crate) async fn all_seen(conn: &mut AnyConnection) -> Result<Vec<(String, Head)>, StoreError> {
    let rows = sqlx::query("SELECT id, number, digest FROM journals ORDER BY id")
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            let digest: String = row.try_get(2)?;
            let digest: Thumbprint = digest
                .parse()
                .map_err(|_| StoreError::Corrupt("journals.digest"))?;
            let number = u64::try_from(row.try_get::<i64, _>(1)?)
                .map_err(|_| StoreError::Corrupt("journals.number"))?;
            Ok((row.try_get(0)?, Head { number, digest }))
        })
        .collect()
}

/// Keeps how far a journal has come; an earlier line's transaction may be committed later.
pub(crate) async fn put_seen(tx: &mut Tx, id: &str, head: &Head) -> Result<(), StoreError> {
    let number = i64::try_from(head.number)
        .map_err(|_| StoreError::Conflict("the journal has too many lines"))?;
    sqlx::query(
        "INSERT INTO journals (id, number, digest) VALUES ($1, $2, $3) ON CONFLICT (id) \
         DO UPDATE SET number = excluded.number, digest = excluded.digest \
         WHERE journals.number < excluded.number",
    )
    .bind(id)
    .bind(number)
    .bind(head.digest.to_string())
    .execute(&mut **tx)
    .await?;
    Ok(())
}
