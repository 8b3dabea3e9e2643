//! Step 7 between the services: whom the merchant asks whether a cardholder's certificate is revoked, and who learns
//! of it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::time::{Duration, Instant};

use openset_service::clock;
use openset_tests::{Answer, Gate, World, fresh};
use serde_json::{Value, json};
use toml::Table;

/// How long something in the background may take in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// A life of OCSP responses in which no test has to fetch another, in seconds.
const LONG_OCSP_LIFETIME_S: i64 = 86_400;
/// And one that passes while a PReq is still taken, in seconds.
const OCSP_LIFETIME_S: i64 = 300;
/// A message that is older is not taken; see `openset_protocol::wrapper`.
const MESSAGE_AGE_MAX_S: i64 = 600;
/// What the CA's responder has said.
const ANSWERS: &str = "openset_ca_ocsp_answers_total{outcome=\"good\"}";
/// What the wallet holds.
const STAPLES: &str = "openset_wallet_ocsp_responses";

fn configure(party: &str, table: &mut Table, ocsp_lifetime_s: i64, staple_seconds: i64) {
    match party {
        "ca" => {
            table.insert("ocsp_lifetime_seconds".to_owned(), ocsp_lifetime_s.into());
        }
        "cardholder" => {
            table.insert("staple_seconds".to_owned(), staple_seconds.into());
        }
        _ => {}
    }
}

async fn card(world: &World) -> String {
    let account = world.account(100_000, &json!({})).await;
    world.card(&account).await
}

