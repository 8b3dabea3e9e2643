//! A cardholder's registration, and every check that the wallet makes of the CA's answers.

use crate::tamper::{self, other_256};
use crate::world::{BRAND, Ca, PAN, answer, approve, cca, good_answers, pki, with_context};
use openset_jose::{PrivateKey, Thumbprint, jws};
use openset_pki::{PathError, Purpose, Role};
use openset_protocol::ca::cert::{CardCredential, Verdict};
use openset_protocol::cardholder::registration::{
    self, AwaitingCardCInitRes, AwaitingCertRes, AwaitingRegFormRes, CardToRegister,
    FormOrReferral, FormReceived, Outcome,
};
use openset_protocol::ids::Language;
use openset_protocol::messages::cert::CertStatusCode;
use openset_protocol::messages::reg_form::{ACTIVATION_CODE, HOLDER};
use openset_protocol::signed::carried;
use openset_protocol::{BrandId, Rejection};
use openset_testkit::keys;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// What a wallet would find after a restart: the state as it was stored.
pub(crate) fn restored<S: Serialize + DeserializeOwned>(state: &S) -> S {
    serde_json::from_slice(&serde_json::to_vec(state).unwrap()).unwrap()
}

pub(crate) fn card() -> CardToRegister {
    CardToRegister {
        pan: PAN.parse().unwrap(),
        card_expiry: "202712".parse().unwrap(),
        brand_id: BrandId::new(BRAND).unwrap(),
        language: Language::english(),
    }
}

pub(crate) fn wallet_key() -> PrivateKey {
    keys::key("wallet")
}

/// The wallet after CardCInitReq, and the CA's answer.
fn init() -> (
    AwaitingCardCInitRes,
    Vec<u8>,
    openset_protocol::ca::AwaitingRegFormReq,
) {
    let step = with_context(|ctx| registration::start(ctx, card(), None));
    let reply = Ca::default().card_c_init(&step.wire).unwrap();
    (restored(&step.state), reply.wire, reply.session)
}

/// The wallet after RegFormReq, and the CA's answer.
fn reg_form() -> (
    AwaitingRegFormRes,
    Vec<u8>,
    openset_protocol::ca::AwaitingCertReq,
) {
    let (state, wire, session) = init();
    let step = with_context(|ctx| state.handle(ctx, &wire, pki().verifier())).unwrap();
    let reply = Ca::default().reg_form(&step.wire, session).unwrap();
    (restored(&step.state), reply.wire, reply.session.unwrap())
}

/// The wallet with its form, and the CA's session.
pub(crate) fn form() -> (FormReceived, openset_protocol::ca::AwaitingCertReq) {
    let (state, wire, session) = reg_form();
    let received = with_context(|ctx| state.handle(ctx, &wire, pki().verifier())).unwrap();
    let FormOrReferral::Form(form) = received else {
        panic!("a referral")
    };
    (restored(&*form), session)
}

/// The wallet after CertReq, and the CA's session.
pub(crate) fn until_cert_req() -> (
    AwaitingCertRes,
    Vec<u8>,
    openset_protocol::ca::AwaitingCertReq,
) {
    let (form, session) = form();
    let step = with_context(|ctx| form.submit(ctx, good_answers(), &wallet_key())).unwrap();
    (restored(&step.state), step.wire, session)
}

/// The wallet after CertReq, and the CA's answer.
pub(crate) fn cert() -> (AwaitingCertRes, Vec<u8>) {
    let (form, session) = form();
    let step = with_context(|ctx| form.submit(ctx, good_answers(), &wallet_key())).unwrap();
    let verdict = Ca::default().cert(cca(), &step.wire, &session).unwrap();
    (restored(&step.state), approve(cca(), verdict).wire)
}

pub(crate) fn handle_cert_res(state: AwaitingCertRes, wire: &[u8]) -> Result<Outcome, Rejection> {
    with_context(|ctx| state.handle(ctx, wire, pki().verifier()))
}

