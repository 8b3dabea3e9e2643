//! The merchant asks for the gateway's certificates: PCertReq, PCertRes.

use super::fields::{chain, frame, thumbs};
use super::{Case, fresh, run};
use crate::p_cert::fetching;
use crate::rows::Alteration::{Bit, Later, Text};
use crate::rows::row;
use crate::run::{End, genuine};
use crate::world::world;
use openset_protocol::Rejection::{
    self, AnotherParty, Disagreement, HeaderMismatch, MissingCertificate,
};
use openset_protocol::messages::p_cert::PCertCode;

fn p_cert_req() -> Case {
    let message = "PCertReq";
    let refused = |rejection| End::Refused(message, rejection);
    let mut rows = frame(message, "", "acquirer", false);
    rows.extend(thumbs("PCertRes", "data/m_", &world().m_thumbs()));
    let tags = "data/p_cert_rr_tags/";
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
            "data/brand_and_bin_seq/0/brand_id",
            Text("Discover"),
            End::NoCertificate(PCertCode::BrandNotSupported),
        ),
        row(
            "data/brand_and_bin_seq/0/bin",
            Text("999999"),
            End::NoCertificate(PCertCode::UnknownBin),
        ),
    ]);
    Case {
        name: message,
        wire: &fetching().req,
        ring: || genuine().ring(),
        fresh,
        receive: |verifier, wire| run(verifier).p_cert_req(wire),
        links: &[],
        rows,
        optional: vec![("data/brand_and_bin_seq/0/bin", None)],
    }
}

fn p_cert_res() -> Case {
    let message = "PCertRes";
    let refused = |rejection| End::Refused(message, rejection);
    let differs = |what| refused(Disagreement(what));
    let mut rows = frame(message, "", "certificate", true);
    rows.extend(thumbs(message, "", &world().m_thumbs()));
    let tags = "data/p_cert_rr_tags/";
    let item = "data/p_cert_res_item_seq/0/";
    rows.extend([
        row(
            format!("{tags}rrpid"),
            Bit,
            refused(HeaderMismatch("rrpid")),
        ),
        row(
            format!("{tags}merchant_id"),
            Text("shop-2"),
            differs("p_cert_rr_tags"),
        ),
        row(
            format!("{tags}current_date"),
            Later,
            differs("p_cert_rr_tags"),
        ),
        row(
            format!("{item}p_cert_code"),
            Text("unspecifiedFailure"),
            End::NoCertificate(PCertCode::UnspecifiedFailure),
        ),
        row(format!("{item}cert_thumb"), Bit, differs("cert_thumb")),
    ]);
    let chained = format!("{item}key_exchange");
    rows.extend(chain(message, &chained, 1));
    let optional = [
        ("answers", Some(refused(Rejection::AnotherRequest))),
        (
            "data/p_cert_res_item_seq/0/cert_thumb",
            Some(differs("cert_thumb")),
        ),
        (
            "data/p_cert_res_item_seq/0/key_exchange",
            Some(refused(MissingCertificate(
                "a chain inside the message is empty",
            ))),
        ),
    ];
    Case {
        name: message,
        wire: &fetching().res,
        ring: || genuine().ring(),
        fresh,
        receive: |verifier, wire| run(verifier).p_cert_res(wire),
        links: &[],
        rows,
        optional: optional.into(),
    }
}

pub fn all() -> Vec<Case> {
    vec![p_cert_req(), p_cert_res()]
}

#[test]
fn p_cert_req_is_refused_by_name_for_every_field() {
    p_cert_req().check_fields();
}

#[test]
fn p_cert_req_is_refused_for_every_flipped_part() {
    p_cert_req().check_flips();
}

#[test]
fn p_cert_req_is_refused_for_every_surplus_or_missing_field() {
    p_cert_req().check_records();
}

#[test]
fn p_cert_res_is_refused_by_name_for_every_field() {
    p_cert_res().check_fields();
}

#[test]
fn p_cert_res_is_refused_for_every_flipped_part() {
    p_cert_res().check_flips();
}

#[test]
fn p_cert_res_is_refused_for_every_surplus_or_missing_field() {
    p_cert_res().check_records();
}
