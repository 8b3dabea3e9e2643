//! What was asked of the gateway is never given up by silence or by an Error that nobody signed, and each Idempotency-Key
//! has one movement for good.

use std::time::Duration;

use openset_jose::base64url;
use openset_protocol::cardholder::purchase::PaymentStatus;
use openset_protocol::content_type::ContentType;
use openset_protocol::digest::digest;
use openset_store::packed::unpack;
use serde_json::{Value, json};
use sqlx::Row as _;

use crate::bank::Mood;
use crate::shop::{OPERATOR, World};
use crate::wallet::Wallet;

/// The gateway takes what was asked so long ago for new no more.
pub(crate) const TWELVE_MINUTES_LATER: &str = "UPDATE outbox SET deadline_at_ms = deadline_at_ms - 720000, next_attempt_at_ms = 0, lease_until_ms = 0";
pub(crate) const ALL_DEADLINES_OVER: &str =
    "UPDATE outbox SET deadline_at_ms = 1, next_attempt_at_ms = 0, lease_until_ms = 0";

/// Waits until every movement of this kind is done.
pub(crate) async fn wait_until_done(world: &World, kind: &str) {
    let (db, _) = world.open_database().await;
    for _ in 0..1200 {
        let states: Vec<String> = sqlx::query_scalar("SELECT state FROM movements WHERE kind = $1")
            .bind(kind)
            .fetch_all(&mut *db.read().await.unwrap())
            .await
            .unwrap();
        if !states.is_empty() && states.iter().all(|state| state == "done") {
            db.close().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no {kind} is done");
}

async fn count(world: &World, statement: &'static str) -> i64 {
    let (db, _) = world.open_database().await;
    let count = sqlx::query_scalar(statement)
        .fetch_one(&mut *db.read().await.unwrap())
        .await
        .unwrap();
    db.close().await;
    count
}

#[tokio::test]
async fn error_that_nobody_signed_ends_no_capture_and_an_old_one_is_asked_for_anew() {
    let world = World::new().await;
    let shop = world.open_shop_waiting(300).await;
    let order = shop.order().await;
    Wallet::new(&world.pki, 1).buy(&shop, &order).await;
    shop.wait_for_state(&order, "authorized").await;
    world.bank.be(Mood::Errors);
    let (status, asked) = shop.capture_of(&order, "key", 900).await;
    assert_eq!((status, asked["state"].as_str()), (202, Some("capturing")));
    let (_, problem) = shop.capture(&order, Some("another")).await;
    assert_eq!(problem["code"], "capture-in-progress");
    assert_eq!(world.bank.received("CapReq").0, 1, "the same bytes");
    shop.close().await;
    world.alter(TWELVE_MINUTES_LATER).await;

    let shop = world.open_shop().await;
    for _ in 0..1200 {
        if world.bank.received("CapReq").0 > 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(world.bank.received("CapReq").0, 2, "asked for anew");
    assert_eq!(shop.show(&order).await["state"], "capturing");
    // Of the second request; of the first one that says nothing.
    world.bank.be(Mood::RefusesForGood);
    let before = world.bank.received("CapReq").1;
    for _ in 0..1200 {
        if world.bank.received("CapReq").1 > before + 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(shop.show(&order).await["state"], "capturing");
    world.bank.be(Mood::Approves);
    let view = shop.wait_for_state(&order, "captured").await;
    assert_eq!(view["capture"]["amount"]["amount_minor"], 900);
    let (status, answer) = shop.capture_of(&order, "key", 900).await;
    assert_eq!((status, &answer["movement"]), (200, &asked["movement"]));
    assert_eq!(count(&world, "SELECT COUNT(*) FROM outbox").await, 0);
    shop.close().await;
}

#[tokio::test]
async fn capture_that_nobody_answers_stays_asked_when_its_time_is_over() {
    let world = World::new().await;
    let shop = world.open_shop_waiting(300).await;
    let order = shop.order().await;
    Wallet::new(&world.pki, 1).buy(&shop, &order).await;
    shop.wait_for_state(&order, "authorized").await;
    world.bank.be(Mood::Down);
    let (_, asked) = shop.capture(&order, Some("key")).await;
    let (_, page) = shop.get("/orders?state=unanswered", Some(OPERATOR)).await;
    assert_eq!(page["items"], json!([]), "it is asked for yet");
    shop.close().await;
    world.alter(ALL_DEADLINES_OVER).await;
    let shop = world.open_shop().await;
    let (db, _) = world.open_database().await;
    for _ in 0..1200 {
        let left: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM outbox")
            .fetch_one(&mut *db.read().await.unwrap())
            .await
            .unwrap();
        if left == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    db.close().await;
    assert_eq!(shop.show(&order).await["state"], "capturing");
    let unanswered = "/orders?state=unanswered";
    let (_, page) = shop.get(unanswered, Some(OPERATOR)).await;
    assert_eq!(page["items"][0]["order_id"], order.lid_m.as_str());
    let (_, page) = shop.get("/orders?state=captured", Some(OPERATOR)).await;
    assert_eq!(page["items"], json!([]));
    assert_eq!(shop.capture(&order, Some("key")).await, (202, asked));
    assert_eq!(shop.capture(&order, Some("another")).await.0, 409);
    shop.close().await;
}

#[tokio::test]
async fn authorization_that_is_given_up_is_given_back() {
    let world = World::new().await;
    let shop = world.open_shop_waiting(300).await;
    let order = shop.order().await;
    let wallet = Wallet::new(&world.pki, 1);
    // The bank holds the amount, and nobody here knows.
    world.bank.be(Mood::LosesAnswers);
    let (step, outcome) = wallet.buy(&shop, &order).await;
    assert_eq!(outcome.status, PaymentStatus::Pending);
    shop.close().await;
    world.alter(ALL_DEADLINES_OVER).await;
    let shop = world.open_shop().await;
    shop.wait_for_state(&order, "failed").await;
    world.bank.be(Mood::Approves);
    wait_until_done(&world, "reversal").await;
    assert_eq!(world.bank.received("AuthRevReq").0, 1);
    let view = shop.show(&order).await;
    assert_eq!(view["state"], "failed");
    assert!(view.get("reversed").is_none(), "{view}");
    let inquired = wallet.inquire(&shop, &step.state).await.unwrap();
    assert_eq!(inquired.status, PaymentStatus::Rejected);
    shop.close().await;
}

#[tokio::test]
async fn part_is_captured_and_the_rest_is_free() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let wallet = Wallet::new(&world.pki, 1);
    let (step, _) = wallet.buy(&shop, &order).await;
    let dollars = json!({"amount": {"currency": "USD", "amount_minor": 1}}).to_string();
    let path = format!("/orders/{}/capture", order.lid_m);
    for (key, body, pointer) in [
        ("none", capture_body(0), "/amount/amount_minor"),
        ("more", capture_body(1501), "/amount/amount_minor"),
        ("dollars", dollars, "/amount/currency"),
        ("nobody", json!({"auth": 2}).to_string(), "/auth"),
    ] {
        let (status, problem) = shop.post(&path, Some(key), &body).await;
        assert_eq!(status, 422, "{problem}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    assert_eq!(world.bank.received("CapReq"), (0, 0));
    let (status, captured) = shop.capture_of(&order, "part", 600).await;
    assert_eq!(status, 200, "{captured}");
    assert_eq!(captured["captured"]["amount_minor"], 600);
    let view = shop.show(&order).await;
    assert_eq!(view["state"], "captured");
    assert_eq!(view["capture"]["amount"]["amount_minor"], 600);
    assert_eq!(view["authorization"]["amount"]["amount_minor"], 600);
    assert_eq!(view["reversed"]["amount_minor"], 900, "what is free again");
    let (status, problem) = shop.capture_of(&order, "rest", 900).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (409, Some("already-captured"))
    );
    let inquired = wallet.inquire(&shop, &step.state).await.unwrap();
    assert_eq!(inquired.status, PaymentStatus::Paid);
}

fn capture_body(minor: u64) -> String {
    json!({"amount": {"currency": "EUR", "amount_minor": minor}}).to_string()
}

#[tokio::test]
async fn key_stands_for_one_movement_for_good_whatever_was_done_since() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    Wallet::new(&world.pki, 1).buy(&shop, &order).await;
    let part = json!({"new_amount": {"currency": "EUR", "amount_minor": 1000}});
    let first = shop.reverse(&order, Some("key"), Some(part.clone())).await;
    assert_eq!(
        (first.0, first.1["state"].as_str()),
        (200, Some("authorized"))
    );
    let (status, problem) = shop.capture(&order, Some("key")).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (422, Some("idempotency-key-reused"))
    );
    assert_eq!(shop.capture(&order, Some("key-2")).await.0, 200);
    shop.close().await;
    // Keys of other calls are forgotten after a day.
    world.alter("DELETE FROM idempotency").await;
    let shop = world.open_shop().await;
    assert_eq!(shop.reverse(&order, Some("key"), Some(part)).await, first);
    assert_eq!(world.bank.received("AuthRevReq"), (1, 1));
    shop.close().await;
}

#[tokio::test]
async fn bank_s_answer_is_kept_as_it_was_verified() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    Wallet::new(&world.pki, 1).buy(&shop, &order).await;
    shop.close().await;
    let (db, _) = world.open_database().await;
    let row = sqlx::query(
        "SELECT a.auth_rrpid, a.answer, a.asked, p.signed, p.hoi, p.hpi, p.od_salt \
         FROM authorizations a JOIN payments p ON p.xid = a.xid",
    )
    .fetch_one(&mut *db.read().await.unwrap())
    .await
    .unwrap();
    let mut conn = db.read().await.unwrap();
    let mut texts = Vec::new();
    for column in 1..4 {
        let text = unpack(&mut conn, row.get(column)).await.unwrap();
        texts.push(String::from_utf8(text).unwrap());
    }
    drop(conn);
    let [answer, asked, signed]: [String; 3] = texts.try_into().unwrap();
    let (auth_res, baggage) = answer.split_once('\n').unwrap();
    let payload = auth_res.split('.').nth(1).unwrap();
    let payload: Value = serde_json::from_slice(&base64url::decode(payload).unwrap()).unwrap();
    let named = digest(ContentType::AuthResBaggage, baggage.as_bytes()).to_string();
    assert_eq!(
        payload["data"]["baggage_digest"],
        named.as_str(),
        "{payload}"
    );
    let rrpid: String = row.get(0);
    assert!(asked.contains(&rrpid), "{asked}");
    let signed: Value = serde_json::from_str(&signed).unwrap();
    for (what, parts) in [("dual_signature", 3), ("pi", 5)] {
        let kept = signed[what].as_str().unwrap();
        assert_eq!(kept.split('.').count(), parts, "{what}");
    }
    for (column, what) in (4..).zip(["hoi", "hpi", "od_salt"]) {
        let kept: Option<String> = row.get(column);
        assert!(kept.is_some_and(|text| text.len() >= 43), "{what}");
    }
    db.close().await;
}
