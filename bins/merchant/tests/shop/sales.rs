//! What is delivered at once is sold: captured with its authorization.

use openset_protocol::messages::p::CompletionCode;
use serde_json::{Value, json};

use crate::bank::Mood;
use crate::movements::{ALL_DEADLINES_OVER, TWELVE_MINUTES_LATER};
use crate::refunds::code;
use crate::shop::{OPERATOR, Shop, World};
use crate::wallet::Wallet;

const VOUCHER: &[(&str, u64)] = &[("voucher-tasting", 1)];

#[tokio::test]
async fn order_of_what_is_delivered_at_once_is_captured_with_its_authorization() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order_of(VOUCHER).await;
    let wallet = Wallet::new(&world.pki, 1);
    let (step, bought) = wallet.buy(&shop, &order).await;
    assert_eq!(bought.completion_code, CompletionCode::CapturePerformed);
    let view = shop.show(&order).await;
    assert_eq!(view["state"], "captured", "{view}");
    assert_eq!(view["capture"]["amount"]["amount_minor"], 5800, "{view}");
    assert_eq!(world.bank.received("CapReq").1, 0);
    let (status, problem) = shop.capture(&order, Some("key")).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (409, Some("already-captured"))
    );
    let told = wallet.inquire(&shop, &step.state).await.unwrap();
    assert_eq!(told.completion_code, CompletionCode::CapturePerformed);
    // It goes back as whatever was captured does.
    let refunded = shop
        .ask(&order, "refund", "back", serde_json::json!({}))
        .await;
    assert_eq!(refunded.0, 200, "{}", refunded.1);
    assert_eq!(shop.show(&order).await["state"], "refunded");
}

#[tokio::test]
async fn order_of_which_something_is_still_to_be_sent_is_only_authorized() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop
        .order_of(&[("voucher-tasting", 1), ("espresso-250", 1)])
        .await;
    let (_, bought) = Wallet::new(&world.pki, 1).buy(&shop, &order).await;
    assert_eq!(
        bought.completion_code,
        CompletionCode::AuthorizationPerformed
    );
    assert_eq!(shop.show(&order).await["state"], "authorized");
}

#[tokio::test]
async fn sale_that_could_not_be_captured_is_captured_later() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order_of(VOUCHER).await;
    world.bank.be(Mood::RefusesCaptures);
    let (_, bought) = Wallet::new(&world.pki, 1).buy(&shop, &order).await;
    assert_eq!(
        bought.completion_code,
        CompletionCode::AuthorizationPerformed
    );
    let view = shop.show(&order).await;
    assert_eq!(view["state"], "authorized", "{view}");
    world.bank.be(Mood::Approves);
    let (status, captured) = shop.capture(&order, Some("key")).await;
    assert_eq!(status, 200, "{captured}");
    assert_eq!(shop.show(&order).await["state"], "captured");
    assert_eq!(world.bank.received("CapReq"), (1, 1));
}

#[tokio::test]
async fn sale_that_is_declined_may_be_paid_in_another_way() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order_of(VOUCHER).await;
    world.bank.be(Mood::Declines);
    let wallet = Wallet::new(&world.pki, 1);
    wallet.buy(&shop, &order).await;
    assert_eq!(shop.show(&order).await["state"], "declined");
    world.bank.be(Mood::Approves);
    wallet.buy(&shop, &order).await;
    assert_eq!(shop.show(&order).await["state"], "captured");
}

/// The answer is lost, and so is the shop: asked again, the bank says the same, and it is booked once.
#[tokio::test]
async fn sale_whose_answer_was_lost_is_booked_once() {
    let world = World::new().await;
    let shop = world.open_shop_waiting(300).await;
    let order = shop.order_of(VOUCHER).await;
    world.bank.be(Mood::LosesAnswers);
    Wallet::new(&world.pki, 1).buy(&shop, &order).await;
    assert_eq!(shop.show(&order).await["state"], "ordered");
    shop.close().await;
    world.bank.be(Mood::Approves);
    let shop = world.open_shop().await;
    let view = shop.wait_for_state(&order, "captured").await;
    assert_eq!(view["capture"]["amount"]["amount_minor"], 5800, "{view}");
    assert_eq!(world.bank.received("AuthReq").0, 1, "the same bytes");
}

