//! Orders that nobody pays: forgotten after an hour, and never so many that a new one is refused.

use openset_service::clock;
use openset_store::Db;

use crate::shop::{Shop, World};
use crate::wallet::Wallet;

const ORDERS_MAX: i64 = 100_000;
const ORDERS_OF_A_PEER_MAX: i64 = 10_000;

/// So many orders of a peer, a second apart.
async fn fill(db: &Db, count: i64, placed_by: &str, first_at_s: i64) {
    let mut tx = db.begin().await.unwrap();
    sqlx::query(
        "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < $1) \
         INSERT INTO orders (id, currency, amount_minor, description, lines, xid, created_at_s, placed_by) \
         SELECT $2 || '-' || i, 'EUR', 1, '', '[]', '', $3 + i / 200, $2 FROM n",
    )
    .bind(count)
    .bind(placed_by)
    .bind(first_at_s)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

async fn age(db: &Db, order_id: &str, seconds: i64) {
    let mut tx = db.begin().await.unwrap();
    sqlx::query("UPDATE orders SET created_at_s = created_at_s - $1 WHERE id = $2")
        .bind(seconds)
        .bind(order_id)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

/// Places orders, all of which must be taken, until an old one is gone.
async fn order_until_forgotten(shop: &Shop, order_id: &str) {
    for _ in 0..400 {
        shop.order().await;
        if !shop.knows(order_id).await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{order_id} is not forgotten");
}

#[tokio::test]
async fn new_orders_displace_the_oldest_that_nobody_is_paying() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let wallet = Wallet::new(&world.pki, 1);
    let (paying, idle, stale) = (shop.order().await, shop.order().await, shop.order().await);
    let _ = wallet.begin(&shop, &paying).await;
    shop.close().await;
    let (db, _) = world.open_database().await;
    age(&db, paying.lid_m.as_str(), 3700).await;
    age(&db, idle.lid_m.as_str(), 3000).await;
    age(&db, stale.lid_m.as_str(), 3700).await;
    fill(&db, ORDERS_MAX, "elsewhere", clock::now_seconds() - 1000).await;
    db.close().await;

    let shop = world.open_shop().await;
    order_until_forgotten(&shop, idle.lid_m.as_str()).await;
    assert!(!shop.knows(stale.lid_m.as_str()).await, "its hour is over");
    assert!(shop.knows(paying.lid_m.as_str()).await);
    assert!(shop.knows(&format!("elsewhere-{}", ORDERS_MAX - 1)).await);
    shop.close().await;
}

#[tokio::test]
async fn one_address_displaces_its_own_orders_alone() {
    let world = World::new().await;
    // Made by the first start: the vault that keys the addresses.
    world.open_shop().await.close().await;
    let (db, vault) = world.open_database().await;
    let mine = hex::encode(&vault.index("orders/placed_by", b"127.0.0.1")[..16]);
    let now_s = clock::now_seconds();
    fill(&db, 1, "elsewhere", now_s - 2000).await;
    fill(&db, ORDERS_OF_A_PEER_MAX, &mine, now_s - 1000).await;
    db.close().await;

    let shop = world.open_shop().await;
    order_until_forgotten(&shop, &format!("{mine}-0")).await;
    assert!(shop.knows("elsewhere-0").await);
    let last = format!("{mine}-{}", ORDERS_OF_A_PEER_MAX - 1);
    assert!(shop.knows(&last).await);
    shop.close().await;
}

#[tokio::test]
async fn orders_that_are_being_paid_by_now_take_nobodys_room() {
    let world = World::new().await;
    world.open_shop().await.close().await;
    let (db, vault) = world.open_database().await;
    let mine = hex::encode(&vault.index("orders/placed_by", b"127.0.0.1")[..16]);
    fill(
        &db,
        ORDERS_OF_A_PEER_MAX,
        &mine,
        clock::now_seconds() - 1000,
    )
    .await;
    db.close().await;
    let shop = world.open_shop().await;
    // From now on the shop knows that they are many.
    order_until_forgotten(&shop, &format!("{mine}-0")).await;

    let (db, _) = world.open_database().await;
    let mut tx = db.begin().await.unwrap();
    sqlx::query("UPDATE orders SET xid = 'xid of ' || id WHERE xid = ''")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    db.close().await;
    // Longer than the shop relies on what it has counted.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    let first = shop.order().await;
    // More than had made room before.
    for _ in 0..100 {
        shop.order().await;
    }
    assert!(shop.knows(first.lid_m.as_str()).await);
    shop.close().await;
}

#[tokio::test]
async fn order_that_was_placed_before_is_answered_where_there_is_no_room_for_another() {
    let world = World::new().await;
    let shop = world.open_shop().await;
    let body = r#"{"items":[{"product_id":"espresso-250","quantity":1}]}"#;
    let key = Some("a-key-that-nobody-else-thinks-of");
    let placed = shop.post("/orders", key, body).await;
    assert_eq!(placed.0, 201, "{placed:?}");
    shop.close().await;
    let (db, vault) = world.open_database().await;
    let mine = hex::encode(&vault.index("orders/placed_by", b"127.0.0.1")[..16]);
    fill(&db, ORDERS_OF_A_PEER_MAX, &mine, clock::now_seconds()).await;
    // Somebody is paying each of them.
    let mut tx = db.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO purchases (xid, order_id, opened, expires_at_s) \
         SELECT 'xid of ' || id, id, '', created_at_s + 3600 FROM orders",
    )
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    db.close().await;

    let shop = world.open_shop().await;
    let full = async || {
        for _ in 0..200 {
            let (status, problem) = shop.post("/orders", None, body).await;
            if status == 503 {
                return problem["code"] == "too-many-orders";
            }
        }
        false
    };
    assert!(full().await);
    assert_eq!(shop.post("/orders", key, body).await, placed);
    let other = body.replace('1', "2");
    let (status, problem) = shop.post("/orders", key, &other).await;
    let code = problem["code"].as_str();
    assert_eq!((status, code), (422, Some("idempotency-key-reused")));
    shop.close().await;
}
