//! `root`: a root that is kept offline. Its folder is a CA's data folder with a root and nothing below it:
//! a database whose keys are sealed under a passphrase of its own, and a journal.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use openset_pki::authority::CertificationRequest;
use openset_store::SecretString;

use crate::authorities::Authorities;
use crate::crl::Revocation;
use crate::import;

use super::hierarchy::Reason;
use super::list::{self, ListArgs};
use super::place::{Opened, Place};
use super::publish::write;

/// How long an offline root's CRL is good unless told otherwise: somebody has to go to it for each.
const CRL_DAYS: u32 = 180;

#[derive(Debug, Subcommand)]
pub(super) enum RootCommand {
    /// Make a root in a new folder, with its first CRL and the key of the root after it.
    Create(Folder),
    /// Sign a brand CA's request (PKCS#10) after checking that its sender has the key.
    Sign {
        /// The request, PEM or DER, as `openset-ca brand add --request` wrote it.
        request: PathBuf,
        /// The request's SHA-256, hexadecimal, as that command printed it and as it came here by another way than the
        /// file: whoever alters the file on its way changes it.
        #[arg(long)]
        sha256: String,
        /// Where the certificate goes (PEM).
        #[arg(long)]
        out: PathBuf,
        #[command(flatten)]
        folder: Folder,
    },
    /// Issue the next CRL of the root, and of older ones that have not run out, revoking a brand CA if told so.
    Crl {
        /// The serial number of a certificate to revoke, hexadecimal.
        #[arg(long, requires = "reason")]
        revoke: Option<String>,
        /// Why.
        #[arg(long, value_enum, requires = "revoke")]
        reason: Option<Reason>,
        #[command(flatten)]
        folder: Folder,
    },
    /// Make the next root, from the key that the present one has promised.
    Rollover(Folder),
    /// Show the root, its fingerprint and what it has signed.
    Show(Folder),
}

#[derive(Debug, Args)]
pub(super) struct Folder {
    /// The root's folder, on a machine or stick that is kept away from any network.
    #[arg(long)]
    folder: PathBuf,
    /// Days that the CRLs made by this command are good.
    #[arg(long, default_value_t = CRL_DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
    crl_days: u32,
    /// File whose first line is the passphrase of the next root's key, for `create` and `rollover`: another one than the
    /// folder's, kept elsewhere. Or the variable OPENSET_NEXT_ROOT_PASSPHRASE.
    #[arg(long)]
    next_passphrase_file: Option<PathBuf>,
}

/// The variable with the passphrase of the next root's key.
const NEXT_PASSPHRASE: &str = "OPENSET_NEXT_ROOT_PASSPHRASE";

impl Folder {
    async fn unlock(&self, place: &Place) -> anyhow::Result<Opened> {
        let mut opened = place.on(self.folder.clone()).unlock().await?;
        let settings = std::sync::Arc::get_mut(&mut opened.settings).context("settings in use")?;
        settings.crl_lifetime = std::time::Duration::from_secs(u64::from(self.crl_days) * 86_400);
        settings.brands.clear();
        settings.regions.clear();
        settings.next_passphrase = self.next_passphrase()?;
        Ok(opened)
    }

    fn require_next_passphrase(&self) -> anyhow::Result<()> {
        ensure!(
            self.next_passphrase()?.is_some(),
            "give the next root's key a passphrase of its own, kept elsewhere than the folder's: \
             --next-passphrase-file or {NEXT_PASSPHRASE}"
        );
        Ok(())
    }

    fn next_passphrase(&self) -> anyhow::Result<Option<SecretString>> {
        let text = match &self.next_passphrase_file {
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?,
            None => match std::env::var(NEXT_PASSPHRASE) {
                Ok(text) => text,
                Err(_) => return Ok(None),
            },
        };
        let line = text.lines().next().unwrap_or_default().trim();
        ensure!(!line.is_empty(), "the next root's passphrase is empty");
        Ok(Some(line.to_owned().into()))
    }

    async fn open(&self, place: &Place) -> anyhow::Result<Authorities> {
        ensure!(
            self.folder.join("ca.db").exists(),
            "there is no root in {}; openset-ca root create --folder makes one",
            self.folder.display()
        );
        self.unlock(place).await?.authorities().await
    }

