//! Payments: one row for each XID under which a verified PReq came. What became of it is told by its authorizations and
//! their movements, by the state rules that the gateway decides by.

use std::fmt;
use std::str::FromStr;

use openset_protocol::balance;
use openset_protocol::digest::Digest;
use openset_protocol::ids::{Challenge, LocalId, Rrpid, TransIds, Xid};
use openset_protocol::merchant::p::{PayerName, VerifiedPReq};
use openset_protocol::messages::install_recur::InstallRecurData;
use openset_protocol::money::CurrencyAmount;
use openset_protocol::wrapper::{Jwe, Jws};
use openset_protocol::{BrandId, Thumbprint, Timestamp};
use openset_service::step_report::StepReport;
use openset_store::packed::Packer;
use openset_store::{StoreError, Tx, Write};
use serde::{Deserialize, Serialize};
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row};
use utoipa::ToSchema;

use super::authorizations::{self, Authorization};
use super::orders;
use super::{amount, from_json, long_text, stored, to_json};

/// Where a payment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// The gateway was asked and has not answered yet.
    Ordered,
    /// The bank holds the money.
    Authorized,
    /// The gateway was asked to give the authorization back, or a part of it, and has not answered yet.
    Reversing,
    /// All of the authorization was given back.
    Reversed,
    /// The bank or the gateway declined; the order may be paid in another way.
    Declined,
    /// The gateway did not take the request, or never answered.
    Failed,
    /// The merchant did not take it: nothing was asked of the gateway.
    Rejected,
    /// The gateway was asked for the money and has not answered yet.
    Capturing,
    /// The money was captured.
    Captured,
    /// The gateway was asked to cancel the capture or a refund, and has not answered yet.
    Voiding,
    /// All that was captured went back.
    Refunded,
}

impl State {
    const ALL: [Self; 11] = [
        Self::Ordered,
        Self::Authorized,
        Self::Reversing,
        Self::Reversed,
        Self::Declined,
        Self::Failed,
        Self::Rejected,
        Self::Capturing,
        Self::Captured,
        Self::Voiding,
        Self::Refunded,
    ];

    /// Which of several authorizations tells where their payment stands.
    fn rank(self) -> u8 {
        match self {
            Self::Rejected => 0,
            Self::Declined => 1,
            Self::Failed => 2,
            Self::Reversed => 3,
            Self::Ordered => 4,
            Self::Refunded => 5,
            Self::Captured => 6,
            Self::Authorized => 7,
            Self::Voiding => 8,
            Self::Capturing => 9,
            Self::Reversing => 10,
        }
    }

    /// As stored and as REST shows it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::Authorized => "authorized",
            Self::Reversing => "reversing",
            Self::Reversed => "reversed",
            Self::Declined => "declined",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Capturing => "capturing",
            Self::Captured => "captured",
            Self::Voiding => "voiding",
            Self::Refunded => "refunded",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for State {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|state| state.name() == text)
            .ok_or(())
    }
}

/// The PReq that a payment began with: all that its PRes needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskedBy {
    pub(crate) trans_ids: TransIds,
    pub(crate) rrpid: Rrpid,
    pub(crate) chall_c: Challenge,
    /// The digest that PRes repeats.
    pub(crate) request: Digest,
    /// The certificate that the purchase was opened with; absent in what was stored before there were renewals.
    #[serde(default)]
    pub(crate) merchant: Option<Thumbprint>,
}

/// A payment.
#[derive(Debug, Clone)]
pub(crate) struct Payment {
    pub(crate) xid: Xid,
    pub(crate) order_id: LocalId,
    pub(crate) brand: BrandId,
    /// The thumbprint of the certificate that signed PReq: nobody else may inquire.
    pub(crate) payer: PayerName,
    pub(crate) asked: AskedBy,
    /// The order's.
    pub(crate) amount: CurrencyAmount,
    /// In which parts, or how often, it is paid; none if once.
    pub(crate) plan: Option<InstallRecurData>,
    /// Why the gateway was not asked.
    pub(crate) failure: Option<String>,
    /// What the merchant has done so far: [`Payment::steps`].
    kept_steps: KeptSteps,
    /// As counted when this was read.
    revision: i64,
    /// By number.
    pub(crate) authorizations: Vec<Authorization>,
}

