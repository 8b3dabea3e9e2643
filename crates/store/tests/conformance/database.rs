//! Opening, migrating, transactions, and the revocation lists.

use std::time::Duration;

use openset_store::brand_crl_identifiers::{self as bcis, StoredBrandCrlIdentifier};
use openset_store::{Backend, Db, Migration, StoreError, crls, exchanges, sqlx};

use crate::place::{NOTES, Place, note, notes};

pub(crate) async fn a_dropped_transaction_leaves_nothing(place: Place) {
    let db = place.open().await;
    let mut tx = db.begin().await.unwrap();
    note(&mut tx, "dropped").await;
    drop(tx);
    let mut tx = db.begin().await.unwrap();
    note(&mut tx, "rolled back").await;
    tx.rollback().await.unwrap();
    let mut tx = db.begin().await.unwrap();
    note(&mut tx, "kept").await;
    tx.commit().await.unwrap();
    assert_eq!(notes(&db).await, ["kept"]);
}

pub(crate) async fn a_reopened_database_keeps_all(place: Place) {
    let db = place.open().await;
    let mut tx = db.begin().await.unwrap();
    note(&mut tx, "kept").await;
    tx.commit().await.unwrap();
    db.close().await;
    assert!(matches!(
        db.begin().await,
        Err(StoreError::Unavailable(sqlx::Error::PoolClosed))
    ));
    let db = place.open().await;
    assert_eq!(notes(&db).await, ["kept"]);
    if db.backend() == Backend::Sqlite {
        assert_sqlite_is_safe(&place, &db).await;
    }
}

