//! What the cardholder and the merchant read: PInitRes, AuthRes, PRes, InqRes.

use super::captures::NAME;
use super::fields::{
    Rows, acq_card_msg, amount, auth_token, cap_token, chain, credit, frame, news, receipt, thumbs,
    trans_ids,
};
use super::{AUTH_RES_LINKS, Case, fresh, run};
use crate::rows::Alteration::{Add, Bit, Later, Text};
use crate::rows::{Expected, harmless, row};
use crate::run::{End, genuine};
use crate::world::world;
use openset_protocol::Rejection::{
    self, ChallengeMismatch, DigestMismatch, Disagreement, HeaderMismatch, MissingCertificate,
};

fn p_init_res() -> Case {
    let refused = |rejection| End::Refused("PInitRes", rejection);
    let later = |rejection| End::Refused("PReq", rejection);
    let mut rows = frame("PInitRes", "", "exchange", true);
    let others = [
        later(Disagreement("p_req_date")),
        later(Disagreement("language")),
    ];
    rows.extend(trans_ids("PInitRes", "data/trans_ids/", others));
    rows.extend([
        row("data/chall_c", Bit, refused(ChallengeMismatch("chall_c"))),
        row("data/chall_m", Bit, later(ChallengeMismatch("chall_m"))),
        row(
            "data/pe_thumb",
            Bit,
            refused(DigestMismatch("the gateway's certificate (pe_thumb)")),
        ),
    ]);
    rows.extend(thumbs("PInitRes", "", &world().thumbs()));
    rows.extend(news("PInitRes", "", &world().state()));
    rows.extend(chain("PInitRes", "data/gateway_key_exchange", 1));
    rows.extend(chain("PInitRes", "data/merchant_key_exchange", 1));
    let answers = Some(End::Refused("PInitRes", Rejection::AnotherRequest));
    Case {
        name: "PInitRes",
        wire: &genuine().p_init_res,
        ring: || genuine().ring(),
        fresh,
        receive: |verifier, wire| run(verifier).p_init_res(wire),
        links: &[],
        rows,
        optional: answered(answers),
    }
}

/// `answers` may be absent, in requests.
fn answered(end: Option<End>) -> Vec<(&'static str, Option<End>)> {
    vec![("answers", end)]
}

fn auth_res_frame() -> Rows {
    let mut rows = frame("AuthRes", "auth_res/", "certificate", true);
    let differs = || End::Refused("AuthRes", Disagreement("auth_tags"));
    rows.extend(trans_ids(
        "AuthRes",
        "auth_res/data/auth_tags/trans_ids/",
        [differs(), differs()],
    ));
    let tags = "auth_res/data/auth_tags/auth_rr_tags/";
    let digest = DigestMismatch("the baggage");
    rows.extend(thumbs("AuthRes", "auth_res/", &world().m_thumbs()));
    rows.extend([
        row(
            format!("{tags}rrpid"),
            Bit,
            End::Refused("AuthRes", HeaderMismatch("rrpid")),
        ),
        row(format!("{tags}merchant_id"), Text("shop-2"), differs()),
        row(format!("{tags}current_date"), Later, differs()),
        row(
            "auth_res/data/baggage_digest",
            Bit,
            End::Refused("AuthRes", digest),
        ),
    ]);
    rows
}

const PAYLOAD: &str = "auth_res/data/auth_res_payload/";

/// What became of the capture, of a sale.
fn cap_res_payload() -> Rows {
    let differs = End::Refused("AuthRes", Disagreement("cap_res_payload"));
    let sold = format!("{PAYLOAD}cap_res_payload/");
    let mut rows = vec![
        row(
            format!("{sold}cap_code"),
            Text("authExpired"),
            differs.clone(),
        ),
        harmless(format!("{sold}batch/batch_id"), Text("other"), NAME),
        harmless(format!("{sold}batch/batch_sequence_num"), Add(1), NAME),
    ];
    rows.extend(amount("AuthRes", &format!("{sold}cap_amt/"), -1, &differs));
    rows
}

