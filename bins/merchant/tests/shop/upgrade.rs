//! A database from before there were movements: what stood in it stands in the new tables, and what was asked is
//! answered.

use openset_protocol::merchant::auth::AuthResProof;
use openset_protocol::messages::initiation::PaymentInitiation;
use openset_protocol::wrapper::Jws;
use openset_store::Tx;
use openset_store::packed::unpack;
use serde_json::{Value, json};
use sqlx::Row as _;

use crate::bank::Mood;
use crate::shop::{Shop, World, unpacked_movements};
use crate::wallet::Wallet;

/// What a purchase of before came to.
struct Old {
    order: PaymentInitiation,
    state: &'static str,
    reversed_minor: i64,
    captured_minor: Option<i64>,
    cap_refusal: Option<&'static str>,
}

async fn reversed(shop: &Shop, order: &PaymentInitiation, left: u64) {
    let body = json!({"new_amount": {"currency": "EUR", "amount_minor": left}});
    shop.reverse(order, Some(&format!("reverse-{}", order.lid_m)), Some(body))
        .await;
}

async fn captured(shop: &Shop, order: &PaymentInitiation) {
    let key = format!("capture-{}", order.lid_m);
    shop.capture(order, Some(&key)).await;
}

/// One purchase for each state. In the end the bank is down, so that three of them wait for it.
async fn purchases(world: &World, shop: &Shop) -> Vec<Old> {
    let wallet = Wallet::new(&world.pki, 1);
    let mut all = Vec::new();
    for _ in 0..7 {
        let order = shop.order().await;
        wallet.buy(shop, &order).await;
        shop.wait_for_state(&order, "authorized").await;
        all.push(Old {
            order,
            state: "authorized",
            reversed_minor: 0,
            captured_minor: None,
            cap_refusal: None,
        });
    }
    captured(shop, &all[1].order).await;
    (all[1].state, all[1].captured_minor) = ("captured", Some(1500));
    reversed(shop, &all[2].order, 1000).await;
    all[2].reversed_minor = 500;
    reversed(shop, &all[3].order, 0).await;
    (all[3].state, all[3].reversed_minor) = ("reversed", 1500);
    all[4].cap_refusal = Some("authExpired");
    for state in ["declined", "ordered"] {
        let order = shop.order().await;
        world.bank.be(match state {
            "declined" => Mood::Declines,
            _ => Mood::Down,
        });
        wallet.buy(shop, &order).await;
        all.push(Old {
            order,
            state,
            reversed_minor: 0,
            captured_minor: None,
            cap_refusal: None,
        });
        let waits = all.last().unwrap();
        shop.wait_for_state(&waits.order, state).await;
    }
    captured(shop, &all[5].order).await;
    all[5].state = "capturing";
    reversed(shop, &all[6].order, 400).await;
    all[6].state = "reversing";
    for old in &all {
        shop.wait_for_state(&old.order, old.state).await;
    }
    all
}

/// Makes the tables what they were before, with the same in them.
const BACK: &[&str] = &[
    "DROP INDEX orders_created",
    "DROP INDEX payments_state",
    "ALTER TABLE payments ADD COLUMN awaiting_auth TEXT",
    "ALTER TABLE payments ADD COLUMN auth_payload TEXT",
    "ALTER TABLE payments ADD COLUMN auth_baggage TEXT",
    "ALTER TABLE payments ADD COLUMN awaiting_cap TEXT",
    "ALTER TABLE payments ADD COLUMN cap_refusal TEXT",
    "ALTER TABLE payments ADD COLUMN captured_minor BIGINT",
    "ALTER TABLE payments ADD COLUMN captured_at_s BIGINT",
    "ALTER TABLE payments ADD COLUMN awaiting_rev TEXT",
    "ALTER TABLE payments ADD COLUMN rev_refusal TEXT",
    "ALTER TABLE payments ADD COLUMN reversed_minor BIGINT NOT NULL DEFAULT 0",
    "UPDATE payments SET \
     awaiting_auth = (SELECT a.awaiting FROM authorizations a WHERE a.xid = payments.xid), \
     auth_payload = (SELECT a.payload FROM authorizations a WHERE a.xid = payments.xid), \
     auth_baggage = (SELECT a.baggage FROM authorizations a WHERE a.xid = payments.xid), \
     awaiting_cap = (SELECT m.awaiting FROM movements m WHERE m.xid = payments.xid AND m.kind = 'capture'), \
     awaiting_rev = (SELECT m.awaiting FROM movements m WHERE m.xid = payments.xid AND m.kind = 'reversal'), \
     captured_minor = (SELECT m.amount_minor FROM movements m WHERE m.xid = payments.xid AND m.kind = 'capture' \
     AND m.state = 'done'), \
     captured_at_s = (SELECT m.done_at_ms / 1000 FROM movements m WHERE m.xid = payments.xid AND m.kind = 'capture' \
     AND m.state = 'done'), \
     reversed_minor = COALESCE((SELECT m.amount_minor FROM movements m WHERE m.xid = payments.xid \
     AND m.kind = 'reversal' AND m.state = 'done'), 0)",
    "UPDATE outbox SET reference = (SELECT m.xid FROM movements m WHERE m.id = outbox.reference) WHERE kind <> 'AuthReq'",
    "DROP TABLE catalogues",
    "ALTER TABLE orders DROP COLUMN plan",
    "DROP TABLE batches",
    "DROP TABLE batch_requests",
    "DELETE FROM ledger_postings",
    "DELETE FROM ledger_entries",
    "DELETE FROM ledger_accounts",
    "DROP TABLE movements",
    "DROP TABLE authorizations",
    "ALTER TABLE payments DROP COLUMN signed",
    "ALTER TABLE payments DROP COLUMN steps_packed",
    "ALTER TABLE payments DROP COLUMN revision",
    "ALTER TABLE payments DROP COLUMN pi",
    "ALTER TABLE payments DROP COLUMN hoi",
    "ALTER TABLE payments DROP COLUMN hpi",
    "ALTER TABLE payments DROP COLUMN od_salt",
    "DELETE FROM _sqlx_migrations WHERE version > 160",
];

