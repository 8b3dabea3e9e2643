//! The options that every service has, and what they amount to once they are checked.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use reqwest::Url;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{Party, Secret};
use crate::telemetry::LogFormat;
use crate::trust::REFRESH_INTERVAL;
use crate::{client, random};

/// The options that every service has.
#[derive(Debug, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CommonOptions {
    /// Address and port to listen on; other than loopback needs TLS.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Folder for what must survive a restart.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// sqlite:///absolute/path.db or postgres://…; a file in the data folder unless given.
    #[arg(long)]
    database_url: Option<String>,
    /// Encrypts secrets at rest; visible in process lists, so rather passphrase-file.
    #[arg(long)]
    passphrase: Option<Secret>,
    /// File whose first line is the passphrase.
    #[arg(long)]
    passphrase_file: Option<PathBuf>,
    /// SHA-256 of the root certificate (DER), in hexadecimal.
    #[arg(long)]
    root_sha256: Option<String>,
    /// File whose first line is the root's SHA-256; the certificate authority writes it.
    #[arg(long)]
    root_sha256_file: Option<PathBuf>,
    /// Where the certificate authority answers.
    #[arg(long)]
    ca_url: Option<String>,
    /// Where certificates are registered; /set of the certificate authority unless given, which is its first
    /// region's.
    #[arg(long)]
    registration_url: Option<String>,
    /// Seconds between two looks at the certificate authority for new CRLs.
    #[arg(long)]
    trust_refresh_seconds: Option<u64>,
    /// How the other parties reach this service.
    #[arg(long)]
    public_url: Option<String>,
    /// PEM file with this service's TLS chain.
    #[arg(long)]
    tls_certificate: Option<PathBuf>,
    /// PEM file with the TLS private key.
    #[arg(long)]
    tls_key: Option<PathBuf>,
    /// PEM file with the CAs that outgoing https calls trust.
    #[arg(long)]
    client_ca: Option<PathBuf>,
    /// Log filter, as in RUST_LOG.
    #[arg(long)]
    log: Option<String>,
    /// text or json.
    #[arg(long)]
    log_format: Option<LogFormat>,
}

/// What every service knows of itself once its configuration is checked.
#[derive(Debug, Clone)]
pub struct Common {
    /// Which service this is.
    pub party: Party,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Folder for what must survive a restart; exists.
    pub data_dir: PathBuf,
    /// The database.
    pub database_url: String,
    /// Encrypts secrets at rest.
    pub passphrase: Option<SecretString>,
    /// SHA-256 of the root certificate's DER.
    pub root_sha256: Option<[u8; 32]>,
    /// Where that stands for all parties: the certificate authority writes it, the others have read it.
    pub root_sha256_file: Option<PathBuf>,
    /// The certificate authority.
    pub ca_url: Option<Url>,
    /// Where certificates are registered, if told otherwise.
    pub registration_url: Option<Url>,
    /// Between two looks at the certificate authority.
    pub trust_refresh: Duration,
    /// Names this replica, the same after each restart on its data folder.
    pub replica: String,
    /// How others reach this service.
    pub public_url: Url,
    /// Certificate chain and key of the listener, as PEM files.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// CAs that outgoing https calls trust, as PEM file.
    pub client_ca: Option<PathBuf>,
    /// Log filter.
    pub log: String,
    /// How log lines look.
    pub log_format: LogFormat,
}

impl CommonOptions {
    pub(super) fn check(self, party: Party) -> anyhow::Result<Common> {
        let listen = self.listen.unwrap_or_else(|| party.default_listen());
        let tls = match (self.tls_certificate, self.tls_key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => bail!("tls_certificate and tls_key go together; set both or none"),
        };
        ensure!(
            tls.is_some() || listen.ip().is_loopback(),
            "listen = \"{listen}\" is reachable from elsewhere and would carry card data in clear; \
             set tls_certificate and tls_key, or listen on 127.0.0.1"
        );
        let data_dir = self
            .data_dir
            .unwrap_or_else(|| PathBuf::from(".openset").join(party.name()));
        // Keys and databases lie there: for the service's user alone.
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&data_dir)
            .with_context(|| format!("cannot make data_dir {}", data_dir.display()))?;
        let data_dir = data_dir.canonicalize()?;
        let database_url = self.database_url.unwrap_or_else(|| {
            openset_store::sqlite_url(&data_dir.join(format!("{}.db", party.name())))
        });
        let passphrase = either(self.passphrase, self.passphrase_file, "passphrase")?;
        let root_sha256_file = self.root_sha256_file.clone();
        // At its first start the certificate authority has no root yet, and pins none later.
        let to_read = self.root_sha256_file.filter(|_| party != Party::Ca);
        let root_sha256 = either(self.root_sha256, to_read, "root_sha256")?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let public_url = self
            .public_url
            .unwrap_or_else(|| format!("{scheme}://{listen}"));
        let trust_refresh = self.trust_refresh_seconds.map(Duration::from_secs);
        Ok(Common {
            party,
            replica: replica(&data_dir)?,
            trust_refresh: trust_refresh.unwrap_or(REFRESH_INTERVAL),
            listen,
            data_dir,
            database_url,
            passphrase: passphrase.map(SecretString::from),
            root_sha256: root_sha256.map(|text| fingerprint(&text)).transpose()?,
            root_sha256_file,
            registration_url: self
                .registration_url
                .map(|text| url(&text, "registration_url"))
                .transpose()?,
            ca_url: self.ca_url.map(|text| url(&text, "ca_url")).transpose()?,
            public_url: url(&public_url, "public_url")?,
            tls,
            client_ca: self.client_ca,
            log: self.log.unwrap_or_else(|| "info".to_owned()),
            log_format: self.log_format.unwrap_or_default(),
        })
    }
}

