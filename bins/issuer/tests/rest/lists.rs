//! Lists in pages, and the statement.

use serde_json::{Value, json};

use crate::bank::{Bank, GATEWAY, OPERATOR, OTHER_GATEWAY, Opened, authorization};

/// All items of a list, page by page; each page but the last is full.
async fn pages(bank: &Bank, token: &str, path: &str, limit: usize) -> Vec<Value> {
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("{path}limit={limit}{after}");
        let page = bank.get(&path, token).await.expect(200);
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().cloned());
        let Some(next) = page["next"].as_str() else {
            assert!(items.len() <= limit);
            return seen;
        };
        assert_eq!(items.len(), limit);
        after = format!("&after={next}");
    }
}

fn column(items: &[Value], name: &str) -> Vec<String> {
    items
        .iter()
        .map(|item| item[name].as_str().unwrap().to_owned())
        .collect()
}

/// A card in a currency, one authorization of it captured and partly credited.
async fn spent(bank: &Bank, currency: &str, key: &str) -> Opened {
    let request = json!({
        "holder": "Alice Example", "brand": "Visa", "currency": currency, "credit_limit": 100_000
    });
    let card = bank.account_with(&request).await;
    let mut asked = authorization(&card, 2990);
    asked["amount"]["currency"] = json!(currency);
    let told = bank.post("/authorizations", GATEWAY, key, &asked).await;
    let id = told.expect(200)["authorization_id"].clone();
    for (what, minor) in [("capture", 1990), ("credit", 990)] {
        let body = json!({"amount": {"currency": currency, "amount_minor": minor}});
        let path = format!("/authorizations/{}/{what}", id.as_str().unwrap());
        let key = format!("{key}-{what}");
        let done = bank.post(&path, GATEWAY, &key, &body).await;
        done.expect(200);
    }
    card
}

#[tokio::test]
async fn amounts_are_shown_as_people_write_them_in_every_currency() {
    let bank = Bank::open().await;
    for (currency, texts) in [
        ("JPY", ["JPY 1990", "JPY -990", "JPY 1000"]),
        ("USD", ["USD 19.90", "USD -9.90", "USD 10.00"]),
        ("KWD", ["KWD 1.990", "KWD -0.990", "KWD 1.000"]),
    ] {
        let card = spent(&bank, currency, currency).await;
        let path = format!("/accounts/{}/statement", card.account_id);
        let statement = bank.get(&path, OPERATOR).await.expect(200);
        let [captured, credited, owed] = texts;
        assert_eq!(statement["items"][0]["amount"]["text"], captured);
        assert_eq!(statement["items"][1]["amount"]["text"], credited);
        assert_eq!(statement["items"][1]["owed"]["text"], owed);
        assert_eq!(statement["items"][1]["owed"]["amount_minor"], 1000);
        assert_eq!(bank.show(&card).await["balance"]["text"], owed);
        let keys = ["capture", "credit"].map(|what| format!("{currency}-{what}"));
        let items = keys.map(|key| json!({"movement": key}));
        let body = json!({
            "batch_id": currency, "part": 0, "last": true, "currency": currency,
            "net_minor": 1000, "items": items
        });
        let paid = bank.post("/settlements", GATEWAY, currency, &body).await;
        paid.expect(200);
        let listed = bank.get("/settlements?limit=200", OPERATOR).await;
        let listed = listed.expect(200)["items"].clone();
        let of_currency = |one: &&Value| one["batch_id"] == currency;
        let one = listed.as_array().unwrap().iter().find(of_currency);
        assert_eq!(one.unwrap()["net"]["text"], owed);
    }
}

#[tokio::test]
async fn statement_has_every_line_once_with_what_was_owed_after_it() {
    let bank = Bank::open().await;
    let card = bank.account(100_000).await;
    let id = bank.approved(&card, "a", 5000).await;
    for round in 1..=4 {
        let key = |what: &str| format!("{what}-{round}");
        bank.movement(&id, "capture", &key("c"), 1000)
            .await
            .expect(200);
        let undone = bank.undo_capture(&id, &key("u")).await;
        undone.expect(200);
        bank.vaulted.move_clock(86_400);
    }
    let path = format!("/accounts/{}/statement", card.account_id);
    let whole = bank.get(&path, OPERATOR).await.expect(200);
    assert_eq!(whole["next"], Value::Null);
    let whole = whole["items"].as_array().unwrap().clone();
    let kinds = ["capture", "capture_reversal"].repeat(4);
    assert_eq!(column(&whole, "kind"), kinds);
    assert_eq!(column(&whole, "merchant"), ["Books & Co"; 8]);
    let owed = |line: &Value| line["owed"]["amount_minor"].as_i64().unwrap();
    let owed: Vec<i64> = whole.iter().map(owed).collect();
    assert_eq!(owed, [1000, 0].repeat(4));
    for limit in [1, 3, 8, 200] {
        let paged = pages(&bank, OPERATOR, &format!("{path}?"), limit).await;
        assert_eq!(paged, whole, "limit {limit}");
    }
    // From noon of the 15th on, a day for each capture: both days named are in it.
    let days = |from: &str, to: &str| format!("{path}?from={from}&to={to}&");
    let two = pages(&bank, OPERATOR, &days("2026-06-16", "2026-06-17"), 3).await;
    assert_eq!(two, whole[2..6]);
    let none = pages(&bank, OPERATOR, &days("2026-06-20", "2026-06-30"), 3).await;
    assert_eq!(none, whole[8..]);
    let later = bank.get(&format!("{path}?from=2026-06-18"), OPERATOR).await;
    assert_eq!(later.expect(200)["items"], json!(whole[6..]));
    for (query, code) in [
        ("from=2026-6-1", "day-unusable"),
        ("to=2026-06-31", "day-unusable"),
        ("after=x", "after-unusable"),
        ("limit=x", "query-unusable"),
        ("page=2", "query-unusable"),
    ] {
        let refused = bank.get(&format!("{path}?{query}"), OPERATOR).await;
        assert_eq!(refused.problem(400), code, "{query}");
    }
    let none = bank.get("/accounts/none/statement", OPERATOR).await;
    assert_eq!(none.problem(404), "no-such-account");
}

