//! Two replicas of one bank on one PostgreSQL.

use std::pin::pin;
use std::task::Poll;

use openset_store::{Db, sqlx};
use openset_testkit::postgres::{PostgresServer, WAITING};
use serde_json::{Value, json};

use crate::bank::{Bank, GATEWAY, Vaulted};
use crate::books;

/// Two replicas of a new bank, or none where PostgreSQL is not installed.
async fn replicas(server: &PostgresServer) -> (Bank, Bank) {
    let url = server.create_database().unwrap();
    let one = Vaulted::new(&format!("database_url = \"{url}\""));
    let two = one.replica();
    tokio::join!(one.start(), two.start())
}

pub(crate) fn postgres() -> Option<PostgresServer> {
    let server = PostgresServer::start().unwrap();
    if server.is_none() {
        eprintln!("skipped: PostgreSQL is not installed");
    }
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_on_postgres_never_overspend() {
    let Some(server) = postgres() else { return };
    let (one, two) = replicas(&server).await;
    let card = one.account(1000).await;
    let keys: Vec<String> = (0..40).map(|number| format!("key-{number}")).collect();
    let asked = keys.iter().enumerate().map(|(number, key)| {
        let bank = if number % 2 == 0 { &one } else { &two };
        bank.authorize(&card, key, 99)
    });
    let answers = join_all(asked.collect()).await;
    let told: Vec<Value> = answers.iter().map(|answer| answer.expect(200)).collect();
    let approved: Vec<&Value> = told
        .iter()
        .filter(|told| told["outcome"] == "approved")
        .collect();
    assert_eq!(approved.len(), 10);
    assert_eq!(one.sums(&card).await, [10, 990, 0]);
    assert_eq!(two.sums(&card).await, [10, 990, 0]);

    // Each hold is captured by both at once, and released too: one of the three moves the money.
    for (number, held) in approved.iter().enumerate() {
        let id = held["authorization_id"].as_str().unwrap();
        let [first, second] = [1, 2].map(|replica| format!("{number}-{replica}"));
        let (left, right, back) = tokio::join!(
            one.movement(id, "capture", &first, 99),
            two.movement(id, "capture", &second, 99),
            two.release(id, &first),
        );
        let done = [left, right, back]
            .iter()
            .filter(|answer| answer.status == 200)
            .count();
        assert_eq!(done, 1);
    }
    let [available, held, owed] = two.sums(&card).await;
    assert_eq!((available + owed, held), (1000, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_is_spent_while_a_hold_is_decided_is_not_held() {
    let Some(server) = postgres() else { return };
    let url = server.create_database().unwrap();
    let bank = Vaulted::new(&format!("database_url = \"{url}\""))
        .start()
        .await;
    let card = bank.account(1000).await;
    let db = Db::open(&url, openset_issuer::MIGRATIONS).await.unwrap();
    // Another replica has held nearly all of it, and has not committed.
    let mut other = db.begin().await.unwrap();
    sqlx::query("UPDATE accounts SET held_minor = 950")
        .execute(&mut *other)
        .await
        .unwrap();
    let spent = async {
        let waits = async || {
            let waiting: i64 = sqlx::query_scalar(WAITING)
                .bind("%UPDATE accounts%")
                .fetch_one(&mut *db.read().await.unwrap())
                .await
                .unwrap();
            waiting > 0
        };
        while !waits().await {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        other.commit().await.unwrap();
    };
    let both = async { tokio::join!(bank.authorize(&card, "key", 99), spent) };
    let patience = std::time::Duration::from_secs(60);
    let (answer, ()) = tokio::time::timeout(patience, both).await.unwrap();
    let told = answer.expect(200);
    assert_eq!(
        (&told["outcome"], &told["reason"]),
        (&"declined".into(), &"insufficientFunds".into())
    );
    // The same again: it was recorded once, as what was decided at last.
    assert_eq!(bank.authorize(&card, "key", 99).await, answer);
    assert_eq!(bank.sums(&card).await, [50, 950, 0]);
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn same_key_at_two_replicas_takes_one_hold_and_gives_one_answer() {
    let Some(server) = postgres() else { return };
    let (one, two) = replicas(&server).await;
    let card = one.account(1000).await;
    let asked = (0..20).map(|number| {
        let bank = if number % 2 == 0 { &one } else { &two };
        bank.authorize(&card, "key", 100)
    });
    let answers = join_all(asked.collect()).await;
    assert_eq!(answers[0].expect(200)["outcome"], "approved");
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(two.sums(&card).await, [900, 100, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_expires_once_at_two_replicas() {
    let Some(server) = postgres() else { return };
    let (one, two) = replicas(&server).await;
    let card = two.account(1000).await;
    for number in 0..5 {
        one.approved(&card, &format!("key-{number}"), 100).await;
    }
    one.vaulted.move_clock(8 * 86_400);
    for _ in 0..600 {
        if one.sums(&card).await == [1000, 0, 0] {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the sweep did not come: {:?}", one.sums(&card).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_and_credit_are_undone_once_at_two_replicas() {
    let Some(server) = postgres() else { return };
    let url = server.create_database().unwrap();
    let one = Vaulted::new(&format!("database_url = \"{url}\""));
    let two = one.replica();
    let (one, two) = tokio::join!(one.start(), two.start());
    let card = one.account(10_000).await;
    for round in 0..8 {
        let key = |what: &str| format!("{what}-{round}");
        let id = one.approved(&card, &key("a"), 1000).await;
        one.movement(&id, "capture", &key("c"), 900)
            .await
            .expect(200);
        let (u1, u2, k) = (key("u1"), key("u2"), key("k"));
        let (left, right, credit) = tokio::join!(
            one.undo_capture(&id, &u1),
            two.undo_capture(&id, &u2),
            two.movement(&id, "credit", &k, 400),
        );
        let statuses = [left.status, right.status, credit.status];
        let done = statuses.iter().filter(|status| **status == 200).count();
        assert_eq!(done, 1, "{statuses:?}");
        if credit.status == 200 {
            let (v1, v2) = (key("v1"), key("v2"));
            let (left, right) =
                tokio::join!(one.undo_credit(&id, &k, &v1), two.undo_credit(&id, &k, &v2),);
            let mut statuses = [left.status, right.status];
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 409]);
            one.undo_capture(&id, &key("u3")).await.expect(200);
        }
        // Captured again by both, one of which goes through and is booked.
        let (c1, c2) = (key("c1"), key("c2"));
        let (left, right) = tokio::join!(
            one.movement(&id, "capture", &c1, 900),
            two.movement(&id, "capture", &c2, 900),
        );
        let mut statuses = [left.status, right.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409]);
        assert_eq!(two.sums(&card).await[2], 900 * (round + 1));
    }
    one.stop().await;
    two.stop().await;
    books::assert_right_at(&url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credits_that_two_replicas_undo_never_pass_the_limit() {
    let Some(server) = postgres() else { return };
    let url = server.create_database().unwrap();
    let one = Vaulted::new(&format!("database_url = \"{url}\""));
    let two = one.replica();
    let (one, two) = tokio::join!(one.start(), two.start());
    let card = one.account(1000).await;
    let mut ids = Vec::new();
    for number in 0..10 {
        let key = |what: &str| format!("{what}-{number}");
        let id = one.approved(&card, &key("a"), 100).await;
        one.movement(&id, "capture", &key("c"), 100)
            .await
            .expect(200);
        one.movement(&id, "credit", &key("k"), 100)
            .await
            .expect(200);
        ids.push((id, key("k"), key("v")));
    }
    one.approved(&card, "spent", 650).await;
    let asked = ids.iter().enumerate().map(|(number, (id, credit, key))| {
        let bank = if number % 2 == 0 { &one } else { &two };
        bank.undo_credit(id, credit, key)
    });
    let answers = join_all(asked.collect()).await;
    let refused = answers.iter().filter(|one| one.status == 409);
    let codes: Vec<String> = refused.map(|one| one.problem(409)).collect();
    assert_eq!(codes, ["insufficient-funds"; 7]);
    assert_eq!(two.sums(&card).await, [50, 650, 300]);
    one.stop().await;
    two.stop().await;
    books::assert_right_at(&url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_settle_each_movement_once() {
    let Some(server) = postgres() else { return };
    let url = server.create_database().unwrap();
    let one = Vaulted::new(&format!("database_url = \"{url}\""));
    let two = one.replica();
    let (one, two) = tokio::join!(one.start(), two.start());
    let card = one.account(1000).await;
    for number in 0..10 {
        let key = |what: &str| format!("{what}-{number}");
        let id = one.approved(&card, &key("a"), 100).await;
        one.movement(&id, "capture", &key("c"), 100)
            .await
            .expect(200);
    }
    // Part n has movements n, n + 1 and n + 2, named in both directions: no two neighbours can both be paid.
    let bodies: Vec<(String, Value)> = (0..8)
        .map(|part| {
            let mut items: Vec<Value> = (part..part + 3)
                .map(|number| json!({"movement": format!("c-{number}")}))
                .collect();
            if part % 2 == 0 {
                items.reverse();
            }
            let body = json!({
                "batch_id": "b", "part": part, "last": false, "currency": "EUR",
                "net_minor": 300, "items": items
            });
            (format!("s-{part}"), body)
        })
        .collect();
    let asked = bodies.iter().flat_map(|(key, body)| {
        [&one, &two].map(|bank| bank.post("/settlements", GATEWAY, key, body))
    });
    let answers = join_all(asked.collect()).await;
    for (at, pair) in answers.chunks(2).enumerate() {
        // Both replicas were asked for each part under one key: a payment is answered alike.
        match pair[0].status {
            200 => assert_eq!(pair[0], pair[1], "part {at}"),
            _ => pair
                .iter()
                .for_each(|one| assert_eq!(one.problem(409), "already-settled", "part {at}")),
        }
    }
    let paid = answers.iter().filter(|one| one.status == 200).count();
    assert!([4, 6].contains(&paid), "{paid} answers of payments");
    one.stop().await;
    two.stop().await;
    books::assert_right_at(&url).await;
}

/// Waits for all futures, polled together.
pub(crate) async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures
        .into_iter()
        .map(|future| Some(Box::pin(future)))
        .collect();
    let mut done: Vec<Option<F::Output>> = waiting.iter().map(|_| None).collect();
    let all = std::future::poll_fn(|context| {
        for (slot, outcome) in waiting.iter_mut().zip(&mut done) {
            if let Some(future) = slot
                && let Poll::Ready(value) = future.as_mut().poll(context)
            {
                *outcome = Some(value);
                *slot = None;
            }
        }
        if waiting.iter().all(Option::is_none) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    pin!(all).await;
    done.into_iter().map(Option::unwrap).collect()
}
