//! Every check that the CA makes of an applicant's messages.

use crate::cardholder::{card, form, wallet_key};
use crate::tamper::{self, other_256};
use crate::world::{Ca, cca, good_answers, pki, with_context};
use openset_jose::{PrivateKey, base64url};
use openset_protocol::Rejection;
use openset_protocol::ca::cert::Verdict;
use openset_protocol::ca::{AwaitingCertReq, AwaitingRegFormReq, Session};
use openset_protocol::cardholder::registration;
use openset_protocol::content_type::ContentType;
use openset_protocol::digest::digest;
use openset_protocol::messages::cert::CertStatusCode;
use openset_testkit::keys;
use serde_json::{Value, json};

type Alter = fn(&mut Value);

fn ca_opens() -> PrivateKey {
    keys::key("Visa/cca/open")
}

/// RegFormReq and the session that it belongs to.
fn reg_form_req() -> (Vec<u8>, AwaitingRegFormReq) {
    let step = with_context(|ctx| registration::start(ctx, card()));
    let reply = Ca::default().card_c_init(&step.wire).unwrap();
    let step = with_context(|ctx| step.state.handle(ctx, &reply.wire, pki().verifier())).unwrap();
    (step.wire, reply.session)
}

/// CertReq and the session that it belongs to.
fn cert_req() -> (Vec<u8>, AwaitingCertReq) {
    let (form, session) = form();
    (
        with_context(|ctx| form.submit(ctx, good_answers(), &wallet_key()))
            .unwrap()
            .wire,
        session,
    )
}

/// CertReq with its signed payload altered, signed and sealed again.
fn alter_signed(wire: &[u8], alter: impl FnOnce(&mut Value)) -> Vec<u8> {
    tamper::content(wire, |jwe| {
        tamper::sealed(jwe, &ca_opens(), |tbe| {
            tamper::signed(&mut tbe["cert_req"], &wallet_key(), alter)
        });
    })
}

fn header_and_content(wire: &[u8], alter: impl FnOnce(&mut Value)) -> Vec<u8> {
    tamper::wrapper(wire, alter)
}

#[test]
fn ca_refuses_a_card_c_init_req_that_contradicts_itself_or_is_for_another_brand() {
    let step = with_context(|ctx| registration::start(ctx, card()));
    let rows: [(Alter, Rejection); 3] = [
        (
            |w| w["message"]["CardCInitReq"]["rrpid"] = other_256(),
            Rejection::HeaderMismatch("rrpid"),
        ),
        (
            |w| w["message"]["CardCInitReq"]["lid_ee"] = "x".into(),
            Rejection::HeaderMismatch("lid_c"),
        ),
        (
            |w| w["message"]["CardCInitReq"]["brand_id"] = "Acme".into(),
            Rejection::NotServed("this brand"),
        ),
    ];
    for (alter, expected) in rows {
        let altered = tamper::wrapper(&step.wire, alter);
        assert_eq!(Ca::default().card_c_init(&altered).unwrap_err(), expected);
    }
}

#[test]
fn ca_refuses_a_reg_form_req_with_any_altered_field() {
    let (wire, session) = reg_form_req();
    let rows: [(&str, Alter, Rejection); 6] = [
        (
            "rrpid",
            |r| r["rrpid"] = other_256(),
            Rejection::HeaderMismatch("rrpid"),
        ),
        (
            "date",
            |r| r["date"] = "2027-01-01T00:00:00Z".into(),
            Rejection::HeaderMismatch("date"),
        ),
        (
            "lid_ee",
            |r| r["lid_ee"] = "x".into(),
            Rejection::HeaderMismatch("lid_c"),
        ),
        (
            "lid_ca",
            |r| r["lid_ca"] = "x".into(),
            Rejection::UnknownLid,
        ),
        (
            "request_type",
            |r| r["request_type"] = "pgwyInitialBoth".into(),
            Rejection::Disagreement("request_type"),
        ),
        (
            "pan",
            |r| r["pan_only"]["pan"] = "4111111111111112".into(),
            Rejection::Malformed("a field has the wrong type or form, line 1 column 0".to_owned()),
        ),
    ];
    for (field, alter, expected) in rows {
        let altered = tamper::content(&wire, |jwe| tamper::sealed(jwe, &ca_opens(), alter));
        let refused = Ca::default()
            .reg_form(&altered, session.clone())
            .unwrap_err();
        match (&refused, &expected) {
            // The place in the text depends on the random values before it.
            (Rejection::Malformed(text), Rejection::Malformed(_)) => {
                assert!(!text.contains("411111"), "{text}")
            }
            _ => assert_eq!(refused, expected, "{field}"),
        }
    }
    let other = AwaitingRegFormReq {
        lid_ee: "somebody-else".parse().unwrap(),
        ..session.clone()
    };
    assert_eq!(
        Ca::default().reg_form(&wire, other).unwrap_err(),
        Rejection::UnknownLid
    );
    assert!(Ca::default().reg_form(&wire, session).is_ok());
}

