//! Each item of the acquirer's list beside what the shop has: by its place, kind and amount, and by what it undoes.

use openset_protocol::messages::initiation::PaymentInitiation;
use serde_json::{Value, json};

use crate::bank::Mood;
use crate::refunds::{of, sold};
use crate::shop::{OPERATOR, Shop, World};
use crate::wallet::Wallet;

async fn reconcile(shop: &Shop) -> Value {
    let (status, compared) = shop.post("/batches/batch-1/reconcile", None, "").await;
    assert_eq!(status, 200, "{compared}");
    compared
}

/// How many were placed, how many purged, and the numbers of those that differ.
fn counts(compared: &Value) -> (u64, u64, Vec<u64>) {
    let differing = compared["differences"].as_array().unwrap();
    let number = |one: &Value| one["batch_sequence_num"].as_u64().unwrap();
    (
        compared["placed"].as_u64().unwrap(),
        compared["purged"].as_u64().unwrap(),
        differing.iter().map(number).collect(),
    )
}

/// 15.00 captured, number 1, and twice 5.00 refunded, numbers 2 and 3: gives the refunds' names.
async fn refunded_twice(world: &World, shop: &Shop) -> (PaymentInitiation, [Value; 2]) {
    let order = sold(world, shop).await;
    for key in ["a", "b"] {
        assert_eq!(shop.ask(&order, "refund", key, of(500)).await.0, 200);
    }
    let refunds = shop.show(&order).await["authorizations"][0]["refunds"].clone();
    let names = [0, 1].map(|place: usize| refunds[place]["movement"].clone());
    (order, names)
}

#[tokio::test]
async fn item_of_another_amount_differs_and_changes_nothing() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = sold(&world, &shop).await;
    world.bank.state.batches.lock().unwrap().restate(1, 1400);
    let compared = reconcile(&shop).await;
    assert_eq!(counts(&compared), (0, 0, vec![1]), "{compared}");
    let difference = &compared["differences"][0];
    assert_eq!(difference["missing"], "nowhere", "{compared}");
    assert_eq!(difference["ours"]["amount_minor"], 1500);
    assert_eq!(difference["acquirers"]["amount_minor"], 1400);
    assert_eq!(shop.show(&order).await["state"], "captured");
}

#[tokio::test]
async fn reversal_undoes_what_stands_at_the_place_that_it_names_and_nothing_like_it() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let (order, [first, second]) = refunded_twice(&world, &shop).await;
    // The acquirer undoes the second refund unseen, the shop the first one; where that stands it does not know.
    world.bank.state.batches.lock().unwrap().undo(3, 3, 500);
    let void = json!({ "refund": first });
    assert_eq!(shop.ask(&order, "void-refund", "v", void).await.0, 200);
    shop.close().await;
    world
        .alter(
            "UPDATE movements SET batch_id = NULL, batch_seq = NULL WHERE kind = 'credit_reversal'",
        )
        .await;
    let shop = world.open_shop().await;
    let compared = reconcile(&shop).await;
    assert_eq!(counts(&compared), (1, 1, vec![]), "{compared}");
    let refunds = shop.show(&order).await["authorizations"][0]["refunds"].clone();
    let state = |movement: &Value| {
        let mut all = refunds.as_array().unwrap().iter();
        all.find(|one| one["movement"] == *movement).unwrap()["state"].clone()
    };
    assert_eq!(
        (state(&first), state(&second)),
        (json!("voided"), json!("purged"))
    );
    assert_eq!(counts(&reconcile(&shop).await), (0, 0, vec![]));
    shop.close().await;
}

#[tokio::test]
async fn reversal_of_another_amount_or_of_what_is_undone_already_undoes_nothing() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let (order, _) = refunded_twice(&world, &shop).await;
    {
        let mut batches = world.bank.state.batches.lock().unwrap();
        batches.undo(2, 2, 400);
        batches.undo(2, 2, 500);
        batches.undo(2, 2, 500);
    }
    let compared = reconcile(&shop).await;
    assert_eq!(counts(&compared), (0, 1, vec![4, 6]), "{compared}");
    assert_eq!(shop.show(&order).await["refunded"]["amount_minor"], 500);
}

/// A capture that the acquirer refused has no place, and nothing to be undone.
#[tokio::test]
async fn reversal_of_a_place_that_is_not_known_undoes_no_refused_capture() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    Wallet::new(&world.pki, 1).buy(&shop, &order).await;
    world.bank.be(Mood::RefusesCaptures);
    assert_eq!(shop.capture(&order, Some("refused")).await.0, 502);
    world.bank.be(Mood::Approves);
    assert_eq!(shop.capture(&order, Some("key")).await.0, 200);
    world.bank.state.batches.lock().unwrap().undo(1, 99, 1500);
    let compared = reconcile(&shop).await;
    assert_eq!(counts(&compared), (0, 0, vec![2]), "{compared}");
    assert_eq!(shop.show(&order).await["state"], "captured");
}

#[tokio::test]
async fn what_is_asked_for_is_awaited_and_so_is_what_undid_it() {
    let world = World::new().await;
    let shop = world.open_shop_waiting(300).await;
    sold(&world, &shop).await;
    let order = shop.order().await;
    Wallet::new(&world.pki, 1).buy(&shop, &order).await;
    shop.wait_for_state(&order, "authorized").await;
    world.bank.be(Mood::LosesAnswers);
    assert_eq!(shop.capture(&order, Some("key")).await.0, 202);
    world.bank.wait_for_items(2).await;
    shop.close().await;
    let later = "UPDATE outbox SET next_attempt_at_ms = deadline_at_ms - 1000, lease_until_ms = 0";
    world.alter(later).await;
    world.bank.be(Mood::Approves);
    world.bank.state.batches.lock().unwrap().undo(2, 2, 1500);
    let shop = world.open_shop().await;
    let compared = reconcile(&shop).await;
    assert_eq!(counts(&compared), (0, 0, vec![2, 3]), "{compared}");
    for difference in compared["differences"].as_array().unwrap() {
        assert_eq!(difference["awaited"], true, "{compared}");
    }
    assert_eq!(shop.show(&order).await["state"], "capturing");
    shop.close().await;
}

#[tokio::test]
async fn orders_are_listed_as_a_purge_left_them() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = sold(&world, &shop).await;
    let purged = shop.post("/batches/batch-1/purge", Some("purge"), "").await;
    assert_eq!(purged.0, 200, "{}", purged.1);
    let (_, page) = shop.get("/orders?state=authorized", Some(OPERATOR)).await;
    assert_eq!(page["items"][0]["order_id"], order.lid_m.as_str());
}
