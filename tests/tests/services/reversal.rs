//! An authorization is given back through all services: the bank's hold, the acquirer's record, the shop's order and
//! the wallet's purchase agree, also when a service is killed meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use openset_tests::{Account, Answer, World, fresh};
use serde_json::{Value, json};

async fn bought(world: &World) -> (Account, Answer, u64) {
    let account = world.account(100_000, &json!({})).await;
    let card_id = world.card(&account).await;
    let answer = world.purchase(&card_id, &fresh()).await.unwrap();
    assert_eq!(answer.text("/status"), "paid", "{:?}", answer.json);
    let held = held_minor(&world.account_view(&account).await);
    (account, answer, held)
}

/// What the bank holds of an account.
fn held_minor(view: &Value) -> u64 {
    let holds = view["holds"].as_array().expect("holds");
    let minor = |hold: &Value| {
        let of = |name: &str| hold[name]["amount_minor"].as_u64().unwrap_or(0);
        of("amount") - of("reversed")
    };
    holds.iter().map(minor).sum()
}

async fn gateway_says(world: &World, bought: &Answer) -> Value {
    let path = format!("authorizations/{}", bought.text("/xid"));
    world.get("gateway", &path).await.unwrap().json
}

#[tokio::test]
async fn a_part_is_given_back_and_what_is_left_is_captured() {
    let world = World::start().await;
    let (account, purchase, amount) = bought(&world).await;
    let path = format!("orders/{}/reverse", purchase.text("/order_id"));
    let left = amount - 100;
    let body = json!({"new_amount": {"currency": "EUR", "amount_minor": left}});
    let key = fresh();
    let first = world.post("merchant", &path, &key, &body).await.unwrap();
    assert_eq!(first.json["authorized"]["amount_minor"], left);
    let again = world.post("merchant", &path, &key, &body).await.unwrap();
    assert_eq!(again.bytes, first.bytes);
    assert_eq!(held_minor(&world.account_view(&account).await), left);

    let purchase_id = purchase.text("/purchase_id").to_owned();
    let path = format!("purchases/{purchase_id}/inquiry");
    let told = world.post("cardholder", &path, &fresh(), &json!({})).await;
    let told = told.unwrap();
    assert_eq!(told.text("/status"), "paid", "{:?}", told.json);
    let receipt = &told.json["receipt"]["auth_amt"];
    assert_eq!(receipt["amount"], left, "{:?}", told.json);

    let path = format!("orders/{}/capture", purchase.text("/order_id"));
    let captured = world.post("merchant", &path, &fresh(), &json!({})).await;
    assert_eq!(captured.unwrap().json["captured"]["amount_minor"], left);
    let view = world.account_view(&account).await;
    assert_eq!(held_minor(&view), 0);
    let state = gateway_says(&world, &purchase).await["state"].clone();
    assert_eq!(state, "captured");
}

#[tokio::test]
async fn all_is_given_back_although_the_gateway_is_killed_meanwhile() {
    let mut world = World::start().await;
    let (account, purchase, _) = bought(&world).await;
    world.kill("gateway");
    let path = format!("orders/{}/reverse", purchase.text("/order_id"));
    let key = fresh();
    let asked = world.post("merchant", &path, &key, &json!({})).await;
    assert_eq!(asked.unwrap().text("/state"), "reversing");
    world.restart("gateway").await;
    let mut answer = world.post("merchant", &path, &key, &json!({})).await;
    for _ in 0..600 {
        if answer
            .as_ref()
            .is_some_and(|it| it.text("/state") == "reversed")
        {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        answer = world.post("merchant", &path, &key, &json!({})).await;
    }
    assert_eq!(answer.unwrap().text("/state"), "reversed");
    assert_eq!(held_minor(&world.account_view(&account).await), 0);
    let state = gateway_says(&world, &purchase).await["state"].clone();
    assert_eq!(state, "reversed");
    let path = format!("purchases/{}/inquiry", purchase.text("/purchase_id"));
    let told = world.post("cardholder", &path, &fresh(), &json!({})).await;
    assert_eq!(told.unwrap().text("/status"), "reversed");
}