impl Common {
    /// The passphrase, which this service needs.
    ///
    /// # Errors
    /// When neither `passphrase` nor `passphrase_file` is set.
    pub fn require_passphrase(&self) -> anyhow::Result<&SecretString> {
        self.passphrase.as_ref().context(
            "set passphrase_file (or passphrase): it encrypts this service's secrets at rest",
        )
    }

    /// The pinned root, which this service needs.
    ///
    /// # Errors
    /// When neither `root_sha256` nor `root_sha256_file` is set.
    pub fn require_root_sha256(&self) -> anyhow::Result<[u8; 32]> {
        self.root_sha256
            .context("set root_sha256_file (or root_sha256): the fingerprint that the CA prints at its start")
    }

    /// The certificate authority, which this service needs.
    ///
    /// # Errors
    /// When `ca_url` is not set.
    pub fn require_ca_url(&self) -> anyhow::Result<&Url> {
        self.ca_url
            .as_ref()
            .context("set ca_url: where the certificate authority answers")
    }
}

impl Common {
    /// Where certificates are registered: with the first region's CAs unless told otherwise.
    ///
    /// # Errors
    /// When neither `registration_url` nor `ca_url` is set.
    pub fn require_registration_url(&self) -> anyhow::Result<Url> {
        match &self.registration_url {
            Some(url) => Ok(url.clone()),
            None => Ok(client::join(self.require_ca_url()?, "set")),
        }
    }
}

/// An http or https URL out of an option; the error names the option `key`.
///
/// # Errors
/// When `text` is not such a URL.
pub fn url(text: &str, key: &str) -> anyhow::Result<Url> {
    let url = Url::parse(text).with_context(|| format!("{key} = \"{text}\" is not a URL"))?;
    ensure!(
        matches!(url.scheme(), "http" | "https") && url.has_host(),
        "{key} = \"{text}\" must begin with http:// or https://"
    );
    Ok(url)
}

/// The value given inline, or else the first line of the file; both at once is an error.
fn either<T: FromStr>(
    inline: Option<T>,
    file: Option<PathBuf>,
    key: &str,
) -> anyhow::Result<Option<T>>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    match (inline, file) {
        (Some(_), Some(_)) => bail!("{key} and {key}_file are both set; leave one"),
        (Some(value), None) => Ok(Some(value)),
        (None, None) => Ok(None),
        (None, Some(path)) => {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {key}_file {}", path.display()))?;
            let line = text.lines().next().unwrap_or_default().trim();
            ensure!(!line.is_empty(), "{key}_file {} is empty", path.display());
            Ok(Some(line.parse()?))
        }
    }
}

/// A SHA-256 in hexadecimal, as `sha256sum` prints it; `key` is the configuration's.
///
/// # Errors
/// When it is none.
pub fn sha256(text: &str, key: &str) -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text.trim(), &mut bytes)
        .with_context(|| format!("{key} = \"{text}\": give 64 hexadecimal digits"))?;
    Ok(bytes)
}

fn fingerprint(text: &str) -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    let text = text.replace(':', "");
    hex::decode_to_slice(&text, &mut bytes)
        .context("root_sha256 is not 64 hexadecimal digits; copy it as the CA printed it")?;
    Ok(bytes)
}

/// Made at the first start in a data folder.
fn replica(data_dir: &Path) -> anyhow::Result<String> {
    let path = data_dir.join("replica");
    if !path.exists() {
        fs::write(&path, random::hex_id::<8>())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let name = fs::read_to_string(&path);
    name.with_context(|| format!("cannot read {}", path.display()))
}
