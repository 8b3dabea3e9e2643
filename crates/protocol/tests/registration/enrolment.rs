//! A merchant's and a gateway's enrolment, and every check of it on both sides.

use crate::cardholder::{frame_alterations, restored};
use crate::tamper::{self, other_256};
use crate::world::{BRAND, Ca, answer, approve, pki, thumbs, with_context};
use openset_jose::{PrivateKey, Thumbprint, base64url, jwe};
use openset_pki::{PathError, Purpose, Role};
use openset_protocol::ca::cert::Verdict;
use openset_protocol::ca::{AwaitingCertReq, form};
use openset_protocol::enrolment::{
    self, AwaitingCertRes, AwaitingMeAqCInitRes, Enrolled, FormOrReferral, FormReceived, Outcome,
    Party,
};
use openset_protocol::ids::Language;
use openset_protocol::messages::cert::CertStatusCode;
use openset_protocol::messages::me_aq_c_init::IdData;
use openset_protocol::messages::reg_form::{ACTIVATION_CODE, RegFormData};
use openset_protocol::signed::carried;
use openset_protocol::{BrandId, Rejection};
use openset_testkit::keys;
use openset_testkit::pki::TestCa;
use serde_json::Value;

type Alter = fn(&mut Value);

/// Who applies in a test: its CA, and what it calls itself.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Merchant,
    Gateway,
}

impl Kind {
    fn party(self) -> Party {
        let bin = "411111".parse().unwrap();
        let id_data = match self {
            Self::Merchant => IdData::Merchant {
                merchant_bin: bin,
                merchant_id: "shop-1".to_owned(),
            },
            Self::Gateway => IdData::Gateway {
                acquirer_bin: bin,
                gateway_id: "gateway-1".to_owned(),
            },
        };
        Party {
            id_data,
            brand_id: BrandId::new(BRAND).unwrap(),
            language: Language::english(),
        }
    }

    fn ca(self) -> &'static TestCa {
        match self {
            Self::Merchant => &pki().brand(BRAND).mca,
            Self::Gateway => &pki().brand(BRAND).pca,
        }
    }

    fn ca_name(self) -> &'static str {
        if self == Self::Merchant { "mca" } else { "pca" }
    }

    fn ca_signs(self) -> PrivateKey {
        keys::key(&format!("{BRAND}/{}/sign", self.ca_name()))
    }

    fn ca_opens(self) -> PrivateKey {
        keys::key(&format!("{BRAND}/{}/open", self.ca_name()))
    }

    fn form(self) -> RegFormData {
        if self == Self::Merchant {
            form::merchant("Sell honestly.")
        } else {
            form::gateway("Route honestly.")
        }
    }
}

fn signs() -> PrivateKey {
    keys::key("party/sign")
}

fn opens() -> PrivateKey {
    keys::key("party/open")
}

fn init(kind: Kind) -> (AwaitingMeAqCInitRes, Vec<u8>, AwaitingCertReq) {
    let step = with_context(|ctx| {
        enrolment::start(ctx, kind.party(), opens().public_key(), Some(thumbs()))
    });
    let reply = Ca::default()
        .me_aq_c_init(kind.ca(), &step.wire, &kind.form())
        .unwrap();
    (restored(&step.state), reply.wire, restored(&reply.session))
}

fn with_form(kind: Kind) -> (FormReceived, AwaitingCertReq) {
    let (state, wire, session) = init(kind);
    let received =
        with_context(|ctx| state.handle(ctx, &wire, pki().verifier(), &opens())).unwrap();
    let FormOrReferral::Form(form) = received else {
        panic!("a referral")
    };
    (restored(&*form), session)
}

fn cert_req(kind: Kind) -> (AwaitingCertRes, Vec<u8>, AwaitingCertReq) {
    let (form, session) = with_form(kind);
    let answers = vec![answer(ACTIVATION_CODE, "8765-4321")];
    let step =
        with_context(|ctx| form.submit(ctx, answers, &signs(), opens().public_key())).unwrap();
    (restored(&step.state), step.wire, session)
}

fn cert_res(kind: Kind) -> (AwaitingCertRes, Vec<u8>) {
    let (state, wire, session) = cert_req(kind);
    let verdict = Ca::default().cert(kind.ca(), &wire, &session).unwrap();
    (state, approve(kind.ca(), verdict).wire)
}

