//! Authorizations: what the gateway was asked to hold under a payment, from number 1, with what was done about each.

use openset_protocol::balance::{self, AuthAnswer, Kind, Progress, Standing};
use openset_protocol::ids::Xid;
use openset_protocol::merchant::auth::{AuthResProof, AwaitingAuthRes};
use openset_protocol::merchant::kept_receipt;
use openset_protocol::messages::auth::{AuthResBaggage, AuthResPayload, CapResPayload};
use openset_protocol::messages::p::Receipt;
use openset_protocol::money::{Currency, CurrencyAmount};
use openset_protocol::wrapper::{Jwe, Jws};
use openset_store::packed::Packer;
use openset_store::{StoreError, Tx, Write};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::movements::{self, Movement, RestKey};
use super::payments::State;
use super::{amount, from_json, long_text, one_row, to_json};

/// Between the gateway's answer, which has none, and its baggage.
const ANSWER_END: &str = "\n";

/// What the gateway said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// Nothing yet: the bank may hold the amount.
    Nothing,
    Approved,
    Declined,
    /// Nothing that it signed, for so long that none is waited for; the amount is given back, should it be held.
    Refused,
}

impl Said {
    fn stored(name: &str) -> Result<Self, StoreError> {
        match name {
            "asked" => Ok(Self::Nothing),
            "approved" => Ok(Self::Approved),
            "declined" => Ok(Self::Declined),
            "failed" => Ok(Self::Refused),
            _ => Err(StoreError::Corrupt("authorizations.state")),
        }
    }

    /// Where an authorization stands of which nothing was asked since.
    fn unmoved(self) -> State {
        match self {
            Self::Nothing => State::Ordered,
            Self::Approved => State::Authorized,
            Self::Declined => State::Declined,
            Self::Refused => State::Failed,
        }
    }
}

/// An authorization, as stored.
#[derive(Debug, Clone)]
pub(crate) struct Authorization {
    pub(crate) number: i64,
    pub(crate) said: Said,
    /// What was asked for.
    pub(crate) amount: CurrencyAmount,
    pub(crate) awaiting: AwaitingAuthRes,
    /// The gateway's answer, with the newest receipt and the amount that it names: what the wallet is told.
    pub(crate) answer: Option<(AuthResPayload, AuthResBaggage)>,
    /// Why there is no answer.
    pub(crate) failure: Option<String>,
    /// In the order in which they were asked for.
    pub(crate) movements: Vec<Movement>,
}

/// Records that the gateway is asked. The caller holds the payment.
pub(crate) fn insert(
    packer: &Packer,
    xid: &Xid,
    (number, amount): (i64, CurrencyAmount),
    awaiting: &AwaitingAuthRes,
    (at_ms, rest): (i64, Option<&RestKey>),
) -> Result<Write, StoreError> {
    let asked = to_json(awaiting, "authorizations.asked")?;
    let asked = packer.pack("authorizations/asked", asked.as_bytes());
    let insert = sqlx::query(
        "INSERT INTO authorizations (xid, number, auth_rrpid, state, amount_minor, awaiting, asked, asked_at_ms, \
         rest_key, rest_digest) VALUES ($1, $2, $3, 'asked', $4, '', $5, $6, $7, $8)",
    )
    .bind(xid.to_string())
    .bind(number)
    .bind(awaiting.rrpid().to_string())
    .bind(amount.minor_i64())
    .bind(asked)
    .bind(at_ms)
    .bind(rest.map(|rest| rest.key.as_str()))
    .bind(rest.map(|rest| rest.digest.to_vec()));
    Ok(Write::may(insert))
}

/// The number of the authorization that an Idempotency-Key stands for, and what for.
pub(crate) async fn of_key(
    conn: &mut AnyConnection,
    key: &str,
) -> Result<Option<(i64, RestKey)>, StoreError> {
    let row = sqlx::query("SELECT number, rest_digest FROM authorizations WHERE rest_key = $1")
        .bind(key)
        .fetch_optional(conn)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let digest: Vec<u8> = row.try_get(1)?;
    let digest = digest.try_into();
    let rest = RestKey {
        key: key.to_owned(),
        digest: digest.map_err(|_| StoreError::Corrupt("authorizations.rest_digest"))?,
    };
    Ok(Some((row.try_get(0)?, rest)))
}

