//! Configuration: defaults, then a TOML file, then `OPENSET_<PARTY>_*`, then flags.
//!
//! A party's own options are one struct that is at once its flags, its variables and its TOML keys:
//!
//! ```
//! # use openset_service::{auth::Tokens, config::Secret};
//! #[derive(Debug, Default, clap::Args, serde::Serialize, serde::Deserialize)]
//! #[serde(deny_unknown_fields, default)]
//! struct Options {
//!     /// Where the issuer answers.
//!     #[arg(long)]
//!     issuer_url: Option<String>,
//!     /// The token that the issuer expects.
//!     #[arg(long)]
//!     issuer_token: Option<Secret>,
//!     /// Lists stand in the TOML file alone.
//!     #[arg(skip)]
//!     #[serde(skip_serializing)]
//!     tokens: Tokens,
//! }
//! ```

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, anyhow, bail, ensure};
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use toml::Table;

use crate::telemetry::LogFormat;

/// The five services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// The certificate authority.
    Ca,
    /// The cardholder's bank.
    Issuer,
    /// The merchant's bank.
    Gateway,
    /// The shop.
    Merchant,
    /// The wallet.
    Cardholder,
}

impl Party {
    /// Its name in folders, logs and variables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::Issuer => "issuer",
            Self::Gateway => "gateway",
            Self::Merchant => "merchant",
            Self::Cardholder => "cardholder",
        }
    }

    /// Where it listens unless told otherwise.
    #[must_use]
    pub fn default_listen(self) -> SocketAddr {
        let port = match self {
            Self::Ca => 7001,
            Self::Issuer => 7002,
            Self::Gateway => 7003,
            Self::Merchant => 7004,
            Self::Cardholder => 7005,
        };
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
    }

    /// `OPENSET_GATEWAY_` and so on.
    #[must_use]
    pub fn env_prefix(self) -> String {
        format!("OPENSET_{}_", self.name().to_uppercase())
    }
}

/// A secret among the options: redacted wherever it is printed.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(SecretString);