fn handle(state: AwaitingCertRes, wire: &[u8]) -> Result<Outcome, Rejection> {
    with_context(|ctx| state.handle(ctx, wire, pki().verifier()))
}

fn enrolled(kind: Kind) -> Enrolled {
    let (state, wire) = cert_res(kind);
    let Outcome::Enrolled(enrolled) = handle(state, &wire).unwrap() else {
        panic!("not enrolled")
    };
    *enrolled
}

#[test]
fn merchant_gets_both_certificates_with_its_merchant_data() {
    let (signature, key_exchange) = enrolled(Kind::Merchant).both().unwrap();
    assert_eq!(signature.leaf().public_key(), signs().public_key());
    assert_eq!(key_exchange.leaf().public_key(), opens().public_key());
    for leaf in [signature.leaf(), key_exchange.leaf()] {
        let data = leaf.merchant_data().unwrap();
        assert_eq!(
            (data.merchant_id.as_str(), data.acquirer_bin.as_str()),
            ("shop-1", "411111")
        );
        assert_eq!(
            (data.name.as_str(), data.country, data.auth_flag),
            ("Book Shop", 276, false)
        );
        assert_eq!(
            (leaf.role(), leaf.organizational_unit()),
            (Role::Merchant, Some("Test Acquirer"))
        );
    }
}

#[test]
fn gateway_gets_both_certificates_and_takes_signed_purchases_alone() {
    let (signature, key_exchange) = enrolled(Kind::Gateway).both().unwrap();
    assert_eq!(signature.leaf().common_name(), "411111:gateway-1");
    assert_eq!(key_exchange.leaf().card_cert_required(), Some(true));
    assert_eq!(signature.leaf().role(), Role::Gateway);
}

#[test]
fn bank_is_asked_for_exactly_the_keys_that_were_shown() {
    let (_, wire, session) = cert_req(Kind::Merchant);
    let Verdict::AskAcquirer(asked) = Ca::default()
        .cert(Kind::Merchant.ca(), &wire, &session)
        .unwrap()
    else {
        panic!()
    };
    assert_eq!(
        asked.request.key_thumbprint,
        Some(signs().public_key().thumbprint())
    );
    assert_eq!(
        asked.request.key_exchange_thumbprint,
        Some(opens().public_key().thumbprint())
    );
    assert_eq!(
        (
            asked.request.merchant_id.as_str(),
            asked.request.merchant_bin.as_str()
        ),
        ("shop-1", "411111")
    );
    assert_eq!(
        asked.request.credential.activation_code(),
        Some("8765-4321")
    );
}

#[test]
fn ca_refuses_a_me_aq_c_init_req_with_any_field_that_does_not_fit() {
    let step = with_context(|ctx| {
        enrolment::start(ctx, Kind::Merchant.party(), opens().public_key(), None)
    });
    let malformed = |text: &str| Rejection::Malformed(text.to_owned());
    let name = "Me-AqCInitReq";
    let rows: Vec<(&str, Value, Rejection)> = vec![
        ("/rrpid", other_256(), Rejection::HeaderMismatch("rrpid")),
        ("/lid_ee", "x".into(), Rejection::HeaderMismatch("lid_c")),
        (
            "/request_type",
            "pgwyInitialBoth".into(),
            Rejection::Disagreement("request_type"),
        ),
        (
            "/request_type",
            "cardInitialSig".into(),
            Rejection::Disagreement("request_type"),
        ),
        (
            "/brand_id",
            "MasterCard".into(),
            Rejection::NotServed("this brand"),
        ),
        (
            "/id_data/merchant/merchant_id",
            "".into(),
            malformed("an id has 1 to 30 printable ASCII characters"),
        ),
        (
            "/public_key_e",
            "AAAA".into(),
            malformed("public_key_e is not an RSA key of 2048 to 4096 bits"),
        ),
    ];
    for (pointer, value, expected) in rows {
        let altered = tamper::wrapper(&step.wire, |w| {
            *w["message"][name].pointer_mut(pointer).unwrap() = value
        });
        let refused =
            Ca::default().me_aq_c_init(Kind::Merchant.ca(), &altered, &Kind::Merchant.form());
        assert_eq!(refused.unwrap_err(), expected, "{pointer}");
    }
    let at_pca = Ca::default().me_aq_c_init(Kind::Gateway.ca(), &step.wire, &Kind::Merchant.form());
    assert_eq!(at_pca.unwrap_err(), Rejection::NotServed("this brand"));
}

