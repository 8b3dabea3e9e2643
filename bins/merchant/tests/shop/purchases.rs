//! Steps 4 to 10 as they should go, and as they may go.

use std::time::Duration;

use openset_protocol::cardholder::purchase::PaymentStatus;

use crate::bank::Mood;
use crate::movements;
use crate::shop::World;
use crate::wallet::{PAN, Wallet, post};

#[tokio::test]
async fn purchase_is_authorized_and_shown_with_its_steps() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    assert_eq!(shop.show(&order).await["state"], "open");

    let wallet = Wallet::new(&world.pki, 1);
    let (step, outcome) = wallet.buy(&shop, &order).await;
    assert_eq!(outcome.status, PaymentStatus::Paid);
    assert_eq!(
        outcome.message.as_deref(),
        Some("Thank you for your purchase.")
    );
    assert_eq!(outcome.receipt.unwrap().approval_code, "A1B2C3");

    let view = shop.show(&order).await;
    assert_eq!(view["state"], "authorized");
    assert_eq!(view["authorization"]["auth_code"], "approved");
    assert_eq!(view["authorization"]["approval_code"], "A1B2C3");
    assert_eq!(view["authorization"]["amount"]["amount_minor"], 1500);
    assert_eq!(
        view["xid"],
        step.state.purchase().trans_ids().xid.to_string()
    );
    let steps: Vec<_> = view["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["step"].clone())
        .collect();
    assert_eq!(steps, [7, 8, 10]);

    let inquired = wallet.inquire(&shop, &step.state).await.unwrap();
    assert_eq!(inquired.status, PaymentStatus::Paid);
    shop.close().await;
}

#[tokio::test]
async fn declined_order_may_be_paid_in_another_purchase() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    world.bank.be(Mood::Declines);
    let wallet = Wallet::new(&world.pki, 1);
    let (declined, outcome) = wallet.buy(&shop, &order).await;
    assert_eq!(outcome.status, PaymentStatus::Declined);
    let view = shop.show(&order).await;
    assert_eq!(view["state"], "declined");
    assert_eq!(view["authorization"]["resp_reason"], "insufficientFunds");

    world.bank.be(Mood::Approves);
    let (_, outcome) = wallet.buy(&shop, &order).await;
    assert_eq!(outcome.status, PaymentStatus::Paid);
    assert_eq!(shop.show(&order).await["state"], "authorized");
    let inquired = wallet.inquire(&shop, &declined.state).await.unwrap();
    assert_eq!(
        inquired.status,
        PaymentStatus::Declined,
        "each purchase keeps its own outcome"
    );
}

#[tokio::test]
async fn gateway_down_leaves_the_order_received_until_the_outbox_gets_through() {
    let world = World::new().await;
    let shop = world.open_shop_waiting(300).await;
    let order = shop.order().await;
    let wallet = Wallet::new(&world.pki, 1);
    let step = wallet.begin(&shop, &order).await;
    world.bank.be(Mood::Down);
    let reply = post(&shop.url, &step.wire).await;
    assert_eq!(
        wallet.read(&step.state, &reply).status,
        PaymentStatus::Pending
    );
    assert_eq!(shop.show(&order).await["state"], "ordered");
    let inquired = wallet.inquire(&shop, &step.state).await.unwrap();
    assert_eq!(inquired.status, PaymentStatus::Pending);

    world.bank.be(Mood::Approves);
    shop.wait_for_state(&order, "authorized").await;
    let inquired = wallet.inquire(&shop, &step.state).await.unwrap();
    assert_eq!(inquired.status, PaymentStatus::Paid);
    // PReq itself was answered once and for all.
    assert_eq!(post(&shop.url, &step.wire).await, reply);
    let (distinct, all) = world.bank.received("AuthReq");
    assert_eq!(distinct, 1, "the same bytes each time");
    assert!(all > 1);
}

#[tokio::test]
async fn repeated_p_req_gets_the_same_bytes_and_one_authorization_request() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let wallet = Wallet::new(&world.pki, 1);
    let step = wallet.begin(&shop, &order).await;
    let first = post(&shop.url, &step.wire).await;
    for _ in 0..3 {
        assert_eq!(post(&shop.url, &step.wire).await, first);
    }
    assert_eq!(world.bank.received("AuthReq"), (1, 1));
}

#[tokio::test]
async fn repeated_messages_get_the_same_bytes_when_what_they_began_is_forgotten() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let wallet = Wallet::new(&world.pki, 1);
    let p_init_req = wallet.p_init_req(&shop.order().await);
    let p_req = wallet.begin(&shop, &shop.order().await).await.wire;
    let opened = post(&shop.url, &p_init_req).await;
    let paid = post(&shop.url, &p_req).await;
    assert_eq!((opened.status, paid.status), (200, 200));
    for forgotten in ["DELETE FROM purchases", "DELETE FROM orders WHERE xid = ''"] {
        assert_eq!(post(&shop.url, &p_init_req).await, opened);
        assert_eq!(post(&shop.url, &p_req).await, paid);
        let (db, _) = world.open_database().await;
        let mut tx = db.begin().await.unwrap();
        let rows = sqlx::query(forgotten).execute(&mut *tx).await.unwrap();
        assert!(rows.rows_affected() > 0);
        tx.commit().await.unwrap();
        db.close().await;
    }
    assert_eq!(post(&shop.url, &p_init_req).await, opened);
    assert_eq!(post(&shop.url, &p_req).await, paid);
    assert_eq!(world.bank.received("AuthReq"), (1, 1));
    shop.close().await;
}