/// The acquirer's batch has what the shop has not heard of.
async fn reconcile(shop: &Shop) -> Value {
    let opened = json!({"currency": "EUR"}).to_string();
    let (status, problem) = shop.post("/batches", Some("which"), &opened).await;
    assert_eq!(code(&(status, problem)), (409, "batch-already-open"));
    let (status, compared) = shop.post("/batches/batch-1/reconcile", None, "").await;
    assert_eq!(status, 200, "{compared}");
    compared
}

#[tokio::test]
async fn sale_that_nobody_answers_is_given_back_capture_and_all() {
    let world = World::new().await;
    let shop = world.open_shop_waiting(300).await;
    let order = shop.order_of(VOUCHER).await;
    // The bank is paid, and nobody here knows.
    world.bank.be(Mood::LosesAnswers);
    let wallet = Wallet::new(&world.pki, 1);
    let (step, _) = wallet.buy(&shop, &order).await;
    shop.close().await;
    world.alter(ALL_DEADLINES_OVER).await;
    world.bank.be(Mood::Down);
    let shop = world.open_shop_waiting(300).await;
    let view = shop.wait_for_state(&order, "reversing").await;
    assert!(view["failure"].is_string(), "{view}");
    let told = wallet.inquire(&shop, &step.state).await.unwrap();
    assert_eq!(told.completion_code, CompletionCode::OrderReceived);
    // Nobody pays for it twice.
    let (_, other) = Wallet::new(&world.pki, 2).buy(&shop, &order).await;
    assert_eq!(other.completion_code, CompletionCode::OrderRejected);
    world.bank.be(Mood::Approves);
    let view = shop.wait_for_state(&order, "failed").await;
    assert!(view.get("capture").is_none(), "{view}");
    assert_eq!(world.bank.received("AuthRevReq").0, 1);
    let told = wallet.inquire(&shop, &step.state).await.unwrap();
    assert_eq!(told.completion_code, CompletionCode::OrderRejected);

    // What came and went stands in the batch: with it both count the same.
    let compared = reconcile(&shop).await;
    let found = (
        &compared["placed"],
        &compared["purged"],
        &compared["differences"],
    );
    assert_eq!(found, (&json!(2), &json!(0), &json!([])), "{compared}");
    let again = shop.post("/batches/batch-1/reconcile", None, "").await.1;
    let found = (&again["placed"], &again["differences"]);
    assert_eq!(found, (&json!(0), &json!([])), "{again}");
    let (status, books) = shop.get("/ledger", Some(OPERATOR)).await;
    assert_eq!((status, &books["balanced"]), (200, &json!(true)));
    for account in books["accounts"].as_array().unwrap() {
        assert_eq!(account["balance_minor"], 0, "{books}");
    }
    let closed = shop.post("/batches/batch-1/close", Some("close"), "").await;
    assert_eq!(closed.0, 200, "{}", closed.1);
    assert_eq!(shop.show(&order).await["state"], "failed");
    shop.close().await;
}

