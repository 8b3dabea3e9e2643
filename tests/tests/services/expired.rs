//! A hold that runs out, through all services: shop and wallet learn of it, whether the shop gives it back or finds out
//! when it captures.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::time::Duration;

use openset_tests::{Answer, World, fresh};
use serde_json::json;

use super::audit::at_rest;

/// Waits until a party says that this stands so.
async fn until(world: &World, party: &str, path: &str, state: &str) {
    for _ in 0..1200 {
        let view = world.get(party, path).await.unwrap();
        if view.text("/state") == state {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let view = world.get(party, path).await.unwrap();
    panic!("{path} does not become {state}: {:?}", view.json);
}

#[tokio::test]
async fn hold_that_ran_out_is_reversed_for_shop_and_wallet_by_whichever_way_it_is_learned() {
    let world = World::start_with(|party, table| {
        if party == "issuer" {
            table.insert("hold_lifetime_seconds".to_owned(), 3.into());
            table.insert("sweep_seconds".to_owned(), 1.into());
        }
    })
    .await;
    let account = world.account(100_000, &json!({})).await;
    let card_id = world.card(&account).await;
    let mut bought: Vec<Answer> = Vec::new();
    for _ in 0..2 {
        let purchase = world.purchase(&card_id, &fresh()).await.unwrap();
        assert_eq!(purchase.text("/status"), "paid", "{:?}", purchase.json);
        bought.push(purchase);
    }
    for purchase in &bought {
        let path = format!("authorizations/{}", purchase.text("/xid"));
        until(&world, "gateway", &path, "expired").await;
    }
    let order = |place: usize| format!("orders/{}", bought[place].text("/order_id"));
    let path = format!("{}/reverse", order(0));
    let reversed = world.post("merchant", &path, &fresh(), &json!({})).await;
    let reversed = reversed.unwrap();
    assert_eq!(reversed.text("/state"), "reversed", "{:?}", reversed.json);
    let path = format!("{}/capture", order(1));
    let late = world.post("merchant", &path, &fresh(), &json!({})).await;
    let late = late.unwrap();
    assert_eq!(late.text("/code"), "capture-refused", "{:?}", late.json);
    for (place, purchase) in bought.iter().enumerate() {
        until(&world, "merchant", &order(place), "reversed").await;
        let inquired = world.settled(purchase.text("/purchase_id")).await;
        assert_eq!(inquired.text("/status"), "reversed", "{:?}", inquired.json);
    }
    let mut view = world.account_view(&account).await;
    for _ in 0..600 {
        if view["held"]["amount_minor"] == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        view = world.account_view(&account).await;
    }
    assert_eq!(view["held"]["amount_minor"], 0, "{view}");
    assert_eq!(view["balance"]["amount_minor"], 0, "{view}");
    at_rest(&world.audit_options()).await;
}