/// Waits until the wallet holds so many responses.
async fn wallet_holds(world: &World, responses: u64) {
    let started = Instant::now();
    while world.metric("cardholder", STAPLES).await != responses {
        assert!(started.elapsed() < PATIENCE, "{}", world.log("cardholder"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until a purchase that may be pending has ended. Once the merchant has it, and waits for the bank itself, it
/// has to be asked.
async fn ended(world: &World, purchase: &Answer) -> Value {
    let started = Instant::now();
    let path = format!("purchases/{}", purchase.text("/purchase_id"));
    loop {
        let shown = world.get("cardholder", &path).await.unwrap().json;
        if shown["status"] != "pending" {
            return shown;
        }
        if shown["problem"].is_null() {
            let inquiry = format!("{path}/inquiry");
            world
                .post("cardholder", &inquiry, &fresh(), &json!({}))
                .await;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "still pending:\n{}\n{}",
            world.log("cardholder"),
            world.log("merchant")
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the merchant has logged something.
async fn merchant_says(world: &World, words: &str) {
    let started = Instant::now();
    while !world.log("merchant").contains(words) {
        assert!(started.elapsed() < PATIENCE, "{}", world.log("merchant"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn with_the_wallets_response_the_merchant_asks_nobody() {
    let mut world = World::start_with(|party, table| {
        configure(party, table, LONG_OCSP_LIFETIME_S, 1);
    })
    .await;
    let card = card(&world).await;
    wallet_holds(&world, 1).await;
    let answered = world.metric("ca", ANSWERS).await;
    let bought = world.purchase(&card, &fresh()).await.unwrap();
    assert_paid(&world, &bought).await;
    assert_eq!(world.metric("ca", ANSWERS).await, answered);
    // It could not ask anybody, and by its policy it would have to.
    world.kill("ca");
    let bought = world.purchase(&card, &fresh()).await.unwrap();
    assert_paid(&world, &bought).await;
}

#[tokio::test]
async fn without_a_response_the_merchant_asks_and_its_policy_says_what_to_do_when_nobody_answers() {
    let mut world = World::start_with(|party, table| {
        configure(party, table, LONG_OCSP_LIFETIME_S, 0);
    })
    .await;
    let card = card(&world).await;
    let bought = world.purchase(&card, &fresh()).await.unwrap();
    assert_paid(&world, &bought).await;
    let asked = world.metric("ca", ANSWERS).await;
    assert!(asked > 0);
    let bought = world.purchase(&card, &fresh()).await.unwrap();
    assert_paid(&world, &bought).await;
    // The merchant keeps what it was told, and the wallet has asked for nothing.
    assert_eq!(world.metric("ca", ANSWERS).await, asked);
    assert_eq!(world.metric("cardholder", STAPLES).await, 0);

    // A merchant that was told nothing yet, and cannot ask.
    world.kill("merchant");
    world.restart("merchant").await;
    world.kill("ca");
    let waits = world.purchase(&card, &fresh()).await.unwrap();
    assert_eq!(
        (waits.status, waits.text("/status")),
        (202, "pending"),
        "{:?}",
        waits.json
    );
    let why = waits.text("/problem");
    assert!(why.contains("not answered yet"), "{why}");
    merchant_says(&world, "revocation status is not known").await;
    // Its operator takes the risk: the same bytes are taken.
    world.kill("merchant");
    world.configure("merchant", |table| {
        table.insert("ocsp_policy".to_owned(), "open".into());
    });
    world.restart("merchant").await;
    assert_paid(&world, &waits).await;

    // And one that waits is taken as soon as somebody answers.
    world.kill("merchant");
    world.configure("merchant", |table| {
        table.insert("ocsp_policy".to_owned(), "closed".into());
    });
    world.restart("merchant").await;
    let waits = world.purchase(&card, &fresh()).await.unwrap();
    assert_eq!(waits.text("/status"), "pending", "{:?}", waits.json);
    world.restart("ca").await;
    assert_paid(&world, &waits).await;
    assert!(world.metric("ca", ANSWERS).await > 0, "since it was killed");
}

async fn assert_paid(world: &World, purchase: &Answer) {
    let ended = ended(world, purchase).await;
    assert_eq!(ended["status"], "paid", "{ended}");
    assert!(ended["problem"].is_null(), "{ended}");
}

/// Places an order and pays for it through the gate.
async fn purchase_through(gate: &Gate, world: &World, card: &str) -> Answer {
    let (product_id, _) = world.product().await;
    let items = json!({"items": [{"product_id": product_id, "quantity": 1}]});
    let order = world.post("merchant", "orders", &fresh(), &items).await;
    let mut initiation = order.unwrap().json["payment_initiation"].clone();
    initiation["set_url"] = format!("{}/set", gate.url()).into();
    let request =
        json!({"card_id": card, "amount": initiation["amount"], "initiation": initiation});
    let bought = world
        .post("cardholder", "purchases", &fresh(), &request)
        .await;
    bought.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_has_run_out_on_the_way_is_asked_for_anew() {
    let gate = Gate::open().await;
    let world = World::start_inside(|party, table| {
        configure(party, table, OCSP_LIFETIME_S, 1);
        if party == "cardholder" {
            let origins = table["allowed_origins"].as_array_mut().unwrap();
            origins.push(gate.url().into());
        }
        if party != "issuer" {
            // The lists tell nothing here.
            table.insert("trust_refresh_seconds".to_owned(), 86_400.into());
        }
    })
    .await;
    gate.lead_to(world.url("merchant"));
    let lost = card(&world).await;
    let of_lost = world.get("ca", "certificates?role=cardholder").await;
    let of_lost = of_lost.unwrap();
    let serial = of_lost.text("/items/0/serial").to_owned();
    let kept = card(&world).await;
    wallet_holds(&world, 2).await;

    // Both PReq say that all is good, and do not arrive.
    gate.hold("PReq");
    let of_lost = purchase_through(&gate, &world, &lost).await;
    let of_kept = purchase_through(&gate, &world, &kept).await;
    for waits in [&of_lost, &of_kept] {
        assert_eq!(waits.text("/status"), "pending", "{:?}", waits.json);
    }
    let reason = json!({"reason": "key_compromise"});
    let path = format!("certificates/{serial}/revoke");
    let revoked = world.post("ca", &path, &fresh(), &reason).await.unwrap();
    assert_eq!(revoked.status, 200, "{:?}", revoked.json);
    clock::danger_advance(OCSP_LIFETIME_S);
    assert!(gate.let_pass() >= 2);
    let refused = ended(&world, &of_lost).await;
    assert!(
        refused["status"] == "failed" && refused["problem"].to_string().contains("revoked"),
        "{refused}"
    );
    assert_paid(&world, &of_kept).await;

    // What has been on its way for too long is not taken at all, and nothing was paid: it may be bought anew.
    gate.hold("PReq");
    let late = purchase_through(&gate, &world, &kept).await;
    assert_eq!(late.text("/status"), "pending", "{:?}", late.json);
    clock::danger_advance(MESSAGE_AGE_MAX_S + 1);
    assert!(gate.let_pass() >= 1);
    let late = ended(&world, &late).await;
    assert!(
        late["status"] == "failed" && late["problem"].to_string().contains("MessageTooOld"),
        "{late}"
    );
    let anew = purchase_through(&gate, &world, &kept).await;
    assert_paid(&world, &anew).await;
}
