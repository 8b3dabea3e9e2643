//! `openset`: the command line. It starts the demo, writes its configuration, looks into messages, backs wallets up, orders
//! by mail, audits the stores of all parties and asks services for their health.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line speaks to its terminal"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod audit;
mod demo;
mod ended;
mod healthcheck;
mod inspect;
mod merchant;
pub mod setup;
mod shown;
mod wallet;

/// OpenSET: Secure Electronic Transaction, made to work today.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the five services and make a purchase through all ten steps.
    Demo(demo::Options),
    /// Write configuration, tokens and TLS certificates for five services.
    Setup(setup::Options),
    /// Show what is inside a message: header, sender, receiver, certificates, size.
    Inspect(inspect::Options),
    /// Compare what issuer, gateway and merchant have stored; ends with status 0 only if all of it agrees.
    Audit(audit::Options),
    /// Back up a wallet, restore it, order by mail with it, or see what was paid.
    #[command(subcommand)]
    Wallet(wallet::Command),
    /// List and show a shop's orders, move their money, or write its catalogue to a file.
    #[command(subcommand)]
    Merchant(merchant::Command),
    /// Ask a service whether it is ready; ends with status 0 if it is.
    Healthcheck {
        /// For example http://127.0.0.1:7001/readyz.
        url: String,
        /// PEM file with the CA that the service's TLS certificate comes from.
        #[arg(long)]
        ca: Option<PathBuf>,
    },
}

/// The whole program: reads the arguments, does what they say, gives the exit status.
#[must_use]
pub fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("openset: cannot start the async runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        let outcome = match Cli::parse().command {
            Command::Demo(options) => Box::pin(demo::run(options)).await,
            Command::Setup(options) => setup::run(&options),
            Command::Inspect(options) => Box::pin(inspect::run(options)).await,
            // What was asked for may still be under way, or refused.
            Command::Merchant(command) => return ended(merchant::run(command).await),
            // Its status tells what it found.
            Command::Audit(options) => return Box::pin(audit::run(&options)).await,
            Command::Wallet(command) => return ended(Box::pin(wallet::run(command)).await),
            Command::Healthcheck { url, ca } => healthcheck::run(&url, ca.as_deref()).await,
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        }
    })
}

fn ended(outcome: anyhow::Result<ended::Ended>) -> ExitCode {
    match outcome {
        Ok(ended) => ended.into(),
        Err(error) => failed(&error),
    }
}

/// Some of what an error says comes from others.
fn failed(error: &anyhow::Error) -> ExitCode {
    for line in format!("openset: {error:#}").lines() {
        eprintln!("{}", openset_protocol::plain::plain(line));
    }
    ExitCode::FAILURE
}
