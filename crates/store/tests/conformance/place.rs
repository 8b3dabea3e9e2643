//! Where a case has its database.

use openset_store::{Db, Migration, Tx, sqlite_url};
use tempfile::TempDir;

use crate::postgres::PostgresServer;

/// An empty database of either kind.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) url: String,
    /// SQLite's folder, removed at the end.
    folder: Option<TempDir>,
}

/// A party's own table, so that cases can see effects of their own.
pub(crate) const NOTES: [Migration; 1] = [Migration {
    version: 100,
    name: "notes",
    sql: "CREATE TABLE notes (id TEXT NOT NULL PRIMARY KEY, seen BIGINT, body BYTEA)",
}];

impl Place {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("openset store #1 ")
            .tempdir()
            .unwrap();
        Self {
            url: sqlite_url(&folder.path().join("party.db")),
            folder: Some(folder),
        }
    }

    pub(crate) fn postgres(server: &PostgresServer) -> Self {
        Self {
            url: server.create_database().unwrap(),
            folder: None,
        }
    }

    pub(crate) async fn open(&self) -> Db {
        Db::open(&self.url, &NOTES).await.unwrap()
    }

    /// SQLite's file.
    pub(crate) fn file(&self) -> Option<std::path::PathBuf> {
        self.folder
            .as_ref()
            .map(|folder| folder.path().join("party.db"))
    }
}

pub(crate) async fn note(tx: &mut Tx, id: &str) {
    openset_store::sqlx::query("INSERT INTO notes (id, seen, body) VALUES ($1, NULL, $2)")
        .bind(id)
        .bind(&b""[..])
        .execute(&mut **tx)
        .await
        .unwrap();
}

pub(crate) async fn notes(db: &Db) -> Vec<String> {
    openset_store::sqlx::query_scalar("SELECT id FROM notes ORDER BY id")
        .fetch_all(&mut *db.read().await.unwrap())
        .await
        .unwrap()
}
