//! The ledger.

use openset_store::ledger::{self, Entry, Fault, LedgerError, Posted, Posting};
use openset_store::{Db, StoreError, Tx, sqlx};

use crate::place::{Place, note, notes};

fn posting(account: &str, amount_minor: i64) -> Posting<'_> {
    Posting {
        account,
        currency: "EUR",
        amount_minor,
    }
}

fn entry<'a>(reference: &'a str, postings: &'a [Posting<'a>]) -> Entry<'a> {
    Entry {
        kind: "capture",
        reference,
        at: 1_000,
        memo: "one lamp",
        postings,
    }
}

async fn books(place: &Place) -> Db {
    let db = place.open().await;
    let mut tx = db.begin().await.unwrap();
    for (id, currency) in [
        ("anna", "EUR"),
        ("shop", "EUR"),
        ("fees", "EUR"),
        ("dollars", "USD"),
    ] {
        ledger::open_account(&mut tx, id, "customer", currency)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    db
}

async fn post(db: &Db, entry: &Entry<'_>) -> Result<Posted, LedgerError> {
    let mut tx = db.begin().await.unwrap();
    let posted = ledger::post(&mut tx, entry).await?;
    tx.commit().await?;
    Ok(posted)
}

async fn balance(db: &Db, account: &str) -> i64 {
    ledger::balance(&mut db.read().await.unwrap(), account)
        .await
        .unwrap()
}

async fn faults(db: &Db) -> Vec<Fault> {
    ledger::check(&mut db.snapshot().await.unwrap())
        .await
        .unwrap()
        .faults
}

async fn tamper(db: &Db, statement: &'static str) {
    let mut tx: Tx = db.begin().await.unwrap();
    let rows = sqlx::query(statement).execute(&mut *tx).await.unwrap();
    assert_eq!(rows.rows_affected(), 1, "{statement}");
    tx.commit().await.unwrap();
}

pub(crate) async fn a_movement_changes_both_balances_and_shows_in_the_statements(place: Place) {
    let db = books(&place).await;
    let three = [
        posting("anna", -1_050),
        posting("shop", 1_000),
        posting("fees", 50),
    ];
    assert_eq!(post(&db, &entry("1", &three)).await.unwrap(), Posted::New);
    let two = [posting("shop", -200), posting("anna", 200)];
    assert_eq!(post(&db, &entry("2", &two)).await.unwrap(), Posted::New);
    assert_eq!(balance(&db, "anna").await, -850);
    assert_eq!(balance(&db, "shop").await, 800);
    assert_eq!(balance(&db, "fees").await, 50);
    let mut conn = db.read().await.unwrap();
    let lines = ledger::entries(&mut conn, "anna", 10).await.unwrap();
    let seen: Vec<_> = lines
        .iter()
        .map(|line| {
            let reference = line.reference.as_str();
            (
                line.account_line,
                reference,
                line.amount_minor,
                line.balance_after_minor,
            )
        })
        .collect();
    assert_eq!(seen, [(2, "2", 200, -850), (1, "1", -1_050, -1_050)]);
    assert_eq!((lines[0].at, lines[0].memo.as_str()), (1_000, "one lamp"));
    assert_eq!(
        ledger::entries(&mut conn, "anna", 1).await.unwrap().len(),
        1
    );
    let mut snapshot = db.snapshot().await.unwrap();
    let audit = ledger::check(&mut snapshot).await.unwrap();
    assert_eq!((audit.accounts, audit.entries, audit.postings), (4, 2, 5));
    assert_eq!(audit.faults, []);
    let unknown = ledger::balance(&mut conn, "nobody").await;
    assert!(matches!(unknown, Err(LedgerError::UnknownAccount { .. })));
}

pub(crate) async fn bad_movements_are_refused_and_leave_nothing(place: Place) {
    let db = books(&place).await;
    let dollars = Posting {
        currency: "USD",
        ..posting("dollars", 5)
    };
    let refused = |postings: &'static [(&str, &str, i64)]| {
        let db = db.clone();
        async move {
            let postings: Vec<Posting<'_>> = postings
                .iter()
                .map(|(account, currency, amount_minor)| Posting {
                    account,
                    currency,
                    amount_minor: *amount_minor,
                })
                .collect();
            post(&db, &entry("bad", &postings)).await.unwrap_err()
        }
    };
    assert!(matches!(refused(&[]).await, LedgerError::TooFewPostings));
    let one = refused(&[("anna", "EUR", 0)]).await;
    assert!(matches!(one, LedgerError::TooFewPostings));
    let unbalanced = refused(&[("anna", "EUR", -5), ("shop", "EUR", 4)]).await;
    assert!(matches!(
        unbalanced,
        LedgerError::Unbalanced { sum_minor: -1, .. }
    ));
    let mixed = post(&db, &entry("bad", &[posting("anna", -5), dollars])).await;
    assert!(matches!(mixed, Err(LedgerError::Unbalanced { .. })));
    let wrapping = refused(&[
        ("anna", "EUR", i64::MAX),
        ("shop", "EUR", i64::MAX),
        ("fees", "EUR", 2),
    ]);
    assert!(matches!(wrapping.await, LedgerError::Unbalanced { .. }));
    let unknown = refused(&[("anna", "EUR", -5), ("nobody", "EUR", 5)]).await;
    assert!(matches!(unknown, LedgerError::UnknownAccount { account } if account == "nobody"));
    let currency = refused(&[("anna", "EUR", -5), ("dollars", "EUR", 5)]).await;
    assert!(matches!(currency, LedgerError::CurrencyMismatch { kept, .. } if kept == "USD"));
    assert_eq!(balance(&db, "anna").await, 0);
    let audit = ledger::check(&mut db.snapshot().await.unwrap())
        .await
        .unwrap();
    assert_eq!((audit.entries, audit.postings), (0, 0));
}

