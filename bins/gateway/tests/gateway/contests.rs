//! What two replicas on one PostgreSQL do at the same moment, made certain: the other one's transaction is the test's own,
//! and this one is seen to wait for it.

use std::time::Duration;

use openset_protocol::messages::batch_admin::{BaStatus, BatchOperation};
use openset_store::{Db, Tx};
use openset_testkit::postgres::PostgresServer;

use crate::bank::Bank;
use crate::batches::operate;
use crate::purchase::{Asked, SHOP, administer, buy};
use crate::service::{Premises, Service};
use crate::upgrade;

/// A gateway, its bank, and its database.
struct Contest {
    bank: Bank,
    service: Service,
    db: Db,
    _server: PostgresServer,
}

/// None where PostgreSQL is not installed.
fn postgres() -> Option<PostgresServer> {
    let server = PostgresServer::start().unwrap();
    if server.is_none() {
        eprintln!("skipped: PostgreSQL is not installed");
    }
    server
}

async fn open(url: &str) -> Db {
    Db::open(url, openset_gateway::MIGRATIONS).await.unwrap()
}

/// Until so many wait for a lock.
async fn waited_for(db: &Db, waiters: i64) {
    for _ in 0..1200 {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
             AND datname = current_database()",
        )
        .fetch_one(&mut *db.read().await.unwrap())
        .await
        .unwrap();
        if waiting >= waiters {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nobody waits");
}

impl Contest {
    async fn begin() -> Option<Self> {
        let server = postgres()?;
        let bank = Bank::open().await;
        let url = server.create_database().unwrap();
        let premises = Premises::with(&bank, &format!("database_url = \"{url}\""));
        let service = premises.start().await;
        let db = open(&url).await;
        Some(Self {
            bank,
            service,
            db,
            _server: server,
        })
    }

    /// Sends these bytes while the other's transaction is open, commits that once it is waited for, and gives the answer.
    async fn after(&self, other: Tx, wire: &[u8]) -> crate::service::SetAnswer {
        let sent = self.service.set(wire);
        tokio::pin!(sent);
        tokio::select! {
            answer = &mut sent => panic!("it did not wait: {answer:?}"),
            () = waited_for(&self.db, 1) => {}
        }
        other.commit().await.unwrap();
        sent.await
    }
}

/// The other replica has this authorization in hand.
async fn take_name(tx: &mut Tx, asked: &Asked) {
    sqlx::query(
        "INSERT INTO authorization_names (merchant_id, brand, xid, auth_rrpid) \
         VALUES ('shop-1', 'Visa', $1, $2)",
    )
    .bind(&asked.xid)
    .bind(asked.rrpid())
    .execute(&mut **tx)
    .await
    .unwrap();
}

async fn insert(tx: &mut Tx, asked: &Asked, state: &str, payment: Option<&str>) {
    sqlx::query(
        "INSERT INTO authorizations (id, xid, auth_rrpid, merchant_id, brand, state, currency, amount_minor, \
         received_at_s, captured_minor, payment_id, steps) \
         VALUES ('others', $1, $2, 'shop-1', 'Visa', $3, 'EUR', 4200, 1, 0, $4, '[]')",
    )
    .bind(&asked.xid)
    .bind(asked.rrpid())
    .bind(state)
    .bind(payment)
    .execute(&mut **tx)
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_that_another_replica_takes_back_meanwhile_is_never_asked_of_the_issuer() {
    let Some(contest) = Contest::begin().await else {
        return;
    };
    let asked = buy(&SHOP, 4200).ask();
    let mut other = contest.db.begin().await.unwrap();
    take_name(&mut other, &asked).await;
    insert(&mut other, &asked, "refused", None).await;
    let answer = contest.after(other, &asked.wire).await.taken();
    assert_eq!(asked.auth_code(&answer), "invalidTransaction");
    assert_eq!(contest.bank.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_to_be_taken_back_while_another_replica_asks_for_it() {
    let Some(contest) = Contest::begin().await else {
        return;
    };
    let bought = buy(&SHOP, 4200);
    let asked = bought.ask();
    let mut other = contest.db.begin().await.unwrap();
    take_name(&mut other, &asked).await;
    sqlx::query(
        "INSERT INTO payments (id, hpi, merchant_id, brand, xid, currency, limit_minor, opened_at_s) \
         VALUES ('others', $1, 'shop-1', 'Visa', $2, 'EUR', 4200, 1)",
    )
    .bind(vec![7_u8; 32])
    .bind(&asked.xid)
    .execute(&mut *other)
    .await
    .unwrap();
    insert(&mut other, &asked, "asked", Some("others")).await;
    let taken = asked.take_back(&bought, None, 0);
    contest.after(other, &taken.wire).await.working();
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_that_another_replica_opens_meanwhile_is_open_already() {
    let Some(contest) = Contest::begin().await else {
        return;
    };
    let mut other = contest.db.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO batches (id, merchant_id, brand, currency, state, items, opened_at_s) \
         VALUES ('others', 'shop-1', 'Visa', 'EUR', 'open', 0, 1)",
    )
    .execute(&mut *other)
    .await
    .unwrap();
    let open = administer(&SHOP, operate(BatchOperation::Open));
    let told = open.read(&contest.after(other, &open.wire).await.taken());
    assert_eq!(told.ba_status, BaStatus::BatchAlreadyOpen);
    assert_eq!(told.batch_id.unwrap().as_str(), "others");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_that_put_old_captures_into_a_batch_number_them_without_a_gap() {
    let Some(server) = postgres() else { return };
    let bank = Bank::open().await;
    let url = server.create_database().unwrap();
    upgrade::fill(&url).await;
    let db = open(&url).await;
    // Both have read what there is to be done before either does it.
    let mut lock = db.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO batches (id, merchant_id, brand, currency, state, items, opened_at_s) \
         VALUES ('others', 'shop-1', 'Visa', 'EUR', 'open', 0, 1)",
    )
    .execute(&mut *lock)
    .await
    .unwrap();
    let premises = Premises::with(&bank, &format!("database_url = \"{url}\""));
    let committed = async {
        waited_for(&db, 2).await;
        lock.commit().await.unwrap();
    };
    let (one, two) = (premises.replica().start(), premises.replica().start());
    let (_one, _two, ()) = tokio::join!(one, two, committed);
    let (items, last): (i64, i64) =
        sqlx::query_as("SELECT b.items, MAX(m.batch_seq) FROM batches b JOIN movements m ON m.batch_id = b.id GROUP BY b.items")
            .fetch_one(&mut *db.read().await.unwrap())
            .await
            .unwrap();
    assert_eq!((items, last), (2, 2));
}
