//! A sale through all services: the bank's account, the acquirer's books, the shop's order and the wallet's purchase say at
//! once that it is paid, also where the gateway is killed meanwhile; and it goes back as what was captured later does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use openset::audit::audit;
use openset_store::sqlx::{AnyConnection, Connection as _, Executor as _};
use openset_tests::{Account, Answer, World, fresh};
use serde_json::{Value, json};

use super::audit::at_rest;

const PRODUCT: &str = "voucher-tasting";

async fn price(world: &World) -> u64 {
    let products = world.get("merchant", "products").await.unwrap().json;
    let products = products["products"].as_array().unwrap();
    let product = products.iter().find(|one| one["product_id"] == PRODUCT);
    product.unwrap()["price"]["amount_minor"].as_u64().unwrap()
}

async fn buy(world: &World, card_id: &str) -> Answer {
    let basket = json!({
        "merchant_url": world.url("merchant"), "card_id": card_id,
        "items": [{"product_id": PRODUCT, "quantity": 1}],
        "amount": {"currency": "EUR", "amount_minor": price(world).await},
    });
    let bought = world
        .post("cardholder", "purchases", &fresh(), &basket)
        .await;
    bought.unwrap()
}

/// What the account owes and what is held of it.
async fn owed_and_held(world: &World, account: &Account) -> (Value, Value) {
    let view = world.account_view(account).await;
    let minor = |name: &str| view[name]["amount_minor"].clone();
    (minor("balance"), minor("held"))
}

async fn is_captured_everywhere(world: &World, account: &Account, purchase: &Answer) {
    let price = price(world).await;
    let owed = owed_and_held(world, account).await;
    assert_eq!(owed, (json!(price), json!(0)));
    let order = format!("orders/{}", purchase.text("/order_id"));
    let order = world.get("merchant", &order).await.unwrap();
    assert_eq!(order.text("/state"), "captured", "{:?}", order.json);
    assert_eq!(order.json["capture"]["amount"]["amount_minor"], price);
    let path = format!("authorizations/{}", purchase.text("/xid"));
    let gateway = world.get("gateway", &path).await.unwrap();
    assert_eq!(gateway.text("/state"), "captured", "{:?}", gateway.json);
    let movement = &gateway.json["movements"][0];
    let told = &order.json["authorizations"][0]["captures"][0]["batch"];
    assert!(movement["batch_id"].is_string(), "{:?}", gateway.json);
    for name in ["batch_id", "batch_sequence_num"] {
        assert_eq!(movement[name], told[name]);
    }
}

#[tokio::test]
async fn what_is_delivered_at_once_is_captured_at_once_and_goes_back_like_all_else() {
    let world = World::start().await;
    let account = world.account(100_000, &json!({})).await;
    let card_id = world.card(&account).await;
    let purchase = buy(&world, &card_id).await;
    assert_eq!(purchase.text("/status"), "paid", "{:?}", purchase.json);
    is_captured_everywhere(&world, &account, &purchase).await;

    let order = format!("orders/{}", purchase.text("/order_id"));
    let path = format!("{order}/capture");
    let again = world.post("merchant", &path, &fresh(), &json!({})).await;
    assert_eq!(again.unwrap().text("/code"), "already-captured");
    let path = format!("{order}/reverse");
    let late = world.post("merchant", &path, &fresh(), &json!({})).await;
    assert_eq!(late.unwrap().status, 409);
    let path = format!("{order}/refund");
    let refunded = world.post("merchant", &path, &fresh(), &json!({})).await;
    let refunded = refunded.unwrap();
    assert_eq!(refunded.text("/state"), "refunded", "{:?}", refunded.json);
    assert_eq!(owed_and_held(&world, &account).await, (json!(0), json!(0)));
}

