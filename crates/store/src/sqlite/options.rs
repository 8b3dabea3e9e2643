//! What a `sqlite:` URL says.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rusqlite::OpenFlags;
use sqlx::any::AnyConnectOptions;
use sqlx::{ConnectOptions, Error};
use url::Url;

use super::{Connection, Result};

/// A file and how it is opened: `sqlite:///path/file.db`, with `?mode=ro`, `rw` (as without), or `rwc`, which creates it.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(super) file: PathBuf,
    pub(super) flags: OpenFlags,
}

impl FromStr for Options {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        let rest = url.strip_prefix("sqlite:").unwrap_or(url);
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (file, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let file = percent_encoding::percent_decode_str(file)
            .decode_utf8()
            .map_err(|error| Error::Configuration(error.into()))?;
        let mut mode = OpenFlags::SQLITE_OPEN_READ_WRITE;
        for parameter in parameters.split('&').filter(|text| !text.is_empty()) {
            mode = match parameter {
                "mode=ro" => OpenFlags::SQLITE_OPEN_READ_ONLY,
                "mode=rw" => OpenFlags::SQLITE_OPEN_READ_WRITE,
                "mode=rwc" => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
                other => {
                    let why = format!("`{other}` is not known here; mode=ro, rw and rwc are");
                    return Err(Error::Configuration(why.into()));
                }
            };
        }
        Ok(Self {
            file: PathBuf::from(&*file),
            // Each connection is behind a lock of ours.
            flags: mode | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        })
    }
}

impl TryFrom<&AnyConnectOptions> for Options {
    type Error = Error;

    fn try_from(options: &AnyConnectOptions) -> Result<Self> {
        Self::from_url(&options.database_url)
    }
}

impl ConnectOptions for Options {
    type Connection = Connection;

    fn from_url(url: &Url) -> Result<Self> {
        url.as_str().parse()
    }

    async fn connect(&self) -> Result<Connection> {
        Connection::open(self.clone()).await
    }

    /// Statements are not logged: they hold what is nobody else's business.
    fn log_statements(self, _level: log::LevelFilter) -> Self {
        self
    }

    fn log_slow_statements(self, _level: log::LevelFilter, _duration: Duration) -> Self {
        self
    }
}