#[test]
fn ca_gives_one_and_the_same_refusal_for_every_flipped_part_of_a_sealed_request() {
    let (reg_form, session) = reg_form_req();
    let (cert, cert_session) = cert_req();
    for part in 1..5 {
        let flip = |wire: &[u8]| tamper::content(wire, |jwe| tamper::flip(jwe, part));
        let refused = Ca::default()
            .reg_form(&flip(&reg_form), session.clone())
            .unwrap_err();
        assert_eq!(refused, Rejection::Unauthentic, "RegFormReq part {part}");
        let refused = Ca::default()
            .cert(cca(), &flip(&cert), &cert_session)
            .unwrap_err();
        assert_eq!(refused, Rejection::Unauthentic, "CertReq part {part}");
    }
}

#[test]
fn ca_refuses_what_is_sealed_for_another_ca() {
    let (wire, session) = cert_req();
    let refused = Ca::default()
        .cert(&pki().brand("MasterCard").cca, &wire, &session)
        .unwrap_err();
    assert_eq!(refused, Rejection::NotSealedForUs);
}

#[test]
fn ca_refuses_a_cert_req_with_any_altered_field() {
    let (wire, session) = cert_req();
    let rows: [(&str, Alter, Rejection); 16] = [
        (
            "from",
            |p| p["from"]["key"] = other_256(),
            Rejection::NotFromSigner,
        ),
        (
            "from, as a certificate",
            |p| p["from"] = json!({ "certificate": p["from"]["key"] }),
            Rejection::NotFromSigner,
        ),
        (
            "to",
            |p| p["to"]["certificate"] = other_256(),
            Rejection::NotForUs,
        ),
        (
            "message",
            |p| p["message"] = "RegFormReq".into(),
            Rejection::HeaderMismatch("message"),
        ),
        (
            "rrpid",
            |p| p["rrpid"] = other_256(),
            Rejection::HeaderMismatch("rrpid"),
        ),
        (
            "date",
            |p| p["date"] = "2027-01-01T00:00:00Z".into(),
            Rejection::HeaderMismatch("date"),
        ),
        (
            "answers",
            |p| p["answers"] = other_256(),
            Rejection::AnotherRequest,
        ),
        (
            "lid_ee",
            |p| p["data"]["lid_ee"] = "x".into(),
            Rejection::HeaderMismatch("lid_c"),
        ),
        (
            "lid_ca",
            |p| p["data"]["lid_ca"] = "x".into(),
            Rejection::UnknownLid,
        ),
        (
            "chall_ca",
            |p| p["data"]["chall_ca"] = other_256(),
            Rejection::ChallengeMismatch("chall_ca"),
        ),
        (
            "request_type",
            |p| p["data"]["request_type"] = "merInitialBoth".into(),
            Rejection::Disagreement("request_type"),
        ),
        (
            "request_date",
            |p| p["data"]["request_date"] = "2027-01-01T00:00:00Z".into(),
            Rejection::HeaderMismatch("date"),
        ),
        (
            "reg_form_id",
            |p| p["data"]["reg_form_id"] = "cardholder-0".into(),
            Rejection::Disagreement("reg_form_id"),
        ),
        (
            "ca_back_key_data",
            |p| {
                drop(
                    p["data"]
                        .as_object_mut()
                        .unwrap()
                        .remove("ca_back_key_data"),
                )
            },
            Rejection::Disagreement("ca_back_key_data"),
        ),
        (
            "public_key_e",
            |p| p["data"]["public_key_e"] = p["data"]["public_key_s"].clone(),
            Rejection::Disagreement("public_key_e"),
        ),
        (
            "acct_info_digest",
            |p| p["data"]["acct_info_digest"] = other_256(),
            Rejection::DigestMismatch("acct_info"),
        ),
    ];
    for (field, alter, expected) in rows {
        let altered = alter_signed(&wire, alter);
        assert_eq!(
            Ca::default().cert(cca(), &altered, &session).unwrap_err(),
            expected,
            "{field}"
        );
    }
    assert!(Ca::default().cert(cca(), &wire, &session).is_ok());
}

#[test]
fn ca_refuses_a_cert_req_of_another_session_or_another_date() {
    let (wire, session) = cert_req();
    let other = AwaitingCertReq {
        lid_ee: "somebody-else".parse().unwrap(),
        ..session.clone()
    };
    assert_eq!(
        Ca::default().cert(cca(), &wire, &other).unwrap_err(),
        Rejection::UnknownLid
    );
    let redated = header_and_content(&wire, |w| {
        w["message_header"]["date"] = "2027-01-01T00:00:00Z".into()
    });
    assert_eq!(
        Ca::default().cert(cca(), &redated, &session).unwrap_err(),
        Rejection::HeaderMismatch("date")
    );
    let again = header_and_content(&wire, |w| w["message_header"]["rrpid"] = other_256());
    assert_eq!(
        Ca::default().cert(cca(), &again, &session).unwrap_err(),
        Rejection::HeaderMismatch("rrpid")
    );
}

