//! The shop gives an authorization back, or a part of it.

use openset_protocol::cardholder::purchase::PaymentStatus;
use serde_json::{Value, json};

use crate::bank::Mood;
use crate::shop::World;
use crate::wallet::Wallet;

fn part(minor: u64) -> Value {
    json!({"new_amount": {"currency": "EUR", "amount_minor": minor}})
}

#[tokio::test]
async fn all_is_given_back_once_and_the_wallet_is_told_by_the_bank() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let (status, problem) = shop.reverse(&order, Some("too-early"), None).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (409, Some("not-authorized"))
    );
    let wallet = Wallet::new(&world.pki, 1);
    let (step, outcome) = wallet.buy(&shop, &order).await;
    assert_eq!(outcome.status, PaymentStatus::Paid);

    let (status, reversed) = shop.reverse(&order, Some("key"), None).await;
    assert_eq!(
        (status, reversed["state"].as_str()),
        (200, Some("reversed"))
    );
    assert_eq!(reversed["authorized"]["amount_minor"], 0);
    let again = shop.reverse(&order, Some("key"), None).await;
    assert_eq!(again, (200, reversed), "the same key, the same answer");
    let (status, problem) = shop.reverse(&order, Some("key-2"), None).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (409, Some("already-reversed"))
    );
    assert_eq!(world.bank.received("AuthRevReq"), (1, 1));
    let (status, _) = shop.capture(&order, Some("late")).await;
    assert_eq!(status, 409);

    let view = shop.show(&order).await;
    assert_eq!(view["state"], "reversed");
    assert_eq!(view["reversed"]["amount_minor"], 1500);
    let inquired = wallet.inquire(&shop, &step.state).await.unwrap();
    assert_eq!(inquired.status, PaymentStatus::Reversed);
    assert!(inquired.is_newer_than(&outcome) && !outcome.is_newer_than(&inquired));
}

#[tokio::test]
async fn what_is_left_after_a_reversal_is_captured() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let wallet = Wallet::new(&world.pki, 1);
    let (step, _) = wallet.buy(&shop, &order).await;
    let (status, reversed) = shop.reverse(&order, Some("key"), Some(part(1000))).await;
    assert_eq!(
        (status, reversed["state"].as_str()),
        (200, Some("authorized"))
    );
    assert_eq!(reversed["authorized"]["amount_minor"], 1000);
    let inquired = wallet.inquire(&shop, &step.state).await.unwrap();
    assert_eq!(inquired.status, PaymentStatus::Paid);
    assert_eq!(inquired.receipt.unwrap().auth_amt.minor(), 1000);
    let (status, captured) = shop.capture(&order, Some("cap")).await;
    assert_eq!(status, 200);
    assert_eq!(captured["captured"]["amount_minor"], 1000);
    let (status, problem) = shop.reverse(&order, Some("late"), None).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (409, Some("already-captured"))
    );
}

/// The wallet would refuse a word of the merchant that no receipt bears out, now and for ever.
#[tokio::test]
async fn reversal_without_a_receipt_leaves_what_the_wallet_was_told() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let wallet = Wallet::new(&world.pki, 1);
    let (step, _) = wallet.buy(&shop, &order).await;
    world.bank.be(Mood::GivesNoReceipts);
    let (status, reversed) = shop.reverse(&order, Some("key"), None).await;
    assert_eq!((status, &reversed["state"]), (200, &json!("reversed")));
    let inquired = wallet.inquire(&shop, &step.state).await.unwrap();
    assert_eq!(inquired.receipt.unwrap().auth_amt.minor(), 1500);
}

#[tokio::test]
async fn bad_reversals_are_named_and_ask_nobody() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    Wallet::new(&world.pki, 1).buy(&shop, &order).await;
    let dollars = json!({"new_amount": {"currency": "USD", "amount_minor": 1}});
    let rows = [
        (None, None, 400, "idempotency-key-missing"),
        (Some("a"), Some(part(1501)), 422, "invalid-field"),
        (Some("b"), Some(dollars), 422, "invalid-field"),
        (Some("c"), Some(json!({"amount": 1})), 422, "invalid-field"),
    ];
    for (key, body, expected, code) in rows {
        let (status, problem) = shop.reverse(&order, key, body).await;
        assert_eq!(
            (status, problem["code"].as_str()),
            (expected, Some(code)),
            "{problem}"
        );
    }
    assert_eq!(world.bank.received("AuthRevReq"), (0, 0));
    assert_eq!(
        shop.reverse(&order, Some("d"), Some(part(1000))).await.0,
        200
    );
    let (status, problem) = shop.reverse(&order, Some("d"), Some(part(900))).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (422, Some("idempotency-key-reused"))
    );
}

#[tokio::test]
async fn reversal_goes_on_when_the_gateway_is_down_and_across_a_restart() {
    let world = World::new().await;
    let shop = world.open_shop_waiting(300).await;
    let order = shop.order().await;
    Wallet::new(&world.pki, 1).buy(&shop, &order).await;
    shop.wait_for_state(&order, "authorized").await;
    world.bank.be(Mood::Down);
    let (status, answer) = shop.reverse(&order, Some("key"), None).await;
    assert_eq!((status, answer["state"].as_str()), (202, Some("reversing")));
    let (status, problem) = shop.capture(&order, Some("cap")).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (409, Some("reversal-in-progress"))
    );
    shop.close().await;
    let shop = world.open_shop().await;
    world.bank.be(Mood::Errors);
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    let state = shop.show(&order).await["state"].clone();
    assert_eq!(
        state, "reversing",
        "an Error that nobody signed ends nothing"
    );
    world.bank.be(Mood::Approves);
    shop.wait_for_state(&order, "reversed").await;
    let (status, answer) = shop.reverse(&order, Some("key"), None).await;
    assert_eq!((status, answer["state"].as_str()), (200, Some("reversed")));
    assert_eq!(world.bank.received("AuthRevReq").0, 1, "the same bytes");
}

#[tokio::test]
async fn refused_reversal_leaves_the_authorization_as_it_was() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    Wallet::new(&world.pki, 1).buy(&shop, &order).await;
    world.bank.be(Mood::RefusesReversals);
    let refused = shop.reverse(&order, Some("key"), None).await;
    assert_eq!(
        (refused.0, refused.1["code"].as_str()),
        (502, Some("reversal-refused"))
    );
    let view = shop.show(&order).await;
    assert_eq!(view["state"], "authorized");
    assert!(
        view["reversal_refusal"]
            .as_str()
            .unwrap()
            .contains("invalidTransaction")
    );
    world.bank.be(Mood::Approves);
    assert_eq!(shop.reverse(&order, Some("key"), None).await, refused);
    assert_eq!(shop.reverse(&order, Some("key-2"), None).await.0, 200);
}

#[tokio::test]
async fn reversals_at_once_ask_the_gateway_once() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    Wallet::new(&world.pki, 1).buy(&shop, &order).await;
    let (a, b, c) = tokio::join!(
        shop.reverse(&order, Some("a"), None),
        shop.reverse(&order, Some("b"), None),
        shop.capture(&order, Some("c"))
    );
    let mut statuses = [a.0, b.0, c.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409]);
}
