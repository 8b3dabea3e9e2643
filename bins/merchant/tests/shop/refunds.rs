//! After the capture: money goes back, once or in parts, and captures and refunds are cancelled.

use openset_protocol::cardholder::purchase::PaymentStatus;
use openset_protocol::messages::initiation::PaymentInitiation;
use serde_json::{Value, json};

use crate::bank::Mood;
use crate::movements::{TWELVE_MINUTES_LATER, wait_until_done};
use crate::shop::{OPERATOR, Shop, World};
use crate::wallet::Wallet;

pub(crate) fn of(minor: u64) -> Value {
    json!({"amount": {"currency": "EUR", "amount_minor": minor}})
}

pub(crate) async fn sold(world: &World, shop: &Shop) -> PaymentInitiation {
    let order = shop.order().await;
    Wallet::new(&world.pki, 1).buy(shop, &order).await;
    shop.wait_for_state(&order, "authorized").await;
    let key = format!("capture-{}", order.lid_m);
    let path = format!("/orders/{}/capture", order.lid_m);
    assert_eq!(shop.answered(&path, &key, "").await.0, 200);
    order
}

pub(crate) fn code((status, problem): &(u16, Value)) -> (u16, &str) {
    (*status, problem["code"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn money_goes_back_in_parts_up_to_what_was_captured() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = sold(&world, &shop).await;
    let first = shop.ask(&order, "refund", "a", of(500)).await;
    assert_eq!(
        (first.0, first.1["state"].as_str()),
        (200, Some("refunded"))
    );
    assert_eq!(first.1["refunded"]["amount_minor"], 500);
    assert_eq!(first.1["batch"]["batch_id"], "batch-1");
    let view = shop.show(&order).await;
    assert_eq!(view["state"], "captured");
    assert_eq!(view["refunded"]["amount_minor"], 500);
    let more = shop.ask(&order, "refund", "b", of(1001)).await;
    assert_eq!(code(&more), (422, "invalid-field"));
    let (status, rest) = shop.ask(&order, "refund", "c", json!({})).await;
    assert_eq!(
        (status, &rest["refunded"]["amount_minor"]),
        (200, &json!(1000))
    );
    assert_eq!(shop.show(&order).await["state"], "refunded");
    let none = shop.ask(&order, "refund", "d", json!({})).await;
    assert_eq!(code(&none), (409, "already-refunded"));
    let refunds = shop.show(&order).await["authorizations"][0]["refunds"].clone();
    assert_eq!(refunds.as_array().unwrap().len(), 2, "{refunds}");
    assert_eq!(shop.ask(&order, "refund", "a", of(500)).await, first);
    assert_eq!(world.bank.received("CredReq"), (2, 2));
}

#[tokio::test]
async fn damaged_reports_of_what_was_done_hold_up_no_money_and_no_inquiry() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let wallet = Wallet::new(&world.pki, 1);
    let (step, _) = wallet.buy(&shop, &order).await;
    assert_eq!(shop.capture(&order, Some("all")).await.0, 200);
    let (db, _) = world.open_database().await;
    let mut tx = db.begin().await.unwrap();
    let damaged = vec![4_u8; 40];
    let damage = sqlx::query("UPDATE payments SET steps_packed = $1").bind(damaged.clone());
    assert_eq!(damage.execute(&mut *tx).await.unwrap().rows_affected(), 1);
    tx.commit().await.unwrap();
    let (status, refund) = shop.ask(&order, "refund", "a", json!({})).await;
    assert_eq!((status, &refund["state"]), (200, &json!("refunded")));
    let told = wallet.inquire(&shop, &step.state).await.unwrap();
    assert_eq!(told.status, PaymentStatus::Refunded);
    // Who asks for them is told.
    let path = format!("/orders/{}", order.lid_m);
    assert_eq!(shop.get(&path, Some(OPERATOR)).await.0, 500);
    // Somebody may yet mend them.
    let kept: Vec<u8> = sqlx::query_scalar("SELECT steps_packed FROM payments")
        .fetch_one(&mut *db.read().await.unwrap())
        .await
        .unwrap();
    assert_eq!(kept, damaged);
    db.close().await;
    shop.close().await;
}

#[tokio::test]
async fn refund_is_cancelled_and_may_be_made_again() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = sold(&world, &shop).await;
    let (_, refund) = shop.ask(&order, "refund", "a", json!({})).await;
    let standing = shop.ask(&order, "void-capture", "b", json!({})).await;
    assert_eq!(code(&standing), (409, "refund-stands"));
    let unknown = shop
        .ask(&order, "void-refund", "c", json!({"refund": "x"}))
        .await;
    assert_eq!(code(&unknown), (422, "invalid-field"));
    let named = json!({"refund": refund["movement"]});
    let (status, voided) = shop.ask(&order, "void-refund", "d", named.clone()).await;
    assert_eq!((status, voided["state"].as_str()), (200, Some("captured")));
    assert_eq!(voided["voided"]["amount_minor"], 1500);
    let twice = shop.ask(&order, "void-refund", "e", named).await;
    assert_eq!(code(&twice), (409, "already-voided"));
    let view = shop.show(&order).await;
    assert_eq!(view["state"], "captured");
    assert_eq!(view["authorizations"][0]["refunds"][0]["state"], "voided");
    assert_eq!(shop.ask(&order, "refund", "f", json!({})).await.0, 200);
    assert_eq!(world.bank.received("CapRevReq"), (0, 0));
}