/// What [`of_payment`] reads of `a`, the authorization, and whether anything was asked since.
pub(super) const COLUMNS: &str = "a.number, a.state, a.amount_minor, a.awaiting, a.payload, a.baggage, a.failure, \
     a.asked, a.answer, a.baggage_packed, (SELECT COUNT(*) FROM movements m WHERE m.xid = a.xid)";
/// How many these are.
pub(super) const COLUMNS_COUNT: usize = 11;

/// All of a payment, in the order of the rows; a payment without any has one row, without a number.
pub(super) async fn of_payment(
    conn: &mut AnyConnection,
    xid: &Xid,
    (rows, currency): (&[AnyRow], Currency),
) -> Result<Vec<Authorization>, StoreError> {
    let mut all = Vec::with_capacity(rows.len());
    let mut moved = 0;
    for row in rows {
        let number: Option<i64> = row.try_get(0)?;
        if number.is_some() {
            all.push(read(conn, row, currency).await?);
        }
        moved = row.try_get::<i64, _>(10)?;
    }
    if moved == 0 {
        return Ok(all);
    }
    for movement in movements::of_payment(conn, xid).await? {
        let of = all
            .iter_mut()
            .find(|one| one.number == movement.auth_number);
        let of = of.ok_or(StoreError::Corrupt("movements.auth_number"))?;
        of.movements.push(movement);
    }
    Ok(all)
}

/// Where a payment stands of whose only authorization nothing was asked since the gateway's answer, which needs no more than
/// two columns to tell; none of any other.
pub(super) async fn state_of_unmoved(
    conn: &mut AnyConnection,
    xid: &Xid,
) -> Result<Option<State>, StoreError> {
    let rows = sqlx::query(
        "SELECT a.state, (SELECT COUNT(*) FROM movements m WHERE m.xid = a.xid) FROM authorizations a WHERE a.xid = $1",
    )
    .bind(xid.to_string())
    .fetch_all(conn)
    .await?;
    let [row] = &rows[..] else { return Ok(None) };
    if row.try_get::<i64, _>(1)? > 0 {
        return Ok(None);
    }
    let said: String = row.try_get(0)?;
    Ok(Some(Said::stored(&said)?.unmoved()))
}

async fn read(
    conn: &mut AnyConnection,
    row: &AnyRow,
    currency: Currency,
) -> Result<Authorization, StoreError> {
    let optional = |column: usize| row.try_get::<Option<String>, _>(column);
    let said: String = row.try_get(1)?;
    let awaiting = long_text(conn, row.try_get(7)?, optional(3)?).await?;
    let awaiting = awaiting.unwrap_or_default();
    let answer = long_text(conn, row.try_get(8)?, None).await?;
    let answer = answer.as_deref().map(read_answer).transpose()?;
    let payload = match (optional(4)?, answer) {
        (Some(newer), _) => Some(from_json(&newer, "authorizations.payload")?),
        (None, Some((auth_res, _))) => Some(payload_of(auth_res)?),
        (None, None) => None,
    };
    let newer = long_text(conn, row.try_get(9)?, optional(5)?).await?;
    let baggage = newer.as_deref().or(answer.map(|(_, baggage)| baggage));
    let baggage = baggage.map(|text| from_json(text, "authorizations.baggage"));
    Ok(Authorization {
        number: row.try_get(0)?,
        said: Said::stored(&said)?,
        amount: amount(
            currency.alpha(),
            row.try_get(2)?,
            "authorizations.amount_minor",
        )?,
        awaiting: from_json(&awaiting, "authorizations.asked")?,
        answer: payload.zip(baggage.transpose()?),
        failure: optional(6)?,
        movements: Vec::new(),
    })
}

/// AuthResData as the gateway signed it, and the baggage.
fn read_answer(answer: &str) -> Result<(&str, &str), StoreError> {
    let parts = answer.split_once(ANSWER_END);
    parts.ok_or(StoreError::Corrupt("authorizations.answer"))
}

/// What an answer says, until a newer receipt says otherwise.
fn payload_of(auth_res: &str) -> Result<AuthResPayload, StoreError> {
    let payload = AuthResProof::payload(&Jws(auth_res.to_owned()));
    payload.map_err(|_| StoreError::Corrupt("authorizations.answer"))
}

