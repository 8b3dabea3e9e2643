//! The cardholder's wallet as a process.

use openset_service::config::Party;

fn main() -> std::process::ExitCode {
    openset_service::shell::main(Party::Cardholder, openset_cardholder::run)
}
