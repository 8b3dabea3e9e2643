//! SQLite's one writer, and commits that are shared by all who wait for it.
//!
//! A commit costs a wait for the disk. Under load the transactions that queue for the writer become one transaction of the
//! database, each a savepoint in it: the first of them that is kept sets the end of the queue as it is then, and whoever is
//! reached there commits for all. Nobody's `commit` returns before that, so what was promised is on the disk; alone, a
//! transaction is committed as ever. One that is undone takes nothing of the others with it. Should the database itself
//! give the whole transaction up (a full disk, a lost file), all that waited are told, and nobody's work was kept.
//!
//! A member sees what earlier members did before it is on the disk. So whoever saw it waits, too, before anything comes of
//! it: `rollback` returns when `commit` would; and where a member was dropped, which cannot wait, [`Writer::settled`] does,
//! which every reader and every answer of a service goes through ([`crate::Db::settled`]).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use sqlx::{Any, AnyConnection, AnyPool, Transaction};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::counted;
use crate::StoreError;

/// With at least so many at work a commit waits for others to share it...
const BUSY: usize = 8;
/// ... as long as this: little to each of so many, and every commit that is spared is processor time for one of them.
const SHARING: Duration = Duration::from_millis(4);

/// How many are at work in this process, whatever database they use.
static AT_WORK: AtomicUsize = AtomicUsize::new(0);
/// When two were last at work together, in milliseconds of this process; 0 before any were.
static TOGETHER_AT_MS: AtomicU64 = AtomicU64::new(0);
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
/// Whoever was not alone so recently will not be for long: with many short requests it is chance that one is.
const ALONE_AFTER_MS: u64 = 100;

/// Whether just one is at work, and has been for a while, as far as is seen.
fn is_one_at_work() -> bool {
    let together_at_ms = TOGETHER_AT_MS.load(Ordering::Relaxed);
    let is_long_ago = || now_ms().saturating_sub(together_at_ms) >= ALONE_AFTER_MS;
    AT_WORK.load(Ordering::Relaxed) == 1 && (together_at_ms == 0 || is_long_ago())
}

/// Whether just one is at work, and has been for a while. What takes about a millisecond holds nobody up then, and is sooner
/// done where it is than by another thread. Whoever has come meanwhile is let in first: while a thread is kept busy with such
/// work, nobody else is seen.
pub async fn is_one_alone_at_work() -> bool {
    if is_one_at_work() {
        tokio::task::yield_now().await;
    }
    is_one_at_work()
}

fn now_ms() -> u64 {
    // Never 0, which stands for never.
    u64::try_from(BEGAN.elapsed().as_millis())
        .unwrap_or(u64::MAX)
        .saturating_add(1)
}

/// The writer; clones are the same one.
#[derive(Clone)]
pub(super) struct Writer {
    pool: AnyPool,
    turn: Arc<Mutex<Turn>>,
    groups: Arc<Groups>,
    at_work: Arc<AtomicUsize>,
}

/// Somebody at work who may soon write; until it is dropped.
#[derive(Debug)]
pub struct AtWork(Option<Arc<AtomicUsize>>);