    /// Writes the certificate, fingerprint and CRL of every root that has not run out beside the database.
    async fn write(&self, ca: &Authorities) -> anyhow::Result<String> {
        let (held, now) = (ca.current(), openset_service::clock::now_seconds());
        let mut lists = ca.crls().await?;
        let (mut text, mut files) = (String::new(), Vec::new());
        for root in held.roots().iter().filter(|root| !root.ended(now)) {
            let id = &root.id;
            let list = lists.remove(id).context("its CRL is missing")?;
            let fingerprint = hex::encode(openset_jose::sha256(root.certificate.der()));
            for (name, bytes) in [
                (format!("{id}.pem"), root.certificate.to_pem().into_bytes()),
                (format!("{id}.crl"), list.der),
                (
                    format!("{id}.sha256"),
                    format!("{fingerprint}\n").into_bytes(),
                ),
            ] {
                write(&self.folder.join(&name), &bytes)?;
            }
            text.push_str(&format!("{id}: SHA-256 {fingerprint}\n"));
            files.extend([format!("{id}.pem"), format!("{id}.crl")]);
        }
        Ok(format!(
            "{text}Written to {}, with the fingerprints. Next, at the CA:\n  openset-ca import {}\n",
            self.folder.display(),
            files.join(" ")
        ))
    }
}

pub(super) async fn run(command: RootCommand, place: &Place) -> anyhow::Result<String> {
    match command {
        RootCommand::Create(folder) => create(&folder, place).await,
        RootCommand::Sign {
            request,
            sha256,
            out,
            folder,
        } => sign(&folder.open(place).await?, &request, &sha256, &out).await,
        RootCommand::Crl {
            revoke,
            reason,
            folder,
        } => crl(&folder, place, revoke.zip(reason)).await,
        RootCommand::Rollover(folder) => {
            folder.require_next_passphrase()?;
            let ca = folder.open(place).await?;
            ca.roll_over().await?;
            folder.write(&ca).await
        }
        RootCommand::Show(folder) => show(&folder.open(place).await?).await,
    }
}

async fn create(folder: &Folder, place: &Place) -> anyhow::Result<String> {
    ensure!(
        !folder.folder.join("ca.db").exists(),
        "there is a root in {} already; openset-ca root show --folder shows it",
        folder.folder.display()
    );
    folder.require_next_passphrase()?;
    let Opened {
        db,
        vault,
        journal,
        settings,
    } = folder.unlock(place).await?;
    let ca = Authorities::open(db, vault, journal, settings).await?;
    folder.write(&ca).await
}

async fn sign(
    ca: &Authorities,
    request: &Path,
    sha256: &str,
    out: &Path,
) -> anyhow::Result<String> {
    let bytes =
        std::fs::read(request).with_context(|| format!("cannot read {}", request.display()))?;
    let der = import::der(import::REQUEST, &bytes)?;
    let given = sha256.to_ascii_lowercase().replace(':', "");
    let own = hex::encode(openset_jose::sha256(&der));
    ensure!(
        given == own,
        "{} has the SHA-256 {own}, and not {given}: it is not the request that the CA made, or the number is another \
         request's",
        request.display()
    );
    let request = CertificationRequest::from_der(&der)?;
    let certificate = ca.sign_brand(&request).await?;
    write(out, certificate.to_pem().as_bytes())?;
    Ok(format!(
        "Signed {} until {}; the certificate is in {}. Next, at the CA:\n  openset-ca import {2}\n",
        certificate.common_name(),
        openset_protocol::Timestamp::from_seconds(certificate.not_after()),
        out.display()
    ))
}

async fn crl(
    folder: &Folder,
    place: &Place,
    revoke: Option<(String, Reason)>,
) -> anyhow::Result<String> {
    let ca = folder.open(place).await?;
    if let Some((serial, reason)) = revoke {
        let serial = serial.to_ascii_lowercase().replace(':', "");
        let done = ca.revoke(&serial, reason.into()).await?;
        ensure!(
            matches!(done, Revocation::Revoked | Revocation::WasRevoked),
            "this root has signed no certificate with the serial {serial}; openset-ca root show lists them"
        );
    }
    ca.issue_root_crls().await?;
    folder.write(&ca).await
}

async fn show(ca: &Authorities) -> anyhow::Result<String> {
    let mut text = String::new();
    for root in ca.current().roots() {
        let fingerprint = hex::encode(openset_jose::sha256(root.certificate.der()));
        text.push_str(&format!("{}: SHA-256 {fingerprint}\n", root.id));
    }
    Ok(text + &list::list(ca, &ListArgs::default()).await?)
}
