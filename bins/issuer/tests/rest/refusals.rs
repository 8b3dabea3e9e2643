use reqwest::Method;
use serde_json::{Value, json};

use crate::bank::{Bank, CA, GATEWAY, OPERATOR, authorization};

#[tokio::test]
async fn bad_input_is_refused_with_the_field_that_must_be_mended() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let with = |pointer: &str, value: Value| {
        let mut request = authorization(&card, 100);
        *request.pointer_mut(pointer).unwrap() = value;
        request
    };
    let mut extra = authorization(&card, 100);
    extra["tip"] = json!(1);
    let cases = [
        (
            "/amount/amount_minor",
            with("/amount/amount_minor", json!(-1)),
        ),
        (
            "/amount/amount_minor",
            with("/amount/amount_minor", json!(0)),
        ),
        (
            "/amount/amount_minor",
            with("/amount/amount_minor", json!(1.5)),
        ),
        (
            "/amount/amount_minor",
            with("/amount/amount_minor", json!("100")),
        ),
        (
            "/amount/amount_minor",
            with("/amount/amount_minor", json!(1_000_000_000_000_i64)),
        ),
        ("/amount/currency", with("/amount/currency", json!("XXX"))),
        ("/amount/currency", with("/amount/currency", json!("eur"))),
        ("/pan", with("/pan", json!("4111111111111112"))),
        ("/expiry", with("/expiry", json!("202613"))),
        ("/merchant_id", with("/merchant_id", json!(""))),
        ("/reference", with("/reference", json!(card.pan))),
        ("/tip", extra),
    ];
    for (number, (pointer, request)) in cases.into_iter().enumerate() {
        let key = format!("key-{number}");
        let answer = bank.post("/authorizations", GATEWAY, &key, &request).await;
        assert_eq!(answer.problem(422), "invalid-field", "{pointer}");
        assert_eq!(
            answer.json()["errors"][0]["pointer"],
            pointer,
            "{}",
            answer.json()
        );
    }
    assert_eq!(bank.sums(&card).await, [10_000, 0, 0]);
}

#[tokio::test]
async fn account_needs_a_holder_and_a_limit_above_zero() {
    let bank = Bank::open().await;
    let good = json!({"holder": "A", "brand": "Visa", "currency": "EUR", "credit_limit": 1});
    for (field, wrong) in [
        ("holder", json!("  ")),
        ("holder", json!("x".repeat(61))),
        ("credit_limit", json!(0)),
        ("credit_limit", json!(-5)),
        ("currency", json!("XAU")),
        ("expiry", json!("2029-12")),
    ] {
        let mut request = good.clone();
        request[field] = wrong;
        let answer = bank.post("/accounts", OPERATOR, "key", &request).await;
        assert_eq!(answer.problem(422), "invalid-field", "{field}");
        assert_eq!(answer.json()["errors"][0]["pointer"], format!("/{field}"));
    }
    assert_eq!(
        bank.post("/accounts", OPERATOR, "key", &good).await.status,
        201
    );
}

#[tokio::test]
async fn doubled_fields_other_media_types_and_missing_keys_are_refused() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let good = authorization(&card, 100).to_string();
    let doubled = good.replacen('{', "{\"reference\":\"x\",", 1);
    let path = "/authorizations";
    let answer = bank
        .send(Method::POST, path, GATEWAY, Some("k"), Some(&doubled))
        .await;
    assert_eq!(answer.problem(422), "invalid-field");
    let answer = bank
        .send(Method::POST, path, GATEWAY, Some("k"), Some("{"))
        .await;
    assert_eq!(answer.problem(400), "malformed-json");
    let answer = bank
        .send(Method::POST, path, GATEWAY, Some("k"), None)
        .await;
    assert_eq!(answer.problem(415), "unsupported-media-type");
    let answer = bank
        .send(Method::POST, path, GATEWAY, None, Some(&good))
        .await;
    assert_eq!(answer.problem(400), "idempotency-key-missing");
    for unusable in ["", "with space", card.pan.as_str(), &"x".repeat(201)] {
        let answer = bank
            .send(Method::POST, path, GATEWAY, Some(unusable), Some(&good))
            .await;
        assert_eq!(
            answer.problem(400),
            "idempotency-key-unusable",
            "{unusable}"
        );
    }
    let large = format!("{good}{}", " ".repeat(70_000));
    let answer = bank
        .send(Method::POST, path, GATEWAY, Some("k"), Some(&large))
        .await;
    assert_eq!(answer.problem(413), "body-too-large");
    assert_eq!(bank.sums(&card).await, [10_000, 0, 0]);
}

