//! Back-up and restore. A back-up is the whole database at one moment, in the age format under a
//! passphrase. Restoring it replays the journal, so that nothing that was certified, used or revoked since is
//! forgotten.

mod published;
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
pub(crate) use published::Published;
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
#[derive(Debug, Default)]
pub(crate) struct Since {
    /// The journal of every data folder that wrote one.
    pub(crate) journals: Vec<PathBuf>,
    /// What the CAs have published.
    pub(crate) lists: Vec<Published>,
    /// With neither: the operator takes it that nothing has happened.
    pub(crate) danger_nothing: bool,
}

/// What was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Restored {
    /// Lines of journals that the back-up did not know.
    pub(crate) newer: usize,
    /// Revocations that neither the back-up nor the journals knew.
    pub(crate) marked: usize,
    /// Whether all CAs were retired, for there are certificates that are not known.
    pub(crate) retired: bool,
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

/// Puts a back-up into an empty database, replays what has happened since and marks what published lists revoke.
///
/// # Errors
/// When the passphrase is not the file's, the file is damaged, the database is not empty or a journal is
/// missing, or a list is none of ours. Nothing is changed then.
pub(crate) async fn restore(
    db: &Db,
    sealed: Vec<u8>,
    passphrase: &SecretString,
    since: &Since,
) -> anyhow::Result<Restored> {
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
    let journals = since
        .journals
        .iter()
        .map(|path| journal::read(path))
        .collect::<Result<Vec<_>, _>>()?;
    let mut restored = Restored {
        newer: 0,
        marked: 0,
        retired: false,
    };
    if !journals.is_empty() {
        restored.newer = replay::replay(&mut tx, &journals).await?;
    }
    if !since.danger_nothing {
        restored.marked = published::mark(&mut tx, &since.lists, journals.is_empty()).await?;
        restored.retired = journals.is_empty() || restored.marked > 0;
    }
    if restored.retired {
        published::retire_all(&mut tx).await?;
    }
    replay::make_stale(&mut tx).await?;
    tx.commit().await?;
    Ok(restored)
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
