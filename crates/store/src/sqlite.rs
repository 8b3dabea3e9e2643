//! SQLite without a thread for each connection: a statement runs where it is awaited.
//!
//! sqlx hands every statement to the connection's own thread and its rows back; the two changes of thread cost more than most
//! statements, which take some microseconds while the pages they need are in memory. Here only what waits for the disk or for
//! another process leaves the caller's thread: opening, closing, the end of a transaction by `commit` (a COMMIT run as a
//! statement stays), and a beginning that finds the file locked. Statements, rows and errors are those of sqlx's `Any`, so whoever uses a [`crate::Db`] cannot tell.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::types::ValueRef;
use rusqlite::{Batch, ErrorCode, Statement};
use sqlx::any::{AnyArguments, AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo, AnyTypeInfoKind};
use sqlx::{Either, Error, SqlStr};
use sqlx_core::HashMap;
use sqlx_core::any::driver::{AnyDriver, install_drivers};
use sqlx_core::any::{AnyColumn, AnyConnectionBackend, AnyValue, AnyValueKind};
use sqlx_core::ext::ustr::UStr;
use sqlx_core::transaction::{
    begin_ansi_transaction_sql, commit_ansi_transaction_sql, rollback_ansi_transaction_sql,
};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

mod database;
mod failure;
mod options;

use database::InPlace;
use failure::failure;
pub(crate) use options::Options;

/// More than any service has.
const STATEMENTS_KEPT: usize = 512;
/// How long another process's lock is waited for, unless the connection is told otherwise.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

type Result<T, E = Error> = std::result::Result<T, E>;
/// What a statement gives: its rows, then how many it changed.
type Given = Result<Either<AnyQueryResult, AnyRow>>;

/// Makes `sqlite:` and `postgres:` URLs known to sqlx's `Any`. May be called again and again.
pub fn install_database_drivers() {
    static DRIVERS: [AnyDriver; 2] = [
        AnyDriver::without_migrate::<InPlace>(),
        sqlx::postgres::any::DRIVER,
    ];
    // Refused when they are there, which is as well.
    let _ = install_drivers(&DRIVERS);
}

/// A connection to a SQLite file.
pub(crate) struct Connection {
    db: Arc<Mutex<Held>>,
    /// Transactions and savepoints that sqlx has begun and not ended.
    depth: usize,
}

/// What a thread must have to itself.
struct Held {
    db: rusqlite::Connection,
    /// The columns that each statement gave the last time.
    shapes: HashMap<Box<str>, Shape>,
}

/// The columns of a statement's rows, as every row carries them.
#[derive(Clone, Default)]
struct Shape {
    columns: Vec<AnyColumn>,
    names: Arc<HashMap<UStr, usize>>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

impl Connection {
    async fn open(options: Options) -> Result<Self> {
        let opened = spawn_blocking(move || {
            let db = rusqlite::Connection::open_with_flags(&options.file, options.flags)?;
            db.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
            db.busy_timeout(LOCK_PATIENCE)?;
            db.pragma_update(None, "foreign_keys", true)?;
            Ok(db)
        });
        let db = opened.await.map_err(|_| Error::WorkerCrashed)?;
        Ok(Self {
            db: Arc::new(Mutex::new(Held {
                db: db.map_err(failure)?,
                shapes: HashMap::new(),
            })),
            depth: 0,
        })
    }

    /// Free but while a transaction's end that nobody waits for any more is still being written.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&mut self, sql: &str, arguments: Option<&AnyArguments>, rows_max: usize) -> Vec<Given> {
        let mut given = Vec::new();
        let run = match arguments {
            Some(arguments) => self.held().run(sql, arguments, rows_max, &mut given),
            None => self.held().run_all(sql, rows_max, &mut given),
        };
        given.extend(run.err().map(Err));
        given
    }

    /// A statement that may wait for the disk or for a lock. If nobody waits for it any more, it is carried out before the
    /// connection is used again, or never.
    async fn run_elsewhere(&self, sql: SqlStr) -> Result<()> {
        let db = Arc::clone(&self.db);
        let (wanted, waits) = oneshot::channel::<()>();
        let run = spawn_blocking(move || {
            let held = db.lock().unwrap_or_else(PoisonError::into_inner);
            if wanted.is_closed() {
                return Err(protocol("nobody waits for this statement any more"));
            }
            held.db.execute_batch(sql.as_str()).map_err(failure)
        });
        let run = run.await.map_err(|_| Error::WorkerCrashed)?;
        drop(waits);
        run
    }

