//! The database itself: opening, migrating, reading, and the one kind of write transaction.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{MigrateError, Migration as SqlxMigration, MigrationType, Migrator};
use sqlx::{AnyConnection, AnyPool, Connection, Executor, SqlSafeStr, SqliteConnection};

use crate::StoreError;
use crate::packed::Packer;
use crate::sqlite::install_database_drivers;
pub use draft::Draft;
use postgres::{Alone, Postgres};
use reading::{Read, Seen};
pub use reading::{Reader, Snapshot};
pub use writer::{AtWork, is_one_alone_at_work};
use writer::{Member, Writer};

mod counted;
mod draft;
mod postgres;
mod reading;
mod writer;

pub use counted::{commits, transactions};

/// Readers beside SQLite's one writer. Each costs about a megabyte of page cache.
const SQLITE_READERS_MAX: u32 = 3;
/// How long a caller waits for a connection before the database counts as unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// The first version that belongs to a party; below are the store's own.
const PARTY_VERSION_MIN: i64 = 100;

/// Every page is on the disk before COMMIT returns (FULL), also after a power failure.
const SQLITE_WRITER: &str = "PRAGMA journal_mode = WAL; \
     PRAGMA synchronous = FULL; PRAGMA cache_size = -4096; \
     PRAGMA wal_autocheckpoint = 4000; PRAGMA temp_store = MEMORY; \
     PRAGMA journal_size_limit = 16777216";
const SQLITE_READER: &str = "PRAGMA cache_size = -512; PRAGMA query_only = ON";
/// A step that brings the tables to a newer shape. Applied once, in order of version, never altered.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Unique; 1 to 99 are the store's own, a party's begin at 100.
    pub version: i64,
    /// A few words for the reader of the migrations table.
    pub name: &'static str,
    /// Statements that SQLite and PostgreSQL both understand: TEXT, BIGINT, BYTEA.
    pub sql: &'static str,
}

/// What every party has.
const SHARED: [Migration; 10] = [
    Migration {
        version: 1,
        name: "exchanges",
        sql: include_str!("../migrations/0001_exchanges.sql"),
    },
    Migration {
        version: 2,
        name: "outbox",
        sql: include_str!("../migrations/0002_outbox.sql"),
    },
    Migration {
        version: 3,
        name: "idempotency",
        sql: include_str!("../migrations/0003_idempotency.sql"),
    },
    Migration {
        version: 4,
        name: "vault",
        sql: include_str!("../migrations/0004_vault.sql"),
    },
    Migration {
        version: 5,
        name: "ledger",
        sql: include_str!("../migrations/0005_ledger.sql"),
    },
    Migration {
        version: 6,
        name: "crls",
        sql: include_str!("../migrations/0006_crls.sql"),
    },
    Migration {
        version: 7,
        name: "brand_crl_identifiers",
        sql: include_str!("../migrations/0007_brand_crl_identifiers.sql"),
    },
    Migration {
        version: 8,
        name: "samples",
        sql: include_str!("../migrations/0008_samples.sql"),
    },
    Migration {
        version: 9,
        name: "decoded",
        sql: include_str!("../migrations/0009_decoded.sql"),
    },
    Migration {
        version: 10,
        name: "exchanges by RRPID",
        sql: include_str!("../migrations/0010_exchanges_by_rrpid.sql"),
    },
];

/// Which database a [`Db`] speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// One file, one process.
    Sqlite,
    /// A server that several replicas share.
    Postgres,
}

/// An open database with all migrations applied. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    connections: Connections,
    packer: Arc<Packer>,
}

#[derive(Clone)]
enum Connections {
    Sqlite {
        /// The one that writes, and who has it: commits are shared.
        writers: AnyPool,
        writer: Writer,
        readers: AnyPool,
    },
    /// PostgreSQL shares commits itself.
    Postgres(Postgres),
}

impl fmt::Debug for Db {
    /// Without the URL: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db")
            .field("backend", &self.backend())
            .finish_non_exhaustive()
    }
}

