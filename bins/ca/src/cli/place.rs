//! Where a command finds the CA: the same options as the service's.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use openset_service::config::{self, Config, Party, Secret};
use openset_service::telemetry::{self, LogFormat};
use openset_store::{Db, Vault};

use crate::authorities::Authorities;
use crate::config::{Options, Settings};
use crate::journal::Journal;
use crate::store::MIGRATIONS;

/// What a command sees of the service's options; variables (OPENSET_CA_*) count as well.
#[derive(Debug, Default, Args)]
pub(super) struct Place {
    /// The service's configuration file.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// The service's data folder, unless the configuration file names it.
    #[arg(long, global = true)]
    data_dir: Option<PathBuf>,
    /// The service's database, unless it is a file in the data folder.
    #[arg(long, global = true)]
    database_url: Option<String>,
    /// File whose first line is the passphrase.
    #[arg(long, global = true)]
    passphrase_file: Option<PathBuf>,
    /// The passphrase; visible in process lists, so rather passphrase-file.
    #[arg(long, global = true)]
    passphrase: Option<Secret>,
}

/// A database and a vault, and whose they are.
pub(super) struct Opened {
    pub(super) db: Db,
    pub(super) vault: Vault,
    pub(super) journal: Journal,
    pub(super) settings: Arc<Settings>,
}

impl Place {
    /// The CA as it is stored.
    pub(super) async fn open(&self) -> anyhow::Result<Authorities> {
        self.unlock().await?.authorities().await
    }

    /// The database, unlocked.
    pub(super) async fn unlock(&self) -> anyhow::Result<Opened> {
        let Config { common, own } = self.config()?;
        let settings = Arc::new(own.check().context("in the CA's configuration")?);
        let db = Db::open(&common.database_url, MIGRATIONS).await?;
        let vault = Vault::unlock(&db, common.require_passphrase()?).await?;
        let journal = Journal::open(&common.data_dir, &common.replica, &db).await?;
        Ok(Opened {
            db,
            vault,
            journal,
            settings,
        })
    }

    /// The configuration as the service would read it.
    pub(super) fn config(&self) -> anyhow::Result<Config<Options>> {
        // What a command has to say it says itself; what goes wrong beside that shall be seen.
        telemetry::init(Party::Ca, "warn,sqlx=error", LogFormat::Text)?;
        config::load_with_env(Party::Ca, self.args())
    }

    /// The same with a folder and passphrase of its own, for an offline root.
    pub(super) fn on(&self, folder: PathBuf) -> Self {
        Self {
            config: None,
            data_dir: Some(folder),
            database_url: None,
            passphrase_file: self.passphrase_file.clone(),
            passphrase: self.passphrase.clone(),
        }
    }

    fn args(&self) -> Vec<OsString> {
        let mut args = vec![OsString::from("openset-ca")];
        let mut give = |name: &str, value: Option<OsString>| {
            if let Some(value) = value {
                args.extend([OsString::from(name), value]);
            }
        };
        give("--config", self.config.clone().map(Into::into));
        give("--data-dir", self.data_dir.clone().map(Into::into));
        give("--database-url", self.database_url.clone().map(Into::into));
        give(
            "--passphrase-file",
            self.passphrase_file.clone().map(Into::into),
        );
        let passphrase = self.passphrase.as_ref();
        give(
            "--passphrase",
            passphrase.map(|secret| secret.expose().into()),
        );
        args
    }
}

impl Opened {
    pub(super) async fn authorities(self) -> anyhow::Result<Authorities> {
        let Self {
            db,
            vault,
            journal,
            settings,
        } = self;
        Authorities::open_stored(db, vault, journal, settings).await
    }
}
