//! Orders that are sent in parts, through all services: each part is authorized when it is sent, captured by itself, and
//! has its receipt in the wallet; also where everybody has new certificates by then.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::time::{Duration, Instant};

use openset_service::clock;
use openset_tests::{Account, Answer, World, fresh};
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// A certificate's life where the clock is moved: what is left of an old one after the leap is more than a slow machine needs.
const LIFETIME_S: i64 = 3600;
/// How long a renewal or an answer may take in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// An order of something that is in stock and something that is not.
struct Ordered {
    account: Account,
    card_id: String,
    purchase: Answer,
    first: u64,
    second: u64,
}

async fn price_of(world: &World, product_id: &str) -> u64 {
    let products = world.get("merchant", "products").await.unwrap().json;
    let products = products["products"].as_array().unwrap();
    let product = products.iter().find(|one| one["product_id"] == product_id);
    product.unwrap()["price"]["amount_minor"].as_u64().unwrap()
}

async fn ordered(world: &World) -> Ordered {
    let account = world.account(1_000_000, &json!({})).await;
    let card_id = world.card(&account).await;
    let (stocked, later) = ("espresso-250", "hand-grinder");
    let (first, second) = (price_of(world, stocked).await, price_of(world, later).await);
    let basket = json!({
        "merchant_url": world.url("merchant"), "card_id": card_id,
        "items": [{"product_id": stocked, "quantity": 1}, {"product_id": later, "quantity": 1}],
        "amount": {"currency": "EUR", "amount_minor": first + second},
    });
    let purchase = world
        .post("cardholder", "purchases", &fresh(), &basket)
        .await;
    let purchase = purchase.unwrap();
    assert_eq!(purchase.text("/status"), "paid", "{:?}", purchase.json);
    assert_eq!(purchase.json["paid"]["amount_minor"], first);
    Ordered {
        account,
        card_id,
        purchase,
        first,
        second,
    }
}

