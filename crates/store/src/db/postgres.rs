//! PostgreSQL's connections, and a transaction that has one to itself.
//!
//! Each statement is a round trip, and that is most of what a purchase costs there. So a connection that comes back is not
//! asked whether it lives, as sqlx's own pool does each time, but when it is next used, at most once a second; and only one
//! whose transaction was dropped is rolled back on its way.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{
    Manager, Metrics, Object, Pool, PoolError, QueueMode, RecycleError, RecycleResult, Timeouts,
};
use sqlx::any::AnyConnectOptions;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::ACQUIRE_TIMEOUT;
use crate::StoreError;

/// Connections of one replica.
const CONNECTIONS_MAX: usize = 8;
/// How soon a connection that was given back must be ready for the next one; otherwise it is closed.
const READY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long after a connection could not be made because the server starts, or has no more, it is tried again...
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// ... and how long at all: short of [`ACQUIRE_TIMEOUT`], so that the reason is told.
const RETRY_FOR: Duration = Duration::from_secs(8);
/// A connection that broke is found so soon, however busy it is kept.
const PING_EVERY: Duration = Duration::from_secs(1);
/// The server keeps something for each statement of a connection; and a replica of a newer version may have altered tables.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(30 * 60);
/// A replica that hangs must not hold the others' locks for ever. Notices are off because a ROLLBACK without a
/// transaction causes one.
const SESSION: &str = "SET client_min_messages = 'error'; SET synchronous_commit = 'on'; \
     SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '30s'";

/// What is long is packed, sealed or random: PostgreSQL would try to compress it, and gain nothing. And a row that fits into a
/// page may stay whole: what is put elsewhere is two pages more to find and to write for each 2000 bytes. One statement for each
/// column that is still compressed, and for each table of such columns whose rows are still split.
const LEAVE_AS_IT_IS: &str = "WITH bytes AS (SELECT a.attrelid::regclass AS name, a.attname, a.attstorage, c.reloptions \
     FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
     WHERE c.relkind = 'r' AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) \
     AND pg_has_role(c.relowner, 'USAGE') AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = 'bytea'::regtype) \
     SELECT format('ALTER TABLE %s ALTER COLUMN %I SET STORAGE EXTERNAL', name, attname) FROM bytes WHERE attstorage = 'x' \
     UNION SELECT format('ALTER TABLE %s SET (toast_tuple_target = 8160)', name) FROM bytes \
     WHERE NOT 'toast_tuple_target=8160' = ANY (COALESCE(reloptions, '{}')) ORDER BY 1";

/// The connections; clones are the same ones.
#[derive(Clone)]
pub(super) struct Postgres {
    pool: Pool<Server>,
    in_use: TaskTracker,
}

/// What connections are made to.
struct Server(AnyConnectOptions);

struct Connected {
    connection: AnyConnection,
    /// By the runtime's clock, which tests put forward; the pool's own is the machine's.
    made_at: Instant,
    lived_at: Instant,
}

impl Manager for Server {
    type Type = Connected;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<Connected, sqlx::Error> {
        let began = Instant::now();
        let mut connection = loop {
            match AnyConnection::connect_with(&self.0).await {
                Err(error) if is_passing(&error) && began.elapsed() < RETRY_FOR => {
                    sleep(RETRY_PAUSE).await;
                }
                made => break made?,
            }
        };
        connection.execute(SESSION).await?;
        let made_at = Instant::now();
        Ok(Connected {
            connection,
            made_at,
            lived_at: made_at,
        })
    }

    async fn recycle(&self, connected: &mut Connected, _: &Metrics) -> RecycleResult<sqlx::Error> {
        if connected.made_at.elapsed() >= CONNECTION_AGE_MAX {
            return Err(RecycleError::message("old"));
        }
        // What is left of a statement that nobody waited for.
        connected.connection.flush().await?;
        if connected.lived_at.elapsed() >= PING_EVERY {
            connected.connection.ping().await?;
            connected.lived_at = Instant::now();
        }
        Ok(())
    }
}

/// For a connection that is closed afterwards.
async fn leave_as_it_is(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    // Whoever waits for the table's lock holds up all who come after.
    connection.execute("SET lock_timeout = '500ms'").await?;
    let statements: Vec<String> = sqlx::query_scalar(LEAVE_AS_IT_IS)
        .fetch_all(&mut *connection)
        .await?;
    for statement in statements {
        // Made by the server of its own names.
        connection.execute(AssertSqlSafe(statement)).await?;
    }
    Ok(())
}

/// Whether a server that could not be connected to may be there in a moment: it starts, or ends, or has no connection left.
fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        sqlx::Error::Database(error) => error.is_transient_in_connect_phase(),
        _ => false,
    }
}

impl Postgres {
    /// Connects when a connection is first asked for.
    pub(super) fn new(options: AnyConnectOptions) -> Self {
        let timeouts = Timeouts {
            recycle: Some(READY_TIMEOUT),
            ..Timeouts::default()
        };
        let pool = Pool::builder(Server(options))
            .max_size(CONNECTIONS_MAX)
            .timeouts(timeouts)
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .build();
        #[expect(clippy::expect_used, reason = "it lacks nothing but a runtime")]
        Self {
            pool: pool.expect("a pool with timeouts has a runtime"),
            in_use: TaskTracker::new(),
        }
    }

