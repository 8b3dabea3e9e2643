//! Money goes back through all services: the bank's account, the acquirer's movements and the shop's order agree, also
//! when a service is killed meanwhile and when ten ask at once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::time::Duration;

use openset_tests::{Account, Answer, World, fresh};
use serde_json::{Value, json};

/// A purchase of which so much was captured; gives its order, too.
async fn sold(world: &World, minor: u64) -> (Account, Answer, String) {
    let account = world.account(100_000, &json!({})).await;
    let card_id = world.card(&account).await;
    let purchase = world.purchase(&card_id, &fresh()).await.unwrap();
    assert_eq!(purchase.text("/status"), "paid", "{:?}", purchase.json);
    let path = format!("orders/{}", purchase.text("/order_id"));
    let captured = ask(world, &path, "capture", &of(minor)).await;
    assert_eq!(captured.json["captured"]["amount_minor"], minor);
    (account, purchase, path)
}

fn of(minor: u64) -> Value {
    json!({"amount": {"currency": "EUR", "amount_minor": minor}})
}

async fn ask(world: &World, order: &str, what: &str, body: &Value) -> Answer {
    let path = format!("{order}/{what}");
    let answer = world.post("merchant", &path, &fresh(), body).await;
    answer.unwrap()
}

/// What the account owes and what is held of it.
async fn owed_and_held(world: &World, account: &Account) -> (Value, Value) {
    let view = world.account_view(account).await;
    let minor = |name: &str| view[name]["amount_minor"].clone();
    (minor("balance"), minor("held"))
}

#[tokio::test]
async fn captures_and_refunds_are_made_and_cancelled_and_all_books_agree() {
    let world = World::start().await;
    let (account, purchase, order) = sold(&world, 700).await;
    assert_eq!(
        owed_and_held(&world, &account).await,
        (json!(700), json!(0))
    );

    let part = ask(&world, &order, "refund", &of(300)).await;
    assert_eq!(
        part.json["refunded"]["amount_minor"], 300,
        "{:?}",
        part.json
    );
    let rest = ask(&world, &order, "refund", &json!({})).await;
    assert_eq!(
        rest.json["refunded"]["amount_minor"], 400,
        "{:?}",
        rest.json
    );
    assert_eq!(owed_and_held(&world, &account).await, (json!(0), json!(0)));
    let view = world.get("merchant", &order).await.unwrap();
    assert_eq!(view.text("/state"), "refunded");

    for refund in [&part, &rest] {
        let named = json!({"refund": refund.json["movement"]});
        let voided = ask(&world, &order, "void-refund", &named).await;
        assert_eq!(voided.status, 200, "{:?}", voided.json);
    }
    assert_eq!(
        owed_and_held(&world, &account).await,
        (json!(700), json!(0))
    );
    let voided = ask(&world, &order, "void-capture", &json!({})).await;
    assert_eq!(
        voided.json["authorized"]["amount_minor"], 700,
        "{:?}",
        voided.json
    );
    assert_eq!(
        owed_and_held(&world, &account).await,
        (json!(0), json!(700))
    );

    let again = ask(&world, &order, "capture", &json!({})).await;
    assert_eq!(
        again.json["captured"]["amount_minor"], 700,
        "{:?}",
        again.json
    );
    assert_eq!(
        owed_and_held(&world, &account).await,
        (json!(700), json!(0))
    );
    let path = format!("authorizations/{}", purchase.text("/xid"));
    let gateway = world.get("gateway", &path).await.unwrap();
    assert_eq!(gateway.text("/state"), "captured", "{:?}", gateway.json);
}

#[tokio::test]
async fn ten_refunds_at_once_give_back_what_was_captured_at_most() {
    let world = World::start().await;
    let (account, _, order) = sold(&world, 700).await;
    let body = of(300);
    let path = format!("{order}/refund");
    let keys: Vec<String> = (0..10).map(|_| fresh()).collect();
    let asked = |place: usize| world.post("merchant", &path, &keys[place], &body);
    let answers = tokio::join!(
        asked(0),
        asked(1),
        asked(2),
        asked(3),
        asked(4),
        asked(5),
        asked(6),
        asked(7),
        asked(8),
        asked(9)
    );
    let (a, b, c, d, e, f, g, h, i, j) = answers;
    let done = [a, b, c, d, e, f, g, h, i, j]
        .into_iter()
        .filter(|answer| answer.as_ref().is_some_and(|answer| answer.status == 200))
        .count();
    assert_eq!(done, 2);
    assert_eq!(
        owed_and_held(&world, &account).await,
        (json!(100), json!(0))
    );
}

