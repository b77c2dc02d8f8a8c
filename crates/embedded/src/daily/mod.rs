//! A Daily on this machine, for tests: the part of the REST API that rooms and tokens need, as strict as the vendor's
//! published contract (<https://docs.daily.co/reference/rest-api>), with faults on command.
//!
//! It refuses what the contract refuses: unknown or misplaced properties, values of a wrong type, names that are too
//! long or taken, wrong keys, tokens of other domains. A room that has expired answers as deleted. Requests beyond the
//! limits of a domain get 429. [`Fault`]s make it slow, failing, or lose a request or an answer.
//!
//! Where the contract is silent it takes the stricter side: the name of a room that has expired is taken until
//! [`FakeDaily::collect`] removes it. No media, no recordings, no webhooks.

mod fault;
mod limits;
mod properties;
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
pub use self::rooms::FakeRoom;
pub use crate::receiver::UnixMicros;

use self::fault::Faults;
use self::limits::Limits;

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
        let shared = Arc::new(Shared {
            clock,
            domains: Mutex::default(),
            faults: Mutex::default(),
            calls: Mutex::default(),
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
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
