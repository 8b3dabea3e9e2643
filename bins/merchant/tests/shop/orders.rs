//! The shop's REST interface.

use openset_store::idempotency::{Claim, Keyed, claim};
use serde_json::json;

use crate::shop::{OPERATOR, World};

#[tokio::test]
async fn order_comes_with_its_payment_initiation() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let (status, products) = shop.get("/products", None).await;
    assert_eq!(status, 200);
    assert!(products["products"].as_array().unwrap().len() >= 8);

    let items = json!({"items": [
        {"product_id": "espresso-250", "quantity": 2},
        {"product_id": "cup-porcelain", "quantity": 1},
    ]});
    let (status, order) = shop.post("/orders", None, &items.to_string()).await;
    assert_eq!(status, 201);
    let id = order["order_id"].as_str().unwrap();
    let description = format!(
        "2 x Espresso beans 250 g @ EUR 7.50; 1 x Espresso cup, porcelain @ EUR 8.50; \
         total EUR 23.50; order {id}"
    );
    assert_eq!(order["order_description"], description);
    assert_eq!(
        order["amount"],
        json!({"currency": "EUR", "amount_minor": 2350})
    );
    let initiation = &order["payment_initiation"];
    assert_eq!(initiation["set_initiation_type"], "payment");
    assert_eq!(initiation["set_version"], "2.0");
    assert_eq!(initiation["brands"], json!(["Visa"]));
    assert_eq!(initiation["lid_m"], id);
    assert_eq!(initiation["amount"], order["amount"]);
    assert_eq!(initiation["order_description"], description);
    assert!(initiation["set_url"].as_str().unwrap().ends_with("/set"));
}

#[tokio::test]
async fn bad_orders_are_told_what_to_mend() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let item = |quantity: &str| {
        format!(r#"{{"items":[{{"product_id":"decaf-250","quantity":{quantity}}}]}}"#)
    };
    let cases = [
        (item("0"), 422, "/items/0/quantity"),
        (item("-1"), 422, "/items/0/quantity"),
        (item("1.5"), 422, "/items/0/quantity"),
        (item("\"2\""), 422, "/items/0/quantity"),
        (item("100"), 422, "/items/0/quantity"),
        (item("99999999999999999999"), 422, "/items/0/quantity"),
        (r#"{"items":[]}"#.to_owned(), 422, "/items"),
        (
            r#"{"items":[{"product_id":"tea","quantity":1}]}"#.to_owned(),
            422,
            "/items/0/product_id",
        ),
        (
            r#"{"items":[{"product_id":"decaf-250","quantity":1,"price":1}]}"#.to_owned(),
            422,
            "/items/0/price",
        ),
        (
            r#"{"items":[{"product_id":"decaf-250"}]}"#.to_owned(),
            422,
            "/items/0",
        ),
        (
            r#"{"items":[{"product_id":"decaf-250","quantity":1}],"amount":1}"#.to_owned(),
            422,
            "/amount",
        ),
    ];
    for (body, status, pointer) in cases {
        let (found, problem) = shop.post("/orders", None, &body).await;
        assert_eq!(found, status, "{body}: {problem}");
        assert_eq!(
            problem["errors"][0]["pointer"], pointer,
            "{body}: {problem}"
        );
        assert!(
            problem["type"]
                .as_str()
                .unwrap()
                .starts_with("urn:openset:problem:")
        );
    }
    let (status, problem) = shop.post("/orders", None, "{").await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (400, Some("malformed-json"))
    );
}

#[tokio::test]
async fn order_placed_twice_under_one_key_is_one_order() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let body = r#"{"items":[{"product_id":"decaf-250","quantity":1}]}"#;
    let first = shop
        .post("/orders", Some("a-secret-of-checkout-1"), body)
        .await;
    assert_eq!(first.0, 201);
    assert_eq!(
        shop.post("/orders", Some("a-secret-of-checkout-1"), body)
            .await,
        first
    );
    let other = body.replace(":1}", ":2}");
    let (status, problem) = shop
        .post("/orders", Some("a-secret-of-checkout-1"), &other)
        .await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (422, Some("idempotency-key-reused"))
    );
    assert_ne!(
        shop.post("/orders", None, body).await.1["order_id"],
        first.1["order_id"]
    );
}

#[tokio::test]
async fn key_that_another_customer_may_think_of_is_refused() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let body = r#"{"items":[{"product_id":"decaf-250","quantity":1}]}"#;
    for key in ["1", "order-1", "fifteen-letters"] {
        let (status, problem) = shop.post("/orders", Some(key), body).await;
        let code = problem["code"].as_str();
        assert_eq!((status, code), (400, Some("idempotency-key-unusable")));
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("at least 16"), "{detail}");
    }
    let (status, _) = shop.post("/orders", Some("sixteen--letters"), body).await;
    assert_eq!(status, 201);
    let (_, api) = shop.get("/openapi.json", None).await;
    let key = &api["paths"]["/orders"]["post"]["parameters"][0];
    assert_eq!(key["name"], "Idempotency-Key");
    assert!(key["description"].as_str().unwrap().contains("secret"));
}

