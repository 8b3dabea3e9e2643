//! What was certified for keys, to be given again to an applicant who has lost the answer.

use openset_jose::Thumbprint;
use openset_pki::Certificate;
use openset_protocol::card::NonceCca;
use openset_protocol::ids::ExactBytes;
use openset_store::{StoreError, Tx, Vault, VaultError};
use sqlx::{AnyConnection, Row};

use super::certificates::parse;

/// A certificate in force that was issued to an applicant.
#[derive(Debug)]
pub(crate) struct Certified {
    /// The CA that issued it.
    pub(crate) authority: String,
    pub(crate) certificate: Certificate,
    /// The certificate that it renewed.
    pub(crate) renews: Option<Thumbprint>,
    /// For a cardholder's.
    pub(crate) nonce_cca: Option<NonceCca>,
}

fn context(key: &Thumbprint) -> String {
    format!("nonce_cca/{key}")
}

/// NonceCCA as it is kept with a cardholder's certificate.
pub(crate) fn seal(vault: &Vault, certificate: &Certificate, nonce_cca: &NonceCca) -> ExactBytes {
    let key = certificate.public_key().thumbprint();
    ExactBytes(vault.seal(&context(&key), nonce_cca.as_bytes()))
}

/// What was certified for these keys; nothing unless all of it is in force.
pub(crate) async fn of_keys(
    conn: &mut AnyConnection,
    vault: &Vault,
    keys: &[Thumbprint],
) -> Result<Vec<Certified>, VaultError> {
    let mut all = Vec::with_capacity(keys.len());
    for key in keys {
        let row = sqlx::query(
            "SELECT authority, certificate, renews, nonce_cca FROM certificates \
             WHERE key_thumbprint = $1 AND owner IS NULL AND revoked_at_s IS NULL",
        )
        .bind(key.to_string())
        .fetch_optional(&mut *conn)
        .await
        .map_err(StoreError::from)?;
        let Some(row) = row else {
            return Ok(Vec::new());
        };
        let column = |error: sqlx::Error| VaultError::from(StoreError::from(error));
        let der: Vec<u8> = row.try_get(1).map_err(column)?;
        let renews: Option<String> = row.try_get(2).map_err(column)?;
        let renews = renews.map(|text| text.parse()).transpose();
        let sealed: Option<Vec<u8>> = row.try_get(3).map_err(column)?;
        all.push(Certified {
            authority: row.try_get(0).map_err(column)?,
            certificate: parse(&der)?,
            renews: renews.map_err(|_| StoreError::Corrupt("certificates.renews"))?,
            nonce_cca: sealed.map(|sealed| open(vault, key, &sealed)).transpose()?,
        });
    }
    Ok(all)
}

fn open(vault: &Vault, key: &Thumbprint, sealed: &[u8]) -> Result<NonceCca, VaultError> {
    let plain = vault.open(&context(key), sealed)?;
    let bytes = <[u8; 32]>::try_from(plain.as_slice())
        .map_err(|_| StoreError::Corrupt("certificates.nonce_cca"))?;
    Ok(NonceCca::from_bytes(bytes))
}

/// Forgets NonceCCA of certificates that nobody is given again.
pub(crate) async fn purge(tx: &mut Tx, now_s: i64) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE certificates SET nonce_cca = NULL \
         WHERE nonce_cca IS NOT NULL AND (not_after_s < $1 OR revoked_at_s IS NOT NULL)",
    )
    .bind(now_s)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
