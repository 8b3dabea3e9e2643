//! The merchant's store against the gateway's: every payment is proved by the gateway's signature, and every movement
//! is the gateway's too.

use std::collections::{BTreeMap, BTreeSet};

use openset_protocol::merchant::auth::AuthResProof;
use openset_protocol::wrapper::Jws;
use openset_store::sqlx::Row as _;
use openset_store::sqlx::any::AnyRow;
use serde_json::Value;

use super::books::{self, Books};
use super::contracts::Contracts;
use super::finding::{Code, Notes, money};
use super::gateway::{self, Gateway};
use super::merchant_books::{self, Batch};
use super::merchant_texts::Texts;
use super::orders::{self, Order};
use super::proof::{Claim, Said, Trust};
use super::source::Source;

/// A payment as a list shows it.
#[derive(Debug, Clone)]
struct Payment {
    state: String,
}

/// What the gateway was asked to hold.
#[derive(Debug, Clone)]
pub(super) struct Authorization {
    pub(super) xid: String,
    pub(super) number: i64,
    pub(super) auth_rrpid: String,
    pub(super) merchant_id: String,
    brand: String,
    pub(super) state: String,
    pub(super) currency: String,
    pub(super) amount_minor: i64,
    pub(super) auth_res: Option<String>,
    pub(super) receipt: Option<String>,
    /// The answer with the newest receipt's amount and day, as the wallet is told it.
    pub(super) payload: Option<String>,
    /// It was to be captured at once.
    pub(super) is_sale: bool,
    pub(super) asked_at_s: i64,
}

/// What was done with it.
#[derive(Debug, Clone)]
pub(super) struct Movement {
    pub(super) id: String,
    pub(super) xid: String,
    pub(super) auth_number: i64,
    pub(super) kind: String,
    pub(super) amount_minor: i64,
    pub(super) state: String,
    pub(super) place: Option<(String, i64)>,
}

/// The merchant's store at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Merchant {
    payments: BTreeMap<String, Payment>,
    /// By XID and number.
    pub(super) authorizations: BTreeMap<(String, i64), Authorization>,
    pub(super) movements: Vec<Movement>,
    /// What was ordered, by the XID of who pays for it.
    pub(super) orders: BTreeMap<String, Order>,
    /// It keeps movements; an older one keeps sums.
    keeps_movements: bool,
    /// It keeps books and batches.
    keeps_books: bool,
    pub(super) batches: BTreeMap<String, Batch>,
    /// Payments of which something is still to be sent.
    pub(super) sending: BTreeSet<String>,
    pub(super) books: Books,
}

/// States of a payment that stands on an approval.
const PAID: [&str; 5] = [
    "authorized",
    "reversing",
    "reversed",
    "capturing",
    "captured",
];

pub(super) async fn read(source: &mut Source) -> anyhow::Result<Merchant> {
    let mut merchant = Merchant {
        books: books::read(source).await?,
        keeps_movements: source.has(170),
        keeps_books: source.has(186),
        orders: orders::read(source).await?,
        batches: merchant_books::read(source).await?,
        ..Merchant::default()
    };
    for row in source.rows("SELECT xid, state FROM payments").await? {
        let payment = Payment {
            state: row.try_get(1)?,
        };
        merchant.payments.insert(row.try_get(0)?, payment);
    }
    let authorizations = if source.has(202) {
        "SELECT a.xid, a.number, a.auth_rrpid, a.state, o.currency, a.amount_minor, a.auth_res, a.baggage, a.awaiting, \
         p.brand, a.payload, a.asked_at_ms, a.answer, a.baggage_packed, a.asked \
         FROM authorizations a JOIN payments p ON p.xid = a.xid JOIN orders o ON o.id = p.order_id"
    } else if source.has(170) {
        "SELECT a.xid, a.number, a.auth_rrpid, a.state, o.currency, a.amount_minor, a.auth_res, a.baggage, a.awaiting, \
         p.brand, a.payload, a.asked_at_ms FROM authorizations a JOIN payments p ON p.xid = a.xid JOIN orders o ON o.id = p.order_id"
    } else {
        "SELECT p.xid, 1, NULL, CASE p.state WHEN 'ordered' THEN 'asked' WHEN 'declined' THEN 'declined' WHEN 'failed' \
         THEN 'failed' ELSE 'approved' END, o.currency, o.amount_minor, NULL, p.auth_baggage, p.awaiting_auth, p.brand, NULL, \
         p.created_at_ms FROM payments p JOIN orders o ON o.id = p.order_id WHERE p.awaiting_auth IS NOT NULL"
    };
    for row in source.rows(authorizations).await? {
        let texts = Texts::read(source, &row).await?;
        let one = authorization(&row, texts)?;
        merchant
            .authorizations
            .insert((one.xid.clone(), one.number), one);
    }
    if source.has(170) {
        let movements = "SELECT id, xid, auth_number, kind, amount_minor, state, batch_id, batch_seq FROM movements";
        for row in source.rows(movements).await? {
            merchant.movements.push(movement(&row)?);
        }
    }
    for row in source.rows("SELECT reference FROM outbox").await? {
        merchant.sending.insert(row.try_get(0)?);
    }
    Ok(merchant)
}

