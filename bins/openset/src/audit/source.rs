//! The databases, opened to be read and for nothing else: by SQL of the audit's own, as they are at one moment.

use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr as _;

use anyhow::{Context as _, bail, ensure};
use openset_store::StoreError;
use openset_store::packed::unpack;
use openset_store::sqlx::any::{AnyConnectOptions, AnyRow};
use openset_store::sqlx::{self, AnyConnection, Connection as _, Executor as _};

/// Which service a database belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Service {
    /// The cardholder's bank.
    Issuer,
    /// The acquirer's gateway.
    Gateway,
    /// The shop.
    Merchant,
    /// The cardholder's wallet.
    Cardholder,
    /// The certificate authority, of which nothing but certificates is read.
    Ca,
}

/// The store's own tables, which every service has.
const SHARED: [i64; 10] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
/// The last of them without which the audit cannot read.
const SHARED_NEEDED: i64 = 7;

impl Service {
    /// As folders and messages name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::Gateway => "gateway",
            Self::Merchant => "merchant",
            Self::Cardholder => "cardholder",
            Self::Ca => "ca",
        }
    }

    /// The versions of its tables that the audit reads, all but [`SHARED`]; and the last of them without which it cannot.
    fn versions(self) -> (&'static [i64], i64) {
        match self {
            Self::Issuer => (&[100, 140, 150, 160, 161, 162], 160),
            Self::Gateway => (
                &[100, 140, 150, 151, 160, 170, 171, 172, 180, 201, 202, 203],
                160,
            ),
            Self::Merchant => (
                &[
                    100, 140, 150, 160, 170, 175, 176, 180, 185, 186, 201, 202, 203, 204,
                ],
                160,
            ),
            Self::Cardholder => (&[100, 101, 102, 110, 195], 101),
            Self::Ca => (&[100], 100),
        }
    }
}

/// A database inside one read transaction.
pub(super) struct Source {
    conn: AnyConnection,
    service: Service,
    versions: BTreeSet<i64>,
}

/// The URL of a service's database in a data folder as `openset demo` lays it out.
pub(super) fn url_in(data: &Path, service: Service) -> anyhow::Result<String> {
    let name = service.name();
    let file = data.join(name).join(format!("{name}.db"));
    ensure!(
        file.exists(),
        "{} is not there; name the folder of `openset demo`, or the databases by --issuer-url, --gateway-url, \
         --merchant-url and --ca-url",
        file.display()
    );
    let file = file
        .canonicalize()
        .with_context(|| format!("cannot find {}", file.display()))?;
    Ok(openset_store::sqlite_url(&file))
}

impl Source {
    /// Opens a database and begins to read it as it is now.
    pub(super) async fn open(service: Service, url: &str) -> anyhow::Result<Self> {
        openset_store::install_database_drivers();
        let name = service.name();
        let opened = connect(url).await;
        let mut conn = opened.with_context(|| format!("cannot read the {name}'s database"))?;
        let versions = versions(&mut conn).await;
        let versions = versions.with_context(|| {
            format!("the {name}'s database has no table of versions; is it another service's?")
        })?;
        if service != Service::Ca {
            check_versions(service, &versions)?;
        }
        Ok(Self {
            conn,
            service,
            versions,
        })
    }

    /// Whether its tables have this version's columns.
    pub(super) fn has(&self, version: i64) -> bool {
        self.versions.contains(&version)
    }

    /// All rows of a query.
    pub(super) async fn rows(&mut self, sql: &'static str) -> anyhow::Result<Vec<AnyRow>> {
        let rows = sqlx::query(sql).fetch_all(&mut self.conn).await;
        rows.with_context(|| format!("cannot read from the {}: {sql}", self.service.name()))
    }

    /// A long text: packed, or in a row of before in another column. Of one that does not come back nothing is left.
    pub(super) async fn text(
        &mut self,
        packed: Option<Vec<u8>>,
        of_before: Option<String>,
    ) -> anyhow::Result<Option<String>> {
        let Some(packed) = packed else {
            return Ok(of_before);
        };
        let bytes = match unpack(&mut self.conn, packed).await {
            Err(StoreError::Corrupt(_)) => Vec::new(),
            unpacked => unpacked?,
        };
        Ok(Some(String::from_utf8(bytes).unwrap_or_default()))
    }

    /// To unlock the vault with.
    pub(super) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.conn
    }

    /// Ends the reading.
    pub(super) async fn close(self) {
        let _ = self.conn.close().await;
    }
}

async fn connect(url: &str) -> anyhow::Result<AnyConnection> {
    let scheme = url.split(':').next().unwrap_or_default();
    let (url, begin): (String, &[&'static str]) = match scheme {
        "sqlite" => {
            let separator = if url.contains('?') { '&' } else { '?' };
            (
                format!("{url}{separator}mode=ro"),
                &[
                    "PRAGMA busy_timeout = 10000",
                    "PRAGMA query_only = ON",
                    "BEGIN DEFERRED",
                ],
            )
        }
        "postgres" | "postgresql" => (
            url.to_owned(),
            &[
                "SET default_transaction_read_only = on",
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            ],
        ),
        _ => bail!("give a URL that begins with sqlite: or postgres:"),
    };
    // Without the URL in any message: it may hold a password.
    let options = AnyConnectOptions::from_str(&url)
        .ok()
        .context("the URL is not one")?;
    let mut conn = AnyConnection::connect_with(&options).await?;
    for statement in begin {
        conn.execute(*statement).await?;
    }
    Ok(conn)
}

async fn versions(conn: &mut AnyConnection) -> anyhow::Result<BTreeSet<i64>> {
    let versions: Vec<i64> =
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations ORDER BY version")
            .fetch_all(conn)
            .await?;
    Ok(versions.into_iter().collect())
}

/// A reader that does not know all tables would call right what it cannot see.
fn check_versions(service: Service, found: &BTreeSet<i64>) -> anyhow::Result<()> {
    let (known, needed) = service.versions();
    let name = service.name();
    let unknown: Vec<String> = found
        .iter()
        .filter(|version| !SHARED.contains(version) && !known.contains(version))
        .map(i64::to_string)
        .collect();
    ensure!(
        unknown.is_empty(),
        "the {name}'s tables are of a version that this program does not know ({}); use the openset of that release",
        unknown.join(", ")
    );
    let first_known = known.iter().take_while(|version| **version <= needed);
    let lacking: Vec<String> = SHARED
        .iter()
        .filter(|version| **version <= SHARED_NEEDED)
        .chain(first_known)
        .filter(|version| !found.contains(version))
        .map(i64::to_string)
        .collect();
    ensure!(
        lacking.is_empty(),
        "the {name}'s tables are older than this program, or another service's (versions {} are missing); start the \
         {name} of this release once",
        lacking.join(", ")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn tables_of_a_version_that_is_not_known_are_refused_by_name() {
        let (known, _) = Service::Gateway.versions();
        let mut found: BTreeSet<i64> = SHARED.iter().chain(known).copied().collect();
        check_versions(Service::Gateway, &found).unwrap();
        found.insert(999);
        let refused = check_versions(Service::Gateway, &found).unwrap_err();
        assert!(refused.to_string().contains("(999)"), "{refused}");
        found.remove(&999);
        found.remove(&150);
        let refused = check_versions(Service::Gateway, &found).unwrap_err();
        assert!(refused.to_string().contains("150"), "{refused}");
    }
}