#[test]
fn cardholder_registers_and_only_its_own_secrets_lead_to_the_account_name() {
    let (state, wire) = cert();
    let Outcome::Registered(registered) = handle_cert_res(state, &wire).unwrap() else {
        panic!("not registered")
    };
    let leaf = registered.chain.leaf();
    assert_eq!(leaf.role(), Role::Cardholder);
    assert_eq!(leaf.public_key(), wallet_key().public_key());
    assert_eq!(leaf.organizational_unit(), Some("Test Issuer"));
    let derived = registered.card_secret.pan_secret(&registered.nonce_cca);
    assert_eq!(derived.as_bytes(), registered.pan_secret.as_bytes());
    assert_eq!(
        leaf.common_name(),
        derived.account_name(&card().pan, card().card_expiry)
    );
    assert!(!String::from_utf8_lossy(leaf.der()).contains(PAN));
}

#[test]
fn ca_stores_and_shows_no_card_number_between_the_messages() {
    let (_, _, session) = reg_form();
    let stored = serde_json::to_string(&session).unwrap();
    let hash = hex::encode(openset_jose::sha256(PAN.as_bytes()));
    let bare = Thumbprint::of(PAN.as_bytes()).to_string();
    assert!(!stored.contains(PAN) && !stored.contains(&hash) && !stored.contains(&bare));
    let (form, session) = form();
    let step = with_context(|ctx| form.submit(ctx, good_answers(), &wallet_key())).unwrap();
    let verdict = Ca::default().cert(cca(), &step.wire, &session).unwrap();
    assert!(!format!("{verdict:?}").contains(PAN) && !format!("{verdict:?}").contains("1234-5678"));
}

#[test]
fn cardholder_of_a_bank_that_the_ca_does_not_serve_is_referred() {
    let (state, wire, session) = init();
    let step = with_context(|ctx| state.handle(ctx, &wire, pki().verifier())).unwrap();
    let ca = Ca {
        served_bins: vec!["555555".parse().unwrap()],
        ..Ca::default()
    };
    let reply = ca.reg_form(&step.wire, session).unwrap();
    assert!(reply.session.is_none());
    let received =
        with_context(|ctx| step.state.handle(ctx, &reply.wire, pki().verifier())).unwrap();
    assert!(
        matches!(received, FormOrReferral::Referral(referral) if !referral.referral_urls.is_empty())
    );
}

#[test]
fn answers_can_be_mended_and_submitted_again_in_the_same_registration() {
    let (form, session) = form();
    let answers = vec![
        answer(HOLDER, "Alice Example"),
        answer(ACTIVATION_CODE, &"9".repeat(65)),
    ];
    let step = with_context(|ctx| form.submit(ctx, answers, &wallet_key())).unwrap();
    let Verdict::Answer { wire, code } = Ca::default().cert(cca(), &step.wire, &session).unwrap()
    else {
        panic!()
    };
    assert_eq!(code, CertStatusCode::RegFormAnswerMalformed);
    let Outcome::Mend(form, status) = handle_cert_res(step.state, &wire).unwrap() else {
        panic!()
    };
    assert_eq!(status.failed_items[0].item_number, 1);
    let step = with_context(|ctx| form.submit(ctx, good_answers(), &wallet_key())).unwrap();
    let verdict = Ca::default().cert(cca(), &step.wire, &session).unwrap();
    let outcome = handle_cert_res(step.state, &approve(cca(), verdict).wire).unwrap();
    assert!(matches!(outcome, Outcome::Registered(_)));
}

#[test]
fn refusal_by_the_issuer_ends_the_registration_with_its_reason() {
    let (form, session) = form();
    let step = with_context(|ctx| form.submit(ctx, good_answers(), &wallet_key())).unwrap();
    let Verdict::AskIssuer(application) = Ca::default().cert(cca(), &step.wire, &session).unwrap()
    else {
        panic!()
    };
    assert_eq!(
        application.request.credential.activation_code(),
        Some("1234-5678")
    );
    assert!(matches!(
        &application.request.credential,
        CardCredential::Code { holder, .. } if **holder == "Alice Example"
    ));
    assert_eq!(
        application.request.key_thumbprint,
        wallet_key().public_key().thumbprint()
    );
    let code = CertStatusCode::RejectedByIssuer;
    let wire = with_context(|ctx| {
        application
            .reply
            .refuse(ctx, &cca().credentials, code, "wrong code")
    })
    .unwrap();
    let Outcome::Refused(status) = handle_cert_res(step.state, &wire).unwrap() else {
        panic!()
    };
    assert_eq!(
        (status.cert_status_code, status.ee_message.as_deref()),
        (code, Some("wrong code"))
    );
}

