//! A process that runs the whole product, appends, and writes down what was acknowledged, until it is killed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use carelog_domain::OrganizationId;
use carelog_domain::appointment::{Appointment, AppointmentCommand};
use carelog_event_log::{EventLog, Executed, Expected, SystemClock, new_id};
use carelog_server::databases::DatabaseOptions;
use carelog_server::serve::{Roles, Server};
use carelog_server::system::System;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::journal::{Journal, JournalWriter};
use crate::{Random, book, confirm, product_config, reschedule, scope};

const WORK: &str = "CARELOG_TEST_STORM";
const CHILDREN: u64 = 2;
/// Commands under way at a time in one child.
const CLIENTS: u64 = 3;
/// Between two commands of a client, as people are not faster and two cores have much else to do.
const PACE: Duration = Duration::from_millis(20);
/// Before a child opens its databases again that do not answer.
const PAUSE: Duration = Duration::from_millis(100);

/// What a child is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Work {
    pub(super) server_url: String,
    pub(super) prefix: String,
    pub(super) home: PathBuf,
    pub(super) ca_pem: String,
    pub(super) acknowledged: Journal,
    pub(super) organizations: Vec<Uuid>,
    pub(super) seed: u64,
    pub(super) parent: u32,
}

/// A command that a client was told is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Acknowledged {
    pub(super) correlation_id: Uuid,
    pub(super) stream_id: Uuid,
    pub(super) version: i64,
}

/// Children at work; killed when dropped.
pub(super) struct Children {
    running: Vec<Child>,
    work: Work,
    arguments: &'static [&'static str],
}

impl Children {
    pub(super) fn start(work: Work, arguments: &'static [&'static str]) -> Self {
        let mut children = Self { running: Vec::new(), work, arguments };
        for seed in 0..CHILDREN {
            children.spawn(seed);
        }
        children
    }

    fn spawn(&mut self, seed: u64) {
        let work = serde_json::to_string(&Work { seed, ..self.work.clone() }).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(self.arguments)
            .env(WORK, work)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.running.push(child);
    }

    /// Kills one child, which has no time to say anything, and starts another. Gives the name under which the dead
    /// one holds leases, where it came so far.
    pub(super) fn kill_and_replace(&mut self, index: usize, seed: u64) -> Option<Uuid> {
        let mut child = self.running.swap_remove(index % self.running.len());
        assert!(child.try_wait().unwrap().is_none(), "a child ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        self.spawn(seed);
        let owner = std::fs::read_to_string(owner_file(&self.work, child.id())).ok()?;
        Some(owner.parse().unwrap())
    }

    pub(super) fn kill_all(&mut self) {
        for mut child in self.running.drain(..) {
            assert!(child.try_wait().unwrap().is_none(), "a child ended by itself");
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Who is at work.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.running.iter().map(Child::id).collect()
    }

    /// What was acknowledged so far, by children dead or alive.
    pub(super) fn acknowledged(&self) -> Vec<Acknowledged> {
        self.work.acknowledged.lines().iter().map(|line| Acknowledged::parse(line)).collect()
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn owner_file(work: &Work, pid: u32) -> PathBuf {
    work.home.join(format!("owner-{pid}"))
}

impl Acknowledged {
    fn parse(line: &str) -> Self {
        let [correlation_id, stream_id, version] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("three words were written: {line:?}")
        };
        Self {
            correlation_id: correlation_id.parse().unwrap(),
            stream_id: stream_id.parse().unwrap(),
            version: version.parse().unwrap(),
        }
    }
}

/// Does a child's work, when this process is a child, and ends when it is killed or its parent is; otherwise does
/// nothing.
///
/// # Panics
/// When its work cannot be done.
pub async fn as_child() {
    let Ok(work) = std::env::var(WORK) else { return };
    let work: Work = serde_json::from_str(&work).unwrap();
    let server = start(&work).await;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let random = Random::seeded(work.seed.wrapping_mul(31).wrapping_add(client));
        clients.spawn(append_for_ever(server.system().log.clone(), work.clone(), random));
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
}

/// Starts until it succeeds: its database is killed too, and then does not answer for a while.
async fn start(work: &Work) -> Server {
    let home = work.home.join(new_id().to_string());
    std::fs::create_dir(&home).unwrap();
    loop {
        match try_start(work, &home).await {
            Ok(server) => return server,
            Err(error) => {
                eprintln!("a child of the storm starts again: {error:#}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn try_start(work: &Work, home: &Path) -> anyhow::Result<Server> {
    let config = product_config(home, &work.ca_pem, true);
    let url: PgConnectOptions = work.server_url.parse()?;
    let options = DatabaseOptions::on_server(&url, &work.prefix);
    let root_key = work.home.join("root.key");
    let system = System::open_migrated(&options, &root_key, Arc::new(SystemClock)).await?;
    std::fs::write(owner_file(work, std::process::id()), system.runtime.owner.to_string())?;
    Server::start(&config, system, Roles::ALL).await
}

/// The life of appointments: booked, confirmed or moved, at random.
async fn append_for_ever(log: EventLog, work: Work, mut random: Random) {
    let mut acknowledged = work.acknowledged.writer();
    while has_parent(&work) {
        let organization_id = OrganizationId::new(*random.pick(&work.organizations));
        let stream_id = new_id();
        append(&log, &mut acknowledged, organization_id, stream_id, Expected::New, book()).await;
        if random.below(2) == 0 {
            append(&log, &mut acknowledged, organization_id, stream_id, Expected::Any, confirm()).await;
        }
        for minute in 0..random.below(3) {
            append(&log, &mut acknowledged, organization_id, stream_id, Expected::Any, reschedule(minute))
                .await;
        }
    }
}

/// Whoever started it may be killed too, and then nobody kills it.
fn has_parent(work: &Work) -> bool {
    rustix::process::getppid().is_some_and(|parent| parent.as_raw_pid().unsigned_abs() == work.parent)
}

/// Appends one command; writes it down when it is acknowledged. What was refused or has no known outcome is not
/// asked again.
async fn append(
    log: &EventLog,
    acknowledged: &mut JournalWriter,
    organization_id: OrganizationId,
    stream_id: Uuid,
    expected: Expected,
    command: AppointmentCommand,
) {
    tokio::time::sleep(PACE).await;
    let mut scope = scope(organization_id);
    scope.expected = expected;
    let correlation_id = scope.circumstances.correlation_id;
    if let Ok(Executed::Appended(appended)) = log.execute::<Appointment>(&scope, stream_id, command).await {
        acknowledged.write(format_args!("{correlation_id} {stream_id} {}", appended.version));
    }
}
