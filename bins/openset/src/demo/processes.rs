//! Starts the five services as processes beside this one, and stops them again.

use std::fs::{self, OpenOptions};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::screen::Screen;
use crate::setup::{self, DemoFile, PARTIES, Plan, Seen};

/// How long the CA may take to make its hierarchy.
const ROOT_PATIENCE: Duration = Duration::from_secs(30);
/// How long a service may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(12);
/// Between two looks.
const POLL: Duration = Duration::from_millis(10);

/// The running services.
pub(crate) struct Services {
    children: Vec<(&'static str, Child)>,
    data: PathBuf,
}

/// Which services are to be started.
pub(crate) struct Wanted<'a> {
    /// Folder for configuration and data.
    pub(crate) data: &'a Path,
    /// The first of the five ports.
    pub(crate) port: u16,
    /// Whether cards pay that have no certificate.
    pub(crate) unsigned: bool,
    /// Where each party's database is, `{party}` for its name; without, a SQLite file in its folder.
    pub(crate) databases: Option<&'a str>,
}

/// A party's database, of [`Wanted::databases`].
pub(crate) fn database_url(databases: &str, party: &str) -> String {
    databases.replace("{party}", party)
}

/// Writes the configuration if there is none, and starts the services.
pub(crate) async fn start(
    wanted: &Wanted<'_>,
    screen: &Screen,
) -> anyhow::Result<(Services, DemoFile)> {
    let data = wanted.data;
    fs::create_dir_all(data)
        .with_context(|| format!("cannot make the folder {}", data.display()))?;
    let data = data
        .canonicalize()
        .with_context(|| format!("cannot find {}", data.display()))?;
    let plan = plan(&data, wanted);
    let written = setup::write(&plan)?;
    if let Some(databases) = wanted.databases {
        configure_databases(&data, databases)?;
    }
    let file = super::read(&plan.demo_file())?;
    ensure!(
        file.unsigned || !wanted.unsigned,
        "{} was set up for cards with a certificate alone: name another folder with --data",
        data.display()
    );
    let going_on = if written == setup::Written::WasThere {
        "; going on with what is there"
    } else {
        ""
    };
    screen.line(&format!(
        "Five services on this machine, data in {}{going_on}",
        data.display()
    ));
    let mut services = Services {
        children: Vec::new(),
        data,
    };
    services.spawn("ca")?;
    services.spawn("issuer")?;
    services.wait_for_root(&plan.root_sha256_file).await?;
    for party in ["gateway", "cardholder", "merchant"] {
        services.spawn(party)?;
    }
    Ok((services, file))
}

/// Says in each party's configuration where its database is, unless it does already.
fn configure_databases(data: &Path, databases: &str) -> anyhow::Result<()> {
    for party in PARTIES {
        let file = data.join(party).join(format!("{party}.toml"));
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let table: toml::Table = text
            .parse()
            .with_context(|| format!("{} is not TOML", file.display()))?;
        if !table.contains_key("database_url") {
            let url = toml::Value::from(database_url(databases, party));
            // First, before any table begins.
            fs::write(&file, format!("database_url = {url}\n{text}"))
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    Ok(())
}

fn plan(data: &Path, wanted: &Wanted<'_>) -> Plan {
    Plan {
        out: data.to_owned(),
        config_dir: Seen::Below(data.to_owned()),
        data_dir: Seen::Below(data.to_owned()),
        root_sha256_file: data.join("ca/root.sha256"),
        listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
        ports: [0, 1, 2, 3, 4].map(|offset: u16| wanted.port.saturating_add(offset)),
        url: "http://127.0.0.1:{port}".to_owned(),
        unsigned: wanted.unsigned,
    }
}

/// The service's program, beside this one.
fn program(party: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    let program = own.with_file_name(format!("openset-{party}"));
    ensure!(
        program.exists(),
        "{} is not there; build all programs with `cargo build --release`",
        program.display()
    );
    Ok(program)
}

impl Services {
    fn spawn(&mut self, party: &'static str) -> anyhow::Result<()> {
        let folder = self.data.join(party);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("log"));
        let log = log.with_context(|| format!("cannot write the log of {party}"))?;
        let child = Command::new(program(party)?)
            .arg("--config")
            .arg(folder.join(format!("{party}.toml")))
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C reaches this process alone, which then stops the services in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {party}"))?;
        self.children.push((party, child));
        Ok(())
    }

    async fn wait_for_root(&mut self, file: &Path) -> anyhow::Result<()> {
        let started = Instant::now();
        while !file.exists() {
            self.check_alive()?;
            ensure!(
                started.elapsed() < ROOT_PATIENCE,
                "the CA has not made its root yet; see {}/ca/log",
                self.data.display()
            );
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Fails when one of the services has ended.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        for (party, child) in &mut self.children {
            if let Some(status) = child.try_wait()? {
                let log = self.data.join(*party).join("log");
                bail!(
                    "{party} has ended ({status}); its last words:\n{}",
                    last_lines(&log)
                );
            }
        }
        Ok(())
    }

    /// Where a service keeps its data.
    pub(crate) fn folder(&self, party: &str) -> PathBuf {
        self.data.join(party)
    }

    /// A service's resident memory, in KiB.
    pub(crate) fn resident_kib(&self, party: &str) -> Option<u64> {
        let (_, child) = self.children.iter().find(|(name, _)| *name == party)?;
        let status = fs::read_to_string(format!("/proc/{}/status", child.id()?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// Asks all services to stop, and waits for them.
    pub(crate) async fn stop(mut self) {
        for (_, child) in &self.children {
            let pid = child
                .id()
                .and_then(|id| i32::try_from(id).ok())
                .and_then(Pid::from_raw);
            if let Some(pid) = pid {
                // One that has ended already needs no signal.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        for (_, child) in &mut self.children {
            if tokio::time::timeout(STOP_PATIENCE, child.wait())
                .await
                .is_err()
            {
                let _ = child.kill().await;
            }
        }
    }

    /// The order in which services are shown.
    pub(crate) fn parties() -> [&'static str; 5] {
        PARTIES
    }
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines
        .iter()
        .rev()
        .take(5)
        .rev()
        .copied()
        .collect::<Vec<_>>()
        .join("\n")
}
