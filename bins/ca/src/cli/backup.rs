//! `backup` and `restore`.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;
use openset_service::config::Config;
use openset_store::{Db, SecretString, Vault};

use super::place::Place;
use crate::backup::{self, Since};
use crate::journal::FILE;
use crate::store::MIGRATIONS;

#[derive(Debug, Args)]
pub(super) struct Passphrase {
    /// File whose first line is the back-up's own passphrase; else it is the CA's.
    #[arg(long)]
    backup_passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The back-up.
    file: PathBuf,
    /// The journal (journal.log) of each data folder that wrote one, the newest that there is; else the one in
    /// this data folder.
    #[arg(long = "journal")]
    journals: Vec<PathBuf>,
    /// Restore without a journal. Certificates that were revoked since the back-up are then good again, and
    /// keys that were certified since can be certified again.
    #[arg(long, conflicts_with = "journals")]
    danger_without_newer_revocations: bool,
    #[command(flatten)]
    passphrase: Passphrase,
}

impl Passphrase {
    fn or(&self, own: &SecretString) -> anyhow::Result<SecretString> {
        let Some(path) = &self.backup_passphrase_file else {
            return Ok(own.clone());
        };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let line = text.lines().next().unwrap_or_default().trim();
        ensure!(!line.is_empty(), "{} is empty", path.display());
        Ok(line.to_owned().into())
    }
}

pub(super) async fn backup(
    place: &Place,
    out: &Path,
    passphrase: &Passphrase,
) -> anyhow::Result<String> {
    let Config { common, .. } = place.config()?;
    let own = common.require_passphrase()?;
    let db = Db::open(&common.database_url, MIGRATIONS).await?;
    // A back-up under a passphrase that does not open the vault would be found useless too late.
    Vault::unlock(&db, own).await?;
    let sealed = backup::backup(&db, &passphrase.or(own)?).await?;
    let mut beside = out.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(&sealed).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&beside, out))
        .with_context(|| format!("cannot write {}", out.display()))?;
    Ok(format!(
        "Written to {} ({} bytes). Keep the journal as well, {}: without it a restored back-up forgets what was \
         revoked since.\n",
        out.display(),
        sealed.len(),
        common.data_dir.join(FILE).display()
    ))
}

pub(super) async fn restore(place: &Place, args: &RestoreArgs) -> anyhow::Result<String> {
    let Config { common, .. } = place.config()?;
    let own = common.require_passphrase()?;
    let sealed = std::fs::read(&args.file)
        .with_context(|| format!("cannot read {}", args.file.display()))?;
    let journal = common.data_dir.join(FILE);
    let since = if args.danger_without_newer_revocations {
        Since::DangerNothing
    } else if !args.journals.is_empty() {
        Since::Journals(args.journals.clone())
    } else {
        ensure!(
            journal.exists(),
            "there is no journal in {}: give the CA's journal.log with --journal, so that what was revoked since \
             the back-up stays so (or take --danger-without-newer-revocations)",
            common.data_dir.display()
        );
        Since::Journals(vec![journal.clone()])
    };
    let db = Db::open(&common.database_url, MIGRATIONS).await?;
    let newer = backup::restore(&db, sealed, &args.passphrase.or(own)?, &since).await?;
    let opens = Vault::unlock(&db, own).await;
    opens.context(
        "restored, but the CA's passphrase is another one than when the back-up was made",
    )?;
    let keep = match &since {
        Since::Journals(paths) if !journal.exists() => {
            format!(
                " Move {} to {} before the service starts: the journal goes on there.",
                paths
                    .first()
                    .map(|path| path.display().to_string())
                    .unwrap_or_default(),
                journal.display()
            )
        }
        _ => String::new(),
    };
    Ok(format!(
        "Restored, and {newer} later changes from the journal. Start the service: it issues all CRLs anew.{keep}\n"
    ))
}