#[test]
fn applicant_refuses_a_me_aq_c_init_res_with_any_altered_field() {
    let (state, wire, _) = init(Kind::Merchant);
    let mut rows = frame_alterations();
    let more: [(&str, Alter, Rejection); 4] = [
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
            "request_type",
            |p| p["data"]["request_type"] = "pgwyInitialBoth".into(),
            Rejection::Disagreement("request_type"),
        ),
        (
            "lid_ca",
            |p| p["data"]["lid_ca"] = "another".into(),
            Rejection::ChallengeMismatch("key_exchange_challenge"),
        ),
    ];
    rows.extend(more);
    for (field, alter, expected) in rows {
        let altered = tamper::content(&wire, |jws| {
            tamper::signed(jws, &Kind::Merchant.ca_signs(), alter)
        });
        let refused =
            with_context(|ctx| restored(&state).handle(ctx, &altered, pki().verifier(), &opens()))
                .unwrap_err();
        assert_eq!(refused, expected, "{field}");
    }
    let refused =
        with_context(|ctx| state.handle(ctx, &wire, pki().verifier(), &signs())).unwrap_err();
    assert_eq!(
        refused,
        Rejection::Unauthentic,
        "another key cannot open the challenge"
    );
}

#[test]
fn applicant_refuses_a_challenge_that_is_for_a_certificate_or_of_another_content_type() {
    let (state, wire, _) = init(Kind::Merchant);
    let alter = |content: &str, x5t: Option<Thumbprint>| {
        tamper::content(&wire, |jws| {
            tamper::signed(jws, &Kind::Merchant.ca_signs(), |p| {
                let challenge = &mut p["data"]["key_exchange_challenge"];
                let sealed = jwe::Sealed::parse(challenge.as_str().unwrap()).unwrap();
                let opened = sealed.open(&opens()).unwrap();
                let receiver = opens();
                let again = jwe::seal(
                    &mut keys::rng(5),
                    receiver.public_key(),
                    x5t,
                    content,
                    &opened,
                );
                *challenge = again.unwrap().into();
            });
        })
    };
    let refused = |wire: &[u8]| {
        with_context(|ctx| restored(&state).handle(ctx, wire, pki().verifier(), &opens()))
            .unwrap_err()
    };
    let named = alter(
        "KeyExchangeChallenge",
        Some(Thumbprint::of(b"a certificate")),
    );
    assert!(matches!(refused(&named), Rejection::BadHeader(_)));
    let acct_info = alter("AcctInfo", None);
    assert!(matches!(refused(&acct_info), Rejection::ContentType { .. }));
}

#[test]
fn ca_refuses_a_cert_req_without_proof_that_the_key_exchange_key_is_held() {
    let kind = Kind::Merchant;
    let (_, wire, session) = cert_req(kind);
    let rows: [(&str, Alter, Rejection); 5] = [
        (
            "wrong proof",
            |p| p["data"]["key_exchange_proof"] = other_256(),
            Rejection::Possession("key-exchange"),
        ),
        (
            "no proof",
            |p| {
                drop(
                    p["data"]
                        .as_object_mut()
                        .unwrap()
                        .remove("key_exchange_proof"),
                )
            },
            Rejection::Possession("key-exchange"),
        ),
        (
            "another key than the challenge was for",
            |p| {
                p["data"]["public_key_e"] =
                    base64url::encode(keys::key("another").public_key().spki_der()).into()
            },
            Rejection::Disagreement("public_key_e"),
        ),
        (
            "no key",
            |p| drop(p["data"].as_object_mut().unwrap().remove("public_key_e")),
            Rejection::Disagreement("public_key_e"),
        ),
        (
            "account data",
            |p| p["data"]["acct_info_digest"] = other_256(),
            Rejection::Disagreement("acct_info"),
        ),
    ];
    for (field, alter, expected) in rows {
        let altered = tamper::content(&wire, |jwe| {
            tamper::sealed(jwe, &kind.ca_opens(), |tbe| {
                tamper::signed(&mut tbe["cert_req"], &signs(), alter)
            });
        });
        let refused = Ca::default()
            .cert(kind.ca(), &altered, &session)
            .unwrap_err();
        assert_eq!(refused, expected, "{field}");
    }
}

