//! OpenSET's issuer service.

use std::process::ExitCode;

fn main() -> ExitCode {
    openset_service::shell::main(openset_service::config::Party::Issuer, openset_issuer::run)
}
