//! The gateway's store against the issuer's: approvals and holds, and every movement, one to one.

use std::collections::{BTreeMap, BTreeSet};

use openset_protocol::balance::Standing;

use super::finding::{Code, Notes, money};
use super::gateway::{Authorization, Gateway, Movement};
use super::issuer::{self, Issuer};

/// Compares both; `name` is what the issuer calls the gateway.
pub(super) fn compare(
    gateway: &Gateway,
    issuer: &Issuer,
    name: &str,
    now_s: i64,
    notes: &mut Notes,
) {
    let by = gateway.by_authorization();
    let mut approvals: BTreeMap<&str, &Authorization> = BTreeMap::new();
    for one in gateway
        .authorizations
        .values()
        .filter(|one| one.state == "authorized")
    {
        let hold = one.issuer_authorization.as_deref();
        if let Some(before) = hold.and_then(|hold| approvals.insert(hold, one)) {
            let found = format!("another approval, {}, has it too", before.id);
            notes.find(Code::HoldDiffers, one.at(), "a hold of its own", found);
        }
        let movements = by
            .get(one.id.as_str())
            .map(Vec::as_slice)
            .unwrap_or_default();
        match hold.and_then(|hold| issuer.authorizations.get(hold)) {
            Some(held) if held.gateway == name && held.state != "declined" => {
                compare_hold(one, movements, held, now_s, notes);
            }
            _ => notes.find(
                Code::HoldMissing,
                one.at(),
                shown(one),
                "none at the issuer",
            ),
        }
    }
    check_holds(gateway, issuer, name, &approvals, notes);
    compare_movements(gateway, issuer, name, notes);
    super::settlement::compare(gateway, issuer, name, notes);
}

fn shown(one: &Authorization) -> String {
    format!(
        "a hold of {} for {}",
        money(&one.currency, one.amount_minor.into()),
        one.merchant_id
    )
}

fn compare_hold(
    one: &Authorization,
    movements: &[&Movement],
    held: &issuer::Authorization,
    now_s: i64,
    notes: &mut Notes,
) {
    let same = held.currency == one.currency
        && held.amount_minor == one.amount_minor
        && held.merchant_id == one.merchant_id
        && held.reference == one.xid;
    if !same {
        let found = format!(
            "{} for {}",
            money(&held.currency, held.amount_minor.into()),
            held.merchant_id
        );
        notes.find(Code::HoldDiffers, one.at(), shown(one), found);
    }
    if held.approval_code != one.approval_code {
        let code = |code: &Option<String>| code.clone().unwrap_or_else(|| "none".to_owned());
        let at = format!("{} approval code", one.at());
        let (expected, found) = (code(&held.approval_code), code(&one.approval_code));
        notes.find(Code::HoldDiffers, at, expected, found);
    }
    let Ok(rules) = one.for_rules(movements) else {
        return;
    };
    // What is under way is compared once it is done.
    if movements.iter().any(|movement| movement.state == "asked") {
        return;
    }
    let remaining = i64::try_from(rules.remaining_minor()).unwrap_or(i64::MAX);
    let (held_minor, captured_minor, credited_minor) = match rules.standing(now_s) {
        Standing::Captured {
            amount_minor,
            credited_minor,
        } => {
            let wide = |minor: u64| i64::try_from(minor).unwrap_or(i64::MAX);
            (0, wide(amount_minor), wide(credited_minor))
        }
        // Its end is the issuer's word: once it has given the hold back, nothing is held.
        _ if held.state == "expired" && held.expires_at_s <= now_s => (0, 0, 0),
        // What ran out may be given back by the gateway before the issuer has looked.
        _ if remaining == 0 && held.state == "held" && held.expires_at_s <= now_s => {
            (held.held_minor, 0, 0)
        }
        _ => (remaining, 0, 0),
    };
    let amounts = [
        ("held", held_minor, held.held_minor),
        ("captured", captured_minor, held.captured_minor),
        ("credited", credited_minor, held.credited_minor),
    ];
    for (what, expected, found) in amounts {
        let at = format!("{} {what}", held.at());
        notes.same(
            Code::HoldDiffers,
            at,
            &held.currency,
            (expected.into(), found.into()),
        );
    }
}

