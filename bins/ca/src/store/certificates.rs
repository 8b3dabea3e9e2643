//! What was certified for others.

use openset_jose::Thumbprint;
use openset_pki::Certificate;
use openset_pki::authority::{RevocationReason, Revoked};
use openset_store::{StoreError, Tx};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

/// A certificate as stored.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) authority: String,
    pub(crate) certificate: Certificate,
    pub(crate) issued_at_s: i64,
    pub(crate) revoked_at_s: Option<i64>,
    pub(crate) revocation_reason: Option<RevocationReason>,
}

/// A serial number as it is shown and stored.
pub(crate) fn serial(certificate: &Certificate) -> String {
    hex::encode(certificate.serial())
}

/// Whether one of these keys was certified.
pub(crate) async fn any_certified(
    conn: &mut AnyConnection,
    keys: &[Thumbprint],
) -> Result<bool, StoreError> {
    for key in keys {
        let found: Option<i64> =
            sqlx::query_scalar("SELECT issued_at_s FROM certificates WHERE key_thumbprint = $1")
                .bind(key.to_string())
                .fetch_optional(&mut *conn)
                .await?;
        if found.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Records a certificate; says whether it did. It did not if its key or serial number was certified
/// before.
pub(crate) async fn insert(
    tx: &mut Tx,
    authority: &str,
    certificate: &Certificate,
    now_s: i64,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "INSERT INTO certificates (serial, authority, key_thumbprint, certificate, not_after_s, issued_at_s) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    )
    .bind(serial(certificate))
    .bind(authority)
    .bind(certificate.public_key().thumbprint().to_string())
    .bind(certificate.der())
    .bind(certificate.not_after())
    .bind(now_s)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

const COLUMNS: &str = "SELECT authority, certificate, issued_at_s, revoked_at_s, revocation_reason \
                       FROM certificates";

/// Certificates in the order in which they were issued, after the one with a serial number, or from the
/// first.
pub(crate) async fn list(
    conn: &mut AnyConnection,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Issued>, StoreError> {
    let sql = format!(
        "{COLUMNS} WHERE $1 = '' OR (issued_at_s, serial) > \
         (SELECT issued_at_s, serial FROM certificates WHERE serial = $1) \
         ORDER BY issued_at_s, serial LIMIT $2"
    );
    let after = after.unwrap_or_default();
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(after)
        .bind(limit)
        .fetch_all(conn)
        .await?;
    rows.iter().map(read).collect()
}

/// The certificate with this serial number.
pub(crate) async fn find(
    conn: &mut AnyConnection,
    serial: &str,
) -> Result<Option<Issued>, StoreError> {
    let sql = format!("{COLUMNS} WHERE serial = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(serial)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(read).transpose()
}

/// Marks a certificate as revoked; says whether it was not so before.
pub(crate) async fn revoke(
    tx: &mut Tx,
    serial: &str,
    reason: RevocationReason,
    now_s: i64,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE certificates SET revoked_at_s = $1, revocation_reason = $2 WHERE serial = $3 AND revoked_at_s IS NULL",
    )
    .bind(now_s)
    .bind(reason_text(reason)?)
    .bind(serial)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The lines of a CA's CRL: what was revoked and has not run out.
pub(crate) async fn revoked(
    conn: &mut AnyConnection,
    authority: &str,
    now_s: i64,
) -> Result<Vec<Revoked>, StoreError> {
    let rows = sqlx::query(
        "SELECT serial, revoked_at_s, revocation_reason FROM certificates \
         WHERE authority = $1 AND revoked_at_s IS NOT NULL AND not_after_s >= $2 ORDER BY serial",
    )
    .bind(authority)
    .bind(now_s)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            let serial: String = row.try_get(0)?;
            Ok(Revoked {
                serial: hex::decode(serial)
                    .map_err(|_| StoreError::Corrupt("certificates.serial"))?,
                at: row.try_get(1)?,
                reason: reason(&row.try_get::<String, _>(2)?)?,
            })
        })
        .collect()
}

fn read(row: &AnyRow) -> Result<Issued, StoreError> {
    let der: Vec<u8> = row.try_get(1)?;
    let stored_reason: Option<String> = row.try_get(4)?;
    Ok(Issued {
        authority: row.try_get(0)?,
        certificate: Certificate::from_der(&der)
            .map_err(|_| StoreError::Corrupt("certificates.certificate"))?,
        issued_at_s: row.try_get(2)?,
        revoked_at_s: row.try_get(3)?,
        revocation_reason: stored_reason.as_deref().map(reason).transpose()?,
    })
}

fn reason_text(reason: RevocationReason) -> Result<String, StoreError> {
    let unwritable = || StoreError::Conflict("a revocation's reason could not be written");
    let text = serde_json::to_value(reason).map_err(|_| unwritable())?;
    text.as_str().map(str::to_owned).ok_or_else(unwritable)
}

fn reason(text: &str) -> Result<RevocationReason, StoreError> {
    serde_json::from_value(text.into())
        .map_err(|_| StoreError::Corrupt("certificates.revocation_reason"))
}
