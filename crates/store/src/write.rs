//! Writes as values: what a transaction changes, told when it ends.
//!
//! Whoever decides first and writes then can tell all that it writes at once. On PostgreSQL, where each statement is a round
//! trip, it is one statement then: `WITH w0 AS (INSERT …), w1 AS (UPDATE …) SELECT …`. They are carried out in their order, up
//! to the first that does not do what it must; but none sees what another does, so what depends on one before it is no part of
//! the same end.

use std::fmt::Write as _;

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Execute, Executor, SqlStr};

use crate::{Backend, StoreError};

/// PostgreSQL's word for a text that is no number.
const NO_NUMBER: &str = "22P02";
/// Begins the text that is no number, before the place of the write that changed no row.
const UNMET: &str = "unmet ";

/// A statement that changes rows, to be carried out with others when a transaction ends.
#[must_use]
pub struct Write {
    sql: SqlStr,
    arguments: Result<AnyArguments, sqlx::Error>,
    /// Why nothing is kept unless it changes a row.
    unless: Option<&'static str>,
}

impl std::fmt::Debug for Write {
    /// Without the values: some are secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Write").field(&self.sql.as_str()).finish()
    }
}

impl Write {
    /// Must change a row. If it does not, nothing of its transaction is kept, and the reason is
    /// [`StoreError::Conflict`]'s.
    pub fn must(query: Query<'_, Any, AnyArguments>, unless: &'static str) -> Self {
        Self {
            unless: Some(unless),
            ..Self::may(query)
        }
    }

    /// May change a row, or none.
    pub fn may(mut query: Query<'_, Any, AnyArguments>) -> Self {
        let arguments = query.take_arguments().map_err(sqlx::Error::Encode);
        Self {
            arguments: arguments.map(Option::unwrap_or_default),
            sql: query.sql(),
            unless: None,
        }
    }

    /// Alone and at once.
    pub(crate) async fn run(self, conn: &mut AnyConnection) -> Result<(), StoreError> {
        let query = sqlx::query_with(self.sql, self.arguments?);
        let changed = query.execute(conn).await?.rows_affected();
        match self.unless {
            Some(reason) if changed == 0 => Err(StoreError::Conflict(reason)),
            _ => Ok(()),
        }
    }
}

/// Carries them out in their order, up to the first that does not do what it must. Then, and after any other error, the
/// transaction that they are in is to be undone; without one PostgreSQL has done none of them.
///
/// # Errors
/// [`StoreError::Conflict`], or the database's own failure.
pub(crate) async fn run_all(
    conn: &mut AnyConnection,
    backend: Backend,
    writes: Vec<Write>,
) -> Result<(), StoreError> {
    match backend {
        Backend::Sqlite => {
            for write in writes {
                write.run(&mut *conn).await?;
            }
            Ok(())
        }
        Backend::Postgres if writes.is_empty() => Ok(()),
        Backend::Postgres => {
            let reasons: Vec<_> = writes.iter().map(|write| write.unless).collect();
            let (sql, arguments) = together(writes)?;
            // Put together from statements that were known to be safe.
            let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
            match conn.execute(query).await {
                Ok(_) => Ok(()),
                Err(error) => {
                    Err(unmet(&error, &reasons).map_or_else(|| error.into(), StoreError::Conflict))
                }
            }
        }
    }
}

/// One statement of all. By itself PostgreSQL carries statements in WITH out in whatever order it likes; but the conditions of a
/// CASE are looked at in their order, none after the first that holds, and to look at one is to carry its statement out.
fn together(writes: Vec<Write>) -> Result<(String, AnyArguments), sqlx::Error> {
    let (mut sql, mut told) = (String::from("WITH "), String::from("CASE"));
    let mut all = AnyArguments::default();
    for (place, write) in writes.into_iter().enumerate() {
        if place > 0 {
            sql.push_str(", ");
        }
        let before = all.values.0.len();
        all.values.0.append(&mut write.arguments?.values.0);
        let _ = write!(sql, "w{place} AS (");
        renumber(write.sql.as_str(), before, &mut sql);
        sql.push_str(" RETURNING 1)");
        // One that may change nothing is carried out in its place, too. The text is no constant, which would be made a number
        // before any condition is looked at.
        let _ = match write.unless {
            Some(_) => write!(
                told,
                " WHEN NOT EXISTS (SELECT FROM w{place}) THEN CAST('{UNMET}{place} ' || random() AS bigint)"
            ),
            None => write!(
                told,
                " WHEN EXISTS (SELECT FROM w{place}) AND random() < 0 THEN 0"
            ),
        };
    }
    let _ = write!(sql, " SELECT {told} ELSE 0 END");
    Ok((sql, all))
}

/// A statement with so many parameters before its own: `$1` becomes `$4` after three. Its texts have no `$` before a digit.
fn renumber(statement: &str, before: usize, sql: &mut String) {
    let mut pieces = statement.split('$');
    sql.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = piece.split_at(digits);
        sql.push('$');
        match number.parse::<usize>() {
            Ok(number) => {
                let _ = write!(sql, "{}", number.saturating_add(before));
            }
            Err(_) => sql.push_str(number),
        }
        sql.push_str(rest);
    }
}

/// The reason of the write that did not do what it must, if that is what the error tells. No statement of ours makes a number of
/// another text.
fn unmet(error: &sqlx::Error, reasons: &[Option<&'static str>]) -> Option<&'static str> {
    let error = error.as_database_error()?;
    if error.code().as_deref() != Some(NO_NUMBER) {
        return None;
    }
    // The words around the text are in the server's language.
    let (_, told) = error.message().split_once(UNMET)?;
    let place: usize = told.split(' ').next()?.parse().ok()?;
    *reasons.get(place)?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{Write, renumber, together};
    use crate::sqlx;

    #[test]
    fn parameters_are_counted_on() {
        let mut sql = String::new();
        renumber("SELECT $1, $12, $1 || '$' WHERE a = $2", 10, &mut sql);
        assert_eq!(sql, "SELECT $11, $22, $11 || '$' WHERE a = $12");
    }

    #[test]
    fn one_statement_has_all_of_them_in_their_order() {
        let writes = vec![
            Write::must(
                sqlx::query("INSERT INTO a VALUES ($1, $2)")
                    .bind("x")
                    .bind(1_i64),
                "taken",
            ),
            Write::may(sqlx::query("DELETE FROM b WHERE c = $1").bind("y")),
        ];
        let (sql, arguments) = together(writes).unwrap();
        assert_eq!(
            sql,
            "WITH w0 AS (INSERT INTO a VALUES ($1, $2) RETURNING 1), w1 AS (DELETE FROM b WHERE c = $3 RETURNING 1) \
             SELECT CASE WHEN NOT EXISTS (SELECT FROM w0) THEN CAST('unmet 0 ' || random() AS bigint) \
             WHEN EXISTS (SELECT FROM w1) AND random() < 0 THEN 0 ELSE 0 END"
        );
        assert_eq!(arguments.values.0.len(), 3);
    }
}
