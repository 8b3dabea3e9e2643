//! Purchases by mail: the catalogue, and the PReq that is made by it.

use super::fields::{Rows, dual_signature, payment_instruction};
use super::{Case, P_REQ_LINKS, fresh};
use crate::layers::{KeyRing, Letter, Node};
use crate::mail::{Mail, amount_of_order, catalogue_in, mail, mailed, ordered, wrapped};
use crate::rows::Alteration::{Add, Bit, LastByte, Later, Text};
use crate::rows::{harmless, row};
use crate::run::End;
use crate::world::{amount, world};
use openset_pki::PathError;
use openset_protocol::Rejection::{
    self, AnotherParty, ChallengeMismatch, Disagreement, DualSignature, HeaderMismatch,
    NotFromSigner, UnknownLid,
};
use openset_protocol::gateway::auth::Refusal;
use serde_json::Value;

fn ring() -> KeyRing {
    mail().ring()
}

fn order_information() -> Rows {
    let refused = |rejection| End::Refused("PReq", rejection);
    let names = "oi_data/trans_ids/";
    vec![
        row(format!("{names}lid_c"), Text("other"), refused(UnknownLid)),
        row(format!("{names}lid_m"), Text("other"), refused(UnknownLid)),
        row(format!("{names}xid"), Bit, refused(DualSignature("xid"))),
        // The one date that is signed.
        row(
            format!("{names}p_req_date"),
            Later,
            refused(HeaderMismatch("date")),
        ),
        // Nothing was agreed before; the gateway finds that the two halves differ.
        row(
            format!("{names}language"),
            Text("de"),
            End::Declined(Refusal::TransIds),
        ),
        row("oi_data/rrpid", Bit, refused(HeaderMismatch("rrpid"))),
        row(
            "oi_data/chall_c",
            Bit,
            End::Refused("PRes", ChallengeMismatch("chall_c")),
        ),
        row("oi_data/hod", Bit, End::OrderRejected),
        row("oi_data/od_salt", Bit, End::OrderRejected),
        row(
            "oi_data/brand_id",
            Text("MasterCard"),
            refused(Disagreement("brand_id")),
        ),
        harmless(
            "oi_data/bin",
            Text("400000"),
            "the catalogue has chosen the gateway already",
        ),
        row("order/catalogue", Bit, refused(Disagreement("catalogue"))),
        row("order/items/0/product_id", Text("pen"), End::OrderRejected),
        row("order/items/0/quantity", Add(1), End::OrderRejected),
    ]
}

fn p_req() -> Case {
    let mut rows = order_information();
    rows.push(row(
        "hpi",
        Bit,
        End::Refused("PReq", DualSignature("payment")),
    ));
    rows.extend(dual_signature("PReq"));
    rows.extend(payment_instruction());
    rows.push(harmless(
        "ocsp",
        Bit,
        "it proves itself, and the merchant judges it when it judges the cardholder's status",
    ));
    Case {
        name: "PReq",
        wire: &mail().p_req,
        ring,
        fresh,
        receive: mailed,
        links: P_REQ_LINKS,
        rows,
        optional: vec![
            ("pi/pi_data/pi_head/acq_back_key_data", None),
            ("ocsp", None),
            ("order", Some(End::Refused("PReq", Disagreement("order")))),
        ],
    }
}

/// What the shop has not signed it does not know.
fn unknown() -> End {
    End::Refused("PReq", Disagreement("catalogue"))
}

