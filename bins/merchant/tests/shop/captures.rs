//! The shop asks for its money: once.

use openset_protocol::cardholder::purchase::PaymentStatus;
use serde_json::json;

use crate::bank::Mood;
use crate::shop::World;
use crate::wallet::Wallet;

#[tokio::test]
async fn capture_happens_once() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let (status, problem) = shop.capture(&order, Some("too-early")).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (409, Some("not-authorized"))
    );

    let wallet = Wallet::new(&world.pki, 1);
    let (step, _) = wallet.buy(&shop, &order).await;
    let (status, captured) = shop.capture(&order, Some("key-1")).await;
    assert_eq!(
        (status, captured["state"].as_str()),
        (200, Some("captured"))
    );
    assert_eq!(captured["captured"]["amount_minor"], 1500);

    let again = shop.capture(&order, Some("key-1")).await;
    assert_eq!(again, (200, captured), "the same key, the same answer");
    let (status, problem) = shop.capture(&order, Some("key-2")).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (409, Some("already-captured"))
    );
    let (status, problem) = shop.capture(&order, None).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (400, Some("idempotency-key-missing"))
    );
    assert_eq!(world.bank.received("CapReq"), (1, 1));

    let view = shop.show(&order).await;
    assert_eq!(view["state"], "captured");
    assert_eq!(view["capture"]["amount"]["amount_minor"], 1500);
    assert_eq!(
        view["steps"].as_array().unwrap().last().unwrap()["step"],
        11
    );
    let inquired = wallet.inquire(&shop, &step.state).await.unwrap();
    assert!(format!("{:?}", inquired.completion_code).contains("CapturePerformed"));
}

#[tokio::test]
async fn capture_key_for_another_order_is_refused() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let wallet = Wallet::new(&world.pki, 1);
    let (one, other) = (shop.order().await, shop.order().await);
    wallet.buy(&shop, &one).await;
    wallet.buy(&shop, &other).await;
    assert_eq!(shop.capture(&one, Some("key")).await.0, 200);
    let (status, problem) = shop.capture(&other, Some("key")).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (422, Some("idempotency-key-reused"))
    );
    assert_eq!(shop.show(&other).await["state"], "authorized");
}

#[tokio::test]
async fn capture_goes_on_when_the_gateway_is_down() {
    let world = World::new().await;
    let shop = world.open_shop_waiting(300).await;
    let order = shop.order().await;
    Wallet::new(&world.pki, 1).buy(&shop, &order).await;
    shop.wait_for_state(&order, "authorized").await;
    world.bank.be(Mood::Down);
    let (status, answer) = shop.capture(&order, Some("key")).await;
    assert_eq!((status, answer["state"].as_str()), (202, Some("capturing")));
    let (status, _) = shop.capture(&order, Some("key")).await;
    assert_eq!(status, 202);
    world.bank.be(Mood::LosesAnswers);
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    world.bank.be(Mood::Approves);
    shop.wait_for_state(&order, "captured").await;
    let (status, answer) = shop.capture(&order, Some("key")).await;
    assert_eq!((status, answer["state"].as_str()), (200, Some("captured")));
    assert_eq!(
        world.bank.received("CapReq").0,
        1,
        "the same bytes each time"
    );
}

#[tokio::test]
async fn refused_capture_may_be_tried_again_under_another_key() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    Wallet::new(&world.pki, 1).buy(&shop, &order).await;
    world.bank.be(Mood::RefusesCaptures);
    let refused = shop.capture(&order, Some("key-1")).await;
    assert_eq!(
        (refused.0, refused.1["code"].as_str()),
        (502, Some("capture-refused"))
    );
    assert!(
        refused.1["detail"]
            .as_str()
            .unwrap()
            .contains("unspecifiedFailure"),
        "{}",
        refused.1
    );
    assert_eq!(shop.show(&order).await["state"], "authorized");

    world.bank.be(Mood::Approves);
    assert_eq!(shop.capture(&order, Some("key-1")).await, refused);
    assert_eq!(shop.capture(&order, Some("key-2")).await.0, 200);
    assert_eq!(shop.show(&order).await["state"], "captured");
}

#[tokio::test]
async fn hold_that_ran_out_is_given_back_so_that_shop_and_wallet_see_it() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let wallet = Wallet::new(&world.pki, 1);
    let (step, _) = wallet.buy(&shop, &order).await;
    world.bank.be(Mood::HoldRanOut);
    let (status, problem) = shop.capture(&order, Some("key")).await;
    assert_eq!((status, &problem["code"]), (502, &json!("capture-refused")));
    let view = shop.wait_for_state(&order, "reversed").await;
    assert_eq!(view["reversed"]["amount_minor"], 1500);
    assert_eq!(world.bank.received("AuthRevReq").0, 1);
    let inquired = wallet.inquire(&shop, &step.state).await.unwrap();
    assert_eq!(inquired.status, PaymentStatus::Reversed);
    let (_, problem) = shop.capture(&order, Some("late")).await;
    assert_eq!(problem["code"], "not-authorized");
}

#[tokio::test]
async fn captures_at_once_ask_the_gateway_once() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    Wallet::new(&world.pki, 1).buy(&shop, &order).await;
    let (a, b, c) = tokio::join!(
        shop.capture(&order, Some("a")),
        shop.capture(&order, Some("b")),
        shop.capture(&order, Some("c"))
    );
    let mut statuses = [a.0, b.0, c.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409]);
    assert_eq!(world.bank.received("CapReq"), (1, 1));
}