#[tokio::test]
async fn accounts_are_listed_once_each_by_state_and_the_newest_first() {
    let bank = Bank::open().await;
    let mut opened = Vec::new();
    for number in 0..7 {
        // Some at the same second.
        bank.vaulted.move_clock(i64::from(number % 3 == 0));
        opened.push(bank.account(1000 + number).await.account_id);
    }
    let all = pages(&bank, OPERATOR, "/accounts?", 200).await;
    let mut ids = column(&all, "account_id");
    assert_eq!(ids[0], opened[6]);
    for limit in [1, 2, 7] {
        let paged = pages(&bank, OPERATOR, "/accounts?", limit).await;
        assert_eq!(paged, all, "limit {limit}");
    }
    ids.sort_unstable();
    opened.sort_unstable();
    assert_eq!(ids, opened);
    for id in &opened[..2] {
        let path = format!("/accounts/{id}/block");
        bank.post(&path, OPERATOR, id, &json!({})).await.expect(200);
    }
    let listed = |state: &str| format!("/accounts?state={state}&");
    let mut blocked = column(
        &pages(&bank, OPERATOR, &listed("blocked"), 1).await,
        "account_id",
    );
    blocked.sort_unstable();
    assert_eq!(blocked, opened[..2]);
    let open = pages(&bank, OPERATOR, &listed("open"), 2).await;
    assert_eq!(open.len(), 5);
    assert!(open.iter().all(|one| one["state"] == "open"));
    let limit = open[0]["credit_limit"]["amount_minor"].as_i64().unwrap();
    let text = format!("EUR {}.{:02}", limit / 100, limit % 100);
    assert_eq!(open[0]["available"]["text"], text);
}

#[tokio::test]
async fn authorizations_are_listed_by_the_state_that_they_are_in_now() {
    let bank = Bank::open().await;
    let (card, other) = (bank.account(10_000).await, bank.account(10_000).await);
    let old = bank.approved(&card, "old", 100).await;
    let taken = bank.approved(&other, "taken", 100).await;
    bank.movement(&taken, "capture", "c", 100).await.expect(200);
    bank.authorize(&card, "much", 100_000).await.expect(200);
    bank.vaulted.move_clock(7 * 86_400);
    let new = bank.approved(&card, "new", 100).await;
    let listed = async |query: &str| {
        let found = pages(&bank, OPERATOR, &format!("/authorizations?{query}"), 1).await;
        column(&found, "authorization_id")
    };
    assert_eq!(listed("").await.len(), 4);
    assert_eq!(listed("").await[0], new);
    assert_eq!(listed("state=held&").await, [new.as_str()]);
    assert_eq!(listed("state=expired&").await, [old.as_str()]);
    assert_eq!(listed("state=captured&").await, [taken.as_str()]);
    assert_eq!(listed("state=declined&").await.len(), 1);
    let account = format!("account={}&", other.account_id);
    assert_eq!(listed(&account).await, [taken.as_str()]);
    let none = format!("{account}state=held&");
    assert_eq!(listed(&none).await, [""; 0]);
    let wrong = bank.get("/authorizations?state=lost", OPERATOR).await;
    assert_eq!(wrong.problem(400), "query-unusable");
}

#[tokio::test]
async fn gateway_sees_its_own_settlements_alone() {
    let bank = Bank::open().await;
    for (token, parts) in [(GATEWAY, 3), (OTHER_GATEWAY, 2)] {
        for part in 0..parts {
            let body = json!({
                "batch_id": "b", "part": part, "last": part == parts - 1, "currency": "EUR",
                "net_minor": 0, "items": []
            });
            let key = format!("s{part}");
            let done = bank.post("/settlements", token, &key, &body).await;
            done.expect(200);
        }
    }
    for limit in [1, 2, 50] {
        for (token, count) in [(OPERATOR, 5), (GATEWAY, 3), (OTHER_GATEWAY, 2)] {
            let seen = pages(&bank, token, "/settlements?", limit).await;
            let mut names: Vec<String> = seen
                .iter()
                .map(|one| format!("{}/{}", one["gateway"], one["part"]))
                .collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!((seen.len(), names.len()), (count, count));
        }
    }
}
