//! OpenSET's certificate authority service.

use std::process::ExitCode;

fn main() -> ExitCode {
    openset_service::shell::main(openset_service::config::Party::Ca, openset_ca::run)
}
