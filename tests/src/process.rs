//! Real processes that run the product, or some of its roles, on a test's databases, until they are killed, stopped or
//! asked to end.
//!
//! A process is the test binary itself, started with a description of its work in the environment. The test that it
//! runs must do nothing but call [`serve_as_process`].

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use carelog_event_log::{SystemClock, new_id};
use carelog_server::databases::DatabaseOptions;
use carelog_server::serve::{Roles, Server};
use carelog_server::system::System;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use crate::product::product_config;
use crate::usage::Usage;
use crate::wait::until;

const WORK: &str = "CARELOG_TEST_PROCESS";
/// The home of a process that is to have one of the test's choice; otherwise each has its own.
const HOME: &str = "CARELOG_TEST_HOME";

/// What a process is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ProcessWork {
    pub(crate) server_url: String,
    pub(crate) prefix: String,
    pub(crate) home: PathBuf,
    pub(crate) ca_pem: String,
    /// `api`, `projectors`, `workers`, as for `carelog serve`.
    pub(crate) roles: String,
    pub(crate) daily_url: String,
    pub(crate) storage: Option<std::net::SocketAddr>,
    /// Requests under way at a time, of one subscription and of one organization.
    pub(crate) in_flight: NonZeroU16,
    pub(crate) parent: u32,
}

/// A running process; killed when dropped.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    /// The name under which it holds leases.
    pub owner: Uuid,
    /// Where its API listens, if it has one.
    pub address: Option<SocketAddr>,
    /// Where it tells how it does, whatever its roles.
    pub metrics: SocketAddr,
}

impl ServerProcess {
    /// Starts a process that runs `test` of this binary, and waits until it serves.
    pub(crate) async fn start(work: &ProcessWork, test: &str, environment: &[(&str, &str)]) -> Self {
        let binary = std::env::current_exe().expect("a process knows its binary");
        let child = Command::new(binary)
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(WORK, serde_json::to_string(work).expect("it is plain"))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the test binary starts again");
        let file = owner_file(&work.home, child.id());
        let owner = until("the process serves", async || {
            let told = std::fs::read_to_string(&file).ok()?;
            let mut told = told.splitn(3, ' ');
            let (owner, metrics) = (told.next()?.parse().ok()?, told.next()?.parse().ok()?);
            Some((owner, metrics, told.next()?.parse().ok()))
        });
        let (owner, metrics, address) = owner.await;
        Self { child, owner, address, metrics }
    }

    /// What it holds of memory and descriptors, where the system tells.
    pub fn usage(&self) -> Option<Usage> {
        Usage::of(self.child.id())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id")).expect("it is one");
        kill_process(pid, signal).expect("the process is there");
    }

    /// Kills it, which leaves it no time to say anything.
    pub fn kill(mut self) {
        self.child.kill().expect("SIGKILL is sent");
        self.child.wait().expect("the process is gone");
    }

    /// Asks it to end, and waits until it has.
    pub async fn end(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        until("the process ends", async || self.child.try_wait().expect("it is ours")).await
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn owner_file(home: &Path, pid: u32) -> PathBuf {
    home.join(format!("owner-{pid}"))
}

/// Serves until it is asked to end, when this process was started for that; otherwise does nothing.
///
/// # Panics
/// When it cannot serve.
pub async fn serve_as_process() {
    let Ok(work) = std::env::var(WORK) else { return };
    let work: ProcessWork = serde_json::from_str(&work).expect("the parent wrote it");
    let mut end = signal(SignalKind::terminate()).expect("signals can be heard");
    let home = std::env::var_os(HOME).map_or_else(|| work.home.join(new_id().to_string()), PathBuf::from);
    std::fs::create_dir_all(&home).expect("the home can be written to");
    let mut config = product_config(&home, &work.ca_pem, true);
    config.webhooks.in_flight_per_subscription = work.in_flight;
    config.webhooks.in_flight_per_organization = work.in_flight;
    config.video.daily_url = work.daily_url;
    config.metrics.listen = Some(([127, 0, 0, 1], 0).into());
    let roles: Roles = work.roles.parse().expect("the roles are known");
    // With an API a process has a storage of its own, and without one it reaches that of its parent.
    if !roles.api {
        config.storage.listen = work.storage;
    }
    let url: PgConnectOptions = work.server_url.parse().expect("the URL is the server's own");
    let options = DatabaseOptions::on_server(&url, &work.prefix);
    let root_key = work.home.join("root.key");
    let system =
        System::open_migrated(&options, &root_key, Arc::new(SystemClock)).await.expect("the log opens");
    let owner = system.runtime.owner.to_string();
    let server = Server::start(&config, system, roles).await.expect("the process starts");
    let (file, unfinished) = (owner_file(&work.home, std::process::id()), home.join("owner"));
    let address = server.address.map(|address| address.to_string()).unwrap_or_default();
    let metrics = server.metrics_address.expect("the configuration asks for it");
    std::fs::write(&unfinished, format!("{owner} {metrics} {address}")).expect("the home can be written to");
    std::fs::rename(unfinished, file).expect("the home can be written to");
    tokio::select! {
        _ = end.recv() => {}
        () = orphaned(work.parent) => {}
    }
    server.stop().await;
}

/// Whoever started this process may be killed too, and then nobody asks it to end.
async fn orphaned(parent: u32) {
    while rustix::process::getppid().is_some_and(|pid| pid.as_raw_pid().unsigned_abs() == parent) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