    async fn begin(&mut self, statement: Option<SqlStr>) -> Result<()> {
        let in_transaction = !self.held().db.is_autocommit();
        if self.depth > 0 && !in_transaction {
            // It was ended while nobody waited for it any more, or SQLite gave it up.
            self.depth = 0;
        } else if self.depth == 0 && in_transaction {
            // It was begun while nobody waited for it any more.
            self.run_elsewhere(rollback_ansi_transaction_sql(1)).await?;
        }
        let sql = match statement {
            Some(_) if self.depth > 0 => return Err(Error::InvalidSavePointStatement),
            Some(statement) => statement,
            None => begin_ansi_transaction_sql(self.depth),
        };
        if !self.held().begins_at_once(sql.as_str())? {
            self.run_elsewhere(sql).await?;
        }
        if self.held().db.is_autocommit() {
            return Err(Error::BeginFailed);
        }
        self.depth += 1;
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        if self.depth > 0 {
            let commit = commit_ansi_transaction_sql(self.depth);
            self.run_elsewhere(commit).await?;
            self.depth -= 1;
        }
        Ok(())
    }

    /// Needs no disk: what is undone was never written there.
    fn rollback(&mut self) -> Result<()> {
        if self.depth > 0 {
            let undo = rollback_ansi_transaction_sql(self.depth);
            self.depth -= 1;
            let held = self.held();
            // SQLite may have undone all of it itself.
            if !held.db.is_autocommit() {
                held.db.execute_batch(undo.as_str()).map_err(failure)?;
            }
        }
        Ok(())
    }

    /// The last connection to a file tidies its log away.
    async fn close(self) -> Result<()> {
        let closed = spawn_blocking(move || drop(self));
        closed.await.map_err(|_| Error::WorkerCrashed)
    }
}

impl Held {
    /// Whether the transaction has begun; not if another process has locked the file.
    fn begins_at_once(&self, sql: &str) -> Result<bool> {
        self.db.busy_timeout(Duration::ZERO).map_err(failure)?;
        let begun = match self.db.execute_batch(sql) {
            Err(rusqlite::Error::SqliteFailure(error, _))
                if error.code == ErrorCode::DatabaseBusy =>
            {
                Ok(false)
            }
            begun => begun.map(|()| true).map_err(failure),
        };
        self.db.busy_timeout(LOCK_PATIENCE).map_err(failure)?;
        begun
    }

    fn run(
        &mut self,
        sql: &str,
        arguments: &AnyArguments,
        rows_max: usize,
        given: &mut Vec<Given>,
    ) -> Result<()> {
        let mut statement = self.db.prepare_cached(sql).map_err(failure)?;
        bind(&mut statement, &arguments.values.0)?;
        if self.shapes.len() >= STATEMENTS_KEPT && !self.shapes.contains_key(sql) {
            self.shapes.clear();
        }
        let shape = self.shapes.entry_ref(sql).or_default();
        give(&mut statement, shape, rows_max, given)?;
        if given.len() < rows_max {
            given.push(Ok(Either::Left(changed(&self.db))));
        }
        Ok(())
    }

    /// Statements without arguments, one after the other.
    fn run_all(&self, sql: &str, rows_max: usize, given: &mut Vec<Given>) -> Result<()> {
        let mut batch = Batch::new(&self.db, sql);
        while given.len() < rows_max
            && let Some(mut statement) = batch.next().map_err(failure)?
        {
            give(&mut statement, &mut Shape::default(), rows_max, given)?;
            given.push(Ok(Either::Left(changed(&self.db))));
        }
        Ok(())
    }
}

fn changed(db: &rusqlite::Connection) -> AnyQueryResult {
    AnyQueryResult {
        rows_affected: db.changes(),
        last_insert_id: None,
    }
}

impl Shape {
    fn of(statement: &Statement<'_>) -> Self {
        let names = statement.column_names().into_iter().map(UStr::new);
        let columns: Vec<_> = names
            .enumerate()
            .map(|(ordinal, name)| AnyColumn {
                ordinal,
                name,
                // SQLite's columns have no types; its values do.
                type_info: type_info(AnyTypeInfoKind::Null),
            })
            .collect();
        let names = columns
            .iter()
            .map(|column| (column.name.clone(), column.ordinal));
        Self {
            names: Arc::new(names.collect()),
            columns,
        }
    }

    /// False once a table has got another column.
    fn fits(&self, statement: &Statement<'_>) -> bool {
        statement.column_count() == self.columns.len()
            && self.columns.iter().all(|column| {
                statement
                    .column_name(column.ordinal)
                    .is_ok_and(|name| name == &*column.name)
            })
    }
}

fn type_info(kind: AnyTypeInfoKind) -> AnyTypeInfo {
    AnyTypeInfo { kind }
}

