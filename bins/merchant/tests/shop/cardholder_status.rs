//! Step 7: the merchant takes no cardholder of whom nobody says that its certificate is good.

use openset_protocol::cardholder::purchase::PaymentStatus;

use crate::authority::Word;
use crate::shop::World;
use crate::wallet::{Wallet, post};

#[tokio::test]
async fn good_staple_spares_the_question() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let wallet = Wallet::new(&world.pki, 1);
    world.authority.says(Word::Revoked);
    let staple = world.authority.staple(wallet.certificate(), Word::Good, 0);
    let step = wallet.begin_stapled(&shop, &order, Some(staple)).await;
    let reply = post(&shop.url, &step.wire).await;
    assert_eq!(wallet.read(&step.state, &reply).status, PaymentStatus::Paid);
    assert_eq!(world.authority.asked(), 0);
    shop.close().await;
}

#[tokio::test]
async fn without_a_fresh_staple_the_responder_is_asked_once_in_the_life_of_its_answer() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let wallet = Wallet::new(&world.pki, 1);
    let (_, outcome) = wallet.buy(&shop, &shop.order().await).await;
    assert_eq!(
        (outcome.status, world.authority.asked()),
        (PaymentStatus::Paid, 1)
    );
    let (_, outcome) = wallet.buy(&shop, &shop.order().await).await;
    assert_eq!(
        (outcome.status, world.authority.asked()),
        (PaymentStatus::Paid, 1)
    );
    let other = Wallet::new(&world.pki, 2);
    let stale = world.authority.staple(other.certificate(), Word::Good, 601);
    let order = shop.order().await;
    let step = other.begin_stapled(&shop, &order, Some(stale)).await;
    let reply = post(&shop.url, &step.wire).await;
    assert_eq!(other.read(&step.state, &reply).status, PaymentStatus::Paid);
    assert_eq!(world.authority.asked(), 2);
    shop.close().await;
}

#[tokio::test]
async fn revoked_cardholder_is_refused_for_good_by_every_replica() {
    for stapled in [true, false] {
        let world = World::new().await;
        let one = world.open_shop().await;
        let two = world.open_replica(5_000, "two").await;
        let three = world.open_replica(5_000, "three").await;
        let wallet = Wallet::new(&world.pki, 3);
        let (order, later) = (one.order().await, two.order().await);
        let staple = world
            .authority
            .staple(wallet.certificate(), Word::Revoked, 0);
        world.authority.says(Word::Revoked);
        let staple = stapled.then_some(staple);
        let step = wallet.begin_stapled(&one, &order, staple).await;
        let (code, text) = post(&one.url, &step.wire).await.error();
        assert_eq!(code, "revokedCertificate", "{text}");
        // The other replica never asked, and a good staple of before the revocation changes nothing.
        world.authority.says(Word::Good);
        let good = world
            .authority
            .staple(wallet.certificate(), Word::Good, 300);
        for shop in [&two, &one] {
            let step = wallet.begin_stapled(shop, &later, Some(good.clone())).await;
            assert_eq!(
                post(&shop.url, &step.wire).await.error().0,
                "revokedCertificate"
            );
        }
        // Nor is a responder needed to tell it.
        world.authority.says(Word::Down);
        let step = wallet.begin(&three, &later).await;
        let (code, text) = post(&three.url, &step.wire).await.error();
        assert_eq!(code, "revokedCertificate", "{text}");
        assert_eq!(one.show(&order).await["state"], "open");
        assert_eq!(world.bank.received("AuthReq"), (0, 0));
        for shop in [one, two, three] {
            shop.close().await;
        }
    }
}

#[tokio::test]
async fn staple_about_another_certificate_is_refused() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let (wallet, other) = (Wallet::new(&world.pki, 1), Wallet::new(&world.pki, 2));
    let staple = world.authority.staple(other.certificate(), Word::Good, 0);
    let step = wallet.begin_stapled(&shop, &order, Some(staple)).await;
    let (code, text) = post(&shop.url, &step.wire).await.error();
    assert_eq!(code, "invalidCertificate", "{text}");
    assert_eq!(shop.show(&order).await["state"], "open");
    shop.close().await;
}

#[tokio::test]
async fn responder_that_does_not_answer_puts_the_purchase_off_unless_the_shop_says_otherwise() {
    let mut world = World::new().await;
    let shop = world.open_shop().await;
    let wallet = Wallet::new(&world.pki, 1);
    let order = shop.order().await;
    world.authority.says(Word::Down);
    let step = wallet.begin(&shop, &order).await;
    let put_off = post(&shop.url, &step.wire).await;
    assert_eq!(put_off.status, 503);
    assert!(
        String::from_utf8_lossy(&put_off.body).contains("revocation-unknown"),
        "{put_off:?}"
    );
    assert_eq!(shop.show(&order).await["state"], "open");
    assert_eq!(world.bank.received("AuthReq"), (0, 0));
    world.authority.says(Word::Good);
    let reply = post(&shop.url, &step.wire).await;
    assert_eq!(wallet.read(&step.state, &reply).status, PaymentStatus::Paid);
    shop.close().await;

    world.authority.says(Word::Down);
    world.ocsp_policy = "open";
    let shop = world.open_shop().await;
    let (_, outcome) = wallet.buy(&shop, &shop.order().await).await;
    assert_eq!(outcome.status, PaymentStatus::Paid);
    shop.close().await;
}
