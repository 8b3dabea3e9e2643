//! The newest revocation list of each issuer, kept across restarts: a service that starts while
//! the certificate authority is away still refuses what was revoked.

use sqlx::{AnyConnection, Row};

use crate::{StoreError, Tx};

/// A list as stored. Its signature must be verified again by whoever loads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCrl {
    /// Names the issuing authority.
    pub issuer_id: String,
    /// CRL number.
    pub number: u64,
    /// The list itself.
    pub der: Vec<u8>,
    /// Seconds since the epoch.
    pub next_update: i64,
}

/// Keeps a list if its number is higher than that of the one held; says whether it was kept.
///
/// # Errors
/// [`StoreError::Conflict`] for a number above 2^63-1, or the database's own failure.
pub async fn put(
    tx: &mut Tx,
    issuer_id: &str,
    number: u64,
    der: &[u8],
    next_update: i64,
) -> Result<bool, StoreError> {
    let number = i64::try_from(number)
        .map_err(|_| StoreError::Conflict("a CRL number above 2^63-1 cannot be stored"))?;
    let done = sqlx::query(
        "INSERT INTO crls (issuer_id, number, der, next_update_s) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (issuer_id) DO UPDATE SET number = excluded.number, \
         der = excluded.der, next_update_s = excluded.next_update_s \
         WHERE crls.number < excluded.number",
    )
    .bind(issuer_id)
    .bind(number)
    .bind(der)
    .bind(next_update)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Every list held.
///
/// # Errors
/// The database's own failure.
pub async fn all(conn: &mut AnyConnection) -> Result<Vec<StoredCrl>, StoreError> {
    let rows =
        sqlx::query("SELECT issuer_id, number, der, next_update_s FROM crls ORDER BY issuer_id")
            .fetch_all(conn)
            .await?;
    rows.iter()
        .map(|row| {
            Ok(StoredCrl {
                issuer_id: row.try_get(0)?,
                number: u64::try_from(row.try_get::<i64, _>(1)?)
                    .map_err(|_| StoreError::Corrupt("crls.number"))?,
                der: row.try_get(2)?,
                next_update: row.try_get(3)?,
            })
        })
        .collect()
}