fn catalogue() -> Case {
    let refused = |rejection| End::Refused("Catalogue", rejection);
    let dearer = || refused(Disagreement("the order's amount"));
    let mut rows = vec![
        row("version", Add(1), refused(Disagreement("version"))),
        row("from/certificate", Bit, refused(NotFromSigner)),
        row(
            "merchant_id",
            Text("shop-2"),
            refused(AnotherParty("merchant")),
        ),
        row(
            "brand_id",
            Text("MasterCard"),
            refused(Disagreement("brand_id")),
        ),
        row("set_url", Text("https://other.example/set"), unknown()),
        row("issued_at", Later, unknown()),
        row("valid_until", Later, unknown()),
        row("products/0/product_id", Text("none"), dearer()),
        row("products/0/name", Text("Another"), unknown()),
        row("products/0/description", Text("Another"), unknown()),
        row("products/0/price/currency", Text("USD"), dearer()),
        row("products/0/price/amount_minor", Add(1), dearer()),
        row("products/1/product_id", Text("none"), unknown()),
        row("products/1/name", Text("Another"), unknown()),
        row("products/1/description", Text("Another"), unknown()),
        row("products/1/price/currency", Text("USD"), unknown()),
        row("products/1/price/amount_minor", Add(1), unknown()),
    ];
    let w = world();
    for (name, chain) in [
        ("merchant_key_exchange", w.shop.key_exchange.chain()),
        ("gateway_key_exchange", w.gateway.key_exchange.chain()),
    ] {
        let places = 0..chain.certificates().len();
        rows.extend(places.map(|place| {
            row(
                format!("{name}/{place}"),
                LastByte,
                refused(Rejection::Certificate(PathError::BadSignature)),
            )
        }));
    }
    let state = w.state();
    let sequence = state.bci.as_ref().unwrap().sequence();
    rows.push(row(
        "news/bci",
        LastByte,
        refused(Rejection::Certificate(PathError::BciSequenceReused {
            sequence,
        })),
    ));
    rows.extend(state.crls.iter().enumerate().map(|(place, crl)| {
        let number = crl.number();
        row(
            format!("news/crls/{place}"),
            LastByte,
            refused(Rejection::Certificate(PathError::CrlNumberReused {
                number,
            })),
        )
    }));
    Case {
        name: "Catalogue",
        wire: &mail().wrapped_catalogue,
        ring,
        fresh,
        receive: |verifier, wire| {
            let jws = catalogue_in(wire);
            let step = ordered(verifier, &jws, amount_of_order())?;
            Mail::go_on(verifier, &step.state, &step.wire)
        },
        links: &[],
        rows,
        optional: vec![("news", Some(unknown()))],
    }
}

#[test]
fn p_req_by_mail_is_refused_by_name_for_every_field() {
    p_req().check_fields();
}

#[test]
fn p_req_by_mail_is_refused_for_every_flipped_part() {
    p_req().check_flips();
}

#[test]
fn p_req_by_mail_is_refused_for_every_surplus_or_missing_field() {
    p_req().check_records();
}

#[test]
fn p_req_by_mail_is_refused_for_every_field_that_only_the_dual_signature_protects() {
    p_req().check_linked("oi_data/", &End::Refused("PReq", DualSignature("order")));
    p_req().check_linked("pi/hoi", &End::Refused("AuthReq", DualSignature("order")));
}

#[test]
fn p_req_with_an_order_and_a_challenge_is_refused() {
    let ring = ring();
    let mut letter = Letter::open(&mail().p_req, &ring);
    let challenge = letter.leaf("oi_data/chall_c").clone();
    letter
        .at("oi_data")
        .fields()
        .unwrap()
        .insert("chall_m".to_owned(), Node::Leaf(challenge));
    letter.relink(P_REQ_LINKS, "", &ring);
    let outcome = mailed(&fresh(), &letter.close(&ring));
    assert_eq!(outcome, Err(End::Refused("PReq", Disagreement("order"))));
}

#[test]
fn catalogue_is_refused_by_name_for_every_field() {
    catalogue().check_fields();
}

#[test]
fn catalogue_is_refused_for_every_flipped_part() {
    catalogue().check_flips();
}

#[test]
fn catalogue_is_refused_for_every_surplus_or_missing_field() {
    catalogue().check_records();
}

#[test]
fn catalogue_that_outlives_its_certificates_is_refused() {
    let ring = ring();
    let mut letter = Letter::open(&mail().wrapped_catalogue, &ring);
    let certificate = world().shop.signature.certificate();
    let end = openset_protocol::Timestamp::from_seconds(certificate.not_after());
    for (days, taken) in [(30, true), (29, false)] {
        *letter.leaf("valid_until") = Value::from(end.plus(-days * 86_400).to_string());
        let jws = catalogue_in(&letter.close(&ring));
        let outcome = ordered(&fresh(), &jws, amount(4200)).map(drop);
        let refused = End::Refused("Catalogue", Disagreement("valid_until"));
        assert_eq!(outcome.err(), (!taken).then_some(refused), "{days}");
    }
}

#[test]
fn wrapped_catalogue_is_the_catalogue() {
    let jws = catalogue_in(&mail().wrapped_catalogue);
    assert_eq!(jws, mail().issued.jws.0);
    assert_eq!(wrapped(&jws), mail().wrapped_catalogue);
}
