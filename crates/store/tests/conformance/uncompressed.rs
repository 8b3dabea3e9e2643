//! What PostgreSQL does not try to compress, nor to split.

use openset_store::{Db, sqlx};

use crate::place::Place;
use crate::postgres::PostgresServer;

/// How the store's own columns of bytes are kept, each way once: `e` as they are, `x` compressed.
async fn kept(db: &Db) -> Vec<String> {
    let kept = sqlx::query_scalar(
        "SELECT DISTINCT a.attstorage::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
         WHERE c.relname IN ('exchanges', 'outbox', 'samples') AND a.attnum > 0 \
         AND a.atttypid = 'bytea'::regtype ORDER BY 1",
    );
    kept.fetch_all(&mut *db.read().await.unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn no_long_value_is_compressed_by_postgresql_unless_its_table_is_in_use() {
    let Some(server) = PostgresServer::start().unwrap() else {
        eprintln!("skipped: PostgreSQL (initdb, pg_ctl, createdb) is not installed");
        return;
    };
    let place = Place::postgres(&server);
    let db = place.open().await;
    assert_eq!(kept(&db).await, ["e"]);
    let mut tx = db.begin().await.unwrap();
    let as_before = "ALTER TABLE exchanges ALTER COLUMN response SET STORAGE EXTENDED";
    sqlx::query(as_before).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    let mut reading = db.begin().await.unwrap();
    sqlx::query("SELECT COUNT(*) FROM exchanges")
        .fetch_one(&mut *reading)
        .await
        .unwrap();
    let second = place.open().await;
    assert_eq!(kept(&second).await, ["e", "x"]);
    reading.rollback().await.unwrap();
    let third = place.open().await;
    assert_eq!(kept(&third).await, ["e"]);
    for db in [db, second, third] {
        db.close().await;
    }
}

#[tokio::test]
async fn a_row_that_fits_into_a_page_is_not_split() {
    let Some(server) = PostgresServer::start().unwrap() else {
        eprintln!("skipped: PostgreSQL (initdb, pg_ctl, createdb) is not installed");
        return;
    };
    let place = Place::postgres(&server);
    let db = place.open().await;
    for (len, is_split) in [(100, false), (7_000, false), (20_000, true)] {
        let mut tx = db.begin().await.unwrap();
        let insert = "INSERT INTO exchanges (rrpid, sender, message, digest, response, received_at_s, keep_until_s) \
                      VALUES ($1, 'one', 'PReq', $2, $3, 0, 0)";
        let insert = sqlx::query(insert)
            .bind(len.to_string())
            .bind(vec![0_u8; 32])
            .bind(vec![7_u8; len]);
        insert.execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        let elsewhere: i64 = sqlx::query_scalar(
            "SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE relname = 'exchanges'",
        )
        .fetch_one(&mut *db.read().await.unwrap())
        .await
        .unwrap();
        assert_eq!(elsewhere > 0, is_split, "{len} bytes");
    }
    db.close().await;
}
