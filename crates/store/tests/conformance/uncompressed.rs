//! What PostgreSQL does not try to compress.

use crate::place::Place;
use crate::postgres::PostgresServer;

#[tokio::test]
async fn no_long_value_is_compressed_by_postgresql() {
    let Some(server) = PostgresServer::start().unwrap() else {
        eprintln!("skipped: PostgreSQL (initdb, pg_ctl, createdb) is not installed");
        return;
    };
    let db = Place::postgres(&server).open().await;
    let counts: Vec<(String, i64)> = openset_store::sqlx::query_as(
        "SELECT a.attstorage::text, COUNT(*) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
         WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::text::regnamespace \
         AND a.attnum > 0 AND a.atttypid = 'bytea'::regtype GROUP BY 1",
    )
    .fetch_all(&mut *db.read().await.unwrap())
    .await
    .unwrap();
    assert!(
        matches!(&counts[..], [(storage, 1..)] if storage == "e"),
        "{counts:?}"
    );
    db.close().await;
}
