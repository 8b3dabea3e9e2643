//! What is read with: a connection, or a transaction that sees one moment.

use std::fmt;
use std::ops::{Deref, DerefMut};

use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, Transaction};

use super::postgres::{Alone, Session};

/// A connection to read with; dropped, it is free for the next one.
pub struct Reader(Read);

pub(super) enum Read {
    Sqlite(PoolConnection<Any>),
    Postgres(Session),
}

impl From<Read> for Reader {
    fn from(read: Read) -> Self {
        Self(read)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

impl Deref for Reader {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        match &self.0 {
            Read::Sqlite(connection) => connection,
            Read::Postgres(session) => session,
        }
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        match &mut self.0 {
            Read::Sqlite(connection) => connection,
            Read::Postgres(session) => session,
        }
    }
}

/// The database as it is at one moment; dropped, it ends.
pub struct Snapshot(Seen);

pub(super) enum Seen {
    Sqlite(Transaction<'static, Any>),
    Postgres(Alone),
}

impl From<Seen> for Snapshot {
    fn from(seen: Seen) -> Self {
        Self(seen)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Snapshot")
    }
}

impl Deref for Snapshot {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        match &self.0 {
            Seen::Sqlite(transaction) => transaction,
            Seen::Postgres(alone) => alone.connection(),
        }
    }
}

impl DerefMut for Snapshot {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        match &mut self.0 {
            Seen::Sqlite(transaction) => transaction,
            Seen::Postgres(alone) => alone.connection_mut(),
        }
    }
}
