//! The merchant cancels a capture, gives money back, cancels a refund: CapRevReq, CredReq, CredRevReq and their
//! responses.

use super::fields::Rows;
use super::fields::{amount, chain, credit, frame, newer_receipt, same_trans_ids, thumbs};
use super::{CAP_REV_OR_CRED_REQ_LINKS, Case, fresh, run};
use crate::money::undoing;
use crate::rows::Alteration::{Add, Bit, Later, Number, Text};
use crate::rows::{Expected, harmless, row};
use crate::run::{End, Outcome, genuine};
use crate::world::world;
use openset_pki::PathVerifier;
use openset_protocol::Rejection::{
    self, AnotherParty, DigestMismatch, Disagreement, HeaderMismatch,
};
use openset_protocol::messages::cap_rev_or_cred::CapRevOrCred::{self, CapRev, Cred, CredRev};
use openset_protocol::messages::cap_rev_or_cred::CapRevOrCredCode;

const DATA: &str = "cap_rev_or_cred_req/data/";
const ITEM: &str = "cap_rev_or_cred_req/data/cap_rev_or_cred_req_item_seq/0/";
const ANSWER: &str = "cap_rev_or_cred_res/data/cap_rev_or_cred_res_item_seq/0/";

fn req(which: CapRevOrCred) -> Case {
    let message = which.request();
    let refused = |rejection| End::Refused(message, rejection);
    let undone = End::Undone;
    let invalid = undone(CapRevOrCredCode::InvalidCapToken);
    let mismatch = undone(CapRevOrCredCode::CapDataMismatch);
    let not_found = undone(CapRevOrCredCode::OriginalNotFound);
    let mut rows = frame(message, "cap_rev_or_cred_req/", "certificate", false);
    let m_thumbs = format!("{DATA}m_");
    rows.extend(thumbs(which.response(), &m_thumbs, &world().m_thumbs()));
    let tags = format!("{DATA}cap_rev_or_cred_rr_tags/");
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
        harmless(
            format!("{DATA}earlier"),
            Bit,
            "the merchant's word on which of its requests this repeats; the gateway's database tells what that did",
        ),
        row(
            format!("{DATA}cap_token_seq_digest"),
            Bit,
            refused(DigestMismatch("the capture tokens")),
        ),
        row(format!("{ITEM}auth_rrpid"), Bit, invalid.clone()),
        row(
            format!("{ITEM}original/batch_id"),
            Text("other"),
            not_found.clone(),
        ),
        row(
            format!("{ITEM}original/batch_sequence_num"),
            Add(1),
            not_found.clone(),
        ),
        row(
            format!("{ITEM}new_batch_id"),
            Text("other"),
            undone(CapRevOrCredCode::BatchUnknown),
        ),
        harmless(
            format!("{ITEM}cap_rev_or_cred_req_date"),
            Later,
            "the merchant's word on when it took the goods back",
        ),
    ]);
    let amt = format!("{ITEM}cap_rev_or_cred_req_amt/");
    rows.extend(amount(message, &amt, -1, &mismatch));
    rows.extend(same_trans_ids(&format!("{ITEM}trans_ids/"), &invalid));
    let chained = format!("{DATA}merchant_key_exchange");
    rows.extend(chain(message, &chained, 2));
    let token = "cap_token_seq/0/";
    let word = "the gateway's word to itself; its database tells what was captured";
    rows.extend([
        row(
            format!("{token}merchant_id"),
            Text("shop-2"),
            invalid.clone(),
        ),
        row(format!("{token}auth_rrpid"), Bit, invalid.clone()),
        harmless(format!("{token}auth_amt/amount"), Add(-1), word),
        harmless(format!("{token}auth_amt/currency"), Number(840), word),
        row(
            format!("{token}auth_amt/amt_exp10"),
            Add(1),
            invalid.clone(),
        ),
        row(format!("{token}sequence"), Add(1), invalid.clone()),
    ]);
    rows.extend(same_trans_ids(&format!("{token}trans_ids/"), &invalid));
    let unnamed = match which {
        CapRev | Cred => not_found,
        CredRev => undone(CapRevOrCredCode::MissingCapData),
    };
    let optional = [
        ("cap_rev_or_cred_req/data/earlier", None),
        (
            "cap_rev_or_cred_req/data/cap_rev_or_cred_req_item_seq/0/original",
            Some(unnamed),
        ),
        (
            "cap_rev_or_cred_req/data/cap_rev_or_cred_req_item_seq/0/new_batch_id",
            None,
        ),
    ];
    Case {
        name: message,
        wire: &undoing(which).req,
        ring: || genuine().ring(),
        fresh,
        receive: match which {
            CapRev => |verifier, wire| run(verifier).undoing_req(CapRev, wire),
            Cred => |verifier, wire| run(verifier).undoing_req(Cred, wire),
            CredRev => |verifier, wire| run(verifier).undoing_req(CredRev, wire),
        },
        links: CAP_REV_OR_CRED_REQ_LINKS,
        rows,
        optional: optional.into(),
    }
}