pub(crate) async fn a_refused_movement_spoils_its_transaction(place: Place) {
    let db = books(&place).await;
    let mut tx = db.begin().await.unwrap();
    note(&mut tx, "beside it").await;
    let half = [posting("anna", -5), posting("nobody", 5)];
    assert!(ledger::post(&mut tx, &entry("1", &half)).await.is_err());
    let good = [posting("anna", -5), posting("shop", 5)];
    assert!(ledger::post(&mut tx, &entry("2", &good)).await.is_ok());
    let committed = tx.commit().await;
    assert!(
        matches!(committed, Err(StoreError::Conflict(_))),
        "{committed:?}"
    );
    assert_eq!(balance(&db, "anna").await, 0);
    assert!(notes(&db).await.is_empty());
    assert_eq!(faults(&db).await, []);
}

pub(crate) async fn a_balance_cannot_overflow(place: Place) {
    let db = books(&place).await;
    let most = [posting("anna", -i64::MAX), posting("shop", i64::MAX)];
    post(&db, &entry("1", &most)).await.unwrap();
    for (reference, more) in [
        ("2", [posting("anna", -1), posting("fees", 1)]),
        ("3", [posting("shop", 1), posting("fees", -1)]),
        ("4", [posting("anna", -i64::MAX), posting("fees", i64::MAX)]),
    ] {
        let refused = post(&db, &entry(reference, &more)).await;
        assert!(
            matches!(refused, Err(LedgerError::Overflow { .. })),
            "{refused:?}"
        );
    }
    let least = [
        posting("fees", i64::MIN),
        posting("fees", i64::MAX),
        posting("fees", 1),
    ];
    let refused = post(&db, &entry("5", &least)).await;
    assert!(
        matches!(refused, Err(LedgerError::Overflow { .. })),
        "{refused:?}"
    );
    let back = [posting("shop", -i64::MAX), posting("anna", i64::MAX)];
    post(&db, &entry("6", &back)).await.unwrap();
    assert_eq!(balance(&db, "shop").await, 0);
    assert_eq!(faults(&db).await, []);
}

pub(crate) async fn a_duplicate_reference_is_already_booked(place: Place) {
    let db = books(&place).await;
    let postings = [posting("shop", 5), posting("anna", -5)];
    let first = entry("1", &postings);
    assert_eq!(post(&db, &first).await.unwrap(), Posted::New);
    assert_eq!(post(&db, &first).await.unwrap(), Posted::Already);
    let another_kind = Entry {
        kind: "refund",
        ..first
    };
    assert_eq!(post(&db, &another_kind).await.unwrap(), Posted::New);
    assert_eq!(balance(&db, "shop").await, 10);
}

pub(crate) async fn a_reference_with_other_postings_is_refused(place: Place) {
    let db = books(&place).await;
    post(&db, &entry("1", &[posting("shop", 5), posting("anna", -5)]))
        .await
        .unwrap();
    for other in [
        vec![posting("shop", 6), posting("anna", -6)],
        vec![posting("fees", 5), posting("anna", -5)],
        vec![posting("shop", 5), posting("anna", -5), posting("fees", 0)],
    ] {
        let refused = post(&db, &entry("1", &other)).await;
        assert!(matches!(refused, Err(LedgerError::ReferenceReused { .. })));
    }
    assert_eq!(balance(&db, "shop").await, 5);
}