#[test]
fn ca_certifies_no_key_for_both_uses() {
    let kind = Kind::Merchant;
    let (form, session) = with_form(kind);
    let answers = vec![answer(ACTIVATION_CODE, "8765-4321")];
    let step =
        with_context(|ctx| form.submit(ctx, answers, &opens(), opens().public_key())).unwrap();
    let verdict = Ca::default().cert(kind.ca(), &step.wire, &session).unwrap();
    let Verdict::Answer { wire, code } = verdict else {
        panic!()
    };
    assert_eq!(code, CertStatusCode::RejectedByCa);
    assert!(matches!(
        handle(step.state, &wire).unwrap(),
        Outcome::Refused(_)
    ));
}

#[test]
fn applicant_refuses_a_cert_res_with_any_altered_field() {
    let kind = Kind::Gateway;
    let (state, wire) = cert_res(kind);
    let mut rows = frame_alterations();
    let more: [(&str, Alter, Rejection); 4] = [
        (
            "lid_ca",
            |p| p["data"]["lid_ca"] = "another".into(),
            Rejection::Disagreement("lid_ca"),
        ),
        (
            "chall_ee3",
            |p| p["data"]["chall_ee3"] = other_256(),
            Rejection::ChallengeMismatch("chall_ee3"),
        ),
        (
            "signature",
            |p| p["data"]["signature"] = p["data"]["key_exchange"].clone(),
            Rejection::Certificate(PathError::WrongPurpose {
                expected: Purpose::Signature,
                found: Purpose::KeyExchange,
            }),
        ),
        (
            "key_exchange",
            |p| p["data"]["key_exchange"] = p["data"]["signature"].clone(),
            Rejection::Certificate(PathError::WrongPurpose {
                expected: Purpose::KeyExchange,
                found: Purpose::Signature,
            }),
        ),
    ];
    rows.extend(more);
    for (field, alter, expected) in rows {
        let altered = tamper::content(&wire, |m| {
            tamper::signed(&mut m["signed"], &kind.ca_signs(), alter)
        });
        assert_eq!(
            handle(restored(&state), &altered).unwrap_err(),
            expected,
            "{field}"
        );
    }
}

#[test]
fn applicant_refuses_certificates_for_another_key_or_in_another_name() {
    let kind = Kind::Gateway;
    let (state, wire) = cert_res(kind);
    let issue = |name: &str, key: &PrivateKey| {
        let leaf = pki().leaf(Role::Gateway, Purpose::Signature, name);
        pki().issue(BRAND, &leaf, key.public_key())
    };
    let rows = [
        (
            issue("411111:gateway-1", &keys::key("another")),
            Rejection::Disagreement("the certified key"),
        ),
        (
            issue("411111:gateway-2", &signs()),
            Rejection::Disagreement("the certified name"),
        ),
    ];
    for (chain, expected) in rows {
        let chain = serde_json::to_value(carried(&chain)).unwrap();
        let altered = tamper::content(&wire, |m| {
            tamper::signed(&mut m["signed"], &kind.ca_signs(), |p| {
                p["data"]["signature"] = chain
            });
        });
        assert_eq!(handle(restored(&state), &altered).unwrap_err(), expected);
    }
}

#[test]
fn refusal_by_the_acquirer_ends_the_enrolment_with_its_reason() {
    let kind = Kind::Merchant;
    let (state, wire, session) = cert_req(kind);
    let Verdict::AskAcquirer(asked) = Ca::default().cert(kind.ca(), &wire, &session).unwrap()
    else {
        panic!()
    };
    let code = CertStatusCode::RejectedByAcquirer;
    let wire = with_context(|ctx| {
        asked
            .reply
            .refuse(ctx, &kind.ca().credentials, code, "unknown merchant")
    })
    .unwrap();
    let Outcome::Refused(status) = handle(state, &wire).unwrap() else {
        panic!()
    };
    assert_eq!(
        (status.cert_status_code, status.ee_message.as_deref()),
        (code, Some("unknown merchant"))
    );
}
