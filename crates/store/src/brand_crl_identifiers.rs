//! The newest BrandCRLIdentifier of each brand CA, kept across restarts as the CRLs are.

use sqlx::{AnyConnection, Row};

use crate::{StoreError, Tx};

/// A BrandCRLIdentifier as stored. Its signature must be verified again by whoever loads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBrandCrlIdentifier {
    /// Whose it is: the name that its keeper gives to the brand CA.
    pub brand: String,
    /// Its sequence number.
    pub sequence: u64,
    /// The BrandCRLIdentifier itself.
    pub der: Vec<u8>,
    /// Seconds since the epoch.
    pub not_after: i64,
}

/// Keeps it if its sequence number is higher than that of the one held; says whether it was kept.
///
/// # Errors
/// [`StoreError::Conflict`] for a number above 2^63-1, or the database's own failure.
pub async fn put(tx: &mut Tx, fresh: &StoredBrandCrlIdentifier) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "INSERT INTO brand_crl_identifiers (brand, sequence, der, not_after_s) \
         VALUES ($1, $2, $3, $4) \
         ON CONFLICT (brand) DO UPDATE SET sequence = excluded.sequence, \
         der = excluded.der, not_after_s = excluded.not_after_s \
         WHERE brand_crl_identifiers.sequence < excluded.sequence",
    )
    .bind(&fresh.brand)
    .bind(number(fresh.sequence)?)
    .bind(&fresh.der)
    .bind(fresh.not_after)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// For whoever issues it: puts the next one in the place of number `previous`, or the first where there is none;
/// says whether it did. It did not if another replica was faster, whose word the next one must take in.
///
/// # Errors
/// As for [`put`].
pub async fn succeed(
    tx: &mut Tx,
    previous: Option<u64>,
    fresh: &StoredBrandCrlIdentifier,
) -> Result<bool, StoreError> {
    let Some(previous) = previous else {
        let done = sqlx::query(
            "INSERT INTO brand_crl_identifiers (brand, sequence, der, not_after_s) \
             VALUES ($1, $2, $3, $4) ON CONFLICT (brand) DO NOTHING",
        )
        .bind(&fresh.brand)
        .bind(number(fresh.sequence)?)
        .bind(&fresh.der)
        .bind(fresh.not_after)
        .execute(&mut **tx)
        .await?;
        return Ok(done.rows_affected() == 1);
    };
    let done = sqlx::query(
        "UPDATE brand_crl_identifiers SET sequence = $1, der = $2, not_after_s = $3 \
         WHERE brand = $4 AND sequence = $5 AND sequence < $1",
    )
    .bind(number(fresh.sequence)?)
    .bind(&fresh.der)
    .bind(fresh.not_after)
    .bind(&fresh.brand)
    .bind(number(previous)?)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Every BrandCRLIdentifier held.
///
/// # Errors
/// The database's own failure.
pub async fn all(conn: &mut AnyConnection) -> Result<Vec<StoredBrandCrlIdentifier>, StoreError> {
    let rows = sqlx::query(
        "SELECT brand, sequence, der, not_after_s FROM brand_crl_identifiers ORDER BY brand",
    )
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(StoredBrandCrlIdentifier {
                brand: row.try_get(0)?,
                sequence: u64::try_from(row.try_get::<i64, _>(1)?)
                    .map_err(|_| StoreError::Corrupt("brand_crl_identifiers.sequence"))?,
                der: row.try_get(2)?,
                not_after: row.try_get(3)?,
            })
        })
        .collect()
}

fn number(sequence: u64) -> Result<i64, StoreError> {
    i64::try_from(sequence)
        .map_err(|_| StoreError::Conflict("a sequence number above 2^63-1 cannot be stored"))
}
