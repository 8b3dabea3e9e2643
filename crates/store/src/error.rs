//! What can go wrong with a database, sorted by what the reader can do about it.

/// A failure of the store. Outcomes that a caller must expect (a replay, a lost race) are no
/// errors: each module has its own type for them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Out of reach, busy for too long, or without room to write. The same call may succeed later;
    /// whatever was in the transaction was undone.
    #[error(
        "the database cannot be used now; check that it runs and its disk has room, then try again"
    )]
    Unavailable(#[source] sqlx::Error),
    /// The call contradicts what the database already holds.
    #[error("refused, nothing was changed: {0}")]
    Conflict(&'static str),
    /// A stored value that this code cannot have written.
    #[error("the database holds a damaged value ({0}); restore it from a back-up")]
    Corrupt(&'static str),
    /// The database URL is of no known kind or malformed.
    #[error(
        "the database URL is not usable ({0}); give sqlite:///absolute/path.db or postgres://…"
    )]
    Url(String),
    /// The tables could not be brought to the shape that this version needs.
    #[error(
        "the tables could not be migrated; is the database of a newer version of this program?"
    )]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// Two migrations have one version, or a party's version is below 100.
    #[error("migration {0}: versions below 100 are the store's own, each must be used once")]
    MigrationVersion(i64),
    /// Any other failure of a statement: a defect of this program or of the schema.
    #[error("a database statement failed")]
    Sql(#[source] sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Self::Unavailable(error),
            sqlx::Error::Database(database) => match blame(database.code().as_deref()) {
                Blame::Surroundings => Self::Unavailable(error),
                Blame::Storage => Self::Corrupt("reported by the database itself"),
                Blame::Statement => Self::Sql(error),
            },
            sqlx::Error::ColumnDecode { .. } => Self::Corrupt("a column has another type"),
            _ => Self::Sql(error),
        }
    }
}

enum Blame {
    Surroundings,
    Storage,
    Statement,
}

/// PostgreSQL gives a SQLSTATE of five characters, SQLite an extended result code in decimal whose
/// low byte is the primary code (<https://www.sqlite.org/rescode.html>).
fn blame(code: Option<&str>) -> Blame {
    let Some(code) = code else {
        return Blame::Statement;
    };
    if code.len() == 5 {
        return match code {
            "40001" | "40P01" | "55P03" | "25P03" | "25P04" | "57014" => Blame::Surroundings,
            "XX001" | "XX002" => Blame::Storage,
            _ => match code.get(..2) {
                Some("08" | "53" | "57" | "58") => Blame::Surroundings,
                _ => Blame::Statement,
            },
        };
    }
    match code.parse::<u32>().map(|code| code & 0xff) {
        // BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL
        Ok(5 | 6 | 7 | 8 | 9 | 10 | 13 | 14 | 15) => Blame::Surroundings,
        // CORRUPT, NOTADB
        Ok(11 | 26) => Blame::Storage,
        _ => Blame::Statement,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_lost_server_are_blamed_on_the_surroundings() {
        for code in [
            "13", "778", "5", "53100", "57P01", "08006", "40001", "40P01",
        ] {
            assert!(matches!(blame(Some(code)), Blame::Surroundings), "{code}");
        }
    }

    #[test]
    fn a_broken_file_is_blamed_on_the_storage_and_a_violated_key_on_the_statement() {
        assert!(matches!(blame(Some("267")), Blame::Storage));
        assert!(matches!(blame(Some("26")), Blame::Storage));
        assert!(matches!(blame(Some("23505")), Blame::Statement));
        assert!(matches!(blame(Some("2067")), Blame::Statement));
        assert!(matches!(blame(None), Blame::Statement));
    }
}
