//! What the statement shows: what the bank's receipts say, and nothing else.

use serde_json::{Value, json};

use crate::shop::Mood;
use crate::world::{Wallet, World};

async fn statement(wallet: &Wallet, query: &str) -> Value {
    let answer = wallet.get(&format!("/statement{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

#[tokio::test]
async fn statement_shows_what_receipts_say_was_paid_page_by_page() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    let card_id = wallet.register().await;
    let mut paid = Vec::new();
    for _ in 0..3 {
        paid.push(wallet.buy(&world, &card_id, None).await.at("/purchase_id"));
    }
    // Nobody has paid for these.
    for mood in [Mood::Declines, Mood::Waits, Mood::Rejects] {
        world.shop.be(mood);
        wallet.buy(&world, &card_id, None).await;
    }
    let all = statement(&wallet, "").await;
    let mut expected = paid.clone();
    let mut shown: Vec<String> = Vec::new();
    for entry in all["items"].as_array().unwrap() {
        assert_eq!(entry["status"], "paid", "{entry}");
        assert_eq!(entry["paid"], entry["amount"]);
        assert_eq!(entry["card_id"], json!(card_id));
        let parts = entry["parts"].as_array().unwrap();
        assert_eq!(parts.len(), 1, "{entry}");
        assert_eq!(parts[0]["state"], "authorized");
        assert_eq!(parts[0]["amount"], entry["paid"]);
        shown.push(entry["purchase_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(all["next"], Value::Null);
    let (mut paged, mut after) = (Vec::new(), String::new());
    for page in 1.. {
        let one = statement(&wallet, &format!("?limit=1{after}")).await;
        let items = one["items"].as_array().unwrap();
        assert_eq!(items.len(), 1, "page {page}");
        paged.push(items[0]["purchase_id"].as_str().unwrap().to_owned());
        let Some(next) = one["next"].as_str() else {
            break;
        };
        after = format!("&after={next}");
    }
    assert_eq!(paged, shown);
    expected.sort_unstable();
    shown.sort_unstable();
    assert_eq!(shown, expected);
    wallet.close().await;
}

#[tokio::test]
async fn statement_is_filtered_by_day_and_currency_and_is_the_owners_alone() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    let card_id = wallet.register().await;
    wallet.buy(&world, &card_id, None).await;
    for (query, items) in [
        ("?currency=EUR", 1),
        ("?currency=USD", 0),
        ("?from=2020-01-01", 1),
        ("?to=2020-01-01", 0),
        ("?from=2999-01-01", 0),
        ("?to=2999-01-01&currency=EUR", 1),
    ] {
        let found = statement(&wallet, query).await;
        assert_eq!(found["items"].as_array().unwrap().len(), items, "{query}");
    }
    for (query, code) in [
        ("?from=yesterday", "day-unusable"),
        ("?after=x", "after-unusable"),
        ("?currency=euro", "query-unusable"),
        ("?colour=red", "query-unusable"),
    ] {
        let refused = wallet.get(&format!("/statement{query}")).await;
        refused.refuses(400, code);
    }
    let stranger = reqwest::get(format!("{}/statement", wallet.url)).await;
    assert_eq!(stranger.unwrap().status().as_u16(), 401);
    wallet.close().await;
}

#[tokio::test]
async fn statement_shows_what_was_captured_and_what_went_back_by_the_banks_receipts() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    let card_id = wallet.register().await;
    for (captured, refunded, status) in [
        (1500, 400, "partly_refunded"),
        (900, 400, "partly_refunded"),
        (900, 900, "refunded"),
    ] {
        world.shop.be(Mood::Refunds(captured, refunded));
        let bought = wallet.buy(&world, &card_id, None).await;
        assert_eq!(bought.json()["status"], "paid", "{}", bought.text);
        assert_eq!(bought.json().get("refunded"), None);
        let id = bought.at("/purchase_id");
        let inquired = wallet
            .post(&format!("/purchases/{id}/inquiry"), None, &json!({}))
            .await;
        let view = inquired.json();
        assert_eq!(view["status"], status, "{view}");
        assert_eq!(view["paid"]["amount_minor"], captured);
        assert_eq!(view["refunded"]["amount_minor"], refunded);
        let all = statement(&wallet, "").await;
        let entry = all["items"].as_array().unwrap().iter();
        let entry = entry.clone().find(|entry| entry["purchase_id"] == id);
        let entry = entry.unwrap();
        assert_eq!(entry["status"], status, "{entry}");
        assert_eq!(
            (&entry["paid"], &entry["refunded"]),
            (&view["paid"], &view["refunded"])
        );
        let part = &entry["parts"][0];
        assert_eq!(part["state"], status);
        assert_eq!(part["amount"], view["paid"]);
        assert_eq!(part["refunds"].as_array().unwrap().len(), 1);
        assert_eq!(part["refunds"][0]["amount"], view["refunded"]);
        assert!(part["refunds"][0]["refunded_at"].is_string(), "{part}");
    }
    wallet.close().await;
}