/// Reports of steps as they are stored: packed, or in a row of before as text. Whoever needs none of them is not held up by
/// them, should they be damaged.
#[derive(Debug, Clone)]
struct KeptSteps(Option<Vec<u8>>, Option<String>);

impl KeptSteps {
    /// In two columns of a row.
    fn of(row: &AnyRow, packed: usize, text: usize) -> Result<Self, sqlx::Error> {
        Ok(Self(row.try_get(packed)?, row.try_get(text)?))
    }

    async fn read(self, conn: &mut AnyConnection) -> Result<Vec<StepReport>, StoreError> {
        let steps = long_text(conn, self.0, self.1).await?;
        from_json(&steps.unwrap_or_default(), "payments.steps")
    }

    async fn into_done(self, conn: &mut AnyConnection) -> Result<Done, StoreError> {
        match self.read(conn).await {
            Ok(steps) => Ok(Done(Some(steps))),
            Err(StoreError::Corrupt(what)) => {
                tracing::error!(
                    error = what,
                    "reports of steps are damaged; they stay as they are"
                );
                Ok(Done(None))
            }
            Err(error) => Err(error),
        }
    }
}

/// What the merchant has done for a payment, to be added to. Damaged reports stay as they are: no money waits for them.
#[derive(Debug)]
pub(crate) struct Done(Option<Vec<StepReport>>);

impl Done {
    pub(crate) fn add(&mut self, steps: &[StepReport]) {
        if let Some(done) = &mut self.0 {
            done.extend_from_slice(steps);
        }
    }

    fn packed(&self, packer: &Packer) -> Result<Option<Vec<u8>>, StoreError> {
        let done = self.0.as_deref();
        done.map(|done| packed_steps(packer, done)).transpose()
    }
}

/// A payment that begins.
#[derive(Debug)]
pub(crate) struct NewPayment<'a> {
    pub(crate) order_id: &'a LocalId,
    pub(crate) brand: &'a BrandId,
    pub(crate) payer: PayerName,
    pub(crate) asked: &'a AskedBy,
    /// Kept with its payment instruction, for later authorizations.
    pub(crate) p_req: &'a VerifiedPReq,
    /// Why nothing is asked of the gateway, if it is rejected at once.
    pub(crate) rejected: Option<&'static str>,
    pub(crate) steps: &'a [StepReport],
    pub(crate) created_at_ms: i64,
}

/// What the cardholder signed and sealed for the gateway: the proof of what the payment is, should it ever be disputed.
#[derive(Serialize)]
struct Signed<'a> {
    /// None of a cardholder without a certificate.
    dual_signature: Option<&'a Jws>,
    pi: &'a Jwe,
}

fn packed_steps(packer: &Packer, steps: &[StepReport]) -> Result<Vec<u8>, StoreError> {
    let json = to_json(&steps, "payments.steps")?;
    Ok(packer.pack("payments/steps", json.as_bytes()))
}

/// Why nothing is kept when another PReq came under the same XID, or a replica has learned that the cardholder's certificate
/// is revoked.
pub(crate) const NOT_BEGUN: &str = "the purchase has a payment, or may have none";

/// Records a payment; changes no row if its XID has one already, or it is not rejected and the payer's certificate was learned
/// to be revoked.
pub(crate) fn insert<'a>(
    packer: &Packer,
    new: &NewPayment<'a>,
) -> Result<Query<'a, Any, AnyArguments>, StoreError> {
    let state = match new.rejected {
        None => State::Ordered,
        Some(_) => State::Rejected,
    };
    let (xid, p_req) = (new.asked.trans_ids.xid, new.p_req);
    let signed = Signed {
        dual_signature: p_req.dual_signature.as_ref(),
        pi: &p_req.pi,
    };
    let insert = sqlx::query(
        "INSERT INTO payments (xid, order_id, state, brand, cardholder, asked, dual_signature, failure, steps, \
         created_at_ms, signed, hoi, hpi, od_salt, steps_packed) \
         SELECT $1, $2, $3, $4, $5, $6, '', $7, '', $8, $9, $10, $11, $12, $13 \
         WHERE $7 IS NOT NULL OR NOT EXISTS (SELECT 1 FROM learned_revocations WHERE thumbprint = $5) \
         ON CONFLICT DO NOTHING",
    )
    .bind(xid.to_string())
    .bind(new.order_id.as_str())
    .bind(state.name())
    .bind(new.brand.as_str())
    .bind(new.payer.to_string())
    .bind(to_json(new.asked, "payments.asked")?)
    .bind(new.rejected)
    .bind(new.created_at_ms)
    .bind(packer.pack("payments/signed", to_json(&signed, "payments.signed")?.as_bytes()))
    .bind(p_req.hoi.to_string())
    .bind(p_req.hpi.to_string())
    .bind(p_req.od_salt.to_string())
    .bind(packed_steps(packer, new.steps)?);
    Ok(insert)
}

