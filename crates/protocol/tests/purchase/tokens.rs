//! AuthToken: what is verified anew when it is shown, and what was stored before there were tokens.

use crate::run::{as_sent, genuine};
use crate::world::world;
use openset_pki::PathError;
use openset_protocol::gateway;
use openset_protocol::gateway::auth::{Asker, Refusal, Shown, VerifiedPayment};
use openset_protocol::merchant::auth::AwaitingAuthRes;
use openset_protocol::wrapper::MessageWrapper;
use openset_protocol::{Rejection, Timestamp};
use serde_json::Value;

const DAY: i64 = 86_400;

/// Asker and payment of the genuine purchase, as the gateway keeps them.
fn kept() -> (Asker, VerifiedPayment) {
    let (g, w) = (genuine(), world());
    let wrapper = MessageWrapper::decode(&g.auth_req).unwrap();
    let ours = [&w.gateway];
    let opened = gateway::auth::open(&g.auth_req, &wrapper, &ours, w.verifier(), w.now).unwrap();
    let asker = opened.asker.clone();
    let shown = opened.verify((&ours, false), &w.tokens(), w.verifier(), w.now);
    let Ok(Ok(Shown::Pi(payment))) = shown else {
        panic!("{shown:?}")
    };
    (asker, *payment)
}

fn again(payment: &VerifiedPayment, now: Timestamp) -> Result<Result<(), Refusal>, Rejection> {
    let (asker, _) = kept();
    payment.verify_again(&asker.brand_id, &world().pki.fresh_verifier(), now)
}

#[test]
fn card_and_certificate_must_be_good_when_a_token_is_shown() {
    let (now, (_, payment)) = (world().now, kept());
    assert_eq!(again(&payment, now), Ok(Ok(())));
    // The lists are old by then; the certificate is none for a year.
    assert_eq!(
        again(&payment, now.plus(366 * DAY)),
        Ok(Err(Refusal::Cardholder))
    );
    let mut json = serde_json::to_value(&payment).unwrap();
    json["card_expiry"] = "202701".into();
    let payment: VerifiedPayment = serde_json::from_value(json).unwrap();
    assert_eq!(again(&payment, now), Ok(Ok(())));
    assert_eq!(
        again(&payment, now.plus(17 * DAY)),
        Ok(Err(Refusal::Expired))
    );
}

/// A code would be final, and newer lists may come.
#[test]
fn certificate_that_cannot_be_judged_now_is_no_refusal() {
    let (now, (_, payment)) = (world().now, kept());
    let judged = again(&payment, now.plus(40 * DAY));
    let Err(Rejection::Certificate(PathError::BciStale(_) | PathError::CrlStale(_))) = judged
    else {
        panic!("{judged:?}")
    };
}

/// As it was before this field.
fn without<T: serde::de::DeserializeOwned>(value: &impl serde::Serialize, field: &str) -> T {
    let mut json: Value = serde_json::to_value(value).unwrap();
    json.as_object_mut().unwrap().remove(field).unwrap();
    serde_json::from_value(json).unwrap()
}

#[test]
fn what_was_stored_before_there_were_tokens_is_read() {
    let (g, w) = (genuine(), world());
    let (asker, payment) = kept();
    let asker: Asker = without(&asker, "subsequent_auth_ind");
    assert!(!asker.subsequent_auth_ind);
    let payment: VerifiedPayment = without(&payment, "cardholder_chain");
    assert_eq!(again(&payment, w.now), Ok(Err(Refusal::Cardholder)));
    // A merchant that did not ask for a token takes none.
    let before: AwaitingAuthRes = without(&g.awaiting_auth_res, "subsequent_auth_ind");
    let before = as_sent(&before, &g.auth_req);
    let unwanted = Rejection::Disagreement("baggage of an approval: auth_token");
    assert_eq!(
        before.handle(&g.auth_res, &[&w.shop], w.verifier(), w.now),
        Err(unwanted)
    );
}
