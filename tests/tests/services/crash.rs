//! kill -9 of any service at any time: nothing is lost, the same request again gets its answer, one hold, one
//! capture.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::time::Duration;

use openset_tests::{World, fresh};
use serde_json::{Value, json};

fn holds(view: &Value, state: &str) -> usize {
    view["authorizations"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["state"] == state)
        .count()
}

#[tokio::test]
async fn each_service_goes_on_after_kill_9() {
    let mut world = World::start().await;
    let account = world.account(1_000_000, &json!({})).await;
    let card_id = world.card(&account).await;
    let mut kept = Vec::new();
    for party in openset::setup::PARTIES {
        let key = fresh();
        let first = world.purchase(&card_id, &key).await.unwrap();
        assert_eq!(first.text("/status"), "paid", "{:?}", first.json);
        world.kill(party);
        world.restart(party).await;
        let again = world.purchase(&card_id, &key).await.unwrap();
        assert_eq!(
            again.text("/receipt_jws"),
            first.text("/receipt_jws"),
            "after {party} was killed"
        );
        kept.push(first.text("/order_id").to_owned());
    }
    assert_eq!(
        holds(&world.account_view(&account).await, "held"),
        kept.len()
    );
    for order in &kept {
        let path = format!("orders/{order}/capture");
        let answer = world
            .post("merchant", &path, &fresh(), &json!({}))
            .await
            .unwrap();
        assert_eq!(answer.text("/state"), "captured", "{:?}", answer.json);
    }
    assert_eq!(
        holds(&world.account_view(&account).await, "captured"),
        kept.len()
    );
}

#[tokio::test]
async fn issuer_down_leaves_the_purchase_pending_and_never_paid() {
    let mut world = World::start_with(|party, table| {
        if party == "merchant" {
            table.insert("authorization_wait_ms".to_owned(), 1500.into());
        }
    })
    .await;
    let account = world.account(100_000, &json!({})).await;
    let card_id = world.card(&account).await;
    world.kill("issuer");
    let answer = world.purchase(&card_id, &fresh()).await.unwrap();
    assert_eq!(
        (answer.status, answer.text("/status")),
        (202, "pending"),
        "{:?}",
        answer.json
    );
    world.restart("issuer").await;
    let settled = world.settled(answer.text("/purchase_id")).await;
    assert_eq!(settled.text("/status"), "paid", "{:?}", settled.json);
    assert_eq!(holds(&world.account_view(&account).await, "held"), 1);
}

/// kill -9 between the issuer's commit of the hold and its answer.
#[tokio::test]
async fn gateway_finds_out_about_a_hold_that_the_issuer_could_not_tell() {
    let slow = |party: &str, table: &mut toml::Table| match party {
        "issuer" => drop(table.insert("danger_pause_after_commit_ms".to_owned(), 3000.into())),
        "merchant" => drop(table.insert("authorization_wait_ms".to_owned(), 1000.into())),
        _ => {}
    };
    let mut world = World::start_with(slow).await;
    let account = world.account(100_000, &json!({})).await;
    let card_id = world.card(&account).await;
    let basket = world.basket(&card_id, 1).await;
    let key = fresh();
    let buying = world.post("cardholder", "purchases", &key, &basket);
    let killing = async {
        for _ in 0..6000 {
            if holds(&world.account_view(&account).await, "held") == 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no hold was taken");
    };
    let (answer, ()) = tokio::join!(buying, async {
        killing.await;
    });
    // The merchant gave up waiting before the issuer's pause ended: the hold is there, its answer is not.
    let answer = answer.unwrap();
    assert_eq!(answer.text("/status"), "pending", "{:?}", answer.json);
    world.kill("issuer");
    world.restart("issuer").await;
    let settled = world.settled(answer.text("/purchase_id")).await;
    assert_eq!(settled.text("/status"), "paid", "{:?}", settled.json);
    let view = world.account_view(&account).await;
    assert_eq!(holds(&view, "held"), 1, "{view}");
}

#[tokio::test]
async fn killing_the_middle_of_a_purchase_loses_nothing() {
    let mut world = World::start().await;
    let account = world.account(10_000_000, &json!({})).await;
    let card_id = world.card(&account).await;
    let mut bought = 0;
    for party in ["merchant", "gateway", "cardholder", "issuer"] {
        for after_ms in [5, 25, 60] {
            let key = fresh();
            let basket = world.basket(&card_id, 1).await;
            let buying = world.post("cardholder", "purchases", &key, &basket);
            tokio::select! {
                _ = buying => {}
                () = tokio::time::sleep(Duration::from_millis(after_ms)) => {}
            }
            world.kill(party);
            world.restart(party).await;
            let again = world
                .post("cardholder", "purchases", &key, &basket)
                .await
                .unwrap();
            assert!(
                again.status < 300,
                "{party} after {after_ms} ms: {:?}",
                again.json
            );
            let settled = world.settled(again.text("/purchase_id")).await;
            assert_eq!(
                settled.text("/status"),
                "paid",
                "{party} after {after_ms} ms: {:?}",
                settled.json
            );
            bought += 1;
        }
    }
    assert_eq!(holds(&world.account_view(&account).await, "held"), bought);
}

#[tokio::test]
async fn registration_that_the_bank_cannot_answer_yet_goes_on_by_itself() {
    let mut world = World::start().await;
    let account = world.account(100_000, &json!({})).await;
    world.kill("issuer");
    let request = json!({
        "pan": account.pan, "expiry": account.expiry, "brand": world.file.brand, "accept_policy": true,
        "answers": {"holder": "Ada Lovelace", "activation_code": account.activation_code},
    });
    let answer = world
        .post("cardholder", "cards", &fresh(), &request)
        .await
        .unwrap();
    assert_eq!(
        (answer.status, answer.text("/state")),
        (202, "registering"),
        "{:?}",
        answer.json
    );
    world.restart("issuer").await;
    for _ in 0..900 {
        let cards = world.get("cardholder", "cards").await.unwrap();
        if cards.text("/cards/0/state") == "registered" {
            let answer = world
                .purchase(cards.text("/cards/0/card_id"), &fresh())
                .await
                .unwrap();
            assert_eq!(answer.text("/status"), "paid", "{:?}", answer.json);
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the card was not registered:\n{}", world.log("cardholder"));
}