pub(crate) async fn find(
    conn: &mut AnyConnection,
    xid: &Xid,
) -> Result<Option<Payment>, StoreError> {
    // A row for each of its authorizations, and one if there is none.
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT {}, p.xid, p.order_id, p.brand, p.cardholder, p.asked, o.currency, o.amount_minor, p.failure, o.plan, \
         p.steps_packed, p.steps, p.revision FROM payments p JOIN orders o ON o.id = p.order_id LEFT JOIN authorizations a ON a.xid = p.xid \
         WHERE p.xid = $1 ORDER BY a.number",
        authorizations::COLUMNS
    )))
    .bind(xid.to_string())
    .fetch_all(&mut *conn)
    .await?;
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let mut payment = read(first, authorizations::COLUMNS_COUNT)?;
    let currency = payment.amount.currency();
    payment.authorizations = authorizations::of_payment(conn, xid, (&rows, currency)).await?;
    Ok(Some(payment))
}

/// The payment, which nobody else can decide about until the transaction ends.
pub(crate) async fn lock(tx: &mut Tx, xid: &Xid) -> Result<Payment, StoreError> {
    locked(tx, xid).await?;
    let payment = find(&mut *tx, xid).await?;
    payment.ok_or(StoreError::Corrupt("payments.xid"))
}

/// Like [`lock`], for who need look at nothing but what was done so far.
pub(crate) async fn hold(tx: &mut Tx, xid: &Xid) -> Result<Done, StoreError> {
    let row = locked(tx, xid).await?;
    KeptSteps::of(&row, 0, 1)?.into_done(tx).await
}

/// Its steps, as they are kept.
async fn locked(tx: &mut Tx, xid: &Xid) -> Result<AnyRow, StoreError> {
    let sql = [
        "SELECT steps_packed, steps FROM payments WHERE xid = $1",
        tx.for_update(),
    ]
    .concat();
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(xid.to_string())
        .fetch_optional(&mut **tx)
        .await?;
    row.ok_or(StoreError::Conflict("there is no such payment"))
}

/// Writes where the payment stands now, for lists, and counts its revision up; every transaction that changes something of it
/// ends with this, or its like.
pub(crate) async fn restate(tx: &mut Tx, xid: &Xid) -> Result<State, StoreError> {
    let state = state_now(tx, xid).await?;
    sqlx::query("UPDATE payments SET state = $1, revision = revision + 1 WHERE xid = $2")
        .bind(state.name())
        .bind(xid.to_string())
        .execute(&mut **tx)
        .await?;
    Ok(state)
}

/// The same, with all that the merchant has done for it. The caller holds it.
pub(crate) async fn restate_with(tx: &mut Tx, xid: &Xid, done: &Done) -> Result<State, StoreError> {
    let state = state_now(tx, xid).await?;
    let update = sqlx::query(RESTATED)
        .bind(state.name())
        .bind(done.packed(tx.packer())?)
        .bind(xid.to_string());
    update.execute(&mut **tx).await?;
    Ok(state)
}

const RESTATED: &str = "UPDATE payments SET state = $1, steps = CASE WHEN $2 IS NULL THEN steps ELSE '' END, \
     steps_packed = COALESCE($2, steps_packed), revision = revision + 1 WHERE xid = $3";

/// Why nothing is kept of what was decided on a payment as it was read.
pub(crate) const CHANGED: &str = "the payment was changed meanwhile";

/// What [`restate_with`] writes, of a payment that nobody holds and that still is as it was read; or else nothing is kept: [`CHANGED`].
pub(crate) fn restated_as_read(
    packer: &Packer,
    read: &Payment,
    (done, state): (&Done, State),
) -> Result<Write, StoreError> {
    let update = sqlx::query(AssertSqlSafe(format!("{RESTATED} AND revision = $4")))
        .bind(state.name())
        .bind(done.packed(packer)?)
        .bind(read.xid.to_string())
        .bind(read.revision);
    Ok(Write::must(update, CHANGED))
}

