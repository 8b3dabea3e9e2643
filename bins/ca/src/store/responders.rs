//! The OCSP responders that answer now, one of each issuing CA.

use openset_jose::PrivateKey;
use openset_pki::Certificate;
use openset_store::{StoreError, Tx, Vault, VaultError, keys};
use sqlx::{AnyConnection, Row};

use crate::store::{authorities, certificates};

/// The certificate of a CA's responder, unless it was revoked.
pub(crate) async fn find(
    conn: &mut AnyConnection,
    authority: &str,
) -> Result<Option<Certificate>, StoreError> {
    let row = sqlx::query(
        "SELECT responders.certificate FROM responders JOIN certificates \
         ON certificates.serial = responders.serial \
         WHERE responders.authority = $1 AND certificates.revoked_at_s IS NULL",
    )
    .bind(authority)
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        let der: Vec<u8> = row.try_get(0)?;
        Certificate::from_der(&der).map_err(|_| StoreError::Corrupt("responders.certificate"))
    })
    .transpose()
}

/// The key of a responder's certificate.
pub(crate) async fn key(
    conn: &mut AnyConnection,
    vault: &Vault,
    certificate: &Certificate,
) -> Result<Option<PrivateKey>, VaultError> {
    authorities::load_key(conn, vault, &key_name(&certificates::serial(certificate))).await
}

/// Puts a responder in the place of the one that a CA has; says whether its key's name was free.
pub(crate) async fn replace(
    tx: &mut Tx,
    vault: &Vault,
    authority: &str,
    certificate: &Certificate,
    key: &PrivateKey,
) -> Result<bool, VaultError> {
    let before: Option<String> =
        sqlx::query_scalar("SELECT serial FROM responders WHERE authority = $1")
            .bind(authority)
            .fetch_optional(&mut **tx)
            .await
            .map_err(StoreError::from)?;
    if let Some(before) = before {
        keys::remove(tx, &key_name(&before)).await?;
    }
    let serial = certificates::serial(certificate);
    sqlx::query(
        "INSERT INTO responders (authority, serial, certificate) VALUES ($1, $2, $3) \
         ON CONFLICT (authority) DO UPDATE SET serial = excluded.serial, certificate = excluded.certificate",
    )
    .bind(authority)
    .bind(&serial)
    .bind(certificate.der())
    .execute(&mut **tx)
    .await
    .map_err(StoreError::from)?;
    authorities::put_key(tx, vault, &key_name(&serial), key).await
}

fn key_name(serial: &str) -> String {
    format!("responder/{serial}")
}
