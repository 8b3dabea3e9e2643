//! PReq of purchases by mail.

use openset_store::{StoreError, Tx};
use sqlx::AnyConnection;

/// Keeps the PReq of a purchase that was inserted in the same transaction.
pub(crate) async fn insert_mail_order(
    tx: &mut Tx,
    purchase_id: &str,
    p_req: &[u8],
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO mail_orders (purchase_id, p_req) VALUES ($1, $2)")
        .bind(purchase_id)
        .bind(p_req)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The PReq of a purchase by mail; none of another purchase.
pub(crate) async fn mail_order_of(
    conn: &mut AnyConnection,
    purchase_id: &str,
) -> Result<Option<Vec<u8>>, StoreError> {
    let p_req = sqlx::query_scalar("SELECT p_req FROM mail_orders WHERE purchase_id = $1")
        .bind(purchase_id)
        .fetch_optional(conn)
        .await?;
    Ok(p_req)
}