fn auth_res() -> Case {
    let differs = |what| End::Refused("AuthRes", Disagreement(what));
    let mut rows = auth_res_frame();
    rows.extend(amount(
        "AuthRes",
        &format!("{PAYLOAD}auth_amt/"),
        -1,
        &differs("auth_amt"),
    ));
    rows.extend([
        row(
            format!("{PAYLOAD}auth_code"),
            Text("declined"),
            differs("auth_amt"),
        ),
        row(
            format!("{PAYLOAD}auth_date"),
            Later,
            differs("receipt auth_date"),
        ),
        row(
            format!("{PAYLOAD}approval_code"),
            Text("ZZZZZZ"),
            differs("receipt approval_code"),
        ),
    ]);
    rows.extend(cap_res_payload());
    rows.extend(cap_token("baggage/cap_token/"));
    rows.extend(auth_token("baggage/auth_token/"));
    rows.extend(acq_card_msg("PRes", "baggage/acq_card_msg/"));
    rows.extend(receipt("AuthRes", "baggage/receipt/"));
    let receipt_pair = End::Refused("AuthRes", HeaderMismatch("rrpid"));
    rows.push(row("baggage/receipt/rrpid", Bit, receipt_pair));
    let code = differs("receipt approval_code");
    rows.push(row(
        "baggage/receipt/data/approval_code",
        Text("ZZZZZZ"),
        code,
    ));
    let optional = [
        (
            "auth_res/answers",
            Some(End::Refused("AuthRes", Rejection::AnotherRequest)),
        ),
        (
            "auth_res/data/auth_res_payload/approval_code",
            Some(differs("approval_code or resp_reason")),
        ),
        (
            "auth_res/data/auth_res_payload/cap_res_payload",
            Some(differs("cap_res_payload")),
        ),
        (
            "auth_res/data/auth_res_payload/cap_res_payload/batch",
            Some(differs("cap_res_payload")),
        ),
    ];
    Case {
        name: "AuthRes",
        wire: &genuine().auth_res,
        ring: || genuine().ring(),
        fresh,
        receive: |verifier, wire| run(verifier).auth_res(wire),
        links: AUTH_RES_LINKS,
        rows,
        optional: optional.into(),
    }
}

fn auth_res_declined() -> Case {
    let differs = |what| End::Refused("AuthRes", Disagreement(what));
    let mut rows = auth_res_frame();
    rows.extend(amount(
        "AuthRes",
        &format!("{PAYLOAD}auth_amt/"),
        1,
        &differs("auth_amt"),
    ));
    let word = "the gateway's word on a refusal, which moves no money";
    rows.extend([
        row(
            format!("{PAYLOAD}auth_code"),
            Text("approved"),
            differs("auth_amt"),
        ),
        harmless(format!("{PAYLOAD}auth_date"), Later, word),
        harmless(format!("{PAYLOAD}resp_reason"), Text("blockedCard"), word),
    ]);
    let optional = [
        (
            "auth_res/answers",
            Some(End::Refused("AuthRes", Rejection::AnotherRequest)),
        ),
        ("auth_res/data/auth_res_payload/resp_reason", None),
    ];
    Case {
        name: "AuthRes",
        wire: &genuine().auth_res_declined,
        ring: || genuine().ring(),
        fresh,
        receive: |verifier, wire| run(verifier).auth_res(wire),
        links: AUTH_RES_LINKS,
        rows,
        optional: optional.into(),
    }
}

const RESULTS: &str = "data/p_res_payload_seq/0/results/";

/// The fields that PRes and InqRes share.
fn told(message: &'static str) -> Rows {
    let differs = |what| End::Refused(message, Disagreement(what));
    let mut rows = frame(message, "", "exchange", true);
    rows.extend(trans_ids(
        message,
        "data/trans_ids/",
        [differs("trans_ids"), differs("trans_ids")],
    ));
    let status = format!("{RESULTS}auth_status/");
    rows.extend([
        row(
            "data/chall_c",
            Bit,
            End::Refused(message, ChallengeMismatch("chall_c")),
        ),
        row(format!("{status}auth_date"), Later, differs("auth_date")),
        row(
            format!("{status}auth_ratio/numerator"),
            Add(-1),
            differs("ratio"),
        ),
        row(
            format!("{status}auth_ratio/denominator"),
            Add(1),
            differs("ratio"),
        ),
    ]);
    rows.extend(acq_card_msg(message, &format!("{RESULTS}acq_card_msg/")));
    let mut signed = receipt(message, &format!("{RESULTS}receipt/"));
    for row in &mut signed {
        // Any amount is good that the merchant tells, too.
        if row.path.ends_with("data/auth_amt/amount") {
            row.expected = crate::rows::Expected::End(differs("ratio"));
        }
    }
    rows.extend(signed);
    rows.extend([
        harmless(
            format!("{RESULTS}receipt/rrpid"),
            Bit,
            "merchant's and gateway's own pair; XID and HOD bind it",
        ),
        harmless(
            format!("{RESULTS}receipt/data/approval_code"),
            Text("ZZZZZZ"),
            "the bank's word; the merchant compares it with AuthRes",
        ),
    ]);
    rows
}

