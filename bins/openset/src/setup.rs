//! `openset setup`: configuration, tokens, passphrases and TLS certificates for a demo of five services.
//! Every secret is fresh; nothing that exists is changed.

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use toml::Table;

mod files;
mod tls;

pub use files::{DemoFile, DemoTokens, Urls};

/// The five services, in the order in which they start.
pub const PARTIES: [&str; 5] = ["ca", "issuer", "gateway", "merchant", "cardholder"];
/// The port of the first service; the others follow.
pub const FIRST_PORT: u16 = 7001;

/// Flags of `openset setup`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Folder to write to: a folder for each service, and one for the demo.
    #[arg(long)]
    out: PathBuf,
    /// The folder under which a service will see its configuration.
    #[arg(long)]
    config_dir: PathBuf,
    /// The folder under which a service will see its data.
    #[arg(long)]
    data_dir: PathBuf,
    /// The folder under which all services will see the root's fingerprint.
    #[arg(long)]
    trust_dir: PathBuf,
    /// The address that services listen on.
    #[arg(long, default_value = "127.0.0.1")]
    listen: IpAddr,
    /// How services reach each other; {party} and {port} are filled in. https makes TLS certificates.
    #[arg(long, default_value = "http://127.0.0.1:{port}")]
    url: String,
    /// Let cards pay that have no certificate: all parties are told to take them.
    #[arg(long)]
    unsigned: bool,
}

/// Where services are and see their files.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where the files are written: a folder for each service.
    pub out: PathBuf,
    /// Where a service sees its configuration.
    pub config_dir: Seen,
    /// Where a service sees its data.
    pub data_dir: Seen,
    /// Where the CA writes the root's SHA-256, and the others read it.
    pub root_sha256_file: PathBuf,
    /// The address that services listen on.
    pub listen: IpAddr,
    /// Their ports, in the order of [`PARTIES`].
    pub ports: [u16; 5],
    /// How they reach each other, with `{party}` and `{port}` to be filled in.
    pub url: String,
    /// Whether all parties take purchases without the cardholder's certificate.
    pub unsigned: bool,
}

/// A folder as a service sees it: the same for all (containers), or one below the other (processes).
#[derive(Debug, Clone)]
pub enum Seen {
    /// Every service sees its own under this path.
    Same(PathBuf),
    /// A folder for each service below this one.
    Below(PathBuf),
}

impl Seen {
    /// The folder of one party.
    #[must_use]
    pub fn of(&self, party: &str) -> PathBuf {
        match self {
            Self::Same(path) => path.clone(),
            Self::Below(path) => path.join(party),
        }
    }
}

impl Plan {
    /// A party's port.
    #[must_use]
    pub fn port(&self, party: &str) -> u16 {
        PARTIES
            .iter()
            .zip(self.ports)
            .find(|(name, _)| **name == party)
            .map_or(0, |(_, port)| port)
    }

    /// A party's address.
    #[must_use]
    pub fn url_of(&self, party: &str) -> String {
        self.url
            .replace("{party}", party)
            .replace("{port}", &self.port(party).to_string())
    }

    /// Whether they speak TLS.
    #[must_use]
    pub fn tls(&self) -> bool {
        self.url.starts_with("https:")
    }

    /// Where the demo's own file stands, written last.
    #[must_use]
    pub fn demo_file(&self) -> PathBuf {
        self.out.join("demo/demo.toml")
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let ports = [0, 1, 2, 3, 4].map(|offset: u16| FIRST_PORT.saturating_add(offset));
    let plan = Plan {
        out: options.out.clone(),
        config_dir: Seen::Same(options.config_dir.clone()),
        data_dir: Seen::Same(options.data_dir.clone()),
        root_sha256_file: options.trust_dir.join("root.sha256"),
        listen: options.listen,
        ports,
        url: options.url.clone(),
        unsigned: options.unsigned,
    };
    match write(&plan)? {
        Written::Fresh => println!("configuration written to {}", plan.out.display()),
        Written::WasThere => println!(
            "{} is there already and stays as it is",
            plan.demo_file().display()
        ),
    }
    Ok(())
}

/// What [`write()`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    /// Nothing was there.
    Fresh,
    /// An earlier call had finished.
    WasThere,
}

/// Writes everything, the demo's own file last: an interrupted call begins anew.
///
/// # Errors
/// The system gives no randomness, or a file cannot be written.
pub fn write(plan: &Plan) -> anyhow::Result<Written> {
    if plan.demo_file().exists() {
        return Ok(Written::WasThere);
    }
    let secrets = files::Secrets::fresh()?;
    let authority = plan.tls().then(tls::DemoAuthority::new).transpose()?;
    for party in PARTIES {
        let folder = plan.out.join(party);
        create_private(&folder)?;
        if let Some(authority) = &authority {
            authority.write_for(party, &folder)?;
        }
        let table = files::service(plan, &secrets, party);
        write_table(&folder.join(format!("{party}.toml")), &table)?;
    }
    let demo = plan.out.join("demo");
    create_private(&demo)?;
    if let Some(authority) = &authority {
        write_private(
            &demo.join("tls-ca.pem"),
            authority.certificate_pem().as_bytes(),
        )?;
    }
    write_private(
        &demo.join("env.sh"),
        files::shell_variables(plan, &secrets).as_bytes(),
    )?;
    write_table(&plan.demo_file(), &files::demo(plan, &secrets))?;
    Ok(Written::Fresh)
}

fn create_private(folder: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))
}

fn write_table(path: &Path, table: &Table) -> anyhow::Result<()> {
    write_private(path, toml::to_string(table)?.as_bytes())
}

/// Writes a file that only its owner reads: whole or not at all.
fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let part = path.with_extension("part");
    let context = || format!("cannot write {}", path.display());
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)
        .with_context(context)?;
    file.write_all(bytes).with_context(context)?;
    file.sync_all().with_context(context)?;
    fs::rename(&part, path).with_context(context)
}
