//! Every check that the wallet makes of CertRes.

use crate::cardholder::{
    Alter, ca_key, cert, frame_alterations, handle_cert_res, restored, wallet_key,
};
use crate::tamper::{self, other_256};
use crate::world::{BRAND, pki};
use openset_jose::{ContentKey, PrivateKey};
use openset_pki::{PathError, Purpose, Role};
use openset_protocol::Rejection;
use openset_protocol::cardholder::registration::{AwaitingCertRes, Outcome};
use openset_protocol::signed::carried;
use openset_testkit::keys;
use serde_json::{Value, json};

/// The key that seals CertRes, out of the wallet's stored state.
fn back_key(state: &AwaitingCertRes) -> ContentKey {
    serde_json::from_value(serde_json::to_value(state).unwrap()["back_key"].clone()).unwrap()
}

fn alter_cert_res(state: &AwaitingCertRes, wire: &[u8], alter: impl FnOnce(&mut Value)) -> Vec<u8> {
    tamper::content(wire, |cert_res| {
        tamper::sealed_direct(&mut cert_res["sealed"], &back_key(state), |jws| {
            tamper::signed(jws, &ca_key(), alter);
        });
    })
}

#[test]
fn wallet_refuses_a_cert_res_with_any_altered_field() {
    let (state, wire) = cert();
    let mut rows = frame_alterations();
    let more: [(&str, Alter, Rejection); 5] = [
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
            "nonce_cca",
            |p| p["data"]["cert_status"]["nonce_cca"] = other_256(),
            Rejection::Disagreement("the account name"),
        ),
        (
            "no nonce_cca",
            |p| {
                drop(
                    p["data"]["cert_status"]
                        .as_object_mut()
                        .unwrap()
                        .remove("nonce_cca"),
                )
            },
            Rejection::Disagreement("nonce_cca"),
        ),
        (
            "key_exchange",
            |p| p["data"]["key_exchange"] = p["data"]["signature"].clone(),
            Rejection::Disagreement("key_exchange"),
        ),
    ];
    rows.extend(more);
    for (field, alter, expected) in rows {
        let altered = alter_cert_res(&state, &wire, alter);
        let refused = handle_cert_res(restored(&state), &altered).unwrap_err();
        assert_eq!(refused, expected, "{field}");
    }
}

#[test]
fn wallet_refuses_a_certificate_that_is_not_for_its_key_card_and_brand() {
    let (state, wire) = cert();
    let Outcome::Registered(registered) = handle_cert_res(restored(&state), &wire).unwrap() else {
        panic!()
    };
    let name = registered.chain.leaf().common_name();
    let issue = |brand: &str, role, purpose, days, key: &PrivateKey| {
        let mut leaf = pki().leaf(role, purpose, name);
        leaf.validity = openset_testkit::pki::validity(pki().now, days);
        leaf.merchant_id = leaf.merchant_id.map(|_| "shop-1".to_owned());
        pki().issue(brand, &leaf, key.public_key())
    };
    let (role, sign) = (Role::Cardholder, Purpose::Signature);
    let rows = [
        (
            issue(BRAND, role, sign, 300, &keys::key("another")),
            Rejection::Disagreement("the certified key"),
        ),
        (
            issue(BRAND, role, sign, 720, &wallet_key()),
            Rejection::Disagreement("the certificate's end"),
        ),
        (
            issue("MasterCard", role, sign, 300, &wallet_key()),
            Rejection::Certificate(PathError::WrongBrand),
        ),
        (
            issue(BRAND, Role::Merchant, sign, 300, &wallet_key()),
            Rejection::Certificate(PathError::WrongRole {
                expected: role,
                found: Role::Merchant,
            }),
        ),
    ];
    for (chain, expected) in rows {
        let chain = serde_json::to_value(carried(&chain)).unwrap();
        let altered = alter_cert_res(&state, &wire, |p| p["data"]["signature"] = chain);
        assert_eq!(
            handle_cert_res(restored(&state), &altered).unwrap_err(),
            expected
        );
    }
}

#[test]
fn wallet_refuses_a_cert_res_that_is_not_sealed_or_was_flipped() {
    let (state, wire) = cert();
    let open = tamper::content(&wire, |cert_res| *cert_res = json!({ "signed": "a.b.c" }));
    let refused = handle_cert_res(restored(&state), &open).unwrap_err();
    assert_eq!(
        refused,
        Rejection::OutOfOrder("CertRes to a cardholder must be sealed")
    );
    for part in [3, 4] {
        let flipped = tamper::content(&wire, |cert_res| {
            tamper::flip(&mut cert_res["sealed"], part)
        });
        assert_eq!(
            handle_cert_res(restored(&state), &flipped).unwrap_err(),
            Rejection::Unauthentic
        );
    }
}