impl AtWork {
    pub(super) fn with(writer: Option<&Writer>) -> Self {
        if AT_WORK.fetch_add(1, Ordering::Relaxed) > 0 {
            TOGETHER_AT_MS.store(now_ms(), Ordering::Relaxed);
        }
        let at_work = writer.map(|writer| Arc::clone(&writer.at_work));
        if let Some(at_work) = &at_work {
            at_work.fetch_add(1, Ordering::Relaxed);
        }
        Self(at_work)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        if AT_WORK.fetch_sub(1, Ordering::Relaxed) > 1 {
            TOGETHER_AT_MS.store(now_ms(), Ordering::Relaxed);
        }
        if let Some(at_work) = &self.0 {
            at_work.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What is known of the groups, by their numbers.
struct Groups {
    /// The last one that was begun.
    begun: AtomicU64,
    /// The last one in which a member was dropped that may have seen others' work.
    seen: AtomicU64,
    ended: watch::Sender<Ended>,
}

#[derive(Clone, Copy, Default)]
struct Ended {
    last: u64,
    /// The last one that was given up although members had been kept.
    given_up: u64,
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
    number: u64,
    groups: Arc<Groups>,
    transaction: Transaction<'static, Any>,
    /// Whether a savepoint was released.
    any_kept: bool,
    /// Those who wait for its end.
    waiting: Vec<oneshot::Sender<Result<(), StoreError>>>,
    /// A member was dropped: what it did is still to be undone.
    abandoned: bool,
    /// The database gave it up, or it is not known whether it did.
    failed: bool,
}

/// In which thread the disk is waited for.
#[derive(Clone, Copy)]
enum Place {
    Here,
    Elsewhere,
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
            groups: Arc::new(Groups {
                begun: AtomicU64::new(0),
                seen: AtomicU64::new(0),
                ended: watch::Sender::new(Ended::default()),
            }),
            at_work: Arc::default(),
        }
    }

    /// Waits until everything that a dropped transaction may have seen is on the disk.
    pub(super) async fn settled(&self) -> Result<(), StoreError> {
        let seen = self.groups.seen.load(Ordering::Acquire);
        if self.groups.ended.borrow().last >= seen {
            return Ok(());
        }
        let mut ended = self.groups.ended.subscribe();
        let ended = ended.wait_for(|ended| ended.last >= seen).await;
        match ended.map(|ended| ended.given_up) {
            Ok(given_up) if given_up < seen => Ok(()),
            _ => Err(gave_up("the database gave a transaction up".to_owned())),
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
                transaction: self.pool.begin_with("BEGIN IMMEDIATE").await?,
                number: self.groups.begun.fetch_add(1, Ordering::Relaxed) + 1,
                groups: Arc::clone(&self.groups),
                any_kept: false,
                waiting: Vec::new(),
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
        if !first {
            member.run("SAVEPOINT member").await?;
        }
        Ok(member)
    }

    /// Ends the group once all have had their turn that queue now.
    fn end_after_queue(&self, runtime: &Handle) {
        let writer = self.clone();
        runtime.spawn(async move {
            if writer.at_work.load(Ordering::Relaxed) >= BUSY {
                sleep(SHARING).await;
            }
            let mut turn = writer.turn.lock().await;
            turn.closing = false;
            if let Some(group) = &mut turn.group {
                group.tidy().await;
            }
            if let Some(group) = turn.group.take() {
                // Whoever waits is told.
                let _ = group.end(Place::Elsewhere).await;
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
        if (group.failed || !group.any_kept)
            && let Some(group) = self.group.take()
        {
            // On its own: a caller that is dropped meanwhile must not leave the connection half-way.
            let _ = tokio::spawn(group.end(Place::Elsewhere)).await;
        }
    }
}

impl Group {
    /// Undoes what an abandoned member did. Without others the whole is undone at the end.
    async fn tidy(&mut self) {
        if self.abandoned && self.any_kept {
            let undone = self.undo_member().await;
            self.failed |= undone.is_err();
        }
        self.abandoned = false;
    }

    async fn undo_member(&mut self) -> Result<(), sqlx::Error> {
        self.run("ROLLBACK TO member").await?;
        self.run("RELEASE member").await
    }

    /// In place it is not cancelled half-way: it never waits.
    async fn end(mut self, place: Place) -> Result<(), StoreError> {
        let outcome = if self.failed {
            // Dropped, it undoes what the database has not undone itself.
            drop(self.transaction);
            Err("the database gave the transaction up".to_owned())
        } else if self.any_kept {
            let kept = match place {
                // As a statement, which runs where it is awaited; dropped, the transaction finds nothing to undo.
                Place::Here => {
                    let kept = self.run("COMMIT").await;
                    drop(self.transaction);
                    kept
                }
                Place::Elsewhere => self.transaction.commit().await,
            };
            kept.map_err(|error| error.to_string())
        } else {
            let undone = self.transaction.rollback().await;
            undone.map_err(|error| error.to_string())
        };
        if outcome.is_ok() && self.any_kept {
            counted::commit();
        }
        let (number, lost) = (self.number, outcome.is_err() && self.any_kept);
        self.groups.ended.send_modify(|ended| {
            ended.last = number;
            if lost {
                ended.given_up = number;
            }
        });
        for waiting in self.waiting {
            // Who no longer waits does not need to know.
            let _ = waiting.send(outcome.clone().map_err(gave_up));
        }
        outcome.map_err(gave_up)
    }

    async fn run(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        let query = sqlx::query(statement);
        query.execute(&mut *self.transaction).await.map(drop)
    }
}

fn gave_up(why: String) -> StoreError {
    StoreError::Unavailable(sqlx::Error::Protocol(why))
}

impl Member {
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        if !self.first {
            self.run("RELEASE member").await?;
        }
        if let Some((group, _)) = &mut self.held {
            group.any_kept = true;
        }
        self.ended = true;
        self.end_of_group().await
    }

    /// Hands the turn on and waits; or ends the group, if nobody else is at work who could share it.
    async fn end_of_group(mut self) -> Result<(), StoreError> {
        if is_one_alone_at_work().await
            && let Some((group, turn)) = self.held.take()
        {
            let ended = group.end(Place::Here).await;
            drop(turn);
            return ended;
        }
        let (tell, told) = oneshot::channel();
        if let Some((group, _)) = &mut self.held {
            group.waiting.push(tell);
        }
        drop(self);
        let lost = |_| StoreError::Unavailable(sqlx::Error::WorkerCrashed);
        told.await.map_err(lost)?
    }

    /// Takes this member's part back, and nothing else. What it saw of others is on the disk when this returns.
    pub(super) async fn rollback(mut self) -> Result<(), StoreError> {
        if !self.first
            && let Some((group, _)) = &mut self.held
        {
            let undone = group.undo_member().await;
            group.failed |= undone.is_err();
            undone?;
        }
        // The first one's part is the whole, which is undone when the group ends with nothing kept.
        self.ended = true;
        self.end_of_group().await
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
        &group.transaction
    }

    #[expect(clippy::expect_used, reason = "only its drop takes it away")]
    pub(super) fn connection_mut(&mut self) -> &mut AnyConnection {
        let (group, _) = self.held.as_mut().expect("a member has the writer");
        &mut group.transaction
    }
}

impl Drop for Member {
    /// Hands the turn on. Whoever has it next, or else the one who ends the group, undoes what was abandoned.
    fn drop(&mut self) {
        let Some((mut group, mut turn)) = self.held.take() else {
            return;
        };
        group.abandoned = !self.ended;
        if !self.ended && !self.first {
            group.groups.seen.fetch_max(group.number, Ordering::AcqRel);
        }
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
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use std::time::Duration;

    use tokio::task::yield_now;
    use tokio::time::{sleep, timeout};

    use super::{ALONE_AFTER_MS, BUSY, SHARING, is_one_at_work};
    use crate::db::Inner;
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

    /// Whether it shares its commit with one that was there before.
    fn shares(tx: &Tx) -> bool {
        matches!(&tx.inner, Inner::Member(member) if !member.first)
    }

    /// How many are at work is counted for the whole process: one test at a time.
    static ONE_TEST: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    #[tokio::test(start_paused = true)]
    async fn one_at_work_waits_for_nobody_and_many_wait_for_each_other() {
        let _one_test = ONE_TEST.lock().await;
        let folder = tempfile::tempdir().unwrap();
        let db = open(&folder).await;
        let mut at_work = vec![db.at_work()];
        let mut first = db.begin().await.unwrap();
        write(&mut first, "alone").await;
        let second = queue(&db);
        yield_now().await;
        let kept = timeout(Duration::from_secs(9), first.commit()).await;
        kept.expect("it waits for who queued").unwrap();
        assert_eq!(read(&db).await, ["alone"]);
        let second = second.await.unwrap();
        assert!(!shares(&second));
        second.rollback().await.unwrap();

        at_work.extend((1..BUSY).map(|_| db.at_work()));
        assert!(!is_one_at_work());
        let mut first = db.begin().await.unwrap();
        write(&mut first, "first").await;
        let first = tokio::spawn(first.commit());
        sleep(SHARING / 2).await;
        let mut second = db.begin().await.unwrap();
        assert!(shares(&second), "the first did not wait a moment");
        write(&mut second, "second").await;
        second.commit().await.unwrap();
        first.await.unwrap().unwrap();
        assert_eq!(read(&db).await, ["alone", "first", "second"]);

        at_work.truncate(1);
        assert!(!is_one_at_work(), "others were there a moment ago");
        std::thread::sleep(Duration::from_millis(ALONE_AFTER_MS));
        assert!(is_one_at_work());
    }

    #[tokio::test]
    async fn who_queued_shares_the_commit_and_who_is_undone_takes_nothing_with_it() {
        let _one_test = ONE_TEST.lock().await;
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
        drop(second);
        let settled = tokio::spawn({
            let db = db.clone();
            async move { db.settled().await }
        });
        let mut third = third.await.unwrap();
        write(&mut third, "third").await;
        let third = tokio::spawn(third.rollback());
        let mut fourth = fourth.await.unwrap();
        write(&mut fourth, "fourth").await;
        for waits in [&first, &settled, &third] {
            assert!(!waits.is_finished(), "who saw the first waits for its end");
        }
        fourth.commit().await.unwrap();
        for waited in [first, settled, third] {
            waited.await.unwrap().unwrap();
        }
        assert_eq!(read(&db).await, ["first", "fourth"]);
    }

    #[tokio::test]
    async fn when_the_database_gives_the_whole_up_everybody_is_told_and_the_next_one_begins_anew() {
        let _one_test = ONE_TEST.lock().await;
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
        drop(second);
        assert!(db.settled().await.is_err(), "what the second saw never was");
        let told = first.await.unwrap();
        assert!(matches!(told, Err(StoreError::Unavailable(_))), "{told:?}");
        let mut third = third.await.unwrap();
        write(&mut third, "third").await;
        third.commit().await.unwrap();
        assert_eq!(read(&db).await, ["third"]);
    }

    #[tokio::test]
    async fn a_beginning_that_is_given_up_leaves_the_queue_whole() {
        let _one_test = ONE_TEST.lock().await;
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