#[tokio::test]
async fn cancelled_capture_leaves_what_was_captured_authorized() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let early = shop.ask(&order, "refund", "early", json!({})).await;
    assert_eq!(code(&early), (409, "not-captured"));
    let wallet = Wallet::new(&world.pki, 1);
    let (step, _) = wallet.buy(&shop, &order).await;
    let early = shop.ask(&order, "void-capture", "early", json!({})).await;
    assert_eq!(code(&early), (409, "not-captured"));
    assert_eq!(shop.capture_of(&order, "part", 600).await.0, 200);
    let (status, voided) = shop.ask(&order, "void-capture", "a", json!({})).await;
    assert_eq!(
        (status, voided["state"].as_str()),
        (200, Some("authorized"))
    );
    assert_eq!(voided["voided"]["amount_minor"], 600);
    assert_eq!(voided["authorized"]["amount_minor"], 600);
    let inquired = wallet.inquire(&shop, &step.state).await.unwrap();
    assert_eq!(inquired.status, PaymentStatus::Paid);
    let (status, again) = shop.capture(&order, Some("again")).await;
    assert_eq!(
        (status, &again["captured"]["amount_minor"]),
        (200, &json!(600))
    );
    let (_, same) = shop.ask(&order, "void-capture", "a", json!({})).await;
    assert_eq!(same, voided, "whatever was done since");
}

#[tokio::test]
async fn refunds_at_once_never_give_back_more_than_was_captured() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = sold(&world, &shop).await;
    let ask = |key| shop.ask(&order, "refund", key, of(400));
    let (a, b, c, d, e, f) =
        tokio::join!(ask("a"), ask("b"), ask("c"), ask("d"), ask("e"), ask("f"));
    let statuses = [a.0, b.0, c.0, d.0, e.0, f.0];
    let done = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(done, 3, "{statuses:?}");
    assert_eq!(shop.show(&order).await["refunded"]["amount_minor"], 1200);
    assert_eq!(world.bank.received("CredReq").0, 3);
}

/// What came of the refund of 1000 under the key "a" once the gateway is there again.
async fn refunded(world: &World, shop: &Shop, order: &PaymentInitiation) -> Value {
    world.bank.be(Mood::Approves);
    wait_until_done(world, "credit").await;
    let (status, done) = shop.ask(order, "refund", "a", of(1000)).await;
    assert_eq!(status, 200, "{done}");
    assert_eq!(shop.show(order).await["refunded"]["amount_minor"], 1000);
    done
}

