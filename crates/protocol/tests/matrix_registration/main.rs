//! The negative matrix of registrations: every signed or sealed field of CardCInitRes, RegFormReq,
//! RegFormRes, Me-AqCInitRes, CertReq, CertRes, CertInqReq and CertInqRes, altered on the wire, and altered and made whole again
//! with the real keys.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "tests"
)]

mod card;
mod inquiry;
#[path = "../support/layers.rs"]
mod layers;
#[path = "../registration/old.rs"]
mod old;
mod party;
mod renewal;
#[path = "../support/rows.rs"]
#[allow(dead_code, reason = "the matrix of the purchase uses all of it")]
mod rows;
mod shared;
#[path = "../support/matrix.rs"]
mod trial;
#[path = "../registration/world.rs"]
#[allow(dead_code, reason = "the other tests of registrations use all of it")]
mod world;

use rows::Expected;
use shared::Case;

/// Every message of both kinds of registration, and CertReq of renewals.
fn all() -> Vec<Case> {
    card::all()
        .into_iter()
        .chain(party::all())
        .chain(renewal::all())
        .chain(inquiry::all())
        .collect()
}

#[test]
fn every_field_of_a_registration_is_refused_by_name() {
    all().iter().for_each(Case::check_fields);
}

#[test]
fn every_flipped_part_of_a_registration_is_refused() {
    all().iter().for_each(Case::check_flips);
}

#[test]
fn every_surplus_or_missing_field_of_a_registration_is_refused() {
    all().iter().for_each(Case::check_records);
}

#[test]
fn account_data_that_were_not_signed_are_refused() {
    let refused = shared::End::Refused(
        "CertReq",
        openset_protocol::Rejection::DigestMismatch("acct_info"),
    );
    let case = all()
        .into_iter()
        .find(|case| case.name == "CertReq")
        .unwrap();
    case.check_linked("acct_info/", &refused);
}

/// Most of what is harmless is a form and an answer in words, for a person to read.
#[test]
fn of_all_fields_few_are_harmless_and_each_has_its_reason() {
    let rows: Vec<_> = all().into_iter().flat_map(|case| case.rows).collect();
    let harmless: Vec<_> = rows
        .iter()
        .filter(|row| matches!(row.expected, Expected::Harmless(_)))
        .collect();
    println!("{} fields, {} of them harmless", rows.len(), harmless.len());
    let words = harmless
        .iter()
        .filter(|row| matches!(row.expected, Expected::Harmless(reason) if reason == shared::WORDS))
        .count();
    assert!(rows.len() >= 130, "{}", rows.len());
    assert!(harmless.len() - words <= 5, "{harmless:#?}");
}
