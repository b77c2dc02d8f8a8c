//! What a killed owner may have left behind: a running server, a stale
//! `postmaster.pid`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::time::{Instant, sleep};

use super::PostgresError;
use super::home::{Access, Home};
use super::server;

/// A fast shutdown writes a checkpoint; give a slow disk time for it.
const FAST_SHUTDOWN: Duration = Duration::from_secs(30);
const IMMEDIATE_SHUTDOWN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// The first line of `postmaster.pid`.
pub(super) fn recorded_pid(home: &Home) -> Option<i32> {
    let text = fs::read_to_string(home.data().join("postmaster.pid")).ok()?;
    text.lines().next()?.trim().parse().ok()
}

/// Makes the data directory free for a new server. Called with the home locked,
/// so whatever runs there has no owner any more.
///
/// A server is stopped rather than adopted: only a child can be watched, and a
/// fast shutdown takes a fraction of a second.
pub(super) async fn clear(home: &Home, access: &Access) -> Result<(), PostgresError> {
    let Some(pid) = recorded_pid(home).and_then(Pid::from_raw) else { return Ok(()) };
    if !is_alive(pid) {
        // PostgreSQL itself recognises a file of a dead process, and checks that
        // the shared memory named in it is no longer used.
        return Ok(());
    }
    if !is_postmaster_of(pid, &home.data(), access).await {
        // The number was given to another process since. PostgreSQL would take
        // that one for its predecessor and refuse to start.
        let file = home.data().join("postmaster.pid");
        tracing::info!(pid = pid.as_raw_pid(), "removing a stale postmaster.pid");
        return fs::remove_file(&file).map_err(PostgresError::io("remove", &file));
    }
    tracing::warn!(pid = pid.as_raw_pid(), "stopping the server that a killed owner left behind");
    for (signal, patience) in [(Signal::INT, FAST_SHUTDOWN), (Signal::QUIT, IMMEDIATE_SHUTDOWN)] {
        // It may have ended just now.
        let _ = kill_process(pid, signal);
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if !is_alive(pid) || recorded_pid(home).is_none() {
                return Ok(());
            }
            sleep(POLL).await;
        }
    }
    Err(PostgresError::Leftover { pid: pid.as_raw_pid() })
}

/// True also for another user's process, which may not be signalled.
pub(super) fn is_alive(pid: Pid) -> bool {
    test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
}

/// The command line names the data directory. Without `/proc` the proof is that
/// somebody answers on our socket with our password.
async fn is_postmaster_of(pid: Pid, data: &Path, access: &Access) -> bool {
    if Path::new("/proc/self/cmdline").exists() {
        let command_line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_pid())).unwrap_or_default();
        let data = data.as_os_str().as_encoded_bytes();
        return command_line.split(|byte| *byte == 0).any(|argument| argument == data);
    }
    server::answers(access).await.is_ok()
}