fn p_res() -> Case {
    let differs = |what| End::Refused("PRes", Disagreement(what));
    let mut rows = told("PRes");
    rows.extend([
        row(
            "data/p_res_payload_seq/0/completion_code",
            Text("orderReceived"),
            differs("completion_code"),
        ),
        row(
            format!("{RESULTS}auth_status/auth_code"),
            Text("declined"),
            differs("receipt beside a refusal"),
        ),
    ]);
    let answers = Some(End::Refused("PRes", Rejection::AnotherRequest));
    Case {
        name: "PRes",
        wire: &genuine().p_res,
        ring: || genuine().ring(),
        fresh,
        receive: |verifier, wire| run(verifier).p_res(wire),
        links: &[],
        rows,
        optional: answered(answers),
    }
}

fn inq_res() -> Case {
    let differs = |what| End::Refused("InqRes", Disagreement(what));
    let mut rows = told("InqRes");
    let status = format!("{RESULTS}cap_status/");
    rows.extend([
        row(
            "data/p_res_payload_seq/0/completion_code",
            Text("authorizationPerformed"),
            differs("cap_status"),
        ),
        row(
            format!("{RESULTS}auth_status/auth_code"),
            Text("declined"),
            differs("completion_code"),
        ),
        harmless(
            format!("{status}cap_date"),
            Later,
            "the merchant's word on when it was paid",
        ),
        row(
            format!("{status}cap_code"),
            Text("authExpired"),
            differs("cap_status"),
        ),
        row(
            format!("{status}cap_ratio/numerator"),
            Add(1),
            differs("ratio"),
        ),
        row(
            format!("{status}cap_ratio/denominator"),
            Add(1),
            differs("ratio"),
        ),
    ]);
    let answers = Some(End::Refused("InqRes", Rejection::AnotherRequest));
    Case {
        name: "InqRes",
        wire: &genuine().inq_res,
        ring: || genuine().ring(),
        fresh,
        receive: |verifier, wire| run(verifier).inq_res(wire),
        links: &[],
        rows,
        optional: answered(answers),
    }
}

/// After the refund: what the merchant tells of it is what the receipt says.
fn inq_res_credited() -> Case {
    let differs = |what| End::Refused("InqRes", Disagreement(what));
    let mut case = inq_res();
    case.wire = crate::money::inq_res_credited();
    for row in &mut case.rows {
        let expected = match row.path.as_str() {
            "data/p_res_payload_seq/0/completion_code" => differs("cred_status_seq"),
            path if path.ends_with("data/auth_amt/amount") => differs("receipt credits"),
            _ => continue,
        };
        row.expected = Expected::End(expected);
    }
    let signed = format!("{RESULTS}receipt/data/");
    case.rows.push(harmless(
        format!("{signed}sequence"),
        Add(1),
        "the gateway's word: which of its receipts",
    ));
    for place in [0, 1] {
        let told = format!("{RESULTS}cred_status_seq/{place}/");
        let credited = format!("{signed}credits/{place}/");
        let told_otherwise = || differs("cred_status_seq");
        case.rows.extend([
            row(format!("{told}cred_date"), Later, told_otherwise()),
            row(
                format!("{told}cred_code"),
                Text("unspecifiedFailure"),
                told_otherwise(),
            ),
            row(
                format!("{told}cred_ratio/numerator"),
                Add(-1),
                told_otherwise(),
            ),
            row(
                format!("{told}cred_ratio/denominator"),
                Add(1),
                told_otherwise(),
            ),
            row(format!("{credited}cred_date"), Later, told_otherwise()),
        ]);
        case.rows.extend(credit("InqRes", &credited));
    }
    // The first receipt knows of no refund.
    case.optional.push((
        "data/p_res_payload_seq/0/results/receipt/data/sequence",
        Some(differs("receipt credits")),
    ));
    case
}