#[tokio::test]
async fn sale_that_the_bank_does_not_give_back_is_never_called_failed() {
    let world = World::new().await;
    let shop = world.open_shop_waiting(300).await;
    let order = shop.order_of(VOUCHER).await;
    world.bank.be(Mood::LosesAnswers);
    let wallet = Wallet::new(&world.pki, 1);
    let (step, _) = wallet.buy(&shop, &order).await;
    shop.close().await;
    world.alter(ALL_DEADLINES_OVER).await;
    world.bank.be(Mood::RefusesReversals);
    let shop = world.open_shop_waiting(300).await;
    let unanswered = "/orders?state=unanswered";
    for _ in 0..1200 {
        let (_, page) = shop.get(unanswered, Some(OPERATOR)).await;
        if page["items"][0]["order_id"] == order.lid_m.as_str() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let view = shop.show(&order).await;
    assert_eq!(view["state"], "reversing", "{view}");
    let refusal = view["reversal_refusal"].as_str().unwrap();
    assert!(refusal.contains("invalidTransaction"), "{view}");
    let (_, page) = shop.get(unanswered, Some(OPERATOR)).await;
    assert_eq!(page["items"][0]["order_id"], order.lid_m.as_str());
    let told = wallet.inquire(&shop, &step.state).await.unwrap();
    assert_eq!(told.completion_code, CompletionCode::OrderReceived);
    shop.close().await;
}

#[tokio::test]
async fn sale_whose_answer_is_waited_for_is_awaited_in_the_batch() {
    let world = World::new().await;
    let shop = world.open_shop_waiting(300).await;
    let order = shop.order_of(VOUCHER).await;
    world.bank.be(Mood::LosesAnswers);
    Wallet::new(&world.pki, 1).buy(&shop, &order).await;
    shop.close().await;
    let later = "UPDATE outbox SET next_attempt_at_ms = deadline_at_ms - 1000, lease_until_ms = 0";
    world.alter(later).await;
    world.bank.be(Mood::Approves);
    let shop = world.open_shop_waiting(300).await;
    let compared = reconcile(&shop).await;
    let difference = &compared["differences"][0];
    let found = (&difference["missing"], &difference["awaited"]);
    assert_eq!(found, (&json!("here"), &json!(true)), "{compared}");
    assert_eq!(shop.show(&order).await["state"], "ordered");
    shop.close().await;
}

/// Nobody signed the Error: the bank may have made the sale before.
#[tokio::test]
async fn sale_that_an_error_of_nobody_ends_is_given_back_too() {
    let world = World::new().await;
    let shop = world.open_shop_waiting(300).await;
    let order = shop.order_of(VOUCHER).await;
    world.bank.be(Mood::Errors);
    Wallet::new(&world.pki, 1).buy(&shop, &order).await;
    assert_eq!(shop.show(&order).await["state"], "ordered");
    shop.close().await;
    world.alter(TWELVE_MINUTES_LATER).await;
    let shop = world.open_shop_waiting(300).await;
    shop.wait_for_state(&order, "reversing").await;
    world.bank.be(Mood::Approves);
    shop.wait_for_state(&order, "failed").await;
    assert_eq!(world.bank.received("AuthReq").0, 1, "the same bytes");
    assert_eq!(world.bank.received("AuthRevReq").0, 1);
    shop.close().await;
}

/// What the gateway has signed is over at once, without a reversal.
#[tokio::test]
async fn authorization_that_the_gateway_refuses_for_good_has_failed_and_nothing_is_given_back() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    for items in [VOUCHER, &[("espresso-250", 1)]] {
        let order = shop.order_of(items).await;
        let wallet = Wallet::new(&world.pki, 1);
        // The bank signs for whoever has signed an AuthReq before.
        wallet.buy(&shop, &shop.order().await).await;
        world.bank.be(Mood::RefusesForGood);
        let (step, bought) = wallet.buy(&shop, &order).await;
        assert_eq!(bought.completion_code, CompletionCode::OrderRejected);
        let view = shop.show(&order).await;
        assert_eq!(view["state"], "failed", "{view}");
        let why = view["failure"].as_str().unwrap();
        assert!(why.contains("MessageTooOld"), "{view}");
        let told = wallet.inquire(&shop, &step.state).await.unwrap();
        assert_eq!(told.completion_code, CompletionCode::OrderRejected);
        world.bank.be(Mood::Approves);
    }
    assert_eq!(world.bank.received("AuthRevReq").1, 0);
    shop.close().await;
}

/// Signed, but about other bytes, is anybody's word.
#[tokio::test]
async fn authorization_outlives_an_error_that_the_gateway_signed_about_another_request() {
    let world = World::new().await;
    let shop = world.open_shop_waiting(300).await;
    let wallet = Wallet::new(&world.pki, 1);
    let first = shop.order().await;
    wallet.buy(&shop, &first).await;
    shop.wait_for_state(&first, "authorized").await;
    world.bank.be(Mood::RefusesOthersForGood);
    let order = shop.order_of(VOUCHER).await;
    wallet.buy(&shop, &order).await;
    assert_eq!(shop.show(&order).await["state"], "ordered");
    world.bank.be(Mood::Approves);
    shop.wait_for_state(&order, "captured").await;
    assert_eq!(world.bank.received("AuthRevReq").1, 0);
    shop.close().await;
}
