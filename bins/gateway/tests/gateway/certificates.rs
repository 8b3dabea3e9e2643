//! PCertReq: which certificates to seal for.

use openset_protocol::Context;
use openset_protocol::merchant::p_cert;
use openset_service::{clock, random};

use crate::bank::Bank;
use crate::purchase::{GATEWAY, GATEWAY_RENEWED, OTHER_SHOP, PKI, SHOP};
use crate::service::Premises;

#[tokio::test(flavor = "multi_thread")]
async fn merchant_is_told_the_certificate_that_is_current() {
    let bank = Bank::open().await;
    let service = Premises::new(&bank).start().await;
    let mut rng = random::system();
    let ctx = &mut Context {
        now: clock::now(),
        rng: &mut rng,
    };
    for shop in [&*SHOP, &*OTHER_SHOP] {
        let (awaiting, wire) = p_cert::request(ctx, shop, PKI.verifier()).unwrap();
        let answer = service.set(&wire).await.taken();
        let told = awaiting.handle(&answer, PKI.verifier(), clock::now());
        assert_eq!(&told.unwrap().unwrap(), GATEWAY.key_exchange.chain());
        // Whoever saw it sends it again: nothing is signed for that.
        assert_eq!(service.set(&wire).await.taken(), answer);
    }
    let premises = service.stop().await;
    let held = vec![GATEWAY_RENEWED.clone(), GATEWAY.clone()];
    let service = premises.start_holding(held).await;
    let (awaiting, wire) = p_cert::request(ctx, &SHOP, PKI.verifier()).unwrap();
    let answer = service.set(&wire).await.taken();
    let told = awaiting.handle(&answer, PKI.verifier(), clock::now());
    assert_eq!(
        &told.unwrap().unwrap(),
        GATEWAY_RENEWED.key_exchange.chain()
    );
}
