//! Instalments and recurring payments through all services, with a moved clock: the wallet agrees to a plan that it was
//! shown, the gateway holds everybody to it, and each payment has its receipt.
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

const DAY_S: i64 = 86_400;
/// How long an answer may take in a debug build on a busy machine, with new revocation lists before it.
const PATIENCE: Duration = Duration::from_secs(180);

/// One process has one clock, and a leap of it is no leap for a message on its way.
static CLOCK: Mutex<()> = Mutex::const_new(());

fn quick(party: &str, table: &mut toml::Table) {
    if !["ca", "issuer"].contains(&party) {
        table.insert("trust_refresh_seconds".to_owned(), 1.into());
    }
}

/// An order that was agreed to, and what it comes to.
struct Ordered {
    account: Account,
    purchase: Answer,
    minor: u64,
}

/// Orders a product: refused without the plan that the shop offers, and taken with it, under the same key.
async fn ordered(world: &World, product_id: &str) -> Ordered {
    let account = world.account(1_000_000, &json!({})).await;
    let card_id = world.card(&account).await;
    let products = world.get("merchant", "products").await.unwrap().json;
    let products = products["products"].as_array().unwrap();
    let product = products.iter().find(|one| one["product_id"] == product_id);
    let minor = product.unwrap()["price"]["amount_minor"].as_u64().unwrap();
    let items = json!({"items": [{"product_id": product_id, "quantity": 1}]});
    let offer = world.post("merchant", "orders", &fresh(), &items).await;
    let initiation = offer.unwrap().json["payment_initiation"].clone();
    let mut basket =
        json!({"card_id": card_id, "initiation": initiation, "amount": initiation["amount"]});
    let key = fresh();
    let blind = world.post("cardholder", "purchases", &key, &basket).await;
    let blind = blind.unwrap();
    assert_eq!(
        (blind.status, blind.text("/code")),
        (409, "plan-differs"),
        "{:?}",
        blind.json
    );
    basket["plan"] = initiation["plan"].clone();
    let purchase = world.post("cardholder", "purchases", &key, &basket).await;
    let purchase = purchase.unwrap();
    assert_eq!(purchase.text("/status"), "paid", "{:?}", purchase.json);
    assert_eq!(purchase.json["plan"], basket["plan"]);
    Ordered {
        account,
        purchase,
        minor,
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

    /// The next payment, refused by this rule.
    async fn refused(&self, world: &World, rule: &str) {
        let answer = self.ask(world, "authorize", &json!({"last": false})).await;
        assert_eq!(answer.text("/auth_code"), rule, "{:?}", answer.json);
        let told = answer.text("/refused_by");
        assert!(told.starts_with(rule), "{told}");
    }

    async fn owed(&self, world: &World) -> Value {
        let view = world.account_view(&self.account).await;
        view["balance"]["amount_minor"].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscription_is_paid_every_four_weeks_and_never_before() {
    let _alone = CLOCK.lock().await;
    let world = World::start_inside(quick).await;
    let ordered = ordered(&world, "subscription-250").await;
    let first = ordered.ask(&world, "capture", &json!({"auth": 1})).await;
    assert_eq!(first.text("/state"), "captured", "{:?}", first.json);
    ordered.refused(&world, "recurringTooSoon").await;
    assert_eq!(ordered.owed(&world).await, ordered.minor);

    clock::danger_advance(28 * DAY_S);
    let next = json!({"capture_now": true});
    let second = ordered.ask(&world, "authorize", &next).await;
    assert_eq!(second.text("/state"), "captured", "{:?}", second.json);
    assert_eq!(second.json["amount"]["amount_minor"], ordered.minor);
    assert_eq!(ordered.owed(&world).await, 2 * ordered.minor);
    ordered.refused(&world, "recurringTooSoon").await;
    let purchase = ordered.purchase.text("/purchase_id");
    let told = world.settled(purchase).await;
    assert_eq!(
        told.json["paid"]["amount_minor"],
        2 * ordered.minor,
        "{:?}",
        told.json
    );
    assert_eq!(told.json["receipts"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn machine_is_paid_in_three_parts_and_no_fourth() {
    let _alone = CLOCK.lock().await;
    let world = World::start_inside(quick).await;
    let ordered = ordered(&world, "espresso-machine").await;
    let part = ordered.minor / 3;
    let rest = ordered.minor - 2 * part;
    for (auth, minor) in [(1, rest), (2, part), (3, part)] {
        if auth > 1 {
            // Left out, the last instalment is the last payment: nothing to ask for a fourth with.
            let more = if auth == 3 {
                json!({"last": false})
            } else {
                json!({})
            };
            let answer = ordered.ask(&world, "authorize", &more).await;
            assert_eq!(answer.text("/state"), "authorized", "{:?}", answer.json);
            assert_eq!(answer.json["amount"]["amount_minor"], minor);
        }
        let captured = ordered.ask(&world, "capture", &json!({"auth": auth})).await;
        assert_eq!(captured.json["captured"]["amount_minor"], minor);
    }
    assert_eq!(ordered.owed(&world).await, ordered.minor);
    let body = json!({"amount": {"currency": "EUR", "amount_minor": 1}, "last": false});
    let fourth = ordered.ask(&world, "authorize", &body).await;
    assert_eq!(
        fourth.text("/auth_code"),
        "recurringExpired",
        "{:?}",
        fourth.json
    );
}
