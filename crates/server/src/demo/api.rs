//! The demo as a client of the HTTP API: one connection pool, and a count of what was answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use carelog_event_log::new_id;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

/// An answer that takes longer is counted as none.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a new key may take to be known.
const KEY_TIMEOUT: Duration = Duration::from_secs(5);
const KEY_PAUSE: Duration = Duration::from_millis(15);

/// A client of one server. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct ApiClient {
    client: Client,
    base: String,
    tally: Arc<Tally>,
}

/// What was answered so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    commands: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
}

/// The part of a command's answer that matters here.
#[derive(Debug, Deserialize)]
pub(super) struct CommandAnswer {
    /// What was made or changed.
    pub(super) id: Uuid,
    /// Given to a read, the read shows this change.
    pub(super) position: Option<String>,
}

impl Tally {
    /// Commands that were executed.
    pub(super) fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    /// Requests that were refused.
    pub(super) fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Requests without an answer, or with one that tells of a fault.
    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// Connections to the API, which speaks HTTP without TLS on this machine.
///
/// # Errors
/// Never, as long as the TLS library has its usual protocol versions.
pub(super) fn connections() -> anyhow::Result<Client> {
    // No root is trusted: the client needs a TLS configuration, but never speaks it.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .http1_only()
        .tcp_nodelay(true)
        .timeout(TIMEOUT)
        .user_agent(concat!("Carelog demo/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("the HTTP client cannot be built")
}

impl ApiClient {
    /// A client of the server at `base`, `http://127.0.0.1:8080`.
    pub(super) fn new(client: Client, base: String) -> Self {
        Self { client, base, tally: Arc::default() }
    }

    /// Where the server is.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// What was answered so far.
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Waits until the server knows a key that was just issued.
    ///
    /// # Errors
    /// When it does not in time.
    pub(super) async fn wait_for_key(&self, key: &str) -> anyhow::Result<()> {
        let known = async {
            loop {
                let answer = self.request(Method::GET, "/v1/me", key).send().await;
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    return;
                }
                tokio::time::sleep(KEY_PAUSE).await;
            }
        };
        tokio::time::timeout(KEY_TIMEOUT, known).await.ok().context("the API does not know the demo's keys")
    }

    /// Sends a command; nothing comes back when it was not executed.
    pub(super) async fn command(
        &self,
        method: Method,
        path: &str,
        key: &str,
        body: &Value,
    ) -> Option<CommandAnswer> {
        let request =
            self.request(method, path, key).header("idempotency-key", new_id().to_string()).json(body);
        let bytes = self.send(request, path).await?;
        self.tally.commands.fetch_add(1, Ordering::Relaxed);
        serde_json::from_slice(&bytes).ok()
    }

    /// Reads something, at least as new as the write at `position`.
    pub(super) async fn read(&self, path: &str, key: &str, position: Option<&str>) {
        let request = self.request(Method::GET, path, key);
        let request = match position {
            Some(position) => request.header("carelog-wait", position),
            None => request,
        };
        self.send(request, path).await;
    }

    fn request(&self, method: Method, path: &str, key: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).bearer_auth(key)
    }

    /// The body of a successful answer; any other is counted.
    async fn send(&self, request: RequestBuilder, path: &str) -> Option<bytes::Bytes> {
        let (status, body) = match answer(request).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(path, %error, "no answer");
                self.tally.failed.fetch_add(1, Ordering::Relaxed);
                return None;
            }
        };
        if status.is_success() {
            return Some(body);
        }
        // The API's problems name no personal values.
        tracing::debug!(path, status = status.as_u16(), problem = %String::from_utf8_lossy(&body), "refused");
        let counter = if status.is_client_error() { &self.tally.rejected } else { &self.tally.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        None
    }
}

async fn answer(request: RequestBuilder) -> Result<(StatusCode, bytes::Bytes), reqwest::Error> {
    let response = request.send().await?;
    Ok((response.status(), response.bytes().await?))
}
