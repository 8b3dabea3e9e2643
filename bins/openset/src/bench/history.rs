//! Fills the stores of stopped services with past purchases, without making them: what real purchases left behind is
//! copied, with other names. Whatever an index looks up differs from copy to copy as it does from purchase to purchase,
//! and everything is as long as it was; and names that begin with the time in which they were made begin with an earlier one. No signature in a copy fits: a store filled like this is for measuring alone.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context as _, ensure};
use openset_jose::{base64url, sha256};
use openset_store::sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous,
};
use openset_store::sqlx::{
    self, AssertSqlSafe, Column as _, Connection as _, Row as _, SqliteConnection, TypeInfo as _,
    ValueRef as _,
};

/// Names are at least this long; what is shorter is a word or a number.
const NAME_BYTES_MIN: usize = 16;
/// Longer texts are messages. They are copied as they are.
const TEXT_BYTES_MAX: usize = 2048;
/// Digests and random names are this long.
const DIGEST_BYTES: [usize; 5] = [12, 16, 20, 24, 32];
/// Names that begin with the time begin with so many bytes of it.
const DATE_BYTES: usize = 5;
/// Numbers that must differ begin here, above those that services count.
const FIRST_NUMBER: i64 = 1_000_000_000_000;
/// Rows in one transaction.
const ROWS_PER_COMMIT: u64 = 20_000;

/// One service's store before the purchases that are to be copied: the last row of each table, and every name in it.
pub(super) struct Before {
    tables: Vec<(String, i64)>,
    names: HashSet<Vec<u8>>,
}

/// A table's column, as it was declared, and whether a unique index has it.
struct Column {
    name: String,
    unique: bool,
}

#[derive(Debug, Clone)]
enum Value {
    Null,
    Integer(i64),
    Text(String),
    Blob(Vec<u8>),
}

async fn open(file: &Path) -> anyhow::Result<SqliteConnection> {
    // The services are down, and what is half written after a power failure is made anew.
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(false)
        .foreign_keys(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Off);
    SqliteConnection::connect_with(&options)
        .await
        .with_context(|| format!("cannot open {}", file.display()))
}

/// Looks at a store before the purchases.
pub(super) async fn before(file: &Path) -> anyhow::Result<Before> {
    let mut db = open(file).await?;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
         AND name NOT LIKE '\\_sqlx%' ESCAPE '\\' ORDER BY name",
    )
    .fetch_all(&mut db)
    .await?;
    let mut before = Before {
        tables: Vec::new(),
        names: HashSet::new(),
    };
    for table in tables {
        for (_, row) in rows_after(&mut db, &table, i64::MIN).await? {
            for value in &row {
                names_of(value, &mut |name| {
                    before.names.insert(name.to_vec());
                });
            }
        }
        let last = format!("SELECT coalesce(max(rowid), 0) FROM {table}");
        let last = sqlx::query_scalar(AssertSqlSafe(last))
            .fetch_one(&mut db)
            .await?;
        before.tables.push((table, last));
    }
    db.close().await?;
    Ok(before)
}

/// What is copied, and how often.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copies {
    /// In so many seconds the purchases were made; so much earlier each copy of them is than the one after it.
    pub(super) lasted_s: u64,
    /// When they were all made, in seconds since 1970.
    pub(super) until_s: u64,
    pub(super) times: u64,
}

impl Copies {
    /// The time that a name begins with, as it is in a copy; none if it begins with none.
    fn earlier(&self, name: &[u8], copy: u64) -> Option<[u8; DATE_BYTES]> {
        let date: [u8; DATE_BYTES] = name.get(..DATE_BYTES)?.try_into().ok()?;
        let made_s = date
            .iter()
            .fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        // Hardly a random name begins like this.
        let is_date = made_s <= self.until_s && self.until_s - made_s <= self.lasted_s;
        let back_s = self
            .times
            .saturating_sub(copy)
            .saturating_mul(self.lasted_s);
        let other = made_s.saturating_sub(back_s).to_be_bytes();
        is_date.then(|| [other[3], other[4], other[5], other[6], other[7]])
    }
}

/// Copies what purchases have left since `before`; gives the rows written.
pub(super) async fn fill(file: &Path, before: &Before, copies: Copies) -> anyhow::Result<u64> {
    let mut db = open(file).await?;
    let mut written = 0;
    for (table, last) in &before.tables {
        let rows: Vec<_> = rows_after(&mut db, table, *last).await?;
        if rows.is_empty() {
            continue;
        }
        let columns = columns(&mut db, table).await?;
        let copier = Copier {
            table,
            columns,
            shared: &before.names,
            copies,
            insert: insert(table, &rows),
        };
        written += copier
            .copy(&mut db, &rows)
            .await
            .with_context(|| format!("cannot fill {table} of {}", file.display()))?;
    }
    // What a service that has run for long would know of its tables, and what it would have in its file.
    for done in ["ANALYZE", "PRAGMA wal_checkpoint(TRUNCATE)"] {
        sqlx::query(done).execute(&mut db).await?;
    }
    db.close().await?;
    Ok(written)
}

