//! OpenSET's certificate authority: the service, and its operator's commands.

use std::process::ExitCode;

fn main() -> ExitCode {
    openset_ca::cli::main()
}
