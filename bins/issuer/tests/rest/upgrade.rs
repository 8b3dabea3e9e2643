//! A database from before there were movements: what stood in it stands in the new tables.

use openset_store::ledger::{self, Entry, Posting};
use openset_store::{Db, Tx};
use openset_testkit::postgres::PostgresServer;
use serde_json::json;

use crate::bank::{Bank, GATEWAY, Vaulted};
use crate::books;

/// The version before movements.
const BEFORE: i64 = 150;
/// What a hold is called: as long as real ones are.
const HELD: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const CAPTURED: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const CREDITED: &str = "cccccccccccccccccccccccccccccccc";

struct Old {
    id: &'static str,
    gateway: &'static str,
    state: &'static str,
    reversed: i64,
    captured: i64,
    credits: &'static [i64],
}

const ROWS: &[Old] = &[
    Old {
        id: HELD,
        gateway: "gateway",
        state: "held",
        reversed: 400,
        captured: 0,
        credits: &[],
    },
    Old {
        id: CAPTURED,
        gateway: "gateway",
        state: "captured",
        reversed: 0,
        captured: 600,
        credits: &[],
    },
    Old {
        id: CREDITED,
        gateway: "gateway",
        state: "captured",
        reversed: 100,
        captured: 800,
        credits: &[100, 200],
    },
    Old {
        id: "dddddddddddddddddddddddddddddddd",
        gateway: "gateway",
        state: "released",
        reversed: 300,
        captured: 0,
        credits: &[],
    },
    Old {
        id: "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee",
        gateway: "other",
        state: "captured",
        reversed: 0,
        captured: 100,
        credits: &[],
    },
];

async fn execute(tx: &mut Tx, sql: &'static str) {
    sqlx::query(sql).execute(&mut **tx).await.unwrap();
}

async fn book(tx: &mut Tx, kind: &str, reference: &str, owed_minor: i64) {
    let posting = |account, amount_minor| Posting {
        account,
        currency: "EUR",
        amount_minor,
    };
    let entry = Entry {
        kind,
        reference,
        at: 1,
        memo: "shop",
        postings: &[
            posting("cardholder/alice", owed_minor),
            posting("settlement/EUR", -owed_minor),
        ],
    };
    ledger::post(tx, &entry).await.unwrap();
}

async fn insert(tx: &mut Tx, row: &Old, expires_at_s: i64) {
    let credited: i64 = row.credits.iter().sum();
    sqlx::query(
        "INSERT INTO authorizations (id, gateway, account_id, state, currency, amount_minor, captured_minor, \
         credited_minor, credits, merchant_id, merchant_name, reference, created_at_s, expires_at_s, reversed_minor) \
         VALUES ($1, $8, 'alice', $2, 'EUR', 1000, $3, $4, $5, 'shop', 'shop', 'xid', 1, $6, $7)",
    )
    .bind(row.id)
    .bind(row.state)
    .bind(row.captured)
    .bind(credited)
    .bind(i64::try_from(row.credits.len()).unwrap())
    .bind(expires_at_s)
    .bind(row.reversed)
    .bind(row.gateway)
    .execute(&mut **tx)
    .await
    .unwrap();
    if row.captured > 0 {
        book(tx, "capture", row.id, row.captured).await;
    }
    for (n, credit) in (1..).zip(row.credits) {
        let reference = format!("{}/{n}", row.id);
        book(tx, "credit", &reference, -credit).await;
    }
}

/// A bank as the version before left it, taken over.
struct TakenOver {
    bank: Bank,
    url: String,
}

/// One on each kind of database that is installed here.
async fn taken_over(server: Option<&PostgresServer>) -> Vec<TakenOver> {
    let vaulted = Vaulted::new("");
    std::fs::create_dir_all(vaulted.data_dir()).unwrap();
    let url = vaulted.database_url();
    let mut old = vec![(vaulted, url)];
    if let Some(server) = server {
        let url = server.create_database().unwrap();
        old.push((Vaulted::new(&format!("database_url = \"{url}\"")), url));
    }
    let mut taken = Vec::new();
    for (vaulted, url) in old {
        fill(&vaulted, &url).await;
        let bank = vaulted.start().await;
        taken.push(TakenOver { bank, url });
    }
    taken
}

