//! Authorizations: asked, then decided, once.

use openset_protocol::BrandId;
use openset_protocol::gateway::auth::{Asker, VerifiedPayment};
use openset_protocol::gateway::auth_rev::VerifiedAuthRevReq;
use openset_protocol::ids::{Rrpid, Xid};
use openset_protocol::messages::auth::{AuthCode, RespReason};
use openset_protocol::messages::initiation::Money;
use openset_protocol::money::Currency;
use openset_service::step_report::StepReport;
use openset_store::packed::{Packer, unpack};
use openset_store::{StoreError, Tx, Vault, Write};
use serde::Serialize;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use zeroize::Zeroizing;

use crate::error::GatewayError;

/// What was answered to a request for authorization. What was done with it since, its movements tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// The issuer was asked; what it did is not known yet.
    Asked,
    /// The issuer holds the amount.
    Authorized,
    /// The issuer said no.
    Declined,
    /// The gateway said no: the issuer was never asked.
    Refused,
}

/// An AuthReq that was verified.
#[derive(Debug)]
pub(crate) struct New<'a> {
    pub(crate) id: &'a str,
    pub(crate) asker: &'a Asker,
    /// The payment and its id, if the issuer is asked for it.
    pub(crate) payment: Option<(&'a VerifiedPayment, &'a str)>,
    /// Why the issuer is not asked, otherwise.
    pub(crate) refused: Option<AuthCode>,
    pub(crate) received_at_s: i64,
    pub(crate) steps: &'a [StepReport],
}

/// What the issuer said.
#[derive(Debug, Clone)]
pub(crate) struct Decided<'a> {
    pub(crate) code: AuthCode,
    pub(crate) reason: Option<RespReason>,
    pub(crate) approval_code: Option<&'a str>,
    pub(crate) issuer_authorization: Option<&'a str>,
    /// When the issuer's hold runs out.
    pub(crate) expires_at_s: Option<i64>,
    pub(crate) at_s: i64,
    pub(crate) steps: &'a [StepReport],
}

/// An authorization, as stored.
#[derive(Debug, Clone)]
pub(crate) struct Authorization {
    pub(crate) id: String,
    pub(crate) auth_rrpid: String,
    pub(crate) merchant_id: String,
    pub(crate) brand: String,
    /// None where the issuer was never asked.
    pub(crate) payment_id: Option<String>,
    pub(crate) state: State,
    pub(crate) card_sealed: Option<Vec<u8>>,
    pub(crate) currency: Currency,
    pub(crate) amount_minor: i64,
    pub(crate) auth_code: Option<String>,
    pub(crate) resp_reason: Option<String>,
    pub(crate) approval_code: Option<String>,
    pub(crate) issuer_authorization: Option<String>,
    pub(crate) received_at_s: i64,
    pub(crate) decided_at_s: Option<i64>,
    pub(crate) steps: Vec<StepReport>,
}

const COLUMNS: &str = "id, auth_rrpid, merchant_id, brand, state, card_sealed, currency, \
     amount_minor, auth_code, resp_reason, approval_code, issuer_authorization, received_at_s, \
     decided_at_s, payment_id, steps, steps_packed";

/// Lists of more steps than these count as one kind.
const STEP_KINDS_MAX: usize = 8;

/// Stores an AuthReq.
pub(crate) fn insert(packer: &Packer, vault: &Vault, new: &New<'_>) -> Result<Write, GatewayError> {
    let asker = new.asker;
    let payment = new.payment.map(|(payment, _)| payment);
    let card = payment
        .map(|payment| seal_card(vault, new.id, payment))
        .transpose()?;
    let state = if new.payment.is_some() {
        State::Asked
    } else {
        State::Refused
    };
    let insert = sqlx::query(
        "INSERT INTO authorizations (id, xid, auth_rrpid, merchant_id, brand, state, hpi, \
         card_sealed, currency, amount_minor, auth_code, received_at_s, decided_at_s, \
         captured_minor, payment_id, steps, steps_packed) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0, $14, '', $15)",
    )
    .bind(new.id)
    .bind(asker.auth_tags.trans_ids.xid.to_string())
    .bind(asker.rrpid().to_string())
    .bind(asker.merchant_id())
    .bind(asker.brand_id.as_str())
    .bind(state.name())
    .bind(payment.map(|payment| payment.hpi.as_bytes().to_vec()))
    .bind(card)
    .bind(asker.amount.currency().alpha())
    .bind(asker.amount.minor_i64())
    .bind(new.refused.map(name_of).transpose()?)
    .bind(new.received_at_s)
    .bind(new.refused.map(|_| new.received_at_s))
    .bind(new.payment.map(|(_, id)| id))
    .bind(pack_steps(packer, new.steps)?);
    Ok(Write::may(insert))
}