async fn assert_sqlite_is_safe(place: &Place, db: &Db) {
    use std::os::unix::fs::PermissionsExt;

    let mut tx = db.begin().await.unwrap();
    for (pragma, expected) in [
        (
            "SELECT CAST(synchronous AS TEXT) FROM pragma_synchronous",
            "2",
        ),
        ("SELECT journal_mode FROM pragma_journal_mode", "wal"),
        (
            "SELECT CAST(foreign_keys AS TEXT) FROM pragma_foreign_keys",
            "1",
        ),
    ] {
        let found: String = sqlx::query_scalar(pragma)
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        assert_eq!(found, expected, "{pragma}");
    }
    drop(tx);
    let mut conn = db.read().await.unwrap();
    let refused = sqlx::query("DELETE FROM notes").execute(&mut *conn).await;
    assert!(refused.is_err());
    let mode = place
        .file()
        .unwrap()
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

pub(crate) async fn party_migrations_are_applied_once(place: Place) {
    place.open().await.close().await;
    let more = [
        NOTES[0],
        Migration {
            version: 101,
            name: "more notes",
            sql: "ALTER TABLE notes ADD COLUMN more TEXT; CREATE INDEX notes_more ON notes (more)",
        },
    ];
    Db::open(&place.url, &more).await.unwrap().close().await;
    let newer = Db::open(&place.url, &NOTES).await;
    assert!(matches!(newer, Err(StoreError::Migration(_))), "{newer:?}");
    let altered = [Migration {
        sql: "CREATE TABLE notes (id TEXT)",
        ..NOTES[0]
    }];
    let altered = Db::open(&place.url, &altered).await;
    assert!(matches!(altered, Err(StoreError::Migration(_))));
}

pub(crate) async fn exchanges_of_before_their_key_began_with_the_rrpid_are_found(place: Place) {
    let db = place.open().await;
    let mut tx = db.begin().await.unwrap();
    for statement in [
        "DROP TABLE exchanges",
        "CREATE TABLE exchanges (sender TEXT NOT NULL, message TEXT NOT NULL, rrpid TEXT NOT NULL, \
         digest BYTEA NOT NULL, response BYTEA, received_at_s BIGINT NOT NULL, keep_until_s BIGINT NOT NULL, \
         PRIMARY KEY (sender, message, rrpid))",
        "CREATE INDEX exchanges_digest ON exchanges (digest)",
        "CREATE INDEX exchanges_keep_until ON exchanges (keep_until_s)",
        "DELETE FROM _sqlx_migrations WHERE version = 10",
    ] {
        sqlx::query(statement).execute(&mut *tx).await.unwrap();
    }
    for (sender, rrpid) in [("one", "b"), ("another", "a"), ("one", "a")] {
        let insert = "INSERT INTO exchanges VALUES ($1, 'AuthReq', $2, $3, $4, 10, 20)";
        sqlx::query(insert)
            .bind(sender)
            .bind(rrpid)
            .bind(&[7_u8; 32][..])
            .bind([sender, rrpid].concat().into_bytes())
            .execute(&mut *tx)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    db.close().await;
    let db = place.open().await;
    let mut conn = db.read().await.unwrap();
    let found = exchanges::find_same(&mut conn, "b", &[7; 32])
        .await
        .unwrap();
    assert_eq!(found.unwrap().response.unwrap(), b"oneb");
    for sender in ["one", "another"] {
        let received = exchanges::Received {
            sender,
            message: "AuthReq",
            rrpid: "a",
            digest: [7; 32],
            received_at: 11,
            keep_until: 21,
        };
        let response = Some([sender, "a"].concat().into_bytes());
        let found = exchanges::find(&mut conn, &received).await.unwrap();
        assert_eq!(found, Some(exchanges::Opened::Same { response }));
    }
    drop(conn);
    let mut tx = db.begin().await.unwrap();
    assert_eq!(exchanges::purge(&mut tx, 21).await.unwrap(), 3);
}

pub(crate) async fn a_wrong_migration_version_is_refused(place: Place) {
    for version in [1, 99] {
        let wrong = [Migration {
            version,
            ..NOTES[0]
        }];
        let refused = Db::open(&place.url, &wrong).await;
        assert!(matches!(refused, Err(StoreError::MigrationVersion(found)) if found == version));
    }
    let doubled = Db::open(&place.url, &[NOTES[0], NOTES[0]]).await;
    assert!(matches!(doubled, Err(StoreError::MigrationVersion(100))));
    let unknown = Db::open("mysql://localhost/db", &[]).await;
    assert!(matches!(unknown, Err(StoreError::Url(_))));
}

pub(crate) async fn replicas_that_migrate_together_are_fine(place: Place) {
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let url = place.url.clone();
            tokio::spawn(async move { Db::open(&url, &NOTES).await.map(drop) })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
}

pub(crate) async fn cancelled_begins_poison_nothing(place: Place) {
    let db = place.open().await;
    for round in 0..120 {
        // Given up after more and more polls: before, while and after BEGIN is answered.
        let given_up = async {
            for _ in 0..round % 6 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            begun = db.begin() => note(&mut begun.unwrap(), &format!("dropped {round}")).await,
            () = given_up => {}
        }
        let given_up = async {
            for _ in 0..round % 6 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            seen = db.snapshot() => assert_eq!(count(&mut seen.unwrap()).await, 0),
            () = given_up => {}
        }
    }
    if db.backend() == Backend::Postgres {
        let another = place.open().await;
        let mut forgotten: i64 = -1;
        // Less than the 30 s after which the server itself ends what was forgotten.
        for _ in 0..300 {
            forgotten = sqlx::query_scalar(
                "SELECT COUNT(*) FROM pg_stat_activity \
                 WHERE datname = current_database() AND state LIKE 'idle in transaction%'",
            )
            .fetch_one(&mut *another.read().await.unwrap())
            .await
            .unwrap();
            if forgotten == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(forgotten, 0);
    }
    for number in 0..20 {
        let mut tx = db.begin().await.unwrap();
        note(&mut tx, &format!("kept {number:02}")).await;
        tx.commit().await.unwrap();
    }
    let kept = notes(&place.open().await).await;
    assert_eq!(kept.len(), 20);
    assert!(kept.iter().all(|id| id.starts_with("kept")), "{kept:?}");
}

async fn count(conn: &mut sqlx::AnyConnection) -> i64 {
    sqlx::query_scalar("SELECT COUNT(*) FROM notes")
        .fetch_one(conn)
        .await
        .unwrap()
}

pub(crate) async fn a_snapshot_sees_one_moment(place: Place) {
    let db = place.open().await;
    let mut seen = db.snapshot().await.unwrap();
    assert_eq!(count(&mut seen).await, 0);
    let mut tx = db.begin().await.unwrap();
    note(&mut tx, "later").await;
    tx.commit().await.unwrap();
    assert_eq!(count(&mut seen).await, 0);
    let refused = sqlx::query("DELETE FROM notes").execute(&mut *seen).await;
    assert!(refused.is_err(), "it only reads");
    drop(seen);
    for _ in 0..20 {
        assert_eq!(count(&mut db.read().await.unwrap()).await, 1);
        assert_eq!(count(&mut db.snapshot().await.unwrap()).await, 1);
    }
    db.close().await;
}

pub(crate) async fn what_nobody_waited_for_reaches_nobody(place: Place) {
    let db = place.open().await;
    let slow = match db.backend() {
        Backend::Postgres => {
            "SELECT COUNT(*) FROM notes, (SELECT pg_sleep(0.02)) AS slept, (SELECT 1 / (seen - seen) FROM notes) AS failed"
        }
        Backend::Sqlite => "SELECT COUNT(*) FROM notes",
    };
    let mut tx = db.begin().await.unwrap();
    sqlx::query("INSERT INTO notes (id, seen) VALUES ('one', 1)")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    for round in 0..40 {
        let mut conn = db.read().await.unwrap();
        let asked = sqlx::query(slow).fetch_one(&mut *conn);
        drop(tokio::time::timeout(Duration::from_millis(round % 8), asked).await);
        drop(conn);
        let mut next = db.read().await.unwrap();
        let id: String = sqlx::query_scalar("SELECT id FROM notes")
            .fetch_one(&mut *next)
            .await
            .unwrap();
        assert_eq!(id, "one");
    }
}

/// Both have read before either writes: without BEGIN IMMEDIATE SQLite fails the second.
pub(crate) async fn replicas_that_read_then_write_all_commit(place: Place) {
    let replicas = [place.open().await, place.open().await];
    let tasks: Vec<_> = (0..2_usize)
        .map(|number| {
            let db = replicas[number].clone();
            tokio::spawn(async move {
                for round in 0..20 {
                    let mut tx = db.begin().await.unwrap();
                    let _before: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM notes")
                        .fetch_one(&mut *tx)
                        .await
                        .unwrap();
                    tokio::task::yield_now().await;
                    note(&mut tx, &format!("{number}/{round}")).await;
                    tx.commit().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(notes(&replicas[0]).await.len(), 40);
}

pub(crate) async fn crls_keep_the_newest(place: Place) {
    let db = place.open().await;
    let mut tx = db.begin().await.unwrap();
    assert!(crls::put(&mut tx, "cca", 5, b"five", 500).await.unwrap());
    assert!(!crls::put(&mut tx, "cca", 5, b"another", 500).await.unwrap());
    assert!(!crls::put(&mut tx, "cca", 4, b"four", 400).await.unwrap());
    assert!(crls::put(&mut tx, "cca", 6, b"six", 600).await.unwrap());
    assert!(crls::put(&mut tx, "mca", 1, b"one", 100).await.unwrap());
    let beyond = crls::put(&mut tx, "mca", u64::MAX, b"x", 1).await;
    assert!(matches!(beyond, Err(StoreError::Conflict(_))));
    tx.commit().await.unwrap();
    let all = crls::all(&mut place.open().await.read().await.unwrap())
        .await
        .unwrap();
    let seen: Vec<_> = all
        .iter()
        .map(|crl| {
            (
                crl.issuer_id.as_str(),
                crl.number,
                crl.der.as_slice(),
                crl.next_update,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [("cca", 6, &b"six"[..], 600), ("mca", 1, &b"one"[..], 100)]
    );
}

pub(crate) async fn brand_crl_identifiers_keep_the_newest(place: Place) {
    let db = place.open().await;
    let numbered = |brand: &str, sequence: u64| StoredBrandCrlIdentifier {
        brand: brand.to_owned(),
        sequence,
        der: sequence.to_be_bytes().to_vec(),
        not_after: 500,
    };
    let mut tx = db.begin().await.unwrap();
    assert!(bcis::put(&mut tx, &numbered("Visa", 5)).await.unwrap());
    for sequence in [4, 5] {
        let kept = bcis::put(&mut tx, &numbered("Visa", sequence)).await;
        assert!(!kept.unwrap());
    }
    assert!(bcis::put(&mut tx, &numbered("Visa", 6)).await.unwrap());
    let beyond = bcis::put(&mut tx, &numbered("Visa", u64::MAX)).await;
    assert!(matches!(beyond, Err(StoreError::Conflict(_))));
    // Whoever issues succeeds the one that it saw, or nobody.
    let brand = "Aurora";
    let succession = [
        (Some(1), 2, false),
        (None, 2, true),
        (None, 3, false),
        (Some(1), 3, false),
        (Some(2), 2, false),
        (Some(2), 3, true),
    ];
    for (previous, sequence, stored) in succession {
        let done = bcis::succeed(&mut tx, previous, &numbered(brand, sequence)).await;
        assert_eq!(done.unwrap(), stored, "{sequence} after {previous:?}");
    }
    tx.commit().await.unwrap();
    let all = bcis::all(&mut place.open().await.read().await.unwrap()).await;
    assert_eq!(all.unwrap(), [numbered(brand, 3), numbered("Visa", 6)]);
}