/// What ended the wait for an authorization.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// The gateway's signed answer, an approval or a decline, and the proof of it.
    Answered(Box<(AuthResPayload, AuthResBaggage)>, Box<AuthResProof>),
    /// The gateway has signed that it did nothing, and why.
    Refused(String),
    /// No signed answer will come, and why: the bank may hold the amount, or have paid it.
    Failed(String),
}

impl Outcome {
    /// What becomes of the payment, if this is its only authorization.
    pub(crate) fn state(&self) -> State {
        match self {
            Self::Answered(answer, _) if answer.0.approved() => State::Authorized,
            Self::Answered(..) => State::Declined,
            Self::Refused(_) | Self::Failed(_) => State::Failed,
        }
    }

    /// What became of the capture, of a sale that was approved.
    pub(crate) fn sold(&self) -> Option<&CapResPayload> {
        match self {
            Self::Answered(answer, _) => answer.0.cap_res_payload.as_ref(),
            Self::Refused(_) | Self::Failed(_) => None,
        }
    }
}

/// Why an authorization is not concluded.
pub(crate) const CONCLUDED: &str = "the payment was not waiting for an authorization";

/// Ends the wait for an authorization, or else nothing is kept: [`CONCLUDED`].
pub(crate) fn concluded(packer: &Packer, (xid, number): (&Xid, i64), outcome: &Outcome) -> Write {
    let (proof, failure) = match outcome {
        Outcome::Answered(_, proof) => (Some(proof), None),
        Outcome::Refused(reason) | Outcome::Failed(reason) => (None, Some(reason.as_str())),
    };
    let answer = proof.map(|proof| {
        let (auth_res, end) = (proof.auth_res.0.as_bytes(), ANSWER_END.as_bytes());
        let answer = [auth_res, end, &proof.baggage.0].concat();
        packer.pack("authorizations/answer", &answer)
    });
    let said = match outcome.state() {
        State::Authorized => "approved",
        State::Declined => "declined",
        _ => "failed",
    };
    let conclude = sqlx::query(
        "UPDATE authorizations SET state = $1, answer = $2, failure = $3 \
         WHERE xid = $4 AND number = $5 AND state = 'asked'",
    )
    .bind(said)
    .bind(answer)
    .bind(failure)
    .bind(xid.to_string())
    .bind(number);
    Write::must(conclude, CONCLUDED)
}

/// A receipt that was verified, if it is newer than the one that is kept: the wallet believes the bank's word alone, so what
/// it is told is what this one says. The caller holds the payment.
pub(crate) async fn take_receipt(
    tx: &mut Tx,
    xid: &Xid,
    one: &Authorization,
    jws: &Jws,
) -> Result<(), StoreError> {
    let (Some((payload, baggage)), said) = (&one.answer, one.said) else {
        return Ok(());
    };
    if said != Said::Approved {
        return Ok(());
    }
    let newer = kept_receipt(jws).map_err(|_| StoreError::Corrupt("authorizations.baggage"))?;
    let held = baggage.receipt.as_ref().map(kept_receipt);
    let is_held = |held: &Receipt| held.sequence >= newer.sequence;
    if held.and_then(Result::ok).as_ref().is_some_and(is_held) {
        // Answers to requests side by side may come in any order.
        return Ok(());
    }
    let (mut payload, mut baggage) = (payload.clone(), baggage.clone());
    payload.auth_amt = newer.auth_amt;
    payload.auth_date = newer.auth_date;
    baggage.receipt = Some(jws.clone());
    let baggage = to_json(&baggage, "authorizations.baggage")?;
    let done = sqlx::query(
        "UPDATE authorizations SET payload = $1, baggage_packed = $2 WHERE xid = $3 AND number = $4",
    )
    .bind(to_json(&payload, "authorizations.payload")?)
    .bind(tx.packer().pack("authorizations/baggage", baggage.as_bytes()))
    .bind(xid.to_string())
    .bind(one.number)
    .execute(&mut **tx)
    .await?;
    one_row(done.rows_affected(), "the authorization is gone")
}

