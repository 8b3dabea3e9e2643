//! Two replicas of one bank on one PostgreSQL.

use std::pin::pin;
use std::task::Poll;

use openset_testkit::postgres::PostgresServer;
use serde_json::Value;

use crate::bank::{Bank, Vaulted};

/// Two replicas of a new bank, or none where PostgreSQL is not installed.
async fn replicas(server: &PostgresServer) -> (Bank, Bank) {
    let url = server.create_database().unwrap();
    let one = Vaulted::new(&format!("database_url = \"{url}\""));
    let two = one.replica();
    tokio::join!(one.start(), two.start())
}

fn postgres() -> Option<PostgresServer> {
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
