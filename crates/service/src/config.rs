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

mod layers;
mod options;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, anyhow};
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use toml::Table;

use layers::{args_from_env, first_line, keys, read_file, table_from_args, typed};
use options::CommonOptions;

pub use options::{Common, sha256, url};

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

/// A checked configuration: what all services have, and the party's own options.
#[derive(Debug)]
pub struct Config<O> {
    /// What all services have.
    pub common: Common,
    /// The party's own options.
    pub own: O,
}

/// Reads this process' flags and variables and the file they name.
///
/// # Errors
/// A message that names the key and where it stands.
pub fn load<O>(party: Party) -> anyhow::Result<Config<O>>
where
    O: Args + Serialize + DeserializeOwned,
{
    load_with_env(party, std::env::args_os())
}

/// [`load`] with flags (the program's name first) as arguments.
///
/// # Errors
/// A message that names the key and where it stands.
pub fn load_with_env<O>(
    party: Party,
    args: impl IntoIterator<Item = OsString>,
) -> anyhow::Result<Config<O>>
where
    O: Args + Serialize + DeserializeOwned,
{
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .collect();
    load_from(party, args, &env)
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
    let mut flags = table_from_args::<O>(party, args)?;
    let prefix = party.env_prefix();
    let mut variables = table_from_args::<O>(party, args_from_env::<O>(&prefix, env)?)
        .map_err(|error| anyhow!("in the environment ({prefix}*): {}", first_line(&error)))?;
    let (by_flag, by_variable) = (flags.remove("config"), variables.remove("config"));
    let file = by_flag.or(by_variable);
    let (mut table, source) = match file.as_ref().and_then(toml::Value::as_str) {
        Some(path) => (read_file(Path::new(path))?, format!("in {path}")),
        None => (Table::new(), "in the configuration".to_owned()),
    };
    table.extend(variables);
    table.extend(flags);

    let common_keys: Vec<String> = keys(CommonOptions::augment_args);
    let (common, own): (Table, Table) = table
        .into_iter()
        .partition(|(key, _)| common_keys.contains(key));
    let common: CommonOptions = typed(common, &source)?;
    let own: O = typed(own, &source)?;
    let common = common.check(party).context(source)?;
    Ok(Config { common, own })
}
