//! What bad input gets, over real HTTP: a named refusal, and no effect.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use openset_tests::{World, fresh};
use serde_json::{Value, json};

const PAYMENT: &str = "application/set-payment+json";
const REGISTRATION: &str = "application/set-registration+json";

fn header() -> Value {
    json!({
        "version": 2, "revision": 0, "date": openset_service::clock::now().to_string(), "message_ids": {},
        "rrpid": openset_jose::base64url::encode(&[7; 32]), "sw_ident": "test"
    })
}

fn wrapper(header: &Value, message: &Value) -> Vec<u8> {
    json!({"message_header": header, "message": message})
        .to_string()
        .into_bytes()
}

#[tokio::test]
async fn malformed_messages_get_set_errors_with_their_code() {
    let world = World::start().await;
    let mut stale = header();
    stale["date"] = json!("2020-01-01T00:00:00Z");
    let mut old = header();
    old["version"] = json!(1);
    let mut new = header();
    new["version"] = json!(3);
    let p_init = json!({"PInitReq": {
        "rrpid": openset_jose::base64url::encode(&[7; 32]), "language": "en", "lid_c": "c", "lid_m": "m",
        "chall_c": openset_jose::base64url::encode(&[8; 32]), "brand_id": "Visa", "bin": "400000",
    }});
    let mut with_ids = header();
    with_ids["message_ids"] = json!({"lid_c": "c", "lid_m": "m"});
    let mut with_xid = with_ids.clone();
    with_xid["message_ids"]["xid"] = json!(openset_jose::base64url::encode(&[9; 32]));
    stale["message_ids"] = with_ids["message_ids"].clone();
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("not JSON", b"{".to_vec(), "decodingFailure"),
        (
            "unknown message",
            wrapper(&header(), &json!({"Nonsense": {}})),
            "messageNotSupported",
        ),
        ("version 1", wrapper(&old, &p_init), "versionTooOld"),
        ("version 3", wrapper(&new, &p_init), "versionTooNew"),
        ("stale date", wrapper(&stale, &p_init), "messageTooOld"),
        (
            "header contradicts",
            wrapper(&header(), &p_init),
            "wrapperMsgMismatch",
        ),
        ("unknown order", wrapper(&with_ids, &p_init), "unknownLID"),
        (
            "no XID in the header",
            wrapper(&header(), &json!({"PReq": "x"})),
            "wrapperMsgMismatch",
        ),
        (
            "unknown purchase",
            wrapper(&with_xid, &json!({"PReq": "x"})),
            "unknownXID",
        ),
        ("too large", vec![b' '; 300 * 1024], "messageTooBig"),
    ];
    for (what, body, code) in rows {
        let answer = world.post_set("merchant", PAYMENT, body).await.unwrap();
        assert_eq!(
            answer.text("/message/Error/error_code"),
            code,
            "{what}: {} {:?}",
            answer.status,
            answer.json
        );
        assert_eq!(answer.status, 400, "{what}");
    }
    let nonce = openset_jose::base64url::encode(&[9; 32]);
    for party in ["merchant", "gateway", "ca"] {
        let media_type = if party == "ca" { REGISTRATION } else { PAYMENT };
        let answer = world
            .post_set(
                party,
                media_type,
                wrapper(&header(), &json!({"Nonsense": {}})),
            )
            .await
            .unwrap();
        assert_eq!(
            answer.text("/message/Error/error_code"),
            "messageNotSupported",
            "{party} {:?}",
            answer.json
        );
        let error = json!({"Error": {
            "error_code": "signatureFailure", "error_nonce": nonce, "error_text": "x", "error_msg": {},
        }});
        let answer = world.post_set(party, media_type, wrapper(&header(), &error));
        let answer = answer.await.unwrap();
        assert_eq!(
            (answer.status, &answer.json),
            (204, &Value::Null),
            "{party} answers an Error"
        );
        let answer = world
            .post_set(party, "application/json", b"{}".to_vec())
            .await
            .unwrap();
        assert_eq!(
            answer.text("/message/Error/error_code"),
            "decodingFailure",
            "{party} {:?}",
            answer.json
        );
    }
}