async fn state_now(tx: &mut Tx, xid: &Xid) -> Result<State, StoreError> {
    if let Some(state) = authorizations::state_of_unmoved(tx, xid).await? {
        return Ok(state);
    }
    let payment = find(&mut *tx, xid).await?;
    Ok(payment.ok_or(StoreError::Corrupt("payments.xid"))?.state())
}

fn read(row: &AnyRow, from: usize) -> Result<Payment, StoreError> {
    let at = |column: usize| from.saturating_add(column);
    let text = |column: usize| row.try_get::<String, _>(at(column));
    Ok(Payment {
        xid: stored(&text(0)?, "payments.xid")?,
        order_id: stored(&text(1)?, "payments.order_id")?,
        brand: stored(&text(2)?, "payments.brand")?,
        payer: stored(&text(3)?, "payments.cardholder")?,
        asked: from_json(&text(4)?, "payments.asked")?,
        amount: amount(&text(5)?, row.try_get(at(6))?, "orders.amount_minor")?,
        plan: orders::plan(row.try_get(at(8))?)?,
        failure: row.try_get(at(7))?,
        kept_steps: KeptSteps::of(row, at(9), at(10))?,
        revision: row.try_get(at(11))?,
        authorizations: Vec::new(),
    })
}

impl Payment {
    /// What the merchant has done so far.
    pub(crate) async fn steps(
        &self,
        conn: &mut AnyConnection,
    ) -> Result<Vec<StepReport>, StoreError> {
        self.kept_steps.clone().read(conn).await
    }

    /// The same, to be added to.
    pub(crate) async fn done(&self, conn: &mut AnyConnection) -> Result<Done, StoreError> {
        self.kept_steps.clone().into_done(conn).await
    }

    /// The authorization that tells where the payment stands: what an answer is waited for comes first, then what is
    /// held, what was captured, and what came to nothing; among equals the newest.
    pub(crate) fn leading(&self) -> Option<&Authorization> {
        self.authorizations
            .iter()
            .max_by_key(|one| (one.state().rank(), one.number))
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> State {
        self.leading().map_or(State::Rejected, Authorization::state)
    }

    /// Whether this is its only authorization, and nothing was asked of it since.
    pub(crate) fn has_but(&self, one: &Authorization) -> bool {
        let of_number = |other: &Authorization| other.number == one.number;
        self.authorizations.iter().all(of_number) && one.movements.is_empty()
    }

    /// The authorization of this number.
    pub(crate) fn numbered(&self, number: i64) -> Option<&Authorization> {
        self.authorizations.iter().find(|one| one.number == number)
    }

    /// Why there is no authorization, where the bank did not say.
    pub(crate) fn failure(&self) -> Option<&str> {
        let of_authorization = self.leading().and_then(|one| one.failure.as_deref());
        of_authorization.or(self.failure.as_deref())
    }

    /// When and how much was captured.
    pub(crate) fn captured(&self) -> Option<(Timestamp, CurrencyAmount)> {
        self.captured_of(self.leading()?)
    }

    /// When and how much was captured of an authorization.
    pub(crate) fn captured_of(&self, one: &Authorization) -> Option<(Timestamp, CurrencyAmount)> {
        let capture = one.capture()?;
        let at_ms = capture.done_at_ms.unwrap_or(capture.asked_at_ms);
        let at = Timestamp::from_seconds(at_ms.div_euclid(1000));
        Some((at, self.of(capture.amount_minor)?))
    }

    /// So many minor units in the payment's currency.
    pub(crate) fn of(&self, minor: u64) -> Option<CurrencyAmount> {
        CurrencyAmount::new(self.amount.currency(), minor).ok()
    }

    /// As the state rules read it.
    pub(crate) fn for_rules(&self) -> balance::Payment {
        balance::Payment {
            currency: self.amount.currency(),
            limit_minor: self.amount.minor(),
            plan: self.plan,
            opened_at_s: self.asked.trans_ids.p_req_date.seconds(),
            authorizations: self
                .authorizations
                .iter()
                .map(Authorization::for_rules)
                .collect(),
        }
    }
}
