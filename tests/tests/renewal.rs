//! New certificates, new CAs and a new root in the midst of purchases: none fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use openset_service::clock;
use openset_tests::{Answer, World, fresh};
use serde_json::json;

/// A certificate's life where the clock is moved, in seconds.
const LIFETIME_S: i64 = 600;
/// So far the clock is moved at once: well within what a message's date may be off.
const LEAP_S: i64 = 80;
/// How long a renewal, or a purchase in the midst of it, may take in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// The merchant gives up waiting for the gateway after this, and the wallet inquires.
const AUTHORIZATION_WAIT_MS: i64 = 2500;

/// Who has certificates of which a list is shown.
const LISTING: [&str; 2] = ["merchant", "gateway"];

fn quick(party: &str, table: &mut toml::Table) {
    match party {
        "ca" | "issuer" => {}
        _ => drop(table.insert("trust_refresh_seconds".to_owned(), 1.into())),
    }
    if party == "merchant" {
        table.insert(
            "authorization_wait_ms".to_owned(),
            AUTHORIZATION_WAIT_MS.into(),
        );
    }
}

async fn card(world: &World) -> String {
    let account = world.account(100_000_000, &json!({})).await;
    world.card(&account).await
}

/// Which generation a party's certificates in use are.
async fn generation(world: &World, party: &str) -> u64 {
    let answer = world.get(party, "certificates/own").await.unwrap();
    let all = answer.json["certificates"].as_array().unwrap();
    let good = all.iter().filter(|one| one["status"] == "good");
    good.filter_map(|one| one["generation"].as_u64())
        .max()
        .unwrap_or_default()
}

async fn generations(world: &World) -> BTreeMap<&'static str, u64> {
    let mut found = BTreeMap::new();
    for party in LISTING {
        found.insert(party, generation(world, party).await);
    }
    found
}

/// Waits until these parties have renewed since `before`.
async fn renewed(world: &World, parties: &[&str], before: &BTreeMap<&'static str, u64>) {
    let started = Instant::now();
    for party in parties {
        while generation(world, party).await <= before[party] {
            assert!(
                started.elapsed() < PATIENCE,
                "{party} has not renewed: {:?}\n{}",
                world.get(party, "certificates/own").await,
                world.log(party)
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The purchase is paid, be it that its wallet has to inquire.
async fn assert_paid(world: &World, answer: &Answer) {
    let status = match answer.text("/status") {
        "pending" => world.settled(answer.text("/purchase_id")).await,
        _ => answer.clone(),
    };
    assert_eq!(
        status.text("/status"),
        "paid",
        "{} {:?}\n{}\n{}\n{}",
        status.status,
        status.json,
        world.log("cardholder"),
        world.log("merchant"),
        world.log("gateway")
    );
}

async fn assert_captured(world: &World, order_id: &str) {
    let path = format!("orders/{order_id}/capture");
    let answer = world.post("merchant", &path, &fresh(), &json!({})).await;
    let answer = answer.unwrap();
    assert_eq!(answer.text("/state"), "captured", "{:?}", answer.json);
}

/// A stream of purchases that goes on until it is stopped.
#[derive(Debug, Default)]
struct Stream {
    stopped: AtomicBool,
    paid: AtomicUsize,
}

impl Stream {
    /// Buys with a card, one purchase after the other; every one must be paid. Gives the orders.
    async fn run(&self, world: &World, card: &str) -> Vec<String> {
        let mut orders = Vec::new();
        while !self.stopped.load(Ordering::Relaxed) {
            let answer = world.purchase(card, &fresh()).await.unwrap();
            assert_paid(world, &answer).await;
            orders.push(answer.text("/order_id").to_owned());
            self.paid.fetch_add(1, Ordering::Relaxed);
        }
        orders
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Waits for purchases that began after this was called.
    async fn goes_on(&self) {
        let (started, before) = (Instant::now(), self.paid.load(Ordering::Relaxed));
        // The first to end may have begun before.
        while self.paid.load(Ordering::Relaxed) < before + 3 {
            assert!(started.elapsed() < PATIENCE, "no purchase was made");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A purchase whose authorization waits for the issuer, which is down.
async fn begun(world: &mut World, card: &str) -> Answer {
    world.kill("issuer");
    let answer = world.purchase(card, &fresh()).await.unwrap();
    assert_eq!(answer.text("/status"), "pending", "{:?}", answer.json);
    answer
}

/// The purchase that waited ends well, and so does what was ordered before it.
async fn ends_well(world: &mut World, begun: &Answer, before: &Answer) {
    world.restart("issuer").await;
    assert_paid(world, begun).await;
    for order in [begun, before] {
        assert_captured(world, order.text("/order_id")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_before_they_end_and_no_purchase_fails() {
    let mut world = World::start_inside(|party, table| {
        quick(party, table);
        if party == "ca" {
            table.insert("certificate_lifetime_seconds".to_owned(), LIFETIME_S.into());
        }
    })
    .await;

    // Somebody waits for the bank while everything is renewed.
    let first = card(&world).await;
    let bought = world.purchase(&first, &fresh()).await.unwrap();
    assert_paid(&world, &bought).await;
    let waiting = begun(&mut world, &first).await;
    let before = generations(&world).await;
    clock::danger_advance(LIFETIME_S * 2 / 3);
    renewed(&world, &LISTING, &before).await;
    ends_well(&mut world, &waiting, &bought).await;

    // And many buy.
    let second = card(&world).await;
    let before = generations(&world).await;
    let stream = Stream::default();
    let time_passes = async {
        let mut passed_s = 0;
        while passed_s < LIFETIME_S * 2 / 3 {
            clock::danger_advance(LEAP_S);
            passed_s += LEAP_S;
            stream.goes_on().await;
        }
        renewed(&world, &LISTING, &before).await;
        stream.goes_on().await;
        stream.stop();
    };
    let (orders, ()) = tokio::join!(stream.run(&world, &second), time_passes);
    assert_captured(&world, orders.first().unwrap()).await;
    assert_captured(&world, orders.last().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn purchases_go_on_while_cas_are_renewed_and_the_root_rolls_over() {
    let mut world = World::start_with(quick).await;
    let first = card(&world).await;
    let bought = world.purchase(&first, &fresh()).await.unwrap();
    assert_paid(&world, &bought).await;

    // Somebody waits for the bank while the CAs of merchants and gateways are renewed, and with them all that
    // they issued.
    let waiting = begun(&mut world, &first).await;
    let before = generations(&world).await;
    for ca in ["visa-mca", "visa-pca"] {
        world.ca_command(&["authority", "renew", ca]).await;
    }
    renewed(&world, &LISTING, &before).await;
    ends_well(&mut world, &waiting, &bought).await;

    // And many buy while the root is.
    let before = generations(&world).await;
    let stream = Stream::default();
    let second = card(&world).await;
    let rollover = async {
        stream.goes_on().await;
        let said = world.ca_command(&["authority", "renew", "root"]).await;
        assert!(said.contains("root-2"), "{said}");
        renewed(&world, &LISTING, &before).await;
        stream.goes_on().await;
        // Who comes now gets certificates under the new root, and is taken by all.
        let third = card(&world).await;
        let answer = world.purchase(&third, &fresh()).await.unwrap();
        assert_paid(&world, &answer).await;
        stream.goes_on().await;
        stream.stop();
    };
    let (orders, more, ()) = tokio::join!(
        stream.run(&world, &first),
        stream.run(&world, &second),
        rollover
    );
    for orders in [orders, more] {
        assert_captured(&world, orders.first().unwrap()).await;
        assert_captured(&world, orders.last().unwrap()).await;
    }
}