impl Db {
    /// Opens the database, creates a SQLite file that is not there, and applies the store's and the
    /// party's migrations that are missing.
    ///
    /// # Errors
    /// [`StoreError::Url`], [`StoreError::Unavailable`], or a migration that does not fit.
    pub async fn open(url: &str, party: &[Migration]) -> Result<Self, StoreError> {
        install_database_drivers();
        let migrator = migrator(party)?;
        let connections = match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => open_sqlite(url).await?,
            Some("postgres" | "postgresql") => Connections::Postgres(Postgres::new(options(url)?)),
            _ => return Err(StoreError::Url("unknown scheme".to_owned())),
        };
        let db = Self {
            connections,
            packer: Arc::default(),
        };
        db.migrate(&migrator, url).await?;
        db.packer.load(&mut *db.read().await?).await?;
        Ok(db)
    }

    /// On PostgreSQL an advisory lock makes replicas wait for each other. SQLite has none: there
    /// the writer's lock does it, and each migration is a savepoint in it.
    async fn migrate(&self, migrator: &Migrator, url: &str) -> Result<(), StoreError> {
        let migrated = match &self.connections {
            Connections::Sqlite { .. } => migrate_sqlite(migrator, url).await?,
            Connections::Postgres(postgres) => postgres.migrate(migrator).await?,
        };
        migrated.map_err(|error| match error {
            MigrateError::Execute(error) => error.into(),
            other => StoreError::Migration(other),
        })
    }

    /// Which database this is.
    #[must_use]
    pub fn backend(&self) -> Backend {
        match self.connections {
            Connections::Sqlite { .. } => Backend::Sqlite,
            Connections::Postgres(_) => Backend::Postgres,
        }
    }

    /// A connection to read with, outside any transaction, and none may be begun on it: see [`Db::snapshot`]. On SQLite it
    /// refuses to write. Do not ask for one while holding a [`Tx`]: read through that instead.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when none is free in time.
    pub async fn read(&self) -> Result<Reader, StoreError> {
        self.settled().await?;
        let inner = match &self.connections {
            Connections::Sqlite { readers, .. } => Read::Sqlite(readers.acquire().await?),
            Connections::Postgres(postgres) => Read::Postgres(postgres.session().await?),
        };
        Ok(Reader::from(inner))
    }

    /// A transaction that only reads: several statements see one moment.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when no connection is free in time.
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.settled().await?;
        let inner = match &self.connections {
            // In WAL mode any transaction that reads sees one moment.
            Connections::Sqlite { readers, .. } => {
                Seen::Sqlite(readers.begin_with("BEGIN DEFERRED").await?)
            }
            Connections::Postgres(postgres) => Seen::Postgres(postgres.snapshot().await?),
        };
        Ok(Snapshot::from(inner))
    }

    /// Waits until everything is on the disk that a transaction which was dropped may have seen of others. Whatever comes of
    /// what it saw, an answer above all, must not leave the process before.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the database gave up what was seen: it never was.
    pub async fn settled(&self) -> Result<(), StoreError> {
        match self.writer() {
            Some(writer) => writer.settled().await,
            None => Ok(()),
        }
    }

    /// Says that somebody is at work until the returned value is dropped. With many at work commits wait a few milliseconds for
    /// each other, so that they can be one.
    #[must_use]
    pub fn at_work(&self) -> AtWork {
        AtWork::with(self.writer())
    }

    fn writer(&self) -> Option<&Writer> {
        match &self.connections {
            Connections::Sqlite { writer, .. } => Some(writer),
            Connections::Postgres(_) => None,
        }
    }

    /// Begins a write transaction. On SQLite it is the only one at a time, so it must be short and
    /// never wait for a network call, nor for anything that another transaction's end brings: that may
    /// need this one's end first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when none can be begun in time.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        let inner = match &self.connections {
            Connections::Sqlite { writer, .. } => {
                Inner::Member(writer.begin(ACQUIRE_TIMEOUT).await?)
            }
            Connections::Postgres(postgres) => Inner::Alone(postgres.begin().await?),
        };
        Ok(Tx {
            inner,
            half_done: None,
            refused: None,
            packer: Arc::clone(&self.packer),
        })
    }

    /// What makes values of this database short.
    #[must_use]
    pub fn packer(&self) -> &Packer {
        &self.packer
    }

    /// Waits for what is under way and closes every connection.
    pub async fn close(&self) {
        match &self.connections {
            Connections::Sqlite {
                writers, readers, ..
            } => {
                readers.close().await;
                writers.close().await;
            }
            Connections::Postgres(postgres) => postgres.close().await,
        }
    }
}

/// A write transaction. Dropped without [`Tx::commit`] it leaves nothing.
pub struct Tx {
    inner: Inner,
    half_done: Option<&'static str>,
    /// Why it cannot be committed any more.
    refused: Option<&'static str>,
    packer: Arc<Packer>,
}

enum Inner {
    Alone(Alone),
    Member(Member),
}

impl Inner {
    async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Alone(alone) => {
                alone.commit().await?;
                counted::commit();
            }
            Self::Member(member) => member.commit().await?,
        }
        counted::transaction();
        Ok(())
    }

    async fn rollback(self) -> Result<(), StoreError> {
        match self {
            Self::Alone(alone) => alone.rollback().await,
            Self::Member(member) => member.rollback().await,
        }
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tx")
    }
}