pub(crate) async fn concurrent_posts_keep_balances(place: Place) {
    let replicas = [books(&place).await, place.open().await];
    let tasks: Vec<_> = (0..8_i64)
        .map(|task| {
            let db = replicas[usize::from(task % 2 == 0)].clone();
            tokio::spawn(async move {
                for round in 0..10 {
                    // Both directions: without one order of locking these would deadlock.
                    let (from, to) = if task % 2 == 0 {
                        ("anna", "shop")
                    } else {
                        ("shop", "anna")
                    };
                    let postings = [posting(from, -task - 1), posting(to, task + 1)];
                    post(&db, &entry(&format!("{task}/{round}"), &postings))
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    // Tasks 0, 2, 4, 6 moved 1 + 3 + 5 + 7 to the shop, the others 2 + 4 + 6 + 8 back, ten times.
    assert_eq!(balance(&replicas[0], "shop").await, -40);
    assert_eq!(balance(&replicas[0], "anna").await, 40);
    let audit = ledger::check(&mut replicas[1].snapshot().await.unwrap())
        .await
        .unwrap();
    assert_eq!(
        (audit.entries, audit.postings, audit.faults),
        (80, 160, vec![])
    );
}

pub(crate) async fn concurrent_posts_of_one_reference_book_once(place: Place) {
    let replicas = [books(&place).await, place.open().await];
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let db = replicas[number % 2].clone();
            tokio::spawn(async move {
                let postings = [posting("anna", -5), posting("shop", 5)];
                post(&db, &entry("1", &postings)).await.unwrap()
            })
        })
        .collect();
    let mut new = 0;
    for task in tasks {
        new += usize::from(task.await.unwrap() == Posted::New);
    }
    assert_eq!(new, 1);
    assert_eq!(balance(&replicas[0], "shop").await, 5);
}

pub(crate) async fn a_locked_balance_is_not_spent_twice(place: Place) {
    let replicas = [books(&place).await, place.open().await];
    post(
        &replicas[0],
        &entry("in", &[posting("shop", -10), posting("anna", 10)]),
    )
    .await
    .unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let db = replicas[number % 2].clone();
            tokio::spawn(async move {
                let mut tx = db.begin().await.unwrap();
                let spendable = ledger::lock_balance(&mut tx, "anna").await.unwrap();
                if spendable >= 4 {
                    let postings = [posting("anna", -4), posting("shop", 4)];
                    ledger::post(&mut tx, &entry(&format!("{number}"), &postings))
                        .await
                        .unwrap();
                    tx.commit().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(balance(&replicas[0], "anna").await, 2);
    let mut tx = replicas[0].begin().await.unwrap();
    let unknown = ledger::lock_balance(&mut tx, "nobody").await;
    assert!(matches!(unknown, Err(LedgerError::UnknownAccount { .. })));
}

pub(crate) async fn opening_an_account_again_changes_nothing(place: Place) {
    let db = books(&place).await;
    post(&db, &entry("1", &[posting("anna", -5), posting("shop", 5)]))
        .await
        .unwrap();
    let mut tx = db.begin().await.unwrap();
    ledger::open_account(&mut tx, "shop", "customer", "EUR")
        .await
        .unwrap();
    for (kind, currency) in [("customer", "USD"), ("bank", "EUR")] {
        let other = ledger::open_account(&mut tx, "shop", kind, currency).await;
        assert!(matches!(other, Err(LedgerError::AccountDiffers { .. })));
    }
    tx.commit().await.unwrap();
    assert_eq!(balance(&db, "shop").await, 5);
}

pub(crate) async fn the_audit_finds_a_tampered_balance(place: Place) {
    let db = books(&place).await;
    post(&db, &entry("1", &[posting("anna", -5), posting("shop", 5)]))
        .await
        .unwrap();
    assert_eq!(faults(&db).await, []);
    tamper(
        &db,
        "UPDATE ledger_accounts SET balance_minor = 6 WHERE id = 'shop'",
    )
    .await;
    let expected = Fault::Balance {
        account: "shop".to_owned(),
        kept_minor: 6,
        recomputed_minor: 5,
    };
    assert_eq!(faults(&db).await, [expected]);
}

pub(crate) async fn the_audit_finds_tampered_postings(place: Place) {
    let db = books(&place).await;
    for reference in ["1", "2", "3"] {
        post(
            &db,
            &entry(reference, &[posting("anna", -5), posting("shop", 5)]),
        )
        .await
        .unwrap();
    }
    tamper(
        &db,
        "UPDATE ledger_postings SET amount_minor = 9 WHERE account = 'shop' AND account_line = 2",
    )
    .await;
    let found = faults(&db).await;
    assert!(found.contains(&Fault::Line {
        account: "shop".to_owned(),
        account_line: 2
    }));
    assert!(found.contains(&Fault::Unbalanced {
        kind: "capture".to_owned(),
        reference: "2".to_owned(),
        currency: "EUR".to_owned(),
        sum_minor: 4,
    }));
    tamper(
        &db,
        "DELETE FROM ledger_postings WHERE account = 'shop' AND account_line = 3",
    )
    .await;
    assert!(faults(&db).await.contains(&Fault::TooFewPostings {
        kind: "capture".to_owned(),
        reference: "3".to_owned(),
    }));
    tamper(
        &db,
        "DELETE FROM ledger_postings WHERE account = 'anna' AND account_line = 3",
    )
    .await;
    let found = faults(&db).await;
    let last = Fault::TooFewPostings {
        kind: "capture".to_owned(),
        reference: "3".to_owned(),
    };
    assert!(found.contains(&last), "{found:?}");
}

pub(crate) async fn the_audit_is_right_while_others_post(place: Place) {
    let db = books(&place).await;
    let poster = db.clone();
    let posting_on = tokio::spawn(async move {
        for round in 0..60 {
            let postings = [posting("anna", -1), posting("shop", 1)];
            post(&poster, &entry(&format!("{round}"), &postings))
                .await
                .unwrap();
        }
    });
    while !posting_on.is_finished() {
        assert_eq!(faults(&db).await, []);
    }
    posting_on.await.unwrap();
    assert_eq!(balance(&db, "shop").await, 60);
}