/// Remembers that the merchant took back an authorization of which nothing is known here.
pub(crate) async fn insert_reversed(
    tx: &mut Tx,
    id: &str,
    request: &VerifiedAuthRevReq,
    now_s: i64,
) -> Result<(), StoreError> {
    let asker = &request.asker;
    sqlx::query(
        "INSERT INTO authorizations (id, xid, auth_rrpid, merchant_id, brand, state, currency, amount_minor, \
         received_at_s, decided_at_s, captured_minor, steps) \
         VALUES ($1, $2, $3, $4, $5, 'refused', $6, 0, $7, $7, 0, '[]')",
    )
    .bind(id)
    .bind(request.trans_ids.xid.to_string())
    .bind(request.auth_rrpid.to_string())
    .bind(asker.merchant_id())
    .bind(asker.brand_id.as_str())
    .bind(request.auth_new_amt.currency().alpha())
    .bind(now_s)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

const TAKE_NAME: &str = "INSERT INTO authorization_names (merchant_id, brand, xid, auth_rrpid) VALUES ($1, $2, $3, $4) \
     ON CONFLICT DO NOTHING";

/// Takes the name of an authorization that nobody has asked for or taken back, or else nothing is kept.
pub(crate) fn take_name(
    (merchant_id, brand): (&str, &BrandId),
    (xid, auth_rrpid): (&Xid, &Rrpid),
) -> Write {
    let take = sqlx::query(TAKE_NAME)
        .bind(merchant_id)
        .bind(brand.as_str())
        .bind(xid.to_string())
        .bind(auth_rrpid.to_string());
    Write::must(take, "the authorization was asked for or taken back before")
}

/// The same as [`find`]; nobody else asks for an authorization of this name, or takes it back, until the transaction ends.
pub(crate) async fn lock(
    tx: &mut Tx,
    (merchant_id, brand): (&str, &BrandId),
    (xid, auth_rrpid): (&Xid, &Rrpid),
) -> Result<Option<Authorization>, GatewayError> {
    let names = [
        merchant_id,
        brand.as_str(),
        &xid.to_string(),
        &auth_rrpid.to_string(),
    ];
    let taken = sqlx::query(TAKE_NAME);
    let taken = names.iter().fold(taken, |taken, name| taken.bind(*name));
    if taken.execute(&mut **tx).await?.rows_affected() == 1 {
        // Whoever asks for an authorization or takes it back has taken its name.
        return Ok(None);
    }
    let held = sqlx::query(
        "UPDATE authorization_names SET xid = xid \
         WHERE merchant_id = $1 AND brand = $2 AND xid = $3 AND auth_rrpid = $4",
    );
    let held = names.iter().fold(held, |held, name| held.bind(*name));
    held.execute(&mut **tx).await?;
    find(&mut *tx, (merchant_id, brand), (xid, auth_rrpid)).await
}

/// What the merchant of this brand asked for under these names, if anything.
async fn find(
    conn: &mut AnyConnection,
    (merchant_id, brand): (&str, &BrandId),
    (xid, auth_rrpid): (&Xid, &Rrpid),
) -> Result<Option<Authorization>, GatewayError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM authorizations WHERE xid = $1 AND merchant_id = $2 AND auth_rrpid = $3 \
         AND brand = $4 ORDER BY payment_id IS NULL, id LIMIT 1"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(xid.to_string())
        .bind(merchant_id)
        .bind(auth_rrpid.to_string())
        .bind(brand.as_str())
        .fetch_optional(&mut *conn)
        .await?;
    match row {
        Some(row) => authorization(conn, &row).await.map(Some),
        None => Ok(None),
    }
}

