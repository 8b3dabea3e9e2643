//! The merchant gives an authorization back, or a part of it: AuthRevReq, AuthRevRes.

use super::fields::{amount, chain, frame, receipt, same_trans_ids, thumbs, trans_ids};
use super::{AUTH_REV_REQ_LINKS, AUTH_REV_RES_LINKS, Case, fresh, run};
use crate::rows::Alteration::{Add, Bit, Later, Text};
use crate::rows::{harmless, row};
use crate::run::{End, genuine};
use crate::world::world;
use openset_protocol::Rejection::{
    self, AnotherParty, DigestMismatch, Disagreement, HeaderMismatch,
};
use openset_protocol::messages::auth_rev::AuthRevCode;

fn auth_rev_req() -> Case {
    let refused = |rejection| End::Refused("AuthRevReq", rejection);
    let answered = |what| End::Refused("AuthRevRes", Disagreement(what));
    let invalid = End::Unreversed(AuthRevCode::InvalidCapToken);
    let mut rows = frame("AuthRevReq", "auth_rev_req/", "certificate", false);
    let data = "auth_rev_req/data/";
    let m_thumbs = format!("{data}m_");
    rows.extend(thumbs("AuthRevRes", &m_thumbs, &world().m_thumbs()));
    rows.extend([
        row(
            format!("{data}auth_rev_rr_tags/rrpid"),
            Bit,
            refused(HeaderMismatch("rrpid")),
        ),
        row(
            format!("{data}auth_rev_rr_tags/merchant_id"),
            Text("shop-2"),
            refused(AnotherParty("merchant")),
        ),
        row(
            format!("{data}auth_rev_rr_tags/current_date"),
            Later,
            refused(HeaderMismatch("date")),
        ),
        row(format!("{data}auth_rrpid"), Bit, invalid.clone()),
        row(
            format!("{data}cap_token_digest"),
            Bit,
            refused(DigestMismatch("the capture token")),
        ),
    ]);
    let ends = [invalid.clone(), invalid.clone()];
    let names = format!("{data}trans_ids/");
    rows.extend(trans_ids("AuthRevReq", &names, ends));
    let new = format!("{data}auth_new_amt/");
    rows.extend(amount("AuthRevReq", &new, 1, &answered("auth_new_amt")));
    let chained = format!("{data}merchant_key_exchange");
    rows.extend(chain("AuthRevReq", &chained, 2));
    let token = "cap_token/";
    let word = "the gateway's word to itself; its database tells what is left";
    rows.extend([
        row(
            format!("{token}merchant_id"),
            Text("shop-2"),
            invalid.clone(),
        ),
        row(format!("{token}auth_rrpid"), Bit, invalid.clone()),
        harmless(format!("{token}auth_amt/amount"), Add(-1), word),
        harmless(
            format!("{token}auth_amt/currency"),
            crate::rows::Alteration::Number(840),
            word,
        ),
        row(
            format!("{token}auth_amt/amt_exp10"),
            Add(1),
            invalid.clone(),
        ),
        harmless(format!("{token}sequence"), Add(1), word),
    ]);
    rows.extend(same_trans_ids(&format!("{token}trans_ids/"), &invalid));
    Case {
        name: "AuthRevReq",
        wire: &genuine().auth_rev_req,
        ring: || genuine().ring(),
        fresh,
        receive: |verifier, wire| run(verifier).auth_rev_req(wire),
        links: AUTH_REV_REQ_LINKS,
        rows,
        optional: vec![(
            "auth_rev_req/data/cap_token_digest",
            Some(refused(DigestMismatch("the capture token"))),
        )],
    }
}

