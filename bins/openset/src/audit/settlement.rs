//! Closed batches on their way to the merchant: the acquirer's entries about them, and the issuer's.

use std::collections::{BTreeMap, BTreeSet};

use super::between::counterpart;
use super::finding::{Code, Notes, money};
use super::gateway::{Batch, Gateway, Movement};
use super::issuer::Issuer;

/// The acquirer's entries that are about batches.
pub(super) const KINDS: [&str; 4] = [
    "settlement_asked",
    "settlement_received",
    "payout_sent",
    "payout_received",
];
/// Movements that the gateway has settled at once.
const PART_ITEMS: i64 = 1000;
/// A batch that was paid out.
pub(super) const PAID: &str = "completedSuccessfully";

/// What a closed batch comes to.
struct Nets<'a> {
    /// Of each part.
    parts: Vec<i64>,
    /// The movements of each part.
    members: Vec<Vec<&'a Movement>>,
    whole: i64,
}

fn nets<'a>(batch: &Batch, members: &[&'a Movement]) -> Nets<'a> {
    let mut done: Vec<&Movement> = members
        .iter()
        .filter(|one| one.is_done())
        .copied()
        .collect();
    done.sort_by_key(|one| one.batch_seq);
    let size = usize::try_from(PART_ITEMS).unwrap_or(usize::MAX);
    let members: Vec<Vec<&Movement>> = done.chunks(size).map(<[&Movement]>::to_vec).collect();
    let net = |of: &Vec<&Movement>| {
        of.iter()
            .fold(0i64, |sum, one| sum.saturating_add(one.signed_minor()))
    };
    let parts: Vec<i64> = members.iter().map(net).collect();
    let whole = batch
        .frozen
        .map_or(0, |[_, credit, _, debit]| credit.saturating_sub(debit));
    Nets {
        parts,
        members,
        whole,
    }
}

impl Gateway {
    fn closed(&self) -> Vec<(&str, &Batch, Nets<'_>)> {
        let mut members: BTreeMap<&str, Vec<&Movement>> = BTreeMap::new();
        for movement in self.movements.values() {
            if let Some(batch) = &movement.batch_id {
                members.entry(batch).or_default().push(movement);
            }
        }
        let closed = self
            .batches
            .iter()
            .filter(|(_, batch)| batch.state == "closed");
        closed
            .map(|(id, batch)| {
                let members = members.remove(id.as_str()).unwrap_or_default();
                (id.as_str(), batch, nets(batch, &members))
            })
            .collect()
    }

