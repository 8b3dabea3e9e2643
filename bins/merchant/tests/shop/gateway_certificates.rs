//! The gateway's certificates, which the shop's staff asks for with PCertReq.

use serde_json::{Value, json};

use crate::bank::Mood;
use crate::shop::{OPERATOR, World};

const HELD: &str = "/certificates/gateway";
const REFRESH: &str = "/certificates/gateway/refresh";

#[tokio::test]
async fn staff_asks_for_the_gateways_certificate_and_sees_a_renewal_at_once() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let asked = world.bank.received("PCertReq").0;
    let (status, same) = shop.post(REFRESH, None, "").await;
    assert_eq!(status, 200, "{same}");
    assert!(world.bank.received("PCertReq").0 > asked, "it was asked");
    let one = &same["certificates"][0];
    assert_eq!(
        (&one["brand"], &one["p_cert_code"], &one["renewed"]),
        (&json!("Visa"), &json!("success"), &json!(false))
    );
    assert!(one["certificate"]["refused"].is_null(), "{one}");

    let (status, held) = shop.get(HELD, Some(OPERATOR)).await;
    let held = &held["certificates"][0];
    assert_eq!(
        (status, &held["certificate"]["thumbprint"]),
        (200, &one["certificate"]["thumbprint"])
    );
    assert_eq!(
        (&held["p_cert_code"], &held["renewed"]),
        (&Value::Null, &Value::Null),
        "nobody was asked"
    );

    // The shop asks by itself, too, and may be a moment faster, but not each time.
    let mut renewed = one.clone();
    for _ in 0..10 {
        let before = renewed["certificate"]["thumbprint"].clone();
        world.bank.renew();
        let (_, told) = shop.post(REFRESH, None, "").await;
        renewed = told["certificates"][0].clone();
        assert_ne!(renewed["certificate"]["thumbprint"], before);
        if renewed["renewed"] == true {
            break;
        }
    }
    assert_eq!(renewed["renewed"], true);
    let (_, held) = shop.get(HELD, Some(OPERATOR)).await;
    assert_eq!(
        held["certificates"][0]["certificate"]["thumbprint"],
        renewed["certificate"]["thumbprint"]
    );
    let (_, again) = shop.post(REFRESH, None, "").await;
    assert_eq!(again["certificates"][0]["renewed"], false, "{again}");
    assert_eq!(
        again["certificates"][0]["certificate"]["thumbprint"],
        renewed["certificate"]["thumbprint"]
    );
}

#[tokio::test]
async fn gateway_that_has_none_says_why_and_what_is_held_stays() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let (_, before) = shop.get(HELD, Some(OPERATOR)).await;
    world.bank.be(Mood::IsOfAnotherBin);
    let (status, told) = shop.post(REFRESH, None, "").await;
    assert_eq!(status, 200, "{told}");
    let one = &told["certificates"][0];
    assert_eq!(
        (&one["p_cert_code"], &one["renewed"]),
        (&json!("unknownBIN"), &json!(false))
    );
    assert_eq!(
        one["certificate"]["thumbprint"],
        before["certificates"][0]["certificate"]["thumbprint"]
    );
}

#[tokio::test]
async fn silent_gateway_leaves_what_is_held_and_strangers_ask_for_nothing() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let (_, before) = shop.get(HELD, Some(OPERATOR)).await;
    world.bank.be(Mood::Down);
    let (status, problem) = shop.post(REFRESH, None, "").await;
    assert_eq!((status, &problem["code"]), (502, &json!("no-answer")));
    let (status, after) = shop.get(HELD, Some(OPERATOR)).await;
    let thumbprint =
        |answer: &Value| answer["certificates"][0]["certificate"]["thumbprint"].clone();
    assert_eq!((status, thumbprint(&after)), (200, thumbprint(&before)));
    assert_eq!(shop.get(HELD, None).await.0, 401);
    let stranger = reqwest::Client::new().post(format!("{}{REFRESH}", shop.url));
    assert_eq!(stranger.send().await.unwrap().status(), 401);
}
