//! Tables as they are, on either database.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openset_store::sqlx::any::{AnyRow, AnyTypeInfoKind};
use openset_store::sqlx::{self, AnyConnection, AssertSqlSafe, Column, Row, ValueRef};
use openset_store::{Backend, Db, StoreError, Tx};
use serde::{Deserialize, Serialize};

/// A table's rows; the columns of each that are not NULL.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) rows: Vec<Vec<(String, Value)>>,
}

/// A value of a column.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Value {
    Number(i64),
    Text(String),
    /// Base64.
    Bytes(String),
}

/// A transaction that sees the database at one moment.
pub(super) async fn snapshot(db: &Db) -> Result<Tx, StoreError> {
    let mut tx = db.begin().await?;
    if db.backend() == Backend::Postgres {
        sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            .execute(&mut *tx)
            .await?;
    }
    Ok(tx)
}

/// The versions of the migrations that were applied.
pub(super) async fn migrations(conn: &mut AnyConnection) -> Result<Vec<i64>, StoreError> {
    Ok(
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations ORDER BY version")
            .fetch_all(conn)
            .await?,
    )
}

/// All tables' names; those that others refer to come first.
async fn names(conn: &mut AnyConnection, backend: Backend) -> Result<Vec<String>, StoreError> {
    let sql = match backend {
        Backend::Sqlite => {
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        }
        Backend::Postgres => {
            "SELECT CAST(tablename AS TEXT) FROM pg_tables WHERE schemaname = current_schema()"
        }
    };
    let mut names: Vec<String> = sqlx::query_scalar(sql).fetch_all(conn).await?;
    names.retain(|name| name != "_sqlx_migrations");
    names.sort_by_key(|name| (name != "authorities", name.clone()));
    Ok(names)
}

/// Every table with its rows.
pub(super) async fn read_all(
    conn: &mut AnyConnection,
    backend: Backend,
) -> Result<Vec<Table>, StoreError> {
    let mut tables = Vec::new();
    for name in names(conn, backend).await? {
        // A CA stands after the one above it.
        let order = if name == "authorities" {
            " ORDER BY place"
        } else {
            ""
        };
        let sql = format!("SELECT * FROM {name}{order}");
        let rows = sqlx::query(AssertSqlSafe(sql))
            .fetch_all(&mut *conn)
            .await?;
        let rows = rows.iter().map(read_row).collect::<Result<_, _>>()?;
        tables.push(Table { name, rows });
    }
    Ok(tables)
}

fn read_row(row: &AnyRow) -> Result<Vec<(String, Value)>, StoreError> {
    let mut values = Vec::new();
    for (place, column) in row.columns().iter().enumerate() {
        let raw = row.try_get_raw(place)?;
        if raw.is_null() {
            continue;
        }
        let kind = raw.type_info().kind();
        let value = match kind {
            AnyTypeInfoKind::Blob => {
                Value::Bytes(STANDARD.encode(row.try_get::<Vec<u8>, _>(place)?))
            }
            AnyTypeInfoKind::Text => Value::Text(row.try_get(place)?),
            _ => Value::Number(row.try_get(place)?),
        };
        values.push((column.name().to_owned(), value));
    }
    Ok(values)
}

/// Puts rows in the place of whatever the tables hold.
pub(super) async fn write_all(
    tx: &mut Tx,
    backend: Backend,
    tables: &[Table],
) -> Result<(), StoreError> {
    let known = names(tx, backend).await?;
    for name in known.iter().rev() {
        let sql = format!("DELETE FROM {name}");
        sqlx::query(AssertSqlSafe(sql)).execute(&mut **tx).await?;
    }
    for table in tables {
        if !known.contains(&table.name) {
            return Err(StoreError::Conflict(
                "the back-up has a table that this program does not know",
            ));
        }
        for row in &table.rows {
            write_row(tx, &table.name, row).await?;
        }
    }
    Ok(())
}

async fn write_row(tx: &mut Tx, table: &str, row: &[(String, Value)]) -> Result<(), StoreError> {
    let plain = |name: &str| name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
    if !row.iter().all(|(name, _)| plain(name)) {
        return Err(StoreError::Conflict(
            "the back-up has a column that no table can have",
        ));
    }
    let columns: Vec<&str> = row.iter().map(|(name, _)| name.as_str()).collect();
    let places: Vec<String> = (1..=row.len()).map(|place| format!("${place}")).collect();
    let (columns, places) = (columns.join(", "), places.join(", "));
    let sql = format!("INSERT INTO {table} ({columns}) VALUES ({places})");
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for (_, value) in row {
        query = match value {
            Value::Number(number) => query.bind(*number),
            Value::Text(text) => query.bind(text.clone()),
            Value::Bytes(text) => query.bind(
                STANDARD
                    .decode(text)
                    .map_err(|_| StoreError::Corrupt("a value in the back-up"))?,
            ),
        };
    }
    query.execute(&mut **tx).await?;
    Ok(())
}
