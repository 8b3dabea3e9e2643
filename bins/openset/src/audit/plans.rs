//! Instalments and recurring payments: never more of them than was signed, none before its time, none after the end. Judged
//! twice, by the gateway's rows and by the days on which it signed the answers that the merchant keeps; and judged by what
//! stands now. What was given back meanwhile counted then, and leaving it out only lets more pass.

use std::collections::BTreeMap;

use openset_protocol::Timestamp;
use openset_protocol::balance::DAY_SECONDS;
use openset_protocol::messages::install_recur::InstallRecurData;

use super::contracts::Contracts;
use super::finding::{Code, Notes};
use super::gateway::{Authorization, Gateway};
use super::merchant::{self, Merchant, Theirs};
use super::proof::Said;

/// So far two services' clocks may be apart, in seconds: they refuse each other's messages beyond it.
const CLOCKS_APART_S: i64 = 300;

/// InstallRecurData as a store has it.
pub(super) fn read(plan: Option<String>) -> anyhow::Result<Option<InstallRecurData>> {
    let plan = plan.map(|plan| serde_json::from_str(&plan));
    Ok(plan.transpose()?)
}

/// For people.
pub(super) fn shown(plan: Option<&InstallRecurData>) -> String {
    plan.map_or_else(|| "paid once".to_owned(), ToString::to_string)
}

/// A payment of a plan.
struct Charge {
    at: String,
    /// When it was asked for at the earliest: the last moment of the plan counts.
    asked_at_s: i64,
    /// When it came at the latest: nothing may come before its time.
    came_at_s: i64,
    /// When it was approved at the earliest: the next one is due an interval later.
    approved_at_s: i64,
}

/// What stands of a plan's payments is within the plan.
fn check(
    at: &str,
    plan: InstallRecurData,
    mut charges: Vec<Charge>,
    early_days: u16,
    notes: &mut Notes,
) {
    charges.sort_by_key(|one| (one.approved_at_s, one.came_at_s));
    let (frequency_days, expiry) = match plan {
        InstallRecurData::InstallTotalTrans(total) => {
            if charges.len() > usize::from(total) {
                let found = format!("{} approved payments stand", charges.len());
                notes.find(
                    Code::InstalmentsExceeded,
                    at,
                    format!("at most {total} instalments, as was signed"),
                    found,
                );
            }
            return;
        }
        InstallRecurData::Recurring {
            frequency_days,
            expiry,
        } => (frequency_days, expiry),
    };
    let days = |days: u16| i64::from(days).saturating_mul(DAY_SECONDS);
    let moment = |at_s: i64| Timestamp::from_seconds(at_s).to_string();
    let mut due_s: Option<i64> = None;
    for one in &charges {
        if one.asked_at_s > expiry.seconds() {
            let found = format!("asked for at {}", moment(one.asked_at_s));
            let expected = format!("nothing after {expiry}, as was signed");
            notes.find(Code::PaymentAfterEnd, &one.at, expected, found);
        }
        let from_s = due_s.map(|due_s| due_s.saturating_sub(days(early_days)));
        if let Some(from_s) = from_s.filter(|from_s| one.came_at_s < *from_s) {
            let expected = format!(
                "none before {}: every {frequency_days} days, and at most {early_days} days early",
                moment(from_s)
            );
            let found = format!("came at {}", moment(one.came_at_s));
            notes.find(Code::PaymentTooSoon, &one.at, expected, found);
        }
        let last_s = due_s.map_or(one.approved_at_s, |due_s| due_s.max(one.approved_at_s));
        due_s = Some(last_s.saturating_add(days(frequency_days)));
    }
}