pub(crate) type Alter = fn(&mut Value);

/// What every signed answer says around its data, altered one by one.
pub(crate) fn frame_alterations() -> Vec<(&'static str, Alter, Rejection)> {
    vec![
        (
            "from",
            |p| p["from"]["certificate"] = other_256(),
            Rejection::NotFromSigner,
        ),
        (
            "to",
            |p| p["to"]["exchange"] = "somebody-else".into(),
            Rejection::NotForUs,
        ),
        (
            "message",
            |p| p["message"] = "PInitRes".into(),
            Rejection::HeaderMismatch("message"),
        ),
        (
            "rrpid",
            |p| p["rrpid"] = other_256(),
            Rejection::HeaderMismatch("rrpid"),
        ),
        (
            "answers",
            |p| p["answers"] = other_256(),
            Rejection::AnotherRequest,
        ),
        (
            "data.lid_ee",
            |p| p["data"]["lid_ee"] = "somebody-else".into(),
            Rejection::Disagreement("lid_ee"),
        ),
    ]
}

/// Signs answers as the CA does.
pub(crate) fn ca_key() -> PrivateKey {
    keys::key("Visa/cca/sign")
}

#[test]
fn wallet_refuses_a_card_c_init_res_with_any_altered_field() {
    let (state, wire, _) = init();
    let mut rows = frame_alterations();
    let more: [(&str, Alter, Rejection); 3] = [
        (
            "chall_ee",
            |p| p["data"]["chall_ee"] = other_256(),
            Rejection::ChallengeMismatch("chall_ee"),
        ),
        (
            "cae_thumb",
            |p| p["data"]["cae_thumb"] = other_256(),
            Rejection::DigestMismatch("cae_thumb"),
        ),
        (
            "ca_key_exchange",
            |p| p["data"]["ca_key_exchange"] = json!([]),
            Rejection::MissingCertificate("a chain inside the message is empty"),
        ),
    ];
    rows.extend(more);
    for (field, alter, expected) in rows {
        let altered = tamper::content(&wire, |jws| tamper::signed(jws, &ca_key(), alter));
        let refused = with_context(|ctx| restored(&state).handle(ctx, &altered, pki().verifier()))
            .unwrap_err();
        assert_eq!(refused, expected, "{field}");
    }
    assert!(with_context(|ctx| state.handle(ctx, &wire, pki().verifier())).is_ok());
}

#[test]
fn wallet_refuses_a_key_exchange_certificate_of_another_ca_brand_or_purpose() {
    let (state, wire, _) = init();
    let other = pki().leaf(Role::CardholderCa, Purpose::KeyExchange, "another CCA");
    let another = pki().issue(BRAND, &other, keys::key("another").public_key());
    let wrong =
        |found, expected| Rejection::Certificate(PathError::WrongPurpose { expected, found });
    let rows = [
        (
            carried(pki().brand(BRAND).mca.credentials.key_exchange.chain()),
            Rejection::Certificate(PathError::WrongRole {
                expected: Role::CardholderCa,
                found: Role::MerchantCa,
            }),
        ),
        (
            carried(
                pki()
                    .brand("MasterCard")
                    .cca
                    .credentials
                    .key_exchange
                    .chain(),
            ),
            Rejection::Certificate(PathError::WrongBrand),
        ),
        (
            carried(cca().credentials.signature.chain()),
            wrong(Purpose::Signature, Purpose::KeyExchange),
        ),
        (
            carried(&another),
            Rejection::AnotherParty("certificate authority"),
        ),
    ];
    for (chain, expected) in rows {
        let altered = tamper::content(&wire, |jws| {
            tamper::signed(jws, &ca_key(), |p| {
                p["data"]["cae_thumb"] = Thumbprint::of(&chain[0].0).to_string().into();
                p["data"]["ca_key_exchange"] = serde_json::to_value(&chain).unwrap();
            });
        });
        let refused = with_context(|ctx| restored(&state).handle(ctx, &altered, pki().verifier()))
            .unwrap_err();
        assert_eq!(refused, expected);
    }
}

