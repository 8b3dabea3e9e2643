//! OpenSET's merchant service.

use std::process::ExitCode;

use openset_service::config::Party;
use openset_service::shell;

fn main() -> ExitCode {
    shell::main(Party::Merchant, openset_merchant::run)
}
