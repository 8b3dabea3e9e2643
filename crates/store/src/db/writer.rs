//! SQLite's one writer, and commits that are shared by all who wait for it.
//!
//! A commit costs a wait for the disk. Under load the transactions that queue for the writer become one transaction of the
//! database, each a savepoint in it: the first of them that is kept sets the end of the queue as it is then, and whoever is
//! reached there commits for all. Nobody's `commit` returns before that, so what was promised is on the disk; alone, a
//! transaction is committed as ever. One that is undone takes nothing of the others with it. Should the database itself
//! give the whole transaction up (a full disk, a lost file), all that waited are told, and nobody's work was kept.

use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};
use tokio::time::timeout;

use super::counted;
use crate::StoreError;

/// The writer; clones are the same one.
#[derive(Clone)]
pub(super) struct Writer {
    pool: AnyPool,
    turn: Arc<Mutex<Turn>>,
}

/// Whoever has it may write. It is handed on in the order in which it was asked for.
#[derive(Default)]
struct Turn {
    /// What the last one left, unless it was ended.
    group: Option<Group>,
    /// Somebody queues to end the group.
    closing: bool,
}

/// A transaction of the database.
struct Group {
    connection: PoolConnection<Any>,
    /// Those whose savepoints were released.
    kept: Vec<oneshot::Sender<Result<(), StoreError>>>,
    /// A member was dropped: what it did is still to be undone.
    abandoned: bool,
    /// The database gave it up, or it is not known whether it did.
    failed: bool,
}

/// A transaction in the group: the whole of it if it is the first.
pub(super) struct Member {
    writer: Writer,
    first: bool,
    ended: bool,
    /// None once it is dropped.
    held: Option<(Group, OwnedMutexGuard<Turn>)>,
}

impl Writer {
    /// Of a pool that has a single connection.
    pub(super) fn new(pool: AnyPool) -> Self {
        Self {
            pool,
            turn: Arc::default(),
        }
    }

    pub(super) async fn begin(&self, patience: Duration) -> Result<Member, StoreError> {
        let turn = timeout(patience, Arc::clone(&self.turn).lock_owned()).await;
        let mut turn = turn.map_err(|_| StoreError::Unavailable(sqlx::Error::PoolTimedOut))?;
        turn.tidy().await;
        let first = turn.group.is_none();
        let group = match turn.group.take() {
            Some(group) => group,
            None => Group {
                connection: self.pool.acquire().await?,
                kept: Vec::new(),
                abandoned: false,
                failed: false,
            },
        };
        // From here on, being dropped undoes what has been begun.
        let mut member = Member {
            writer: self.clone(),
            first,
            ended: false,
            held: Some((group, turn)),
        };
        let begin = if first {
            "BEGIN IMMEDIATE"
        } else {
            "SAVEPOINT member"
        };
        member.run(begin).await?;
        Ok(member)
    }

    /// Ends the group once all have had their turn that queue now.
    fn end_after_queue(&self, runtime: &Handle) {
        let writer = self.clone();
        runtime.spawn(async move {
            let mut turn = writer.turn.lock().await;
            turn.closing = false;
            if let Some(group) = &mut turn.group {
                group.tidy().await;
            }
            if let Some(group) = turn.group.take() {
                group.end().await;
            }
        });
    }
}

impl Turn {
    /// Leaves a group that can be gone on with, or none.
    async fn tidy(&mut self) {
        let Some(group) = &mut self.group else {
            return;
        };
        group.tidy().await;
        if (group.failed || group.kept.is_empty())
            && let Some(group) = self.group.take()
        {
            // On its own: a caller that is dropped meanwhile must not leave the connection half-way.
            let _ = tokio::spawn(group.end()).await;
        }
    }
}

impl Group {
    /// Undoes what an abandoned member did. Without others the whole is undone at the end.
    async fn tidy(&mut self) {
        if self.abandoned && !self.kept.is_empty() {
            let undone = self.undo_member().await;
            self.failed |= undone.is_err();
        }
        self.abandoned = false;
    }

    async fn undo_member(&mut self) -> Result<(), sqlx::Error> {
        self.run("ROLLBACK TO member").await?;
        self.run("RELEASE member").await
    }

    async fn end(mut self) {
        let outcome = if self.failed {
            Err("the database gave the transaction up".to_owned())
        } else if self.kept.is_empty() {
            self.run("ROLLBACK").await.map_err(|e| e.to_string())
        } else {
            self.run("COMMIT").await.map_err(|e| e.to_string())
        };
        if outcome.is_err() {
            // Closed, a connection takes with it whatever was open.
            let _ = self.connection.close().await;
        } else if !self.kept.is_empty() {
            counted::commit();
        }
        for waiting in self.kept {
            let told = outcome
                .clone()
                .map_err(|why| StoreError::Unavailable(sqlx::Error::Protocol(why)));
            // Who no longer waits does not need to know.
            let _ = waiting.send(told);
        }
    }

    async fn run(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        let query = sqlx::query(statement);
        query.execute(&mut *self.connection).await.map(drop)
    }
}