fn insert(table: &str, rows: &[(Vec<String>, Vec<Value>)]) -> String {
    let names = rows.first().map(|(names, _)| names.as_slice());
    let names = names.unwrap_or_default();
    let marks = vec!["?"; names.len()].join(", ");
    format!(
        "INSERT INTO {table} ({}) VALUES ({marks})",
        names.join(", ")
    )
}

/// Rows with the names of their columns.
async fn rows_after(
    db: &mut SqliteConnection,
    table: &str,
    rowid: i64,
) -> anyhow::Result<Vec<(Vec<String>, Vec<Value>)>> {
    let select = format!("SELECT * FROM {table} WHERE rowid > ? ORDER BY rowid");
    let rows = sqlx::query(AssertSqlSafe(select))
        .bind(rowid)
        .fetch_all(db)
        .await?;
    rows.iter().map(read).collect()
}

fn read(row: &SqliteRow) -> anyhow::Result<(Vec<String>, Vec<Value>)> {
    let mut names = Vec::new();
    let mut values = Vec::new();
    for column in row.columns() {
        let place = column.ordinal();
        let raw = row.try_get_raw(place)?;
        let value = match raw.type_info().name() {
            _ if raw.is_null() => Value::Null,
            "INTEGER" => Value::Integer(row.try_get(place)?),
            "TEXT" => Value::Text(row.try_get(place)?),
            "BLOB" => Value::Blob(row.try_get(place)?),
            other => anyhow::bail!("{} holds a {other}", column.name()),
        };
        names.push(column.name().to_owned());
        values.push(value);
    }
    Ok((names, values))
}

async fn columns(db: &mut SqliteConnection, table: &str) -> anyhow::Result<Vec<Column>> {
    let unique: Vec<String> = sqlx::query_scalar(
        "SELECT info.name FROM pragma_index_list(?) AS list, pragma_index_info(list.name) AS info \
         WHERE list.\"unique\" = 1 AND info.name IS NOT NULL",
    )
    .bind(table)
    .fetch_all(&mut *db)
    .await?;
    let names: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info(?)")
        .bind(table)
        .fetch_all(db)
        .await?;
    let columns = names.into_iter().map(|name| Column {
        unique: unique.contains(&name),
        name,
    });
    Ok(columns.collect())
}

/// Calls `each` with every name in a value: a digest, or a run of name characters that is long enough.
fn names_of(value: &Value, each: &mut impl FnMut(&[u8])) {
    match value {
        Value::Text(text) if text.len() <= TEXT_BYTES_MAX => {
            let words = text.split(|c| !is_of_name(c));
            for word in words.filter(|word| word.len() >= NAME_BYTES_MIN) {
                each(word.as_bytes());
            }
        }
        Value::Blob(bytes) if DIGEST_BYTES.contains(&bytes.len()) => each(bytes),
        _ => {}
    }
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

struct Copier<'a> {
    table: &'a str,
    columns: Vec<Column>,
    /// Names that the purchases share with what was there before: accounts, cards, the shop, the open batch, and words.
    shared: &'a HashSet<Vec<u8>>,
    copies: Copies,
    insert: String,
}

impl Copier<'_> {
    async fn copy(
        &self,
        db: &mut SqliteConnection,
        rows: &[(Vec<String>, Vec<Value>)],
    ) -> anyhow::Result<u64> {
        let mut written = 0_u64;
        let mut tx = db.begin().await?;
        for copy in 0..self.copies.times {
            for (names, values) in rows {
                let mut query = sqlx::query(AssertSqlSafe(self.insert.clone()));
                for (name, value) in names.iter().zip(values) {
                    let column = self.columns.iter().find(|column| column.name == *name);
                    let column = column.with_context(|| format!("no column {name}"))?;
                    query = match self.other(column, value, copy, written) {
                        Value::Null => query.bind(None::<i64>),
                        Value::Integer(number) => query.bind(number),
                        Value::Text(text) => query.bind(text),
                        Value::Blob(bytes) => query.bind(bytes),
                    };
                }
                query.execute(&mut *tx).await?;
                written = written.saturating_add(1);
                if written.is_multiple_of(ROWS_PER_COMMIT) {
                    tx.commit().await?;
                    tx = db.begin().await?;
                }
            }
        }
        tx.commit().await?;
        ensure!(written > 0, "nothing was copied into {}", self.table);
        Ok(written)
    }

    /// The value in a copy.
    fn other(&self, column: &Column, value: &Value, copy: u64, written: u64) -> Value {
        match value {
            Value::Integer(_) if column.unique => {
                let number = i64::try_from(written).unwrap_or_default();
                Value::Integer(FIRST_NUMBER.saturating_add(number))
            }
            Value::Text(text) if text.len() <= TEXT_BYTES_MAX => {
                Value::Text(self.other_text(text, copy))
            }
            Value::Blob(bytes)
                if (column.unique || DIGEST_BYTES.contains(&bytes.len()))
                    && !self.shared.contains(bytes) =>
            {
                Value::Blob(self.other_bytes(bytes, copy))
            }
            same => same.clone(),
        }
    }

    fn other_text(&self, text: &str, copy: u64) -> String {
        let mut other = String::with_capacity(text.len());
        for piece in text.split_inclusive(|c| !is_of_name(c)) {
            let word = piece.trim_end_matches(|c| !is_of_name(c));
            if word.len() >= NAME_BYTES_MIN && !self.shared.contains(word.as_bytes()) {
                other.push_str(&self.other_name(word, copy));
            } else {
                other.push_str(word);
            }
            other.push_str(piece.get(word.len()..).unwrap_or_default());
        }
        other
    }

    /// As long, and of the same alphabet; the same name gives the same in every table of a copy.
    fn other_name(&self, word: &str, copy: u64) -> String {
        let is_hex = word.bytes().all(|c| c.is_ascii_hexdigit());
        let meant = if is_hex {
            hex::decode(word).ok()
        } else {
            base64url::decode(word).ok()
        };
        let meant = meant.unwrap_or_else(|| word.as_bytes().to_vec());
        let bytes = self.other_bytes(&meant, copy);
        let text = if is_hex {
            hex::encode(bytes)
        } else {
            base64url::encode(&bytes)
        };
        let mut other: String = text.chars().take(word.len()).collect();
        // A word that is neither: as long at least.
        other.extend(word.chars().skip(other.len()));
        other
    }

    /// As many bytes.
    fn other_bytes(&self, bytes: &[u8], copy: u64) -> Vec<u8> {
        let mut other = digests(bytes, copy);
        if let Some(date) = self.copies.earlier(bytes, copy) {
            other.splice(..DATE_BYTES, date);
        }
        other
    }
}

