//! Recomputing the books from their postings, page by page, without trusting what is kept.

use std::collections::BTreeMap;

use sqlx::{AnyConnection, Row};

use super::LedgerError;
use crate::Snapshot;

/// How many faults an [`Audit`] lists at most.
pub const FAULTS_MAX: usize = 100;
/// Rows held in memory at a time.
const PAGE_ROWS: i64 = 1000;

/// What [`check`] found. The books are right if `faults` is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Accounts looked at.
    pub accounts: u64,
    /// Entries looked at.
    pub entries: u64,
    /// Postings looked at.
    pub postings: u64,
    /// What does not add up, the first [`FAULTS_MAX`].
    pub faults: Vec<Fault>,
}

/// Something in the books that does not add up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// An account's kept balance is not the sum of its postings.
    Balance {
        /// The account.
        account: String,
        /// The balance as kept.
        kept_minor: i64,
        /// The balance as recomputed.
        recomputed_minor: i128,
    },
    /// An account's postings are not numbered 1, 2, 3..., or one is in another currency, or the
    /// balance noted beside one is not the sum up to it.
    Line {
        /// The account.
        account: String,
        /// The number of the first line at fault.
        account_line: i64,
    },
    /// An entry's postings do not sum to zero.
    Unbalanced {
        /// The entry's kind.
        kind: String,
        /// The entry's reference.
        reference: String,
        /// The currency at fault.
        currency: String,
        /// What is left over, in minor units.
        sum_minor: i128,
    },
    /// An entry has fewer than two postings.
    TooFewPostings {
        /// The entry's kind.
        kind: String,
        /// The entry's reference.
        reference: String,
    },
    /// A posting belongs to no entry or to no account.
    Stray {
        /// The kind it names.
        kind: String,
        /// The reference it names.
        reference: String,
    },
}

impl Audit {
    fn note(&mut self, fault: Fault) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }
}

/// Recomputes every balance and every zero sum from the postings, as they are at one moment.
///
/// # Errors
/// The database's own failure. What does not add up is in the [`Audit`].
pub async fn check(seen: &mut Snapshot) -> Result<Audit, LedgerError> {
    let mut audit = Audit::default();
    check_accounts(seen, &mut audit).await?;
    check_entries(seen, &mut audit).await?;
    check_strays(seen, &mut audit).await?;
    Ok(audit)
}

struct Account {
    id: String,
    currency: String,
    kept_minor: i64,
    postings: i64,
}

async fn check_accounts(conn: &mut AnyConnection, audit: &mut Audit) -> Result<(), LedgerError> {
    let mut after = String::new();
    loop {
        let rows = sqlx::query(
            "SELECT id, currency, balance_minor, postings FROM ledger_accounts \
             WHERE id > $1 ORDER BY id LIMIT $2",
        )
        .bind(after.as_str())
        .bind(PAGE_ROWS)
        .fetch_all(&mut *conn)
        .await?;
        if rows.is_empty() {
            return Ok(());
        }
        for row in &rows {
            let account = Account {
                id: row.try_get(0)?,
                currency: row.try_get(1)?,
                kept_minor: row.try_get(2)?,
                postings: row.try_get(3)?,
            };
            check_account(conn, audit, &account).await?;
            after = account.id;
        }
    }
}

async fn check_account(
    conn: &mut AnyConnection,
    audit: &mut Audit,
    account: &Account,
) -> Result<(), LedgerError> {
    let mut sum: i128 = 0;
    let mut count: i64 = 0;
    let mut after = i64::MIN;
    let mut wrong_line = None;
    loop {
        let rows = sqlx::query(
            "SELECT account_line, currency, amount_minor, balance_after_minor \
             FROM ledger_postings WHERE account = $1 AND account_line > $2 \
             ORDER BY account_line LIMIT $3",
        )
        .bind(account.id.as_str())
        .bind(after)
        .bind(PAGE_ROWS)
        .fetch_all(&mut *conn)
        .await?;
        if rows.is_empty() {
            break;
        }
        for row in &rows {
            after = row.try_get(0)?;
            sum += i128::from(row.try_get::<i64, _>(2)?);
            count += 1;
            let right = after == count
                && row.try_get::<String, _>(1)? == account.currency
                && i128::from(row.try_get::<i64, _>(3)?) == sum;
            if !right {
                wrong_line.get_or_insert(after);
            }
        }
    }
    if count != account.postings {
        wrong_line.get_or_insert(account.postings);
    }
    if let Some(account_line) = wrong_line {
        audit.note(Fault::Line {
            account: account.id.clone(),
            account_line,
        });
    }
    if sum != i128::from(account.kept_minor) {
        audit.note(Fault::Balance {
            account: account.id.clone(),
            kept_minor: account.kept_minor,
            recomputed_minor: sum,
        });
    }
    audit.accounts += 1;
    Ok(())
}

