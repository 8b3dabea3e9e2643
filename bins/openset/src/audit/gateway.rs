//! The gateway's store: payments, their authorizations and movements, and the batches that these stand in.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use openset_protocol::balance::{self, AuthAnswer, Kind, Progress};
use openset_protocol::messages::install_recur::InstallRecurData;
use openset_store::sqlx::Row as _;
use openset_store::sqlx::any::AnyRow;

use super::books::{self, Books};
use super::finding::{Code, Notes, money};
use super::plans;
use super::source::Source;

/// What one payment instruction began.
#[derive(Debug, Clone)]
pub(super) struct Payment {
    pub(super) merchant_id: String,
    pub(super) xid: String,
    pub(super) currency: String,
    pub(super) limit_minor: i64,
    /// In which parts, or how often, it is paid.
    pub(super) plan: Option<InstallRecurData>,
    /// The cardholder gets a receipt of what is done with it later.
    pub(super) has_receipts: bool,
}

/// An authorization.
#[derive(Debug, Clone)]
pub(super) struct Authorization {
    pub(super) id: String,
    pub(super) xid: String,
    pub(super) auth_rrpid: String,
    pub(super) merchant_id: String,
    pub(super) brand: String,
    pub(super) state: String,
    pub(super) currency: String,
    pub(super) amount_minor: i64,
    pub(super) payment_id: Option<String>,
    pub(super) issuer_authorization: Option<String>,
    pub(super) approval_code: Option<String>,
    pub(super) expires_at_s: Option<i64>,
    pub(super) received_at_s: i64,
    /// When it was answered, or (before that) received.
    pub(super) newest_at_s: i64,
}

/// What was done with an authorization.
#[derive(Debug, Clone)]
pub(super) struct Movement {
    pub(super) id: String,
    pub(super) authorization_id: String,
    pub(super) kind: String,
    pub(super) undoes: Option<String>,
    pub(super) amount_minor: i64,
    pub(super) state: String,
    pub(super) batch_id: Option<String>,
    pub(super) batch_seq: Option<i64>,
    /// Undone by a purge of its batch.
    pub(super) purged: bool,
    pub(super) at_s: i64,
}

/// A batch.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) merchant_id: String,
    brand: String,
    pub(super) currency: String,
    pub(super) state: String,
    items: i64,
    /// Counts and sums of what goes to the merchant and what leaves it, since it is closed.
    pub(super) frozen: Option<[i64; 4]>,
    pub(super) transmission: Option<String>,
    pub(super) settled_parts: i64,
}

/// The gateway's store at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Gateway {
    pub(super) payments: BTreeMap<String, Payment>,
    pub(super) authorizations: BTreeMap<String, Authorization>,
    pub(super) movements: BTreeMap<String, Movement>,
    pub(super) batches: BTreeMap<String, Batch>,
    pub(super) books: Books,
}

/// The kinds that move money.
pub(super) const MONEY: [&str; 4] = ["capture", "capture_reversal", "credit", "credit_reversal"];

