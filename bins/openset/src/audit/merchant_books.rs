//! The merchant's books: every movement of money is booked, every payout is the acquirer's, and what the acquirer owes is
//! the same on both sides.

use std::collections::{BTreeMap, BTreeSet};

use openset_store::sqlx::Row as _;

use super::finding::{Code, Notes};
use super::gateway::Gateway;
use super::merchant::Merchant;
use super::settlement::PAID;
use super::source::Source;

/// The entries of payouts.
const PAYOUT: &str = "payout";

/// A batch as the merchant has it.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    currency: String,
    is_closed: bool,
    payout_minor: Option<i64>,
    /// What the acquirer told of it: counts and sums of what goes to the merchant, and of what leaves it.
    told: Option<[i64; 4]>,
}

pub(super) async fn read(source: &mut Source) -> anyhow::Result<BTreeMap<String, Batch>> {
    let mut batches = BTreeMap::new();
    if !source.has(186) {
        return Ok(batches);
    }
    let sql = "SELECT id, currency, state, payout_minor, credit_count, credit_minor, debit_count, debit_minor FROM batches";
    for row in source.rows(sql).await? {
        let total = |column: usize| row.try_get::<Option<i64>, _>(column);
        let told = [total(4)?, total(5)?, total(6)?, total(7)?];
        let batch = Batch {
            currency: row.try_get(1)?,
            is_closed: row.try_get::<String, _>(2)? == "closed",
            payout_minor: row.try_get(3)?,
            told: match told {
                [Some(a), Some(b), Some(c), Some(d)] => Some([a, b, c, d]),
                _ => None,
            },
        };
        batches.insert(row.try_get(0)?, batch);
    }
    Ok(batches)
}

fn receivable(currency: &str) -> String {
    format!("receivable/acquirer/{currency}")
}

impl Merchant {
    /// Everything that must hold in the merchant's books, and between them and the acquirer's; `known` are the gateway's
    /// movements that the merchant has as done.
    pub(super) fn check_books(&self, gateway: &Gateway, known: &BTreeSet<&str>, notes: &mut Notes) {
        self.check_sales(notes);
        let mut owed: BTreeMap<&str, i128> = BTreeMap::new();
        let own = self.names();
        for (id, theirs) in gateway
            .batches
            .iter()
            .filter(|(_, one)| own.contains(one.merchant_id.as_str()))
        {
            let net = theirs
                .frozen
                .map(|[_, credit, _, debit]| credit.saturating_sub(debit));
            let paid = net.filter(|_| theirs.transmission.as_deref() == Some(PAID));
            let ours = self.batches.get(id);
            if let Some(ours) = ours.filter(|ours| ours.is_closed) {
                self.check_closed(id, ours, theirs.frozen, notes);
            }
            match (ours.and_then(|ours| ours.payout_minor), paid) {
                (None, Some(paid)) => {
                    notes.wait(
                        format!("merchant batches/{id}"),
                        "the merchant has not seen its payout yet",
                    );
                    // Paid there, and still owed here.
                    *owed.entry(&theirs.currency).or_default() += i128::from(paid);
                }
                (Some(ours), paid) if paid != Some(ours) => notes.find(
                    Code::SettlementWrong,
                    format!("merchant batches/{id}"),
                    paid.map_or("no payout".to_owned(), |paid| money(&theirs.currency, paid)),
                    money(&theirs.currency, ours),
                ),
                _ => {}
            }
        }
        self.check_payouts(gateway, notes);
        self.check_owed(gateway, known, owed, notes);
    }

    /// What the gateway calls this merchant.
    fn names(&self) -> BTreeSet<&str> {
        let all = self.authorizations.values();
        all.map(|one| one.merchant_id.as_str()).collect()
    }

    fn check_sales(&self, notes: &mut Notes) {
        let mut booked = BTreeSet::new();
        let moved = |one: &&super::merchant::Movement| one.state == "done" && one.moves_money();
        for one in self
            .movements
            .iter()
            .filter(moved)
            .filter(|one| one.amount_minor != 0)
        {
            let currency = self.currency_of(one);
            booked.insert((one.kind.as_str(), one.id.as_str()));
            self.books.check_transfer(
                &one.at(),
                (&one.kind, &one.id),
                (&receivable(currency), &format!("sales/{currency}")),
                (currency, one.signed_minor()),
                notes,
            );
        }
        for (kind, reference) in self.books.entries.keys() {
            if kind != PAYOUT && !booked.contains(&(kind.as_str(), reference.as_str())) {
                let at = format!("merchant ledger_entries/{kind}/{reference}");
                notes.find(
                    Code::EntryWithoutMovement,
                    at,
                    "a movement that was done",
                    "none",
                );
            }
        }
    }