/// The postings of one entry, as they come by.
#[derive(Default)]
struct Sums {
    kind: String,
    reference: String,
    line: i64,
    postings: u64,
    by_currency: BTreeMap<String, i128>,
}

impl Sums {
    fn settle(self, audit: &mut Audit) {
        if self.postings == 1 {
            audit.note(Fault::TooFewPostings {
                kind: self.kind.clone(),
                reference: self.reference.clone(),
            });
        }
        for (currency, sum_minor) in self.by_currency {
            if sum_minor != 0 {
                audit.note(Fault::Unbalanced {
                    kind: self.kind.clone(),
                    reference: self.reference.clone(),
                    currency,
                    sum_minor,
                });
            }
        }
    }
}

async fn check_entries(conn: &mut AnyConnection, audit: &mut Audit) -> Result<(), LedgerError> {
    let mut open = Sums::default();
    loop {
        let rows = sqlx::query(
            "SELECT kind, reference, line, currency, amount_minor FROM ledger_postings \
             WHERE (kind, reference, line) > ($1, $2, $3) \
             ORDER BY kind, reference, line LIMIT $4",
        )
        .bind(open.kind.as_str())
        .bind(open.reference.as_str())
        .bind(open.line)
        .bind(PAGE_ROWS)
        .fetch_all(&mut *conn)
        .await?;
        if rows.is_empty() {
            break;
        }
        for row in &rows {
            let (kind, reference): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            if kind != open.kind || reference != open.reference {
                let next = Sums {
                    kind,
                    reference,
                    ..Sums::default()
                };
                std::mem::replace(&mut open, next).settle(audit);
            }
            open.line = row.try_get(2)?;
            open.postings += 1;
            *open.by_currency.entry(row.try_get(3)?).or_default() +=
                i128::from(row.try_get::<i64, _>(4)?);
            audit.postings += 1;
        }
    }
    open.settle(audit);
    let entries: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM ledger_entries")
        .fetch_one(&mut *conn)
        .await?;
    audit.entries = entries.unsigned_abs();
    Ok(())
}

/// Foreign keys prevent strays; who edits the file with them switched off is found here.
async fn check_strays(conn: &mut AnyConnection, audit: &mut Audit) -> Result<(), LedgerError> {
    let strays = sqlx::query(
        "SELECT p.kind, p.reference FROM ledger_postings p \
         LEFT JOIN ledger_entries e ON e.kind = p.kind AND e.reference = p.reference \
         LEFT JOIN ledger_accounts a ON a.id = p.account \
         WHERE e.kind IS NULL OR a.id IS NULL LIMIT $1",
    )
    .bind(PAGE_ROWS)
    .fetch_all(&mut *conn)
    .await?;
    for row in &strays {
        audit.note(Fault::Stray {
            kind: row.try_get(0)?,
            reference: row.try_get(1)?,
        });
    }
    let empty = sqlx::query(
        "SELECT e.kind, e.reference FROM ledger_entries e \
         LEFT JOIN ledger_postings p ON p.kind = e.kind AND p.reference = e.reference \
         WHERE p.kind IS NULL LIMIT $1",
    )
    .bind(PAGE_ROWS)
    .fetch_all(&mut *conn)
    .await?;
    for row in &empty {
        audit.note(Fault::TooFewPostings {
            kind: row.try_get(0)?,
            reference: row.try_get(1)?,
        });
    }
    Ok(())
}