impl Gateway {
    /// By the gateway's own rows.
    pub(super) fn check_plans(&self, contracts: &Contracts, notes: &mut Notes) {
        let by = self.by_authorization();
        let mut charges: BTreeMap<&str, Vec<Charge>> = BTreeMap::new();
        for one in self.authorizations.values() {
            let movements = by.get(one.id.as_str()).map(Vec::as_slice);
            let stands = one
                .for_rules(movements.unwrap_or_default())
                .is_ok_and(|rules| rules.remaining_minor() > 0);
            if let Some(payment) = one.payment_id.as_deref().filter(|_| stands) {
                charges.entry(payment).or_default().push(Charge {
                    at: one.at(),
                    asked_at_s: one.received_at_s,
                    came_at_s: one.received_at_s,
                    approved_at_s: one.newest_at_s,
                });
            }
        }
        for (id, payment) in &self.payments {
            let charges = charges.remove(id.as_str()).unwrap_or_default();
            let Some(plan) = payment.plan else { continue };
            let at = format!("gateway payments/{id}");
            if contracts.of(&payment.merchant_id).is_none() && charges.len() > 1 {
                notes.wait(
                    &at,
                    "the gateway's configuration is not at hand: whether a payment came too soon is not judged",
                );
            }
            let early_days = contracts.or_most(&payment.merchant_id).early_days;
            check(&at, plan, charges, early_days, notes);
        }
    }
}

impl Merchant {
    /// By the days on which the gateway signed, which the merchant cannot change, and nobody else.
    pub(super) fn check_plans(
        &self,
        theirs: &Theirs<'_>,
        (said, contracts): (&BTreeMap<(&str, i64), Said>, &Contracts),
        notes: &mut Notes,
    ) {
        let mut charges: BTreeMap<&str, (Vec<Charge>, &str)> = BTreeMap::new();
        for one in self.authorizations.values() {
            let name = (one.xid.as_str(), one.number);
            let signed_at_s = said.get(&name).and_then(|said| said.signed_at_s);
            let Some(signed_at_s) = signed_at_s else {
                continue;
            };
            let theirs = theirs.get(&(one.xid.as_str(), one.auth_rrpid.as_str()));
            if let Some(theirs) = theirs {
                check_dates(one, theirs, signed_at_s, notes);
            }
            // The capture of a sale comes between the approval and the answer.
            let approved_at_s = theirs.filter(|_| one.is_sale).map(|one| one.newest_at_s);
            if self.stands(one) {
                let (charges, _) = charges
                    .entry(&one.xid)
                    .or_insert_with(|| (Vec::new(), &one.merchant_id));
                charges.push(Charge {
                    at: one.at(),
                    asked_at_s: one.asked_at_s.saturating_sub(CLOCKS_APART_S),
                    came_at_s: signed_at_s,
                    approved_at_s: approved_at_s.map_or(signed_at_s, |at_s| at_s.min(signed_at_s)),
                });
            }
        }
        for (xid, (charges, merchant_id)) in charges {
            let plan = self.orders.get(xid).and_then(|order| order.plan);
            let Some(plan) = plan else { continue };
            let at = format!("merchant payments/{xid}");
            let early_days = contracts.or_most(merchant_id).early_days;
            check(&at, plan, charges, early_days, notes);
        }
    }

    /// Whether something of it is certain to stand at the gateway.
    fn stands(&self, one: &merchant::Authorization) -> bool {
        let of = self
            .movements
            .iter()
            .filter(|back| back.xid == one.xid && back.auth_number == one.number);
        let mut back = of.filter(|back| back.kind == "reversal" && back.state != "refused");
        let mut left_minor = one.amount_minor;
        back.all(|back| {
            left_minor = left_minor.saturating_sub(back.amount_minor);
            back.state == "done"
        }) && left_minor > 0
    }
}

/// The gateway signed an answer before it wrote down that it is one; a sale's after that.
fn check_dates(
    ours: &merchant::Authorization,
    theirs: &Authorization,
    signed_at_s: i64,
    notes: &mut Notes,
) {
    let answered_at_s = theirs.newest_at_s.saturating_add(CLOCKS_APART_S);
    let moment = |at_s: i64| Timestamp::from_seconds(at_s).to_string();
    if answered_at_s < signed_at_s && !ours.is_sale {
        let found = moment(theirs.newest_at_s);
        let expected = format!("answered at {}, as it signed", moment(signed_at_s));
        notes.find(Code::ApprovalDiffers, theirs.at(), expected, found);
    }
    if theirs.received_at_s > answered_at_s {
        let expected = format!(
            "asked before {}, when it was answered",
            moment(theirs.newest_at_s)
        );
        let found = moment(theirs.received_at_s);
        notes.find(Code::ApprovalDiffers, theirs.at(), expected, found);
    }
}
