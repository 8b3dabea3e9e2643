//! `openset inspect`: what a wrapper, JWS or JWE says of itself; with a key, what is sealed inside.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use openset_jose::{PrivateKey, default_provider, jwe, jws};
use openset_pki::Certificate;
use openset_protocol::Timestamp;
use openset_protocol::plain::plain;
use openset_protocol::wrapper::MessageWrapper;
use openset_store::sqlx::{self, AnyConnection, Connection as _};
use openset_store::vault::Vault;
use openset_store::{SecretString, keys};
use serde_json::Value;

/// The most objects inside objects that are followed.
const DEPTH_MAX: usize = 8;

/// Flags of `openset inspect`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A file with a wrapper, JWS or JWE; - for standard input.
    file: PathBuf,
    /// A private key (PKCS#8, PEM or DER) that opens what is sealed for it.
    #[arg(long)]
    key: Option<PathBuf>,
    /// A service's data folder: all keys in its vault are tried. Needs the passphrase.
    #[arg(long)]
    wallet: Option<PathBuf>,
    /// File whose first line is the passphrase of --wallet, or the service's TOML file.
    #[arg(long, requires = "wallet")]
    passphrase_file: Option<PathBuf>,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let text = read(&options.file)?;
    let mut keys = Vec::new();
    if let Some(path) = &options.key {
        keys.push(load_key(path)?);
    }
    if let Some(folder) = &options.wallet {
        keys.extend(vault_keys(folder, options.passphrase_file.as_deref()).await?);
    }
    let inspector = Inspector { keys };
    let text = text.trim();
    if text.starts_with('{') {
        inspector.wrapper(text)
    } else {
        inspector.compact(text, 0)
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if file.as_os_str() == "-" {
        std::io::stdin()
            .read_to_string(&mut text)
            .context("standard input is not text")?;
    } else {
        text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
    }
    Ok(text)
}

fn load_key(path: &Path) -> anyhow::Result<PrivateKey> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let der = match pem::parse(&bytes) {
        Ok(pem) => pem.into_contents(),
        Err(_) => bytes,
    };
    default_provider()
        .private_key_from_pkcs8(&der)
        .with_context(|| format!("{} is not an RSA private key in PKCS#8", path.display()))
}

/// Every private key in a service's vault.
async fn vault_keys(folder: &Path, passphrase: Option<&Path>) -> anyhow::Result<Vec<PrivateKey>> {
    let path = passphrase
        .context("--wallet needs --passphrase-file: the passphrase, or the service's TOML file")?;
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let passphrase = match toml::from_str::<toml::Table>(&text) {
        Ok(table) => table
            .get("passphrase")
            .and_then(toml::Value::as_str)
            .map(str::to_owned),
        Err(_) => text.lines().next().map(str::to_owned),
    };
    let passphrase = SecretString::from(
        passphrase.with_context(|| format!("{} has no passphrase", path.display()))?,
    );
    let file = databases(folder)?;
    // Read as it is: a service may be at work in it, and its tables are of its own version.
    openset_store::install_database_drivers();
    let url = format!("{}?mode=ro", openset_store::sqlite_url(&file));
    let mut conn = AnyConnection::connect(&url)
        .await
        .context("cannot open the service's database")?;
    let vault = Vault::unlock_to_read(&mut conn, &passphrase).await;
    let Some(vault) = vault.context("cannot unlock the vault")? else {
        return Ok(Vec::new());
    };
    let names: Vec<String> = sqlx::query_scalar("SELECT name FROM vault_secrets ORDER BY name")
        .fetch_all(&mut conn)
        .await?;
    let mut found = Vec::new();
    for name in names {
        let Some(secret) = keys::load(&mut conn, &vault, &name).await? else {
            continue;
        };
        found.extend(private_keys(&secret));
    }
    conn.close().await?;
    Ok(found)
}

/// A secret is a key, or a record that holds some.
fn private_keys(secret: &[u8]) -> Vec<PrivateKey> {
    let parse = |der: &[u8]| default_provider().private_key_from_pkcs8(der).ok();
    if let Some(key) = parse(secret) {
        return vec![key];
    }
    let texts = serde_json::from_slice::<Value>(secret)
        .map(|value| strings(&value))
        .unwrap_or_default();
    texts
        .iter()
        .filter_map(|text| openset_jose::base64url::decode(text).ok())
        .filter_map(|der| parse(&der))
        .collect()
}

fn databases(folder: &Path) -> anyhow::Result<PathBuf> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let is_database = |path: &PathBuf| path.extension().is_some_and(|x| x == "db" || x == "sqlite");
    let found = entries
        .flatten()
        .map(|entry| entry.path())
        .find(is_database);
    found.with_context(|| format!("{} has no SQLite database", folder.display()))
}

/// All strings inside a JSON value.
fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Object(members) => members.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

struct Inspector {
    keys: Vec<PrivateKey>,
}