pub(super) async fn read(source: &mut Source) -> anyhow::Result<Gateway> {
    let mut gateway = Gateway {
        books: books::read(source).await?,
        ..Gateway::default()
    };
    let payments = if source.has(201) {
        "SELECT id, merchant_id, currency, limit_minor, plan, xid, CAST(CASE WHEN receipt_for_sealed IS NULL THEN 0 ELSE 1 END AS BIGINT) \
         FROM payments"
    } else {
        "SELECT id, merchant_id, currency, limit_minor, NULL, xid, CAST(CASE WHEN receipt_for_sealed IS NULL THEN 0 ELSE 1 END AS BIGINT) \
         FROM payments"
    };
    for row in source.rows(payments).await? {
        let payment = Payment {
            merchant_id: row.try_get(1)?,
            currency: row.try_get(2)?,
            limit_minor: row.try_get(3)?,
            plan: plans::read(row.try_get(4)?).context("gateway payments.plan")?,
            xid: row.try_get(5)?,
            has_receipts: row.try_get::<i64, _>(6)? != 0,
        };
        gateway.payments.insert(row.try_get(0)?, payment);
    }
    let authorizations = "SELECT id, xid, auth_rrpid, merchant_id, brand, state, currency, amount_minor, payment_id, \
         issuer_authorization, expires_at_s, COALESCE(decided_at_s, received_at_s), received_at_s, approval_code FROM authorizations";
    for row in source.rows(authorizations).await? {
        let one = authorization(&row)?;
        gateway.authorizations.insert(one.id.clone(), one);
    }
    let movements = "SELECT id, authorization_id, kind, undoes, amount_minor, state, batch_id, batch_seq, \
         COALESCE(ended_at_s, asked_at_s), purged FROM movements";
    for row in source.rows(movements).await? {
        let one = movement(&row)?;
        gateway.movements.insert(one.id.clone(), one);
    }
    let batches = if source.has(171) {
        "SELECT id, merchant_id, brand, currency, state, items, credit_count, credit_minor, debit_count, debit_minor, \
         transmission, settled_parts FROM batches"
    } else {
        "SELECT id, merchant_id, brand, currency, state, items FROM batches"
    };
    let closes = source.has(171);
    for row in source.rows(batches).await? {
        gateway
            .batches
            .insert(row.try_get(0)?, batch(&row, closes)?);
    }
    Ok(gateway)
}

fn authorization(row: &AnyRow) -> anyhow::Result<Authorization> {
    Ok(Authorization {
        id: row.try_get(0)?,
        xid: row.try_get(1)?,
        auth_rrpid: row.try_get(2)?,
        merchant_id: row.try_get(3)?,
        brand: row.try_get(4)?,
        state: row.try_get(5)?,
        currency: row.try_get(6)?,
        amount_minor: row.try_get(7)?,
        payment_id: row.try_get(8)?,
        issuer_authorization: row.try_get(9)?,
        expires_at_s: row.try_get(10)?,
        newest_at_s: row.try_get(11)?,
        received_at_s: row.try_get(12)?,
        approval_code: row.try_get(13)?,
    })
}

fn movement(row: &AnyRow) -> anyhow::Result<Movement> {
    Ok(Movement {
        id: row.try_get(0)?,
        authorization_id: row.try_get(1)?,
        kind: row.try_get(2)?,
        undoes: row.try_get(3)?,
        amount_minor: row.try_get(4)?,
        state: row.try_get(5)?,
        batch_id: row.try_get(6)?,
        batch_seq: row.try_get(7)?,
        at_s: row.try_get(8)?,
        purged: row.try_get::<i64, _>(9)? != 0,
    })
}

fn batch(row: &AnyRow, closes: bool) -> anyhow::Result<Batch> {
    let mut batch = Batch {
        merchant_id: row.try_get(1)?,
        brand: row.try_get(2)?,
        currency: row.try_get(3)?,
        state: row.try_get(4)?,
        items: row.try_get(5)?,
        frozen: None,
        transmission: None,
        settled_parts: 0,
    };
    if closes {
        let total = |column: usize| row.try_get::<Option<i64>, _>(column);
        batch.frozen = match (total(6)?, total(7)?, total(8)?, total(9)?) {
            (Some(a), Some(b), Some(c), Some(d)) => Some([a, b, c, d]),
            _ => None,
        };
        batch.transmission = row.try_get(10)?;
        batch.settled_parts = row.try_get(11)?;
    }
    Ok(batch)
}

impl Movement {
    pub(super) fn is_done(&self) -> bool {
        self.state == "done"
    }

    pub(super) fn moves_money(&self) -> bool {
        MONEY.contains(&self.kind.as_str())
    }

    pub(super) fn at(&self) -> String {
        format!("gateway movements/{}", self.id)
    }

    /// How much more the cardholder owes, and the merchant is owed, by it.
    pub(super) fn signed_minor(&self) -> i64 {
        match self.kind.as_str() {
            "capture" | "credit_reversal" => self.amount_minor,
            _ => -self.amount_minor,
        }
    }

