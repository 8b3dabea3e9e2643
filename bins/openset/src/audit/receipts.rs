//! The cardholder's receipts against what was done. Each reversal and refund, and each that is taken back, gives a new receipt
//! with the next number, so that a number names a moment of the gateway's store: what a receipt says must have stood then.

use std::collections::{BTreeMap, BTreeSet};

use openset_protocol::messages::p::{CREDITS_MAX, RECEIPT_SEQUENCE_FIRST, Receipt};
use serde_json::Value;

use super::finding::{Code, Notes, money};
use super::gateway::{self, Gateway, Movement};
use super::merchant::{self, Merchant, Theirs};
use super::proof::Said;

/// The changes of an authorization that give a receipt, in the order in which they were done.
pub(super) struct History<'a> {
    of: &'a gateway::Authorization,
    changes: Vec<&'a Movement>,
}

/// What stands after so many changes.
struct Stands {
    amount_minor: i64,
    /// What went back, and when.
    credits: Vec<(i64, i64)>,
}

impl<'a> History<'a> {
    pub(super) fn new(of: &'a gateway::Authorization, movements: &[&'a Movement]) -> Self {
        let gives = ["reversal", "credit", "credit_reversal"];
        let mut changes: Vec<&Movement> = movements
            .iter()
            .filter(|one| one.is_done() && gives.contains(&one.kind.as_str()))
            .copied()
            .collect();
        changes.sort_by_key(|one| (one.at_s, one.batch_seq));
        Self { of, changes }
    }

    /// None where the store does not tell which of two changes of one second was first.
    fn after(&self, count: usize) -> Option<Stands> {
        let (before, later) = self.changes.split_at_checked(count)?;
        let last = before.last().zip(later.first());
        // The places of a batch are an order, too.
        let is_known = |(last, next): (&&Movement, &&Movement)| {
            let counted = last.batch_id.is_some() && last.batch_id == next.batch_id;
            last.at_s < next.at_s || counted
        };
        if !last.is_none_or(is_known) {
            return None;
        }
        let is_undone = |id: &str| {
            let mut all = before.iter();
            all.any(|one| one.undoes.as_deref() == Some(id))
        };
        let mut stands = Stands {
            amount_minor: self.of.amount_minor,
            credits: Vec::new(),
        };
        for one in before {
            match one.kind.as_str() {
                "reversal" => {
                    stands.amount_minor = stands.amount_minor.saturating_sub(one.amount_minor);
                }
                "credit" if !is_undone(&one.id) => {
                    stands.credits.push((one.at_s, one.amount_minor))
                }
                _ => {}
            }
        }
        Some(stands)
    }

    /// Whether a receipt says what stood when it was signed.
    pub(super) fn check(&self, at: &str, receipt: &Receipt, notes: &mut Notes) {
        let later = receipt.sequence.saturating_sub(RECEIPT_SEQUENCE_FIRST);
        let later = usize::try_from(later).unwrap_or(usize::MAX);
        if later > self.changes.len() {
            notes.find(
                Code::ReceiptDiffers,
                at,
                format!("{} later changes at the gateway, as its number says", later),
                format!("{}", self.changes.len()),
            );
            return;
        }
        let Some(stands) = self.after(later) else {
            return;
        };
        let told: Vec<(i64, i64)> = receipt
            .credits
            .iter()
            .map(|one| (one.cred_date.seconds(), one.cred_amt.minor_i64()))
            .collect();
        if self.of.approval_code.as_ref() != Some(&receipt.approval_code) {
            let ours = self.of.approval_code.as_deref().unwrap_or("none");
            let at = format!("{at} approval code");
            notes.find(Code::ReceiptDiffers, at, ours, &receipt.approval_code);
        }
        let currency = self.of.currency.as_str();
        let same = receipt.auth_amt.currency().alpha() == currency
            && receipt.auth_amt.minor_i64() == stands.amount_minor
            && told == newest_apart(&stands.credits);
        if !same {
            let found = shown(
                receipt.auth_amt.currency().alpha(),
                receipt.auth_amt.minor_i64(),
                &told,
            );
            let expected = shown(currency, stands.amount_minor, &stands.credits);
            notes.find(Code::ReceiptDiffers, at, expected, found);
        }
    }

    /// The number of the receipt that the last of these changes gave.
    fn sequence_of_last(&self, counts: impl Fn(&Movement) -> bool) -> u32 {
        let last = self.changes.iter().rposition(|one| counts(one));
        let later = last.map_or(0, |place| place.saturating_add(1));
        let later = u32::try_from(later).unwrap_or(u32::MAX);
        later.saturating_add(RECEIPT_SEQUENCE_FIRST)
    }
}

/// The newest refunds by themselves, all before them as one, of the day of its last.
fn newest_apart(credits: &[(i64, i64)]) -> Vec<(i64, i64)> {
    let surplus = credits.len().saturating_sub(CREDITS_MAX);
    let together = if surplus == 0 {
        0
    } else {
        surplus.saturating_add(1)
    };
    let (older, newest) = credits.split_at(together);
    let sum = older.iter().map(|(_, minor)| minor).sum();
    let older = older.last().map(|(at_s, _)| (*at_s, sum));
    older.into_iter().chain(newest.iter().copied()).collect()
}

