//! A service's ledger, recomputed from its postings.

use std::collections::{BTreeMap, BTreeSet};

use openset_store::sqlx::Row as _;

use super::finding::{Code, Notes, money};
use super::source::Source;

/// An account.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) currency: String,
    balance_minor: i64,
    postings: i64,
}

/// A line of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Posting {
    pub(super) account: String,
    pub(super) currency: String,
    pub(super) amount_minor: i64,
    account_line: i64,
    balance_after_minor: i64,
}

/// The ledger of a service. Entries are known by kind and reference.
#[derive(Debug, Clone, Default)]
pub(super) struct Books {
    pub(super) accounts: BTreeMap<String, Account>,
    pub(super) entries: BTreeMap<(String, String), Vec<Posting>>,
    /// Postings that name no entry.
    strays: BTreeSet<(String, String)>,
}

pub(super) async fn read(source: &mut Source) -> anyhow::Result<Books> {
    let mut books = Books::default();
    let accounts = "SELECT id, currency, balance_minor, postings FROM ledger_accounts";
    for row in source.rows(accounts).await? {
        let account = Account {
            currency: row.try_get(1)?,
            balance_minor: row.try_get(2)?,
            postings: row.try_get(3)?,
        };
        books.accounts.insert(row.try_get(0)?, account);
    }
    for row in source
        .rows("SELECT kind, reference FROM ledger_entries")
        .await?
    {
        let name = (row.try_get(0)?, row.try_get(1)?);
        books.entries.insert(name, Vec::new());
    }
    let postings = "SELECT kind, reference, account, currency, amount_minor, account_line, \
         balance_after_minor FROM ledger_postings ORDER BY kind, reference, line";
    for row in source.rows(postings).await? {
        let name = (row.try_get(0)?, row.try_get(1)?);
        let posting = Posting {
            account: row.try_get(2)?,
            currency: row.try_get(3)?,
            amount_minor: row.try_get(4)?,
            account_line: row.try_get(5)?,
            balance_after_minor: row.try_get(6)?,
        };
        match books.entries.get_mut(&name) {
            Some(entry) => entry.push(posting),
            None => {
                books.strays.insert(name);
            }
        }
    }
    Ok(books)
}

impl Books {
    /// Everything that must hold in any ledger, whatever it is about.
    pub(super) fn check(&self, service: &str, notes: &mut Notes) {
        let mut lines: BTreeMap<&str, Vec<&Posting>> = BTreeMap::new();
        for ((kind, reference), postings) in &self.entries {
            let at = format!("{service} ledger_entries/{kind}/{reference}");
            check_entry(&at, postings, notes);
            for posting in postings {
                if !self.accounts.contains_key(&posting.account) {
                    let found = format!("account {}", posting.account);
                    notes.find(Code::PostingStray, &at, "an account that exists", found);
                }
                lines.entry(&posting.account).or_default().push(posting);
            }
        }
        for (kind, reference) in &self.strays {
            let at = format!("{service} ledger_postings/{kind}/{reference}");
            notes.find(Code::PostingStray, at, "an entry", "none");
        }
        for (id, account) in &self.accounts {
            let at = format!("{service} ledger_accounts/{id}");
            let mut lines = lines.remove(id.as_str()).unwrap_or_default();
            lines.sort_by_key(|posting| posting.account_line);
            check_account(&at, account, &lines, notes);
        }
    }

    /// What stands in every account, by its postings.
    pub(super) fn sums(&self) -> BTreeMap<&str, i128> {
        let mut sums: BTreeMap<&str, i128> = BTreeMap::new();
        for posting in self.entries.values().flatten() {
            *sums.entry(&posting.account).or_default() += i128::from(posting.amount_minor);
        }
        sums
    }

    /// One entry must move so much from the second account to the first, and nothing else.
    pub(super) fn check_transfer(
        &self,
        at: &str,
        (kind, reference): (&str, &str),
        (to, from): (&str, &str),
        (currency, amount_minor): (&str, i64),
        notes: &mut Notes,
    ) {
        let expected = transfer_text(to, from, currency, amount_minor.into());
        let name = (kind.to_owned(), reference.to_owned());
        let Some(postings) = self.entries.get(&name) else {
            let entry = format!("entry {kind}/{reference}: {expected}");
            notes.find(Code::MovementNotBooked, at, entry, "no entry");
            return;
        };
        let is = |account: &str, minor: i64| {
            let mut of = postings.iter().filter(|posting| posting.account == account);
            let first = of.next();
            of.next().is_none()
                && first.is_some_and(|one| one.currency == currency && one.amount_minor == minor)
        };
        if postings.len() != 2 || !is(to, amount_minor) || !is(from, -amount_minor) {
            let found: Vec<String> = postings
                .iter()
                .map(|one| {
                    format!(
                        "{} {}",
                        one.account,
                        money(&one.currency, one.amount_minor.into())
                    )
                })
                .collect();
            notes.find(Code::MovementBookedWrong, at, expected, found.join(", "));
        }
    }
}

fn transfer_text(to: &str, from: &str, currency: &str, minor: i128) -> String {
    format!(
        "{to} {}, {from} {}",
        money(currency, minor),
        money(currency, -minor)
    )
}

fn check_entry(at: &str, postings: &[Posting], notes: &mut Notes) {
    if postings.len() < 2 {
        let found = format!("{} postings", postings.len());
        notes.find(Code::EntryUnbalanced, at, "2 postings at least", found);
        return;
    }
    let mut sums: BTreeMap<&str, i128> = BTreeMap::new();
    for posting in postings {
        *sums.entry(&posting.currency).or_default() += i128::from(posting.amount_minor);
    }
    for (currency, sum) in sums {
        notes.same(Code::EntryUnbalanced, at, currency, (0, sum));
    }
}

fn check_account(at: &str, account: &Account, lines: &[&Posting], notes: &mut Notes) {
    let mut sum: i128 = 0;
    let mut wrong = None;
    for (number, line) in (1..).zip(lines) {
        sum += i128::from(line.amount_minor);
        let right = line.account_line == number
            && line.currency == account.currency
            && i128::from(line.balance_after_minor) == sum;
        if !right && wrong.is_none() {
            let expected = format!("line {number}, then {}", money(&account.currency, sum));
            let after = money(&line.currency, line.balance_after_minor.into());
            wrong = Some((
                expected,
                format!("line {}, then {after}", line.account_line),
            ));
        }
    }
    let count = i64::try_from(lines.len()).unwrap_or(i64::MAX);
    if wrong.is_none() && count != account.postings {
        wrong = Some((
            format!("{} lines", account.postings),
            format!("{count} lines"),
        ));
    }
    if let Some((expected, found)) = wrong {
        notes.find(Code::LineWrong, at, expected, found);
    }
    let kept = i128::from(account.balance_minor);
    notes.same(Code::BalanceWrong, at, &account.currency, (sum, kept));
}
