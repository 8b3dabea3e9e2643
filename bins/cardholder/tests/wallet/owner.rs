//! Who may use the wallet, and what the log tells of it.

use serde_json::json;

use crate::world::{CODE, OWNER, PAN, World};

#[tokio::test]
async fn every_route_is_for_the_owner_alone() {
    let world = World::new().await;
    let wallet = world.open("wallet").await;
    let routes = [
        ("POST", "/cards"),
        ("GET", "/cards"),
        ("POST", "/cards/some/form"),
        ("POST", "/cards/some/renewal"),
        ("GET", "/cards/some"),
        ("POST", "/purchases"),
        ("GET", "/purchases/some"),
        ("POST", "/purchases/some/inquiry"),
        ("POST", "/mail-orders"),
        ("GET", "/mail-orders/some"),
        ("POST", "/mail-orders/some/answer"),
        ("GET", "/statement"),
        ("POST", "/backup"),
        ("POST", "/restore"),
    ];
    for (method, path) in routes {
        let request = || wallet.request(method, path).body("{}");
        for request in [
            request(),
            request().bearer_auth("not-a-token-of-this-wallet"),
            request().header("authorization", format!("Basic {OWNER}")),
        ] {
            wallet
                .send(request)
                .await
                .unwrap()
                .refuses(401, "unauthorized");
        }
        let operator = request().bearer_auth("operator-token-of-the-tests");
        wallet
            .send(operator)
            .await
            .unwrap()
            .refuses(403, "forbidden");
        let owner = wallet.send(request().bearer_auth(OWNER)).await.unwrap();
        assert!(
            !matches!(owner.status, 401 | 403 | 405),
            "{method} {path}: {}",
            owner.text
        );
    }
    // All routes of the interface's own description are among them.
    let described = wallet.get("/openapi.json").await.json();
    let mut told = 0;
    for (path, methods) in described["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let path = path
                .replace("{purchase_id}", "some")
                .replace("{id}", "some")
                .replace("{card_id}", "some");
            let method = method.to_uppercase();
            assert!(
                routes.contains(&(&method, &path)),
                "{method} {path} is not tested"
            );
            told += 1;
        }
    }
    assert_eq!(told, routes.len());
    wallet.close().await;
}

#[tokio::test]
async fn the_log_and_the_database_show_no_card_and_no_order() {
    let world = World::new().await;
    let wallet = world.spawn("wallet").await;
    let card_id = wallet.register().await;
    let bought = wallet.buy(&world, &card_id, None).await;
    assert_eq!(bought.at("/status"), "paid", "{}", bought.text);
    let mut wrong = crate::world::card();
    wrong["pan"] = json!("4111111111111112");
    assert_eq!(wallet.post("/cards", None, &wrong).await.status, 422);
    wallet.kill();
    let log = world.log("wallet");
    assert!(log.contains("answered"), "{log}");
    let stored = String::from_utf8_lossy(&world.database_bytes("wallet")).into_owned();
    for secret in [
        PAN,
        "4111111111111112",
        CODE,
        OWNER,
        "Espresso",
        "Hopper",
        "only for tests",
    ] {
        assert!(!log.contains(secret), "{secret} in {log}");
        assert!(!stored.contains(secret), "{secret} in the database");
    }
}
