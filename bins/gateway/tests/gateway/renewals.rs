//! New keys and certificates, the gateway's own and its merchants', in the midst of purchases.

use openset_jose::jws::Unverified;
use openset_protocol::messages::cap::CapCode;
use openset_service::{clock, random};

use crate::bank::Bank;
use crate::purchase::{GATEWAY, GATEWAY_RENEWED, SHOP, SHOP_RENEWED, buy, claim};
use crate::service::{CA, OPERATOR, Premises, Service};

async fn renewed() -> Service {
    let bank = Bank::open().await;
    let keys = vec![GATEWAY_RENEWED.clone(), GATEWAY.clone()];
    Premises::new(&bank).start_holding(keys).await
}

#[tokio::test(flavor = "multi_thread")]
async fn payment_sealed_for_the_old_keys_is_opened_and_answered_with_the_new_ones() {
    let service = renewed().await;
    for sealed_for in [&*GATEWAY, &*GATEWAY_RENEWED] {
        let bought = buy(&SHOP, 4200);
        let asked = bought.ask_as(&SHOP, sealed_for, clock::now(), &mut random::system());
        let answer = service.set(&asked.wire).await.taken();
        let receipt = asked.read(&answer).baggage.receipt.unwrap();
        let signer = Unverified::parse(&receipt.0).unwrap().header().x5t_s256;
        assert_eq!(signer, Some(GATEWAY_RENEWED.signature.thumbprint()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn name_of_an_authorization_is_used_once_whichever_certificate_signs_it() {
    let bank = Bank::open().await;
    let service = Premises::new(&bank).start().await;
    let bought = buy(&SHOP, 4200);
    // RRPIDs begin with the time.
    let now = clock::now();
    let first = bought.ask_seeded(&SHOP, None, (now, 6));
    let answer = service.set(&first.wire).await.taken();
    let token = first.auth_token(&answer);
    let second = bought.ask_seeded(&SHOP_RENEWED, Some(&token), (now, 6));
    assert_eq!(first.rrpid(), second.rrpid());
    let refused = service.set(&second.wire).await.refused();
    assert_eq!(refused, "badMessageHeader");
    assert_eq!(bank.effects("authorize"), 1);
    // Under a name of its own it is another matter.
    let anew = bought.ask_seeded(&SHOP_RENEWED, Some(&token), (now, 7));
    let answer = service.set(&anew.wire).await.taken();
    assert_eq!(anew.auth_code(&answer), "approved");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_shows_the_current_ones_alone() {
    let service = renewed().await;
    let (_, body) = service.get("/certificates", "").await;
    assert_eq!(body["certificates"].as_array().unwrap().len(), 2);
    let (_, before) = Premises::new(&Bank::open().await)
        .start_holding(vec![GATEWAY_RENEWED.clone()])
        .await
        .get("/certificates", "")
        .await;
    assert_eq!(body, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn operator_sees_every_certificate_that_is_held_with_status_and_days_left() {
    let service = renewed().await;
    for (token, status) in [("", 401), ("wrong", 401), (CA, 403)] {
        assert_eq!(service.get("/certificates/own", token).await.0, status);
    }
    let (_, body) = service.get("/certificates/own", OPERATOR).await;
    assert_eq!(body["missing"], serde_json::json!([]));
    let shown: Vec<_> = body["certificates"].as_array().unwrap().iter().collect();
    assert_eq!(shown.len(), 4);
    for (at, one) in shown.iter().enumerate() {
        let (generation, status) = [(1, "retired"), (2, "good")][at / 2];
        let purpose = ["signature", "key_exchange"][at % 2];
        assert_eq!(
            (&one["generation"], &one["status"], &one["purpose"]),
            (&generation.into(), &status.into(), &purpose.into())
        );
        assert!(one["days_left"].as_i64().unwrap() > 1, "{one}");
    }
    let current = GATEWAY_RENEWED.signature.thumbprint().to_string();
    assert_eq!(shown[2]["thumbprint"], current);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_how_long_the_certificates_in_use_have_left() {
    let service = renewed().await;
    let text = service.metrics().await;
    for purpose in ["signature", "key_exchange"] {
        let name =
            format!("openset_certificate_seconds_left{{brand=\"Visa\",purpose=\"{purpose}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        let left_s: i64 = line.unwrap_or_else(|| panic!("{text}")).parse().unwrap();
        assert!(left_s > 86_400, "{left_s}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn merchant_that_has_renewed_captures_what_its_old_keys_had_authorized() {
    let service = renewed().await;
    let bought = buy(&SHOP, 4200);
    let asked = bought.ask();
    let answer = service.set(&asked.wire).await.taken();
    let claimed = claim(&SHOP_RENEWED, vec![asked.capture(&bought, &answer, 4200)]);
    let answer = service.set(&claimed.wire).await.taken();
    assert_eq!(claimed.codes(&answer), [CapCode::Success]);
}

/// Why a merchant keeps its old signature keys: the cardholder's signature names one certificate.
#[tokio::test(flavor = "multi_thread")]
async fn authorization_asked_for_with_other_keys_than_the_cardholder_named_is_refused() {
    let service = renewed().await;
    let bought = buy(&SHOP, 4200);
    let asked = bought.ask_as(&SHOP_RENEWED, &GATEWAY, clock::now(), &mut random::system());
    assert_eq!(service.set(&asked.wire).await.refused(), "signatureFailure");
}
