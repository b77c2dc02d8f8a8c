//! A Daily on this machine, for tests: the part of the REST API that rooms and tokens need, as strict as the vendor's
//! published contract (<https://docs.daily.co/reference/rest-api>), with faults on command.
//!
//! It refuses what the contract refuses: unknown or misplaced properties, values of a wrong type, names that are too
//! long or taken, wrong keys, tokens of other domains. A room that has expired answers as deleted. Requests beyond the
//! limits of a domain get 429. [`Fault`]s make it slow, failing, or lose a request or an answer.
//!
//! Where the contract is silent it takes the stricter side: the name of a room that has expired is taken until
//! [`FakeDaily::collect`] removes it. There is no media: a test
//! says who is in a room and what a recording consists of. Webhooks are sent, and sent again, to the
//! address that was registered.

mod fault;
mod hooks;
mod limits;
mod meetings;
mod properties;
mod recordings;
mod rooms;
mod service;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use self::fault::{Fault, On};
pub use self::hooks::FakeWebhook;
pub use self::limits::{REQUESTS_ALLOWED, SLOW_REQUESTS_ALLOWED};
pub use self::properties::{Kind, ROOM_PROPERTIES, TOKEN_PROPERTIES};
pub use self::recordings::FakeRecording;
pub use self::rooms::FakeRoom;
pub use crate::receiver::UnixMicros;

use self::fault::Faults;
use self::limits::Limits;
use self::meetings::{FakeMetric, FakeStay};

/// A running fake. Dropping it closes the port and its connections.
pub struct FakeDaily {
    address: SocketAddr,
    shared: Arc<Shared>,
    _stop_on_drop: DropGuard,
}

/// An account, as the fake knows it.
#[derive(Debug)]
struct Domain {
    name: String,
    id: String,
    rooms: BTreeMap<String, FakeRoom>,
    limits: Limits,
    /// How many are in a room.
    present: BTreeMap<String, u32>,
    recordings: Vec<FakeRecording>,
    recording_count: u32,
    /// What a recording that ends consists of.
    content: Vec<u8>,
    stays: Vec<FakeStay>,
    metrics: Vec<FakeMetric>,
    webhook: Option<FakeWebhook>,
    notice_count: u32,
    loses_notices: bool,
}

/// What became of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Of every kind, by method and route: `POST /rooms`.
    pub by_route: BTreeMap<String, u64>,
    /// Those that were refused because there were too many.
    pub limited: u64,
}

struct Shared {
    address: SocketAddr,
    tasks: TaskTracker,
    /// Hosts that lead elsewhere than their name says.
    hosts: Mutex<HashMap<String, SocketAddr>>,
    clock: UnixMicros,
    /// By key.
    domains: Mutex<HashMap<String, Domain>>,
    faults: Mutex<Faults>,
    calls: Mutex<Calls>,
}

