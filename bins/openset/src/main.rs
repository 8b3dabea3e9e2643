//! The command line as a program.

fn main() -> std::process::ExitCode {
    openset::main()
}
