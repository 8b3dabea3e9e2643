//! Two merchants on one PostgreSQL database are one merchant.

use std::time::Duration;

use openset_protocol::cardholder::purchase::PaymentStatus;
use openset_testkit::postgres::WAITING;
use tempfile::TempDir;

use crate::bank::Mood;
use crate::mail_orders::postgres;
use crate::shop::World;
use crate::wallet::{Wallet, post};

#[tokio::test]
async fn replicas_authorize_once_and_capture_once() {
    let Some((_server, url)) = postgres().await else {
        println!("skipped: PostgreSQL is not installed");
        return;
    };
    let world = World::on(url, TempDir::new().unwrap()).await;
    let (one, two) = tokio::join!(
        world.open_replica(5_000, "one"),
        world.open_replica(5_000, "two")
    );
    let order = one.order().await;
    let wallet = Wallet::new(&world.pki, 1);
    let step = wallet.begin(&two, &order).await;
    let (here, there) = tokio::join!(post(&one.url, &step.wire), post(&two.url, &step.wire));
    assert_eq!(here, there);
    assert_eq!(wallet.read(&step.state, &here).status, PaymentStatus::Paid);
    assert_eq!(world.bank.received("AuthReq"), (1, 1));

    let (a, b) = tokio::join!(
        one.capture(&order, Some("a")),
        two.capture(&order, Some("b"))
    );
    let mut statuses = [a.0, b.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    assert_eq!(world.bank.received("CapReq"), (1, 1));
    let inquired = wallet.inquire(&two, &step.state).await.unwrap();
    assert_eq!(inquired.status, PaymentStatus::Paid);
    one.close().await;
    two.close().await;
}

#[tokio::test]
async fn what_was_done_for_a_payment_while_its_answer_was_verified_is_kept() {
    let Some((_server, url)) = postgres().await else {
        println!("skipped: PostgreSQL is not installed");
        return;
    };
    let world = World::on(url, TempDir::new().unwrap()).await;
    let shop = world.open_shop().await;
    let order = shop.order().await;
    let wallet = Wallet::new(&world.pki, 1);
    let step = wallet.begin(&shop, &order).await;
    world.bank.be(Mood::Slow(Duration::from_secs(2)));
    let buying = async { post(&shop.url, &step.wire).await };
    let (db, _) = world.open_database().await;
    let meanwhile = async {
        // Another replica holds the payment when the answer comes, and has done something.
        let other = loop {
            let mut tx = db.begin().await.unwrap();
            let done = sqlx::query(
                "UPDATE payments SET steps = '[]', steps_packed = NULL, revision = revision + 1 \
                 WHERE state = 'ordered'",
            )
            .execute(&mut *tx)
            .await
            .unwrap();
            if done.rows_affected() == 1 {
                break tx;
            }
            tx.rollback().await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        loop {
            let waiting: i64 = sqlx::query_scalar(WAITING)
                .bind("%UPDATE payments SET%")
                .fetch_one(&mut *db.read().await.unwrap())
                .await
                .unwrap();
            if waiting > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        other.commit().await.unwrap();
    };
    let both = async { tokio::join!(buying, meanwhile) };
    let (answer, ()) = tokio::time::timeout(Duration::from_secs(120), both)
        .await
        .unwrap();
    assert_eq!(
        wallet.read(&step.state, &answer).status,
        PaymentStatus::Paid
    );
    let view = shop.show(&order).await;
    assert_eq!(view["state"], "authorized");
    // What the other replica left is gone on with, not what was read before: PReq was step 7.
    let steps = view["steps"].as_array().unwrap().iter();
    let steps: Vec<_> = steps.map(|step| step["step"].as_u64()).collect();
    assert_eq!(steps, [Some(8), Some(10)], "{view}");
    db.close().await;
    shop.close().await;
}