fn authorization(row: &AnyRow, texts: Texts) -> anyhow::Result<Authorization> {
    let xid: String = row.try_get(0)?;
    // Of what does not come back nothing is known, and nothing will agree with it.
    let awaiting: Value = serde_json::from_str(&texts.asked).unwrap_or_default();
    let baggage: Value = texts
        .baggage
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let asked = |member: &str| text_at(&awaiting, &format!("/auth_tags/auth_rr_tags/{member}"));
    let (auth_rrpid, payload): (Option<String>, Option<String>) =
        (row.try_get(2)?, row.try_get(10)?);
    Ok(Authorization {
        number: row.try_get(1)?,
        auth_rrpid: auth_rrpid.or_else(|| asked("rrpid")).unwrap_or_default(),
        merchant_id: asked("merchant_id").unwrap_or_default(),
        state: row.try_get(3)?,
        currency: row.try_get(4)?,
        amount_minor: row.try_get(5)?,
        payload: payload.or_else(|| payload_of(texts.auth_res.as_deref()?)),
        auth_res: texts.auth_res,
        receipt: text_at(&baggage, "/receipt"),
        brand: row.try_get(9)?,
        is_sale: awaiting.pointer("/capture_now") == Some(&Value::Bool(true)),
        asked_at_s: row.try_get::<i64, _>(11)? / 1000,
        xid,
    })
}

/// What the gateway answered, which is told until a newer receipt says otherwise.
fn payload_of(auth_res: &str) -> Option<String> {
    let payload = AuthResProof::payload(&Jws(auth_res.to_owned())).ok()?;
    serde_json::to_string(&payload).ok()
}

fn text_at(value: &Value, pointer: &str) -> Option<String> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .map(str::to_owned)
}

fn movement(row: &AnyRow) -> anyhow::Result<Movement> {
    let place: (Option<String>, Option<i64>) = (row.try_get(6)?, row.try_get(7)?);
    Ok(Movement {
        id: row.try_get(0)?,
        xid: row.try_get(1)?,
        auth_number: row.try_get(2)?,
        kind: row.try_get(3)?,
        amount_minor: row.try_get(4)?,
        state: row.try_get(5)?,
        place: place.0.zip(place.1),
    })
}

impl Authorization {
    pub(super) fn at(&self) -> String {
        format!("merchant authorizations/{}/{}", self.xid, self.number)
    }

    pub(super) fn claim(&self) -> Claim<'_> {
        Claim {
            xid: &self.xid,
            auth_rrpid: &self.auth_rrpid,
            merchant_id: &self.merchant_id,
            brand: &self.brand,
            currency: &self.currency,
            amount_minor: self.amount_minor,
        }
    }
}

impl Movement {
    pub(super) fn at(&self) -> String {
        format!("merchant movements/{}", self.id)
    }

    pub(super) fn moves_money(&self) -> bool {
        self.kind != "reversal"
    }

    /// How much more the acquirer owes by it.
    pub(super) fn signed_minor(&self) -> i64 {
        match self.kind.as_str() {
            "capture" | "credit_reversal" => self.amount_minor,
            _ => -self.amount_minor,
        }
    }

