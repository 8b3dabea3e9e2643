//! What a transaction writes at its end, all at once.

use std::time::Duration;

use openset_store::{Backend, Db, StoreError, Tx, Write, sqlx};

use crate::place::{Place, note, notes};
use crate::postgres::WAITING;

/// A note that must be new.
fn new(id: &str) -> Write {
    let insert = "INSERT INTO notes (id, seen, body) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    let insert = sqlx::query(insert)
        .bind(id)
        .bind(1_i64)
        .bind(None::<Vec<u8>>);
    Write::must(insert, "the note is there")
}

/// A note that is no longer new, so often seen.
fn seen(id: &str, from: i64, to: i64) -> Write {
    let update = sqlx::query("UPDATE notes SET seen = $1 WHERE id = $2 AND seen = $3");
    Write::must(
        update.bind(to).bind(id).bind(from),
        "the note was seen meanwhile",
    )
}

fn forgotten(id: &str) -> Write {
    Write::may(sqlx::query("DELETE FROM notes WHERE id = $1").bind(id))
}

fn conflict(ended: Result<(), StoreError>) -> &'static str {
    match ended {
        Err(StoreError::Conflict(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

async fn times_seen(db: &Db, id: &str) -> i64 {
    let select = sqlx::query_scalar("SELECT seen FROM notes WHERE id = $1");
    let select = select.bind(id.to_owned());
    select
        .fetch_one(&mut *db.read().await.unwrap())
        .await
        .unwrap()
}

pub(crate) async fn an_end_is_written_whole(place: Place) {
    let db = place.open().await;
    db.write(Vec::new()).await.unwrap();
    db.write(vec![new("a"), new("b"), forgotten("nothing")])
        .await
        .unwrap();
    // On many connections, and more often than a statement is planned anew.
    for times in 1..20 {
        let writes = vec![
            seen("a", times, times + 1),
            forgotten("b"),
            new(&format!("c{times}")),
        ];
        db.write(writes).await.unwrap();
    }
    assert_eq!(times_seen(&db, "a").await, 20);
    assert_eq!(notes(&db).await.len(), 20);

    let mut tx = db.begin().await.unwrap();
    note(&mut tx, "d").await;
    tx.write(new("e")).await.unwrap();
    tx.commit_with(vec![new("f"), seen("e", 1, 2)])
        .await
        .unwrap();
    assert_eq!(times_seen(&db, "e").await, 2);
    assert_eq!(notes(&db).await.len(), 23);
}

pub(crate) async fn of_an_end_nothing_is_kept_if_one_write_does_not_do_what_it_must(place: Place) {
    let db = place.open().await;
    db.write(vec![new("a"), new("b")]).await.unwrap();
    let ended = db
        .write(vec![new("c"), forgotten("a"), new("b"), new("d")])
        .await;
    assert_eq!(conflict(ended), "the note is there");
    let mut tx = db.begin().await.unwrap();
    note(&mut tx, "before the end").await;
    let ended = tx.commit_with(vec![new("c"), seen("a", 5, 6)]).await;
    assert_eq!(conflict(ended), "the note was seen meanwhile");
    // What is wrong for the database itself, too.
    let double = || sqlx::query("INSERT INTO notes (id) VALUES ('a')");
    let ended = db.write(vec![new("c"), Write::may(double())]).await;
    assert!(matches!(ended, Err(StoreError::Sql(_))), "{ended:?}");
    assert_eq!(notes(&db).await, ["a", "b"]);
    assert_eq!(times_seen(&db, "a").await, 1);
    // And the next one finds everything in order.
    db.write(vec![new("c")]).await.unwrap();
    assert_eq!(notes(&db).await, ["a", "b", "c"]);
}

pub(crate) async fn what_the_end_waits_for_is_told_by_the_first_that_fails(place: Place) {
    let db = place.open().await;
    db.write(vec![new("a")]).await.unwrap();
    // The insert would be the database's own error, were it reached.
    let double = || Write::may(sqlx::query("INSERT INTO notes (id) VALUES ('a')"));
    for _ in 0..10 {
        let ended = db.write(vec![seen("a", 7, 8), new("a"), double()]).await;
        assert_eq!(conflict(ended), "the note was seen meanwhile");
        let ended = db.write(vec![new("a"), seen("a", 7, 8), double()]).await;
        assert_eq!(conflict(ended), "the note is there");
    }
    db.write(vec![seen("a", 1, 2)]).await.unwrap();
}

pub(crate) async fn of_two_ends_that_take_the_same_one_is_kept(place: Place) {
    let replicas = [place.open().await, place.open().await];
    for round in 0..30 {
        let id = format!("{round:02}");
        let (one, other) = (format!("{id} one"), format!("{id} other"));
        let (one, other) = tokio::join!(
            replicas[0].write(vec![new(&id), new(&one)]),
            replicas[1].write(vec![new(&id), new(&other)])
        );
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
        let lost = if one.is_ok() { other } else { one };
        assert_eq!(conflict(lost), "the note is there");
    }
    assert_eq!(notes(&replicas[0]).await.len(), 60);
}

pub(crate) async fn an_end_that_waited_for_another_looks_at_what_that_left(place: Place) {
    let db = place.open().await;
    db.write(vec![new("a")]).await.unwrap();
    let mut other = db.begin().await.unwrap();
    other.write(seen("a", 1, 2)).await.unwrap();
    // It has done its first write when it finds the second's row held.
    let ending = db.write(vec![new("b"), seen("a", 1, 3), new("c")]);
    let released = async {
        while db.backend() == Backend::Postgres {
            let waiting: i64 = sqlx::query_scalar(WAITING)
                .bind("%UPDATE notes%")
                .fetch_one(&mut *db.read().await.unwrap())
                .await
                .unwrap();
            if waiting > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        other.commit().await.unwrap();
    };
    let both = async { tokio::join!(ending, released) };
    let (ended, ()) = tokio::time::timeout(Duration::from_secs(60), both)
        .await
        .unwrap();
    assert_eq!(conflict(ended), "the note was seen meanwhile");
    assert_eq!(notes(&db).await, ["a"]);
    assert_eq!(times_seen(&db, "a").await, 2);
}

pub(crate) async fn a_draft_counts_on_what_it_read(place: Place) {
    let db = place.open().await;
    db.write(vec![new("a")]).await.unwrap();
    let add = async |db: &Db| {
        let mut lost = 0;
        loop {
            let mut draft = db.draft().await.unwrap();
            let select = sqlx::query_scalar("SELECT seen FROM notes WHERE id = 'a'");
            let times: i64 = select.fetch_one(&mut *draft).await.unwrap();
            match draft.commit(vec![seen("a", times, times + 1)]).await {
                Ok(()) => return lost,
                Err(StoreError::Conflict(_)) => lost += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
    };
    let replicas = [place.open().await, place.open().await];
    let mut adding = tokio::task::JoinSet::new();
    for number in 0..40 {
        let db = replicas[number % 2].clone();
        adding.spawn(async move { add(&db).await });
    }
    adding.join_all().await;
    assert_eq!(times_seen(&db, "a").await, 41);
    // Dropped, it leaves nothing and holds nothing.
    for _ in 0..20 {
        let mut draft = db.draft().await.unwrap();
        let select = sqlx::query_scalar("SELECT seen FROM notes");
        let _: i64 = select.fetch_one(&mut *draft).await.unwrap();
    }
    assert_eq!(add(&db).await, 0);
}

pub(crate) async fn a_write_that_was_refused_spoils_its_transaction(place: Place) {
    let db = place.open().await;
    db.write(vec![new("a")]).await.unwrap();
    let mut tx: Tx = db.begin().await.unwrap();
    tx.write(new("b")).await.unwrap();
    assert_eq!(conflict(tx.write(new("a")).await), "the note is there");
    tx.write(new("c")).await.unwrap();
    assert_eq!(conflict(tx.commit().await), "the note is there");
    assert_eq!(notes(&db).await, ["a"]);
}

pub(crate) async fn an_end_that_is_given_up_is_whole_or_nothing(place: Place) {
    let db = place.open().await;
    for patience in 0..40 {
        let (one, other) = (format!("{patience:02} one"), format!("{patience:02} other"));
        let given_up = tokio::time::timeout(
            Duration::from_micros(patience * 40),
            db.write(vec![new(&one), new(&other)]),
        );
        drop(given_up.await);
        db.write(vec![new(&format!("{patience:02} then"))])
            .await
            .unwrap();
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let notes = notes(&db).await;
    let of = |what: &str| notes.iter().filter(|id| id.ends_with(what)).count();
    assert_eq!(of("then"), 40);
    assert_eq!(of("one"), of("other"));
}
