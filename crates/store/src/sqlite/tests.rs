#![allow(clippy::unwrap_used, reason = "tests")]

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use sqlx::{AnyConnection, Connection as _, Error, Executor as _, Row as _, ValueRef as _};
use tokio::task::yield_now;

use super::install_database_drivers;
use crate::sqlite_url;

async fn connect(folder: &tempfile::TempDir) -> AnyConnection {
    install_database_drivers();
    let url = sqlite_url(&folder.path().join("a file.db"));
    let mut connection = AnyConnection::connect(&format!("{url}?mode=rwc"))
        .await
        .unwrap();
    let wal = connection.execute("PRAGMA journal_mode = WAL").await;
    wal.unwrap();
    connection
}

async fn with_notes(folder: &tempfile::TempDir) -> AnyConnection {
    let mut connection = connect(folder).await;
    connection
        .execute("CREATE TABLE notes (id BIGINT PRIMARY KEY, text TEXT NOT NULL); CREATE TABLE others (id BIGINT)")
        .await
        .unwrap();
    connection
}

async fn ids(connection: &mut AnyConnection) -> Vec<i64> {
    sqlx::query_scalar("SELECT id FROM notes ORDER BY id")
        .fetch_all(connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn arguments_are_told_apart_by_their_numbers_and_values_keep_their_kinds() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = connect(&folder).await;
    let row = sqlx::query("SELECT $2 AS second, $1 AS first, $2 AS again, $3 AS bytes, $4 AS none")
        .bind(1_i64)
        .bind("two")
        .bind(vec![0_u8, 3])
        .bind(Option::<i64>::None)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(row.get::<i64, _>("first"), 1);
    assert_eq!(row.get::<String, _>("second"), "two");
    assert_eq!(row.get::<String, _>(2), "two");
    assert_eq!(row.get::<Vec<u8>, _>("bytes"), [0, 3]);
    assert_eq!(row.get::<Option<i64>, _>("none"), None);
    assert!(row.try_get_raw("none").unwrap().is_null());
    assert!(matches!(
        row.try_get::<i64, _>("absent"),
        Err(Error::ColumnNotFound(_))
    ));
    assert!(matches!(
        row.try_get::<i64, _>("second"),
        Err(Error::ColumnDecode { .. })
    ));
}

#[tokio::test]
async fn parameter_without_its_argument_is_refused_and_not_taken_for_null() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = connect(&folder).await;
    for sql in [
        "SELECT $1, $2",
        "SELECT $1, $0",
        "SELECT $1, ?",
        "SELECT $1, :name",
    ] {
        let refused = sqlx::query(sql)
            .bind(1_i64)
            .fetch_one(&mut connection)
            .await;
        assert!(matches!(refused, Err(Error::Protocol(_))), "{sql}");
    }
}

#[tokio::test]
async fn what_sqlite_refuses_has_its_extended_code_and_its_kind() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = with_notes(&folder).await;
    let insert = "INSERT INTO notes (id, text) VALUES ($1, $2)";
    let inserted = sqlx::query(insert).bind(1_i64).bind("a");
    let inserted = inserted.execute(&mut connection).await.unwrap();
    assert_eq!(inserted.rows_affected(), 1);
    let again = sqlx::query(insert).bind(1_i64).bind("b");
    let refused = again.execute(&mut connection).await.unwrap_err();
    let refused = refused.as_database_error().unwrap();
    assert!(refused.is_unique_violation());
    assert_eq!(refused.code().unwrap(), "1555");
    let nothing = sqlx::query(insert).bind(2_i64).bind(Option::<String>::None);
    let refused = nothing.execute(&mut connection).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "1299");
}

#[tokio::test]
async fn table_that_gets_a_column_shows_it_although_the_statement_was_used_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = with_notes(&folder).await;
    sqlx::query("INSERT INTO notes VALUES (1, 'a')")
        .execute(&mut connection)
        .await
        .unwrap();
    let all = "SELECT * FROM notes";
    let before = sqlx::query(all).fetch_one(&mut connection).await.unwrap();
    assert_eq!(before.len(), 2);
    connection
        .execute("ALTER TABLE notes RENAME COLUMN text TO words")
        .await
        .unwrap();
    let after = sqlx::query(all).fetch_one(&mut connection).await.unwrap();
    assert_eq!(after.get::<String, _>("words"), "a");
    // Without arguments several statements may stand in a row.
    let rows = connection
        .fetch_all("SELECT 1 AS one; SELECT 2 AS two")
        .await;
    assert_eq!(rows.unwrap()[1].get::<i64, _>("two"), 2);
}

#[tokio::test]
async fn transaction_and_savepoint_in_it_are_undone_by_being_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = with_notes(&folder).await;
    let mut outer = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
    outer
        .execute("INSERT INTO notes VALUES (1, 'kept')")
        .await
        .unwrap();
    let mut inner = outer.begin().await.unwrap();
    inner
        .execute("INSERT INTO notes VALUES (2, 'dropped')")
        .await
        .unwrap();
    drop(inner);
    assert_eq!(ids(&mut outer).await, [1]);
    outer.commit().await.unwrap();
    let mut lost = connection.begin().await.unwrap();
    lost.execute("INSERT INTO notes VALUES (3, 'dropped')")
        .await
        .unwrap();
    drop(lost);
    assert_eq!(ids(&mut connection).await, [1]);
}

#[tokio::test]
async fn commit_that_nobody_waits_for_never_ends_what_is_begun_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = with_notes(&folder).await;
    let mut other = connect(&folder).await;
    for round in 0..20_i64 {
        let mut tx = connection.begin().await.unwrap();
        tx.execute("INSERT INTO notes VALUES (1, 'a') ON CONFLICT DO NOTHING")
            .await
            .unwrap();
        let mut commit = Box::pin(tx.commit());
        let asked = poll_fn(|context| Poll::Ready(commit.as_mut().poll(context).is_ready())).await;
        drop(commit);
        let mut next = connection.begin().await.unwrap();
        sqlx::query("INSERT INTO notes VALUES ($1, 'b')")
            .bind(100 + round)
            .execute(&mut *next)
            .await
            .unwrap();
        // By now a late COMMIT would have kept what is not finished.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let seen = ids(&mut other).await;
        assert!(!seen.contains(&(100 + round)), "{asked}: {seen:?}");
        next.rollback().await.unwrap();
    }
}

#[tokio::test]
async fn while_another_process_has_the_file_locked_only_who_begins_waits() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = with_notes(&folder).await;
    let other = rusqlite::Connection::open(folder.path().join("a file.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begins = tokio::spawn(async move {
        let tx = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
        tx.commit().await.unwrap();
    });
    // This runtime has a single thread: were it blocked, the lock would never be given back.
    for _ in 0..100 {
        yield_now().await;
    }
    assert!(!begins.is_finished());
    other.execute_batch("COMMIT").unwrap();
    tokio::time::timeout(Duration::from_secs(60), begins)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn url_with_what_is_not_known_here_is_refused_and_a_missing_file_is_not_made() {
    install_database_drivers();
    let folder = tempfile::tempdir().unwrap();
    let url = sqlite_url(&folder.path().join("none.db"));
    for (end, why) in [
        ("?vfs=unix-none", "`vfs=unix-none` is not known"),
        ("?mode=memory", "`mode=memory`"),
    ] {
        let refused = AnyConnection::connect(&format!("{url}{end}"))
            .await
            .unwrap_err();
        assert!(refused.to_string().contains(why), "{refused}");
    }
    let refused = AnyConnection::connect(&url).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "14");
    assert!(!folder.path().join("none.db").exists());
}
