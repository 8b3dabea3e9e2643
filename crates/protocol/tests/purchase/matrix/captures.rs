//! The merchant asks for its money: CapReq, CapRes.

use super::fields::{amount, cap_token, chain, frame, newer_receipt, same_trans_ids, thumbs};
use super::{CAP_REQ_LINKS, Case, fresh, run};
use crate::rows::Alteration::{Add, Bit, Later, Number, Text};
use crate::rows::{harmless, malformed, row};
use crate::run::{End, genuine};
use crate::world::world;
use openset_protocol::Rejection::{
    self, AnotherParty, DigestMismatch, Disagreement, HeaderMismatch,
};
use openset_protocol::messages::cap::CapCode;

/// Why a place in a batch may be another.
pub const NAME: &str = "the gateway's word: its name for what was done";

fn cap_req() -> Case {
    let refused = |rejection| End::Refused("CapReq", rejection);
    let invalid = End::Uncaptured(CapCode::InvalidCapToken);
    let mut rows = frame("CapReq", "cap_req/", "certificate", false);
    rows.extend(thumbs("CapRes", "cap_req/data/m_", &world().m_thumbs()));
    let item = "cap_req/data/cap_item_seq/0/";
    rows.extend([
        row(
            "cap_req/data/cap_rr_tags/rrpid",
            Bit,
            refused(HeaderMismatch("rrpid")),
        ),
        row(
            "cap_req/data/cap_rr_tags/merchant_id",
            Text("shop-2"),
            refused(AnotherParty("merchant")),
        ),
        row(
            "cap_req/data/cap_rr_tags/current_date",
            Later,
            refused(HeaderMismatch("date")),
        ),
        row(
            "cap_req/data/cap_token_seq_digest",
            Bit,
            refused(DigestMismatch("the capture tokens")),
        ),
        row(format!("{item}auth_rrpid"), Bit, invalid.clone()),
        harmless(
            format!("{item}cap_date"),
            Later,
            "the merchant's word on when it sent the goods",
        ),
        row(
            format!("{item}batch_id"),
            Text("other"),
            End::Uncaptured(CapCode::BatchUnknown),
        ),
        row(
            format!("{item}cap_req_amt/amount"),
            Add(1),
            End::Uncaptured(CapCode::InvalidAuthData),
        ),
        row(
            format!("{item}cap_req_amt/currency"),
            Number(840),
            End::Uncaptured(CapCode::InvalidAuthData),
        ),
        malformed(format!("{item}cap_req_amt/amt_exp10"), Add(1), "CapReq"),
    ]);
    rows.extend(same_trans_ids(&format!("{item}trans_ids/"), &invalid));
    rows.extend(chain("CapReq", "cap_req/data/merchant_key_exchange", 2));
    rows.extend(cap_token("cap_token_seq/0/"));
    Case {
        name: "CapReq",
        wire: &genuine().cap_req,
        ring: || genuine().ring(),
        fresh,
        receive: |verifier, wire| run(verifier).cap_req(wire),
        links: CAP_REQ_LINKS,
        rows,
        optional: vec![("cap_req/data/cap_item_seq/0/batch_id", None)],
    }
}

fn cap_res() -> Case {
    let differs = |what| End::Refused("CapRes", Disagreement(what));
    let mut rows = frame("CapRes", "cap_res/", "certificate", true);
    rows.extend(thumbs("CapRes", "cap_res/", &world().m_thumbs()));
    let item = "cap_res/data/cap_res_item_seq/0/";
    let items = differs("cap_res_item_seq");
    rows.extend([
        row(
            "cap_res/data/cap_rr_tags/rrpid",
            Bit,
            End::Refused("CapRes", HeaderMismatch("rrpid")),
        ),
        row(
            "cap_res/data/cap_rr_tags/merchant_id",
            Text("shop-2"),
            differs("cap_rr_tags"),
        ),
        row(
            "cap_res/data/cap_rr_tags/current_date",
            Later,
            differs("cap_rr_tags"),
        ),
        row(format!("{item}auth_rrpid"), Bit, items.clone()),
        row(
            format!("{item}cap_code"),
            Text("authExpired"),
            items.clone(),
        ),
        harmless(format!("{item}batch/batch_id"), Text("other"), NAME),
        harmless(format!("{item}batch/batch_sequence_num"), Add(1), NAME),
    ]);
    rows.extend(same_trans_ids(&format!("{item}trans_ids/"), &items));
    rows.extend(amount("CapRes", &format!("{item}cap_amt/"), -1, &items));
    rows.extend(newer_receipt("CapRes", &format!("{item}receipt/")));
    let optional = [
        (
            "cap_res/answers",
            Some(End::Refused("CapRes", Rejection::AnotherRequest)),
        ),
        // As answers were before there were batches.
        ("cap_res/data/cap_res_item_seq/0/batch", None),
        (
            "cap_res/data/cap_res_item_seq/0/receipt/data/sequence",
            Some(differs("receipt amount")),
        ),
    ];
    Case {
        name: "CapRes",
        wire: &genuine().cap_res,
        ring: || genuine().ring(),
        fresh,
        receive: |verifier, wire| run(verifier).cap_res(wire),
        links: &[],
        rows,
        optional: optional.into(),
    }
}

pub fn all() -> Vec<Case> {
    vec![cap_req(), cap_res()]
}

/// A capture of all that was authorized needs no other receipt than the first.
#[test]
fn a_capture_may_come_without_a_receipt() {
    let receipt = "cap_res/data/cap_res_item_seq/0/receipt";
    assert_eq!(cap_res().without(receipt), Ok(()));
}

#[test]
fn cap_req_is_refused_by_name_for_every_field() {
    cap_req().check_fields();
}

#[test]
fn cap_req_is_refused_for_every_flipped_part() {
    cap_req().check_flips();
}

#[test]
fn cap_req_is_refused_for_every_surplus_or_missing_field() {
    cap_req().check_records();
}

#[test]
fn cap_req_is_refused_for_every_field_of_a_token_that_was_not_signed() {
    cap_req().check_linked(
        "cap_token_seq/",
        &End::Refused("CapReq", DigestMismatch("the capture tokens")),
    );
}

#[test]
fn cap_res_is_refused_by_name_for_every_field() {
    cap_res().check_fields();
}

#[test]
fn cap_res_is_refused_for_every_flipped_part() {
    cap_res().check_flips();
}

#[test]
fn cap_res_is_refused_for_every_surplus_or_missing_field() {
    cap_res().check_records();
}
