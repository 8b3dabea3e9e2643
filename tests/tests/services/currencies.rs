//! Currencies without minor units, with hundredths and with thousandths: each goes the whole way, and nobody shifts a point.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use openset_tests::{Account, Answer, World, fresh};
use serde_json::{Value, json};

use super::refund::statement;

/// Exponents 0, 2 and 3; what 1990 minor units are, and 290 of them.
const ALL: [(&str, &str, &str); 3] = [
    ("JPY", "1990", "290"),
    ("USD", "19.90", "2.90"),
    ("KWD", "1.990", "0.290"),
];
const PRICE: u64 = 1990;

/// The shop sells one thing, in this currency.
async fn sells_in(world: &mut World, currency: &str) {
    world.kill("merchant");
    let file = world.folder_of("merchant").join("sells.json");
    let product = json!({
        "product_id": "thing", "name": "Thing", "description": "", "price": money(currency, PRICE),
    });
    std::fs::write(&file, json!({"products": [product]}).to_string()).unwrap();
    world.configure("merchant", |table| {
        table.insert("catalogue".to_owned(), file.display().to_string().into());
    });
    world.restart("merchant").await;
}

fn money(currency: &str, minor: u64) -> Value {
    json!({"currency": currency, "amount_minor": minor})
}

async fn buys(world: &World, card_id: &str, amount: Value) -> Answer {
    let basket = json!({
        "merchant_url": world.url("merchant"), "card_id": card_id,
        "items": [{"product_id": "thing", "quantity": 1}], "amount": amount,
    });
    let key = fresh();
    let answer = world.post("cardholder", "purchases", &key, &basket).await;
    answer.unwrap()
}

