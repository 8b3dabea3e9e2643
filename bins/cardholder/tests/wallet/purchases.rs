//! POST /purchases, GET /purchases/{id}, POST /purchases/{id}/inquiry.

use serde_json::{Value, json};

use crate::shop::{AMOUNT_MINOR, Mood};
use crate::world::{Wallet, World};

async fn inquire(wallet: &Wallet, purchase_id: &str) -> crate::world::Answer {
    let path = format!("/purchases/{purchase_id}/inquiry");
    wallet.post(&path, None, &json!({})).await
}

#[tokio::test]
async fn a_purchase_ends_as_the_bank_and_the_shop_say() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    let card_id = wallet.register().await;
    let rows = [
        (Mood::Sells, 201, "paid"),
        (Mood::Declines, 201, "declined"),
        (Mood::Rejects, 201, "rejected"),
        (Mood::Waits, 202, "pending"),
    ];
    for (mood, status, state) in rows {
        world.shop.be(mood);
        let bought = wallet.buy(&world, &card_id, None).await;
        assert_eq!(
            (bought.status, bought.at("/status").as_str()),
            (status, state),
            "{}",
            bought.text
        );
        let shown = wallet
            .get(&format!("/purchases/{}", bought.at("/purchase_id")))
            .await;
        assert_eq!((shown.status, shown.json()), (200, bought.json()));
        let json = bought.json();
        assert_eq!(json["receipt"].is_object(), state == "paid", "{json}");
        assert_eq!(
            json["amount"],
            json!({"currency": "EUR", "amount_minor": AMOUNT_MINOR})
        );
        assert_eq!(json["order_description"], "2 x Espresso beans");
    }
    wallet.close().await;
}

#[tokio::test]
async fn an_initiation_from_a_shops_page_is_bought_from_like_a_basket() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    let card_id = wallet.register().await;
    let request = json!({
        "card_id": card_id, "initiation": world.shop.initiation(),
        "amount": {"currency": "EUR", "amount_minor": AMOUNT_MINOR},
    });
    let bought = wallet.post("/purchases", None, &request).await;
    assert_eq!(
        (bought.status, bought.at("/status").as_str()),
        (201, "paid"),
        "{}",
        bought.text
    );
    wallet.close().await;
}

#[tokio::test]
async fn nothing_is_signed_that_the_person_does_not_expect_or_the_hierarchy_does_not_vouch_for() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    let card_id = wallet.register().await;
    let basket = world.shop.basket(&card_id);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut request = basket.clone();
        change(&mut request);
        request
    };
    let initiated = |change: &dyn Fn(&mut Value)| {
        let mut initiation = world.shop.initiation();
        change(&mut initiation);
        json!({"card_id": card_id, "amount": basket["amount"], "initiation": initiation})
    };
    let agreed_to = |offered: Value, named: Value| {
        let mut request = initiated(&|i| i["plan"] = offered.clone());
        request["plan"] = named;
        request
    };
    let rows = [
        (
            with(&|r| r["amount"]["amount_minor"] = json!(AMOUNT_MINOR - 1)),
            409,
            "amount-differs",
        ),
        (
            with(&|r| r["amount"]["currency"] = json!("USD")),
            409,
            "amount-differs",
        ),
        (
            initiated(&|i| i["amount"]["amount_minor"] = json!(AMOUNT_MINOR + 1)),
            409,
            "amount-differs",
        ),
        (
            initiated(&|i| i["plan"] = json!({"install_total_trans": 3})),
            409,
            "plan-differs",
        ),
        (
            with(&|r| r["plan"] = json!({"install_total_trans": 3})),
            409,
            "plan-differs",
        ),
        (
            agreed_to(
                json!({"install_total_trans": 3}),
                json!({"install_total_trans": 4}),
            ),
            409,
            "plan-differs",
        ),
        (
            // No plan at all, though both say so.
            agreed_to(
                json!({"install_total_trans": 1}),
                json!({"install_total_trans": 1}),
            ),
            409,
            "plan-differs",
        ),
        (
            initiated(&|i| i["set_url"] = json!("http://10.0.0.1/set")),
            422,
            "address-not-allowed",
        ),
        (
            initiated(&|i| i["set_url"] = json!("file:///etc/passwd")),
            422,
            "address-not-allowed",
        ),
        (
            with(&|r| r["merchant_url"] = json!("http://169.254.169.254/latest")),
            422,
            "address-not-allowed",
        ),
        (
            initiated(&|i| i["brands"] = json!(["MasterCard"])),
            422,
            "brand-not-taken",
        ),
        (
            with(&|r| r["card_id"] = json!("no such card")),
            422,
            "no-such-card",
        ),
    ];
    for (request, status, code) in rows {
        wallet
            .post("/purchases", None, &request)
            .await
            .refuses(status, code);
    }
    assert_eq!(
        world.shop.received("PInitReq").1,
        0,
        "the shop hears nothing"
    );
    world.shop.be(Mood::Forges);
    wallet
        .post("/purchases", None, &basket)
        .await
        .refuses(502, "merchant-not-verified");
    world.shop.wait_for("Error").await;
    world.shop.be(Mood::Errors);
    wallet
        .post("/purchases", None, &basket)
        .await
        .refuses(502, "merchant-not-verified");
    world.shop.be(Mood::Down);
    wallet
        .post("/purchases", None, &basket)
        .await
        .refuses(502, "merchant-not-answering");
    let nobody = with(&|r| r["merchant_url"] = json!("http://127.0.0.1:9"));
    wallet
        .post("/purchases", None, &nobody)
        .await
        .refuses(503, "merchant-refused-order");
    assert_eq!(world.shop.received("PReq").1, 0, "nothing was signed");
    wallet.close().await;
}