/// `$3` is the third argument, wherever it stands; SQLite itself counts by first use.
fn bind(statement: &mut Statement<'_>, arguments: &[AnyValueKind]) -> Result<()> {
    for position in 1..=statement.parameter_count() {
        let name = statement.parameter_name(position);
        let number = name.and_then(|name| name.strip_prefix('$')?.parse::<usize>().ok());
        let argument = number
            .and_then(|number| arguments.get(number.checked_sub(1)?))
            .ok_or_else(|| protocol("a parameter has no argument"))?;
        let value = match argument {
            AnyValueKind::Null(_) => ValueRef::Null,
            AnyValueKind::Bool(value) => ValueRef::Integer((*value).into()),
            AnyValueKind::SmallInt(value) => ValueRef::Integer((*value).into()),
            AnyValueKind::Integer(value) => ValueRef::Integer((*value).into()),
            AnyValueKind::BigInt(value) => ValueRef::Integer(*value),
            AnyValueKind::Real(value) => ValueRef::Real((*value).into()),
            AnyValueKind::Double(value) => ValueRef::Real(*value),
            AnyValueKind::Text(text) => ValueRef::Text(text.as_bytes()),
            AnyValueKind::TextSlice(text) => ValueRef::Text(text.as_bytes()),
            AnyValueKind::Blob(bytes) => ValueRef::Blob(bytes),
            _ => return Err(protocol("an argument is of a kind that is not known")),
        };
        let value = rusqlite::types::ToSqlOutput::Borrowed(value);
        statement
            .raw_bind_parameter(position, value)
            .map_err(failure)?;
    }
    Ok(())
}

fn protocol(what: &str) -> Error {
    Error::Protocol(what.to_owned())
}

/// Carries the statement out, or as much of it as brings `rows_max` rows. `shape` is what the rows had the last time; they may
/// have another one now, which SQLite does not know before the first.
fn give(
    statement: &mut Statement<'_>,
    shape: &mut Shape,
    rows_max: usize,
    given: &mut Vec<Given>,
) -> Result<()> {
    let mut rows = statement.raw_query();
    let mut is_first = true;
    while given.len() < rows_max
        && let Some(row) = rows.next().map_err(failure)?
    {
        if is_first && !shape.fits(row.as_ref()) {
            *shape = Shape::of(row.as_ref());
        }
        is_first = false;
        let values = shape.columns.iter().map(|column| {
            let value = row.get_ref(column.ordinal).map_err(failure)?;
            let kind = match value {
                ValueRef::Null => AnyValueKind::Null(AnyTypeInfoKind::Null),
                ValueRef::Integer(value) => AnyValueKind::BigInt(value),
                ValueRef::Real(value) => AnyValueKind::Double(value),
                ValueRef::Text(text) => {
                    let text = String::from_utf8(text.to_vec());
                    AnyValueKind::Text(Arc::new(text.map_err(|error| Error::ColumnDecode {
                        index: column.ordinal.to_string(),
                        source: error.into(),
                    })?))
                }
                ValueRef::Blob(bytes) => AnyValueKind::Blob(Arc::new(bytes.to_vec())),
            };
            Ok(AnyValue { kind })
        });
        let values = values.collect::<Result<_>>()?;
        given.push(Ok(Either::Right(AnyRow {
            column_names: Arc::clone(&shape.names),
            columns: shape.columns.clone(),
            values,
        })));
    }
    Ok(())
}

impl AnyConnectionBackend for Connection {
    fn name(&self) -> &str {
        "SQLite"
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin((*self).close())
    }

    fn close_hard(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin((*self).close())
    }

    fn ping(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn begin(&mut self, statement: Option<SqlStr>) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.begin(statement))
    }

    fn commit(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.commit())
    }

    fn rollback(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { self.rollback() })
    }

    fn start_rollback(&mut self) {
        // Whoever uses the connection next finds out what did not work.
        let _ = self.rollback();
    }

    fn get_transaction_depth(&self) -> usize {
        self.depth
    }

    fn shrink_buffers(&mut self) {
        // Refused only by a database that is no longer usable, which the next statement tells.
        let _ = self.held().db.release_memory();
    }

    fn flush(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn should_flush(&self) -> bool {
        false
    }

    fn fetch_many(
        &mut self,
        query: SqlStr,
        _persistent: bool,
        arguments: Option<AnyArguments>,
    ) -> BoxStream<'_, Given> {
        let run = async move { self.run(query.as_str(), arguments.as_ref(), usize::MAX) };
        Box::pin(stream::once(run).flat_map(stream::iter))
    }

    fn fetch_optional(
        &mut self,
        query: SqlStr,
        _persistent: bool,
        arguments: Option<AnyArguments>,
    ) -> BoxFuture<'_, Result<Option<AnyRow>>> {
        Box::pin(async move {
            let given = self.run(query.as_str(), arguments.as_ref(), 1);
            match given.into_iter().next() {
                Some(Ok(Either::Right(row))) => Ok(Some(row)),
                Some(Err(error)) => Err(error),
                Some(Ok(Either::Left(_))) | None => Ok(None),
            }
        })
    }

    fn prepare_with<'c, 'q: 'c>(
        &'c mut self,
        sql: SqlStr,
        _parameters: &[AnyTypeInfo],
    ) -> BoxFuture<'c, Result<AnyStatement>> {
        Box::pin(async move {
            let held = self.held();
            let statement = held.db.prepare_cached(sql.as_str()).map_err(failure)?;
            let shape = Shape::of(&statement);
            Ok(AnyStatement {
                parameters: Some(Either::Right(statement.parameter_count())),
                column_names: shape.names,
                columns: shape.columns,
                sql: sql.clone(),
            })
        })
    }
}

#[cfg(test)]
mod tests;
