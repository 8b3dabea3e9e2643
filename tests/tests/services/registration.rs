//! In which language a card is registered is its owner's choice; it is bought with all the same.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use openset_tests::{World, fresh};
use serde_json::{Value, json};

/// A form for each of two languages.
const AUTHORITY: &str = r#"
[[forms]]
kind = "cardholder"
policy_text = "Use the card well."
fields = [
    { name = "holder", description = "Name on the card", length_max = 40, required = true },
    { name = "activation_code", description = "Code", length_max = 64, required = true, invisible = true },
]

[[forms]]
kind = "cardholder"
language = "de"
policy_text = "Nutzen Sie die Karte gut."
fields = [
    { name = "holder", description = "Name auf der Karte", length_max = 40, required = true },
    { name = "activation_code", description = "Code Ihrer Bank", length_max = 64, required = true, invisible = true },
]
"#;

/// Registers a card in two steps and buys with it; gives the form that was shown.
async fn registers_and_buys(world: &World, more: &Value) -> Value {
    let account = world.account(100_000, &json!({})).await;
    let mut card = json!({"pan": account.pan, "expiry": account.expiry, "brand": world.file.brand});
    for (name, value) in more.as_object().unwrap() {
        card[name] = value.clone();
    }
    let shown = world.post("cardholder", "cards", &fresh(), &card).await;
    let shown = shown.unwrap();
    assert_eq!(
        (shown.status, shown.text("/state")),
        (202, "form"),
        "{:?}",
        shown.json
    );
    let answers = json!({"holder": "Ada Lovelace", "activation_code": account.activation_code});
    let filled = json!({"answers": answers, "accept_policy": true});
    let card_id = shown.text("/card_id");
    let path = format!("cards/{card_id}/form");
    let registered = world.post("cardholder", &path, &fresh(), &filled).await;
    let registered = registered.unwrap();
    assert_eq!(registered.status, 201, "{:?}", registered.json);
    let bought = world.purchase(card_id, &fresh()).await.unwrap();
    let bought = match bought.text("/status") {
        "pending" => world.settled(bought.text("/purchase_id")).await,
        _ => bought,
    };
    assert_eq!(bought.text("/status"), "paid", "{:?}", bought.json);
    shown.json["form"].clone()
}

#[tokio::test]
async fn a_card_is_registered_with_the_form_and_policy_of_its_owners_language() {
    let world = World::start_with(|party, table| {
        if party == "ca" {
            let more: toml::Table = toml::from_str(AUTHORITY).unwrap();
            table.extend(more);
        }
    })
    .await;
    let german = registers_and_buys(&world, &json!({"language": "de-AT"})).await;
    assert_eq!(german["policy_text"], "Nutzen Sie die Karte gut.");
    assert_eq!(german["fields"][0]["description"], "Name auf der Karte");

    // Where there is none in the person's language it is the first one.
    let english = registers_and_buys(&world, &json!({"language": "fr"})).await;
    assert_eq!(english["policy_text"], "Use the card well.");
}