/// Puts the packed texts into the columns that had them before.
async fn unpacked(tx: &mut Tx) {
    let select = "SELECT a.xid, a.asked, p.steps_packed, a.answer, a.baggage_packed \
                  FROM authorizations a JOIN payments p ON p.xid = a.xid";
    for row in sqlx::query(select).fetch_all(&mut **tx).await.unwrap() {
        let mut texts = Vec::new();
        for column in 1..5 {
            let packed: Option<Vec<u8>> = row.get(column);
            let text = unpack(tx, packed.unwrap_or_default()).await.unwrap();
            texts.push(String::from_utf8(text).unwrap());
        }
        let [asked, steps, answer, newer]: [String; 4] = texts.try_into().unwrap();
        let (auth_res, came_with) = answer.split_once('\n').unzip();
        let payload = auth_res.map(|auth_res| {
            let payload = AuthResProof::payload(&Jws(auth_res.to_owned()));
            serde_json::to_string(&payload.unwrap()).unwrap()
        });
        let came_with = came_with.map(str::to_owned);
        let baggage = if newer.is_empty() {
            came_with
        } else {
            Some(newer)
        };
        for (sql, text) in [
            (
                "UPDATE authorizations SET awaiting = $1 WHERE xid = $2",
                Some(asked),
            ),
            (
                "UPDATE authorizations SET baggage = $1 WHERE xid = $2",
                baggage,
            ),
            (
                "UPDATE authorizations SET payload = COALESCE(payload, $1) WHERE xid = $2",
                payload,
            ),
            ("UPDATE payments SET steps = $1 WHERE xid = $2", Some(steps)),
        ] {
            let set = sqlx::query(sql).bind(text).bind(row.get::<String, _>(0));
            set.execute(&mut **tx).await.unwrap();
        }
    }
    unpacked_movements(tx).await;
}

#[tokio::test]
async fn what_stood_before_there_were_movements_stands_after_and_what_was_asked_is_answered() {
    let world = World::new().await;
    let shop = world.open_shop_waiting(300).await;
    let olds = purchases(&world, &shop).await;
    shop.close().await;
    let (db, _) = world.open_database().await;
    let mut tx = db.begin().await.unwrap();
    unpacked(&mut tx).await;
    for statement in BACK {
        sqlx::query(*statement).execute(&mut *tx).await.unwrap();
    }
    for old in olds.iter().filter(|old| old.cap_refusal.is_some()) {
        sqlx::query("UPDATE payments SET cap_refusal = $1 WHERE order_id = $2")
            .bind(old.cap_refusal)
            .bind(old.order.lid_m.as_str())
            .execute(&mut *tx)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    db.close().await;

    // The shop opens, but nobody signs an Error: it ends nothing.
    world.bank.be(Mood::Errors);
    let shop = world.open_shop_waiting(300).await;
    for old in &olds {
        let view = shop.show(&old.order).await;
        assert_eq!(view["state"], old.state);
        let reversed = view["reversed"]["amount_minor"].as_i64().unwrap_or(0);
        assert_eq!(reversed, old.reversed_minor, "{view}");
        let captured = view["capture"]["amount"]["amount_minor"].as_i64();
        assert_eq!(captured, old.captured_minor, "{view}");
        assert_eq!(view["capture_refusal"].as_str(), old.cap_refusal);
        let held = view["authorization"]["amount"]["amount_minor"].as_i64();
        let expected = match old.state {
            "declined" => Some(0),
            "ordered" => None,
            _ => Some(1500 - old.reversed_minor),
        };
        assert_eq!(held, expected, "{view}");
    }
    // Nothing of before is captured twice.
    assert_eq!(
        code(shop.capture(&olds[1].order, Some("a")).await),
        "already-captured"
    );
    assert_eq!(
        code(shop.capture(&olds[3].order, Some("b")).await),
        "not-authorized"
    );
    assert_eq!(
        code(shop.capture(&olds[5].order, Some("c")).await),
        "capture-in-progress"
    );

    world.bank.be(Mood::Approves);
    let after = [
        ("capturing", "captured"),
        ("reversing", "authorized"),
        ("ordered", "authorized"),
    ];
    for (before, after) in after {
        let old = olds.iter().find(|old| old.state == before).unwrap();
        let view = shop.wait_for_state(&old.order, after).await;
        let held = view["authorization"]["amount"]["amount_minor"].clone();
        assert_eq!(
            held,
            if before == "reversing" { 400 } else { 1500 },
            "{view}"
        );
    }
    let path = format!("/orders/{}/capture", olds[2].order.lid_m);
    let (status, captured) = shop.answered(&path, "d", "").await;
    assert_eq!(status, 200, "{captured}");
    assert_eq!(captured["captured"]["amount_minor"], 1000);
    shop.close().await;
}

fn code((_, problem): (u16, Value)) -> String {
    problem["code"].as_str().unwrap().to_owned()
}