    /// A batch was closed because both counted the same in it.
    fn check_closed(&self, id: &str, ours: &Batch, frozen: Option<[i64; 4]>, notes: &mut Notes) {
        let at = format!("merchant batches/{id}");
        let Some(frozen) = frozen else {
            notes.find(
                Code::BatchTotals,
                at,
                "closed at the gateway, too",
                "open there",
            );
            return;
        };
        let mut counted = [0i64; 4];
        for one in self.movements.iter().filter(|one| one.stands_in(id)) {
            let place = if one.signed_minor() < 0 { 2 } else { 0 };
            counted[place] += 1;
            counted[place + 1] = counted[place + 1].saturating_add(one.amount_minor);
        }
        let shown = |[credits, credit, debits, debit]: [i64; 4]| {
            let (credit, debit) = (money(&ours.currency, credit), money(&ours.currency, debit));
            format!("{credits} in of {credit}, {debits} out of {debit}")
        };
        if counted != frozen {
            notes.find(Code::BatchTotals, &at, shown(frozen), shown(counted));
        }
        if let Some(told) = ours.told.filter(|told| *told != frozen) {
            let at = format!("{at} totals");
            notes.find(Code::BatchTotals, at, shown(frozen), shown(told));
        }
    }

    fn check_payouts(&self, gateway: &Gateway, notes: &mut Notes) {
        for (id, batch) in &self.batches {
            let at = format!("merchant batches/{id}");
            if !gateway.batches.contains_key(id) {
                notes.find(Code::BatchMember, &at, "a batch of the gateway", "none");
            }
            let paid = batch.payout_minor.filter(|minor| *minor != 0);
            let Some(minor) = paid else { continue };
            let currency = batch.currency.as_str();
            self.books.check_transfer(
                &at,
                (PAYOUT, id),
                (&format!("bank/{currency}"), &receivable(currency)),
                (currency, minor),
                notes,
            );
        }
        for (kind, reference) in self.books.entries.keys().filter(|(kind, _)| kind == PAYOUT) {
            let of = self.batches.get(reference);
            if of.and_then(|of| of.payout_minor).is_none() {
                let at = format!("merchant ledger_entries/{kind}/{reference}");
                notes.find(
                    Code::EntryWithoutMovement,
                    at,
                    "a batch that was paid out",
                    "none",
                );
            }
        }
    }

    /// What the acquirer owes by its books, less what the merchant has not heard of yet, is what it owes by the merchant's.
    fn check_owed<'a>(
        &self,
        gateway: &'a Gateway,
        known: &BTreeSet<&str>,
        mut owed: BTreeMap<&'a str, i128>,
        notes: &mut Notes,
    ) {
        let own = self.names();
        let theirs = gateway.books.sums();
        for name in &own {
            for (id, account) in &gateway.books.accounts {
                let currency = account.currency.as_str();
                let payable = *id == format!("payable/{name}/{currency}");
                let transit = *id == format!("in_transit/merchant/{name}/{currency}");
                if payable || transit {
                    let sum = theirs.get(id.as_str()).copied().unwrap_or(0);
                    *owed.entry(currency).or_default() -= sum;
                }
            }
        }
        for one in gateway
            .movements
            .values()
            .filter(|one| one.is_done() && one.moves_money())
        {
            let of = gateway.authorizations.get(&one.authorization_id);
            let of = of.filter(|of| own.contains(of.merchant_id.as_str()));
            if let Some(of) = of.filter(|_| !known.contains(one.id.as_str())) {
                *owed.entry(&of.currency).or_default() -= i128::from(one.signed_minor());
            }
        }
        let ours = self.books.sums();
        for (currency, theirs) in owed {
            let account = receivable(currency);
            let here = ours.get(account.as_str()).copied().unwrap_or(0);
            let at = format!("merchant ledger_accounts/{account}");
            notes.same(Code::ReceivableDiffers, at, currency, (theirs, here));
        }
    }
}

fn money(currency: &str, minor: i64) -> String {
    super::finding::money(currency, minor.into())
}