    fn for_rules(&self) -> anyhow::Result<balance::Movement> {
        let undone = || self.undoes.clone().context("a reversal that names nothing");
        Ok(balance::Movement {
            id: self.id.clone(),
            kind: match self.kind.as_str() {
                "reversal" => Kind::Reversal,
                "capture" => Kind::Capture,
                "credit" => Kind::Credit,
                "capture_reversal" => Kind::CaptureReversal(undone()?),
                "credit_reversal" => Kind::CreditReversal(undone()?),
                other => anyhow::bail!("a movement of kind {other}"),
            },
            amount_minor: u64::try_from(self.amount_minor)?,
            progress: match self.state.as_str() {
                "asked" => Progress::Asked,
                "done" => Progress::Done,
                "refused" => Progress::Refused,
                other => anyhow::bail!("a movement in state {other}"),
            },
            purged: false,
        })
    }
}

impl Authorization {
    pub(super) fn at(&self) -> String {
        format!("gateway authorizations/{}", self.id)
    }

    /// As the state rules read it.
    pub(super) fn for_rules(
        &self,
        movements: &[&Movement],
    ) -> anyhow::Result<balance::Authorization> {
        let movements: anyhow::Result<Vec<_>> =
            movements.iter().map(|one| one.for_rules()).collect();
        Ok(balance::Authorization {
            auth_rrpid: self
                .auth_rrpid
                .parse()
                .ok()
                .context("auth_rrpid is not an RRPID")?,
            amount_minor: u64::try_from(self.amount_minor)?,
            answer: match self.state.as_str() {
                "asked" => AuthAnswer::Asked,
                "authorized" => AuthAnswer::Approved {
                    at_s: self.newest_at_s,
                    expires_at_s: self.expires_at_s.context("approved, and without an end")?,
                },
                _ => AuthAnswer::Refused,
            },
            movements: movements?,
        })
    }
}

impl Gateway {
    /// What was done with each authorization.
    pub(super) fn by_authorization(&self) -> BTreeMap<&str, Vec<&Movement>> {
        let mut by: BTreeMap<&str, Vec<&Movement>> = BTreeMap::new();
        for movement in self.movements.values() {
            by.entry(&movement.authorization_id)
                .or_default()
                .push(movement);
        }
        by
    }

    /// Whether it is something that was taken back, or what took it back.
    pub(super) fn came_to_nothing(&self, one: &Movement) -> bool {
        let undoes = |other: &Movement| other.is_done() && other.undoes.as_ref() == Some(&one.id);
        one.undoes.is_some() || self.movements.values().any(undoes)
    }

    /// The newest moment that it has written down: its clock may be ahead of ours.
    pub(super) fn newest_at_s(&self) -> i64 {
        let authorizations = self.authorizations.values().map(|one| one.newest_at_s);
        let movements = self.movements.values().map(|one| one.at_s);
        authorizations.chain(movements).max().unwrap_or(0)
    }

    /// Everything that must hold within the gateway's own store.
    pub(super) fn check(&self, now_s: i64, notes: &mut Notes) {
        self.books.check("gateway", notes);
        self.check_payments(now_s.max(self.newest_at_s()), notes);
        self.check_booked(notes);
        let mut members: BTreeMap<&str, Vec<&Movement>> = BTreeMap::new();
        for movement in self.movements.values() {
            if let Some(batch_id) = &movement.batch_id {
                members.entry(batch_id).or_default().push(movement);
            }
        }
        for (id, batch) in &self.batches {
            let members = members.remove(id.as_str()).unwrap_or_default();
            self.check_batch(id, batch, &members, notes);
        }
        for movement in members.values().flatten() {
            notes.find(
                Code::BatchMember,
                movement.at(),
                "a batch that exists",
                "none",
            );
        }
    }