#[tokio::test]
async fn an_order_description_that_is_not_the_shops_own_is_never_paid() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    let card_id = wallet.register().await;
    let mut initiation = world.shop.initiation();
    initiation["order_description"] = json!("2 x Gold bars");
    let request = json!({
        "card_id": card_id, "initiation": initiation,
        "amount": {"currency": "EUR", "amount_minor": AMOUNT_MINOR},
    });
    let bought = wallet.post("/purchases", None, &request).await;
    assert_eq!(
        (bought.status, bought.at("/status").as_str()),
        (201, "rejected"),
        "{}",
        bought.text
    );
    wallet.close().await;
}

#[tokio::test]
async fn what_cannot_be_read_or_bought_is_named() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    let card_id = wallet.register().await;
    let basket = world.shop.basket(&card_id);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut request = basket.clone();
        change(&mut request);
        request
    };
    let rows = [
        (
            with(&|r| drop(r.as_object_mut().unwrap().remove("card_id"))),
            "",
        ),
        (with(&|r| r["more"] = json!(1)), "/more"),
        (with(&|r| r["initiation"] = world.shop.initiation()), ""),
        (
            with(&|r| drop(r.as_object_mut().unwrap().remove("items"))),
            "",
        ),
        (
            with(&|r| r["items"][0]["quantity"] = json!(-1)),
            "/items/0/quantity",
        ),
        (
            with(&|r| r["amount"]["amount_minor"] = json!(1.5)),
            "/amount/amount_minor",
        ),
        (
            with(&|r| r["amount"]["currency"] = json!("XXX")),
            "/amount/currency",
        ),
    ];
    for (request, pointer) in rows {
        let answer = wallet.post("/purchases", None, &request).await;
        assert_eq!(
            answer.refuses(422, "invalid-field").pointers(),
            [pointer],
            "{}",
            answer.text
        );
    }
    // An amount of nothing, which the shop asks for as well.
    let mut free = world.shop.initiation();
    free["amount"]["amount_minor"] = json!(0);
    let request = json!({"card_id": card_id, "initiation": free, "amount": {"currency": "EUR", "amount_minor": 0}});
    let answer = wallet.post("/purchases", None, &request).await;
    assert_eq!(
        answer.refuses(422, "invalid-field").pointers(),
        ["/amount/amount_minor"]
    );
    let raw = |body: String| {
        wallet
            .request("POST", "/purchases")
            .bearer_auth(crate::world::OWNER)
            .body(body)
    };
    wallet
        .send(raw("{".to_owned()))
        .await
        .unwrap()
        .refuses(400, "malformed-json");
    wallet
        .send(raw(" ".repeat(70_000)))
        .await
        .unwrap()
        .refuses(413, "body-too-large");
    wallet
        .get("/purchases/nothing")
        .await
        .refuses(404, "no-such-purchase");
    inquire(&wallet, "nothing")
        .await
        .refuses(404, "no-such-purchase");
    wallet.get("/nothing").await.refuses(404, "no-such-path");
    let answer = wallet
        .send(wallet.request("DELETE", "/cards"))
        .await
        .unwrap();
    answer.refuses(405, "method-not-allowed");
    for key in ["", &"x".repeat(129)] {
        wallet
            .post("/purchases", Some(key), &basket)
            .await
            .refuses(400, "invalid-idempotency-key");
    }
    assert_eq!(world.shop.received("PReq").1, 0);
    wallet.close().await;
}

