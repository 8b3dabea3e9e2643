//! What the audit prints.

use std::collections::BTreeMap;

use serde::Serialize;

use super::finding::{Finding, InFlight, money};
use super::gateway::Gateway;
use super::issuer::Issuer;
use super::merchant::Merchant;

/// What one service has stored.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The service.
    pub service: &'static str,
    /// Counts and sums.
    pub rows: Vec<SummaryRow>,
}

/// Things of one sort and currency.
#[derive(Debug, Clone, Serialize)]
pub struct SummaryRow {
    /// What they are.
    pub what: String,
    /// Their currency.
    pub currency: String,
    /// How many they are.
    pub count: u64,
    /// Their sum, in minor units.
    pub amount_minor: i128,
    /// Their sum, as people write it.
    pub amount: String,
}

/// What an audit found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What each service has stored.
    pub services: Vec<Summary>,
    /// What does not agree.
    pub findings: Vec<Finding>,
    /// What is under way, and was not judged.
    pub in_flight: Vec<InFlight>,
    /// Whether all of it agrees.
    pub agrees: bool,
}

/// Counts and sums by what and currency.
#[derive(Default)]
pub(super) struct Sums<'a>(BTreeMap<(&'a str, &'a str), (u64, i128)>);

impl<'a> Sums<'a> {
    pub(super) fn add(&mut self, what: &'a str, currency: &'a str, minor: impl Into<i128>) {
        let sum = self.0.entry((what, currency)).or_default();
        sum.0 = sum.0.saturating_add(1);
        sum.1 = sum.1.saturating_add(minor.into());
    }

    pub(super) fn summary(self, service: &'static str) -> Summary {
        let row = |((what, currency), (count, minor)): ((&str, &str), (u64, i128))| SummaryRow {
            what: what.to_owned(),
            currency: currency.to_owned(),
            count,
            amount_minor: minor,
            amount: money(currency, minor),
        };
        Summary {
            service,
            rows: self.0.into_iter().map(row).collect(),
        }
    }
}

/// What was done, in the plural.
fn plural(kind: &str) -> &'static str {
    match kind {
        "reversal" => "reversals",
        "capture" => "captures",
        "capture_reversal" => "captures reversed",
        "credit" => "credits",
        _ => "credits reversed",
    }
}

impl Merchant {
    pub(super) fn summary(&self) -> Summary {
        let mut sums = Sums::default();
        for one in self.authorizations.values() {
            let what = if one.state == "approved" {
                "authorizations"
            } else {
                "not authorized"
            };
            sums.add(what, &one.currency, one.amount_minor);
        }
        for one in self.movements.iter().filter(|one| one.state == "done") {
            sums.add(plural(&one.kind), self.currency_of(one), one.amount_minor);
        }
        let booked = self.books.sums();
        for (id, account) in &self.books.accounts {
            let sum = booked.get(id.as_str()).copied().unwrap_or(0);
            let what = match id.split('/').next() {
                Some("receivable") => "ledger: owed by the acquirer",
                Some("bank") => "ledger: paid out",
                _ => "ledger: sales",
            };
            sums.add(what, &account.currency, sum);
        }
        sums.summary("merchant")
    }
}

impl Gateway {
    pub(super) fn summary(&self) -> Summary {
        let mut sums = Sums::default();
        for one in self
            .authorizations
            .values()
            .filter(|one| one.state == "authorized")
        {
            sums.add("authorizations", &one.currency, one.amount_minor);
        }
        for one in self.movements.values().filter(|one| one.is_done()) {
            let of = self.authorizations.get(&one.authorization_id);
            let what = plural(&one.kind);
            sums.add(
                what,
                of.map_or("?", |of| of.currency.as_str()),
                one.amount_minor,
            );
        }
        let booked = self.books.sums();
        for (id, account) in &self.books.accounts {
            let sum = booked.get(id.as_str()).copied().unwrap_or(0);
            let what = if id.starts_with("payable/") {
                "ledger: owed to merchants"
            } else {
                "ledger: other accounts"
            };
            sums.add(what, &account.currency, sum);
        }
        sums.summary("gateway")
    }
}

impl Issuer {
    pub(super) fn summary(&self) -> Summary {
        let mut sums = Sums::default();
        for one in self.authorizations.values() {
            match one.state.as_str() {
                "held" => sums.add("holds", &one.currency, one.held_minor),
                "captured" => sums.add("captured", &one.currency, one.captured_minor),
                "declined" => sums.add("declined", &one.currency, one.amount_minor),
                _ => sums.add("given back", &one.currency, one.amount_minor),
            }
            if one.credited_minor > 0 {
                sums.add("credited", &one.currency, one.credited_minor);
            }
        }
        let booked = self.books.sums();
        for (id, account) in &self.books.accounts {
            let sum = booked.get(id.as_str()).copied().unwrap_or(0);
            let what = if id.starts_with("cardholder/") {
                "ledger: owed by cardholders"
            } else {
                "ledger: other accounts"
            };
            sums.add(what, &account.currency, sum);
        }
        sums.summary("issuer")
    }
}

impl Report {
    pub(super) fn new(
        services: Vec<Summary>,
        mut findings: Vec<Finding>,
        mut in_flight: Vec<InFlight>,
    ) -> Self {
        findings.sort();
        findings.dedup();
        in_flight.sort();
        in_flight.dedup();
        Self {
            services,
            agrees: findings.is_empty(),
            findings,
            in_flight,
        }
    }

    /// The last line.
    #[must_use]
    pub fn verdict(&self) -> String {
        let waiting = match self.in_flight.len() {
            0 => String::new(),
            count => format!(" ({count} in flight)"),
        };
        match self.findings.len() {
            0 => {
                format!("AGREED: the stores contradict neither themselves nor each other{waiting}")
            }
            1 => format!("NOT AGREED: 1 finding{waiting}"),
            count => format!("NOT AGREED: {count} findings{waiting}"),
        }
    }

    pub(super) fn print(&self, json: bool) {
        if json {
            match serde_json::to_string_pretty(self) {
                Ok(text) => println!("{text}"),
                Err(error) => eprintln!("openset audit: {error}"),
            }
            return;
        }
        print!("{self}");
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for service in &self.services {
            writeln!(f, "{}", service.service)?;
            for row in &service.rows {
                writeln!(f, "  {:<28} {:>6}  {:>22}", row.what, row.count, row.amount)?;
            }
        }
        for one in &self.findings {
            let (code, at) = (one.code.name(), &one.at);
            writeln!(
                f,
                "FINDING {code}: {at}: expected {}, found {}",
                one.expected, one.found
            )?;
        }
        for one in &self.in_flight {
            writeln!(f, "in flight: {}: {}", one.at, one.what)?;
        }
        writeln!(f, "{}", self.verdict())
    }
}
