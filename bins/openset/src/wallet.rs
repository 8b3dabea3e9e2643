//! `openset wallet`: back-ups of a wallet and its orders by mail. Secrets come from a file or a variable: nothing is asked
//! at the terminal.

mod mail;
mod statement;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use openset_service::client::{IDEMPOTENCY_KEY, join};
use openset_service::problem::Problem;
use openset_service::random;
use openset_service::set_endpoint::MediaType;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Certificate, Client, Method, RequestBuilder, Url, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::ended::Ended;

/// To the answer's last byte: a back-up costs a second's work and may be large.
const PATIENCE: Duration = Duration::from_secs(120);
/// Where a wallet answers unless told otherwise.
const WALLET_URL: &str = "http://127.0.0.1:7005";
/// The environment's names of the two secrets.
const TOKEN: &str = "OPENSET_WALLET_TOKEN";
const PASSPHRASE: &str = "OPENSET_BACKUP_PASSPHRASE";

/// What to do with a wallet.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Write cards, keys, certificates and purchases to an age file under a passphrase.
    Backup {
        #[command(flatten)]
        access: Access,
        #[command(flatten)]
        passphrase: Passphrase,
        /// The file to write; one that exists stays as it is.
        #[arg(long)]
        out: PathBuf,
    },
    /// Take such a file into a wallet; what the wallet knows better stays.
    Restore {
        #[command(flatten)]
        access: Access,
        #[command(flatten)]
        passphrase: Passphrase,
        /// The file to read.
        #[arg(long)]
        file: PathBuf,
    },
    /// Order by a shop's catalogue: writes a file that is sent to the shop.
    MailOrder(mail::Order),
    /// Take the file that the shop answered with.
    MailAnswer(mail::Answer),
    /// Show what was paid, as the bank's receipts say.
    Statement(statement::Options),
}

/// Which wallet, and with what.
#[derive(Debug, clap::Args)]
pub(crate) struct Access {
    /// Where the wallet answers.
    #[arg(long, default_value = WALLET_URL)]
    url: String,
    /// File whose first line is the owner's token; else the variable OPENSET_WALLET_TOKEN.
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// PEM file with the CA that the wallet's TLS certificate comes from.
    #[arg(long)]
    ca: Option<PathBuf>,
}

/// The passphrase of a back-up.
#[derive(Debug, clap::Args)]
pub(crate) struct Passphrase {
    /// File whose first line is the passphrase; else the variable OPENSET_BACKUP_PASSPHRASE.
    #[arg(long)]
    passphrase_file: Option<PathBuf>,
}

pub(crate) async fn run(command: Command) -> anyhow::Result<Ended> {
    match command {
        Command::Backup {
            access,
            passphrase,
            out,
        } => {
            ensure!(
                !out.exists(),
                "{} is there already; choose another name",
                out.display()
            );
            let body = json!({"passphrase": passphrase.read()?.expose_secret()});
            let file = access.post("backup", &body).await?;
            write(&out, &file)?;
            println!("back-up written to {}: {} bytes", out.display(), file.len());
        }
        Command::Restore {
            access,
            passphrase,
            file,
        } => {
            let backup = fs::read_to_string(&file)
                .with_context(|| format!("cannot read {} as text", file.display()))?;
            let passphrase = passphrase.read()?;
            let body = json!({"backup": backup, "passphrase": passphrase.expose_secret()});
            let answer = access.post("restore", &body).await?;
            let counts: Value = serde_json::from_slice(&answer).context("the wallet's answer")?;
            for what in ["cards", "purchases"] {
                let count = |name: &str| {
                    counts
                        .pointer(&format!("/{what}/{name}"))
                        .and_then(Value::as_u64)
                        .unwrap_or_default()
                };
                println!(
                    "{what}: {} added, {} updated, {} kept as they were",
                    count("added"),
                    count("updated"),
                    count("kept")
                );
            }
        }
        Command::MailOrder(order) => mail::order(order).await?,
        Command::MailAnswer(answer) => return mail::answer(answer).await,
        Command::Statement(options) => statement::run(options).await?,
    }
    Ok(Ended::Done)
}

impl Passphrase {
    fn read(&self) -> anyhow::Result<SecretString> {
        secret(
            self.passphrase_file.as_deref(),
            PASSPHRASE,
            "--passphrase-file",
        )
    }
}

impl Access {
    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Vec<u8>> {
        let url = self.at(path)?;
        self.send(Method::POST, url, |request| request.json(body))
            .await
    }