    /// Whether it counts in this batch.
    pub(super) fn stands_in(&self, batch: &str) -> bool {
        let here = self.place.as_ref().is_some_and(|(id, _)| id == batch);
        here && self.state == "done" && self.moves_money()
    }
}

/// The gateway's authorizations by what both sides know them by.
pub(super) type Theirs<'a> = BTreeMap<(&'a str, &'a str), &'a gateway::Authorization>;

impl Merchant {
    /// Everything that must hold in the merchant's own store, and between it and the gateway's.
    pub(super) fn check(
        &self,
        gateway: &Gateway,
        (trust, contracts): (&Trust, &Contracts),
        notes: &mut Notes,
    ) {
        self.books.check("merchant", notes);
        let approved = gateway
            .authorizations
            .values()
            .filter(|one| one.state == "authorized");
        let theirs: Theirs<'_> = approved
            .map(|one| ((one.xid.as_str(), one.auth_rrpid.as_str()), one))
            .collect();
        for (xid, payment) in &self.payments {
            let mut of = self.authorizations.values().filter(|one| one.xid == *xid);
            let stands = of.any(|one| {
                one.state == "approved"
                    || payment.state == "reversing" && self.has_to_be_given_back(one)
            });
            if PAID.contains(&payment.state.as_str()) && !stands {
                let at = format!("merchant payments/{xid}");
                notes.find(Code::ProofMissing, at, "an approved authorization", "none");
            }
        }
        let mut said: BTreeMap<(&str, i64), Said> = BTreeMap::new();
        for one in self.authorizations.values() {
            match one.state.as_str() {
                "asked" => notes.wait(one.at(), "the gateway is asked for it"),
                "approved" => {
                    let name = (one.xid.as_str(), one.number);
                    said.insert(name, check_proof(one, trust, notes));
                    check_approval(one, &theirs, notes);
                }
                _ => {}
            }
        }
        self.check_known(gateway, notes);
        self.check_orders(gateway, (&said, contracts), notes);
        if self.keeps_movements {
            self.check_plans(&theirs, (&said, contracts), notes);
            let known = self.check_movements(gateway, &theirs, notes);
            self.check_receipts(gateway, (&theirs, &known), &said, notes);
            if self.keeps_books {
                self.check_books(gateway, &known, notes);
            }
        }
    }

    /// Whether it is one whose answer never came, and that is not given back yet.
    fn has_to_be_given_back(&self, one: &Authorization) -> bool {
        let of = |back: &&Movement| back.xid == one.xid && back.auth_number == one.number;
        let mut reversals = self.movements.iter().filter(of);
        one.state == "failed"
            && reversals.any(|back| back.kind == "reversal" && back.state != "done")
    }

    /// Whether the gateway is asked to give it back.
    fn is_asked_back(&self, one: &Authorization) -> bool {
        let asked = |back: &Movement| {
            back.xid == one.xid && back.auth_number == one.number && back.state == "asked"
        };
        self.has_to_be_given_back(one) && self.movements.iter().any(asked)
    }

    /// The reverse: what the gateway approved for this merchant it knows of, or asks about.
    fn check_known(&self, gateway: &Gateway, notes: &mut Notes) {
        let own: BTreeSet<&str> = self
            .authorizations
            .values()
            .map(|one| one.merchant_id.as_str())
            .collect();
        let known: BTreeMap<(&str, &str), &Authorization> = self
            .authorizations
            .values()
            .map(|one| ((one.xid.as_str(), one.auth_rrpid.as_str()), one))
            .collect();
        let by = gateway.by_authorization();
        for theirs in gateway.authorizations.values() {
            if theirs.state != "authorized" || !own.contains(theirs.merchant_id.as_str()) {
                continue;
            }
            let ours = known.get(&(theirs.xid.as_str(), theirs.auth_rrpid.as_str()));
            let Some(ours) = ours else {
                notes.find(
                    Code::ApprovalMissing,
                    theirs.at(),
                    "an authorization at the merchant",
                    "none",
                );
                continue;
            };
            if ours.state == "approved" || ours.state == "asked" {
                continue;
            }
            let movements = by
                .get(theirs.id.as_str())
                .map(Vec::as_slice)
                .unwrap_or_default();
            let remains = theirs
                .for_rules(movements)
                .map_or(1, |rules| rules.remaining_minor());
            if self.sending.contains(&ours.xid) || self.is_asked_back(ours) {
                notes.wait(ours.at(), "it is being given back");
            } else if remains > 0 {
                let found = format!("{}, and not given back", ours.state);
                notes.find(
                    Code::ApprovalDiffers,
                    ours.at(),
                    "an approval, as at the gateway",
                    found,
                );
            }
        }
    }