#[tokio::test]
async fn orders_are_shown_to_operators_alone() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let path = format!("/orders/{}", order.lid_m);
    assert_eq!(shop.get(&path, None).await.0, 401);
    assert_eq!(shop.get(&path, Some("some-other-token-0123")).await.0, 401);
    let capture = reqwest::Client::new().post(format!("{}{path}/capture", shop.url));
    assert_eq!(capture.send().await.unwrap().status(), 401);
    assert_eq!(shop.post("/orders/nothing/capture", None, "").await.0, 404);
}

#[tokio::test]
async fn interface_is_described() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let (status, api) = shop.get("/openapi.json", None).await;
    assert_eq!(status, 200);
    for path in [
        "/products",
        "/orders",
        "/orders/{id}",
        "/orders/{id}/capture",
        "/certificates/gateway",
        "/certificates/gateway/refresh",
        "/set",
    ] {
        assert!(api["paths"][path].is_object(), "{path}");
    }
}

#[tokio::test]
async fn orders_are_listed_newest_first_by_state_and_page_by_page() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let mut placed = Vec::new();
    for _ in 0..5 {
        placed.push(shop.order().await);
    }
    crate::wallet::Wallet::new(&world.pki, 1)
        .buy(&shop, &placed[1])
        .await;
    shop.wait_for_state(&placed[1], "authorized").await;
    let (mut seen, mut path) = (Vec::new(), "/orders?limit=2".to_owned());
    loop {
        let (status, page) = shop.get(&path, Some(OPERATOR)).await;
        assert_eq!(status, 200, "{page}");
        let orders = page["items"].as_array().unwrap();
        assert!((1..=2).contains(&orders.len()), "{page}");
        seen.extend(orders.iter().map(|order| order["order_id"].clone()));
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/orders?limit=2&after={next}");
    }
    assert_eq!(seen.len(), placed.len(), "each once: {seen:?}");
    for order in &placed {
        let id = order.lid_m.as_str();
        assert!(seen.iter().any(|one| one == id), "{id} in {seen:?}");
    }
    let (_, page) = shop.get("/orders?state=authorized", Some(OPERATOR)).await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1, "{page}");
    assert_eq!(page["items"][0]["order_id"], placed[1].lid_m.as_str());
    let (_, page) = shop.get("/orders?state=open", Some(OPERATOR)).await;
    assert_eq!(page["items"].as_array().unwrap().len(), 4, "{page}");
    for (wrong, code) in [
        ("state=sold", "invalid-field"),
        ("limit=x", "query-unusable"),
        ("colour=red", "query-unusable"),
        ("after=x", "after-unusable"),
    ] {
        let (status, problem) = shop.get(&format!("/orders?{wrong}"), Some(OPERATOR)).await;
        let expected = if wrong == "state=sold" { 422 } else { 400 };
        assert_eq!(
            (status, problem["code"].as_str()),
            (expected, Some(code)),
            "{wrong}: {problem}"
        );
    }
    assert_eq!(shop.get("/orders", None).await.0, 401);
}

fn money_key(key: &str) -> Keyed<'_> {
    Keyed {
        scope: "money",
        key,
        body_digest: &[7; 32],
        now: 0,
        keep_until: i64::MAX,
    }
}

#[tokio::test]
async fn key_that_stands_for_another_request_at_the_same_moment_is_refused() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let wallet = crate::wallet::Wallet::new(&world.pki, 1);
    wallet.buy(&shop, &order).await;
    shop.wait_for_state(&order, "authorized").await;
    // Another replica has begun something else by this key, which has no movement yet.
    let (db, _) = world.open_database().await;
    let mut tx = db.begin().await.unwrap();
    let claimed = claim(&mut tx, &money_key("taken")).await;
    assert_eq!(claimed.unwrap(), Claim::New);
    tx.commit().await.unwrap();
    let (status, problem) = shop.capture(&order, Some("taken")).await;
    assert_eq!(
        (status, &problem["code"]),
        (422, &"idempotency-key-reused".into())
    );
    assert_eq!(world.bank.received("CapReq"), (0, 0));
    assert_eq!(shop.capture(&order, Some("mine")).await.0, 200);
    assert_eq!(shop.capture(&order, Some("mine")).await.0, 200);
    assert_eq!(world.bank.received("CapReq"), (1, 1));
    // And so does the other replica find this one's.
    let mut tx = db.begin().await.unwrap();
    let claimed = claim(&mut tx, &money_key("mine")).await;
    assert_eq!(claimed.unwrap(), Claim::Mismatch);
    drop(tx);
    db.close().await;
    shop.close().await;
}