impl Inspector {
    fn wrapper(&self, text: &str) -> anyhow::Result<()> {
        let wrapper = MessageWrapper::decode(text.as_bytes()).context("not a message wrapper")?;
        let header = &wrapper.message_header;
        println!("MessageWrapper, {} bytes", text.len());
        println!("  message      {}", wrapper.message.name());
        println!("  version      {}.{}", header.version, header.revision);
        println!("  date         {}", header.date);
        let ids = &header.message_ids;
        for (name, value) in [
            ("rrpid", header.rrpid.map(|id| id.to_string())),
            ("lid_c", ids.lid_c.as_ref().map(ToString::to_string)),
            ("lid_m", ids.lid_m.as_ref().map(ToString::to_string)),
            ("xid", ids.xid.map(|id| id.to_string())),
        ] {
            println!("  {name:<12} {}", value.as_deref().unwrap_or("-"));
        }
        println!("  software     {}", plain(&header.sw_ident));
        let message = serde_json::to_value(&wrapper.message)?;
        self.value(&message, 0)
    }

    /// Shows a JSON value's compact objects; a value without any is shown whole.
    fn value(&self, value: &Value, depth: usize) -> anyhow::Result<()> {
        let objects: Vec<String> = strings(value)
            .into_iter()
            .filter(|text| is_compact(text))
            .collect();
        indented(depth, &shortened(value));
        for object in objects {
            self.compact(&object, depth.saturating_add(1))?;
        }
        Ok(())
    }

    fn compact(&self, text: &str, depth: usize) -> anyhow::Result<()> {
        if depth > DEPTH_MAX {
            bail!("objects are nested more than {DEPTH_MAX} deep");
        }
        match text.split('.').count() {
            3 => self.signed(text, depth),
            5 => self.sealed(text, depth),
            _ => bail!("neither a wrapper (JSON) nor a JWS (3 parts) nor a JWE (5 parts)"),
        }
    }

    fn signed(&self, text: &str, depth: usize) -> anyhow::Result<()> {
        let object = jws::Unverified::parse(text).context("not a JWS of this profile")?;
        let header = object.header();
        indented(
            depth,
            &format!("JWS {}, {} bytes, PS256", header.cty, text.len()),
        );
        if let Some(thumbprint) = header.x5t_s256 {
            indented(depth, &format!("  signer       {thumbprint}"));
        }
        let mut signer = None;
        for der in &header.x5c {
            let certificate = Certificate::from_der(der).context("a certificate of the chain")?;
            indented(depth, &format!("  chain        {}", named(&certificate)));
            signer.get_or_insert(certificate);
        }
        let holds = signer.map(|c| object.verify(c.public_key()).is_ok());
        let verdict = match holds {
            Some(true) => {
                "holds under the first certificate (its path to the root is not checked here)"
            }
            Some(false) => "DOES NOT HOLD",
            None => "not checked: no certificate inside",
        };
        indented(depth, &format!("  signature    {verdict}"));
        match serde_json::from_slice(object.danger_unverified_payload()) {
            Ok(payload) => self.value(&payload, depth),
            Err(_) => {
                indented(depth, "  payload      not JSON");
                Ok(())
            }
        }
    }

    fn sealed(&self, text: &str, depth: usize) -> anyhow::Result<()> {
        let object = jwe::Sealed::parse(text).context("not a JWE of this profile")?;
        let header = object.header();
        indented(
            depth,
            &format!(
                "JWE {}, {} bytes, {:?}, A256GCM",
                header.cty,
                text.len(),
                header.alg
            ),
        );
        if let Some(thumbprint) = header.x5t_s256 {
            indented(depth, &format!("  receiver     {thumbprint}"));
        }
        let Some(plaintext) = self.keys.iter().find_map(|key| object.open(key).ok()) else {
            indented(
                depth,
                "  content      sealed; give the receiver's key with --key or --wallet",
            );
            return Ok(());
        };
        indented(
            depth,
            &format!("  content      opened, {} bytes", plaintext.len()),
        );
        self.value(
            &serde_json::from_slice(&plaintext).context("the content is not JSON")?,
            depth,
        )
    }
}

fn is_compact(text: &str) -> bool {
    let parts = text.split('.').count();
    text.starts_with("eyJ") && (parts == 3 || parts == 5)
}

/// The value with its long strings cut short: they are shown for themselves.
fn shortened(value: &Value) -> String {
    fn cut(value: &Value) -> Value {
        match value {
            Value::String(text) if text.chars().count() > 64 => {
                let start: String = text.chars().take(24).collect();
                Value::String(format!("{start}... ({} characters)", text.chars().count()))
            }
            Value::Array(items) => Value::Array(items.iter().map(cut).collect()),
            Value::Object(members) => members.iter().map(|(k, v)| (k.clone(), cut(v))).collect(),
            other => other.clone(),
        }
    }
    serde_json::to_string_pretty(&cut(value)).unwrap_or_default()
}

fn named(certificate: &Certificate) -> String {
    let brand = certificate
        .brand()
        .map(ToString::to_string)
        .unwrap_or_default();
    format!(
        "{} / {} / {}, {} key, until {}",
        certificate.role(),
        brand,
        certificate.common_name(),
        certificate.purpose(),
        Timestamp::from_seconds(certificate.not_after())
    )
}

fn indented(depth: usize, text: &str) {
    for line in text.lines() {
        println!(
            "{:width$}{}",
            "",
            plain(line),
            width = depth.saturating_add(1) * 2
        );
    }
}