#[tokio::test]
async fn bad_orders_and_purchases_say_what_to_mend() {
    let world = World::start().await;
    let account = world.account(100_000, &json!({})).await;
    let card_id = world.card(&account).await;
    for (items, pointer) in [
        (json!([]), "/items"),
        (
            json!([{"product_id": "no-such", "quantity": 1}]),
            "/items/0/product_id",
        ),
        (
            json!([{"product_id": "no-such", "quantity": -1}]),
            "/items/0/quantity",
        ),
        (
            json!([{"product_id": "no-such", "quantity": "two"}]),
            "/items/0/quantity",
        ),
        (
            json!([{"product_id": "no-such", "quantity": 1.5}]),
            "/items/0/quantity",
        ),
    ] {
        let answer = world
            .post("merchant", "orders", &fresh(), &json!({"items": items}))
            .await
            .unwrap();
        assert!(
            (400..500).contains(&answer.status),
            "{items} {:?}",
            answer.json
        );
        assert_eq!(
            answer.text("/errors/0/pointer"),
            pointer,
            "{:?}",
            answer.json
        );
    }
    let basket = world.basket(&card_id, 1).await;
    let refuse = async |change: &dyn Fn(&mut Value), status: u16, code: &str| {
        let mut body = basket.clone();
        change(&mut body);
        let answer = world
            .post("cardholder", "purchases", &fresh(), &body)
            .await
            .unwrap();
        assert_eq!(
            (answer.status, answer.text("/code")),
            (status, code),
            "{body} {:?}",
            answer.json
        );
    };
    refuse(
        &|b| b["amount"]["amount_minor"] = json!(1),
        409,
        "amount-differs",
    )
    .await;
    refuse(
        &|b| b["amount"]["currency"] = json!("USD"),
        409,
        "amount-differs",
    )
    .await;
    refuse(
        &|b| b["amount"]["amount_minor"] = json!(-5),
        422,
        "invalid-field",
    )
    .await;
    refuse(
        &|b| b["amount"]["amount_minor"] = json!(1.5),
        422,
        "invalid-field",
    )
    .await;
    refuse(&|b| b["card_id"] = json!("none"), 422, "no-such-card").await;
    refuse(
        &|b| b["merchant_url"] = json!("http://10.0.0.1:1"),
        422,
        "address-not-allowed",
    )
    .await;
    refuse(&|b| b["surprise"] = json!(1), 422, "invalid-field").await;
    let view = world.account_view(&account).await;
    assert_eq!(
        view["authorizations"].as_array().unwrap().len(),
        0,
        "{view}"
    );
}

#[tokio::test]
async fn merchant_that_shows_another_price_is_refused_before_anything_is_signed() {
    let world = World::start().await;
    let account = world.account(100_000, &json!({})).await;
    let card_id = world.card(&account).await;
    let (product_id, price) = world.product().await;
    let items = json!({"items": [{"product_id": product_id, "quantity": 1}]});
    let order = world
        .post("merchant", "orders", &fresh(), &items)
        .await
        .unwrap();
    let mut initiation = order.json["payment_initiation"].clone();
    let amount = json!({"currency": "EUR", "amount_minor": price - 1});
    initiation["amount"] = amount.clone();
    let body = json!({"initiation": initiation, "card_id": card_id, "amount": amount});
    // Wallet and initiation agree on a lower price than the merchant's own order: HOD tells.
    let answer = world
        .post("cardholder", "purchases", &fresh(), &body)
        .await
        .unwrap();
    assert_eq!(answer.text("/status"), "rejected", "{:?}", answer.json);
    assert_eq!(
        world.account_view(&account).await["authorizations"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
}

#[tokio::test]
async fn wrong_activation_code_gets_no_certificate() {
    let world = World::start().await;
    let account = world.account(100_000, &json!({})).await;
    let request = json!({
        "pan": account.pan, "expiry": account.expiry, "brand": world.file.brand, "accept_policy": true,
        "answers": {"holder": "Ada Lovelace", "activation_code": "wrong-code"},
    });
    let answer = world
        .post("cardholder", "cards", &fresh(), &request)
        .await
        .unwrap();
    assert_eq!(
        (answer.status, answer.text("/code")),
        (422, "card-refused"),
        "{:?}",
        answer.json
    );
    // The right one still works.
    world.card(&account).await;
}
