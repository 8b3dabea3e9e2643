//! Back-up and restore. A back-up is the whole database at one moment, in the age format under a
//! passphrase. Restoring it replays the journal, so that nothing that was certified, used or revoked since is
//! forgotten.

mod replay;
mod tables;

use std::path::PathBuf;

use age::scrypt;
use anyhow::{Context as _, ensure};
use openset_service::offload::offload;
use openset_store::{Db, SecretString};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::journal;
use tables::Table;

/// The form of what stands inside.
const FORMAT: u32 = 1;
/// The costliest passphrase derivation that a file may ask for: 2^22 is some ten seconds and 4 GiB.
const WORK_FACTOR_MAX: u8 = 22;

/// What a back-up holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    format: u32,
    /// The migrations that had been applied.
    migrations: Vec<i64>,
    tables: Vec<Table>,
}

/// Where what has happened since a back-up stands.
#[derive(Debug)]
pub(crate) enum Since {
    /// In these journals.
    Journals(Vec<PathBuf>),
    /// Nowhere: the operator takes it that nothing has.
    DangerNothing,
}

/// The whole database, encrypted.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn backup(db: &Db, passphrase: &SecretString) -> anyhow::Result<Vec<u8>> {
    let mut tx = tables::snapshot(db).await?;
    let contents = Contents {
        format: FORMAT,
        migrations: tables::migrations(&mut tx).await?,
        tables: tables::read_all(&mut tx, db.backend()).await?,
    };
    tx.rollback().await?;
    let plain = Zeroizing::new(serde_json::to_vec(&contents)?);
    let recipient = scrypt::Recipient::new(for_age(passphrase));
    offload(move || age::encrypt(&recipient, &plain))
        .await
        .context("the back-up cannot be encrypted")
}

/// Puts a back-up into an empty database and replays what has happened since; says how much that was.
///
/// # Errors
/// When the passphrase is not the file's, the file is damaged, the database is not empty or a journal is
/// missing. Nothing is changed then.
pub(crate) async fn restore(
    db: &Db,
    sealed: Vec<u8>,
    passphrase: &SecretString,
    since: &Since,
) -> anyhow::Result<usize> {
    let contents = open(sealed, passphrase).await?;
    let mut tx = db.begin().await?;
    let held: i64 = openset_store::sqlx::query_scalar("SELECT COUNT(*) FROM authorities")
        .fetch_one(&mut *tx)
        .await?;
    ensure!(
        held == 0,
        "this database has a certificate authority already: restore into an empty one (move the old file away, \
         or give another --database-url)"
    );
    let known = tables::migrations(&mut tx).await?;
    let newer = contents
        .migrations
        .iter()
        .any(|version| !known.contains(version));
    ensure!(
        !newer,
        "the back-up is of a newer version of this program: restore it with that one"
    );
    tables::write_all(&mut tx, db.backend(), &contents.tables).await?;
    let replayed = match since {
        Since::DangerNothing => 0,
        Since::Journals(paths) => {
            let journals = paths
                .iter()
                .map(|path| journal::read(path))
                .collect::<Result<Vec<_>, _>>()?;
            replay::replay(&mut tx, &journals).await?
        }
    };
    replay::make_stale(&mut tx).await?;
    tx.commit().await?;
    Ok(replayed)
}

async fn open(sealed: Vec<u8>, passphrase: &SecretString) -> anyhow::Result<Contents> {
    let mut identity = scrypt::Identity::new(for_age(passphrase));
    identity.set_max_work_factor(WORK_FACTOR_MAX);
    let plain = offload(move || age::decrypt(&identity, &sealed))
        .await
        .context(
            "the back-up does not open: the passphrase is not its own, or the file is damaged",
        )?;
    let plain = Zeroizing::new(plain);
    let contents: Contents = serde_json::from_slice(&plain)
        .context("the file is not a back-up of a certificate authority")?;
    ensure!(
        contents.format == FORMAT,
        "the back-up has the form {}, and this program reads {FORMAT}",
        contents.format
    );
    Ok(contents)
}

fn for_age(passphrase: &SecretString) -> age::secrecy::SecretString {
    passphrase.expose_secret().to_owned().into()
}
