//! The vault and the keys in it.

use openset_store::keys::{self, Put};
use openset_store::{Db, Vault, VaultError, sqlx};

use crate::place::Place;

const PLACE: &str = "cards/pan/1";
const SECRET: &[u8] = b"4539578763621486";

fn passphrase(text: &str) -> openset_store::SecretString {
    text.to_owned().into()
}

async fn unlock(db: &Db) -> Vault {
    Vault::unlock(db, &passphrase("correct horse"))
        .await
        .unwrap()
}

pub(crate) async fn what_was_sealed_opens_after_a_restart(place: Place) {
    let db = place.open().await;
    let vault = unlock(&db).await;
    let sealed = vault.seal(PLACE, SECRET);
    assert_ne!(sealed, vault.seal(PLACE, SECRET));
    let index = vault.index("cards/pan", SECRET);
    let mut tx = db.begin().await.unwrap();
    let put = keys::put(&mut tx, &vault, "root", b"private").await;
    assert_eq!(put.unwrap(), Put::Stored);
    tx.commit().await.unwrap();
    db.close().await;

    let db = place.open().await;
    let vault = unlock(&db).await;
    assert_eq!(**vault.open(PLACE, &sealed).unwrap(), *SECRET);
    assert_eq!(vault.index("cards/pan", SECRET), index);
    let mut conn = db.read().await.unwrap();
    let key = keys::load(&mut conn, &vault, "root").await.unwrap();
    assert_eq!(**key.unwrap(), *b"private");
    let none = keys::load(&mut conn, &vault, "another").await.unwrap();
    assert!(none.is_none());
}

pub(crate) async fn a_wrong_or_empty_passphrase_is_refused(place: Place) {
    let db = place.open().await;
    let empty = Vault::unlock(&db, &passphrase("")).await;
    assert!(matches!(empty, Err(VaultError::EmptyPassphrase)));
    unlock(&db).await;
    let wrong = Vault::unlock(&db, &passphrase("correct hors")).await;
    assert!(matches!(wrong, Err(VaultError::WrongPassphrase)));
    unlock(&db).await;
}

pub(crate) async fn a_tampered_blob_does_not_open(place: Place) {
    let vault = unlock(&place.open().await).await;
    let sealed = vault.seal(PLACE, SECRET);
    for position in 0..sealed.len() {
        let mut tampered = sealed.clone();
        tampered[position] ^= 1;
        let opened = vault.open(PLACE, &tampered);
        assert!(matches!(opened, Err(VaultError::Unopened)), "{position}");
        let cut = vault.open(PLACE, &sealed[..position]);
        assert!(matches!(cut, Err(VaultError::Unopened)), "{position}");
    }
    assert!(vault.open(PLACE, &sealed).is_ok());
    let empty = vault.seal(PLACE, b"");
    assert!(vault.open(PLACE, &empty).unwrap().is_empty());
}

pub(crate) async fn a_blob_does_not_open_in_another_context(place: Place) {
    let vault = unlock(&place.open().await).await;
    let sealed = vault.seal(PLACE, SECRET);
    for context in ["cards/pan/2", "cards/pan/", "", "cards/pan/1 "] {
        let opened = vault.open(context, &sealed);
        assert!(matches!(opened, Err(VaultError::Unopened)), "{context}");
    }
}

pub(crate) async fn replicas_that_start_together_have_one_key(place: Place) {
    let replicas = [place.open().await, place.open().await];
    let tasks: Vec<_> = (0..4)
        .map(|number: usize| {
            let db = replicas[number % 2].clone();
            tokio::spawn(async move { unlock(&db).await })
        })
        .collect();
    let mut indices = Vec::new();
    for task in tasks {
        indices.push(task.await.unwrap().index("c", SECRET));
    }
    indices.push(unlock(&place.open().await).await.index("c", SECRET));
    indices.dedup();
    assert_eq!(indices.len(), 1);
}

pub(crate) async fn an_index_depends_on_value_context_and_database(place: Place) {
    let vault = unlock(&place.open().await).await;
    let elsewhere = Place::sqlite();
    let other = unlock(&elsewhere.open().await).await;
    let index = vault.index("cards/pan", SECRET);
    assert_eq!(vault.index("cards/pan", SECRET), index);
    assert_ne!(vault.index("cards/pan", b"4539578763621487"), index);
    assert_ne!(vault.index("cards/pa", SECRET), index);
    assert_ne!(vault.index("cards/pan4", &SECRET[1..]), index);
    assert_ne!(other.index("cards/pan", SECRET), index);
}

pub(crate) async fn a_secret_is_never_overwritten(place: Place) {
    let db = place.open().await;
    let vault = unlock(&db).await;
    for (secret, expected) in [(b"one", Put::Stored), (b"two", Put::AlreadyThere)] {
        let mut tx = db.begin().await.unwrap();
        let put = keys::put(&mut tx, &vault, "root", secret).await;
        assert_eq!(put.unwrap(), expected);
        tx.commit().await.unwrap();
    }
    let mut conn = db.read().await.unwrap();
    let key = keys::load(&mut conn, &vault, "root").await.unwrap();
    assert_eq!(**key.unwrap(), *b"one");
    drop(conn);
    let mut tx = db.begin().await.unwrap();
    sqlx::query("UPDATE vault_secrets SET name = $1")
        .bind("brand")
        .execute(&mut *tx)
        .await
        .unwrap();
    let moved = keys::load(&mut tx, &vault, "brand").await;
    assert!(matches!(moved, Err(VaultError::Unopened)));
    assert!(keys::remove(&mut tx, "brand").await.unwrap());
    assert!(!keys::remove(&mut tx, "brand").await.unwrap());
}

pub(crate) async fn secrets_are_listed_by_the_beginning_of_their_names(place: Place) {
    let db = place.open().await;
    let vault = unlock(&db).await;
    let mut tx = db.begin().await.unwrap();
    for name in [
        "50%_off/b",
        "50%_off/a",
        "50%_OFF/a",
        "50 x off/a",
        "50%_off",
    ] {
        let put = keys::put(&mut tx, &vault, name, b"one").await;
        assert_eq!(put.unwrap(), Put::Stored);
    }
    tx.commit().await.unwrap();
    let mut conn = db.read().await.unwrap();
    let names = keys::names(&mut conn, "50%_off").await.unwrap();
    assert_eq!(names, ["50%_off", "50%_off/a", "50%_off/b"]);
}

pub(crate) async fn the_database_shows_neither_secret_nor_passphrase(place: Place) {
    let db = place.open().await;
    let vault = unlock(&db).await;
    let mut tx = db.begin().await.unwrap();
    let put = keys::put(&mut tx, &vault, "pan", SECRET).await;
    assert_eq!(put.unwrap(), Put::Stored);
    tx.commit().await.unwrap();
    assert_eq!(format!("{vault:?}"), "Vault [redacted]");
    let Some(file) = place.file() else { return };
    for suffix in ["", "-wal"] {
        let mut path = file.clone().into_os_string();
        path.push(suffix);
        let bytes = std::fs::read(path).unwrap();
        for secret in [SECRET, b"correct horse"] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        }
    }
}
