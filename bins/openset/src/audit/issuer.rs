//! The issuer's store: what each account holds and owes, and what gateways did with it.

use std::collections::{BTreeMap, BTreeSet};

use openset_store::sqlx::Row as _;
use openset_store::sqlx::any::AnyRow;

use super::books::{self, Books};
use super::finding::{Code, Notes};
use super::source::Source;

/// A credit account.
#[derive(Debug, Clone)]
struct Account {
    currency: String,
    credit_limit_minor: i64,
    held_minor: i64,
    owed_minor: i64,
}

/// An authorization, which is a hold while it is in state held.
#[derive(Debug, Clone)]
pub(super) struct Authorization {
    pub(super) id: String,
    pub(super) gateway: String,
    account_id: Option<String>,
    pub(super) state: String,
    pub(super) currency: String,
    pub(super) amount_minor: i64,
    pub(super) captured_minor: i64,
    pub(super) credited_minor: i64,
    reversed_minor: i64,
    pub(super) held_minor: i64,
    pub(super) merchant_id: String,
    /// The payment's XID.
    pub(super) reference: String,
    pub(super) expires_at_s: i64,
    pub(super) approval_code: Option<String>,
}

/// What moved money.
#[derive(Debug, Clone)]
pub(super) struct Movement {
    pub(super) gateway: String,
    pub(super) id: String,
    pub(super) authorization_id: String,
    pub(super) kind: String,
    n: i64,
    pub(super) currency: String,
    /// How much more the cardholder owes.
    pub(super) amount_minor: i64,
    undone_by: Option<String>,
    pub(super) settled_by: Option<String>,
}

/// A part of a batch that was paid.
#[derive(Debug, Clone)]
pub(super) struct Settlement {
    pub(super) gateway: String,
    pub(super) batch_id: String,
    pub(super) part: i64,
    pub(super) currency: String,
    pub(super) net_minor: i64,
    items: i64,
}

/// The issuer's store at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Issuer {
    accounts: BTreeMap<String, Account>,
    pub(super) authorizations: BTreeMap<String, Authorization>,
    /// By gateway and id.
    pub(super) movements: BTreeMap<(String, String), Movement>,
    pub(super) settlements: Vec<Settlement>,
    /// Each gateway has a settlement account of its own.
    own_accounts: bool,
    pub(super) books: Books,
}

pub(super) async fn read(source: &mut Source) -> anyhow::Result<Issuer> {
    let mut issuer = Issuer {
        books: books::read(source).await?,
        own_accounts: source.has(161),
        ..Issuer::default()
    };
    let accounts = "SELECT id, currency, credit_limit_minor, held_minor, owed_minor FROM accounts";
    for row in source.rows(accounts).await? {
        let account = Account {
            currency: row.try_get(1)?,
            credit_limit_minor: row.try_get(2)?,
            held_minor: row.try_get(3)?,
            owed_minor: row.try_get(4)?,
        };
        issuer.accounts.insert(row.try_get(0)?, account);
    }
    let authorizations = "SELECT id, gateway, account_id, state, currency, amount_minor, captured_minor, credited_minor, \
         reversed_minor, held_minor, merchant_id, reference, expires_at_s, approval_code FROM authorizations";
    for row in source.rows(authorizations).await? {
        let one = authorization(&row)?;
        issuer.authorizations.insert(one.id.clone(), one);
    }
    let movements = if source.has(161) {
        "SELECT gateway, id, authorization_id, kind, n, currency, amount_minor, undone_by, settled_by FROM movements"
    } else {
        "SELECT gateway, id, authorization_id, kind, n, currency, amount_minor, undone_by, NULL FROM movements"
    };
    for row in source.rows(movements).await? {
        let one = movement(&row)?;
        issuer
            .movements
            .insert((one.gateway.clone(), one.id.clone()), one);
    }
    if source.has(161) {
        let settlements =
            "SELECT gateway, batch_id, part, currency, net_minor, items FROM settlements";
        for row in source.rows(settlements).await? {
            issuer.settlements.push(Settlement {
                gateway: row.try_get(0)?,
                batch_id: row.try_get(1)?,
                part: row.try_get(2)?,
                currency: row.try_get(3)?,
                net_minor: row.try_get(4)?,
                items: row.try_get(5)?,
            });
        }
    }
    Ok(issuer)
}

fn authorization(row: &AnyRow) -> anyhow::Result<Authorization> {
    Ok(Authorization {
        id: row.try_get(0)?,
        gateway: row.try_get(1)?,
        account_id: row.try_get(2)?,
        state: row.try_get(3)?,
        currency: row.try_get(4)?,
        amount_minor: row.try_get(5)?,
        captured_minor: row.try_get(6)?,
        credited_minor: row.try_get(7)?,
        reversed_minor: row.try_get(8)?,
        held_minor: row.try_get(9)?,
        merchant_id: row.try_get(10)?,
        reference: row.try_get(11)?,
        expires_at_s: row.try_get(12)?,
        approval_code: row.try_get(13)?,
    })
}