/// The reverse: a hold of the gateway's that it knows nothing of binds somebody's money for nothing.
fn check_holds(
    gateway: &Gateway,
    issuer: &Issuer,
    name: &str,
    approvals: &BTreeMap<&str, &Authorization>,
    notes: &mut Notes,
) {
    let of_gateway = issuer
        .authorizations
        .values()
        .filter(|held| held.gateway == name && held.state != "declined");
    for held in of_gateway.filter(|held| !approvals.contains_key(held.id.as_str())) {
        let asked = gateway.authorizations.values().find(|one| {
            one.state == "asked" && one.xid == held.reference && one.merchant_id == held.merchant_id
        });
        match asked {
            Some(one) if one.amount_minor == held.amount_minor && one.currency == held.currency => {
                notes.wait(
                    held.at(),
                    "the gateway has not taken the issuer's answer yet",
                );
            }
            Some(one) => {
                let found = money(&held.currency, held.amount_minor.into());
                notes.find(Code::HoldDiffers, held.at(), shown(one), found);
            }
            None => {
                let found = format!(
                    "{} for {}",
                    money(&held.currency, held.amount_minor.into()),
                    held.merchant_id
                );
                notes.find(
                    Code::HoldUnknown,
                    held.at(),
                    "an approval at the gateway",
                    found,
                );
            }
        }
    }
}

/// The issuer's movement that is this one. They have one name, but for captures of before there were movements: each side
/// called those after its own authorization.
pub(super) fn counterpart<'a>(
    gateway: &Gateway,
    issuer: &'a Issuer,
    name: &str,
    ours: &Movement,
) -> Option<&'a issuer::Movement> {
    let named = |id: &str| issuer.movements.get(&(name.to_owned(), id.to_owned()));
    let found = named(&ours.id);
    if found.is_some() || ours.id != ours.authorization_id {
        return found;
    }
    let of = gateway.authorizations.get(&ours.authorization_id)?;
    named(of.issuer_authorization.as_deref()?)
}

fn compare_movements(gateway: &Gateway, issuer: &Issuer, name: &str, notes: &mut Notes) {
    for ours in gateway.movements.values().filter(|one| one.moves_money()) {
        let Some(theirs) = counterpart(gateway, issuer, name, ours) else {
            if ours.is_done() {
                notes.find(
                    Code::MovementMissing,
                    ours.at(),
                    format!("the issuer's {}", ours.kind),
                    "none",
                );
            }
            continue;
        };
        let of = gateway.authorizations.get(&ours.authorization_id);
        let currency = of.map_or("", |of| of.currency.as_str());
        let hold = of.and_then(|of| of.issuer_authorization.as_deref());
        let same = theirs.kind == ours.kind
            && theirs.currency == currency
            && theirs.amount_minor == ours.signed_minor()
            && hold == Some(theirs.authorization_id.as_str());
        if !same {
            let expected = format!(
                "{} of {}",
                ours.kind,
                money(currency, ours.signed_minor().into())
            );
            let found = format!(
                "{} of {}",
                theirs.kind,
                money(&theirs.currency, theirs.amount_minor.into())
            );
            notes.find(Code::MovementDiffers, theirs.at(), expected, found);
        }
        if ours.state == "refused" {
            notes.find(
                Code::MovementDiffers,
                ours.at(),
                "done, as at the issuer",
                "refused",
            );
        }
    }
    let counterparts = gateway
        .movements
        .values()
        .filter_map(|ours| counterpart(gateway, issuer, name, ours));
    let known: BTreeSet<&str> = counterparts.map(|theirs| theirs.id.as_str()).collect();
    for theirs in issuer.movements.values().filter(|one| one.gateway == name) {
        if !known.contains(theirs.id.as_str()) {
            let expected = format!("the gateway's {}", theirs.kind);
            notes.find(Code::MovementMissing, theirs.at(), expected, "none");
        }
    }
}
