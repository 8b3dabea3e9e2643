//! OCSP responses about cards' certificates.

use openset_store::{StoreError, Tx};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

/// An OCSP response and while it is good, in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Staple {
    pub(crate) response: Vec<u8>,
    pub(crate) this_update_s: i64,
    pub(crate) next_update_s: i64,
}

pub(super) const STAPLE: &str = "response, this_update_s, next_update_s";

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
    // The statement is put together from constants alone.
    let sql = format!("SELECT {STAPLE} FROM staples WHERE certificate = $1");
    let found = sqlx::query(AssertSqlSafe(sql))
        .bind(certificate)
        .fetch_optional(conn)
        .await?;
    Ok(found.map(|row| read(&row, 0)).transpose()?.flatten())
}

/// The response in a row, from this column on, if there is one.
pub(super) fn read(row: &AnyRow, at: usize) -> Result<Option<Staple>, sqlx::Error> {
    let Some(response) = row.try_get(at)? else {
        return Ok(None);
    };
    Ok(Some(Staple {
        response,
        this_update_s: row.try_get(at.saturating_add(1))?,
        next_update_s: row.try_get(at.saturating_add(2))?,
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
