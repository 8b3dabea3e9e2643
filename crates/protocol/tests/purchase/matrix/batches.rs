//! The merchant closes a batch: BatchAdminReq, BatchAdminRes.

use super::fields::{chain, frame, thumbs};
use super::{Case, REPORT, fresh, run};
use crate::batch::closing;
use crate::rows::Alteration::{Add, Bit, Later, Number, Text};
use crate::rows::{harmless, malformed, row};
use crate::run::{End, genuine};
use crate::world::world;
use openset_protocol::Rejection::{self, AnotherParty, Disagreement, HeaderMismatch};
use openset_protocol::messages::batch_admin::BaStatus;

const DATA: &str = "batch_admin_req/data/";
const ANSWER: &str = "batch_admin_res/data/";

fn batch_admin_req() -> Case {
    let message = "BatchAdminReq";
    let refused = |rejection| End::Refused(message, rejection);
    let mut rows = frame(message, "batch_admin_req/", "certificate", false);
    let m_thumbs = format!("{DATA}m_");
    rows.extend(thumbs("BatchAdminRes", &m_thumbs, &world().m_thumbs()));
    let tags = format!("{DATA}batch_admin_rr_tags/");
    let totals = |name: &str| {
        row(
            format!("{DATA}batch_totals/{name}"),
            Add(1),
            End::NotClosed(BaStatus::TotalsOutOfBalance),
        )
    };
    let wish = "the merchant's wish to be told more or less";
    let details = format!("{DATA}return_transaction_detail/");
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
            format!("{DATA}batch_id"),
            Text("other"),
            End::NotClosed(BaStatus::UnknownBatchId),
        ),
        row(
            format!("{DATA}currency"),
            Text("USD"),
            End::NotClosed(BaStatus::BrandBatchMismatch),
        ),
        row(
            format!("{DATA}batch_operation"),
            Text("open"),
            End::NotClosed(BaStatus::BatchIdUnavailable),
        ),
        malformed(
            format!("{DATA}return_batch_summary_ind"),
            Text("no"),
            message,
        ),
        harmless(format!("{details}starting_point"), Add(1), wish),
        row(
            format!("{details}maximum_items"),
            Number(101),
            refused(Disagreement(
                "return_transaction_detail: from 1 on, 1 to 100 items",
            )),
        ),
        totals("transaction_count_credit"),
        totals("transaction_total_credit_minor"),
        totals("transaction_count_debit"),
        totals("transaction_total_debit_minor"),
    ]);
    let chained = format!("{DATA}merchant_key_exchange");
    rows.extend(chain(message, &chained, 2));
    let optional = [
        (
            "batch_admin_req/data/batch_id",
            Some(End::NotClosed(BaStatus::UnknownBatchId)),
        ),
        (
            "batch_admin_req/data/batch_operation",
            Some(End::NotClosed(BaStatus::BatchIdUnavailable)),
        ),
        (
            "batch_admin_req/data/batch_totals",
            Some(End::NotClosed(BaStatus::TotalsOutOfBalance)),
        ),
        ("batch_admin_req/data/return_transaction_detail", None),
    ];
    Case {
        name: message,
        wire: &closing().req,
        ring: || genuine().ring(),
        fresh,
        receive: |verifier, wire| run(verifier).batch_admin_req(wire),
        links: &[],
        rows,
        optional: optional.into(),
    }
}