#[tokio::test]
async fn refund_is_made_once_although_the_gateway_is_killed_meanwhile() {
    let mut world = World::start().await;
    let (account, _, order) = sold(&world, 700).await;
    world.kill("gateway");
    let (path, key, body) = (format!("{order}/refund"), fresh(), of(400));
    let asked = world.post("merchant", &path, &key, &body).await.unwrap();
    assert_eq!((asked.status, asked.text("/state")), (202, "refunding"));
    world.restart("gateway").await;
    let mut answer = world.post("merchant", &path, &key, &body).await;
    for _ in 0..600 {
        if answer.as_ref().is_some_and(|answer| answer.status == 200) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        answer = world.post("merchant", &path, &key, &body).await;
    }
    let answer = answer.unwrap();
    assert_eq!(answer.text("/state"), "refunded", "{:?}", answer.json);
    assert_eq!(answer.json["movement"], asked.json["movement"]);
    assert_eq!(
        owed_and_held(&world, &account).await,
        (json!(300), json!(0))
    );
    let same = world.post("merchant", &path, &key, &body).await.unwrap();
    assert_eq!(same.bytes, answer.bytes);
}

/// What the wallet says after it has asked the shop: status, what was paid, and what of it went back.
async fn inquired(world: &World, purchase: &Answer) -> (String, Value, Value) {
    let told = world.settled(purchase.text("/purchase_id")).await;
    let minor = |name: &str| told.json[name]["amount_minor"].clone();
    let status = told.text("/status").to_owned();
    (status, minor("paid"), minor("refunded"))
}

/// What `openset wallet statement` prints.
pub(super) async fn statement(world: &World) -> String {
    let mut command = std::process::Command::new(openset_tests::openset());
    command.args(["wallet", "statement", "--url", world.url("cardholder")]);
    command.env("OPENSET_WALLET_TOKEN", &world.file.tokens.cardholder);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn wallet_sees_what_was_captured_and_what_went_back_as_the_bank_signed_it() {
    let world = World::start().await;
    let (_, purchase, order) = sold(&world, 700).await;
    let says =
        |status: &str, paid: u64, refunded: Value| (status.to_owned(), json!(paid), refunded);
    let captured = says("paid", 700, Value::Null);
    assert_eq!(inquired(&world, &purchase).await, captured);
    let part = ask(&world, &order, "refund", &of(300)).await;
    assert_eq!(part.status, 200, "{:?}", part.json);
    let partly = says("partly_refunded", 700, json!(300));
    assert_eq!(inquired(&world, &purchase).await, partly);
    let rest = ask(&world, &order, "refund", &json!({})).await;
    assert_eq!(rest.status, 200, "{:?}", rest.json);
    let all = says("refunded", 700, json!(700));
    assert_eq!(inquired(&world, &purchase).await, all);
    let named = json!({"refund": part.json["movement"]});
    let voided = ask(&world, &order, "void-refund", &named).await;
    assert_eq!(voided.status, 200, "{:?}", voided.json);
    let cancelled = says("partly_refunded", 700, json!(400));
    assert_eq!(inquired(&world, &purchase).await, cancelled);

    let listed = world.get("cardholder", "statement").await.unwrap();
    let entry = &listed.json["items"][0];
    assert_eq!(entry["status"], "partly_refunded", "{entry}");
    assert_eq!(
        entry["parts"][0]["refunds"][0]["amount"]["amount_minor"],
        400
    );
    let printed = statement(&world).await;
    assert!(printed.contains("partly_refunded"), "{printed}");
    let sum = "in all: EUR 3.00 (paid EUR 7.00, refunded EUR 4.00)\n";
    assert!(printed.ends_with(sum), "{printed}");
}

/// The shop's answer to the wallet knows no more than what the gateway signed for it; both are killed on the way.
#[tokio::test]
async fn refund_reaches_the_wallet_although_shop_and_gateway_are_killed_meanwhile() {
    let mut world = World::start().await;
    let (_, purchase, order) = sold(&world, 700).await;
    world.kill("gateway");
    let (path, key, body) = (format!("{order}/refund"), fresh(), of(400));
    let asked = world.post("merchant", &path, &key, &body).await.unwrap();
    assert_eq!(asked.status, 202, "{:?}", asked.json);
    let nothing = ("paid".to_owned(), json!(700), Value::Null);
    assert_eq!(
        inquired(&world, &purchase).await,
        nothing,
        "nobody has signed it"
    );
    world.kill("merchant");
    world.restart("gateway").await;
    world.restart("merchant").await;
    for _ in 0..600 {
        let answer = world.post("merchant", &path, &key, &body).await;
        if answer.is_some_and(|answer| answer.status == 200) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let partly = ("partly_refunded".to_owned(), json!(700), json!(400));
    assert_eq!(inquired(&world, &purchase).await, partly);
}
