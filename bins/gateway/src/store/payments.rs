//! Payments: what one payment instruction began. Whoever decides something holds its row.

use openset_protocol::BrandId;
use openset_protocol::balance::{AuthAnswer, Authorization, Payment, limit_minor};
use openset_protocol::digest::Digest;
use openset_protocol::gateway::auth::{Asker, VerifiedPayment};
use openset_protocol::gateway::auth_rev::ReceiptFor;
use openset_protocol::money::Currency;
use openset_service::random;
use openset_store::packed::{Packer, learn_sealed};
use openset_store::{StoreError, Tx, Vault, Write};
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, Row};
use zeroize::Zeroizing;

use super::authorizations::State;
use super::movements;
use crate::error::GatewayError;

/// The member of [`VerifiedPayment`] from which on it may be packed.
const CHAIN: &[u8] = b"\"cardholder_chain\"";

/// Why nothing is kept of a payment whose instruction came before.
const KNOWN: &str = "the payment instruction came before";

/// A payment that begins: its id, what was done with it, and what makes it.
struct New {
    id: String,
    begun: Payment,
    insert: Query<'static, Any, AnyArguments>,
}

impl New {
    fn of(
        packer: &Packer,
        vault: &Vault,
        tolerance_percent: u8,
        asker: &Asker,
        payment: &VerifiedPayment,
    ) -> Result<Self, GatewayError> {
        let id = random::dated_hex_id::<16>();
        let receipt_for = serde_json::to_vec(&payment.receipt_for())?;
        let limit_minor = limit_minor(payment.purch_amt.minor(), tolerance_percent);
        let plan = payment.install_recur_data.as_ref();
        let plan = plan.map(serde_json::to_string).transpose()?;
        let begun = Payment {
            currency: payment.purch_amt.currency(),
            limit_minor,
            plan: payment.install_recur_data,
            opened_at_s: asker.auth_tags.trans_ids.p_req_date.seconds(),
            authorizations: Vec::new(),
        };
        let insert = sqlx::query(
            "INSERT INTO payments (id, hpi, merchant_id, brand, xid, currency, limit_minor, opened_at_s, \
             receipt_for_sealed, plan, kept_sealed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
             ON CONFLICT DO NOTHING",
        )
        .bind(id.clone())
        .bind(payment.hpi.as_bytes().to_vec())
        .bind(asker.merchant_id().to_owned())
        .bind(asker.brand_id.as_str().to_owned())
        .bind(asker.auth_tags.trans_ids.xid.to_string())
        .bind(begun.currency.alpha())
        .bind(i64::try_from(limit_minor).unwrap_or(i64::MAX))
        .bind(begun.opened_at_s)
        .bind(vault.seal(&context(&id), &receipt_for))
        .bind(plan)
        .bind(sealed(packer, vault, &id, payment)?);
        Ok(Self { id, begun, insert })
    }
}

/// What is kept of a payment instruction, sealed.
fn sealed(
    packer: &Packer,
    vault: &Vault,
    id: &str,
    payment: &VerifiedPayment,
) -> Result<Vec<u8>, serde_json::Error> {
    let kept = Zeroizing::new(serde_json::to_vec(payment)?);
    // The card number comes before its certificate's chain, and stays as it is.
    let chain = kept.windows(CHAIN.len()).position(|text| text == CHAIN);
    let kept = (&kept[..], chain.unwrap_or(kept.len()));
    Ok(packer.seal_packed(vault, "payments/kept", &kept_context(id), kept))
}

/// A payment whose instruction came never before, or else nothing is kept; with what was done with it.
pub(crate) fn insert(
    packer: &Packer,
    vault: &Vault,
    tolerance_percent: u8,
    asker: &Asker,
    payment: &VerifiedPayment,
) -> Result<(String, Payment, Write), GatewayError> {
    let new = New::of(packer, vault, tolerance_percent, asker, payment)?;
    Ok((new.id, new.begun, Write::must(new.insert, KNOWN)))
}

/// The payment of this instruction, made if there is none yet, which nobody else can decide about until the
/// transaction ends, with what was done with it. Of a new one so many percent more than was signed may stand authorized.
pub(crate) async fn open(
    tx: &mut Tx,
    vault: &Vault,
    tolerance_percent: u8,
    asker: &Asker,
    payment: &VerifiedPayment,
) -> Result<(String, Payment), GatewayError> {
    let new = New::of(tx.packer(), vault, tolerance_percent, asker, payment)?;
    let inserted = new.insert.execute(&mut **tx).await?;
    if inserted.rows_affected() == 1 {
        // Nobody else sees it until the transaction ends.
        return Ok((new.id, new.begun));
    }
    // An UPDATE locks the row on both databases; SQLite has no FOR UPDATE.
    let id: String =
        sqlx::query_scalar("UPDATE payments SET xid = xid WHERE hpi = $1 RETURNING id")
            .bind(payment.hpi.as_bytes().to_vec())
            .fetch_one(&mut **tx)
            .await?;
    sqlx::query("UPDATE payments SET kept_sealed = $1 WHERE id = $2 AND kept_sealed IS NULL")
        .bind(sealed(tx.packer(), vault, &id, payment)?)
        .bind(id.as_str())
        .execute(&mut **tx)
        .await?;
    let payment = load(tx, &id).await?;
    Ok((id, payment))
}