    /// A connection that lives, without a transaction.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when none is free in time, or the server cannot be reached.
    pub(super) async fn session(&self) -> Result<Session, StoreError> {
        let in_use = self.in_use.token();
        let connected = timeout(ACQUIRE_TIMEOUT, self.pool.get()).await;
        let connected = connected.map_err(|_| sqlx::Error::PoolTimedOut)?;
        let connected = connected.map_err(|error| match error {
            PoolError::Backend(error) => error,
            PoolError::Closed => sqlx::Error::PoolClosed,
            _ => sqlx::Error::PoolTimedOut,
        })?;
        Ok(Session {
            connected,
            _in_use: in_use,
        })
    }

    /// # Errors
    /// As of [`Postgres::session`].
    pub(super) async fn begin(&self) -> Result<Alone, StoreError> {
        self.begin_with("BEGIN").await
    }

    /// A transaction that only reads, and sees one moment.
    ///
    /// # Errors
    /// As of [`Postgres::session`].
    pub(super) async fn snapshot(&self) -> Result<Alone, StoreError> {
        self.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await
    }

    async fn begin_with(&self, begin: &'static str) -> Result<Alone, StoreError> {
        // Held before it begins: given up half-way, it is rolled back.
        let mut alone = Alone(Some(self.session().await?));
        alone.connection_mut().execute(begin).await?;
        Ok(alone)
    }

    /// On a connection of its own, which is closed again: with it goes the lock that makes replicas wait for each other.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the server cannot be reached; inside, what came of the migrations.
    pub(super) async fn migrate(
        &self,
        migrator: &Migrator,
    ) -> Result<Result<(), MigrateError>, StoreError> {
        let connected = timeout(ACQUIRE_TIMEOUT, self.pool.manager().create()).await;
        let mut connected = connected.map_err(|_| sqlx::Error::PoolTimedOut)??;
        // run() through a reference is not Send for the compiler; this is what it calls.
        let migrated = migrator
            .run_direct(None, &mut connected.connection, false)
            .await;
        if migrated.is_ok()
            && let Err(error) = leave_as_it_is(&mut connected.connection).await
        {
            // Somebody reads a table for long, a backup perhaps. It costs time and no more; the next start tries again.
            tracing::warn!(%error, "PostgreSQL still compresses or splits what is packed or sealed; the next start tries again");
        }
        connected.connection.close().await?;
        Ok(migrated)
    }

    /// Waits for what is under way and closes every connection.
    pub(super) async fn close(&self) {
        let idle = self.pool.retain(|_, _| false).removed;
        self.pool.close();
        for connected in idle {
            // The server may be gone: then there is nothing left to close.
            let _ = connected.connection.close().await;
        }
        self.in_use.close();
        self.in_use.wait().await;
    }
}

/// A connection in use; dropped, it is free for the next one.
pub(super) struct Session {
    connected: Object<Server>,
    /// Goes after the connection went back.
    _in_use: TaskTrackerToken,
}

impl Session {
    /// Closes it: it may have a transaction that nobody knows of.
    fn retire(self) {
        drop(Object::take(self.connected));
    }
}

impl Deref for Session {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.connected.connection
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.connected.connection
    }
}

/// A transaction, or a statement that is one. Dropped, it is rolled back a moment later; its connection goes back after that.
pub(super) struct Alone(Option<Session>);

impl From<Session> for Alone {
    fn from(session: Session) -> Self {
        Self(Some(session))
    }
}

impl Alone {
    /// Lets the connection go, of a statement that has ended.
    pub(super) fn ended(mut self) {
        drop(self.0.take());
    }

    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        self.connection_mut().execute("COMMIT").await?;
        drop(self.0.take());
        Ok(())
    }

    pub(super) async fn rollback(mut self) -> Result<(), StoreError> {
        self.connection_mut().execute("ROLLBACK").await?;
        drop(self.0.take());
        Ok(())
    }

    #[expect(clippy::expect_used, reason = "only its end takes it away")]
    pub(super) fn connection(&self) -> &AnyConnection {
        self.0.as_ref().expect("a transaction has a connection")
    }

    #[expect(clippy::expect_used, reason = "only its end takes it away")]
    pub(super) fn connection_mut(&mut self) -> &mut AnyConnection {
        self.0.as_mut().expect("a transaction has a connection")
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let Some(session) = self.0.take() else {
            return;
        };
        let unfinished = Unfinished(Some(session));
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(unfinished.undo());
        }
    }
}

/// A connection whose transaction was dropped. It goes back once that is rolled back, and not otherwise.
struct Unfinished(Option<Session>);

impl Unfinished {
    async fn undo(mut self) {
        let Some(session) = &mut self.0 else {
            return;
        };
        let undone = timeout(ACQUIRE_TIMEOUT, session.execute("ROLLBACK")).await;
        if matches!(undone, Ok(Ok(_))) {
            drop(self.0.take());
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(session) = self.0.take() {
            session.retire();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{ACQUIRE_TIMEOUT, RETRY_FOR, RETRY_PAUSE};
    use crate::{Db, StoreError, sqlx};

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_not_there_is_waited_for_and_then_named() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        drop(taken);
        let began = tokio::time::Instant::now();
        let refused = Db::open(&format!("postgres://nobody@127.0.0.1:{port}/none"), &[]).await;
        let Err(StoreError::Unavailable(sqlx::Error::Io(error))) = refused else {
            unreachable!("{refused:?}");
        };
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        assert!(began.elapsed() >= RETRY_FOR);
        assert!(began.elapsed() < RETRY_FOR + 2 * RETRY_PAUSE);
        assert!(RETRY_FOR + 2 * RETRY_PAUSE < ACQUIRE_TIMEOUT);
    }
}