fn res(which: CapRevOrCred) -> Case {
    let message = which.response();
    let differs = |what| End::Refused(message, Disagreement(what));
    let items = differs("cap_rev_or_cred_res_item_seq");
    let tags = "cap_rev_or_cred_res/data/cap_rev_or_cred_rr_tags/";
    let mut rows = frame(message, "cap_rev_or_cred_res/", "certificate", true);
    rows.extend(thumbs(message, "cap_rev_or_cred_res/", &world().m_thumbs()));
    let name = "the gateway's word: its name for what was done";
    rows.extend([
        row(
            format!("{tags}rrpid"),
            Bit,
            End::Refused(message, HeaderMismatch("rrpid")),
        ),
        row(
            format!("{tags}merchant_id"),
            Text("shop-2"),
            differs("cap_rev_or_cred_rr_tags"),
        ),
        row(
            format!("{tags}current_date"),
            Later,
            differs("cap_rev_or_cred_rr_tags"),
        ),
        row(format!("{ANSWER}auth_rrpid"), Bit, items.clone()),
        row(
            format!("{ANSWER}cap_rev_or_cred_code"),
            Text("originalNotFound"),
            items.clone(),
        ),
        harmless(format!("{ANSWER}batch/batch_id"), Text("other"), name),
        harmless(format!("{ANSWER}batch/batch_sequence_num"), Add(1), name),
    ]);
    rows.extend(same_trans_ids(&format!("{ANSWER}trans_ids/"), &items));
    let actual = format!("{ANSWER}cap_rev_or_cred_actual_amt/");
    rows.extend(amount(message, &actual, -1, &items));
    rows.extend(receipt(which));
    let optional = [
        (
            "cap_rev_or_cred_res/answers",
            Some(End::Refused(message, Rejection::AnotherRequest)),
        ),
        (
            "cap_rev_or_cred_res/data/cap_rev_or_cred_res_item_seq/0/batch",
            Some(items),
        ),
        (
            "cap_rev_or_cred_res/data/cap_rev_or_cred_res_item_seq/0/receipt/data/sequence",
            Some(differs("receipt amount")),
        ),
    ];
    let receive: fn(&PathVerifier, &[u8]) -> Outcome = match which {
        CapRev => |verifier, wire| run(verifier).undoing_res(CapRev, wire),
        Cred => |verifier, wire| run(verifier).undoing_res(Cred, wire),
        CredRev => |verifier, wire| run(verifier).undoing_res(CredRev, wire),
    };
    Case {
        name: message,
        wire: &undoing(which).res,
        ring: || genuine().ring(),
        fresh,
        receive,
        links: &[],
        rows,
        optional: optional.into(),
    }
}

/// What stands afterwards, for the cardholder.
fn receipt(which: CapRevOrCred) -> Rows {
    let message = which.response();
    let prefix = format!("{ANSWER}receipt/");
    let mut rows = newer_receipt(message, &prefix);
    let word = "the gateway's word, for the cardholder";
    let credits = match which {
        CapRev => 0,
        Cred => 2,
        CredRev => 1,
    };
    for place in 0..credits {
        let credited = format!("{prefix}data/credits/{place}/");
        rows.push(harmless(format!("{credited}cred_date"), Later, word));
        rows.extend(credit(message, &credited));
    }
    for row in &mut rows {
        // Any amount is good that is not less than what went back.
        if row.path.ends_with("data/auth_amt/amount") {
            let differs = End::Refused(message, Disagreement("receipt credits"));
            row.expected = match which {
                CapRev => continue,
                Cred => Expected::End(differs),
                CredRev => Expected::Harmless(word),
            };
        }
    }
    rows
}

pub fn all() -> Vec<Case> {
    CapRevOrCred::ALL
        .into_iter()
        .flat_map(|which| [req(which), res(which)])
        .collect()
}

fn reqs() -> impl Iterator<Item = Case> {
    CapRevOrCred::ALL.into_iter().map(req)
}

fn ress() -> impl Iterator<Item = Case> {
    CapRevOrCred::ALL.into_iter().map(res)
}

#[test]
fn cap_rev_cred_and_cred_rev_req_are_refused_by_name_for_every_field() {
    reqs().for_each(|case| case.check_fields());
}

#[test]
fn cap_rev_cred_and_cred_rev_req_are_refused_for_every_flipped_part() {
    reqs().for_each(|case| case.check_flips());
}

#[test]
fn cap_rev_cred_and_cred_rev_req_are_refused_for_every_surplus_or_missing_field() {
    reqs().for_each(|case| case.check_records());
}

#[test]
fn cap_rev_cred_and_cred_rev_req_are_refused_for_every_field_of_a_token_that_was_not_signed() {
    for case in reqs() {
        let end = End::Refused(case.name, DigestMismatch("the capture tokens"));
        case.check_linked("cap_token_seq/", &end);
    }
}

#[test]
fn cap_rev_cred_and_cred_rev_res_are_refused_by_name_for_every_field() {
    ress().for_each(|case| case.check_fields());
}

#[test]
fn cap_rev_cred_and_cred_rev_res_are_refused_for_every_flipped_part() {
    ress().for_each(|case| case.check_flips());
}

#[test]
fn cap_rev_cred_and_cred_rev_res_are_refused_for_every_surplus_or_missing_field() {
    ress().for_each(|case| case.check_records());
}

/// The gateway may have kept too little for one.
#[test]
fn cap_rev_cred_and_cred_rev_res_may_come_without_a_receipt() {
    for case in ress() {
        let receipt = format!("{ANSWER}receipt");
        assert_eq!(case.without(&receipt), Ok(()), "{}", case.name);
    }
}

/// One of the three under another's name: what is sealed and signed tells which it is.
#[test]
fn a_refund_is_not_taken_for_a_cancellation() {
    let verifier = fresh();
    let mut wire: serde_json::Value = serde_json::from_slice(&undoing(Cred).req).unwrap();
    let sealed = wire["message"]["CredReq"].take();
    wire["message"] = serde_json::json!({ "CapRevReq": sealed });
    let wire = serde_json::to_vec(&wire).unwrap();
    let end = run(&verifier).undo(CapRev, &wire);
    let content = Rejection::ContentType {
        expected: "CapRevReqTBE",
        found: "CredReqTBE".into(),
    };
    assert_eq!(end, Err(End::Refused("CapRevReq", content)));
}