async fn wait_for_requests(world: &World, distinct: usize) {
    for _ in 0..1200 {
        if world.bank.received("CredReq").0 >= distinct {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("fewer than {distinct} different CredReqs");
}

#[tokio::test]
async fn refund_that_the_gateway_missed_is_asked_for_anew_and_done_once() {
    let world = World::new().await;
    let shop = world.open_shop_waiting(300).await;
    let order = sold(&world, &shop).await;
    world.bank.be(Mood::Errors);
    let (status, asked) = shop.ask(&order, "refund", "a", of(1000)).await;
    assert_eq!((status, asked["state"].as_str()), (202, Some("refunding")));
    let more = shop.ask(&order, "refund", "b", of(501)).await;
    assert_eq!(code(&more), (422, "invalid-field"));
    let void = shop.ask(&order, "void-capture", "c", json!({})).await;
    assert_eq!(code(&void), (409, "refund-in-progress"));
    assert_eq!(world.bank.received("CredReq").0, 1, "the same bytes");
    shop.close().await;
    // Twice, so that the third request cannot name the second alone.
    for distinct in [2, 3] {
        world.alter(TWELVE_MINUTES_LATER).await;
        let shop = world.open_shop_waiting(300).await;
        wait_for_requests(&world, distinct).await;
        shop.close().await;
    }
    assert_eq!(world.bank.undone(), 0);
    let shop = world.open_shop_waiting(300).await;
    let done = refunded(&world, &shop, &order).await;
    assert_eq!(done["movement"], asked["movement"]);
    assert_eq!(world.bank.undone(), 1);
    shop.close().await;
}

#[tokio::test]
async fn refund_whose_answer_was_lost_is_not_done_again_when_it_is_asked_for_anew() {
    let world = World::new().await;
    let shop = world.open_shop_waiting(300).await;
    let order = sold(&world, &shop).await;
    world.bank.be(Mood::LosesAnswers);
    let (status, _) = shop.ask(&order, "refund", "a", of(1000)).await;
    assert_eq!(status, 202);
    while world.bank.undone() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    shop.close().await;
    // Anybody may write an Error.
    world.bank.be(Mood::Errors);
    for distinct in [2, 3] {
        world.alter(TWELVE_MINUTES_LATER).await;
        let shop = world.open_shop_waiting(300).await;
        wait_for_requests(&world, distinct).await;
        shop.close().await;
    }
    let shop = world.open_shop_waiting(300).await;
    refunded(&world, &shop, &order).await;
    assert_eq!(world.bank.undone(), 1);
    shop.close().await;
}

#[tokio::test]
async fn refund_that_the_gateway_refuses_for_good_is_over_and_may_be_made_again() {
    let world = World::new().await;
    let shop = world.open_shop_waiting(300).await;
    let order = sold(&world, &shop).await;
    world.bank.be(Mood::RefusesOthersForGood);
    let (status, asked) = shop.ask(&order, "refund", "a", json!({})).await;
    assert_eq!((status, asked["state"].as_str()), (202, Some("refunding")));
    world.bank.be(Mood::RefusesForGood);
    let mut refused = (202, Value::Null);
    for _ in 0..1200 {
        if refused.0 != 202 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        refused = shop.ask(&order, "refund", "a", json!({})).await;
    }
    assert_eq!(code(&refused), (502, "refund-refused"));
    assert_eq!(shop.show(&order).await["state"], "captured");
    world.bank.be(Mood::Approves);
    let path = format!("/orders/{}/refund", order.lid_m);
    let again = shop.answered(&path, "b", "{}").await;
    assert_eq!(
        (again.0, again.1["state"].as_str()),
        (200, Some("refunded"))
    );
    assert_eq!(world.bank.received("CredReq").0, 2);
    shop.close().await;
}

#[tokio::test]
async fn refused_refund_leaves_the_capture_as_it_was() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = sold(&world, &shop).await;
    world.bank.be(Mood::RefusesRefunds);
    for (what, expected) in [
        ("refund", "refund-refused"),
        ("void-capture", "void-refused"),
    ] {
        let refused = shop.ask(&order, what, what, json!({})).await;
        assert_eq!(code(&refused), (502, expected));
        assert_eq!(shop.ask(&order, what, what, json!({})).await, refused);
        assert_eq!(shop.show(&order).await["state"], "captured");
    }
    world.bank.be(Mood::Approves);
    assert_eq!(shop.ask(&order, "refund", "again", json!({})).await.0, 200);
}

#[tokio::test]
async fn capture_that_was_made_before_is_booked_as_the_gateway_names_it() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    Wallet::new(&world.pki, 1).buy(&shop, &order).await;
    world.bank.be(Mood::CapturedBefore(600));
    let (status, captured) = shop.capture(&order, Some("key")).await;
    assert_eq!(
        (status, &captured["captured"]["amount_minor"]),
        (200, &json!(600))
    );
    let view = shop.show(&order).await;
    assert_eq!(view["capture"]["amount"]["amount_minor"], 600);
    assert_eq!(view["reversed"]["amount_minor"], 900);
}
