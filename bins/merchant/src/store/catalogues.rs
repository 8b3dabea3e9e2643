//! The catalogues that were signed for mail order.

use openset_protocol::digest::Digest;
use openset_protocol::merchant::mail_order::Issued;
use openset_protocol::messages::mail_order::MAIL_ORDER_AGE_SECONDS_MAX;
use openset_protocol::{BrandId, Thumbprint, Timestamp};
use openset_store::{StoreError, Tx};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::{from_json, stored, to_json};
use crate::catalogue::Catalogue;

/// So long after its end a catalogue may be needed: a mail order's longest way, and a day for clocks and outages.
const KEEP_SECONDS: i64 = MAIL_ORDER_AGE_SECONDS_MAX + 24 * 60 * 60;

/// A catalogue as it was signed.
#[derive(Debug, Clone)]
pub(crate) struct SignedCatalogue {
    pub(crate) brand: BrandId,
    /// The certificate that signed it.
    pub(crate) merchant: Thumbprint,
    /// The gateway's key-exchange certificate in it.
    pub(crate) gateway: Thumbprint,
    pub(crate) products: Catalogue,
    pub(crate) jws: String,
    pub(crate) made_of: String,
    pub(crate) issued_at: Timestamp,
    pub(crate) valid_until: Timestamp,
}

const COLUMNS: &str =
    "brand, merchant, gateway, products, jws, made_of, issued_at_s, valid_until_s";

fn read(row: &AnyRow) -> Result<SignedCatalogue, StoreError> {
    let text = |column: usize| row.try_get::<String, _>(column);
    Ok(SignedCatalogue {
        brand: stored(&text(0)?, "catalogues.brand")?,
        merchant: stored(&text(1)?, "catalogues.merchant")?,
        gateway: stored(&text(2)?, "catalogues.gateway")?,
        products: from_json(&text(3)?, "catalogues.products")?,
        jws: text(4)?,
        made_of: text(5)?,
        issued_at: Timestamp::from_seconds(row.try_get(6)?),
        valid_until: Timestamp::from_seconds(row.try_get(7)?),
    })
}

/// The catalogue of this brand that was signed last of what is to be said now. Where two replicas say different things,
/// during a change, each goes on with its own.
pub(crate) async fn newest(
    conn: &mut AnyConnection,
    brand: &BrandId,
    made_of: &str,
) -> Result<Option<SignedCatalogue>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM catalogues WHERE brand = $1 AND made_of = $2 \
         ORDER BY issued_at_s DESC, digest LIMIT 1"
    );
    // The statement is put together from this file's constants alone.
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(brand.as_str())
        .bind(made_of)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(read).transpose()
}

/// The catalogue that a mail order names.
pub(crate) async fn find(
    conn: &mut AnyConnection,
    digest: &Digest,
) -> Result<Option<SignedCatalogue>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM catalogues WHERE digest = $1");
    // The statement is put together from this file's constants alone.
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(digest.to_string())
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(read).transpose()
}

/// Keeps a catalogue, before anybody is shown it.
pub(crate) async fn insert(
    tx: &mut Tx,
    issued: &Issued,
    catalogue: &SignedCatalogue,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO catalogues (digest, brand, merchant, gateway, products, jws, made_of, \
         issued_at_s, valid_until_s) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(issued.digest.to_string())
    .bind(catalogue.brand.as_str())
    .bind(catalogue.merchant.to_string())
    .bind(catalogue.gateway.to_string())
    .bind(to_json(&catalogue.products, "catalogues.products")?)
    .bind(catalogue.jws.as_str())
    .bind(catalogue.made_of.as_str())
    .bind(catalogue.issued_at.seconds())
    .bind(catalogue.valid_until.seconds())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Removes catalogues by which no order can come any more.
pub(crate) async fn purge(tx: &mut Tx, now_s: i64) -> Result<u64, StoreError> {
    let done = sqlx::query("DELETE FROM catalogues WHERE valid_until_s < $1")
        .bind(now_s.saturating_sub(KEEP_SECONDS))
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected())
}