/// The payment of this instruction that this merchant began under this brand, and what was kept of it.
pub(crate) async fn find(
    conn: &mut AnyConnection,
    vault: &Vault,
    (merchant_id, brand): (&str, &BrandId),
    hpi: &Digest,
) -> Result<Option<(String, Option<VerifiedPayment>)>, GatewayError> {
    let row = sqlx::query(
        "SELECT id, kept_sealed FROM payments WHERE hpi = $1 AND merchant_id = $2 AND brand = $3",
    )
    .bind(hpi.as_bytes().to_vec())
    .bind(merchant_id)
    .bind(brand.as_str())
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let id: String = row.try_get(0)?;
    let Some(sealed) = row.try_get::<Option<Vec<u8>>, _>(1)? else {
        return Ok(Some((id, None)));
    };
    learn_sealed(conn, &sealed).await?;
    let kept = vault.open(&kept_context(&id), &sealed)?;
    Ok(Some((id, Some(serde_json::from_slice(&kept)?))))
}

fn kept_context(id: &str) -> String {
    format!("payments/kept_sealed/{id}")
}

/// Whom later receipts of a payment are for; none in payments of before they were kept.
pub(crate) async fn receipt_for(
    conn: &mut AnyConnection,
    vault: &Vault,
    id: &str,
) -> Result<Option<ReceiptFor>, GatewayError> {
    let row = sqlx::query("SELECT receipt_for_sealed FROM payments WHERE id = $1")
        .bind(id)
        .fetch_one(conn)
        .await?;
    let Some(sealed) = row.try_get::<Option<Vec<u8>>, _>(0)? else {
        return Ok(None);
    };
    Ok(Some(serde_json::from_slice(
        &vault.open(&context(id), &sealed)?,
    )?))
}

fn context(id: &str) -> String {
    format!("payments/receipt_for_sealed/{id}")
}

/// Locks payments until the transaction ends: in one order everywhere, so that two replicas cannot deadlock.
pub(crate) async fn lock(tx: &mut Tx, mut ids: Vec<String>) -> Result<(), StoreError> {
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        sqlx::query("UPDATE payments SET xid = xid WHERE id = $1")
            .bind(id)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// All that was done with a payment, as the state rules read it.
pub(crate) async fn load(conn: &mut AnyConnection, id: &str) -> Result<Payment, StoreError> {
    let row =
        sqlx::query("SELECT currency, limit_minor, opened_at_s, plan FROM payments WHERE id = $1")
            .bind(id)
            .fetch_one(&mut *conn)
            .await?;
    let rows = sqlx::query(
        "SELECT id, auth_rrpid, amount_minor, state, decided_at_s, expires_at_s FROM authorizations \
         WHERE payment_id = $1 ORDER BY received_at_s, id",
    )
    .bind(id)
    .fetch_all(&mut *conn)
    .await?;
    let mut authorizations = Vec::with_capacity(rows.len());
    for row in rows {
        let movements = movements::of_authorization(&mut *conn, row.try_get(0)?).await?;
        authorizations.push(Authorization {
            auth_rrpid: row
                .try_get::<String, _>(1)?
                .parse()
                .map_err(|_| StoreError::Corrupt("authorizations.auth_rrpid"))?,
            amount_minor: minor(row.try_get(2)?, "authorizations.amount_minor")?,
            answer: answer(&row)?,
            movements: movements.into_iter().map(Into::into).collect(),
        });
    }
    let (currency, plan): (String, Option<String>) = (row.try_get(0)?, row.try_get(3)?);
    Ok(Payment {
        currency: Currency::from_alpha(&currency)
            .map_err(|_| StoreError::Corrupt("payments.currency"))?,
        limit_minor: minor(row.try_get(1)?, "payments.limit_minor")?,
        plan: plan
            .map(|plan| serde_json::from_str(&plan))
            .transpose()
            .map_err(|_| StoreError::Corrupt("payments.plan"))?,
        opened_at_s: row.try_get(2)?,
        authorizations,
    })
}

fn answer(row: &AnyRow) -> Result<AuthAnswer, StoreError> {
    let state: String = row.try_get(3)?;
    match State::from_name(&state) {
        Some(State::Asked) => Ok(AuthAnswer::Asked),
        Some(State::Declined | State::Refused) => Ok(AuthAnswer::Refused),
        Some(State::Authorized) => {
            let decided: (Option<i64>, Option<i64>) = (row.try_get(4)?, row.try_get(5)?);
            let (Some(at_s), Some(expires_at_s)) = decided else {
                return Err(StoreError::Corrupt("authorizations.expires_at_s"));
            };
            Ok(AuthAnswer::Approved { at_s, expires_at_s })
        }
        None => Err(StoreError::Corrupt("authorizations.state")),
    }
}

/// An amount as stored.
pub(crate) fn minor(minor: i64, column: &'static str) -> Result<u64, StoreError> {
    u64::try_from(minor).map_err(|_| StoreError::Corrupt(column))
}