/// Stores what the issuer said, once.
pub(crate) fn decide(
    packer: &Packer,
    id: &str,
    decided: &Decided<'_>,
) -> Result<Write, GatewayError> {
    let state = match decided.code {
        AuthCode::Approved => State::Authorized,
        _ => State::Declined,
    };
    let update = sqlx::query(
        "UPDATE authorizations SET state = $1, auth_code = $2, resp_reason = $3, \
         approval_code = $4, issuer_authorization = $5, expires_at_s = $6, decided_at_s = $7, \
         steps = '', steps_packed = $8 WHERE id = $9 AND state = 'asked'",
    )
    .bind(state.name())
    .bind(name_of(decided.code)?)
    .bind(decided.reason.map(name_of).transpose()?)
    .bind(decided.approval_code)
    .bind(decided.issuer_authorization)
    .bind(decided.expires_at_s)
    .bind(decided.at_s)
    .bind(pack_steps(packer, decided.steps)?)
    .bind(id);
    let unless = "the authorization was decided meanwhile";
    Ok(Write::must(update, unless))
}

/// The payment of an authorization that the issuer is asked for.
pub(crate) async fn payment_of(conn: &mut AnyConnection, id: &str) -> Result<String, StoreError> {
    let payment: Option<String> =
        sqlx::query_scalar("SELECT payment_id FROM authorizations WHERE id = $1")
            .bind(id)
            .fetch_one(conn)
            .await?;
    payment.ok_or(StoreError::Corrupt("authorizations.payment_id"))
}

/// Where an authorization stands.
pub(crate) async fn state_of(conn: &mut AnyConnection, id: &str) -> Result<State, StoreError> {
    let state: String = sqlx::query_scalar("SELECT state FROM authorizations WHERE id = $1")
        .bind(id)
        .fetch_one(conn)
        .await?;
    State::from_name(&state).ok_or(StoreError::Corrupt("authorizations.state"))
}

/// What was asked for a purchase: the one that holds its payment instruction first, then the newest.
pub(crate) async fn of_purchase(
    conn: &mut AnyConnection,
    xid: &Xid,
    limit: u32,
) -> Result<Vec<Authorization>, GatewayError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM authorizations WHERE xid = $1 ORDER BY \
         CASE WHEN state IN ('declined', 'refused') THEN 1 ELSE 0 END, received_at_s DESC, id LIMIT $2"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(xid.to_string())
        .bind(i64::from(limit))
        .fetch_all(&mut *conn)
        .await?;
    let mut all = Vec::with_capacity(rows.len());
    for row in &rows {
        all.push(authorization(conn, row).await?);
    }
    Ok(all)
}

/// The one authorization of this merchant, brand, purchase and RRPID that the issuer approved.
pub(crate) async fn find_approved(
    conn: &mut AnyConnection,
    (merchant_id, brand): (&str, &BrandId),
    xid: &Xid,
    auth_rrpid: &str,
) -> Result<Option<Authorization>, GatewayError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM authorizations WHERE xid = $1 AND merchant_id = $2 AND auth_rrpid = $3 \
         AND brand = $4 AND state = 'authorized'"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(xid.to_string())
        .bind(merchant_id)
        .bind(auth_rrpid)
        .bind(brand.as_str())
        .fetch_optional(&mut *conn)
        .await?;
    match row {
        Some(row) => authorization(conn, &row).await.map(Some),
        None => Ok(None),
    }
}

