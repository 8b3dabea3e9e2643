//! A batch through all services: captured and refunded, closed, settled by the issuer, paid out, and seen by the shop; the
//! books of all three agree, also when the gateway is killed in the middle.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::process::Command;
use std::time::Duration;

use openset_tests::{Answer, World, fresh};
use serde_json::{Value, json};

use super::audit::at_rest;

/// An order that was bought and captured; its path.
async fn sold(world: &World, card_id: &str) -> String {
    let purchase = world.purchase(card_id, &fresh()).await.unwrap();
    assert_eq!(purchase.text("/status"), "paid", "{:?}", purchase.json);
    let path = format!("orders/{}", purchase.text("/order_id"));
    let captured = world
        .post("merchant", &format!("{path}/capture"), &fresh(), &json!({}))
        .await
        .unwrap();
    assert_eq!(captured.status, 200, "{:?}", captured.json);
    path
}

/// Two captures and a refund of 3.00: the batch's name, and what it comes to.
async fn two_captures_and_a_refund(world: &World) -> (String, i64) {
    let account = world.account(1_000_000, &json!({})).await;
    let card_id = world.card(&account).await;
    let (_, price) = world.product().await;
    let order = sold(world, &card_id).await;
    sold(world, &card_id).await;
    let body = json!({"amount": {"currency": "EUR", "amount_minor": 300}});
    let refunded = world
        .post("merchant", &format!("{order}/refund"), &fresh(), &body)
        .await
        .unwrap();
    assert_eq!(refunded.status, 200, "{:?}", refunded.json);
    let batch = refunded.text("/batch/batch_id").to_owned();
    (batch, i64::try_from(price).unwrap() * 2 - 300)
}

/// Asks for the same until it is answered for good.
async fn close(world: &World, batch: &str, key: &str) -> Answer {
    let path = format!("batches/{batch}/close");
    for _ in 0..1800 {
        let answer = world.post("merchant", &path, key, &json!({})).await;
        if let Some(answer) = answer.filter(|answer| ![202, 503].contains(&answer.status)) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it was not closed:\n{}", world.log("merchant"));
}

/// Waits until the shop has seen the payout.
async fn paid_out(world: &World, batch: &str) -> Value {
    for _ in 0..1800 {
        let view = world.get("merchant", &format!("batches/{batch}")).await;
        if let Some(view) = view.filter(|view| view.json["payout"].is_object()) {
            return view.json;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no payout was seen:\n{}", world.log("merchant"));
}

/// What stands in an account of a party's books.
async fn balance(world: &World, party: &str, account: &str) -> i64 {
    let books = world.get(party, "ledger").await.unwrap();
    let accounts = books.json["accounts"].as_array().unwrap();
    let of = accounts.iter().find(|one| one["id"] == account);
    of.map_or(0, |one| one["balance_minor"].as_i64().unwrap())
}

/// What `openset merchant` prints.
async fn staff(world: &World, arguments: &[&str]) -> String {
    let mut command = Command::new(openset_tests::openset());
    command.arg("merchant").args(arguments);
    command.args(["--url", world.url("merchant")]);
    command.env(
        "OPENSET_MERCHANT_TOKEN",
        world.file.tokens.merchant.as_str(),
    );
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {said}{error}");
    said
}

#[tokio::test]
async fn closed_batch_is_settled_and_paid_out_and_all_books_agree() {
    let world = World::start().await;
    let (batch, net) = two_captures_and_a_refund(&world).await;
    assert_eq!(
        balance(&world, "merchant", "receivable/acquirer/EUR").await,
        net
    );
    let key = fresh();
    let closed = close(&world, &batch, &key).await;
    assert_eq!(closed.text("/state"), "closed", "{:?}", closed.json);
    assert_eq!(close(&world, &batch, &key).await.bytes, closed.bytes);
    let view = paid_out(&world, &batch).await;
    assert_eq!(view["payout"]["amount"]["amount_minor"], net);
    assert_eq!(view["ours"], view["acquirers"]);
    assert_eq!(
        balance(&world, "merchant", "receivable/acquirer/EUR").await,
        0
    );
    assert_eq!(balance(&world, "merchant", "bank/EUR").await, net);
    assert_eq!(balance(&world, "merchant", "sales/EUR").await, -net);
    assert_eq!(balance(&world, "gateway", "cash/EUR").await, 0);
    at_rest(&world.audit_options()).await;
}

#[tokio::test]
async fn purged_batch_leaves_the_orders_authorized_everywhere() {
    let world = World::start().await;
    let (batch, _) = two_captures_and_a_refund(&world).await;
    let shown = staff(&world, &["batches", "--state", "open"]).await;
    assert!(shown.starts_with(&format!("{batch}  open")), "{shown}");
    let same = staff(&world, &["reconcile-batch", &batch]).await;
    assert_eq!(same, "both have the same\n");
    let path = format!("batches/{batch}/purge");
    let mut undone = 0;
    for _ in 0..5 {
        let purged = world.post("merchant", &path, &fresh(), &json!({})).await;
        let purged = purged.unwrap();
        assert_eq!(purged.status, 200, "{:?}", purged.json);
        let now = purged.json["undone"].as_array().unwrap().len();
        undone += now;
        if now == 0 {
            break;
        }
    }
    assert_eq!(undone, 3);
    for account in ["receivable/acquirer/EUR", "sales/EUR"] {
        assert_eq!(balance(&world, "merchant", account).await, 0);
    }
    let authorized = world
        .get("merchant", "orders?state=authorized")
        .await
        .unwrap();
    assert_eq!(authorized.json["items"].as_array().unwrap().len(), 2);
    let closed = staff(&world, &["close-batch", &batch]).await;
    assert_eq!(closed, format!("closed, batch {batch}\n"));
    paid_out(&world, &batch).await;
    let shown = staff(&world, &["batch", &batch]).await;
    assert!(shown.contains("(credit), 2"), "{shown}");
    let books = staff(&world, &["ledger"]).await;
    assert!(books.contains("sales/EUR"), "{books}");
    at_rest(&world.audit_options()).await;
}

#[tokio::test]
async fn gateway_that_is_killed_while_it_closes_and_settles_pays_once() {
    let mut world = World::start_with(|party, table| {
        if party == "issuer" {
            table.insert("danger_pause_after_commit_ms".to_owned(), 300.into());
        }
    })
    .await;
    let (batch, net) = two_captures_and_a_refund(&world).await;
    let key = fresh();
    let path = format!("batches/{batch}/close");
    for after_ms in [5, 40, 200, 700] {
        let asked = json!({});
        let closing = world.post("merchant", &path, &key, &asked);
        tokio::select! {
            _ = closing => {}
            () = tokio::time::sleep(Duration::from_millis(after_ms)) => {}
        }
        world.kill("gateway");
        world.restart("gateway").await;
    }
    let closed = close(&world, &batch, &key).await;
    assert_eq!(closed.text("/state"), "closed", "{:?}", closed.json);
    paid_out(&world, &batch).await;
    assert_eq!(balance(&world, "merchant", "bank/EUR").await, net);
    assert_eq!(balance(&world, "gateway", "cash/EUR").await, 0);
    at_rest(&world.audit_options()).await;
}