    /// What the same key was sent with before brings the same answer again.
    async fn post_once(&self, path: &str, key: &str, body: &Value) -> anyhow::Result<Vec<u8>> {
        let keyed = |request: RequestBuilder| request.header(IDEMPOTENCY_KEY, key).json(body);
        self.send(Method::POST, self.at(path)?, keyed).await
    }

    /// A SET message as it is.
    async fn post_bytes(&self, path: &str, body: Vec<u8>) -> anyhow::Result<Vec<u8>> {
        let content_type = (CONTENT_TYPE, MediaType::Payment.name());
        let request = |request: RequestBuilder| request.header(content_type.0, content_type.1);
        let url = self.at(path)?;
        self.send(Method::POST, url, |post| request(post).body(body))
            .await
    }

    fn at(&self, path: &str) -> anyhow::Result<Url> {
        let base = openset_service::config::url(&self.url, "--url")?;
        Ok(join(&base, path))
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        with_body: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> anyhow::Result<Vec<u8>> {
        let token = secret(self.token_file.as_deref(), TOKEN, "--token-file")?;
        let request = client(self.ca.as_deref(), PATIENCE)?
            .request(method, url.clone())
            .bearer_auth(token.expose_secret());
        let response = with_body(request)
            .send()
            .await
            .map_err(reqwest::Error::without_url);
        let response = response.with_context(|| format!("the wallet at {url} does not answer"))?;
        let status = response.status();
        let answer = response
            .bytes()
            .await
            .context("the wallet's answer breaks off")?;
        if status.is_success() {
            return Ok(answer.to_vec());
        }
        match serde_json::from_slice::<Problem>(&answer) {
            Ok(problem) => bail!("{} ({})", problem.detail, problem.code),
            Err(_) => bail!("the wallet at {url} answered with status {status}"),
        }
    }
}

/// A client that also trusts the CA in this PEM file.
pub(crate) fn client(ca: Option<&Path>, patience: Duration) -> anyhow::Result<Client> {
    let mut extra = Vec::new();
    if let Some(path) = ca {
        let pem = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        extra = Certificate::from_pem_bundle(&pem)?;
    }
    let builder = || {
        Client::builder()
            .timeout(patience)
            .redirect(redirect::Policy::none())
            .no_proxy()
    };
    // A slim image has no CAs at all, which the builder takes for an error.
    let merged = builder().tls_certs_merge(extra.clone()).build();
    let client = merged.or_else(|_| builder().tls_certs_only(extra).build());
    client.context("cannot set up the HTTP client")
}

/// The first line of a file, or a variable's value.
pub(crate) fn secret(
    file: Option<&Path>,
    variable: &str,
    flag: &str,
) -> anyhow::Result<SecretString> {
    let text = match file {
        Some(path) => {
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?
        }
        None => std::env::var(variable)
            .with_context(|| format!("give {flag} FILE, or set {variable}"))?,
    };
    let line = text.lines().next().unwrap_or_default().trim_end();
    ensure!(!line.is_empty(), "{flag} or {variable} is empty");
    Ok(SecretString::from(line))
}

/// A new file that its owner alone reads, whole on the disk before this ends.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let context = || format!("cannot write {}", path.display());
    let name = path.file_name().with_context(context)?.to_string_lossy();
    // A name that nobody has thought of: neither a file of somebody's nor a link that leads elsewhere.
    let part = path.with_file_name(format!(".{name}.{}.part", random::hex_id::<8>()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part)
        .with_context(context)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        // Unlike rename, a link does not replace what appeared there meanwhile.
        .and_then(|()| fs::hard_link(&part, path));
    let removed = fs::remove_file(&part);
    written.and(removed).with_context(context)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn new_file_touches_no_other_and_is_its_owners_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        fs::write(path("order.part"), "mine").unwrap();
        fs::write(path("secret"), "kept").unwrap();
        symlink(path("secret"), path("other.part")).unwrap();
        for name in ["order.json", "other.json", "x.part"] {
            write(&path(name), b"order").unwrap();
            assert_eq!(fs::read(path(name)).unwrap(), b"order");
            let mode = fs::metadata(path(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(fs::read(path("order.part")).unwrap(), b"mine");
        assert_eq!(fs::read(path("secret")).unwrap(), b"kept");
        // What is there stays as it is, and nothing is left beside it.
        assert!(write(&path("order.json"), b"another").is_err());
        assert_eq!(fs::read(path("order.json")).unwrap(), b"order");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 6);
    }
}
