//! The settings of the server, given on its command line, so that a release
//! changes them without touching files in the data directory.

use std::fs;

use super::initialize::Installation;
use super::{Durability, PostgresOptions};

const MEBIBYTE: u64 = 1024 * 1024;
const SHARED_BUFFERS_MAX: u64 = 1024 * MEBIBYTE;
const SHARED_BUFFERS_MIN: u64 = 32 * MEBIBYTE;
/// Assumed where the amount of memory is unknown.
const MEMORY_DEFAULT: u64 = 1024 * MEBIBYTE;

const FIXED: [(&str, &str); 20] = [
    // Only the socket: no TCP port, so nothing to scan and nothing to collide.
    ("listen_addresses", ""),
    ("max_connections", "200"),
    ("max_locks_per_transaction", "256"),
    // Rare checkpoints: each one makes every page costlier to change again.
    ("max_wal_size", "8GB"),
    ("checkpoint_timeout", "15min"),
    ("wal_buffers", "16MB"),
    // Compiling a plan costs more than these short queries take.
    ("jit", "off"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("log_line_prefix", ""),
    // A statement, a detail or an error's text can hold a person's data. The
    // client that caused the error gets it; our log does not.
    ("log_min_messages", "log"),
    ("log_min_error_statement", "panic"),
    ("log_error_verbosity", "terse"),
    ("log_statement", "none"),
    ("log_min_duration_statement", "-1"),
    ("log_parameter_max_length_on_error", "0"),
    ("cluster_name", "carelog"),
    ("synchronous_commit", "on"),
];

/// All settings in order; the last one of a name wins.
pub(super) async fn all(installation: &Installation, options: &PostgresOptions) -> Vec<(String, String)> {
    let mut settings: Vec<(String, String)> = FIXED.iter().map(pair).collect();
    let memory = memory_bytes().unwrap_or(MEMORY_DEFAULT);
    settings.push(("shared_buffers".to_owned(), format!("{}MB", shared_buffers(memory) / MEBIBYTE)));
    let durable = if options.durability == Durability::Durable { "on" } else { "off" };
    settings.extend([("fsync", durable), ("full_page_writes", durable)].iter().map(pair));
    // Not every build has LZ4; `pglz` is always there.
    let lz4 = accepts(installation, "wal_compression=lz4").await;
    settings.push(pair(&("wal_compression", if lz4 { "lz4" } else { "pglz" })));
    settings.extend(options.settings.iter().cloned());
    settings
}

pub(super) fn shared_buffers(memory: u64) -> u64 {
    (memory / 4).clamp(SHARED_BUFFERS_MIN, SHARED_BUFFERS_MAX)
}

fn pair((name, value): &(&str, &str)) -> (String, String) {
    ((*name).to_owned(), (*value).to_owned())
}

async fn accepts(installation: &Installation, setting: &str) -> bool {
    let mut command =
        installation.launcher.command(&installation.binaries.program("postgres"), &installation.home.base());
    command.arg("-D").arg(installation.home.data());
    command.args(["-c", setting, "-C", "wal_compression"]);
    command.output().await.is_ok_and(|output| output.status.success())
}

/// The machine's memory, or the limit of our control group when that is less.
fn memory_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    });
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|text| text.trim().parse::<u64>().ok());
    machine.map(|kibibytes| kibibytes * 1024).into_iter().chain(group).min()
}
