//! A private PostgreSQL cluster for tests: made in a temporary folder, reached over a Unix socket
//! there, stopped and removed when dropped.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

/// The cluster's superuser; trust authentication, since only the socket's folder leads there.
/// How many statements like `$1` wait in this database for what another transaction holds.
pub const WAITING: &str = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
     AND wait_event_type = 'Lock' AND query LIKE $1";

const USER: &str = "openset";
/// PostgreSQL refuses to run as root: then it runs as the first of these that exists.
const ACCOUNTS: [&str; 2] = ["postgres", "nobody"];
/// Where Debian keeps the programs that are not on PATH.
const DEBIAN: &str = "/usr/lib/postgresql";

/// A running cluster.
#[derive(Debug)]
pub struct PostgresServer {
    folder: TempDir,
    programs: PathBuf,
    run_as: Option<(u32, u32)>,
    databases: AtomicU32,
}

impl PostgresServer {
    /// Makes and starts a cluster. `None` when PostgreSQL is not installed: the caller's test says
    /// so in a line and is skipped.
    ///
    /// # Errors
    /// What `initdb` or `pg_ctl` complained about.
    pub fn start() -> io::Result<Option<Self>> {
        let Some(programs) = programs() else {
            return Ok(None);
        };
        let folder = tempfile::Builder::new().prefix("openset-pg-").tempdir()?;
        let run_as = match fs::metadata(folder.path())?.uid() {
            0 => Some(unprivileged()?),
            _ => None,
        };
        if let Some((uid, gid)) = run_as {
            chown(folder.path(), Some(uid), Some(gid))?;
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))?;
        let server = Self {
            folder,
            programs,
            run_as,
            databases: AtomicU32::new(0),
        };
        let data = server.data();
        server.run(
            Command::new(server.programs.join("initdb"))
                .arg("--pgdata")
                .arg(&data)
                .args(["--username", USER, "--auth", "trust", "--no-sync"])
                .args(["--encoding", "UTF8", "--locale", "C"]),
        )?;
        server.run(
            Command::new(server.programs.join("pg_ctl"))
                .args(["start", "--wait", "--silent", "--timeout", "60", "--pgdata"])
                .arg(&data)
                .arg("--log")
                .arg(server.folder.path().join("log"))
                .arg("--options")
                .arg(format!(
                    "-c listen_addresses='' -c unix_socket_directories='{}' -c fsync=off \
                     -c max_connections=100 -c shared_buffers=16MB",
                    server.folder.path().display()
                )),
        )?;
        Ok(Some(server))
    }

    /// Makes an empty database and gives its URL.
    ///
    /// # Errors
    /// What `createdb` complained about.
    pub fn create_database(&self) -> io::Result<String> {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test{number}");
        self.run(
            Command::new(self.programs.join("createdb"))
                .arg("--host")
                .arg(self.folder.path())
                .args(["--username", USER, &name]),
        )?;
        Ok(format!(
            "postgres://{USER}@localhost/{name}?host={}",
            self.folder.path().display()
        ))
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn run(&self, command: &mut Command) -> io::Result<()> {
        if let Some((uid, gid)) = self.run_as {
            command.uid(uid).gid(gid);
        }
        // The server would keep an inherited pipe open for as long as it runs: a file instead.
        let report = self.folder.path().join("report");
        let status = command
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&report)?)
            .status()?;
        if status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "{:?}: {status}: {}",
            command.get_program(),
            fs::read_to_string(&report).unwrap_or_default()
        )))
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        let stopped = self.run(
            Command::new(self.programs.join("pg_ctl"))
                .args(["stop", "--mode", "immediate", "--silent", "--pgdata"])
                .arg(self.data()),
        );
        if let Err(error) = stopped {
            eprintln!("a test's PostgreSQL could not be stopped: {error}");
        }
    }
}

/// The folder of `initdb`, `pg_ctl` and `createdb`: on PATH, or the newest of Debian's.
fn programs() -> Option<PathBuf> {
    let complete = |folder: &Path| {
        ["initdb", "pg_ctl", "createdb"]
            .iter()
            .all(|program| folder.join(program).is_file())
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut debian: Vec<PathBuf> = fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    debian.sort();
    std::env::split_paths(&path)
        .chain(debian.into_iter().rev())
        .find(|folder| complete(folder))
}

/// User and group of an account to run as instead of root.
fn unprivileged() -> io::Result<(u32, u32)> {
    let accounts = fs::read_to_string("/etc/passwd")?;
    let ids = |name: &str| {
        accounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            match fields.as_slice() {
                [account, _, uid, gid, ..] if *account == name => {
                    Some((uid.parse().ok()?, gid.parse().ok()?))
                }
                _ => None,
            }
        })
    };
    ACCOUNTS
        .into_iter()
        .find_map(ids)
        .ok_or_else(|| io::Error::other("PostgreSQL cannot run as root, and there is no nobody"))
}