impl Tx {
    /// Makes all of it durable, at once.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a step inside was refused half-way (nothing is kept), or the
    /// database's own failure. After [`StoreError::Unavailable`] it is unknown whether the
    /// transaction was kept: ask again by its key.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.commit_with(Vec::new()).await
    }

    /// Undoes all of it now, where dropping would do so a moment later.
    ///
    /// # Errors
    /// The database's own failure; nothing is kept then either.
    pub async fn rollback(self) -> Result<(), StoreError> {
        self.inner.rollback().await
    }

    /// What makes values of this database short.
    #[must_use]
    pub fn packer(&self) -> &Packer {
        &self.packer
    }

    /// What a SELECT in this transaction ends with, so that nobody else changes the rows before it is over: nothing on SQLite,
    /// where nobody writes beside it.
    #[must_use]
    pub fn for_update(&self) -> &'static str {
        match self.inner {
            // As an UPDATE of no key does: rows of other tables may still refer to it.
            Inner::Alone(_) => " FOR NO KEY UPDATE",
            Inner::Member(_) => "",
        }
    }

    /// From now on [`Tx::commit`] refuses with this reason, until [`Tx::step_done`]. So a step of
    /// several statements that fails or is cancelled half-way cannot be committed by mistake.
    pub(crate) fn step_begun(&mut self, reason: &'static str) -> Step {
        Step(self.half_done.replace(reason))
    }

    /// Ends a step; what was refused before it stays refused.
    pub(crate) fn step_done(&mut self, step: &Step) {
        self.half_done = step.0;
    }
}

/// A step of several statements inside a [`Tx`].
#[must_use]
pub(crate) struct Step(Option<&'static str>);

impl Deref for Tx {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        match &self.inner {
            Inner::Alone(alone) => alone.connection(),
            Inner::Member(member) => member.connection(),
        }
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        match &mut self.inner {
            Inner::Alone(alone) => alone.connection_mut(),
            Inner::Member(member) => member.connection_mut(),
        }
    }
}

/// The URL of a SQLite file, with the characters escaped that mean something in a URL.
#[must_use]
pub fn sqlite_url(path: &Path) -> String {
    let mut url = String::from("sqlite://");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                url.push(char::from(*byte));
            }
            other => url.push_str(&format!("%{other:02X}")),
        }
    }
    url
}

fn migrator(party: &[Migration]) -> Result<Migrator, StoreError> {
    let mut all = SHARED.to_vec();
    for migration in party {
        let doubled = all.iter().any(|held| held.version == migration.version);
        if doubled || migration.version < PARTY_VERSION_MIN {
            return Err(StoreError::MigrationVersion(migration.version));
        }
        all.push(*migration);
    }
    let steps = all.into_iter().map(|migration| {
        SqlxMigration::new(
            migration.version,
            migration.name.into(),
            MigrationType::Simple,
            migration.sql.into_sql_str(),
            false,
        )
    });
    Ok(Migrator::with_migrations(steps.collect()))
}

fn options(url: &str) -> Result<AnyConnectOptions, StoreError> {
    url.parse()
        .map_err(|error: sqlx::Error| StoreError::Url(error.to_string()))
}

/// By sqlx's own driver, which alone knows how; its connection is closed again.
async fn migrate_sqlite(
    migrator: &Migrator,
    url: &str,
) -> Result<Result<(), MigrateError>, StoreError> {
    let mut connection = SqliteConnection::connect(url).await?;
    connection.execute("PRAGMA synchronous = FULL").await?;
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    // run() through a reference is not Send for the compiler; this is what it calls.
    let migrated = migrator.run_direct(None, &mut *tx, false).await;
    if migrated.is_ok() {
        tx.commit().await?;
    } else {
        tx.rollback().await?;
    }
    connection.close().await?;
    Ok(migrated)
}

async fn open_sqlite(url: &str) -> Result<Connections, StoreError> {
    let separator = if url.contains('?') { '&' } else { '?' };
    let create = options(&format!("{url}{separator}mode=rwc"))?;
    // One writer: BEGIN IMMEDIATE would make the others wait in any case.
    let writers = AnyPoolOptions::new()
        .max_connections(1)
        .min_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute(SQLITE_WRITER).await.map(drop) })
        })
        .connect_with(create)
        .await?;
    keep_from_other_users(&writers).await?;
    let readers = AnyPoolOptions::new()
        .max_connections(SQLITE_READERS_MAX)
        .min_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute(SQLITE_READER).await.map(drop) })
        })
        .connect_with(options(url)?)
        .await?;
    Ok(Connections::Sqlite {
        writer: Writer::new(writers.clone()),
        writers,
        readers,
    })
}

/// The file, its log and its index are for the service's own user: what is not sealed in them is
/// still nobody else's business. SQLite gives files that it makes later the mode of the first.
async fn keep_from_other_users(writers: &AnyPool) -> Result<(), StoreError> {
    #[cfg(unix)]
    {
        use std::fs::{Permissions, set_permissions};
        use std::os::unix::fs::PermissionsExt;

        let file: String =
            sqlx::query_scalar("SELECT file FROM pragma_database_list WHERE name = 'main'")
                .fetch_one(writers)
                .await?;
        for suffix in ["", "-wal", "-shm"] {
            match set_permissions(format!("{file}{suffix}"), Permissions::from_mode(0o600)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::Unavailable(sqlx::Error::Io(error)));
                }
                _ => {}
            }
        }
    }
    Ok(())
}
