//! Flags and variables as tables of what they give and nothing else.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches};
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Table;

use super::Party;
use super::options::CommonOptions;

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

pub(super) fn typed<T: DeserializeOwned>(table: Table, source: &str) -> anyhow::Result<T> {
    table
        .try_into()
        .map_err(|error: toml::de::Error| anyhow!("{source}: {}", error.to_string().trim()))
}

pub(super) fn read_file(path: &Path) -> anyhow::Result<Table> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
    text.parse()
        .with_context(|| format!("{} is not TOML", path.display()))
}

/// clap's usage, which follows its error, is of flags and not of variables.
pub(super) fn first_line(error: &anyhow::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

pub(super) fn keys(augment: fn(clap::Command) -> clap::Command) -> Vec<String> {
    augment(clap::Command::new("keys"))
        .get_arguments()
        .map(|arg| arg.get_id().to_string())
        .collect()
}

/// The options that `args` gives, by key; what it does not give is absent.
pub(super) fn table_from_args<O: Args + Serialize>(
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
pub(super) fn args_from_env<O: Args>(
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