fn shown(currency: &str, amount_minor: i64, credits: &[(i64, i64)]) -> String {
    let sum: i128 = credits.iter().map(|(_, minor)| i128::from(*minor)).sum();
    format!(
        "{} stand, {} went back in {} refunds",
        money(currency, amount_minor.into()),
        money(currency, sum),
        credits.len()
    )
}

impl Merchant {
    /// The newest receipt of each approval, as the merchant keeps it and tells it to the wallet.
    pub(super) fn check_receipts(
        &self,
        gateway: &Gateway,
        (theirs, known): (&Theirs<'_>, &BTreeSet<&str>),
        said: &BTreeMap<(&str, i64), Said>,
        notes: &mut Notes,
    ) {
        let by = gateway.by_authorization();
        for one in self.authorizations.values() {
            let Some(said) = said.get(&(one.xid.as_str(), one.number)) else {
                continue;
            };
            if one.receipt.is_none() && one.auth_res.is_some() {
                let at = format!("{} receipt", one.at());
                notes.find(Code::ReceiptMissing, at, "the cardholder's receipt", "none");
            }
            let (Some(receipt), Some(of)) = (
                &said.receipt,
                theirs.get(&(one.xid.as_str(), one.auth_rrpid.as_str())),
            ) else {
                continue;
            };
            let movements = by.get(of.id.as_str()).map(Vec::as_slice);
            let history = History::new(of, movements.unwrap_or_default());
            let at = format!("{} receipt", one.at());
            history.check(&at, receipt, notes);
            check_told(one, receipt, notes);
            let payment = of.payment_id.as_ref();
            let payment = payment.and_then(|id| gateway.payments.get(id));
            if payment.is_some_and(|payment| payment.has_receipts) && one.auth_res.is_some() {
                let newest = self.newest_of(one, &history, (gateway, known));
                if receipt.sequence < newest {
                    let expected = format!("receipt {newest}, of the last change that it knows of");
                    let found = format!("receipt {}", receipt.sequence);
                    notes.find(Code::ReceiptOld, at, expected, found);
                }
            }
        }
    }

    /// The number of the receipt that came with the last change which the merchant knows of. What a purge undid came
    /// without, as did a refund that was found cancelled already.
    fn newest_of(
        &self,
        one: &merchant::Authorization,
        history: &History<'_>,
        (gateway, known): (&Gateway, &BTreeSet<&str>),
    ) -> u32 {
        let of = |back: &&merchant::Movement| {
            back.xid == one.xid && back.auth_number == one.number && back.kind == "reversal"
        };
        let reversals = self.movements.iter().filter(of);
        let mut reversed = reversals
            .filter(|back| back.state == "done" && back.amount_minor > 0)
            .count();
        let mut counts: BTreeSet<&str> = BTreeSet::new();
        for change in &history.changes {
            let counted = match change.kind.as_str() {
                "reversal" => {
                    let is_known = reversed > 0;
                    reversed = reversed.saturating_sub(1);
                    is_known
                }
                "credit" => known.contains(change.id.as_str()),
                _ => {
                    let undone = change.undoes.as_ref();
                    let undone = undone.and_then(|id| gateway.movements.get(id));
                    let purged = undone.is_some_and(|undone| undone.purged);
                    known.contains(change.id.as_str()) && !purged && self.is_placed(one, change)
                }
            };
            if counted {
                counts.insert(&change.id);
            }
        }
        history.sequence_of_last(|change| counts.contains(change.id.as_str()))
    }

    /// Whether the merchant was told where it stands: that it was done, not that nothing is left to do.
    fn is_placed(&self, one: &merchant::Authorization, change: &Movement) -> bool {
        let place = change.batch_id.as_deref().zip(change.batch_seq);
        self.movements.iter().any(|ours| {
            ours.xid == one.xid
                && ours.auth_number == one.number
                && ours
                    .place
                    .as_ref()
                    .map(|(batch, seq)| (batch.as_str(), *seq))
                    == place
        })
    }
}

/// What the wallet is told beside the receipt is what the receipt says.
fn check_told(one: &merchant::Authorization, receipt: &Receipt, notes: &mut Notes) {
    let Some(payload) = one.payload.as_ref().filter(|_| one.auth_res.is_some()) else {
        return;
    };
    let payload: Value = serde_json::from_str(payload).unwrap_or_default();
    let (amount, date) = (payload.get("auth_amt"), payload.get("auth_date"));
    let same = amount == serde_json::to_value(receipt.auth_amt).ok().as_ref()
        && date == serde_json::to_value(receipt.auth_date).ok().as_ref();
    if !same {
        let found = format!(
            "{} of {}",
            amount.unwrap_or(&Value::Null),
            date.unwrap_or(&Value::Null)
        );
        let amount = money(
            receipt.auth_amt.currency().alpha(),
            receipt.auth_amt.minor().into(),
        );
        notes.find(
            Code::ReceiptDiffers,
            format!("{} payload", one.at()),
            format!("{amount} of {}, as its receipt says", receipt.auth_date),
            found,
        );
    }
}