    /// Gives the gateway's movements that the merchant has as done.
    fn check_movements<'a>(
        &self,
        gateway: &'a Gateway,
        theirs: &Theirs<'_>,
        notes: &mut Notes,
    ) -> BTreeSet<&'a str> {
        let by_place: BTreeMap<(&str, i64), &gateway::Movement> = gateway
            .movements
            .values()
            .filter(|one| one.is_done())
            .filter_map(|one| Some(((one.batch_id.as_deref()?, one.batch_seq?), one)))
            .collect();
        let by = gateway.by_authorization();
        let mut known: BTreeSet<&str> = BTreeSet::new();
        for one in &self.movements {
            if one.state == "asked" {
                notes.wait(
                    one.at(),
                    format!("the gateway is asked for this {}", one.kind),
                );
            }
            if one.state != "done" || !one.moves_money() {
                continue;
            }
            let of = self.of(one, theirs);
            let at_place = one
                .place
                .as_ref()
                .and_then(|(batch, seq)| by_place.get(&(batch.as_str(), *seq)).copied());
            // Captures of before there were places.
            let found = at_place.or_else(|| {
                let movements = by.get(of?.id.as_str())?;
                let mut same = movements
                    .iter()
                    .filter(|m| m.is_done() && m.kind == one.kind);
                same.next().copied().filter(|_| one.place.is_none())
            });
            let Some(found) = found else {
                notes.find(
                    Code::MovementMissing,
                    one.at(),
                    format!("the gateway's {}", one.kind),
                    "none",
                );
                continue;
            };
            known.insert(&found.id);
            let same = found.kind == one.kind
                && found.amount_minor == one.amount_minor
                && of.is_some_and(|of| of.id == found.authorization_id);
            if !same {
                let currency = of.map_or("", |of| of.currency.as_str());
                let expected = format!(
                    "{} of {}",
                    found.kind,
                    money(currency, found.amount_minor.into())
                );
                let found = format!(
                    "{} of {}",
                    one.kind,
                    money(currency, one.amount_minor.into())
                );
                notes.find(Code::MovementDiffers, one.at(), expected, found);
            }
        }
        self.check_movements_known(gateway, &known, notes);
        self.check_reversals(theirs, &by, notes);
        known
    }

    /// The currency of a movement.
    pub(super) fn currency_of(&self, one: &Movement) -> &str {
        let of = self.authorizations.get(&(one.xid.clone(), one.auth_number));
        of.map_or("?", |of| of.currency.as_str())
    }

    /// The gateway's authorization that a movement belongs to.
    fn of<'a>(&self, one: &Movement, theirs: &Theirs<'a>) -> Option<&'a gateway::Authorization> {
        let ours = self
            .authorizations
            .get(&(one.xid.clone(), one.auth_number))?;
        theirs
            .get(&(ours.xid.as_str(), ours.auth_rrpid.as_str()))
            .copied()
    }

    fn check_movements_known(&self, gateway: &Gateway, known: &BTreeSet<&str>, notes: &mut Notes) {
        let own: BTreeMap<(&str, &str), &Authorization> = self
            .authorizations
            .values()
            .map(|one| ((one.xid.as_str(), one.auth_rrpid.as_str()), one))
            .collect();
        for theirs in gateway.movements.values() {
            if !theirs.is_done() || !theirs.moves_money() || known.contains(theirs.id.as_str()) {
                continue;
            }
            let of = gateway.authorizations.get(&theirs.authorization_id);
            let ours = of.and_then(|of| own.get(&(of.xid.as_str(), of.auth_rrpid.as_str())));
            let Some(ours) = ours else { continue };
            let asked = self.movements.iter().any(|one| {
                one.state == "asked"
                    && one.xid == ours.xid
                    && one.auth_number == ours.number
                    && one.kind == theirs.kind
            });
            let undone = theirs
                .undoes
                .as_ref()
                .and_then(|id| gateway.movements.get(id));
            if asked || self.sending.contains(&ours.xid) || self.is_asked_back(ours) {
                notes.wait(theirs.at(), "the merchant has not heard of it yet");
            } else if ours.state == "failed" && gateway.came_to_nothing(theirs) {
                notes.wait(
                    theirs.at(),
                    "a sale that was taken back unseen; the merchant learns of it when it compares the batch",
                );
            } else if undone.is_some_and(|undone| undone.purged) {
                notes.wait(
                    theirs.at(),
                    "its batch was purged; the merchant learns of it when it asks",
                );
            } else {
                notes.find(
                    Code::MovementMissing,
                    theirs.at(),
                    format!("the merchant's {}", theirs.kind),
                    "none",
                );
            }
        }
    }

    /// What was given back before capture stands in no batch: the sums must agree.
    fn check_reversals(
        &self,
        theirs: &Theirs<'_>,
        by: &BTreeMap<&str, Vec<&gateway::Movement>>,
        notes: &mut Notes,
    ) {
        let mut sums: BTreeMap<(&str, i64), (i128, bool)> = BTreeMap::new();
        for one in &self.movements {
            let sum = sums.entry((one.xid.as_str(), one.auth_number)).or_default();
            if one.state == "done" && !one.moves_money() {
                sum.0 += i128::from(one.amount_minor);
            }
            sum.1 |= one.state == "asked";
        }
        for ours in self
            .authorizations
            .values()
            .filter(|one| one.state == "approved")
        {
            let (sum, asked) = sums
                .get(&(ours.xid.as_str(), ours.number))
                .copied()
                .unwrap_or_default();
            let Some(of) = theirs.get(&(ours.xid.as_str(), ours.auth_rrpid.as_str())) else {
                continue;
            };
            if asked || self.sending.contains(&ours.xid) {
                continue;
            }
            let movements = by
                .get(of.id.as_str())
                .map(Vec::as_slice)
                .unwrap_or_default();
            let reversed = movements
                .iter()
                .filter(|one| one.is_done() && one.kind == "reversal");
            let reversed: i128 = reversed.map(|one| i128::from(one.amount_minor)).sum();
            let at = format!("{} reversed", ours.at());
            notes.same(Code::MovementDiffers, at, &ours.currency, (reversed, sum));
        }
    }
}

