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

    /// The next payment, refused by this rule: the shop is told at once and whenever it looks, and the wallet has what it had.
    async fn refused(&self, world: &World, rule: &str) {
        self.refused_asking(world, rule, json!({"last": false}))
            .await;
    }

    async fn refused_asking(&self, world: &World, rule: &str, body: Value) {
        let before = self.told(world).await;
        let answer = self.ask(world, "authorize", &body).await;
        assert_eq!(answer.text("/auth_code"), rule, "{:?}", answer.json);
        assert_eq!(answer.text("/state"), "declined");
        let told = answer.text("/refused_by");
        let until = before["plan"]["recurring"]["expiry"].as_str();
        assert!(told.starts_with(&format!("{rule}: ")), "{told}");
        assert!(told.contains(until.unwrap_or("in 3 instalments")), "{told}");
        let shop = self.order(world).await;
        let newest = shop["parts"].as_array().unwrap().last().unwrap();
        assert_eq!(newest["auth"], answer.json["auth"]);
        for field in ["auth_code", "refused_by"] {
            assert_eq!(newest[field], answer.json[field], "{field}: {shop}");
        }
        let after = self.told(world).await;
        for field in ["status", "paid", "receipts", "auth_code", "problem"] {
            assert_eq!(after[field], before[field], "{field}");
        }
    }

    /// The order as the shop shows it.
    async fn order(&self, world: &World) -> Value {
        let path = format!("orders/{}", self.purchase.text("/order_id"));
        world.get("merchant", &path).await.unwrap().json
    }

    /// The purchase as the wallet shows it once it has inquired.
    async fn told(&self, world: &World) -> Value {
        let purchase = self.purchase.text("/purchase_id");
        world.settled(purchase).await.json
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
    let told = ordered.told(&world).await;
    assert_eq!(told["paid"]["amount_minor"], 2 * ordered.minor, "{told}");
    assert_eq!(told["receipts"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscription_that_has_ended_is_refused_and_shop_and_wallet_are_told() {
    let _alone = CLOCK.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let catalogue = folder.path().join("catalogue.json");
    let plan = json!({"recurring": {"frequency_days": 28, "days": 30}});
    let product = json!({
        "product_id": "subscription-month", "name": "Two bags", "description": "One now, one in four weeks.",
        "price": {"currency": "EUR", "amount_minor": 890}, "plan": plan,
    });
    std::fs::write(&catalogue, json!({"products": [product]}).to_string()).unwrap();
    let world = World::start_inside(|party, table| {
        quick(party, table);
        if party == "merchant" {
            let path = catalogue.to_str().unwrap();
            table.insert("catalogue".to_owned(), path.into());
        }
    })
    .await;
    let ordered = ordered(&world, "subscription-month").await;
    let first = ordered.ask(&world, "capture", &json!({"auth": 1})).await;
    assert_eq!(first.text("/state"), "captured", "{:?}", first.json);
    clock::danger_advance(28 * DAY_S);
    let now = json!({"capture_now": true});
    let second = ordered.ask(&world, "authorize", &now).await;
    assert_eq!(second.text("/state"), "captured", "{:?}", second.json);

    clock::danger_advance(28 * DAY_S);
    // Named or not, there is no third.
    ordered.refused(&world, "recurringExpired").await;
    ordered
        .refused_asking(&world, "recurringExpired", json!({}))
        .await;
    assert_eq!(ordered.owed(&world).await, 2 * ordered.minor);
    let told = ordered.told(&world).await;
    assert_eq!(
        (told["status"].as_str(), &told["paid"]["amount_minor"]),
        (Some("paid"), &json!(2 * ordered.minor))
    );
    assert_eq!(told["receipts"].as_array().unwrap().len(), 2);
}

/// Pays three instalments, the last one asked for with `last_asked`, and captures each.
async fn paid_in_three(world: &World, last_asked: Value) -> Ordered {
    let ordered = ordered(world, "espresso-machine").await;
    let part = ordered.minor / 3;
    let rest = ordered.minor - 2 * part;
    for (auth, minor) in [(1, rest), (2, part), (3, part)] {
        if auth > 1 {
            let asked = if auth == 3 { &last_asked } else { &json!({}) };
            let answer = ordered.ask(world, "authorize", asked).await;
            assert_eq!(answer.text("/state"), "authorized", "{:?}", answer.json);
            assert_eq!(answer.json["amount"]["amount_minor"], minor);
        }
        let captured = ordered.ask(world, "capture", &json!({"auth": auth})).await;
        assert_eq!(captured.json["captured"]["amount_minor"], minor);
    }
    assert_eq!(ordered.owed(world).await, ordered.minor);
    ordered
}

/// One cent more than all instalments.
fn one_more() -> Value {
    json!({"amount": {"currency": "EUR", "amount_minor": 1}, "last": false})
}

#[tokio::test(flavor = "multi_thread")]
async fn machine_is_paid_in_three_parts_and_no_fourth() {
    let _alone = CLOCK.lock().await;
    let world = World::start_inside(quick).await;
    // The shop says that more is to follow, and so gets something to ask with: the gateway counts for itself.
    let ordered = paid_in_three(&world, json!({"last": false})).await;
    ordered
        .refused_asking(&world, "recurringExpired", one_more())
        .await;
    let told = ordered.told(&world).await;
    assert_eq!(told["paid"]["amount_minor"], ordered.minor, "{told}");
    assert_eq!(told["receipts"].as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn last_instalment_is_the_last_payment_though_nobody_says_so() {
    let _alone = CLOCK.lock().await;
    let world = World::start_inside(quick).await;
    let ordered = paid_in_three(&world, json!({})).await;
    // The gateway gave nothing to ask with for more: it is not even asked.
    let fourth = ordered.ask(&world, "authorize", &one_more()).await;
    assert_eq!(
        (fourth.status, fourth.text("/code")),
        (409, "not-in-parts"),
        "{:?}",
        fourth.json
    );
    let shop = ordered.order(&world).await;
    let parts = shop["parts"].as_array().unwrap().iter();
    let states: Vec<_> = parts.map(|part| part["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["captured"; 3], "{shop}");
    let told = ordered.told(&world).await;
    assert_eq!(told["status"], "paid", "{told}");
    assert_eq!(told["paid"]["amount_minor"], ordered.minor);
    assert_eq!(told["receipts"].as_array().unwrap().len(), 3);
}
