//! OpenSET's payment gateway service.

use std::process::ExitCode;

fn main() -> ExitCode {
    openset_service::shell::main(
        openset_service::config::Party::Gateway,
        openset_gateway::run,
    )
}
