//! A database from before there were movements: what stood in it stands in the new tables.

use openset_gateway::MIGRATIONS;
use openset_protocol::ids::{Rrpid, Xid};
use openset_store::ledger::{self, Entry, Posting};
use openset_store::{Db, Tx};

use crate::bank::Bank;
use crate::service::{Premises, Service};

/// The version before movements.
const BEFORE: i64 = 140;

/// What was done, as it was written then.
const STEPS: &str = r#"[{"step":10,"what":"authorization signed","from":"gateway","to":"merchant","message":"AuthRes","bytes":7000,"micros":900,"verified":["stored before it is sent"]}]"#;

struct Old {
    id: &'static str,
    number: u8,
    state: &'static str,
    captured_minor: i64,
    capture_id: Option<&'static str>,
}

impl Old {
    fn xid(&self) -> String {
        Xid::from_bytes([self.number; 32]).to_string()
    }
}

const ROWS: &[Old] = &[
    Old {
        id: "held",
        number: 1,
        state: "authorized",
        captured_minor: 0,
        capture_id: None,
    },
    Old {
        id: "whole",
        number: 2,
        state: "captured",
        captured_minor: 1000,
        capture_id: Some("c1"),
    },
    Old {
        id: "part",
        number: 3,
        state: "captured",
        captured_minor: 600,
        capture_id: Some("c2"),
    },
    Old {
        id: "late",
        number: 4,
        state: "expired",
        captured_minor: 0,
        capture_id: None,
    },
    Old {
        id: "open",
        number: 5,
        state: "capturing",
        captured_minor: 0,
        capture_id: Some("c3"),
    },
    Old {
        id: "no",
        number: 6,
        state: "declined",
        captured_minor: 0,
        capture_id: None,
    },
];

async fn insert(tx: &mut Tx, row: &Old, now_s: i64) {
    let captured_at_s = (row.captured_minor > 0).then_some(now_s);
    sqlx::query(
        "INSERT INTO authorizations (id, xid, auth_rrpid, merchant_id, brand, state, hpi, currency, amount_minor, \
         auth_code, issuer_authorization, received_at_s, decided_at_s, capture_id, captured_minor, captured_at_s, \
         steps) VALUES ($1, $2, $3, 'shop-1', 'Visa', $4, $5, 'EUR', 1000, 'approved', 'hold', $6, $6, $7, $8, $9, $10)",
    )
    .bind(row.id)
    .bind(row.xid())
    .bind(Rrpid::from_bytes([row.number; 32]).to_string())
    .bind(row.state)
    .bind(vec![row.number; 32])
    .bind(now_s)
    .bind(row.capture_id)
    .bind(row.captured_minor)
    .bind(captured_at_s)
    .bind(STEPS)
    .execute(&mut **tx)
    .await
    .unwrap();
}

async fn book(tx: &mut Tx, row: &Old, now_s: i64) {
    let (receivable, payable) = ("receivable/issuer/EUR", "payable/shop-1/EUR");
    for (account, kind) in [(receivable, "receivable"), (payable, "payable")] {
        ledger::open_account(tx, account, kind, "EUR")
            .await
            .unwrap();
    }
    let posting = |account, amount_minor| Posting {
        account,
        currency: "EUR",
        amount_minor,
    };
    let entry = Entry {
        kind: "capture",
        reference: row.id,
        at: now_s,
        memo: "shop-1",
        postings: &[
            posting(receivable, row.captured_minor),
            posting(payable, -row.captured_minor),
        ],
    };
    ledger::post(tx, &entry).await.unwrap();
}

/// Fills a database as the version before would have.
pub(crate) async fn fill(url: &str) {
    let before: Vec<_> = MIGRATIONS
        .iter()
        .copied()
        .filter(|migration| migration.version <= BEFORE)
        .collect();
    let db = Db::open(url, &before).await.unwrap();
    let now_s = openset_service::clock::now_seconds();
    let mut tx = db.begin().await.unwrap();
    for row in ROWS {
        insert(&mut tx, row, now_s).await;
        if row.captured_minor > 0 {
            book(&mut tx, row, now_s).await;
        }
    }
    tx.commit().await.unwrap();
    db.close().await;
}

async fn state(service: &Service, row: &Old) -> String {
    service.authorization(&row.xid()).await["state"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_authorized_and_captured_before_there_were_movements_is_so_after() {
    let bank = Bank::open().await;
    let premises = Premises::new(&bank);
    let data = premises.folder.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    let url = format!("sqlite://{}", data.join("gateway.db").display());
    fill(&url).await;

    let db = Db::open(&url, MIGRATIONS).await.unwrap();
    let named: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM authorization_names n JOIN authorizations a \
         ON a.merchant_id = n.merchant_id AND a.brand = n.brand AND a.xid = n.xid AND a.auth_rrpid = n.auth_rrpid",
    )
    .fetch_one(&mut *db.read().await.unwrap())
    .await
    .unwrap();
    assert_eq!(usize::try_from(named), Ok(ROWS.len()));
    db.close().await;

    let service = premises.start().await;
    for row in ROWS {
        assert_eq!(state(&service, row).await, row.state, "{}", row.id);
        let steps = service.authorization(&row.xid()).await["steps"].clone();
        let before: serde_json::Value = serde_json::from_str(STEPS).unwrap();
        assert_eq!(steps, before, "{}", row.id);
    }
    for (row, minor) in [(&ROWS[1], 1000), (&ROWS[2], 600)] {
        let view = service.authorization(&row.xid()).await;
        let capture = &view["captures"][0]["amount"]["amount_minor"];
        assert_eq!(*capture, minor, "{}", row.id);
        assert_eq!(view["ledger"].as_array().unwrap().len(), 2, "{}", row.id);
        // It stands in a batch, so that it can be paid out and given back.
        assert!(
            view["movements"][0]["batch_sequence_num"].is_u64(),
            "{}",
            row.id
        );
    }
    let at_work = service.authorization(&ROWS[4].xid()).await;
    assert!(at_work["movements"][0]["batch_id"].is_string());
    assert_eq!(service.balance("payable/shop-1/EUR").await, Some(-1600));
}
