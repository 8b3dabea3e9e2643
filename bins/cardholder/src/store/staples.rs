//! OCSP responses about cards' certificates.

use openset_store::{StoreError, Tx};
use sqlx::{AnyConnection, Row as _};

/// An OCSP response and while it is good, in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Staple {
    pub(crate) response: Vec<u8>,
    pub(crate) this_update_s: i64,
    pub(crate) next_update_s: i64,
}

/// Keeps a response about the certificate of this thumbprint; one that is good for longer stays.
pub(crate) async fn keep_staple(
    tx: &mut Tx,
    certificate: &str,
    staple: &Staple,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO staples (certificate, response, this_update_s, next_update_s) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (certificate) DO UPDATE SET response = excluded.response, \
         this_update_s = excluded.this_update_s, next_update_s = excluded.next_update_s \
         WHERE staples.next_update_s < excluded.next_update_s",
    )
    .bind(certificate)
    .bind(&staple.response)
    .bind(staple.this_update_s)
    .bind(staple.next_update_s)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The response about the certificate of this thumbprint.
pub(crate) async fn staple_of(
    conn: &mut AnyConnection,
    certificate: &str,
) -> Result<Option<Staple>, StoreError> {
    let row = sqlx::query(
        "SELECT response, this_update_s, next_update_s FROM staples WHERE certificate = $1",
    )
    .bind(certificate)
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Staple {
        response: row.try_get(0)?,
        this_update_s: row.try_get(1)?,
        next_update_s: row.try_get(2)?,
    }))
}

/// Drops the response about a certificate.
pub(crate) async fn drop_staple(tx: &mut Tx, certificate: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM staples WHERE certificate = $1")
        .bind(certificate)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Drops what was good until this moment at the latest.
pub(crate) async fn drop_stale_staples(tx: &mut Tx, now_s: i64) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM staples WHERE next_update_s <= $1")
        .bind(now_s)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
