//! The command line `carelog`.

use std::process::ExitCode;

/// Short-lived buffers of requests make up most allocations; this one serves them faster than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    carelog_server::cli::main()
}