fn movement(row: &AnyRow) -> anyhow::Result<Movement> {
    Ok(Movement {
        gateway: row.try_get(0)?,
        id: row.try_get(1)?,
        authorization_id: row.try_get(2)?,
        kind: row.try_get(3)?,
        n: row.try_get(4)?,
        currency: row.try_get(5)?,
        amount_minor: row.try_get(6)?,
        undone_by: row.try_get(7)?,
        settled_by: row.try_get(8)?,
    })
}

impl Authorization {
    pub(super) fn at(&self) -> String {
        format!("issuer authorizations/{}", self.id)
    }
}

impl Movement {
    pub(super) fn at(&self) -> String {
        format!("issuer movements/{}", self.id)
    }

    /// The reference in the books.
    fn reference(&self) -> String {
        let (of, n) = (&self.authorization_id, self.n);
        match self.kind.as_str() {
            "capture" if n == 1 => of.clone(),
            "capture" => format!("{of}/c{n}"),
            "capture_reversal" => format!("{of}/cr{n}"),
            "credit" => format!("{of}/{n}"),
            _ => format!("{of}/r{n}"),
        }
    }
}

impl Settlement {
    pub(super) fn at(&self) -> String {
        format!(
            "issuer settlements/{}/{}/{}",
            self.gateway, self.batch_id, self.part
        )
    }
}

impl Issuer {
    /// Everything that must hold within the issuer's own store.
    pub(super) fn check(&self, notes: &mut Notes) {
        self.books.check("issuer", notes);
        self.check_accounts(notes);
        let mut by: BTreeMap<&str, Vec<&Movement>> = BTreeMap::new();
        for movement in self.movements.values() {
            by.entry(&movement.authorization_id)
                .or_default()
                .push(movement);
        }
        for one in self.authorizations.values() {
            let movements = by.remove(one.id.as_str()).unwrap_or_default();
            check_authorization(one, &movements, notes);
        }
        for movement in by.values().flatten() {
            notes.find(
                Code::ReversalWrong,
                movement.at(),
                "an authorization",
                "none",
            );
        }
        self.check_booked(notes);
        self.check_settlements(notes);
    }

    fn check_accounts(&self, notes: &mut Notes) {
        let mut sums: BTreeMap<&str, (i128, i128)> = BTreeMap::new();
        for one in self.authorizations.values() {
            let Some(account) = &one.account_id else {
                continue;
            };
            let sum = sums.entry(account).or_default();
            sum.0 += i128::from(one.held_minor);
            sum.1 += i128::from(one.captured_minor) - i128::from(one.credited_minor);
        }
        let booked = self.books.sums();
        for (id, account) in &self.accounts {
            let at = format!("issuer accounts/{id}");
            let (held, owed) = sums.get(id.as_str()).copied().unwrap_or_default();
            let currency = account.currency.as_str();
            let kept = (
                i128::from(account.held_minor),
                i128::from(account.owed_minor),
            );
            notes.same(Code::HeldWrong, &at, currency, (held, kept.0));
            notes.same(Code::OwedWrong, &at, currency, (owed, kept.1));
            let ledger = booked
                .get(format!("cardholder/{id}").as_str())
                .copied()
                .unwrap_or(0);
            if ledger != owed {
                notes.same(
                    Code::OwedWrong,
                    format!("{at} (books)"),
                    currency,
                    (ledger, kept.1),
                );
            }
            let most = i128::from(account.credit_limit_minor);
            notes.at_most(
                Code::CreditLimitExceeded,
                &at,
                currency,
                (most, kept.0 + kept.1),
            );
            if kept.0 < 0 || kept.1 < 0 {
                notes.find(
                    Code::CreditLimitExceeded,
                    &at,
                    "nothing below zero",
                    "an amount below zero",
                );
            }
        }
    }

    fn check_booked(&self, notes: &mut Notes) {
        let mut references = BTreeSet::new();
        for movement in self.movements.values() {
            let Some(of) = self.authorizations.get(&movement.authorization_id) else {
                continue;
            };
            let reference = movement.reference();
            let currency = of.currency.as_str();
            let cardholder = format!(
                "cardholder/{}",
                of.account_id.as_deref().unwrap_or_default()
            );
            // One account for all gateways, until each had its own.
            let shared = format!("settlement/{currency}");
            let own = format!("settlement/{}/{currency}", movement.gateway);
            let name = (movement.kind.clone(), reference.clone());
            let uses_shared = self
                .books
                .entries
                .get(&name)
                .is_some_and(|lines| lines.iter().any(|line| line.account == shared));
            let settlement = if uses_shared || !self.own_accounts {
                &shared
            } else {
                &own
            };
            self.books.check_transfer(
                &movement.at(),
                (&movement.kind, &reference),
                (&cardholder, settlement),
                (currency, movement.amount_minor),
                notes,
            );
            references.insert(name);
        }
        for one in &self.settlements {
            let reference = format!("{}/{}/{}", one.gateway, one.batch_id, one.part);
            references.insert(("settlement".to_owned(), reference));
        }
        for name in self
            .books
            .entries
            .keys()
            .filter(|name| !references.contains(*name))
        {
            // The division of the account that all gateways once shared.
            if name.0 == "opening" && self.books.accounts.contains_key(&name.1) {
                continue;
            }
            let at = format!("issuer ledger_entries/{}/{}", name.0, name.1);
            notes.find(
                Code::EntryWithoutMovement,
                at,
                "a movement that was done",
                "none",
            );
        }
    }