/// The issuer says that the hold has run out, whatever it had said before.
pub(crate) async fn expire(tx: &mut Tx, id: &str, now_s: i64) -> Result<(), StoreError> {
    sqlx::query("UPDATE authorizations SET expires_at_s = $1 WHERE id = $2 AND expires_at_s > $1")
        .bind(now_s)
        .bind(id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Adds to what was done, in order.
pub(crate) async fn add_step(tx: &mut Tx, id: &str, step: &StepReport) -> Result<(), GatewayError> {
    let row = sqlx::query("SELECT steps, steps_packed FROM authorizations WHERE id = $1")
        .bind(id)
        .fetch_one(&mut **tx)
        .await?;
    let mut steps = steps_of(tx, &row, 0).await?;
    steps.push(step.clone());
    sqlx::query("UPDATE authorizations SET steps = '', steps_packed = $1 WHERE id = $2")
        .bind(pack_steps(tx.packer(), &steps)?)
        .bind(id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// What was done, as it is stored: nearly all of it is the same wherever as many steps were.
fn pack_steps(packer: &Packer, steps: &[StepReport]) -> Result<Vec<u8>, serde_json::Error> {
    let kind = format!("authorizations/steps/{}", steps.len().min(STEP_KINDS_MAX));
    Ok(packer.pack(&kind, &serde_json::to_vec(steps)?))
}

/// What was done, from the columns `steps` and, after it, `steps_packed`.
async fn steps_of(
    conn: &mut AnyConnection,
    row: &AnyRow,
    column: usize,
) -> Result<Vec<StepReport>, GatewayError> {
    let packed: Option<Vec<u8>> = row.try_get(column.saturating_add(1))?;
    Ok(match packed {
        Some(packed) => serde_json::from_slice(&unpack(conn, packed).await?)?,
        None => serde_json::from_str(&row.try_get::<String, _>(column)?)?,
    })
}

/// The last four digits and the expiry, from the sealed card.
pub(crate) fn open_card(
    vault: &Vault,
    row: &Authorization,
) -> Result<Option<(String, String)>, GatewayError> {
    let Some(sealed) = &row.card_sealed else {
        return Ok(None);
    };
    let plain = vault.open(&card_context(&row.id), sealed)?;
    let card: Card = serde_json::from_slice(&plain)?;
    let masked = format!("**** **** **** {}", card.pan.last_four());
    Ok(Some((masked, card.expiry.to_string())))
}

#[derive(Serialize, serde::Deserialize)]
struct Card {
    pan: openset_protocol::card::Pan,
    expiry: openset_protocol::card::CardExpiry,
}

fn seal_card(vault: &Vault, id: &str, payment: &VerifiedPayment) -> Result<Vec<u8>, GatewayError> {
    let card = Card {
        pan: payment.pan.clone(),
        expiry: payment.card_expiry,
    };
    let plain = Zeroizing::new(serde_json::to_vec(&card)?);
    Ok(vault.seal(&card_context(id), &plain))
}

fn card_context(id: &str) -> String {
    format!("authorizations/card_sealed/{id}")
}

/// A code as it stands on the wire.
pub(crate) fn name_of(code: impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_value(code).and_then(serde_json::from_value)
}

async fn authorization(
    conn: &mut AnyConnection,
    row: &AnyRow,
) -> Result<Authorization, GatewayError> {
    let state: String = row.try_get(4)?;
    let currency: String = row.try_get(6)?;
    Ok(Authorization {
        id: row.try_get(0)?,
        auth_rrpid: row.try_get(1)?,
        merchant_id: row.try_get(2)?,
        brand: row.try_get(3)?,
        state: State::from_name(&state).ok_or(StoreError::Corrupt("authorizations.state"))?,
        card_sealed: row.try_get(5)?,
        currency: Currency::from_alpha(&currency)
            .map_err(|_| StoreError::Corrupt("authorizations.currency"))?,
        amount_minor: row.try_get(7)?,
        auth_code: row.try_get(8)?,
        resp_reason: row.try_get(9)?,
        approval_code: row.try_get(10)?,
        issuer_authorization: row.try_get(11)?,
        received_at_s: row.try_get(12)?,
        decided_at_s: row.try_get(13)?,
        payment_id: row.try_get(14)?,
        steps: steps_of(conn, row, 15).await?,
    })
}

impl Authorization {
    /// What was asked for.
    pub(crate) fn amount(&self) -> Money {
        Money {
            currency: self.currency,
            // It came out of a CurrencyAmount.
            amount_minor: u64::try_from(self.amount_minor).unwrap_or(0),
        }
    }
}

impl State {
    const ALL: [Self; 4] = [Self::Asked, Self::Authorized, Self::Declined, Self::Refused];

    /// As the database spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Authorized => "authorized",
            Self::Declined => "declined",
            Self::Refused => "refused",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}
