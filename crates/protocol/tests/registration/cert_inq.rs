//! Registrations that wait for an operator: the applicant asks until there is an answer.

use crate::old;
use crate::world::{Ca, PAN, cca, decide, inquired, pend, pki, with_context};
use openset_jose::PrivateKey;
use openset_protocol::Rejection;
use openset_protocol::ca::cert::Record;
use openset_protocol::ca::form;
use openset_protocol::cardholder::registration::{Outcome, Pended};
use openset_protocol::enrolment::{self, FormOrReferral, Keys, Party};
use openset_protocol::ids::Language;
use openset_protocol::messages::cert::CertStatusCode;
use openset_protocol::messages::me_aq_c_init::IdData;
use openset_protocol::messages::reg_form::RequestType;
use openset_testkit::keys;
use openset_testkit::pki::TestCa;

fn wallet_key() -> PrivateKey {
    keys::key("wallet")
}

fn card_that_waits() -> (Box<Pended>, Record) {
    let (state, wire, session) = crate::cardholder::until_cert_req();
    let verdict = Ca::default().cert(cca(), &wire, &session).unwrap();
    let (wire, record) = pend(cca(), verdict);
    match with_context(|ctx| state.handle(ctx, &wire, pki().verifier())).unwrap() {
        Outcome::Pended(pended, status) => {
            assert_eq!(status.cert_status_code, CertStatusCode::RequestPended);
            assert_eq!(status.ee_message.as_deref(), Some("Please wait."));
            (pended, record)
        }
        other => panic!("{other:?}"),
    }
}

fn asks(pended: &Pended, record: &Record) -> Outcome {
    let step = with_context(|ctx| pended.inquire(ctx, &wallet_key())).unwrap();
    let wire = inquired(cca(), &step.wire, record).unwrap();
    with_context(|ctx| step.state.handle(ctx, &wire, pki().verifier())).unwrap()
}

#[test]
fn wallet_asks_until_the_operator_has_approved_and_gets_one_certificate_however_often_it_asks() {
    let (pended, record) = card_that_waits();
    let Outcome::Pended(pended, _) = asks(&pended, &record) else {
        panic!("nobody has approved yet")
    };
    let (ended, issued) = decide(cca(), record);
    assert!(ended.waits().is_none());
    for _ in 0..2 {
        let outcome = asks(&pended, &ended);
        let Outcome::Registered(registered) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(registered.chain.leaf(), &issued[0]);
    }
}

#[test]
fn wallet_is_told_that_the_operator_has_rejected() {
    let (pended, record) = card_that_waits();
    let outcome = asks(&pended, &record.reject("Come to the counter."));
    let Outcome::Refused(status) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(status.cert_status_code, CertStatusCode::RejectedByCa);
    assert_eq!(status.ee_message.as_deref(), Some("Come to the counter."));
}

#[test]
fn what_is_decided_cannot_be_decided_again() {
    let (_, record) = card_that_waits();
    let rejected = record.reject("No.");
    let issuer = openset_protocol::ca::cert::Issuer {
        credentials: &cca().credentials,
        authority: &cca().authority,
        certificate_seconds: 86_400,
        card_cert_required: true,
    };
    assert!(with_context(|ctx| rejected.issue(ctx, &issuer)).is_err());
}

#[test]
fn nobody_else_can_ask_after_a_registration() {
    let (pended, record) = card_that_waits();
    assert!(
        with_context(|ctx| pended.inquire(ctx, &keys::key("another"))).is_err(),
        "the wallet itself sees that it is the wrong key"
    );
    let step = with_context(|ctx| pended.inquire(ctx, &wallet_key())).unwrap();
    let forged = crate::tamper::content(&step.wire, |jws| {
        crate::tamper::signed(jws, &keys::key("another"), |_| {});
    });
    let refused = inquired(cca(), &forged, &record);
    assert_eq!(refused.unwrap_err(), Rejection::Unauthentic);
}