    /// The entries of each closed batch, as far as it says that it came, and no others.
    pub(super) fn check_settlements(&self, notes: &mut Notes) {
        let mut known: BTreeSet<(&str, String)> = BTreeSet::new();
        for (id, batch, nets) in self.closed() {
            let at = format!("gateway batches/{id}");
            if batch.transmission.as_deref() != Some(PAID) {
                let state = batch.transmission.as_deref().unwrap_or("pending");
                notes.wait(&at, format!("its payout is {state}"));
            }
            let currency = batch.currency.as_str();
            let (receivable, cash) = (
                format!("receivable/issuer/{currency}"),
                format!("cash/{currency}"),
            );
            let transit = format!("in_transit/issuer/{currency}");
            for (part, net) in (0i64..).zip(&nets.parts) {
                let reference = format!("{id}/{part}");
                let settled = part < batch.settled_parts;
                let asked = settled
                    || (part == batch.settled_parts && self.has("settlement_asked", &reference));
                if asked && *net != 0 {
                    let entry = ("settlement_asked", reference.as_str());
                    self.books.check_transfer(
                        &at,
                        entry,
                        (&transit, &receivable),
                        (currency, *net),
                        notes,
                    );
                    known.insert(("settlement_asked", reference.clone()));
                }
                if settled && *net != 0 {
                    let entry = ("settlement_received", reference.as_str());
                    self.books.check_transfer(
                        &at,
                        entry,
                        (&cash, &transit),
                        (currency, *net),
                        notes,
                    );
                    known.insert(("settlement_received", reference));
                }
            }
            let parts = i64::try_from(nets.parts.len()).unwrap_or(i64::MAX);
            let paid = batch.transmission.as_deref() == Some(PAID);
            if batch.settled_parts > parts || (paid && batch.settled_parts != parts) {
                let found = format!(
                    "{} settled, {}",
                    batch.settled_parts,
                    batch.transmission.as_deref().unwrap_or("-")
                );
                notes.find(
                    Code::SettlementWrong,
                    &at,
                    format!("{parts} parts settled"),
                    found,
                );
            }
            let payable = format!("payable/{}/{currency}", batch.merchant_id);
            let transit = format!("in_transit/merchant/{}/{currency}", batch.merchant_id);
            let sent = paid || (batch.settled_parts == parts && self.has("payout_sent", id));
            let amount = (currency, nets.whole);
            if sent && nets.whole != 0 {
                self.books.check_transfer(
                    &at,
                    ("payout_sent", id),
                    (&payable, &transit),
                    amount,
                    notes,
                );
                known.insert(("payout_sent", id.to_owned()));
            }
            if paid && nets.whole != 0 {
                self.books.check_transfer(
                    &at,
                    ("payout_received", id),
                    (&transit, &cash),
                    amount,
                    notes,
                );
                known.insert(("payout_received", id.to_owned()));
            }
        }
        for (kind, reference) in self.books.entries.keys() {
            if KINDS.contains(&kind.as_str())
                && !known.contains(&(kind.as_str(), reference.clone()))
            {
                let at = format!("gateway ledger_entries/{kind}/{reference}");
                notes.find(
                    Code::EntryWithoutMovement,
                    at,
                    "a batch that came so far",
                    "none",
                );
            }
        }
    }

    fn has(&self, kind: &str, reference: &str) -> bool {
        self.books
            .entries
            .contains_key(&(kind.to_owned(), reference.to_owned()))
    }
}

/// What the gateway says to be settled the issuer has paid, for the same movements; what the issuer has paid the gateway
/// has asked for.
pub(super) fn compare(gateway: &Gateway, issuer: &Issuer, name: &str, notes: &mut Notes) {
    let closed = gateway.closed();
    let paid: BTreeMap<(&str, i64), _> = issuer
        .settlements
        .iter()
        .filter(|one| one.gateway == name)
        .map(|one| ((one.batch_id.as_str(), one.part), one))
        .collect();
    for (id, batch, nets) in &closed {
        for ((part, net), members) in (0i64..).zip(&nets.parts).zip(&nets.members) {
            let at = format!("gateway batches/{id} part {part}");
            match paid.get(&(*id, part)) {
                Some(one) => {
                    let amounts = (i128::from(*net), i128::from(one.net_minor));
                    notes.same(Code::SettlementWrong, one.at(), &batch.currency, amounts);
                    let by = format!("{id}/{part}");
                    for member in members {
                        let theirs = counterpart(gateway, issuer, name, member);
                        let settled = theirs.and_then(|one| one.settled_by.as_deref());
                        if settled != Some(&by) {
                            let found = settled.unwrap_or("nothing");
                            notes.find(
                                Code::SettlementWrong,
                                member.at(),
                                format!("settled by {by}"),
                                found,
                            );
                        }
                    }
                }
                None if part < batch.settled_parts => {
                    let expected =
                        format!("a settlement of {}", money(&batch.currency, (*net).into()));
                    notes.find(Code::SettlementWrong, at, expected, "none at the issuer");
                }
                None => {}
            }
        }
    }
    for ((batch, part), one) in paid {
        let asked = closed.iter().any(|(id, _, nets)| {
            *id == batch && usize::try_from(part).is_ok_and(|part| part < nets.parts.len())
        });
        if !asked {
            notes.find(
                Code::SettlementWrong,
                one.at(),
                "a closed batch of the gateway",
                "none",
            );
        }
    }
}
