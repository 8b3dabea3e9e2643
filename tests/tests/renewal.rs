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

/// Whose certificates need no bank to be renewed: the acquirer and the brand vouch for them.
const SHOPS: [&str; 2] = ["merchant", "gateway"];

fn quick(party: &str, table: &mut toml::Table) {
    match party {
        "ca" => {
            table.insert("certificate_lifetime_seconds".to_owned(), LIFETIME_S.into());
        }
        "issuer" => {}
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

/// SHA-256 of the certificate that somebody signs with: merchant, gateway or a card.
async fn in_use(world: &World, owner: &str) -> String {
    if !SHOPS.contains(&owner) {
        let card = world.get("cardholder", &format!("cards/{owner}")).await;
        return card.unwrap().text("/certificate/thumbprint").to_owned();
    }
    let held = world.get(owner, "certificates/own").await.unwrap();
    let all = held.json["certificates"].as_array().unwrap().iter();
    let mut signing = all.filter(|one| one["status"] == "good" && one["purpose"] == "signature");
    let signing = signing.next().unwrap_or_else(|| panic!("{:?}", held.json));
    signing["thumbprint"].as_str().unwrap().to_owned()
}

type InUse<'a> = BTreeMap<&'a str, String>;

async fn all_in_use<'a>(world: &World, owners: &[&'a str]) -> InUse<'a> {
    let mut found = BTreeMap::new();
    for owner in owners {
        found.insert(*owner, in_use(world, owner).await);
    }
    found
}

/// Waits until all of them have other certificates than `before`.
async fn renewed(world: &World, before: &InUse<'_>) {
    let started = Instant::now();
    for (owner, old) in before {
        while in_use(world, owner).await == *old {
            assert!(
                started.elapsed() < PATIENCE,
                "{owner} has not renewed:\n{}\n{}",
                world.log("ca"),
                world.log(if SHOPS.contains(owner) {
                    owner
                } else {
                    "cardholder"
                })
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
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

/// The order is captured, be it that the merchant has to ask more than once.
async fn assert_captured(world: &World, order_id: &str) {
    let (started, key) = (Instant::now(), fresh());
    let path = format!("orders/{order_id}");
    let capture = format!("{path}/capture");
    let asked = world.post("merchant", &capture, &key, &json!({})).await;
    let mut answer = asked.unwrap();
    while answer.text("/state") != "captured" {
        assert!(
            answer.status < 300 && started.elapsed() < PATIENCE,
            "{} {:?}\n{}\n{}",
            answer.status,
            answer.json,
            world.log("merchant"),
            world.log("gateway")
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
        answer = world.get("merchant", &path).await.unwrap();
    }
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
    let mut world = World::start_inside(quick).await;

    // Somebody waits for the bank while the others renew; it is asked about the card when it is back.
    let first = card(&world).await;
    let bought = world.purchase(&first, &fresh()).await.unwrap();
    assert_paid(&world, &bought).await;
    let waiting = begun(&mut world, &first).await;
    let shops = all_in_use(&world, &SHOPS).await;
    let cards = all_in_use(&world, &[&first]).await;
    clock::danger_advance(LIFETIME_S * 2 / 3);
    renewed(&world, &shops).await;
    ends_well(&mut world, &waiting, &bought).await;
    renewed(&world, &cards).await;

    // And many buy.
    let second = card(&world).await;
    let before = all_in_use(&world, &["merchant", "gateway", &first, &second]).await;
    let stream = Stream::default();
    let time_passes = async {
        let mut passed_s = 0;
        while passed_s < LIFETIME_S * 2 / 3 {
            clock::danger_advance(LEAP_S);
            passed_s += LEAP_S;
            stream.goes_on().await;
        }
        renewed(&world, &before).await;
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

    // Somebody waits for the bank while the CAs are renewed, and with them all that they issued.
    let waiting = begun(&mut world, &first).await;
    let shops = all_in_use(&world, &SHOPS).await;
    let cards = all_in_use(&world, &[&first]).await;
    for ca in ["visa-mca", "visa-pca", "visa-cca"] {
        world.ca_command(&["authority", "renew", ca]).await;
    }
    renewed(&world, &shops).await;
    ends_well(&mut world, &waiting, &bought).await;
    renewed(&world, &cards).await;

    // And many buy while the root is.
    let second = card(&world).await;
    let before = all_in_use(&world, &["merchant", "gateway", &first, &second]).await;
    let stream = Stream::default();
    let rollover = async {
        stream.goes_on().await;
        let said = world.ca_command(&["authority", "renew", "root"]).await;
        assert!(said.contains("root-2"), "{said}");
        renewed(&world, &before).await;
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
