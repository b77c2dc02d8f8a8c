//! The command line as a process of its own, for tests that look at what it prints and how it ends.

use std::process::ExitCode;

fn main() -> ExitCode {
    carelog_server::cli::main()
}
