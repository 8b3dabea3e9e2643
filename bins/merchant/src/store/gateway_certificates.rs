//! The gateway's key-exchange chains as last verified.

use openset_pki::Chain;
use openset_protocol::BrandId;
use openset_protocol::ids::ExactBytes;
use openset_store::{StoreError, Tx};
use sqlx::{AnyConnection, Row};

use super::{from_json, stored, to_json};

const COLUMN: &str = "gateway_certificates.chain";

pub(crate) async fn put(tx: &mut Tx, brand: &BrandId, chain: &Chain) -> Result<(), StoreError> {
    let chain: Vec<ExactBytes> = chain.to_x5c().into_iter().map(ExactBytes).collect();
    sqlx::query(
        "INSERT INTO gateway_certificates (brand, chain) VALUES ($1, $2) \
         ON CONFLICT (brand) DO UPDATE SET chain = excluded.chain",
    )
    .bind(brand.as_str())
    .bind(to_json(&chain, COLUMN)?)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(crate) async fn all(conn: &mut AnyConnection) -> Result<Vec<(BrandId, Chain)>, StoreError> {
    let rows = sqlx::query("SELECT brand, chain FROM gateway_certificates")
        .fetch_all(conn)
        .await?;
    let read = |row: &sqlx::any::AnyRow| {
        let (brand, chain): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let chain: Vec<ExactBytes> = from_json(&chain, COLUMN)?;
        let x5c: Vec<Vec<u8>> = chain.iter().map(|der| der.0.clone()).collect();
        let chain = Chain::from_x5c(&x5c).map_err(|_| StoreError::Corrupt(COLUMN))?;
        Ok((stored(&brand, "gateway_certificates.brand")?, chain))
    };
    rows.iter().map(read).collect()
}
