//! Two merchants on one PostgreSQL database are one merchant.

use openset_protocol::cardholder::purchase::PaymentStatus;
use openset_testkit::postgres::PostgresServer;
use tempfile::TempDir;

use crate::shop::World;
use crate::wallet::{Wallet, post};

#[tokio::test]
async fn replicas_authorize_once_and_capture_once() {
    let server = tokio::task::spawn_blocking(PostgresServer::start)
        .await
        .unwrap()
        .unwrap();
    let Some(server) = server else {
        println!("skipped: PostgreSQL is not installed");
        return;
    };
    let world = World::on(server.create_database().unwrap(), TempDir::new().unwrap()).await;
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
