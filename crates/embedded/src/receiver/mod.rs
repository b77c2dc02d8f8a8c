//! A partner's webhook receiver: HTTPS, signatures checked by the official
//! Standard Webhooks library, faults on command.
//!
//! [`Receiver::start`] listens on a local port with a certificate of its own
//! authority ([`Receiver::ca_pem`], for the sender to trust). Each subscription
//! gets a path, `/hooks/<name>`, and a [`Hook`]: its secrets, its [`Behaviour`],
//! its [`Counts`] and its latest [`Receipt`]s. The demo shows them, tests script
//! them, benchmarks turn everything off but the counters. A [`Script`] of replies
//! and [`Fault`]s, and a [`Tls`] that is broken, make it the worst of receivers;
//! the program `fault-receiver` offers the same on a command line.
//! [`Receiver::front`] ends TLS in front of somebody else's receiver.
//!
//! Guarantees: a receipt is counted, written to the file and told to the callback
//! *before* the answer leaves, so whatever a sender saw acknowledged was noted. A
//! request whose signature does not verify is answered 400 whatever the behaviour.
//!
//! Non-goals: following the address rules for partners (it is local by nature)
//! and keeping receipts beyond the process, except in the file.

mod authority;
mod behaviour;
mod fault;
mod front;
mod hook;
mod receipt;
mod script;
mod service;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use self::behaviour::{Act, Behaviour, Reply};
pub use self::fault::Fault;
pub use self::hook::{Counts, Hook};
pub use self::receipt::{OnReceipt, Receipt, UnixMicros};
pub use self::script::{Script, ScriptError};
pub use self::tls::Tls;

use self::authority::Authority;
use self::receipt::Ledger;
use self::tls::Handshake;

/// How to start a [`Receiver`].
#[derive(Clone)]
#[non_exhaustive]
pub struct ReceiverOptions {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// What is wrong with its TLS.
    pub tls: Tls,
    /// Names in the certificate besides `localhost` and `127.0.0.1`.
    pub names: Vec<String>,
    /// The wall clock, in microseconds since 1970.
    pub clock: UnixMicros,
    /// Receipts kept in memory per hook; 0 keeps counters only.
    pub receipts_kept: usize,
    /// Webhook ids remembered per hook to recognise duplicates; 0 turns that off.
    pub ids_remembered: usize,
    /// Whether a hook without secrets does to every request what its behaviour says, instead of refusing it.
    pub unsigned_too: bool,
    /// The hook of every path that leads to no other.
    pub catch_all: Option<String>,
    /// Called for each receipt, before the answer.
    pub on_receipt: Option<OnReceipt>,
    /// Each receipt is appended to this file as a line of JSON, before the answer.
    pub record_to: Option<PathBuf>,
}

impl ReceiverOptions {
    /// Keeps the latest thousand receipts and a million ids of each hook.
    pub fn new(clock: UnixMicros) -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: Tls::Valid,
            names: Vec::new(),
            clock,
            receipts_kept: 1_000,
            ids_remembered: 1_000_000,
            unsigned_too: false,
            catch_all: None,
            on_receipt: None,
            record_to: None,
        }
    }

    /// For benchmarks: verify and count, nothing else.
    pub fn counters_only(mut self) -> Self {
        self.receipts_kept = 0;
        self.ids_remembered = 0;
        self
    }
}

/// Why a receiver cannot be started or a hook not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// The certificates could not be made.
    #[error("could not make the receiver's certificates")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library refused them.
    #[error("could not set up TLS for the receiver")]
    Tls(#[from] rustls::Error),
    /// The address cannot be listened on.
    #[error("could not listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// The file for receipts cannot be opened.
    #[error("could not open {}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// Not a secret in the form `whsec_<base64>`.
    #[error("a webhook secret is not of the form `whsec_` and base64")]
    Secret(#[from] standardwebhooks::WebhookError),
}

/// A running receiver. Dropping it closes the port and its connections.
pub struct Receiver {
    address: SocketAddr,
    ca_pem: String,
    handshake: Handshake,
    shared: Arc<Shared>,
    connections: TaskTracker,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

struct Shared {
    hooks: RwLock<HashMap<String, Arc<Hook>>>,
    ledger: Ledger,
    receipts_kept: usize,
    ids_remembered: usize,
    unsigned_too: bool,
    catch_all: Option<String>,
}

impl Shared {
    fn hook(&self, name: &str) -> Option<Arc<Hook>> {
        self.hooks.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

impl Receiver {
    /// Listens, and serves on the current runtime until stopped or dropped.
    ///
    /// # Errors
    /// See [`ReceiverError`].
    pub fn start(options: ReceiverOptions) -> BoxFuture<'static, Result<Self, ReceiverError>> {
        Box::pin(async move {
            let authority = Authority::new(&options.names, options.tls)?;
            let listener = listen(options.address).await?;
            let address = listener
                .local_addr()
                .map_err(|source| ReceiverError::Listen { address: options.address, source })?;
            let ledger = Ledger::open(options.clock, options.on_receipt, options.record_to)?;
            let shared = Arc::new(Shared {
                hooks: RwLock::default(),
                ledger,
                receipts_kept: options.receipts_kept,
                ids_remembered: options.ids_remembered,
                unsigned_too: options.unsigned_too,
                catch_all: options.catch_all,
            });

            let stop = CancellationToken::new();
            let connections = TaskTracker::new();
            let handshake = Handshake::new(options.tls, TlsAcceptor::from(authority.server));
            connections.spawn(service::accept(
                listener,
                handshake.clone(),
                Arc::clone(&shared),
                connections.clone(),
                stop.clone(),
            ));
            let stop_on_drop = stop.clone().drop_guard();
            Ok(Self {
                address,
                ca_pem: authority.pem,
                handshake,
                shared,
                connections,
                stop,
                _stop_on_drop: stop_on_drop,
            })
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate of its authority, for the sender to trust.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The hook of this name, created without secrets on the first call.
    pub fn hook(&self, name: &str) -> Arc<Hook> {
        if let Some(hook) = self.shared.hook(name) {
            return hook;
        }
        let mut hooks = self.shared.hooks.write().unwrap_or_else(PoisonError::into_inner);
        let shared = &self.shared;
        let new =
            || Arc::new(Hook::new(name, shared.receipts_kept, shared.ids_remembered, shared.unsigned_too));
        Arc::clone(hooks.entry(name.to_owned()).or_insert_with(new))
    }

    /// The URL of a hook at `localhost`.
    pub fn url(&self, name: &str) -> String {
        self.url_at("localhost", name)
    }

    /// The URL of a hook at one of the names in the certificate.
    pub fn url_at(&self, host: &str, name: &str) -> String {
        format!("https://{host}:{}/hooks/{name}", self.address.port())
    }

    /// The sum over all hooks.
    pub fn counts(&self) -> Counts {
        let hooks = self.shared.hooks.read().unwrap_or_else(PoisonError::into_inner);
        hooks.values().map(|hook| hook.counts()).sum()
    }

    /// Closes the port and all connections, and returns when they are gone.
    pub fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.stop.cancel();
            self.connections.close();
            self.connections.wait().await;
        })
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ReceiverError> {
    TcpListener::bind(address).await.map_err(|source| ReceiverError::Listen { address, source })
}
