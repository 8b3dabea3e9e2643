//! What sqlx asks of a database before its `Any` takes it for a driver.
//!
//! Rows, arguments and statements go from SQLite straight into `Any`'s own. The types that stand here in their place have no
//! values: there is nothing that could be done wrong with them.

use std::borrow::Cow;
use std::fmt;

use sqlx::{Column, ColumnIndex, Either, Error, Row, SqlStr, Statement, TypeInfo, Value, ValueRef};
use sqlx::{Database, Transaction, Type};
use sqlx_core::arguments::Arguments;
use sqlx_core::encode::Encode;
use sqlx_core::error::BoxDynError;
use sqlx_core::transaction::TransactionManager;

use super::{Connection, Options, Result};

/// SQLite, in the thread that asks.
#[derive(Debug)]
pub(crate) struct InPlace;

impl Database for InPlace {
    type Connection = Connection;
    type TransactionManager = Transactions;
    type Row = Never;
    type QueryResult = NoResult;
    type Column = Never;
    type TypeInfo = Never;
    type Value = Never;
    type ValueRef<'r> = Never;
    type Arguments = NoArguments;
    type ArgumentBuffer = Never;
    type Statement = Never;

    const NAME: &'static str = "SQLite";
    const URL_SCHEMES: &'static [&'static str] = &["sqlite"];
}

impl sqlx::Connection for Connection {
    type Database = InPlace;
    type Options = Options;

    async fn close(self) -> Result<()> {
        self.close().await
    }

    async fn close_hard(self) -> Result<()> {
        self.close().await
    }

    async fn ping(&mut self) -> Result<()> {
        Ok(())
    }

    fn begin(&mut self) -> impl Future<Output = Result<Transaction<'_, InPlace>>> + Send + '_ {
        Transaction::begin(self, None)
    }

    fn shrink_buffers(&mut self) {}

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn should_flush(&self) -> bool {
        false
    }
}

#[derive(Debug)]
pub(crate) enum Transactions {}

impl TransactionManager for Transactions {
    type Database = InPlace;

    async fn begin(connection: &mut Connection, statement: Option<SqlStr>) -> Result<()> {
        connection.begin(statement).await
    }

    async fn commit(connection: &mut Connection) -> Result<()> {
        connection.commit().await
    }

    async fn rollback(connection: &mut Connection) -> Result<()> {
        connection.rollback()
    }

    fn start_rollback(connection: &mut Connection) {
        // Whoever uses the connection next finds out what did not work.
        let _ = connection.rollback();
    }

    fn get_transaction_depth(connection: &Connection) -> usize {
        connection.depth
    }
}

/// Of what only `Any` has.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Never {}

impl fmt::Display for Never {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl Row for Never {
    type Database = InPlace;

    fn columns(&self) -> &[Never] {
        match *self {}
    }

    fn try_get_raw<I: ColumnIndex<Self>>(&self, _: I) -> Result<Never> {
        match *self {}
    }
}

impl Column for Never {
    type Database = InPlace;

    fn ordinal(&self) -> usize {
        match *self {}
    }

    fn name(&self) -> &str {
        match *self {}
    }

    fn type_info(&self) -> &Never {
        match *self {}
    }
}

impl TypeInfo for Never {
    fn is_null(&self) -> bool {
        match *self {}
    }

    fn name(&self) -> &str {
        match *self {}
    }
}

impl Value for Never {
    type Database = InPlace;

    fn as_ref(&self) -> Never {
        match *self {}
    }

    fn type_info(&self) -> Cow<'_, Never> {
        match *self {}
    }

    fn is_null(&self) -> bool {
        match *self {}
    }
}

impl ValueRef<'_> for Never {
    type Database = InPlace;

    fn to_owned(&self) -> Never {
        match *self {}
    }

    fn type_info(&self) -> Cow<'_, Never> {
        match *self {}
    }

    fn is_null(&self) -> bool {
        match *self {}
    }
}

impl Statement for Never {
    type Database = InPlace;

    fn into_sql(self) -> SqlStr {
        match self {}
    }

    fn sql(&self) -> &SqlStr {
        match *self {}
    }

    fn parameters(&self) -> Option<Either<&[Never], usize>> {
        match *self {}
    }

    fn columns(&self) -> &[Never] {
        match *self {}
    }

    sqlx_core::impl_statement_query!(NoArguments);
}

/// Has a value since sqlx wants a default, but nothing can be added to it.
#[derive(Debug, Default)]
pub(crate) struct NoArguments;

impl Arguments for NoArguments {
    type Database = InPlace;

    fn reserve(&mut self, _: usize, _: usize) {}

    fn add<'t, T>(&mut self, _: T) -> Result<(), BoxDynError>
    where
        T: Encode<'t, InPlace> + Type<InPlace>,
    {
        Err(Box::new(Error::Protocol("only Any is asked".to_owned())))
    }

    fn len(&self) -> usize {
        0
    }
}

sqlx_core::impl_into_arguments_for_arguments!(NoArguments);

/// Has a value since sqlx wants a default.
#[derive(Debug, Default)]
pub(crate) struct NoResult;

impl Extend<NoResult> for NoResult {
    fn extend<T: IntoIterator<Item = NoResult>>(&mut self, _: T) {}
}
