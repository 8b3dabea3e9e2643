//! Purchases without the cardholder's certificate, through all services: off unless every party allows them.
#![allow(clippy::unwrap_used, reason = "tests")]

use openset_tests::{Account, Answer, World, fresh};
use serde_json::{Value, json};
use toml::Table;

/// What each party must be told to take such purchases.
fn allow(party: &str, table: &mut Table) {
    let option = match party {
        "ca" => ("unsigned_brands", toml::Value::try_from(["Visa"]).unwrap()),
        "gateway" | "merchant" => ("accept_unsigned", true.into()),
        "cardholder" => ("allow_unsigned", true.into()),
        _ => return,
    };
    table.insert(option.0.to_owned(), option.1);
}

async fn held(world: &World, account: &Account) -> Answer {
    let card = json!({
        "pan": account.pan, "expiry": account.expiry, "brand": "Visa", "unsigned": true,
    });
    world
        .post("cardholder", "cards", &fresh(), &card)
        .await
        .unwrap()
}

async fn buy(world: &World, card_id: &str) -> Answer {
    let basket = json!({
        "merchant_url": world.url("merchant"), "card_id": card_id,
        "items": [{"product_id": "espresso-250", "quantity": 2}],
        "amount": {"currency": "EUR", "amount_minor": 1500},
    });
    let bought = world
        .post("cardholder", "purchases", &fresh(), &basket)
        .await;
    bought.unwrap()
}

async fn inquired(world: &World, purchase: &Answer) -> Value {
    let path = format!("purchases/{}/inquiry", purchase.text("/purchase_id"));
    let told = world
        .post("cardholder", &path, &fresh(), &json!({}))
        .await
        .unwrap();
    assert_eq!(told.status, 200, "{:?}", told.json);
    told.json
}

#[tokio::test]
async fn card_without_a_certificate_pays_where_everybody_takes_it() {
    let world = World::start_with(allow).await;
    let account = world.account(100_000, &json!({})).await;
    let card = held(&world, &account).await;
    assert_eq!(
        (card.status, card.text("/state")),
        (201, "unsigned"),
        "{:?}",
        card.json
    );
    assert!(!card.json.to_string().contains(&account.pan));
    let paid = buy(&world, card.text("/card_id")).await;
    assert_eq!(paid.text("/status"), "paid", "{:?}", paid.json);
    let told = paid.json["steps"].to_string();
    assert!(!told.contains("dual signature"), "{told}");
    assert!(
        told.contains("names of merchant and gateway within the payment"),
        "{told}"
    );
    assert_eq!(inquired(&world, &paid).await["status"], "paid");
    let capture = format!("orders/{}/capture", paid.text("/order_id"));
    let captured = world
        .post("merchant", &capture, &fresh(), &json!({}))
        .await
        .unwrap();
    assert_eq!(captured.text("/state"), "captured", "{:?}", captured.json);
    // The shop has not seen the card number, signed or not.
    let path = format!("orders/{}", paid.text("/order_id"));
    let shop = world.get("merchant", &path).await;
    assert!(!shop.unwrap().json.to_string().contains(&account.pan));
    // A registered card of the same wallet is paid with as ever.
    let account = world.account(100_000, &json!({})).await;
    let card = world.card(&account).await;
    let paid = buy(&world, &card).await;
    assert_eq!(paid.text("/status"), "paid", "{:?}", paid.json);
    let told = paid.json["steps"].to_string();
    assert!(
        told.contains("dual signature over order and payment"),
        "{told}"
    );
}

#[tokio::test]
async fn guessed_card_is_declined_without_a_reason_and_tried_once_for_an_order() {
    let world = World::start_with(allow).await;
    let account = world.account(100, &json!({})).await;
    let card = held(&world, &account).await;
    let items = json!({"items": [{"product_id": "espresso-250", "quantity": 2}]});
    let order = world.post("merchant", "orders", &fresh(), &items).await;
    let initiation = order.unwrap().json["payment_initiation"].clone();
    let buy = async |card_id: &str| {
        let amount = json!({"currency": "EUR", "amount_minor": 1500});
        let order = json!({"card_id": card_id, "initiation": initiation, "amount": amount});
        let key = fresh();
        let bought = world.post("cardholder", "purchases", &key, &order);
        bought.await.unwrap()
    };
    let declined = buy(card.text("/card_id")).await;
    assert_eq!(declined.text("/status"), "declined", "{:?}", declined.json);
    assert!(
        !declined
            .json
            .to_string()
            .to_lowercase()
            .contains("insufficient")
    );
    let again = buy(card.text("/card_id")).await;
    assert_eq!(again.text("/status"), "rejected", "{:?}", again.json);
    // With a certificate it may be tried again.
    let account = world.account(100_000, &json!({})).await;
    let card = world.card(&account).await;
    let paid = buy(&card).await;
    assert_eq!(paid.text("/status"), "paid", "{:?}", paid.json);
}

#[tokio::test]
async fn one_party_that_does_not_take_it_is_enough() {
    for strict in ["ca", "gateway", "merchant"] {
        let world = World::start_with(|party, table| {
            if party != strict {
                allow(party, table);
            }
        })
        .await;
        let account = world.account(100_000, &json!({})).await;
        let card = held(&world, &account).await;
        let refused = buy(&world, card.text("/card_id")).await;
        let said = refused.json.to_string();
        match strict {
            // The wallet reads it in the gateway's certificate: nothing is sent.
            "ca" => {
                assert_eq!(refused.status, 502, "{said}");
                assert!(
                    said.contains("without the cardholder's certificate"),
                    "{said}"
                );
            }
            "merchant" => {
                assert_eq!(refused.text("/status"), "failed", "{said}");
                assert!(said.contains("SignatureRequired"), "{said}");
            }
            _ => assert_eq!(refused.text("/status"), "declined", "{said}"),
        }
        let path = format!("accounts/{}", account.account_id);
        let account = world.get("issuer", &path).await.unwrap();
        assert_eq!(account.json["held"]["amount_minor"], 0, "{strict}");
    }
}

#[tokio::test]
async fn wallet_holds_no_such_card_unless_its_owner_allows_it() {
    let world = World::start().await;
    let account = world.account(100_000, &json!({})).await;
    let refused = held(&world, &account).await;
    assert_eq!(
        (refused.status, refused.text("/code")),
        (409, "unsigned-not-allowed")
    );
}
