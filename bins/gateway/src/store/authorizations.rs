//! Authorizations: asked, then decided, once.

use openset_protocol::gateway::auth::{Asker, VerifiedPayment};
use openset_protocol::ids::Xid;
use openset_protocol::messages::auth::{AuthCode, RespReason};
use openset_protocol::messages::initiation::Money;
use openset_protocol::money::Currency;
use openset_service::step_report::StepReport;
use openset_store::{StoreError, Tx, Vault};
use serde::Serialize;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::one_row;
use crate::error::GatewayError;

/// How far an authorization has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// The issuer was asked; what it did is not known yet.
    Asked,
    /// The issuer holds the amount.
    Authorized,
    /// The issuer said no.
    Declined,
    /// The gateway said no: the issuer was never asked.
    Refused,
    /// The issuer was asked to pay; whether it did is not known yet.
    Capturing,
    /// The issuer owes the amount.
    Captured,
    /// The hold ran out before it was captured.
    Expired,
}

/// An AuthReq that was verified.
#[derive(Debug)]
pub(crate) struct New<'a> {
    pub(crate) id: &'a str,
    pub(crate) asker: &'a Asker,
    /// The payment, if the issuer is asked for it.
    pub(crate) payment: Option<&'a VerifiedPayment>,
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
    pub(crate) captured_minor: i64,
    pub(crate) captured_at_s: Option<i64>,
    pub(crate) steps: Vec<StepReport>,
}

const COLUMNS: &str = "id, auth_rrpid, merchant_id, brand, state, card_sealed, currency, \
     amount_minor, auth_code, resp_reason, approval_code, issuer_authorization, received_at_s, \
     decided_at_s, captured_minor, captured_at_s, steps";

/// Stores an AuthReq. `false`: the payment instruction is locked by another one.
pub(crate) async fn insert(
    tx: &mut Tx,
    vault: &Vault,
    new: &New<'_>,
) -> Result<bool, GatewayError> {
    let asker = new.asker;
    let card = new
        .payment
        .map(|payment| seal_card(vault, new.id, payment))
        .transpose()?;
    let state = if new.payment.is_some() {
        State::Asked
    } else {
        State::Refused
    };
    let done = sqlx::query(
        "INSERT INTO authorizations (id, xid, auth_rrpid, merchant_id, brand, state, hpi, \
         card_sealed, currency, amount_minor, auth_code, received_at_s, decided_at_s, \
         captured_minor, steps) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0, $14) \
         ON CONFLICT DO NOTHING",
    )
    .bind(new.id)
    .bind(asker.auth_tags.trans_ids.xid.to_string())
    .bind(asker.rrpid().to_string())
    .bind(asker.merchant_id())
    .bind(asker.brand_id.as_str())
    .bind(state.name())
    .bind(new.payment.map(|payment| payment.hpi.as_bytes().to_vec()))
    .bind(card)
    .bind(asker.amount.currency().alpha())
    .bind(asker.amount.minor_i64())
    .bind(new.refused.map(name_of).transpose()?)
    .bind(new.received_at_s)
    .bind(new.refused.map(|_| new.received_at_s))
    .bind(serde_json::to_string(new.steps)?)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Stores what the issuer said, once.
pub(crate) async fn decide(
    tx: &mut Tx,
    id: &str,
    decided: &Decided<'_>,
) -> Result<(), GatewayError> {
    let state = match decided.code {
        AuthCode::Approved => State::Authorized,
        _ => State::Declined,
    };
    let rows = sqlx::query(
        "UPDATE authorizations SET state = $1, auth_code = $2, resp_reason = $3, \
         approval_code = $4, issuer_authorization = $5, decided_at_s = $6, steps = $7 \
         WHERE id = $8 AND state = 'asked'",
    )
    .bind(state.name())
    .bind(name_of(decided.code)?)
    .bind(decided.reason.map(name_of).transpose()?)
    .bind(decided.approval_code)
    .bind(decided.issuer_authorization)
    .bind(decided.at_s)
    .bind(serde_json::to_string(decided.steps)?)
    .bind(id)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    Ok(one_row(rows, "the authorization was decided meanwhile")?)
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
        .fetch_all(conn)
        .await?;
    rows.iter().map(authorization).collect()
}

/// The one authorization of this merchant, purchase and RRPID that the issuer approved.
pub(crate) async fn find_approved(
    conn: &mut AnyConnection,
    merchant_id: &str,
    xid: &Xid,
    auth_rrpid: &str,
) -> Result<Option<Authorization>, GatewayError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM authorizations WHERE xid = $1 AND merchant_id = $2 AND auth_rrpid = $3 \
         AND state IN ('authorized', 'capturing', 'captured', 'expired')"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(xid.to_string())
        .bind(merchant_id)
        .bind(auth_rrpid)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(authorization).transpose()
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

fn authorization(row: &AnyRow) -> Result<Authorization, GatewayError> {
    let state: String = row.try_get(4)?;
    let currency: String = row.try_get(6)?;
    let steps: String = row.try_get(16)?;
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
        captured_minor: row.try_get(14)?,
        captured_at_s: row.try_get(15)?,
        steps: serde_json::from_str(&steps)?,
    })
}

impl Authorization {
    /// What was asked for.
    pub(crate) fn amount(&self) -> Money {
        self.money(self.amount_minor)
    }

    /// What was captured.
    pub(crate) fn captured(&self) -> Money {
        self.money(self.captured_minor)
    }

    fn money(&self, minor: i64) -> Money {
        // Both columns hold what came out of a CurrencyAmount.
        Money {
            currency: self.currency,
            amount_minor: u64::try_from(minor).unwrap_or(0),
        }
    }
}

impl State {
    const ALL: [Self; 7] = [
        Self::Asked,
        Self::Authorized,
        Self::Declined,
        Self::Refused,
        Self::Capturing,
        Self::Captured,
        Self::Expired,
    ];

    /// As answers and the database spell it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Authorized => "authorized",
            Self::Declined => "declined",
            Self::Refused => "refused",
            Self::Capturing => "capturing",
            Self::Captured => "captured",
            Self::Expired => "expired",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}