impl Secret {
    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<Secret> for SecretString {
    fn from(secret: Secret) -> Self {
        secret.0
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.into()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Only for laying flags over the file; the table that it fills is dropped in [`load`].
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

/// The options that every service has.
#[derive(Debug, Default, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CommonOptions {
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
    /// File whose first line is the root's SHA-256.
    #[arg(long)]
    root_sha256_file: Option<PathBuf>,
    /// Where the certificate authority answers.
    #[arg(long)]
    ca_url: Option<String>,
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
    /// The certificate authority.
    pub ca_url: Option<Url>,
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

/// A checked configuration: what all services have, and the party's own options.
#[derive(Debug)]
pub struct Config<O> {
    /// What all services have.
    pub common: Common,
    /// The party's own options.
    pub own: O,
}

/// Flags of a service with its own options `O`.
#[derive(clap::Parser)]
struct Flags<O: Args> {
    /// TOML file with the same keys as these options, `-` written as `_`.
    #[arg(long)]
    config: Option<PathBuf>,
    #[command(flatten)]
    common: CommonOptions,
    #[command(flatten)]
    own: O,
}

/// Reads this process' flags and variables and the file they name.
///
/// # Errors
/// A message that names the key and where it stands.
pub fn load<O>(party: Party) -> anyhow::Result<Config<O>>
where
    O: Args + Serialize + DeserializeOwned,
{
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .collect();
    load_from(party, std::env::args_os(), &env)
}

/// [`load`] with flags (the program's name first) and variables as arguments.
///
/// # Errors
/// A message that names the key and where it stands.
pub fn load_from<O>(
    party: Party,
    args: impl IntoIterator<Item = OsString>,
    env: &BTreeMap<String, OsString>,
) -> anyhow::Result<Config<O>>
where
    O: Args + Serialize + DeserializeOwned,
{
    let flags = table_from_args::<O>(party, args)?;
    let prefix = party.env_prefix();
    let variables = table_from_args::<O>(party, args_from_env::<O>(&prefix, env)?)
        .map_err(|error| anyhow!("in the environment ({prefix}*): {}", first_line(&error)))?;
    let file = flags.get("config").or(variables.get("config"));
    let (mut table, source) = match file.and_then(toml::Value::as_str) {
        Some(path) => (read_file(Path::new(path))?, format!("in {path}")),
        None => (Table::new(), "in the configuration".to_owned()),
    };
    table.extend(variables);
    table.extend(flags);
    table.remove("config");

    let common_keys: Vec<String> = keys(CommonOptions::augment_args);
    let (common, own): (Table, Table) = table
        .into_iter()
        .partition(|(key, _)| common_keys.contains(key));
    let common: CommonOptions = typed(common, &source)?;
    let own: O = typed(own, &source)?;
    let common = common.check(party).context(source)?;
    Ok(Config { common, own })
}

fn typed<T: DeserializeOwned>(table: Table, source: &str) -> anyhow::Result<T> {
    table
        .try_into()
        .map_err(|error: toml::de::Error| anyhow!("{source}: {}", error.to_string().trim()))
}

fn read_file(path: &Path) -> anyhow::Result<Table> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
    text.parse()
        .with_context(|| format!("{} is not TOML", path.display()))
}

/// clap's usage, which follows its error, is of flags and not of variables.
fn first_line(error: &anyhow::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

fn keys(augment: fn(clap::Command) -> clap::Command) -> Vec<String> {
    augment(clap::Command::new("keys"))
        .get_arguments()
        .map(|arg| arg.get_id().to_string())
        .collect()
}

/// The options that `args` gives, by key; what it does not give is absent.
fn table_from_args<O: Args + Serialize>(
    party: Party,
    args: impl IntoIterator<Item = OsString>,
) -> anyhow::Result<Table> {
    let command = Flags::<O>::command()
        .bin_name(format!("openset-{}", party.name()))
        .version(env!("CARGO_PKG_VERSION"))
        .about(format!("OpenSET's {} service.", party.name()))
        .args_override_self(true)
        .after_help(format!(
            "Every option may also stand in the TOML file (data_dir = \"…\") or in the environment \
             ({}DATA_DIR=…).",
            party.env_prefix()
        ));
    let matches = command.try_get_matches_from(args)?;
    let flags = Flags::<O>::from_arg_matches(&matches)?;
    let mut table = Table::try_from(&flags.common)?;
    table.extend(Table::try_from(&flags.own)?);
    if let Some(path) = flags.config {
        table.insert("config".to_owned(), path.display().to_string().into());
    }
    table.retain(|key, _| {
        matches!(matches.try_contains_id(key), Ok(true))
            && matches.value_source(key) == Some(ValueSource::CommandLine)
    });
    Ok(table)
}

/// Variables as the flags that they stand for; an empty one counts as not set.
fn args_from_env<O: Args>(
    prefix: &str,
    env: &BTreeMap<String, OsString>,
) -> anyhow::Result<Vec<OsString>> {
    let known = keys(Flags::<O>::augment_args);
    let mut args = vec![OsString::from("environment")];
    for (name, value) in env {
        let Some(key) = name.strip_prefix(prefix).map(str::to_lowercase) else {
            continue;
        };
        ensure!(
            known.contains(&key),
            "{name} is not an option of this service; --help lists them, and lists stand in the TOML file"
        );
        if !value.is_empty() {
            let mut arg = OsString::from(format!("--{}=", key.replace('_', "-")));
            arg.push(value);
            args.push(arg);
        }
    }
    Ok(args)
}

impl CommonOptions {
    fn check(self, party: Party) -> anyhow::Result<Common> {
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
        let root_sha256 = either(self.root_sha256, self.root_sha256_file, "root_sha256")?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let public_url = self
            .public_url
            .unwrap_or_else(|| format!("{scheme}://{listen}"));
        Ok(Common {
            party,
            listen,
            data_dir,
            database_url,
            passphrase: passphrase.map(SecretString::from),
            root_sha256: root_sha256.map(|text| fingerprint(&text)).transpose()?,
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

fn fingerprint(text: &str) -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    let text = text.replace(':', "");
    hex::decode_to_slice(&text, &mut bytes)
        .context("root_sha256 is not 64 hexadecimal digits; copy it as the CA printed it")?;
    Ok(bytes)
}
