//! What bad messages get: SET's Error with its code, and no effect.

use openset_protocol::cardholder::purchase::PaymentStatus;
use openset_service::set_endpoint::SET_PAYMENT;

use crate::shop::World;
use crate::wallet::{Wallet, post};

#[tokio::test]
async fn order_description_that_differs_rejects_the_order() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let wallet = Wallet::new(&world.pki, 1);
    let step = wallet
        .begin_with(&shop, &order, b"1 x something cheaper")
        .await;
    let reply = post(&shop.url, &step.wire).await;
    assert_eq!(
        wallet.read(&step.state, &reply).status,
        PaymentStatus::Rejected
    );
    assert_eq!(post(&shop.url, &step.wire).await, reply);
    assert_eq!(world.bank.received("AuthReq"), (0, 0));
    assert_eq!(
        shop.show(&order).await["state"],
        "open",
        "the order may still be paid"
    );
    let (_, outcome) = wallet.buy(&shop, &order).await;
    assert_eq!(outcome.status, PaymentStatus::Paid);
}

#[tokio::test]
async fn another_cardholder_learns_nothing_by_inquiry() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let (owner, other) = (Wallet::new(&world.pki, 1), Wallet::new(&world.pki, 2));
    let (step, _) = owner.buy(&shop, &order).await;
    let (code, _) = other.inquire(&shop, &step.state).await.unwrap_err().error();
    assert_eq!(code, "invalidCertificate");
}

#[tokio::test]
async fn inquiry_before_p_req_says_that_the_order_was_not_received() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let wallet = Wallet::new(&world.pki, 1);
    let step = wallet.begin(&shop, &order).await;
    let inquired = wallet.inquire(&shop, &step.state).await.unwrap();
    assert_eq!(inquired.status, PaymentStatus::Unknown);
}

#[tokio::test]
async fn altered_bytes_of_p_req_are_refused_without_effect() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let wallet = Wallet::new(&world.pki, 1);
    let step = wallet.begin(&shop, &order).await;
    let text = String::from_utf8(step.wire.clone()).unwrap();
    // The sealed content is the last but one part of the JWE.
    let start = text.find("\"PReq\":\"").unwrap() + 8;
    let dots: Vec<usize> = text[start..]
        .match_indices('.')
        .map(|(at, _)| start + at)
        .collect();
    let mut altered = text.clone().into_bytes();
    let place = (dots[2] + dots[3]) / 2;
    altered[place] = if altered[place] == b'A' { b'B' } else { b'A' };
    let (code, text) = post(&shop.url, &altered).await.error();
    assert_eq!(code, "signatureFailure", "{text}");
    assert_eq!(shop.show(&order).await["state"], "open");
    let reply = post(&shop.url, &step.wire).await;
    assert_eq!(
        wallet.read(&step.state, &reply).status,
        PaymentStatus::Paid,
        "the genuine one is taken"
    );
}

#[tokio::test]
async fn p_init_req_for_an_unknown_order_is_refused() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let mut order = shop.order().await;
    order.lid_m = "no-such-order".parse().unwrap();
    let wallet = Wallet::new(&world.pki, 1);
    let (code, _) = post(&shop.url, &wallet.p_init_req(&order)).await.error();
    assert_eq!(code, "unknownLID");
}

#[tokio::test]
async fn purchases_of_one_order_are_limited() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let wallet = Wallet::new(&world.pki, 1);
    for _ in 0..16 {
        assert_eq!(
            post(&shop.url, &wallet.p_init_req(&order)).await.status,
            200
        );
    }
    let (code, text) = post(&shop.url, &wallet.p_init_req(&order)).await.error();
    assert_eq!(code, "unspecifiedFailure");
    assert!(text.contains("place a new order"), "{text}");
}

#[tokio::test]
async fn messages_of_the_wrong_form_are_refused_by_name() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let wire = String::from_utf8(Wallet::new(&world.pki, 1).p_init_req(&order)).unwrap();
    let refused = async |wire: String| post(&shop.url, wire.as_bytes()).await.error().0;
    assert_eq!(refused("{".to_owned()).await, "decodingFailure");
    assert_eq!(
        refused(wire.replacen('{', "{\"more\":1,", 1)).await,
        "decodingFailure"
    );
    assert_eq!(
        refused(wire.replace("\"version\":2", "\"version\":1")).await,
        "versionTooOld"
    );
    assert_eq!(
        refused(wire.replace("\"version\":2", "\"version\":3")).await,
        "versionTooNew"
    );
    assert_eq!(
        refused(wire.replace("\"PInitReq\"", "\"PInitRequest\"")).await,
        "messageNotSupported"
    );
    let date = wire.find("\"date\":\"").unwrap() + 8;
    let dated = |year: &str| format!("{}{year}{}", &wire[..date], &wire[date + 4..]);
    assert_eq!(refused(dated("2019")).await, "messageTooOld");
    assert_eq!(refused(dated("2099")).await, "messageTooNew");

    let too_large = format!("{wire}{}", " ".repeat(300 * 1024));
    assert_eq!(refused(too_large).await, "messageTooBig");
    let request = reqwest::Client::new().post(format!("{}/set", shop.url));
    let request = request
        .header("content-type", "application/json")
        .body(wire.clone());
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(response.headers()["content-type"], SET_PAYMENT);
}

#[tokio::test]
async fn rrpid_used_for_another_message_is_refused() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let wire = String::from_utf8(Wallet::new(&world.pki, 1).p_init_req(&order)).unwrap();
    assert_eq!(post(&shop.url, wire.as_bytes()).await.status, 200);
    let other = wire.replace("\"language\":\"en\"", "\"language\":\"de\"");
    assert_ne!(other, wire);
    let (code, text) = post(&shop.url, other.as_bytes()).await.error();
    assert_eq!(code, "badMessageHeader");
    assert!(text.contains("RRPID"), "{text}");
}