fn auth_rev_res() -> Case {
    let refused = |rejection| End::Refused("AuthRevRes", rejection);
    let differs = |what| End::Refused("AuthRevRes", Disagreement(what));
    let mut rows = frame("AuthRevRes", "auth_rev_res/", "certificate", true);
    rows.extend(thumbs("AuthRevRes", "auth_rev_res/", &world().m_thumbs()));
    let data = "auth_rev_res/data/";
    rows.extend([
        row(
            format!("{data}auth_rev_rr_tags/rrpid"),
            Bit,
            refused(HeaderMismatch("rrpid")),
        ),
        row(
            format!("{data}auth_rev_rr_tags/merchant_id"),
            Text("shop-2"),
            differs("auth_rev_rr_tags"),
        ),
        row(
            format!("{data}auth_rev_rr_tags/current_date"),
            Later,
            differs("auth_rev_rr_tags"),
        ),
        row(format!("{data}auth_rrpid"), Bit, differs("auth_rrpid")),
        row(
            format!("{data}auth_rev_code"),
            Text("invalidTransaction"),
            differs("auth_new_amt"),
        ),
        row(
            format!("{data}baggage_digest"),
            Bit,
            refused(DigestMismatch("the baggage")),
        ),
    ]);
    let ends = [differs("trans_ids"), differs("trans_ids")];
    rows.extend(trans_ids("AuthRevRes", &format!("{data}trans_ids/"), ends));
    let new = format!("{data}auth_new_amt/");
    rows.extend(amount("AuthRevRes", &new, -1, &differs("auth_new_amt")));
    rows.extend(receipt("AuthRevRes", "baggage/receipt/"));
    rows.extend([
        row(
            "baggage/receipt/rrpid",
            Bit,
            refused(HeaderMismatch("rrpid")),
        ),
        harmless(
            "baggage/receipt/data/approval_code",
            Text("ZZZZZZ"),
            "the bank's word, for the cardholder",
        ),
        row(
            "baggage/receipt/data/sequence",
            Add(-1),
            differs("receipt amount"),
        ),
    ]);
    let optional = [
        (
            "auth_rev_res/answers",
            Some(refused(Rejection::AnotherRequest)),
        ),
        (
            "baggage/receipt/data/sequence",
            Some(differs("receipt amount")),
        ),
    ];
    Case {
        name: "AuthRevRes",
        wire: &genuine().auth_rev_res,
        ring: || genuine().ring(),
        fresh,
        receive: |verifier, wire| run(verifier).auth_rev_res(wire),
        links: AUTH_REV_RES_LINKS,
        rows,
        optional: optional.into(),
    }
}

pub fn all() -> Vec<Case> {
    vec![auth_rev_req(), auth_rev_res()]
}

/// A token is shown for a part; whoever wants nothing to be held needs none.
#[test]
fn a_reversal_of_a_part_without_its_token_is_refused() {
    let digest_alone = End::Refused("AuthRevReq", DigestMismatch("the capture token"));
    assert_eq!(auth_rev_req().without("cap_token"), Err(digest_alone));
}

#[test]
fn auth_rev_req_is_refused_by_name_for_every_field() {
    auth_rev_req().check_fields();
}

#[test]
fn auth_rev_req_is_refused_for_every_flipped_part() {
    auth_rev_req().check_flips();
}

#[test]
fn auth_rev_req_is_refused_for_every_surplus_or_missing_field() {
    auth_rev_req().check_records();
}

#[test]
fn auth_rev_req_is_refused_for_every_field_of_a_token_that_was_not_signed() {
    auth_rev_req().check_linked(
        "cap_token/",
        &End::Refused("AuthRevReq", DigestMismatch("the capture token")),
    );
}

#[test]
fn auth_rev_res_is_refused_by_name_for_every_field() {
    auth_rev_res().check_fields();
}

#[test]
fn auth_rev_res_is_refused_for_every_flipped_part() {
    auth_rev_res().check_flips();
}

#[test]
fn auth_rev_res_is_refused_for_every_surplus_or_missing_field() {
    auth_rev_res().check_records();
}

#[test]
fn auth_rev_res_is_refused_for_every_field_of_a_baggage_that_was_not_signed() {
    auth_rev_res().check_linked(
        "baggage/",
        &End::Refused("AuthRevRes", DigestMismatch("the baggage")),
    );
}
