//! PostgreSQL's connections that were given back: which of them are used again.

use std::time::Duration;

use openset_store::{Db, sqlx};
use tokio::time::{advance, pause, resume, timeout};

use crate::place::{Place, notes};
use crate::postgres::PostgresServer;

/// An empty database, or none where there is no PostgreSQL; the server goes when it is dropped.
async fn started() -> Option<(PostgresServer, Place, Db)> {
    let Some(server) = PostgresServer::start().unwrap() else {
        eprintln!("skipped: PostgreSQL (initdb, pg_ctl, createdb) is not installed");
        return None;
    };
    let place = Place::postgres(&server);
    let db = place.open().await;
    Some((server, place, db))
}

/// Which of the server's processes serves the next one.
async fn serving(db: &Db) -> i32 {
    sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut *db.read().await.unwrap())
        .await
        .unwrap()
}

/// As if so much time had passed.
async fn later(by: Duration) {
    pause();
    advance(by).await;
    resume();
}

#[tokio::test]
async fn one_that_was_given_back_is_used_again_for_half_an_hour() {
    let Some((_server, _, db)) = started().await else {
        return;
    };
    let first = serving(&db).await;
    for minutes in [0, 1, 28] {
        later(Duration::from_secs(minutes * 60)).await;
        assert_eq!(serving(&db).await, first);
    }
    later(Duration::from_secs(60)).await;
    let second = serving(&db).await;
    assert_ne!(second, first);
    later(Duration::from_secs(60)).await;
    assert_eq!(serving(&db).await, second);
    db.close().await;
}

#[tokio::test]
async fn one_that_broke_is_found_after_a_second() {
    let Some((_server, place, db)) = started().await else {
        return;
    };
    let broken = serving(&db).await;
    let other = place.open().await;
    let ended: bool = sqlx::query_scalar("SELECT pg_terminate_backend($1, 10000)")
        .bind(broken)
        .fetch_one(&mut *other.read().await.unwrap())
        .await
        .unwrap();
    assert!(ended);
    later(Duration::from_secs(1)).await;
    assert_ne!(serving(&db).await, broken);
    other.close().await;
    db.close().await;
}

#[tokio::test]
async fn one_that_is_still_at_work_for_nobody_holds_nobody_up() {
    let Some((_server, _, db)) = started().await else {
        return;
    };
    let busy = serving(&db).await;
    let mut reader = db.read().await.unwrap();
    let long = sqlx::query("SELECT pg_sleep(60)").execute(&mut *reader);
    assert!(timeout(Duration::from_millis(200), long).await.is_err());
    drop(reader);
    let next = timeout(Duration::from_secs(20), serving(&db)).await;
    assert_ne!(next.unwrap(), busy);
    assert!(notes(&db).await.is_empty());
    db.close().await;
}
