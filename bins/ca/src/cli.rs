//! The command line: `serve`, which is the default, and what an operator does beside it.
//!
//! Commands work on the same database and data folder as the service and may be used while it runs: it
//! sees a changed hierarchy within seconds.

mod backup;
mod hierarchy;
mod list;
mod offline;
mod place;
mod publish;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use openset_protocol::BrandId;
use openset_protocol::card::Bin;
use openset_service::config::Party;
use openset_service::shell;

use place::Place;

/// OpenSET's certificate authority: the service, and the commands of its operator.
///
/// Without a command it serves (openset-ca serve --help shows the service's own options). The first start
/// makes a root, the CAs of a brand and all their keys, and prints the root's fingerprint. Commands work on
/// the same database, also while the service runs; give them the service's --config.
#[derive(Debug, Parser)]
#[command(name = "openset-ca", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service; this is what happens without a command, too.
    #[command(disable_help_flag = true)]
    Serve,
    /// A root that is kept offline, on a folder of its own.
    #[command(subcommand)]
    Root(offline::RootCommand),
    /// Brands.
    #[command(subcommand)]
    Brand(BrandCommand),
    /// Regions.
    #[command(subcommand)]
    Region(RegionCommand),
    /// New generations of CAs.
    #[command(subcommand)]
    Authority(AuthorityCommand),
    /// Take over what an offline root made: its certificate, its CRL, a brand CA's certificate.
    ///
    /// Files are PEM or DER and may be given together. Every one is verified before anything is stored.
    Import {
        /// root.pem, root.crl, root-2.pem, visa-bca.pem and so on.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Show certificates with their status and the days that they have left.
    List(list::ListArgs),
    /// Revoke a certificate; the CRL that says so is issued at once.
    Revoke {
        /// The serial number, hexadecimal, as `openset-ca list` shows it.
        serial: String,
        /// Why: it stands in the CRL.
        #[arg(long, value_enum)]
        reason: hierarchy::Reason,
    },
    /// Write roots, chains and CRLs as files, for a web server to give out.
    Publish {
        /// The folder to write to; it is made if it is not there.
        #[arg(long)]
        out: PathBuf,
    },
    /// Write the whole database to one file, encrypted (age format, passphrase). Also while the CA serves.
    Backup {
        /// The file to write.
        #[arg(long)]
        out: PathBuf,
        #[command(flatten)]
        passphrase: backup::Passphrase,
    },
    /// Put a back-up into an empty database and replay the journal over it. Stop the service first.
    Restore(backup::RestoreArgs),
}

#[derive(Debug, Subcommand)]
enum BrandCommand {
    /// Make the CAs of a brand: its own, and a regional and three issuing ones for each region.
    ///
    /// If the root is kept offline, this only makes the brand CA's key and writes a request; sign it there
    /// (openset-ca root sign) and import the certificate here (openset-ca import).
    Add {
        /// The brand's name, such as MasterCard.
        name: BrandId,
        /// Where the request for an offline root goes (PKCS#10, PEM).
        #[arg(long)]
        request: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum RegionCommand {
    /// Make the CAs of a region.
    Add {
        /// The region's name, such as Asia.
        name: String,
        /// A brand that has CAs there; may be repeated. All brands if absent.
        #[arg(long = "brand")]
        brands: Vec<BrandId>,
        /// A BIN whose cards the region serves; may be repeated. All cards if absent.
        #[arg(long = "bin")]
        bins: Vec<Bin>,
    },
}

#[derive(Debug, Subcommand)]
enum AuthorityCommand {
    /// Make the next generation of a CA: a new key, a new name, a new certificate. The old one is retired: it
    /// goes on with its CRL and issues nothing else.
    #[command(visible_alias = "add")]
    Renew {
        /// The CA, as `openset-ca list --own` shows it, such as visa-cca; `root` rolls the root over.
        id: String,
        /// Renew all CAs below it as well, as one must after its key was compromised.
        #[arg(long)]
        below: bool,
        /// For a brand CA under an offline root: where the request goes (PKCS#10, PEM).
        #[arg(long)]
        request: Option<PathBuf>,
    },
}

/// The whole of `main`: a command, or the service.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let parsed = match Cli::try_parse_from(&args) {
        Ok(parsed) => parsed,
        // Only a word that is no option names a command: options that the commands do not know are the
        // service's own.
        Err(usage) if asks_for_help(&args) || names_command(&args) => {
            let _ = usage.print();
            return u8::try_from(usage.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
        Err(_) => return serve(args),
    };
    match parsed.command {
        None | Some(Command::Serve) => serve(args),
        Some(command) => report(run(command, &parsed.place)),
    }
}

fn serve(mut args: Vec<OsString>) -> ExitCode {
    if let Some(place) = args.iter().skip(1).position(|arg| arg == "serve") {
        args.remove(place.saturating_add(1));
    }
    shell::main_with(Party::Ca, args, crate::run)
}

fn asks_for_help(args: &[OsString]) -> bool {
    let first = args.get(1).and_then(|arg| arg.to_str());
    matches!(first, Some("--help" | "-h" | "help" | "--version" | "-V"))
}

/// Whether the first argument is a command's name or meant to be one. `serve` passes its options on.
fn names_command(args: &[OsString]) -> bool {
    args.get(1)
        .and_then(|arg| arg.to_str())
        .is_some_and(|first| !first.starts_with('-') && first != "serve")
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line")]
fn report(outcome: anyhow::Result<String>) -> ExitCode {
    match outcome {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("openset-ca: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, place: &Place) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(Box::pin(dispatch(command, place)))
}

async fn dispatch(command: Command, place: &Place) -> anyhow::Result<String> {
    match command {
        Command::Serve => Ok(String::new()),
        Command::Root(command) => offline::run(command, place).await,
        Command::Brand(BrandCommand::Add { name, request }) => {
            hierarchy::add_brand(&place.open().await?, &name, request.as_deref()).await
        }
        Command::Region(RegionCommand::Add { name, brands, bins }) => {
            hierarchy::add_region(&place.open().await?, &name, &brands, bins).await
        }
        Command::Authority(AuthorityCommand::Renew { id, below, request }) => {
            hierarchy::renew(&place.open().await?, &id, below, request.as_deref()).await
        }
        Command::Import { files } => hierarchy::import(place, &files).await,
        Command::List(args) => list::list(&place.open().await?, &args).await,
        Command::Revoke { serial, reason } => {
            hierarchy::revoke(&place.open().await?, &serial, reason).await
        }
        Command::Backup { out, passphrase } => backup::backup(place, &out, &passphrase).await,
        Command::Restore(args) => backup::restore(place, &args).await,
        Command::Publish { out } => publish::publish(&place.open().await?, &out).await,
    }
}
