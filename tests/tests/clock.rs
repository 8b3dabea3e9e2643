//! What ends by itself: one world inside the test program, whose clock is moved.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::time::{Duration, Instant};

use openset_service::clock;
use openset_tests::{World, fresh};

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

#[tokio::test(flavor = "multi_thread")]
async fn without_a_fresh_crl_nobody_is_trusted_and_with_one_purchases_go_on() {
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
