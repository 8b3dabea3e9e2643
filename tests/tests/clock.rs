//! What ends by itself: one world inside the test program, whose clock is moved.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::time::{Duration, Instant};

use openset_service::clock;
use openset_tests::{Answer, World, fresh};
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// A CRL's life in this test, in seconds.
const CRL_LIFETIME_S: i64 = 3600;

/// Waits until a purchase ends with `status`.
async fn buys_until(world: &World, card: &str, status: u16) {
    let started = Instant::now();
    loop {
        let answer = world.purchase(card, &fresh()).await.unwrap();
        if answer.status == status {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "{}: {}",
            answer.status,
            String::from_utf8_lossy(&answer.bytes)
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// They have one clock.
static ALONE: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn without_a_fresh_crl_nobody_is_trusted_and_with_one_purchases_go_on() {
    let _alone = ALONE.lock().await;
    let mut world = World::start_inside(|party, table| {
        if party == "ca" {
            table.insert("crl_lifetime_seconds".to_owned(), CRL_LIFETIME_S.into());
        } else if party != "issuer" {
            table.insert("trust_refresh_seconds".to_owned(), 1.into());
        }
    })
    .await;
    let account = world.account(100_000, &serde_json::json!({})).await;
    let card = world.card(&account).await;
    buys_until(&world, &card, 201).await;

    world.kill("ca");
    clock::danger_advance(CRL_LIFETIME_S);
    buys_until(&world, &card, 502).await;
    let gateway = world.get("gateway", "readyz").await.unwrap();
    let why = String::from_utf8_lossy(&gateway.bytes);
    assert!(gateway.status == 503 && why.contains("CRL"), "{why}");

    world.spawn("ca");
    buys_until(&world, &card, 201).await;
}

/// POSTs to an order until it is answered for good.
async fn asked(world: &World, path: &str, key: &str, body: &Value) -> Answer {
    let started = Instant::now();
    loop {
        let answer = world.post("merchant", path, key, body).await;
        if let Some(answer) = answer.filter(|answer| ![202, 503].contains(&answer.status)) {
            return answer;
        }
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "{}",
            world.log("merchant")
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The gateway was away for longer than it takes a request for new.
#[tokio::test(flavor = "multi_thread")]
async fn refund_that_came_too_late_is_over_and_may_be_made_again() {
    let _alone = ALONE.lock().await;
    let mut world = World::start_inside(|party, table| {
        if party == "merchant" {
            table.insert("authorization_wait_ms".to_owned(), 3000.into());
        }
    })
    .await;
    let account = world.account(100_000, &json!({})).await;
    let card = world.card(&account).await;
    let purchase = world.purchase(&card, &fresh()).await.unwrap();
    assert_eq!(purchase.text("/status"), "paid", "{:?}", purchase.json);
    let order = format!("orders/{}", purchase.text("/order_id"));
    let capture = format!("{order}/capture");
    let captured = asked(&world, &capture, &fresh(), &json!({})).await;
    let captured = &captured.json["captured"]["amount_minor"];
    let captured = captured.as_u64().unwrap();

    world.kill("gateway");
    let (refund, key) = (format!("{order}/refund"), fresh());
    let of_part = json!({"amount": {"currency": "EUR", "amount_minor": 100}});
    let answer = world.post("merchant", &refund, &key, &of_part).await;
    assert_eq!(answer.unwrap().status, 202);
    clock::danger_advance(11 * 60);
    world.spawn("gateway");
    let late = asked(&world, &refund, &key, &of_part).await;
    assert_eq!(late.text("/code"), "refund-refused", "{:?}", late.json);
    assert!(
        late.text("/detail").contains("MessageTooOld"),
        "{:?}",
        late.json
    );
    let owed = world.account_view(&account).await;
    assert_eq!(owed["balance"]["amount_minor"], captured, "{owed}");

    let again = asked(&world, &refund, &fresh(), &of_part).await;
    assert_eq!(again.text("/state"), "refunded", "{:?}", again.json);
    let owed = world.account_view(&account).await;
    assert_eq!(owed["balance"]["amount_minor"], captured - 100, "{owed}");
}