    fn check_settlements(&self, notes: &mut Notes) {
        let mut settled: BTreeMap<(&str, String), (i64, i64)> = BTreeMap::new();
        for movement in self.movements.values() {
            if let Some(by) = &movement.settled_by {
                let sum = settled.entry((&movement.gateway, by.clone())).or_default();
                sum.0 = sum.0.saturating_add(1);
                sum.1 = sum.1.saturating_add(movement.amount_minor);
            }
        }
        for one in &self.settlements {
            let name = (
                one.gateway.as_str(),
                format!("{}/{}", one.batch_id, one.part),
            );
            let (items, net) = settled.remove(&name).unwrap_or_default();
            notes.same(
                Code::SettlementWrong,
                one.at(),
                &one.currency,
                (net.into(), one.net_minor.into()),
            );
            if items != one.items {
                let expected = format!("{items} movements");
                notes.find(
                    Code::SettlementWrong,
                    one.at(),
                    expected,
                    format!("{} named", one.items),
                );
            }
            if one.net_minor != 0 {
                let own = format!("settlement/{}/{}", one.gateway, one.currency);
                let cash = format!("cash/{}", one.currency);
                let reference = format!("{}/{}/{}", one.gateway, one.batch_id, one.part);
                let amount = (one.currency.as_str(), one.net_minor);
                self.books.check_transfer(
                    &one.at(),
                    ("settlement", &reference),
                    (&own, &cash),
                    amount,
                    notes,
                );
            }
        }
        for (gateway, by) in settled.keys() {
            let at = format!("issuer movements (settled by {gateway}/{by})");
            notes.find(
                Code::SettlementWrong,
                at,
                "a settlement of this name",
                "none",
            );
        }
    }
}

fn check_authorization(one: &Authorization, movements: &[&Movement], notes: &mut Notes) {
    let (code, at, currency) = (Code::AuthorizationWrong, one.at(), one.currency.as_str());
    let standing = |kind: &str| {
        let of = movements
            .iter()
            .filter(|m| m.kind == kind && m.undone_by.is_none());
        of.map(|m| i128::from(m.amount_minor)).sum::<i128>()
    };
    let wide = i128::from;
    notes.same(
        code,
        format!("{at} captured"),
        currency,
        (standing("capture"), wide(one.captured_minor)),
    );
    notes.same(
        code,
        format!("{at} credited"),
        currency,
        (-standing("credit"), wide(one.credited_minor)),
    );
    let (captured, credited) = (wide(one.captured_minor), wide(one.credited_minor));
    notes.at_most(
        Code::CreditedAboveCaptured,
        &at,
        currency,
        (captured, credited),
    );
    let amount = wide(one.amount_minor);
    let parts = wide(one.reversed_minor) + wide(one.held_minor) + captured;
    match one.state.as_str() {
        "held" | "captured" => notes.same(code, format!("{at} amount"), currency, (parts, amount)),
        _ => notes.at_most(code, format!("{at} amount"), currency, (amount, parts)),
    }
    let right = match one.state.as_str() {
        "held" => one.captured_minor == 0 && one.held_minor > 0,
        "captured" => one.held_minor == 0 && one.captured_minor > 0,
        _ => one.held_minor == 0 && one.captured_minor == 0,
    };
    if !right {
        let found = format!("state {}, with other amounts", one.state);
        notes.find(code, format!("{at} state"), "amounts of its state", found);
    }
    for reversal in movements.iter().filter(|m| m.kind.ends_with("_reversal")) {
        let kind = reversal.kind.trim_end_matches("_reversal");
        let original = movements
            .iter()
            .find(|m| m.kind == kind && m.n == reversal.n);
        let right = original.is_some_and(|original| {
            original.undone_by.as_deref() == Some(&reversal.id)
                && original.amount_minor == -reversal.amount_minor
        });
        if !right {
            notes.find(
                Code::ReversalWrong,
                reversal.at(),
                format!("a {kind} of its amount, undone by it"),
                "none",
            );
        }
    }
    for undone in movements.iter().filter(|m| m.undone_by.is_some()) {
        if !movements
            .iter()
            .any(|m| Some(&m.id) == undone.undone_by.as_ref())
        {
            notes.find(
                Code::ReversalWrong,
                undone.at(),
                "the movement that undid it",
                "none",
            );
        }
    }
}
