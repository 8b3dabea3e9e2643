//! The cardholder's and the merchant's requests for a payment: PReq, AuthReq, InqReq.

use super::fields::{
    Rows, amount, auth_token, chain, dual_signature, frame, payment_instruction,
    plan_of_payment_instruction, thumbs, trans_ids,
};
use super::{AUTH_REQ_LINKS, Case, NEXT_AUTH_REQ_LINKS, P_REQ_LINKS, fresh, run};
use crate::rows::Alteration::{Add, Bit, Later, Not, Text};
use crate::rows::{harmless, row};
use crate::run::{End, genuine};
use crate::world::world;
use openset_protocol::Rejection::{
    self, AnotherParty, ChallengeMismatch, DigestMismatch, Disagreement, DualSignature,
    HeaderMismatch,
};
use openset_protocol::gateway::auth::Refusal;
use openset_protocol::messages::auth::AuthCode;

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
    rows.extend(plan_of_payment_instruction());
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
            (
                "pi/pi_data/pi_head/install_recur_data",
                Some(End::Declined(Refusal::Plan)),
            ),
            ("ocsp", None),
            (
                "oi_data/chall_m",
                Some(End::Refused("PReq", ChallengeMismatch("chall_m"))),
            ),
        ],
    }
}

/// What is the same with a payment instruction and with a token: `mismatch` is what comes of another purchase, `shown`
/// what of another digest.
fn asked(mismatch: Refusal, shown: &'static str, another_plan: End) -> Rows {
    let refused = |rejection| End::Refused("AuthReq", rejection);
    let mismatch = End::Declined(mismatch);
    let mut rows = frame("AuthReq", "auth_req/", "certificate", false);
    rows.extend(thumbs("AuthRes", "auth_req/data/m_", &world().m_thumbs()));
    rows.extend(trans_ids(
        "AuthReq",
        "auth_req/data/auth_tags/trans_ids/",
        [mismatch.clone(), mismatch],
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
            "auth_req/data/pi_digest",
            Bit,
            refused(DigestMismatch(shown)),
        ),
        row(SUBSEQUENT, Not, no_token()),
        row(CAPTURE_NOW, Not, no_capture()),
        row(
            format!("{PLAN}/recurring/frequency_days"),
            Add(-1),
            another_plan.clone(),
        ),
        row(format!("{PLAN}/recurring/expiry"), Later, another_plan),
        harmless(
            "auth_req/data/auth_req_payload/merch_cat_code",
            Text("7995"),
            "the merchant's word on its trade; the acquirer has its own record",
        ),
    ]);
    let asked = "auth_req/data/auth_req_payload/auth_req_amt/";
    let error = End::Unauthorized(AuthCode::AmountError);
    rows.extend(amount("AuthReq", asked, 1, &error));
    rows.extend(chain("AuthReq", "auth_req/data/merchant_key_exchange", 2));
    rows
}

const SUBSEQUENT: &str = "auth_req/data/auth_req_payload/subsequent_auth_ind";

const PLAN: &str = "auth_req/data/auth_req_payload/install_recur_data";
const CAPTURE_NOW: &str = "auth_req/data/capture_now";

/// Who asked for a capture, too, misses what became of it.
fn no_capture() -> End {
    End::Refused("AuthRes", Disagreement("cap_res_payload"))
}

/// Who said that more will follow misses the token.
fn no_token() -> End {
    End::Refused(
        "AuthRes",
        Disagreement("baggage of an approval: auth_token"),
    )
}

fn auth_req() -> Case {
    let mut rows = asked(
        Refusal::TransIds,
        "the payment instruction",
        End::Declined(Refusal::Plan),
    );
    rows.extend([
        row(
            "auth_req/data/check_digests/hoi",
            Bit,
            End::Declined(Refusal::Hoi),
        ),
        row(
            "auth_req/data/check_digests/hod2",
            Bit,
            End::Declined(Refusal::Hod),
        ),
        row(
            "auth_req/data/dual_signature_digest",
            Bit,
            End::Refused("AuthReq", DigestMismatch("the dual signature")),
        ),
    ]);
    rows.extend(dual_signature("AuthReq"));
    rows.extend(payment_instruction());
    rows.extend(plan_of_payment_instruction());
    Case {
        name: "AuthReq",
        wire: &genuine().auth_req,
        ring: || genuine().ring(),
        fresh,
        receive: |verifier, wire| run(verifier).auth_req(wire),
        links: AUTH_REQ_LINKS,
        rows,
        optional: vec![
            ("pi/pi_data/pi_head/acq_back_key_data", None),
            (SUBSEQUENT, Some(no_token())),
            (CAPTURE_NOW, Some(no_capture())),
            (PLAN, Some(End::Declined(Refusal::Plan))),
            (
                "pi/pi_data/pi_head/install_recur_data",
                Some(End::Declined(Refusal::Plan)),
            ),
        ],
    }
}

/// With the token of the first approval.
fn next_auth_req() -> Case {
    let mut rows = asked(
        Refusal::AuthToken,
        "the authorization token",
        End::Unauthorized(AuthCode::InstallRecurMismatch),
    );
    rows.extend(auth_token("auth_token/"));
    Case {
        name: "AuthReq",
        wire: &genuine().next_auth_req,
        ring: || genuine().ring(),
        fresh,
        receive: |verifier, wire| run(verifier).next_auth_req(wire),
        links: NEXT_AUTH_REQ_LINKS,
        rows,
        optional: vec![
            (SUBSEQUENT, Some(no_token())),
            (CAPTURE_NOW, Some(no_capture())),
            (
                PLAN,
                Some(End::Unauthorized(AuthCode::InstallRecurMismatch)),
            ),
        ],
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
    vec![p_req(), auth_req(), next_auth_req(), inq_req()]
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
    next_auth_req().check_fields();
}

#[test]
fn auth_req_is_refused_for_every_flipped_part() {
    auth_req().check_flips();
    next_auth_req().check_flips();
}

#[test]
fn auth_req_is_refused_for_every_surplus_or_missing_field() {
    auth_req().check_records();
    next_auth_req().check_records();
}

/// A payment instruction with its signature, or a token alone.
#[test]
fn auth_req_without_a_part_of_what_it_shows_is_malformed() {
    let parts = ["pi", "dual_signature", "auth_req/data/check_digests"];
    for (case, parts) in [(auth_req(), &parts[..]), (next_auth_req(), &["auth_token"])] {
        for part in parts {
            let outcome = case.without(part);
            let Err(End::Refused("AuthReq", Rejection::Malformed(_))) = outcome else {
                panic!("{part}: {outcome:?}")
            };
        }
    }
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
    next_auth_req().check_linked(
        "auth_token/",
        &End::Refused("AuthReq", DigestMismatch("the authorization token")),
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