/// What the gateway signed, if it is what it should be.
fn check_proof(one: &Authorization, trust: &Trust, notes: &mut Notes) -> Said {
    let claim = one.claim();
    if one.auth_res.is_none() && one.receipt.is_none() {
        notes.find(
            Code::ProofMissing,
            one.at(),
            "the gateway's signed answer",
            "none",
        );
    }
    let mut wrong = |what: &str, error: anyhow::Error| {
        let at = format!("{} {what}", one.at());
        let expected = "signed by the gateway for this payment";
        notes.find(Code::ProofWrong, at, expected, error.to_string());
    };
    // Rows of before answers were kept have the receipt alone.
    let answer = one.auth_res.as_ref();
    let answer = answer.map(|text| trust.check_auth_res(text, &claim));
    let receipt = one.receipt.as_ref();
    let receipt = receipt.map(|text| trust.check_receipt(text, &claim));
    Said {
        signed_at_s: answer
            .and_then(|checked| checked.map_err(|error| wrong("auth_res", error)).ok()),
        receipt: receipt.and_then(|checked| checked.map_err(|error| wrong("receipt", error)).ok()),
    }
}

fn check_approval(one: &Authorization, theirs: &Theirs<'_>, notes: &mut Notes) {
    let Some(of) = theirs.get(&(one.xid.as_str(), one.auth_rrpid.as_str())) else {
        notes.find(
            Code::ApprovalMissing,
            one.at(),
            "an approval at the gateway",
            "none",
        );
        return;
    };
    let same = of.currency == one.currency
        && of.amount_minor == one.amount_minor
        && of.merchant_id == one.merchant_id
        && of.brand == one.brand;
    if !same {
        let expected = money(&of.currency, of.amount_minor.into());
        let found = money(&one.currency, one.amount_minor.into());
        notes.find(Code::ApprovalDiffers, one.at(), expected, found);
    }
}
