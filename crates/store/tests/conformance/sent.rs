//! The outbox.

use openset_store::outbox::{self, Outgoing};
use openset_store::{Db, StoreError};

use crate::place::{Place, note, notes};

fn outgoing(id: &str, due: i64) -> Outgoing {
    Outgoing {
        id: id.to_owned(),
        kind: "CapReq".to_owned(),
        reference: "order-1".to_owned(),
        url: "https://gateway.example/set".to_owned(),
        media_type: "application/set-payment+json".to_owned(),
        body: b"{\"wrapper\":1}".to_vec(),
        next_attempt_at_ms: due,
        deadline_at_ms: 10_000,
    }
}

async fn enqueue(db: &Db, ids: &[&str]) {
    let mut tx = db.begin().await.unwrap();
    for id in ids {
        outbox::enqueue(&mut tx, &outgoing(id, 100)).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn lease(db: &Db, holder: &str, now_ms: i64) -> Vec<Outgoing> {
    outbox::lease_due(db, holder, now_ms, 1_000, 10)
        .await
        .unwrap()
}

pub(crate) async fn a_lease_is_won_by_one_of_many(place: Place) {
    let replicas = [place.open().await, place.open().await];
    let ids: Vec<String> = (0..20).map(|number| format!("id {number}")).collect();
    enqueue(
        &replicas[0],
        &ids.iter().map(String::as_str).collect::<Vec<_>>(),
    )
    .await;
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let db = replicas[number % 2].clone();
            tokio::spawn(async move { lease(&db, &format!("holder {number}"), 100).await })
        })
        .collect();
    let mut won = Vec::new();
    for task in tasks {
        won.extend(task.await.unwrap().into_iter().map(|leased| leased.id));
    }
    won.extend(
        lease(&replicas[0], "last", 100)
            .await
            .into_iter()
            .map(|leased| leased.id),
    );
    won.extend(
        lease(&replicas[0], "last", 100)
            .await
            .into_iter()
            .map(|leased| leased.id),
    );
    let mut expected = ids;
    expected.sort();
    won.sort();
    assert_eq!(won, expected);
}

pub(crate) async fn a_lease_that_ran_out_is_won_by_another(place: Place) {
    let db = place.open().await;
    enqueue(&db, &["a"]).await;
    assert_eq!(lease(&db, "first", 100).await, [outgoing("a", 100)]);
    assert_eq!(lease(&db, "second", 1_099).await, []);
    assert_eq!(lease(&db, "second", 1_100).await.len(), 1);
    let mut conn = db.read().await.unwrap();
    assert_eq!(outbox::attempts(&mut conn, "a").await.unwrap(), Some(2));
    drop(conn);
    let mut tx = db.begin().await.unwrap();
    assert_eq!(outbox::release_held_by(&mut tx, "first").await.unwrap(), 0);
    assert_eq!(outbox::release_held_by(&mut tx, "second").await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(lease(&db, "first", 1_101).await.len(), 1);
}

pub(crate) async fn what_is_not_due_yet_is_not_leased(place: Place) {
    let db = place.open().await;
    enqueue(&db, &["a"]).await;
    assert_eq!(lease(&db, "holder", 99).await, []);
    assert_eq!(lease(&db, "holder", 100).await.len(), 1);
    let mut tx = db.begin().await.unwrap();
    assert!(outbox::retry_at(&mut tx, "a", 500).await.unwrap());
    assert!(!outbox::retry_at(&mut tx, "b", 500).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(lease(&db, "holder", 499).await, []);
    assert_eq!(lease(&db, "holder", 500).await, [outgoing("a", 500)]);
}

pub(crate) async fn a_passed_deadline_is_leased_and_says_so(place: Place) {
    let db = place.open().await;
    enqueue(&db, &["a"]).await;
    let mut tx = db.begin().await.unwrap();
    assert!(outbox::retry_at(&mut tx, "a", 99_999).await.unwrap());
    let late = outgoing("b", 88_888);
    outbox::enqueue(&mut tx, &late).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(lease(&db, "holder", 9_999).await, []);
    let leased = lease(&db, "holder", 10_000).await;
    assert_eq!(leased.len(), 2);
    for request in leased {
        assert!(!request.is_overdue(9_999));
        assert!(request.is_overdue(10_000));
    }
}

pub(crate) async fn an_answer_is_handled_by_one(place: Place) {
    let replicas = [place.open().await, place.open().await];
    enqueue(&replicas[0], &["a", "b"]).await;
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let db = replicas[number % 2].clone();
            tokio::spawn(async move {
                let mut tx = db.begin().await.unwrap();
                if outbox::remove(&mut tx, "a").await.unwrap() {
                    note(&mut tx, &format!("handled by {number}")).await;
                    tx.commit().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(notes(&replicas[0]).await.len(), 1);
    let mut conn = replicas[1].read().await.unwrap();
    assert_eq!(outbox::pending_count(&mut conn).await.unwrap(), 1);
    assert_eq!(outbox::find(&mut conn, "a").await.unwrap(), None);
    let left = outbox::find(&mut conn, "b").await.unwrap();
    assert_eq!(left, Some(outgoing("b", 100)));
}

pub(crate) async fn the_enqueuer_may_hold_the_lease(place: Place) {
    let db = place.open().await;
    let leased = || vec![outbox::leased(&outgoing("a", 100), "me", 100, 1_000)];
    db.write(leased()).await.unwrap();
    let again = db.write(leased()).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    assert_eq!(lease(&db, "another", 1_099).await, []);
    assert_eq!(lease(&db, "another", 1_100).await.len(), 1);
    let mut tx = db.begin().await.unwrap();
    let mine = outbox::lease(&mut tx, "a", "me", 1_101, 1_000).await;
    assert_eq!(mine.unwrap(), None);
}

pub(crate) async fn an_id_is_used_once(place: Place) {
    let db = place.open().await;
    enqueue(&db, &["a"]).await;
    let mut tx = db.begin().await.unwrap();
    let again = outbox::enqueue(&mut tx, &outgoing("a", 100)).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
    // On PostgreSQL too the transaction goes on, to its end.
    outbox::enqueue(&mut tx, &outgoing("b", 100)).await.unwrap();
    let committed = tx.commit().await;
    assert!(matches!(committed, Err(StoreError::Conflict(_))));
    assert_eq!(lease(&db, "holder", 100).await.len(), 1);
}