fn batch_admin_res() -> Case {
    let message = "BatchAdminRes";
    let differs = |what| End::Refused(message, Disagreement(what));
    let mut rows = frame(message, "batch_admin_res/", "certificate", true);
    rows.extend(thumbs(message, "batch_admin_res/", &world().m_thumbs()));
    let tags = format!("{ANSWER}batch_admin_rr_tags/");
    let status = format!("{ANSWER}batch_status/");
    let paid = format!("{ANSWER}settlement_info/");
    let listed = format!("{ANSWER}trans_details/");
    let item = format!("{listed}transaction_detail_seq/0/");
    rows.extend([
        row(
            format!("{tags}rrpid"),
            Bit,
            End::Refused(message, HeaderMismatch("rrpid")),
        ),
        row(
            format!("{tags}merchant_id"),
            Text("shop-2"),
            differs("batch_admin_rr_tags"),
        ),
        row(
            format!("{tags}current_date"),
            Later,
            differs("batch_admin_rr_tags"),
        ),
        row(
            format!("{ANSWER}batch_id"),
            Text("other"),
            differs("batch_id"),
        ),
        harmless(
            format!("{ANSWER}ba_status"),
            Text("unspecifiedFailure"),
            REPORT,
        ),
        harmless(
            format!("{ANSWER}transmission_status"),
            Text("pending"),
            REPORT,
        ),
        harmless(format!("{status}open_date"), Later, REPORT),
        harmless(format!("{status}close_date"), Later, REPORT),
        row(
            format!("{paid}currency"),
            Text("USD"),
            differs("settlement_info"),
        ),
        harmless(format!("{paid}settlement_amount_minor"), Add(1), REPORT),
        harmless(format!("{paid}settlement_type"), Text("debit"), REPORT),
        harmless(format!("{paid}settlement_deposit_date"), Later, REPORT),
        harmless(format!("{paid}settlement_reference"), Text("other"), REPORT),
        harmless(format!("{listed}next_starting_point"), Add(1), REPORT),
        harmless(format!("{item}xid"), Bit, REPORT),
        harmless(format!("{item}auth_rrpid"), Bit, REPORT),
        harmless(format!("{item}batch_sequence_num"), Add(1), REPORT),
        row(
            format!("{item}transaction_amt/currency"),
            Number(840),
            differs("trans_details"),
        ),
        harmless(format!("{item}transaction_amt/amount"), Add(1), REPORT),
        malformed(format!("{item}transaction_amt/amt_exp10"), Add(1), message),
        harmless(format!("{item}transaction_amt_type"), Text("debit"), REPORT),
        harmless(format!("{item}original/batch_id"), Text("other"), REPORT),
        harmless(format!("{item}original/batch_sequence_num"), Add(1), REPORT),
        harmless(format!("{item}transaction_date"), Later, REPORT),
    ]);
    for name in [
        "transaction_count_credit",
        "transaction_total_credit_minor",
        "transaction_count_debit",
        "transaction_total_debit_minor",
    ] {
        let path = format!("{status}batch_totals/{name}");
        rows.push(harmless(path, Add(1), REPORT));
    }
    let optional = [
        (
            "batch_admin_res/answers",
            Some(End::Refused(message, Rejection::AnotherRequest)),
        ),
        ("batch_admin_res/data/batch_id", Some(differs("batch_id"))),
        ("batch_admin_res/data/batch_status", None),
        ("batch_admin_res/data/batch_status/close_date", None),
        ("batch_admin_res/data/transmission_status", None),
        ("batch_admin_res/data/settlement_info", None),
        ("batch_admin_res/data/trans_details", None),
        (
            "batch_admin_res/data/trans_details/next_starting_point",
            None,
        ),
        (
            "batch_admin_res/data/trans_details/transaction_detail_seq/0/original",
            None,
        ),
    ];
    Case {
        name: message,
        wire: &closing().res,
        ring: || genuine().ring(),
        fresh,
        receive: |verifier, wire| run(verifier).batch_admin_res(wire),
        links: &[],
        rows,
        optional: optional.into(),
    }
}

pub fn all() -> Vec<Case> {
    vec![batch_admin_req(), batch_admin_res()]
}

#[test]
fn batch_admin_req_is_refused_by_name_for_every_field() {
    batch_admin_req().check_fields();
}

#[test]
fn batch_admin_req_is_refused_for_every_flipped_part() {
    batch_admin_req().check_flips();
}

#[test]
fn batch_admin_req_is_refused_for_every_surplus_or_missing_field() {
    batch_admin_req().check_records();
}

#[test]
fn batch_admin_res_is_refused_by_name_for_every_field() {
    batch_admin_res().check_fields();
}

#[test]
fn batch_admin_res_is_refused_for_every_flipped_part() {
    batch_admin_res().check_flips();
}

#[test]
fn batch_admin_res_is_refused_for_every_surplus_or_missing_field() {
    batch_admin_res().check_records();
}