#[tokio::test]
async fn p_req_sent_twice_at_once_waits_for_the_one_answer() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let wallet = Wallet::new(&world.pki, 1);
    let step = wallet.begin(&shop, &order).await;
    world.bank.be(Mood::Slow(Duration::from_millis(500)));
    let send = || post(&shop.url, &step.wire);
    let (a, b, c, d) = tokio::join!(send(), send(), send(), send());
    let replies = [a, b, c, d];
    for reply in &replies {
        assert_eq!(*reply, replies[0]);
        assert_eq!(wallet.read(&step.state, reply).status, PaymentStatus::Paid);
    }
    assert_eq!(world.bank.received("AuthReq"), (1, 1));
}

#[tokio::test]
async fn order_that_was_paid_is_rejected_under_another_xid() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let (one, other) = (Wallet::new(&world.pki, 1), Wallet::new(&world.pki, 2));
    let late = other.begin(&shop, &order).await;
    let (paid, _) = one.buy(&shop, &order).await;
    let reply = post(&shop.url, &late.wire).await;
    assert_eq!(
        other.read(&late.state, &reply).status,
        PaymentStatus::Rejected
    );
    assert_eq!(world.bank.received("AuthReq"), (1, 1));
    let view = shop.show(&order).await;
    assert_eq!(
        view["xid"],
        paid.state.purchase().trans_ids().xid.to_string()
    );
    let inquired = other.inquire(&shop, &late.state).await.unwrap();
    assert_eq!(inquired.status, PaymentStatus::Rejected);
}

#[tokio::test]
async fn answer_to_another_request_is_not_believed_and_the_gateway_is_told() {
    let world = World::new().await;
    let shop = world.open_shop_waiting(400).await;
    let wallet = Wallet::new(&world.pki, 1);
    let first = shop.order().await;
    wallet.buy(&shop, &first).await;
    shop.wait_for_state(&first, "authorized").await;
    world.bank.be(Mood::Confuses);
    let order = shop.order().await;
    let (step, outcome) = wallet.buy(&shop, &order).await;
    assert_eq!(outcome.status, PaymentStatus::Pending);
    assert_eq!(shop.show(&order).await["state"], "ordered");
    world.bank.wait_for("Error").await;
    world.bank.be(Mood::Approves);
    shop.wait_for_state(&order, "authorized").await;
    let inquired = wallet.inquire(&shop, &step.state).await.unwrap();
    assert_eq!(inquired.status, PaymentStatus::Paid);
}

#[tokio::test]
async fn error_that_nobody_signed_does_not_end_a_payment_that_the_bank_may_hold() {
    let world = World::new().await;
    let shop = world.open_shop_waiting(300).await;
    let wallet = Wallet::new(&world.pki, 1);
    let order = shop.order().await;
    world.bank.be(Mood::Errors);
    let (step, outcome) = wallet.buy(&shop, &order).await;
    assert_eq!(outcome.status, PaymentStatus::Pending);
    assert_eq!(shop.show(&order).await["state"], "ordered");
    world.bank.be(Mood::Approves);
    shop.wait_for_state(&order, "authorized").await;
    let inquired = wallet.inquire(&shop, &step.state).await.unwrap();
    assert_eq!(inquired.status, PaymentStatus::Paid);
    assert_eq!(world.bank.received("AuthReq").0, 1, "the same bytes");
}

#[tokio::test]
async fn error_of_the_gateway_ends_the_payment_once_the_gateway_takes_it_no_more() {
    let world = World::new().await;
    let shop = world.open_shop_waiting(300).await;
    let wallet = Wallet::new(&world.pki, 1);
    let order = shop.order().await;
    world.bank.be(Mood::Errors);
    let (step, _) = wallet.buy(&shop, &order).await;
    shop.close().await;
    world.alter(movements::TWELVE_MINUTES_LATER).await;

    let shop = world.open_shop().await;
    shop.wait_for_state(&order, "failed").await;
    let view = shop.show(&order).await;
    assert!(
        view["failure"]
            .as_str()
            .unwrap()
            .contains("SignatureFailure"),
        "{view}"
    );
    let inquired = wallet.inquire(&shop, &step.state).await.unwrap();
    assert_eq!(inquired.status, PaymentStatus::Rejected);
    assert_eq!(world.bank.received("AuthReq").0, 1);
    // Nobody signed the Error: what the bank may hold is given back, once it can be asked.
    world.bank.be(Mood::Approves);
    movements::wait_until_done(&world, "reversal").await;
    assert_eq!(world.bank.received("AuthRevReq").0, 1);
    assert_eq!(shop.show(&order).await["state"], "failed");
}

#[tokio::test]
async fn database_holds_no_card_number_in_any_form() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let wallet = Wallet::new(&world.pki, 1);
    wallet.buy(&shop, &order).await;
    assert_eq!(shop.capture(&order, Some("key")).await.0, 200);
    shop.close().await;

    let database = world.database_bytes();
    let hashed = openset_jose::sha256(PAN.as_bytes());
    let forms: [(&str, Vec<u8>); 6] = [
        ("text", PAN.into()),
        ("hex", hex::encode(PAN).into()),
        (
            "base64",
            openset_jose::base64url::encode(PAN.as_bytes()).into(),
        ),
        ("SHA-256", hashed.to_vec()),
        ("SHA-256 in hex", hex::encode(hashed).into()),
        (
            "SHA-256 in base64",
            openset_jose::base64url::encode(&hashed).into(),
        ),
    ];
    let holds = |form: &[u8]| database.windows(form.len()).any(|window| window == form);
    for (name, form) in &forms {
        assert!(!holds(form), "the card number as {name}");
    }
    assert!(
        holds(order.order_description.as_bytes()),
        "the search would find what is there"
    );
}