#[test]
fn ca_refuses_account_data_that_are_missing_or_of_another_card_than_the_form_was_for() {
    let (wire, session) = cert_req();
    let without = tamper::content(&wire, |jwe| {
        tamper::sealed(jwe, &ca_opens(), |tbe| {
            drop(tbe.as_object_mut().unwrap().remove("acct_info"))
        });
    });
    assert_eq!(
        Ca::default().cert(cca(), &without, &session).unwrap_err(),
        Rejection::Disagreement("acct_info")
    );
    let another = with_account(&wire, |info| info["pan"] = "4012888888881881".into());
    assert_eq!(
        Ca::default().cert(cca(), &another, &session).unwrap_err(),
        Rejection::Disagreement("pan")
    );
}

/// CertReq with its account data altered and their digest put right.
fn with_account(wire: &[u8], alter: impl FnOnce(&mut Value)) -> Vec<u8> {
    tamper::content(wire, |jwe| {
        tamper::sealed(jwe, &ca_opens(), |tbe| {
            let bytes = base64url::decode(tbe["acct_info"].as_str().unwrap()).unwrap();
            let mut info: Value = serde_json::from_slice(&bytes).unwrap();
            alter(&mut info);
            let bytes = serde_json::to_vec(&info).unwrap();
            tbe["acct_info"] = base64url::encode(&bytes).into();
            let right = digest(ContentType::AcctInfo, &bytes).to_string();
            tamper::signed(&mut tbe["cert_req"], &wallet_key(), |p| {
                p["data"]["acct_info_digest"] = right.into()
            });
        });
    })
}

fn answered(ca: &Ca, wire: &[u8], session: &AwaitingCertReq) -> CertStatusCode {
    match ca.cert(cca(), wire, session).unwrap() {
        Verdict::Answer { code, .. } => code,
        other => panic!("not answered: {other:?}"),
    }
}

#[test]
fn ca_answers_with_a_status_where_the_applicant_can_mend_or_must_give_up() {
    let (wire, session) = cert_req();
    let ca = Ca::default();
    let foreign = base64url::encode(keys::key("another").public_key().spki_der());
    let stolen = alter_signed(&wire, |p| p["data"]["public_key_s"] = foreign.into());
    assert_eq!(
        answered(&ca, &stolen, &session),
        CertStatusCode::SigValidationFail
    );
    let no_key = alter_signed(&wire, |p| p["data"]["public_key_s"] = "AAAA".into());
    assert_eq!(
        answered(&ca, &no_key, &session),
        CertStatusCode::RejectedByCa
    );
    let unanswered = alter_signed(&wire, |p| p["data"]["reg_form"] = json!([]));
    assert_eq!(
        answered(&ca, &unanswered, &session),
        CertStatusCode::RegFormAnswerMalformed
    );
    let unasked = alter_signed(&wire, |p| {
        p["data"]["reg_form"][0]["name"] = "mother".into()
    });
    assert_eq!(
        answered(&ca, &unasked, &session),
        CertStatusCode::RegFormAnswerMalformed
    );
    let unaccepted = alter_signed(&wire, |p| p["data"]["policy_accepted"] = other_256());
    assert_eq!(
        answered(&ca, &unaccepted, &session),
        CertStatusCode::RegFormAnswerMalformed
    );
    let expired = with_account(&wire, |info| info["card_expiry"] = "202612".into());
    assert_eq!(
        answered(&ca, &expired, &session),
        CertStatusCode::RejectedByCa
    );
    let again = Ca {
        certified_before: true,
        ..Ca::default()
    };
    assert_eq!(
        answered(&again, &wire, &session),
        CertStatusCode::RejectedByCa
    );
}

#[test]
fn ca_refuses_a_cert_req_signed_under_a_header_that_names_a_certificate() {
    let (wire, session) = cert_req();
    let signature = &cca().credentials.signature;
    let names = [
        (Some(signature.thumbprint()), Vec::new()),
        (None, signature.chain().to_x5c()),
    ];
    for (x5t_s256, x5c) in names {
        let cty = "CertReqData".to_owned();
        let header = openset_jose::jws::Header { cty, x5t_s256, x5c };
        let altered = tamper::content(&wire, |jwe| {
            tamper::sealed(jwe, &ca_opens(), |tbe| {
                tamper::signed_under(&mut tbe["cert_req"], &wallet_key(), &header, |_| {});
            });
        });
        let refused = Ca::default().cert(cca(), &altered, &session).unwrap_err();
        assert!(matches!(refused, Rejection::BadHeader(_)), "{refused}");
    }
}

#[test]
fn messages_that_do_not_fit_the_state_of_the_session_are_out_of_order() {
    let (_, before) = reg_form_req();
    let (_, after) = cert_req();
    assert!(matches!(
        Session::AwaitingRegFormReq(before).awaiting_cert_req(),
        Err(Rejection::OutOfOrder(_))
    ));
    assert!(matches!(
        Session::AwaitingCertReq(Box::new(after)).awaiting_reg_form_req(),
        Err(Rejection::OutOfOrder(_))
    ));
}