/// POST to an order until the answer is final: the same key, the same effect.
async fn ask(world: &World, order: &str, what: &str, body: &Value) -> Answer {
    let (path, key) = (format!("{order}/{what}"), fresh());
    for _ in 0..600 {
        let answer = world.post("merchant", &path, &key, body).await.unwrap();
        if answer.status != 202 && answer.status != 503 {
            return answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{what} is not answered:\n{}", world.log("gateway"));
}

async fn done(world: &World, order: &str, what: &str, body: &Value) -> Answer {
    let answer = ask(world, order, what, body).await;
    assert_eq!(answer.status, 200, "{what}: {:?}", answer.json);
    answer
}

async fn account_in(world: &World, currency: &str) -> (Account, String) {
    let account = world.account(100_000, &json!({"currency": currency})).await;
    let card_id = world.card(&account).await;
    (account, card_id)
}

/// What the acquirer owes the shop in a currency.
async fn payable(world: &World, currency: &str) -> i64 {
    let books = world.get("gateway", "ledger").await.unwrap().json;
    let accounts = books["accounts"].as_array().unwrap();
    let of = |one: &&Value| one["kind"] == "payable" && one["currency"] == currency;
    let found = accounts.iter().find(of);
    found.map_or(0, |one| one["balance_minor"].as_i64().unwrap())
}

#[tokio::test]
async fn currencies_with_no_two_and_three_decimals_go_the_whole_way() {
    let mut world = World::start().await;
    for (currency, whole, part) in ALL {
        sells_in(&mut world, currency).await;
        let (account, card_id) = account_in(&world, currency).await;
        let bought = buys(&world, &card_id, money(currency, PRICE)).await;
        assert_eq!(bought.text("/status"), "paid", "{:?}", bought.json);
        let description = bought.text("/order_description");
        assert!(description.contains(whole), "{description}");
        let view = world.account_view(&account).await;
        assert_eq!(view["held"]["text"], format!("{currency} {whole}"));

        let order = format!("orders/{}", bought.text("/order_id"));
        done(
            &world,
            &order,
            "reverse",
            &json!({"new_amount": money(currency, 1890)}),
        )
        .await;
        let amount = |minor| json!({"amount": money(currency, minor)});
        let captured = done(&world, &order, "capture", &amount(890)).await;
        assert_eq!(captured.json["captured"], money(currency, 890));
        let refunded = done(&world, &order, "refund", &amount(600)).await;
        assert_eq!(refunded.json["refunded"], money(currency, 600));

        let view = world.account_view(&account).await;
        assert_eq!(view["balance"]["text"], format!("{currency} {part}"));
        assert_eq!(view["held"]["amount_minor"], 0);
        assert_eq!(payable(&world, currency).await, -290);
        let path = format!("accounts/{}/statement", account.account_id);
        let statement = world.get("issuer", &path).await.unwrap().json;
        let lines = statement["items"].as_array().unwrap();
        let sum: i64 = lines
            .iter()
            .map(|line| line["amount"]["amount_minor"].as_i64().unwrap())
            .sum();
        assert_eq!((lines.len(), sum), (2, 290), "{statement}");
        let inquired = world.settled(bought.text("/purchase_id")).await;
        let shown = &inquired.json;
        assert_eq!(shown["amount"], money(currency, PRICE), "{shown}");
        assert_eq!(shown["paid"], money(currency, 890), "{shown}");
        assert_eq!(shown["refunded"], money(currency, 600), "{shown}");
        let of = format!("statement?currency={currency}");
        let listed = world.get("cardholder", &of).await.unwrap().json;
        let entries = listed["items"].as_array().unwrap();
        assert_eq!(entries.len(), 1, "{listed}");
        assert_eq!(entries[0]["paid"], money(currency, 890));
        let refund = &entries[0]["parts"][0]["refunds"][0];
        assert_eq!(refund["amount"], money(currency, 600), "{listed}");

        let batch = refunded.text("/batch/batch_id");
        closed_and_paid_out(&world, batch, currency).await;
    }
    let printed = statement(&world).await;
    for (currency, _, part) in ALL {
        let (paid, refunded) = match currency {
            "JPY" => ("890", "600"),
            "USD" => ("8.90", "6.00"),
            _ => ("0.890", "0.600"),
        };
        let sum = format!(
            "in all: {currency} {part} (paid {currency} {paid}, refunded {currency} {refunded})\n"
        );
        assert!(printed.contains(&sum), "{printed}");
    }
}

/// Closes the batch of 290 minor units, and waits until it is settled by the issuer and paid out.
async fn closed_and_paid_out(world: &World, batch: &str, currency: &str) {
    let batch = format!("batches/{batch}");
    let closed = done(world, &batch, "close", &json!({})).await;
    assert_eq!(closed.text("/state"), "closed", "{:?}", closed.json);
    let mut view = json!(null);
    for _ in 0..600 {
        view = world.get("merchant", &batch).await.unwrap().json;
        if view["payout"].is_object() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(view["payout"]["amount"], money(currency, 290), "{view}");
    assert_eq!(view["ours"], view["acquirers"]);
    assert_eq!(payable(world, currency).await, 0);
    let books = world.get("merchant", "ledger").await.unwrap().json;
    let accounts = books["accounts"].as_array().unwrap();
    let stands = |id: String| {
        let of = accounts.iter().find(|one| one["id"] == id);
        of.map_or(0, |one| one["balance_minor"].as_i64().unwrap())
    };
    assert_eq!(stands(format!("bank/{currency}")), 290, "{books}");
    assert_eq!(stands(format!("receivable/acquirer/{currency}")), 0);
    let settled = world.get("issuer", "settlements").await.unwrap().json;
    let net = money(currency, 290);
    let same = |one: &&Value| {
        one["net"]["currency"] == net["currency"]
            && one["net"]["amount_minor"] == net["amount_minor"]
    };
    let found = settled["items"].as_array().unwrap().iter().find(same);
    assert!(found.is_some(), "{settled}");
}

#[tokio::test]
async fn amounts_of_another_currency_are_refused_by_name_and_move_nothing() {
    let mut world = World::start().await;
    sells_in(&mut world, "KWD").await;
    let (account, card_id) = account_in(&world, "KWD").await;
    // The wallet signs what its owner agreed to, and the shop's price is another.
    let other = buys(&world, &card_id, money("JPY", PRICE)).await;
    assert!(
        other.status == 409 || other.status == 422,
        "{:?}",
        other.json
    );
    let bought = buys(&world, &card_id, money("KWD", PRICE)).await;
    assert_eq!(bought.text("/status"), "paid", "{:?}", bought.json);
    let order = format!("orders/{}", bought.text("/order_id"));
    let dollars = json!({"amount": money("USD", 100)});
    for what in ["capture", "refund"] {
        let refused = ask(&world, &order, what, &dollars).await;
        assert!(
            refused.status == 422 || refused.status == 409,
            "{what}: {:?}",
            refused.json
        );
    }
    let view = world.account_view(&account).await;
    assert_eq!(view["held"]["text"], "KWD 1.990");
    // A card of another currency than the shop's is its bank's to refuse.
    let (account, card_id) = account_in(&world, "JPY").await;
    let declined = buys(&world, &card_id, money("KWD", PRICE)).await;
    assert_eq!(declined.text("/status"), "declined", "{:?}", declined.json);
    assert_eq!(
        world.account_view(&account).await["held"]["amount_minor"],
        0
    );
}