/// Fills a database as the version before would have.
async fn fill(vaulted: &Vaulted, url: &str) {
    let before: Vec<_> = openset_issuer::MIGRATIONS
        .iter()
        .copied()
        .filter(|migration| migration.version <= BEFORE)
        .collect();
    let db = Db::open(url, &before).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    execute(
        &mut tx,
        "INSERT INTO accounts (id, holder, brand, currency, credit_limit_minor, held_minor, owed_minor, \
         blocked, opened_at_s) VALUES ('alice', 'Alice', 'Visa', 'EUR', 3000, 600, 1200, 0, 1)",
    )
    .await;
    for (account, kind) in [
        ("cardholder/alice", "cardholder"),
        ("settlement/EUR", "settlement"),
    ] {
        ledger::open_account(&mut tx, account, kind, "EUR")
            .await
            .unwrap();
    }
    let now_s = vaulted.now_s.load(std::sync::atomic::Ordering::Relaxed);
    for row in ROWS {
        insert(&mut tx, row, now_s + 1000).await;
    }
    tx.commit().await.unwrap();
    db.close().await;
}

/// Reversed, held, captured and credited.
async fn sums(bank: &Bank, id: &str) -> [i64; 4] {
    let view = bank.get(&format!("/authorizations/{id}"), GATEWAY).await;
    let view = view.expect(200);
    ["reversed", "held", "captured", "credited"]
        .map(|sum| view[sum]["amount_minor"].as_i64().unwrap())
}

#[tokio::test]
async fn what_was_held_captured_and_credited_before_there_were_movements_is_so_after() {
    let server = crate::replicas::postgres();
    for TakenOver { bank, url } in taken_over(server.as_ref()).await {
        assert_eq!(sums(&bank, HELD).await, [400, 600, 0, 0]);
        assert_eq!(sums(&bank, CAPTURED).await, [400, 0, 600, 0]);
        assert_eq!(sums(&bank, CREDITED).await, [200, 0, 800, 300]);
        books::assert_right_at(&url).await;
        let above = bank.movement(HELD, "capture", "c", 601).await;
        assert_eq!(above.problem(422), "above-hold");

        // A capture of before is undone and made again; its credits of before go by their names in the books.
        let stands = bank.undo_capture(CREDITED, "u1").await;
        assert_eq!(stands.problem(409), "credited");
        for n in 1..=2 {
            let credit_id = format!("{CREDITED}%2F{n}");
            let key = format!("v{n}");
            let undone = bank.undo_credit(CREDITED, &credit_id, &key).await;
            undone.expect(200);
        }
        for (id, captured) in [(CREDITED, 800), (CAPTURED, 600)] {
            let undone = bank.undo_capture(id, &format!("u-{id}")).await.expect(200);
            assert_eq!(undone["held"]["amount_minor"], captured);
            let key = format!("c-{id}");
            let again = bank.movement(id, "capture", &key, captured).await;
            again.expect(200);
        }
        let _vaulted = bank.stop().await;
        books::assert_right_at(&url).await;
    }
}

async fn balance(url: &str, account: &str) -> i64 {
    let db = Db::open(url, openset_issuer::MIGRATIONS).await.unwrap();
    let balance = ledger::balance(&mut db.read().await.unwrap(), account).await;
    db.close().await;
    balance.unwrap()
}

#[tokio::test]
async fn settlement_account_of_before_is_divided_once_and_what_was_captured_before_is_settled() {
    let server = crate::replicas::postgres();
    for TakenOver { mut bank, url } in taken_over(server.as_ref()).await {
        for _ in 0..2 {
            assert_eq!(balance(&url, "settlement/EUR").await, 0);
            assert_eq!(balance(&url, "settlement/gateway/EUR").await, -1100);
            assert_eq!(balance(&url, "settlement/other/EUR").await, -100);
            bank = bank.stop().await.start().await;
        }
        let credits = [1, 2].map(|n| json!({"movement": format!("{CREDITED}/{n}")}));
        let body = json!({
            "batch_id": "b", "part": 0, "last": true, "currency": "EUR", "net_minor": 1100,
            "items": [{"movement": CAPTURED}, {"movement": CREDITED}, credits[0], credits[1]],
        });
        let paid = bank.post("/settlements", GATEWAY, "s", &body).await;
        paid.expect(200);
        assert_eq!(balance(&url, "settlement/gateway/EUR").await, 0);
        assert_eq!(balance(&url, "cash/EUR").await, -1100);
        let _vaulted = bank.stop().await;
        books::assert_right_at(&url).await;
    }
}
