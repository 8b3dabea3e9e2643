//! Certificates that were learned to be revoked before a CRL said so.

use openset_jose::Thumbprint;
use openset_pki::Certificate;
use openset_store::{StoreError, Tx};
use sqlx::AnyConnection;

/// Remembers that a certificate is revoked.
pub(crate) async fn put(tx: &mut Tx, certificate: &Certificate) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO learned_revocations (thumbprint, not_after_s) VALUES ($1, $2) \
         ON CONFLICT DO NOTHING",
    )
    .bind(certificate.thumbprint().to_string())
    .bind(certificate.not_after())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Whether a certificate was learned to be revoked.
pub(crate) async fn contains(
    conn: &mut AnyConnection,
    certificate: &Thumbprint,
) -> Result<bool, StoreError> {
    let found: Option<i64> =
        sqlx::query_scalar("SELECT not_after_s FROM learned_revocations WHERE thumbprint = $1")
            .bind(certificate.to_string())
            .fetch_optional(conn)
            .await?;
    Ok(found.is_some())
}

/// Forgets those whose validity has ended.
pub(crate) async fn purge(tx: &mut Tx, now_s: i64) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM learned_revocations WHERE not_after_s < $1")
        .bind(now_s)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
