//! What is delivered at once is sold: captured with its authorization.

use openset_protocol::messages::p::CompletionCode;

use crate::bank::Mood;
use crate::movements::TWELVE_MINUTES_LATER;
use crate::shop::World;
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

/// A sale that the bank may have made cannot be given back as an authorization can: who ends it must have signed.
#[tokio::test]
async fn error_that_nobody_signed_never_ends_a_sale() {
    let world = World::new().await;
    let shop = world.open_shop_waiting(300).await;
    let order = shop.order_of(VOUCHER).await;
    world.bank.be(Mood::Errors);
    Wallet::new(&world.pki, 1).buy(&shop, &order).await;
    shop.close().await;
    world.alter(TWELVE_MINUTES_LATER).await;
    let shop = world.open_shop_waiting(300).await;
    let before = world.bank.received("AuthReq").1;
    for _ in 0..1200 {
        if world.bank.received("AuthReq").1 > before + 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(shop.show(&order).await["state"], "ordered");
    assert_eq!(world.bank.received("AuthRevReq").1, 0);
    world.bank.be(Mood::Approves);
    shop.wait_for_state(&order, "captured").await;
    assert_eq!(world.bank.received("AuthReq").0, 1, "the same bytes");
    shop.close().await;
}