#[tokio::test]
async fn sale_is_captured_once_though_the_gateway_is_killed_meanwhile() {
    let mut world = World::start_with(|party, table| {
        let (name, ms) = match party {
            "gateway" => ("danger_pause_before_issuer_ms", 20_000),
            "merchant" => ("authorization_wait_ms", 1500),
            _ => return,
        };
        table.insert(name.to_owned(), ms.into());
    })
    .await;
    let account = world.account(100_000, &json!({})).await;
    let card_id = world.card(&account).await;
    let pending = buy(&world, &card_id).await;
    assert_eq!(pending.text("/status"), "pending", "{:?}", pending.json);
    world.kill("gateway");
    world.configure("gateway", |table| {
        table.remove("danger_pause_before_issuer_ms");
    });
    world.restart("gateway").await;
    let purchase = world.settled(pending.text("/purchase_id")).await;
    assert_eq!(purchase.text("/status"), "paid", "{:?}", purchase.json);
    is_captured_everywhere(&world, &account, &purchase).await;
}

/// As if a day had passed since the shop asked the gateway.
async fn let_deadlines_pass(world: &World) {
    openset_store::install_database_drivers();
    let file = world.folder_of("merchant").join("merchant.db");
    let url = openset_store::sqlite_url(&file);
    let mut merchant = AnyConnection::connect(&url).await.unwrap();
    let over = "UPDATE outbox SET deadline_at_ms = 1, next_attempt_at_ms = 0, lease_until_ms = 0";
    let done = merchant.execute(over).await.unwrap();
    assert_eq!(done.rows_affected(), 1);
    merchant.close().await.unwrap();
}

/// The bank is paid, and the shop never hears of it.
#[tokio::test]
async fn sale_that_the_gateway_made_unseen_is_taken_back_and_all_books_agree() {
    let mut world = World::start_with(|party, table| {
        if party == "merchant" {
            table.insert("authorization_wait_ms".to_owned(), 1000.into());
        }
    })
    .await;
    let account = world.account(100_000, &json!({})).await;
    let card_id = world.card(&account).await;
    // Another sale, which makes the batch known to the shop.
    let seen = buy(&world, &card_id).await;
    let seen = world.settled(seen.text("/purchase_id")).await;
    assert_eq!(seen.text("/status"), "paid", "{:?}", seen.json);
    let price = price(&world).await;
    world.kill("issuer");
    let pending = buy(&world, &card_id).await;
    assert_eq!(pending.text("/status"), "pending", "{:?}", pending.json);
    world.kill("merchant");
    world.restart("issuer").await;
    let path = format!("authorizations/{}", pending.text("/xid"));
    for _ in 0..1200 {
        let view = world.get("gateway", &path).await.unwrap();
        if view.text("/state") == "captured" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let owed = owed_and_held(&world, &account).await;
    assert_eq!(owed, (json!(2 * price), json!(0)), "it was charged");
    let_deadlines_pass(&world).await;
    world.restart("merchant").await;
    let order = format!("orders/{}", pending.text("/order_id"));
    for _ in 0..1200 {
        let view = world.get("merchant", &order).await.unwrap();
        if view.text("/state") == "failed" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let view = world.get("merchant", &order).await.unwrap();
    assert_eq!(view.text("/state"), "failed", "{:?}", view.json);
    let owed = owed_and_held(&world, &account).await;
    assert_eq!(owed, (json!(price), json!(0)), "it was given back");
    let purchase = world.settled(pending.text("/purchase_id")).await;
    assert_eq!(purchase.text("/status"), "rejected", "{:?}", purchase.json);
    let report = audit(&world.audit_options()).await.unwrap();
    assert!(report.agrees, "{report}");

    let order = format!("orders/{}", seen.text("/order_id"));
    let order = world.get("merchant", &order).await.unwrap();
    let batch = order.text("/authorizations/0/captures/0/batch/batch_id");
    let path = format!("batches/{batch}/reconcile");
    let compared = world.post("merchant", &path, &fresh(), &json!({})).await;
    let compared = compared.unwrap();
    assert_eq!(compared.json["placed"], 2, "{:?}", compared.json);
    assert_eq!(compared.json["differences"], json!([]));
    let path = format!("batches/{batch}/close");
    let closed = world.post("merchant", &path, &fresh(), &json!({})).await;
    let closed = closed.unwrap();
    assert_eq!(closed.text("/state"), "closed", "{:?}", closed.json);
    at_rest(&world.audit_options()).await;
}