impl Ordered {
    /// POST to the order until the answer is final: the same key, the same effect.
    async fn ask(&self, world: &World, what: &str, body: &Value) -> Answer {
        let (started, key) = (Instant::now(), fresh());
        let path = format!("orders/{}/{what}", self.purchase.text("/order_id"));
        loop {
            let answer = world.post("merchant", &path, &key, body).await.unwrap();
            if answer.status != 202 && answer.status != 503 {
                return answer;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "{:?}\n{}\n{}",
                answer.json,
                world.log("merchant"),
                world.log("gateway")
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn inquired(&self, world: &World) -> Answer {
        let path = format!("purchases/{}/inquiry", self.purchase.text("/purchase_id"));
        let told = world.post("cardholder", &path, &fresh(), &json!({})).await;
        let told = told.unwrap();
        assert_eq!(
            told.status,
            200,
            "{:?}\n{}",
            told.json,
            world.log("merchant")
        );
        told
    }

    /// The second part is authorized, both are captured, and bank, shop and wallet say the same.
    async fn goes_on(&self, world: &World) {
        let (first, second) = (self.first, self.second);
        let answer = self.ask(world, "authorize", &json!({})).await;
        assert_eq!(
            (answer.status, answer.text("/state")),
            (200, "authorized"),
            "{:?}\n{}\n{}",
            answer.json,
            world.log("merchant"),
            world.log("gateway")
        );
        assert_eq!(answer.json["amount"]["amount_minor"], second);
        assert_eq!(answer.json["auth"], 2);
        let none_left = self.ask(world, "authorize", &json!({})).await;
        assert_eq!(none_left.status, 409, "{:?}", none_left.json);
        for (auth, minor) in [(2, second), (1, first)] {
            let captured = self.ask(world, "capture", &json!({"auth": auth})).await;
            assert_eq!(
                captured.json["captured"]["amount_minor"], minor,
                "{:?}",
                captured.json
            );
        }
        let told = self.inquired(world).await;
        assert_eq!(told.text("/status"), "paid");
        assert_eq!(
            told.json["paid"]["amount_minor"],
            first + second,
            "{:?}",
            told.json
        );
        assert_eq!(told.json["receipts"].as_array().unwrap().len(), 2);
        let view = world.account_view(&self.account).await;
        assert_eq!(view["balance"]["amount_minor"], first + second, "{view}");
    }
}

/// One process has one clock, and a leap of it is no leap for a message on its way.
static CLOCK: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn order_in_two_parts_is_paid_part_by_part() {
    let _alone = CLOCK.lock().await;
    let world = World::start_inside(quick).await;
    let ordered = ordered(&world).await;
    let too_much = json!({"amount": {"currency": "EUR", "amount_minor": ordered.second + 1}});
    let refused = ordered.ask(&world, "authorize", &too_much).await;
    assert_eq!(
        refused.text("/auth_code"),
        "amountError",
        "{:?}",
        refused.json
    );
    let order = format!("orders/{}", ordered.purchase.text("/order_id"));
    let seen = world.get("merchant", &order).await.unwrap();
    assert_eq!(seen.text("/state"), "authorized", "{:?}", seen.json);
    let listed = world.get("merchant", "orders?state=authorized").await;
    let listed = listed.unwrap();
    assert_eq!(
        listed.text("/items/0/order_id"),
        ordered.purchase.text("/order_id"),
        "{:?}",
        listed.json
    );
    let path = format!("{order}/authorize");
    // The gateway asked, and lost: the third authorization is the second part.
    let key = fresh();
    let answer = world.post("merchant", &path, &key, &json!({})).await;
    let answer = answer.unwrap();
    assert_eq!(answer.json["auth"], 3, "{:?}", answer.json);
    let view = world.account_view(&ordered.account).await;
    let again = world.post("merchant", &path, &key, &json!({})).await;
    assert_eq!(again.unwrap().bytes, answer.bytes);
    // A key of one effect is none of another.
    let other = json!({"last": false});
    let other = world.post("merchant", &path, &key, &other).await.unwrap();
    assert_eq!(other.text("/code"), "idempotency-key-reused");
    let capture = format!("{order}/capture");
    let other = world.post("merchant", &capture, &key, &json!({})).await;
    assert_eq!(other.unwrap().text("/code"), "idempotency-key-reused");
    assert_eq!(world.account_view(&ordered.account).await, view);
    let told = ordered.inquired(&world).await;
    let whole = ordered.first + ordered.second;
    assert_eq!(told.json["paid"]["amount_minor"], whole, "{:?}", told.json);
}

fn quick(party: &str, table: &mut toml::Table) {
    match party {
        "ca" => drop(table.insert("certificate_lifetime_seconds".to_owned(), LIFETIME_S.into())),
        "issuer" => {}
        _ => drop(table.insert("trust_refresh_seconds".to_owned(), 1.into())),
    }
}

/// SHA-256 of the certificate that somebody signs with.
async fn in_use(world: &World, owner: &str) -> String {
    if !["merchant", "gateway"].contains(&owner) {
        let card = world.get("cardholder", &format!("cards/{owner}")).await;
        return card.unwrap().text("/certificate/thumbprint").to_owned();
    }
    let held = world.get(owner, "certificates/own").await.unwrap();
    let all = held.json["certificates"].as_array().unwrap().iter();
    let mut signing = all.filter(|one| one["status"] == "good" && one["purpose"] == "signature");
    signing.next().unwrap()["thumbprint"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn second_part_is_authorized_after_everybody_has_renewed() {
    let _alone = CLOCK.lock().await;
    let world = World::start_inside(quick).await;
    let ordered = ordered(&world).await;
    let owners = ["merchant", "gateway", ordered.card_id.as_str()];
    let mut before = Vec::new();
    for owner in owners {
        before.push(in_use(&world, owner).await);
    }
    clock::danger_advance(LIFETIME_S * 2 / 3);
    for (owner, old) in owners.into_iter().zip(before) {
        let started = Instant::now();
        while in_use(&world, owner).await == old {
            assert!(started.elapsed() < PATIENCE, "{owner} has not renewed");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    ordered.goes_on(&world).await;
}