impl FakeDaily {
    /// Listens on a free port of this machine, and serves on the current runtime until dropped.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(clock: UnixMicros) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let shared = Arc::new(Shared {
            address,
            tasks: tasks.clone(),
            hosts: Mutex::default(),
            clock,
            domains: Mutex::default(),
            faults: Mutex::default(),
            calls: Mutex::default(),
        });
        tasks.spawn(service::accept(listener, Arc::clone(&shared), tasks.clone(), stop.clone()));
        Ok(Self { address, shared, _stop_on_drop: stop.drop_guard() })
    }

    /// The base of its API, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Adds an account, with the limits of a real one.
    pub fn add_domain(&self, name: &str, id: &str, api_key: &str) {
        let domain = Domain {
            name: name.to_owned(),
            id: id.to_owned(),
            rooms: BTreeMap::new(),
            limits: Limits::default(),
            present: BTreeMap::new(),
            recordings: Vec::new(),
            recording_count: 0,
            content: Vec::new(),
            stays: Vec::new(),
            metrics: Vec::new(),
            webhook: None,
            notice_count: 0,
            loses_notices: false,
        };
        lock(&self.shared.domains).insert(api_key.to_owned(), domain);
    }

    /// Takes the key of an account away, as its owner does who suspects that it got out.
    pub fn revoke(&self, api_key: &str) {
        lock(&self.shared.domains).remove(api_key);
    }

    /// The rooms of an account, by name, expired ones too.
    pub fn rooms(&self, api_key: &str) -> Vec<FakeRoom> {
        let domains = lock(&self.shared.domains);
        domains.get(api_key).map(|domain| domain.rooms.values().cloned().collect()).unwrap_or_default()
    }

    /// Lets so many people be in a room. A recording ends when nobody is there any more.
    pub fn lets_in(&self, api_key: &str, room: &str, count: u32) {
        let now = self.shared.unix_seconds();
        if let Some(domain) = lock(&self.shared.domains).get_mut(api_key) {
            domain.present.insert(room.to_owned(), count);
            if count == 0 {
                domain.end_recording(room, now);
            }
        }
    }

    /// Somebody comes into a room; gives the session.
    pub fn comes(&self, api_key: &str, room: &str, user_id: &str) -> String {
        let now = self.shared.unix_seconds();
        let stay = {
            let mut domains = lock(&self.shared.domains);
            let domain = domains.get_mut(api_key).expect("the account was added");
            *domain.present.entry(room.to_owned()).or_default() += 1;
            let session_id = format!("00000000-0000-4000-a000-{:012x}", domain.stays.len() + 1);
            let (room, user_id) = (room.to_owned(), user_id.to_owned());
            let stay = FakeStay { room, session_id, user_id, joined_at: now, left_at: None };
            domain.stays.push(stay.clone());
            stay
        };
        self.shared.tell(api_key, "participant.joined", &stay.to_payload());
        stay.session_id
    }

    /// Somebody leaves.
    pub fn goes(&self, api_key: &str, session_id: &str) {
        let now = self.shared.unix_seconds();
        let stay = {
            let mut domains = lock(&self.shared.domains);
            let domain = domains.get_mut(api_key).expect("the account was added");
            let stay = domain.stays.iter_mut().find(|stay| stay.session_id == session_id);
            let stay = stay.expect("the session was given out");
            stay.left_at = Some(now);
            let stay = stay.clone();
            let present = domain.present.entry(stay.room.clone()).or_default();
            *present = present.saturating_sub(1);
            if *present == 0 {
                domain.end_recording(&stay.room, now);
            }
            stay
        };
        self.shared.tell(api_key, "participant.left", &stay.to_payload());
    }

    /// The browser of somebody in a room measures its network: the share of packets that did not arrive.
    pub fn measures(&self, api_key: &str, session_id: &str, received_loss: f64) {
        let at = self.shared.unix_seconds() * 1_000;
        let mut domains = lock(&self.shared.domains);
        let domain = domains.get_mut(api_key).expect("the account was added");
        let stay = domain.stays.iter().find(|stay| stay.session_id == session_id);
        let room = stay.expect("the session was given out").room.clone();
        let session_id = session_id.to_owned();
        domain.metrics.push(FakeMetric { room, session_id, at, received_loss });
    }

    /// Lets a host's name lead to an address of this machine.
    pub fn resolves(&self, host: &str, address: SocketAddr) {
        lock(&self.shared.hosts).insert(host.to_owned(), address);
    }

    /// Lets every notice be lost from now on, or none.
    pub fn loses_notices(&self, api_key: &str, loses: bool) {
        if let Some(domain) = lock(&self.shared.domains).get_mut(api_key) {
            domain.loses_notices = loses;
        }
    }

    /// The webhook of an account.
    pub fn webhook(&self, api_key: &str) -> Option<FakeWebhook> {
        lock(&self.shared.domains).get(api_key).and_then(|domain| domain.webhook.clone())
    }

    /// Fails an account's webhook, as Daily does after failures.
    pub fn fails_webhook(&self, api_key: &str) {
        let mut domains = lock(&self.shared.domains);
        if let Some(webhook) = domains.get_mut(api_key).and_then(|domain| domain.webhook.as_mut()) {
            webhook.state = "FAILED";
        }
    }

    /// What recordings consist of from now on.
    pub fn films(&self, api_key: &str, content: Vec<u8>) {
        if let Some(domain) = lock(&self.shared.domains).get_mut(api_key) {
            domain.content = content;
        }
    }

    /// Begins a recording behind Carelog's back, as Daily's own dashboard can.
    pub fn records_by_itself(&self, api_key: &str, room: &str) {
        let now = self.shared.unix_seconds();
        if let Some(domain) = lock(&self.shared.domains).get_mut(api_key) {
            domain.begin_recording(room, "dashboard", now);
        }
    }

    /// The recordings of an account, the oldest first.
    pub fn recordings(&self, api_key: &str) -> Vec<FakeRecording> {
        let domains = lock(&self.shared.domains);
        domains.get(api_key).map(|domain| domain.recordings.clone()).unwrap_or_default()
    }

    /// Takes a room away, as its owner does in Daily's own dashboard.
    pub fn take_away(&self, api_key: &str, name: &str) {
        if let Some(domain) = lock(&self.shared.domains).get_mut(api_key) {
            domain.rooms.remove(name);
        }
    }

    /// Removes rooms that have expired, as Daily does now and then.
    pub fn collect(&self) {
        let now = self.shared.unix_seconds();
        for domain in lock(&self.shared.domains).values_mut() {
            domain.rooms.retain(|_, room| !room.has_expired(now));
        }
    }

    /// Lets the next requests of this kind meet these faults, one each.
    pub fn next(&self, on: On, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.shared.faults).next(on, faults);
    }

    /// Lets every request meet a fault, or none again.
    pub fn always(&self, fault: Option<Fault>) {
        lock(&self.shared.faults).always = fault;
    }

    /// What was asked so far.
    pub fn calls(&self) -> Calls {
        lock(&self.shared.calls).clone()
    }
}

impl Shared {
    fn unix_seconds(&self) -> i64 {
        (self.clock)().div_euclid(1_000_000)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