/// As many bytes, of digests.
fn digests(bytes: &[u8], copy: u64) -> Vec<u8> {
    let mut other = Vec::with_capacity(bytes.len());
    let mut block = 0_u64;
    while other.len() < bytes.len() {
        let seed = [copy.to_be_bytes().as_slice(), &block.to_be_bytes(), bytes].concat();
        other.extend_from_slice(&sha256(&seed));
        block = block.saturating_add(1);
    }
    other.truncate(bytes.len());
    other
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    async fn store(folder: &Path) -> std::path::PathBuf {
        let file = folder.join("store.db");
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true);
        let mut db = SqliteConnection::connect_with(&options).await.unwrap();
        let sql = "CREATE TABLE orders (id TEXT NOT NULL PRIMARY KEY, shop TEXT NOT NULL, digest BYTEA NOT NULL UNIQUE, \
                   line BIGINT NOT NULL UNIQUE, paid BIGINT); \
                   CREATE TABLE notes (id TEXT NOT NULL, text TEXT NOT NULL); \
                   INSERT INTO orders VALUES ('00000000000000aa', 'shop-0001-of-the-demo', x'000102030405060708090a0b', 1, NULL)";
        sqlx::raw_sql(sql).execute(&mut db).await.unwrap();
        db.close().await.unwrap();
        file
    }

    #[tokio::test]
    async fn copies_differ_where_purchases_differ_and_share_what_they_share() {
        let folder = tempfile::tempdir().unwrap();
        let file = store(folder.path()).await;
        let before = before(&file).await.unwrap();
        let mut db = open(&file).await.unwrap();
        let sql = "INSERT INTO orders VALUES ('006b49d2000000bb', 'shop-0001-of-the-demo', x'100102030405060708090a0b', 2, 7); \
                   INSERT INTO notes VALUES ('006b49d2000000bb', 'order 006b49d2000000bb: paid')";
        sqlx::raw_sql(sql).execute(&mut db).await.unwrap();
        db.close().await.unwrap();
        let copies = Copies {
            lasted_s: 16,
            until_s: 1_800_000_001,
            times: 10,
        };
        assert_eq!(fill(&file, &before, copies).await.unwrap(), 20);

        let mut db = open(&file).await.unwrap();
        let (orders, shops, paid): (i64, i64, i64) = sqlx::query_as(
            "SELECT count(DISTINCT id), count(DISTINCT shop), sum(paid) FROM orders",
        )
        .fetch_one(&mut db)
        .await
        .unwrap();
        assert_eq!((orders, shops, paid), (12, 1, 77));
        let told: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM notes JOIN orders USING (id) WHERE text = 'order ' || id || ': paid'",
        )
        .fetch_one(&mut db)
        .await
        .unwrap();
        assert_eq!(told, 11, "a name is the same in every table of a copy");
        let dates: Vec<String> =
            sqlx::query_scalar("SELECT substr(id, 1, 10) FROM orders ORDER BY rowid")
                .fetch_all(&mut db)
                .await
                .unwrap();
        let dated = |back_s: i64| format!("{:010x}", 1_800_000_000 - back_s);
        assert_eq!(dates[1..3], [dated(0), dated(160)]);
        assert_eq!(
            dates.last(),
            Some(&dated(16)),
            "the last copy is the newest"
        );
        db.close().await.unwrap();
    }
}