pub fn all() -> Vec<Case> {
    vec![
        p_init_res(),
        auth_res(),
        auth_res_declined(),
        p_res(),
        inq_res(),
        inq_res_credited(),
    ]
}

/// Whole parts of PRes that are sealed or signed, or may be absent.
#[test]
fn p_res_without_its_parts_is_never_paid() {
    let part = |name: &str| format!("{RESULTS}{name}");
    let differs = |what| Err(End::Refused("PRes", Disagreement(what)));
    let missing = Err(End::Refused(
        "PRes",
        MissingCertificate("the gateway's receipt"),
    ));
    let results = "data/p_res_payload_seq/0/results";
    assert_eq!(p_res().without(results), differs("completion_code"));
    assert_eq!(p_res().without(&part("receipt")), missing);
    assert_eq!(
        p_res().without(&part("auth_status")),
        differs("completion_code")
    );
    assert_eq!(p_res().without(&part("acq_card_msg")), Ok(()));
}

#[test]
fn an_approval_without_its_parts_is_refused() {
    let differs = Err(End::Refused(
        "AuthRes",
        Disagreement("baggage of an approval: cap_token and receipt"),
    ));
    assert_eq!(auth_res().without("baggage/receipt"), differs);
    assert_eq!(auth_res().without("baggage/cap_token"), differs);
    let token = Disagreement("baggage of an approval: auth_token");
    let differs = Err(End::Refused("AuthRes", token));
    assert_eq!(auth_res().without("baggage/auth_token"), differs);
    assert_eq!(auth_res().without("baggage/acq_card_msg"), Ok(()));
}

/// A merchant neither hides the refund that its receipt shows nor tells one that no receipt does.
#[test]
fn refunds_are_told_as_they_were_signed() {
    let differs = Err(End::Refused("InqRes", Disagreement("cred_status_seq")));
    let told = format!("{RESULTS}cred_status_seq");
    assert_eq!(inq_res_credited().without(&told), differs);
    let signed = format!("{RESULTS}receipt/data/credits");
    assert_eq!(inq_res_credited().without(&signed), differs);
    // That what went back was captured the merchant need not say.
    let captured = format!("{RESULTS}cap_status");
    assert_eq!(inq_res_credited().without(&captured), Ok(()));
}

#[test]
fn p_init_res_is_refused_by_name_for_every_field() {
    p_init_res().check_fields();
}

#[test]
fn p_init_res_is_refused_for_every_flipped_part() {
    p_init_res().check_flips();
}

#[test]
fn p_init_res_is_refused_for_every_surplus_or_missing_field() {
    p_init_res().check_records();
}

#[test]
fn auth_res_is_refused_by_name_for_every_field() {
    auth_res().check_fields();
    auth_res_declined().check_fields();
}

#[test]
fn auth_res_is_refused_for_every_flipped_part() {
    auth_res().check_flips();
    auth_res_declined().check_flips();
}

#[test]
fn auth_res_is_refused_for_every_surplus_or_missing_field() {
    auth_res().check_records();
    auth_res_declined().check_records();
}

#[test]
fn auth_res_is_refused_for_every_field_of_a_baggage_that_was_not_signed() {
    auth_res().check_linked(
        "baggage/",
        &End::Refused("AuthRes", DigestMismatch("the baggage")),
    );
}

#[test]
fn p_res_is_refused_by_name_for_every_field() {
    p_res().check_fields();
}

#[test]
fn p_res_is_refused_for_every_flipped_part() {
    p_res().check_flips();
}

#[test]
fn p_res_is_refused_for_every_surplus_or_missing_field() {
    p_res().check_records();
}

#[test]
fn inq_res_is_refused_by_name_for_every_field() {
    inq_res().check_fields();
    inq_res_credited().check_fields();
}

#[test]
fn inq_res_is_refused_for_every_flipped_part() {
    inq_res().check_flips();
    inq_res_credited().check_flips();
}

#[test]
fn inq_res_is_refused_for_every_surplus_or_missing_field() {
    inq_res().check_records();
    inq_res_credited().check_records();
}