#[test]
fn an_answer_to_cert_req_is_none_to_cert_inq_req() {
    let (state, wire, session) = crate::cardholder::until_cert_req();
    let verdict = Ca::default().cert(cca(), &wire, &session).unwrap();
    let (answer, _) = pend(cca(), verdict);
    let pended = with_context(|ctx| state.handle(ctx, &answer, pki().verifier())).unwrap();
    let Outcome::Pended(pended, _) = pended else {
        panic!("{pended:?}")
    };
    let step = with_context(|ctx| pended.inquire(ctx, &wallet_key())).unwrap();
    let refused = with_context(|ctx| step.state.handle(ctx, &answer, pki().verifier()));
    assert_eq!(refused.unwrap_err(), Rejection::UnknownRrpid);
}

#[test]
fn what_is_kept_while_it_waits_names_no_card() {
    let (_, record) = card_that_waits();
    let kept = serde_json::to_string(&record).unwrap();
    assert!(!kept.contains(PAN) && !kept.contains("Alice"));
    assert!(kept.contains("waits"), "{kept}");
}

fn mca() -> &'static TestCa {
    &pki().brand(crate::world::BRAND).mca
}

/// A merchant that applies for a key-exchange certificate beside its signature certificate.
fn shop_that_waits() -> (Box<enrolment::Pended>, Record) {
    let (verifier, opens, held) = (pki().verifier(), keys::key("party/new/open"), old::shop());
    let party = Party {
        id_data: IdData::Merchant {
            merchant_bin: "411111".parse().unwrap(),
            merchant_id: "shop-1".to_owned(),
        },
        brand_id: crate::world::BRAND.parse().unwrap(),
        language: Language::english(),
    };
    let kind = RequestType::MerInitialEnc;
    let ca = Ca::default();
    let step =
        with_context(|ctx| enrolment::apply(ctx, party, kind, Some(opens.public_key()), None));
    let step = step.unwrap();
    let form = form::merchant("Sell honestly.");
    let reply = ca.me_aq_c_init(mca(), &step.wire, &form).unwrap();
    let received = with_context(|ctx| step.state.handle(ctx, &reply.wire, verifier, &opens));
    let FormOrReferral::Form(form) = received.unwrap() else {
        panic!("a referral")
    };
    let keys = Keys {
        key_exchange: Some(opens.public_key()),
        held: Some(&held.signature),
        ..Keys::default()
    };
    let step = with_context(|ctx| form.submit_keys(ctx, Vec::new(), &keys)).unwrap();
    let verdict = ca.cert(mca(), &step.wire, &reply.session).unwrap();
    let (wire, record) = pend(mca(), verdict);
    match with_context(|ctx| step.state.handle(ctx, &wire, verifier)).unwrap() {
        enrolment::Outcome::Pended(pended, _) => (pended, record),
        other => panic!("{other:?}"),
    }
}

#[test]
fn merchant_without_a_new_signature_key_asks_with_the_certificate_that_it_has() {
    let (pended, record) = shop_that_waits();
    let (ended, _) = decide(mca(), record);
    let ask = |held: &openset_protocol::identity::SigningIdentity| {
        let keys = Keys {
            held: Some(held),
            ..Keys::default()
        };
        let step = with_context(|ctx| pended.inquire(ctx, &keys)).unwrap();
        let wire = inquired(mca(), &step.wire, &ended)?;
        with_context(|ctx| step.state.handle(ctx, &wire, pki().verifier()))
    };
    let outcome = ask(&old::shop().signature).unwrap();
    let enrolment::Outcome::Enrolled(enrolled) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(enrolled.signature.is_none() && enrolled.key_exchange.is_some());
    let another = pki().merchant(crate::world::BRAND, "shop-2");
    let refused = ask(&another.signature).unwrap_err();
    assert_eq!(refused, Rejection::AnotherParty("applicant"));
}