#[tokio::test]
async fn one_key_is_one_purchase() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    let card_id = wallet.register().await;
    let buy = || wallet.buy(&world, &card_id, Some("key"));
    let (a, b, c) = tokio::join!(buy(), buy(), buy());
    let first = a.at("/purchase_id");
    for answer in [b, c, buy().await] {
        assert_eq!(answer.at("/purchase_id"), first);
    }
    assert_eq!(world.shop.received("PReq").0, 1);
    let mut other = world.shop.basket(&card_id);
    other["items"][0]["quantity"] = json!(3);
    let answer = wallet.post("/purchases", Some("key"), &other).await;
    answer.refuses(422, "idempotency-key-reused");
    let another = wallet.buy(&world, &card_id, Some("another key")).await;
    assert_ne!(another.at("/purchase_id"), first);
    // All wallets share the shop's keys: it must be neither the person's nor what anybody can make of that.
    let keys = world.shop.order_keys();
    assert_eq!(keys.len(), 2);
    for known in ["key", "another key"] {
        let hashed = hex::encode(openset_jose::sha256(known.as_bytes()));
        assert!(!keys.contains(&known.to_owned()) && !keys.contains(&hashed));
    }
    assert!(keys.iter().all(|key| key.len() >= 16), "{keys:?}");
    wallet.close().await;
}

#[tokio::test]
async fn a_lost_answer_leaves_the_purchase_pending_until_the_same_bytes_get_it() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    let card_id = wallet.register().await;
    world.shop.be(Mood::LosesAnswersTo("PReq"));
    let sent = wallet.buy(&world, &card_id, Some("key")).await;
    assert_eq!(
        (sent.status, sent.at("/status").as_str()),
        (202, "pending"),
        "{}",
        sent.text
    );
    world.shop.be(Mood::Sells);
    let paid = wallet.purchase_is(&sent.at("/purchase_id"), "paid").await;
    assert_eq!(world.shop.received("PReq").0, 1, "the same bytes each time");
    let again = wallet.buy(&world, &card_id, Some("key")).await;
    assert_eq!((again.status, again.json()), (201, paid));
    wallet.close().await;
}

#[tokio::test]
async fn an_error_that_nobody_signed_fails_the_purchase_until_an_inquiry_says_more() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    let card_id = wallet.register().await;
    world.shop.be(Mood::ErrorsTo("PReq"));
    let failed = wallet.buy(&world, &card_id, None).await;
    assert_eq!(
        (failed.status, failed.at("/status").as_str()),
        (201, "failed"),
        "{}",
        failed.text
    );
    let problem = failed.at("/problem");
    assert!(
        problem.ends_with("[2J this is not served here"),
        "{problem}"
    );
    assert!(!problem.contains(['\u{1b}', '\u{202e}']), "{problem:?}");
    world.shop.be(Mood::Sells);
    let inquired = inquire(&wallet, &failed.at("/purchase_id")).await;
    assert_eq!(
        inquired.at("/status"),
        "unknown",
        "the shop never took the order"
    );
    wallet.close().await;
}

#[tokio::test]
async fn an_inquiry_tells_what_became_of_a_purchase_and_never_takes_the_receipt_back() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    let card_id = wallet.register().await;
    world.shop.be(Mood::Waits);
    let pending = wallet.buy(&world, &card_id, None).await.at("/purchase_id");
    world.shop.be(Mood::Down);
    inquire(&wallet, &pending)
        .await
        .refuses(502, "merchant-not-answering");
    world.shop.be(Mood::Errors);
    inquire(&wallet, &pending)
        .await
        .refuses(502, "merchant-not-verified");
    wallet.purchase_is(&pending, "pending").await;
    world.shop.be(Mood::Sells);
    let paid = inquire(&wallet, &pending).await;
    assert_eq!(
        (paid.status, paid.at("/status").as_str()),
        (200, "paid"),
        "{}",
        paid.text
    );
    assert!(paid.json()["receipt"].is_object());
    world.shop.be(Mood::Forgets);
    assert_eq!(inquire(&wallet, &pending).await.at("/status"), "paid");
    wallet.close().await;
}

#[tokio::test]
async fn other_origins_are_called_only_when_the_configuration_says_so() {
    let mut world = World::new().await;
    world.allowed.push("https://shop.example:7004".to_owned());
    let wallet = world.open("wallet").await;
    let card_id = wallet.register().await;
    let mut basket = world.shop.basket(&card_id);
    // What else serves on the wallet's own machine is nobody's business, the wallet itself included.
    for elsewhere in [
        "https://shop.example:7005",
        &world.authority.url,
        &wallet.url,
    ] {
        basket["merchant_url"] = json!(elsewhere);
        wallet
            .post("/purchases", None, &basket)
            .await
            .refuses(422, "address-not-allowed");
    }
    // Allowed, and nobody is there.
    basket["merchant_url"] = json!("https://shop.example:7004");
    wallet
        .post("/purchases", None, &basket)
        .await
        .refuses(503, "merchant-refused-order");
    wallet.close().await;
}
