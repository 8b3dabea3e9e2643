//! `backup` and `restore`.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;
use openset_pki::Crl;
use openset_service::config::Config;
use openset_store::{Db, SecretString, Vault};

use super::place::Place;
use crate::backup::{self, Published, Since};
use crate::import;
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
    /// A published CRL, DER or PEM, as `openset-ca publish` wrote it or `GET /crl/{ca}` gave it; may be repeated.
    /// What it revokes is revoked afterwards, and the CA's next list has a higher number. Without a journal the newest
    /// one of every CA is needed, and all CAs are retired: keys that they certified since are not known.
    #[arg(long = "crl")]
    crls: Vec<PathBuf>,
    /// Restore without journal and CRLs. Certificates that were revoked since the back-up are then good again, and
    /// keys that were certified since can be certified again.
    #[arg(long, conflicts_with_all = ["journals", "crls"])]
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

/// The lists in these files.
fn published(files: &[PathBuf]) -> anyhow::Result<Vec<Published>> {
    let read = |file: &PathBuf| {
        let bytes =
            std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let crl = import::der("X509 CRL", &bytes)
            .and_then(|der| Ok(Crl::from_der(&der)?))
            .with_context(|| format!("{} is not a CRL", file.display()))?;
        Ok(Published {
            file: file.clone(),
            crl,
        })
    };
    files.iter().map(read).collect()
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
    let mut since = Since {
        journals: args.journals.clone(),
        lists: published(&args.crls)?,
        danger_nothing: args.danger_without_newer_revocations,
    };
    if since.journals.is_empty() && !since.danger_nothing {
        ensure!(
            journal.exists() || !since.lists.is_empty(),
            "there is no journal in {}: give the CA's journal.log with --journal, so that what was revoked since \
             the back-up stays so; or the newest published CRL of every CA with --crl (or take \
             --danger-without-newer-revocations)",
            common.data_dir.display()
        );
        since
            .journals
            .extend(journal.exists().then(|| journal.clone()));
    }
    let db = Db::open(&common.database_url, MIGRATIONS).await?;
    let restored = backup::restore(&db, sealed, &args.passphrase.or(own)?, &since).await?;
    let opens = Vault::unlock(&db, own).await;
    opens.context(
        "restored, but the CA's passphrase is another one than when the back-up was made",
    )?;
    let mut text = format!(
        "Restored, and {} later changes from the journal. Start the service: it issues all CRLs anew.",
        restored.newer
    );
    if let Some(path) = since.journals.first().filter(|_| !journal.exists()) {
        text.push_str(&format!(
            " Move {} to {} before the service starts: the journal goes on there.",
            path.display(),
            journal.display()
        ));
    }
    text.push('\n');
    if !since.lists.is_empty() {
        text.push_str(&format!(
            "The published CRLs revoke {} certificates of which nothing else told.\n",
            restored.marked
        ));
    }
    if restored.retired {
        text.push_str(
            "Certificates were issued since that are not known here. So that no key is certified twice, all CAs are \
             retired: make new ones (openset-ca authority renew ID --below, for each brand CA), and a new back-up.\n",
        );
    }
    Ok(text)
}