impl Authorization {
    /// As the state rules read it. When the bank's hold runs out the gateway knows alone: here it never does.
    pub(crate) fn for_rules(&self) -> balance::Authorization {
        let at_s = |payload: &AuthResPayload| payload.auth_date.seconds();
        balance::Authorization {
            auth_rrpid: self.awaiting.rrpid(),
            amount_minor: self.amount.minor(),
            answer: match self.said {
                Said::Nothing => AuthAnswer::Asked,
                Said::Declined | Said::Refused => AuthAnswer::Refused,
                Said::Approved => AuthAnswer::Approved {
                    at_s: self.answer.as_ref().map_or(0, |(payload, _)| at_s(payload)),
                    expires_at_s: i64::MAX,
                },
            },
            movements: self.movements.iter().map(Movement::for_rules).collect(),
        }
    }

    /// What a further authorization of the payment may be asked for with.
    pub(crate) fn auth_token(&self) -> Option<&Jwe> {
        let (_, baggage) = self.answer.as_ref()?;
        baggage.auth_token.as_ref()
    }

    /// Where it stands.
    pub(crate) fn standing(&self) -> Standing {
        self.for_rules().standing(0)
    }

    /// Where a payment with this one alone would stand.
    pub(crate) fn state(&self) -> State {
        match self.said {
            Said::Refused if self.may_be_sold() => return State::Reversing,
            Said::Nothing | Said::Declined | Said::Refused => return self.said.unmoved(),
            Said::Approved => {}
        }
        match self.standing() {
            Standing::AtWork => match self.at_work().map(|movement| &movement.kind) {
                Some(Kind::Capture) => State::Capturing,
                Some(Kind::CaptureReversal(_) | Kind::CreditReversal(_)) => State::Voiding,
                _ => State::Reversing,
            },
            Standing::Captured { amount_minor, .. } if self.refunded_minor() == amount_minor => {
                State::Refunded
            }
            Standing::Captured { .. } => State::Captured,
            Standing::Reversed => State::Reversed,
            Standing::Authorized { .. } | Standing::Expired | Standing::Refused => {
                State::Authorized
            }
        }
    }

    /// Whether it is a sale that no answer is waited for any more, and that is not back yet: the bank may have paid it.
    fn may_be_sold(&self) -> bool {
        let back = self.last(&Kind::Reversal);
        self.awaiting.is_sale() && back.is_some_and(|back| back.progress != Progress::Done)
    }

    /// Whether it is a sale of which the gateway has said no more than this, and that may stand captured unseen.
    pub(crate) fn may_be_unseen_sale(&self, said: Said) -> bool {
        self.awaiting.is_sale() && self.said == said && self.last(&Kind::Capture).is_none()
    }

    /// What else has to wait for.
    fn at_work(&self) -> Option<&Movement> {
        let waited_for = |movement: &&Movement| {
            movement.progress == Progress::Asked && movement.kind != Kind::Credit
        };
        self.movements.iter().find(waited_for)
    }

    /// The newest movement of a kind.
    pub(crate) fn last(&self, kind: &Kind) -> Option<&Movement> {
        self.movements.iter().rfind(|one| one.kind == *kind)
    }

    /// The capture that stands.
    pub(crate) fn capture(&self) -> Option<&Movement> {
        let id = self.for_rules().capture()?.id.clone();
        self.movements.iter().find(|one| one.id == id)
    }

    /// What went back of the capture that stands, in minor units, as far as the gateway has said so.
    pub(crate) fn refunded_minor(&self) -> u64 {
        let rules = self.for_rules();
        let done = rules
            .credits()
            .filter(|credit| credit.progress == Progress::Done);
        done.fold(0, |sum, credit| sum.saturating_add(credit.amount_minor))
    }

    /// What is authorized, in minor units: what was approved, less what was given back.
    pub(crate) fn remaining_minor(&self) -> u64 {
        self.for_rules().remaining_minor()
    }

    /// What was given back of an approval, in minor units.
    pub(crate) fn reversed_minor(&self) -> u64 {
        match self.said {
            Said::Approved => self.amount.minor().saturating_sub(self.remaining_minor()),
            _ => 0,
        }
    }

    /// What stood authorized after a movement, in minor units.
    pub(crate) fn remaining_after(&self, movement: &Movement) -> u64 {
        let mut then = self.for_rules();
        let after = then.movements.iter().position(|one| one.id == movement.id);
        then.movements
            .truncate(after.map_or(0, |place| place.saturating_add(1)));
        then.remaining_minor()
    }
}