#[test]
fn wallet_refuses_answers_signed_by_another_ca() {
    let (state, wire, _) = init();
    let mca = &pki().brand(BRAND).mca.credentials.signature;
    let header = jws::Header {
        cty: "CardCInitResTBS".to_owned(),
        x5t_s256: Some(mca.thumbprint()),
        x5c: mca.chain().to_x5c(),
    };
    let by_mca = tamper::content(&wire, |jws| {
        let from = mca.thumbprint().to_string();
        tamper::signed_under(jws, &keys::key("Visa/mca/sign"), &header, |p| {
            p["from"]["certificate"] = from.into()
        });
    });
    let refused =
        with_context(|ctx| restored(&state).handle(ctx, &by_mca, pki().verifier())).unwrap_err();
    let expected = PathError::WrongRole {
        expected: Role::CardholderCa,
        found: Role::MerchantCa,
    };
    assert_eq!(refused, Rejection::Certificate(expected));
}

#[test]
fn wallet_refuses_a_form_from_another_ca_of_the_same_kind_and_brand() {
    let (state, wire, _) = reg_form();
    let key = keys::key("another");
    let leaf = pki().leaf(Role::CardholderCa, Purpose::Signature, "another CCA");
    let chain = pki().issue(BRAND, &leaf, key.public_key());
    let thumbprint = chain.leaf().thumbprint();
    let header = jws::Header {
        cty: "RegFormResTBS".to_owned(),
        x5t_s256: Some(thumbprint),
        x5c: chain.to_x5c(),
    };
    let altered = tamper::content(&wire, |jws| {
        tamper::signed_under(jws, &key, &header, |p| {
            p["from"]["certificate"] = thumbprint.to_string().into()
        });
    });
    let refused = with_context(|ctx| state.handle(ctx, &altered, pki().verifier())).unwrap_err();
    assert_eq!(refused, Rejection::AnotherParty("certificate authority"));
}

#[test]
fn wallet_refuses_a_header_that_names_another_exchange() {
    let (state, wire, _) = init();
    let rows: [(Alter, Rejection); 2] = [
        (
            |w| w["message_header"]["rrpid"] = other_256(),
            Rejection::UnknownRrpid,
        ),
        (
            |w| w["message_header"]["message_ids"]["lid_c"] = "x".into(),
            Rejection::HeaderMismatch("lid_c"),
        ),
    ];
    for (alter, expected) in rows {
        let altered = tamper::wrapper(&wire, alter);
        let refused = with_context(|ctx| restored(&state).handle(ctx, &altered, pki().verifier()))
            .unwrap_err();
        assert_eq!(refused, expected);
    }
}

#[test]
fn wallet_refuses_a_reg_form_res_with_any_altered_field() {
    let (state, wire, _) = reg_form();
    let mut rows = frame_alterations();
    let more: [(&str, Alter, Rejection); 3] = [
        (
            "lid_ca",
            |p| p["data"]["lid_ca"] = "another".into(),
            Rejection::Disagreement("lid_ca"),
        ),
        (
            "chall_ee2",
            |p| p["data"]["chall_ee2"] = other_256(),
            Rejection::ChallengeMismatch("chall_ee2"),
        ),
        (
            "request_type",
            |p| p["data"]["request_type"] = "merInitialBoth".into(),
            Rejection::Disagreement("request_type"),
        ),
    ];
    rows.extend(more);
    for (field, alter, expected) in rows {
        let altered = tamper::content(&wire, |jws| tamper::signed(jws, &ca_key(), alter));
        let refused = with_context(|ctx| restored(&state).handle(ctx, &altered, pki().verifier()))
            .unwrap_err();
        assert_eq!(refused, expected, "{field}");
    }
}

#[test]
fn answers_of_another_registration_are_refused() {
    let (mine, _, _) = init();
    let (_, theirs, _) = init();
    let refused = with_context(|ctx| mine.handle(ctx, &theirs, pki().verifier())).unwrap_err();
    assert_eq!(refused, Rejection::UnknownRrpid);
}