impl Member {
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        if !self.first {
            self.run("RELEASE member").await?;
        }
        let (tell, told) = oneshot::channel();
        if let Some((group, _)) = &mut self.held {
            group.kept.push(tell);
        }
        self.ended = true;
        drop(self);
        let lost = |_| StoreError::Unavailable(sqlx::Error::WorkerCrashed);
        told.await.map_err(lost)?
    }

    /// Takes this member's part back, and nothing else.
    pub(super) async fn rollback(mut self) -> Result<(), StoreError> {
        // The first one's part is the whole, which is undone when the group ends with nothing kept.
        if !self.first
            && let Some((group, _)) = &mut self.held
        {
            let undone = group.undo_member().await;
            group.failed |= undone.is_err();
            undone?;
        }
        self.ended = true;
        Ok(())
    }

    async fn run(&mut self, statement: &'static str) -> Result<(), StoreError> {
        let Some((group, _)) = &mut self.held else {
            return Err(StoreError::Unavailable(sqlx::Error::WorkerCrashed));
        };
        let run = group.run(statement).await;
        if run.is_err() {
            group.failed = true;
            self.ended = true;
        }
        Ok(run?)
    }

    #[expect(clippy::expect_used, reason = "only its drop takes it away")]
    pub(super) fn connection(&self) -> &AnyConnection {
        let (group, _) = self.held.as_ref().expect("a member has the writer");
        &group.connection
    }

    #[expect(clippy::expect_used, reason = "only its drop takes it away")]
    pub(super) fn connection_mut(&mut self) -> &mut AnyConnection {
        let (group, _) = self.held.as_mut().expect("a member has the writer");
        &mut group.connection
    }
}

impl Drop for Member {
    /// Hands the turn on. Whoever has it next, or else the one who ends the group, undoes what was abandoned.
    fn drop(&mut self) {
        let Some((mut group, mut turn)) = self.held.take() else {
            return;
        };
        group.abandoned = !self.ended;
        turn.group = Some(group);
        if turn.closing {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            turn.closing = true;
            drop(turn);
            self.writer.end_after_queue(&runtime);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use tokio::task::yield_now;

    use crate::{Db, Migration, StoreError, Tx, sqlite_url, sqlx};

    const NOTES: Migration = Migration {
        version: 100,
        name: "notes",
        sql: "CREATE TABLE notes (text TEXT NOT NULL PRIMARY KEY)",
    };

    async fn open(folder: &tempfile::TempDir) -> Db {
        let url = sqlite_url(&folder.path().join("notes.db"));
        Db::open(&url, &[NOTES]).await.unwrap()
    }

    async fn write(tx: &mut Tx, text: &str) {
        let insert = sqlx::query("INSERT INTO notes VALUES ($1)").bind(text.to_owned());
        insert.execute(&mut **tx).await.unwrap();
    }

    async fn read(db: &Db) -> Vec<String> {
        let select = sqlx::query_scalar("SELECT text FROM notes ORDER BY text");
        select
            .fetch_all(&mut *db.read().await.unwrap())
            .await
            .unwrap()
    }

    /// Begins as soon as it may, and gives the transaction.
    fn queue(db: &Db) -> tokio::task::JoinHandle<Tx> {
        let db = db.clone();
        tokio::spawn(async move { db.begin().await.unwrap() })
    }

    #[tokio::test]
    async fn who_queued_shares_the_commit_and_who_is_undone_takes_nothing_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let db = open(&folder).await;
        let mut first = db.begin().await.unwrap();
        write(&mut first, "first").await;
        let (second, third, fourth) = (queue(&db), queue(&db), queue(&db));
        yield_now().await;
        let first = tokio::spawn(first.commit());

        let mut second = second.await.unwrap();
        write(&mut second, "second").await;
        assert!(!first.is_finished(), "a commit waits for those who queued");
        assert!(read(&db).await.is_empty(), "and shows nothing before");
        drop(second);
        let mut third = third.await.unwrap();
        write(&mut third, "third").await;
        third.rollback().await.unwrap();
        let mut fourth = fourth.await.unwrap();
        write(&mut fourth, "fourth").await;
        fourth.commit().await.unwrap();
        first.await.unwrap().unwrap();
        assert_eq!(read(&db).await, ["first", "fourth"]);
    }

    #[tokio::test]
    async fn when_the_database_gives_the_whole_up_everybody_is_told_and_the_next_one_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let db = open(&folder).await;
        let mut first = db.begin().await.unwrap();
        write(&mut first, "first").await;
        let (second, third) = (queue(&db), queue(&db));
        yield_now().await;
        let first = tokio::spawn(first.commit());
        let mut second = second.await.unwrap();
        // As SQLite does of itself when the disk is full.
        sqlx::query("ROLLBACK").execute(&mut *second).await.unwrap();
        assert!(second.commit().await.is_err());
        let told = first.await.unwrap();
        assert!(matches!(told, Err(StoreError::Unavailable(_))), "{told:?}");
        let mut third = third.await.unwrap();
        write(&mut third, "third").await;
        third.commit().await.unwrap();
        assert_eq!(read(&db).await, ["third"]);
    }

    #[tokio::test]
    async fn a_beginning_that_is_given_up_leaves_the_queue_whole() {
        let folder = tempfile::tempdir().unwrap();
        let db = open(&folder).await;
        for patience in 0..40 {
            let first = queue(&db);
            // Given up in the queue, or in the middle of its first statement.
            let given_up = tokio::time::timeout(Duration::from_micros(patience * 10), db.begin());
            drop(given_up.await);
            let mut first = first.await.unwrap();
            write(&mut first, &format!("{patience:02}")).await;
            first.commit().await.unwrap();
        }
        assert_eq!(read(&db).await.len(), 40);
    }
}