#[tokio::test]
async fn problem_never_repeats_a_card_number() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let number: u64 = card.pan.parse().unwrap();
    let mut bodies = vec![json!({ card.pan.clone(): 1 })];
    for field in ["pan", "expiry", "brand", "reference", "merchant_id"] {
        let mut request = authorization(&card, 100);
        request[field] = json!(number);
        bodies.push(request);
    }
    let mut misplaced = authorization(&card, 100);
    misplaced["amount"]["currency"] = json!(card.pan);
    bodies.push(misplaced);
    for body in bodies {
        let answer = bank.post("/authorizations", GATEWAY, "key", &body).await;
        assert_eq!(answer.problem(422), "invalid-field");
        let text = String::from_utf8(answer.body).unwrap();
        assert!(!text.contains(&card.pan), "{text}");
    }
}

#[tokio::test]
async fn each_route_wants_a_token_of_its_scope() {
    let bank = Bank::open().await;
    let card = bank.account(10_000).await;
    let id = bank.approved(&card, "a", 100).await;
    let account = format!("/accounts/{}", card.account_id);
    let routes = [
        (Method::POST, "/accounts".to_owned(), vec![OPERATOR]),
        (Method::GET, account.clone(), vec![OPERATOR]),
        (Method::GET, "/accounts".to_owned(), vec![OPERATOR]),
        (Method::GET, format!("{account}/statement"), vec![OPERATOR]),
        (Method::GET, "/authorizations".to_owned(), vec![OPERATOR]),
        (
            Method::GET,
            "/settlements".to_owned(),
            vec![GATEWAY, OPERATOR],
        ),
        (Method::POST, format!("{account}/block"), vec![OPERATOR]),
        (Method::POST, format!("{account}/unblock"), vec![OPERATOR]),
        (Method::POST, "/authorizations".to_owned(), vec![GATEWAY]),
        (
            Method::GET,
            format!("/authorizations/{id}"),
            vec![GATEWAY, OPERATOR],
        ),
        (
            Method::POST,
            format!("/authorizations/{id}/capture"),
            vec![GATEWAY],
        ),
        (
            Method::POST,
            format!("/authorizations/{id}/reverse"),
            vec![GATEWAY],
        ),
        (
            Method::POST,
            format!("/authorizations/{id}/credit"),
            vec![GATEWAY],
        ),
        (
            Method::POST,
            format!("/authorizations/{id}/capture/reverse"),
            vec![GATEWAY],
        ),
        (
            Method::POST,
            format!("/authorizations/{id}/credits/k/reverse"),
            vec![GATEWAY],
        ),
        (Method::POST, "/registrations/approve".to_owned(), vec![CA]),
    ];
    for (method, path, allowed) in routes {
        for token in ["", "wrong-token-0123456789", OPERATOR, GATEWAY, CA] {
            if allowed.contains(&token) {
                continue;
            }
            let answer = bank
                .send(method.clone(), &path, token, Some("k"), Some("{}"))
                .await;
            let known = [OPERATOR, GATEWAY, CA].contains(&token);
            let (status, code) = if known {
                (403, "forbidden")
            } else {
                (401, "unauthorized")
            };
            assert_eq!(answer.problem(status), code, "{method} {path} {token}");
        }
    }
    assert_eq!(bank.state(&id).await, "held");
}

#[tokio::test]
async fn openapi_document_lists_every_route() {
    let bank = Bank::open().await;
    let document = bank.get("/openapi.json", "").await.expect(200);
    for path in [
        "/accounts",
        "/accounts/{id}",
        "/accounts/{id}/statement",
        "/accounts/{id}/block",
        "/accounts/{id}/unblock",
        "/authorizations",
        "/authorizations/{id}",
        "/authorizations/{id}/capture",
        "/authorizations/{id}/reverse",
        "/authorizations/{id}/capture/reverse",
        "/authorizations/{id}/credit",
        "/authorizations/{id}/credits/{credit_id}/reverse",
        "/registrations/approve",
        "/settlements",
    ] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    assert_eq!(
        document["components"]["securitySchemes"]["bearer"]["scheme"],
        "bearer"
    );
    bank.get("/healthz", "").await.expect(200);
}
