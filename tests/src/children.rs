//! Real processes that append until they are killed.
//!
//! A child is the test binary itself, started with a description of its work in the environment. It writes the
//! correlation id of each command down *after* it was acknowledged.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use carelog_domain::appointment::Appointment;
use carelog_domain::{CorrelationId, OrganizationId};
use carelog_event_log::{EventLog, ExecuteError, SystemClock, derived_id, new_id};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::journal::Journal;
use crate::system::{Node, TestSystem};
use crate::wishes;

const WORK: &str = "CARELOG_TEST_CHILD";
/// Commands under way at a time in one child.
const WORKERS: u64 = 6;
/// A child that nobody kills ends by itself.
const MAX_COMMANDS: u64 = 20_000;
/// How often a command of unknown outcome is sent again, under the same key.
const MAX_TRIES: u32 = 400;
const PAUSE: Duration = Duration::from_millis(25);

/// What a child is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChildWork {
    core_url: String,
    vault_url: String,
    root_key: PathBuf,
    acknowledged: Journal,
    child_id: Uuid,
    organization_id: Uuid,
    streams: Vec<Uuid>,
}

/// Children that append to the same streams; killed when dropped.
#[derive(Debug)]
pub struct Children {
    running: Vec<Child>,
    test: &'static str,
    work: ChildWork,
}

/// A command that a child was told is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Acknowledged {
    /// Unique for each command.
    pub correlation_id: Uuid,
}

impl Children {
    /// Starts children that run `test` of this binary, which must call [`work_as_child`].
    pub fn start(
        count: usize,
        test: &'static str,
        system: &TestSystem,
        organization_id: OrganizationId,
        streams: &[Uuid],
    ) -> Self {
        let work = ChildWork {
            core_url: system.core_url.clone(),
            vault_url: system.vault_url.clone(),
            root_key: system.root_key.clone(),
            acknowledged: Journal::create(&system.directory().join("acknowledged")),
            child_id: Uuid::nil(),
            organization_id: organization_id.uuid(),
            streams: streams.to_vec(),
        };
        let mut children = Self { running: Vec::new(), test, work };
        for _ in 0..count {
            children.spawn();
        }
        children
    }

    fn spawn(&mut self) {
        let work = ChildWork { child_id: new_id(), ..self.work.clone() };
        let work = serde_json::to_string(&work).expect("it is plain");
        let binary = std::env::current_exe().expect("a process knows its binary");
        let child = Command::new(binary)
            .args(["--exact", self.test, "--nocapture", "--test-threads=1"])
            .env(WORK, work)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the test binary starts again");
        self.running.push(child);
    }

    /// Kills one child, which has no time to say anything, and starts another.
    pub fn kill_and_replace(&mut self, index: usize) {
        let mut child = self.running.swap_remove(index % self.running.len());
        child.kill().expect("SIGKILL is sent");
        child.wait().expect("the child is gone");
        self.spawn();
    }

    /// Kills all.
    pub fn kill_all(&mut self) {
        for mut child in self.running.drain(..) {
            child.kill().expect("SIGKILL is sent");
            child.wait().expect("the child is gone");
        }
    }

    /// What was acknowledged so far, by children dead or alive.
    pub fn acknowledged(&self) -> Vec<Acknowledged> {
        let acknowledged =
            |line: String| Acknowledged { correlation_id: line.parse().expect("an id was written") };
        self.work.acknowledged.lines().into_iter().map(acknowledged).collect()
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

/// Does a child's work, when this process is a child. Ends when it is killed.
pub async fn work_as_child() {
    let Ok(work) = std::env::var(WORK) else { return };
    let work: ChildWork = serde_json::from_str(&work).expect("the parent wrote it");
    let node = Node::open(&work.core_url, &work.vault_url, &work.root_key, Arc::new(SystemClock)).await;
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        workers.spawn(append_for_ever(node.log.clone(), work.clone(), worker));
    }
    while let Some(ended) = workers.join_next().await {
        ended.expect("a worker ends by itself");
    }
}

async fn append_for_ever(log: EventLog, work: ChildWork, worker: u64) {
    let mut acknowledged = work.acknowledged.writer();
    for number in (worker..MAX_COMMANDS).step_by(usize::try_from(WORKERS).expect("few")) {
        let correlation_id = derived_id(work.child_id, &number.to_be_bytes());
        if append(&log, &work, correlation_id, number).await {
            acknowledged.write(correlation_id);
        }
    }
}

/// Appends one command, again under the same key while the outcome is unknown; without a key it is given up.
/// True when it is acknowledged.
async fn append(log: &EventLog, work: &ChildWork, correlation_id: Uuid, number: u64) -> bool {
    let key = correlation_id.to_string();
    // Every other command has no key: then only the batcher can know that a lost answer was a yes.
    let is_keyed = number.is_multiple_of(2);
    let organization_id = OrganizationId::new(work.organization_id);
    let mut scope =
        if is_keyed { wishes::keyed(organization_id, &key, &key) } else { wishes::scope(organization_id) };
    scope.circumstances.correlation_id = CorrelationId::new(correlation_id);
    let stream = work.streams.iter().cycle().nth(usize::try_from(number).expect("small")).expect("it cycles");
    // Any two minutes differ, so that no rival has asked for the same time.
    let minute = (correlation_id.as_u128() & 0xff_ffff) as u64;
    for _ in 0..MAX_TRIES {
        match log.execute::<Appointment>(&scope, *stream, wishes::reschedule(minute)).await {
            Ok(_) => return true,
            Err(ExecuteError::Rejected(_) | ExecuteError::Contended) => return false,
            Err(ExecuteError::Append(_)) if !is_keyed => return false,
            Err(ExecuteError::Append(_) | ExecuteError::Read(_) | ExecuteError::Seal(_)) => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(refused) => panic!("no other refusal is possible: {refused:?}"),
        }
    }
    false
}
