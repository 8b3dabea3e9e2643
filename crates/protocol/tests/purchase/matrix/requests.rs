//! The cardholder's and the merchant's requests for a payment: PReq, AuthReq, InqReq.

use super::fields::{
    Rows, amount, chain, dual_signature, frame, payment_instruction, thumbs, trans_ids,
};
use super::{AUTH_REQ_LINKS, Case, P_REQ_LINKS, fresh, run};
use crate::rows::Alteration::{Bit, Later, Text};
use crate::rows::{harmless, row};
use crate::run::{End, genuine};
use crate::world::world;
use openset_protocol::Rejection::{
    self, AnotherParty, ChallengeMismatch, DigestMismatch, Disagreement, DualSignature,
    HeaderMismatch,
};
use openset_protocol::gateway::auth::Refusal;

fn order_information() -> Rows {
    let refused = |rejection| End::Refused("PReq", rejection);
    let mut rows = trans_ids(
        "PReq",
        "oi_data/trans_ids/",
        [
            refused(Disagreement("p_req_date")),
            refused(Disagreement("language")),
        ],
    );
    // The dual signature names the purchase by itself, and is verified first.
    rows[2] = row("oi_data/trans_ids/xid", Bit, refused(DualSignature("xid")));
    rows.extend([
        row("oi_data/rrpid", Bit, refused(HeaderMismatch("rrpid"))),
        row(
            "oi_data/chall_c",
            Bit,
            End::Refused("PRes", ChallengeMismatch("chall_c")),
        ),
        row("oi_data/hod", Bit, End::OrderRejected),
        row("oi_data/od_salt", Bit, End::OrderRejected),
        row(
            "oi_data/chall_m",
            Bit,
            refused(ChallengeMismatch("chall_m")),
        ),
        row(
            "oi_data/brand_id",
            Text("MasterCard"),
            refused(Disagreement("brand_id")),
        ),
        row("oi_data/bin", Text("400000"), refused(Disagreement("bin"))),
    ]);
    rows
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
        wire: &genuine().p_req,
        ring: || genuine().ring(),
        fresh,
        receive: |verifier, wire| run(verifier).p_req(wire),
        links: P_REQ_LINKS,
        rows,
        optional: vec![
            ("pi/pi_data/pi_head/acq_back_key_data", None),
            ("ocsp", None),
        ],
    }
}

fn auth_req() -> Case {
    let refused = |rejection| End::Refused("AuthReq", rejection);
    let declined = End::Declined;
    let mut rows = frame("AuthReq", "auth_req/", "certificate", false);
    rows.extend(thumbs("AuthRes", "auth_req/data/m_", &world().m_thumbs()));
    rows.extend(trans_ids(
        "AuthReq",
        "auth_req/data/auth_tags/trans_ids/",
        [declined(Refusal::TransIds), declined(Refusal::TransIds)],
    ));
    let tags = "auth_req/data/auth_tags/auth_rr_tags/";
    rows.extend([
        row(
            format!("{tags}rrpid"),
            Bit,
            refused(HeaderMismatch("rrpid")),
        ),
        row(
            format!("{tags}merchant_id"),
            Text("shop-2"),
            refused(AnotherParty("merchant")),
        ),
        row(
            format!("{tags}current_date"),
            Later,
            refused(HeaderMismatch("date")),
        ),
        row(
            "auth_req/data/check_digests/hoi",
            Bit,
            declined(Refusal::Hoi),
        ),
        row(
            "auth_req/data/check_digests/hod2",
            Bit,
            declined(Refusal::Hod),
        ),
        row(
            "auth_req/data/pi_digest",
            Bit,
            refused(DigestMismatch("the payment instruction")),
        ),
        row(
            "auth_req/data/dual_signature_digest",
            Bit,
            refused(DigestMismatch("the dual signature")),
        ),
        harmless(
            "auth_req/data/auth_req_payload/merch_cat_code",
            Text("7995"),
            "the merchant's word on its trade; the acquirer has its own record",
        ),
    ]);
    let asked = "auth_req/data/auth_req_payload/auth_req_amt/";
    rows.extend(amount("AuthReq", asked, 1, &declined(Refusal::Amount)));
    rows.extend(chain("AuthReq", "auth_req/data/merchant_key_exchange", 2));
    rows.extend(dual_signature("AuthReq"));
    rows.extend(payment_instruction());
    Case {
        name: "AuthReq",
        wire: &genuine().auth_req,
        ring: || genuine().ring(),
        fresh,
        receive: |verifier, wire| run(verifier).auth_req(wire),
        links: AUTH_REQ_LINKS,
        rows,
        optional: vec![("pi/pi_data/pi_head/acq_back_key_data", None)],
    }
}

fn inq_req() -> Case {
    let refused = |rejection| End::Refused("InqReq", rejection);
    let mut rows = frame("InqReq", "inq_req/", "certificate", false);
    let others = [
        refused(Rejection::UnknownLid),
        refused(Rejection::UnknownLid),
    ];
    rows.extend(trans_ids("InqReq", "inq_req/data/trans_ids/", others));
    rows.push(row(
        "inq_req/data/chall_c2",
        Bit,
        End::Refused("InqRes", ChallengeMismatch("chall_c")),
    ));
    Case {
        name: "InqReq",
        wire: &genuine().inq_req,
        ring: || genuine().ring(),
        fresh,
        receive: |verifier, wire| run(verifier).inq_req(wire),
        links: &[],
        rows,
        optional: Vec::new(),
    }
}

pub fn all() -> Vec<Case> {
    vec![p_req(), auth_req(), inq_req()]
}

#[test]
fn p_req_is_refused_by_name_for_every_field() {
    p_req().check_fields();
}

#[test]
fn p_req_is_refused_for_every_flipped_part() {
    p_req().check_flips();
}

#[test]
fn p_req_is_refused_for_every_surplus_or_missing_field() {
    p_req().check_records();
}

#[test]
fn p_req_is_refused_for_every_field_that_only_the_dual_signature_protects() {
    p_req().check_linked("oi_data/", &End::Refused("PReq", DualSignature("order")));
    p_req().check_linked("pi/hoi", &End::Refused("AuthReq", DualSignature("order")));
}

#[test]
fn auth_req_is_refused_by_name_for_every_field() {
    auth_req().check_fields();
}

#[test]
fn auth_req_is_refused_for_every_flipped_part() {
    auth_req().check_flips();
}

#[test]
fn auth_req_is_refused_for_every_surplus_or_missing_field() {
    auth_req().check_records();
}

#[test]
fn auth_req_is_refused_for_every_field_that_only_a_digest_protects() {
    auth_req().check_linked(
        "pi/",
        &End::Refused("AuthReq", DigestMismatch("the payment instruction")),
    );
    auth_req().check_linked(
        "dual_signature/",
        &End::Refused("AuthReq", DigestMismatch("the dual signature")),
    );
}

#[test]
fn inq_req_is_refused_by_name_for_every_field() {
    inq_req().check_fields();
}

#[test]
fn inq_req_is_refused_for_every_flipped_part() {
    inq_req().check_flips();
}

#[test]
fn inq_req_is_refused_for_every_surplus_or_missing_field() {
    inq_req().check_records();
}