    fn check_payments(&self, now_s: i64, notes: &mut Notes) {
        let by = self.by_authorization();
        let mut counted: BTreeMap<&str, i128> = BTreeMap::new();
        for one in self.authorizations.values() {
            let movements = by
                .get(one.id.as_str())
                .map(Vec::as_slice)
                .unwrap_or_default();
            if one.state == "asked" {
                notes.wait(one.at(), "the issuer is asked for it");
            }
            for asked in movements
                .iter()
                .filter(|movement| movement.state == "asked")
            {
                notes.wait(
                    asked.at(),
                    format!("the issuer is asked for this {}", asked.kind),
                );
            }
            check_authorization(one, movements, notes);
            if let (Some(payment), Ok(rules)) = (&one.payment_id, one.for_rules(movements)) {
                let counts = i128::from(rules.counts_minor(now_s));
                let plan = self.payments.get(payment).and_then(|one| one.plan);
                let sum = counted.entry(payment).or_default();
                // Each of them may come to the limit, not all.
                *sum = if matches!(plan, Some(InstallRecurData::Recurring { .. })) {
                    counts.max(*sum)
                } else {
                    *sum + counts
                };
                match self.payments.get(payment) {
                    Some(payment)
                        if payment.currency == one.currency
                            && payment.merchant_id == one.merchant_id => {}
                    Some(_) => notes.find(
                        Code::LimitExceeded,
                        one.at(),
                        "its payment's merchant and currency",
                        "another",
                    ),
                    None => notes.find(Code::LimitExceeded, one.at(), "a payment", "none"),
                }
            }
        }
        for (id, payment) in &self.payments {
            let counts = counted.get(id.as_str()).copied().unwrap_or(0);
            let at = format!("gateway payments/{id}");
            let most = i128::from(payment.limit_minor);
            notes.at_most(Code::LimitExceeded, at, &payment.currency, (most, counts));
        }
    }

    fn check_booked(&self, notes: &mut Notes) {
        for movement in self
            .movements
            .values()
            .filter(|one| one.is_done() && one.moves_money())
        {
            let Some(of) = self.authorizations.get(&movement.authorization_id) else {
                notes.find(
                    Code::ReversalWrong,
                    movement.at(),
                    "an authorization",
                    "none",
                );
                continue;
            };
            let receivable = format!("receivable/issuer/{}", of.currency);
            let payable = format!("payable/{}/{}", of.merchant_id, of.currency);
            self.books.check_transfer(
                &movement.at(),
                (&movement.kind, &movement.id),
                (&receivable, &payable),
                (&of.currency, movement.signed_minor()),
                notes,
            );
        }
        for (kind, reference) in self.books.entries.keys() {
            if super::settlement::KINDS.contains(&kind.as_str()) {
                continue;
            }
            let stands = self
                .movements
                .get(reference)
                .is_some_and(|one| one.kind == *kind && one.is_done() && one.moves_money());
            if !stands {
                let at = format!("gateway ledger_entries/{kind}/{reference}");
                notes.find(
                    Code::EntryWithoutMovement,
                    at,
                    "a movement that was done",
                    "none",
                );
            }
        }
    }

