//! Orders that are paid in parts, or again and again: what the wallet is offered, and what the gateway is asked.

use openset_protocol::messages::install_recur::InstallRecurData;
use serde_json::json;

use crate::bank::Mood;
use crate::shop::World;
use crate::wallet::Wallet;

/// Three equal parts of 100.00 EUR, and what does not divide.
const MACHINE: &[(&str, u64)] = &[("espresso-machine", 1)];
const SUBSCRIPTION: &[(&str, u64)] = &[("subscription-250", 2)];

#[tokio::test]
async fn order_in_instalments_is_offered_with_its_plan_and_the_first_is_asked_for() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order_of(MACHINE).await;
    assert_eq!(order.plan, Some(InstallRecurData::InstallTotalTrans(3)));
    Wallet::new(&world.pki, 1).buy(&shop, &order).await;
    let view = shop.show(&order).await;
    assert_eq!(view["state"], "authorized", "{view}");
    assert_eq!(view["plan"], json!({"install_total_trans": 3}), "{view}");
    let first = &view["authorizations"][0]["asked"]["amount_minor"];
    assert_eq!(first, 16_634, "{view}");
}

#[tokio::test]
async fn order_that_is_paid_again_and_again_is_offered_with_its_interval_and_end() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order_of(SUBSCRIPTION).await;
    let Some(InstallRecurData::Recurring {
        frequency_days: 28,
        expiry,
    }) = order.plan
    else {
        panic!("{:?}", order.plan)
    };
    assert!(
        expiry.to_string().ends_with("T23:59:59Z"),
        "the end of a day: {expiry}"
    );
    Wallet::new(&world.pki, 1).buy(&shop, &order).await;
    let view = shop.show(&order).await;
    let first = &view["authorizations"][0]["asked"]["amount_minor"];
    assert_eq!(first, &view["amount"]["amount_minor"], "{view}");
}

/// A shop that asks for what the wallet did not agree to gets orderRejected, from itself: HOD covers the plan.
#[tokio::test]
async fn purchase_of_a_wallet_that_saw_another_plan_is_rejected() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order_of(MACHINE).await;
    for plan in [None, Some(InstallRecurData::InstallTotalTrans(4))] {
        let mut seen = order.clone();
        seen.plan = plan;
        Wallet::new(&world.pki, 1).buy(&shop, &seen).await;
        assert_eq!(world.bank.received("AuthReq").1, 0);
    }
}

#[tokio::test]
async fn basket_of_two_plans_is_refused() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let items = json!({"items": [
        {"product_id": "espresso-machine", "quantity": 1}, {"product_id": "espresso-250", "quantity": 1},
    ]});
    let (status, problem) = shop.post("/orders", None, &items.to_string()).await;
    assert_eq!(status, 422, "{problem}");
    assert_eq!(problem["errors"][0]["pointer"], "/items/1/product_id");
}

#[tokio::test]
async fn declined_order_in_instalments_may_be_paid_anew() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order_of(MACHINE).await;
    world.bank.be(Mood::Declines);
    let wallet = Wallet::new(&world.pki, 1);
    wallet.buy(&shop, &order).await;
    world.bank.be(Mood::Approves);
    wallet.buy(&shop, &order).await;
    assert_eq!(shop.show(&order).await["state"], "authorized");
}