    fn check_batch(&self, id: &str, batch: &Batch, members: &[&Movement], notes: &mut Notes) {
        let at = format!("gateway batches/{id}");
        let mut places = BTreeSet::new();
        for member in members {
            let of = self.authorizations.get(&member.authorization_id);
            let own = of.is_some_and(|of| {
                of.merchant_id == batch.merchant_id
                    && of.brand == batch.brand
                    && of.currency == batch.currency
            });
            if !own || !member.moves_money() {
                let expected = format!(
                    "{} of {} in {}",
                    batch.brand, batch.merchant_id, batch.currency
                );
                notes.find(
                    Code::BatchMember,
                    member.at(),
                    expected,
                    "a movement of something else",
                );
            }
            if batch.state == "closed" && member.state == "asked" {
                notes.find(
                    Code::BatchMember,
                    member.at(),
                    "nothing at work in a closed batch",
                    "asked",
                );
            }
            if member.is_done() {
                places.extend(member.batch_seq);
            }
        }
        let done = members.iter().filter(|one| one.is_done()).count();
        let expected: BTreeSet<i64> = (1..=batch.items).collect();
        if places != expected || done != places.len() {
            let listed: Vec<String> = places.iter().take(20).map(i64::to_string).collect();
            let found = format!("{done} done, at places {}", listed.join(", "));
            notes.find(
                Code::BatchGap,
                &at,
                format!("places 1 to {}", batch.items),
                found,
            );
        }
        let sums = totals(members);
        match (batch.state == "closed", batch.frozen) {
            (true, Some(frozen)) if frozen == sums => {}
            (false, None) => {}
            (_, frozen) => {
                let found = frozen.map_or_else(
                    || "none".to_owned(),
                    |frozen| shown(&batch.currency, frozen),
                );
                notes.find(Code::BatchTotals, &at, shown(&batch.currency, sums), found);
            }
        }
    }
}

/// Counts and sums of what goes to the merchant and of what leaves it.
fn totals(members: &[&Movement]) -> [i64; 4] {
    let mut sums = [0i64; 4];
    for member in members.iter().filter(|one| one.is_done()) {
        let at = if member.signed_minor() > 0 { 0 } else { 2 };
        sums[at] = sums[at].saturating_add(1);
        sums[at + 1] = sums[at + 1].saturating_add(member.amount_minor);
    }
    sums
}

fn shown(currency: &str, [credits, credit, debits, debit]: [i64; 4]) -> String {
    let (credit, debit) = (
        money(currency, credit.into()),
        money(currency, debit.into()),
    );
    format!("{credits} to the merchant for {credit}, {debits} from it for {debit}")
}

/// By the state rules, and by plain sums where these would not notice.
fn check_authorization(one: &Authorization, movements: &[&Movement], notes: &mut Notes) {
    let rules = match one.for_rules(movements) {
        Ok(rules) => rules,
        Err(error) => {
            notes.find(
                Code::AuthorizationWrong,
                one.at(),
                "an authorization by the rules",
                error.to_string(),
            );
            return;
        }
    };
    let done = |kind: &str| {
        movements
            .iter()
            .filter(move |m| m.kind == kind && m.is_done())
            .copied()
            .collect::<Vec<_>>()
    };
    let sum = |of: &[&Movement]| {
        of.iter()
            .map(|one| i128::from(one.amount_minor))
            .sum::<i128>()
    };
    let standing = |kind: &str| {
        let mut of = done(kind);
        of.retain(|movement| !rules.is_undone(&movement.id));
        sum(&of)
    };
    let approved = if one.state == "authorized" {
        i128::from(one.amount_minor)
    } else {
        0
    };
    let authorized = approved - sum(&done("reversal"));
    let captured = standing("capture");
    let code = Code::CapturedAboveAuthorized;
    notes.at_most(code, one.at(), &one.currency, (authorized, captured.max(0)));
    let credited = standing("credit");
    notes.at_most(
        Code::CreditedAboveCaptured,
        one.at(),
        &one.currency,
        (captured, credited),
    );
    for (kind, undone_kind) in [
        ("capture_reversal", "capture"),
        ("credit_reversal", "credit"),
    ] {
        let mut undone = BTreeSet::new();
        for reversal in done(kind) {
            let original = movements
                .iter()
                .find(|m| Some(&m.id) == reversal.undoes.as_ref());
            let right = original.is_some_and(|original| {
                original.kind == undone_kind
                    && original.is_done()
                    && original.amount_minor == reversal.amount_minor
            });
            if !right || !undone.insert(reversal.undoes.as_deref()) {
                let expected = format!("a {undone_kind} of its amount, undone once");
                let named = reversal.undoes.as_deref().unwrap_or("nothing");
                notes.find(Code::ReversalWrong, reversal.at(), expected, named);
            }
        }
    }
}
