//! The client that every organization's requests share.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::{Client, redirect, retry};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};

use super::account::DailyAccount;
use super::error::DailyError;
use super::limiter::{Limiter, Tier};
use super::room::{Room, RoomName, RoomSpec};

/// For connecting, inside the deadline.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// For a request in all: waiting for its turn, connecting, asking and reading.
const DEADLINE: Duration = Duration::from_secs(8);
/// Read of an answer; a page of a list takes a hundred kilobytes.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Daily's REST API. Cheap to clone; all clones share connections and pace.
#[derive(Clone, Debug)]
pub struct DailyApi {
    pub(super) client: Client,
    base: Url,
    limiter: Arc<Limiter>,
}

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum DailyApiError {
    /// The address is none, or one to which keys would go in the clear.
    #[error("the address of daily's api is not an https url, nor http on this machine")]
    Url,
    /// TLS cannot be set up.
    #[error("tls for daily cannot be set up")]
    Tls(#[source] rustls::Error),
    /// The HTTP client cannot be built.
    #[error("the http client for daily cannot be built")]
    Client(#[source] reqwest::Error),
}

/// The domain of an account.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct DailyDomain {
    /// Tokens name it.
    pub domain_id: String,
    /// The first label of the rooms' host.
    pub domain_name: String,
}

impl DailyApi {
    /// A client of the API at `base`, which ends in a version: `https://api.daily.co/v1`. It is the operator's to say;
    /// an organization cannot lead requests elsewhere.
    ///
    /// # Errors
    /// See [`DailyApiError`].
    pub fn new(base: &str) -> Result<Self, DailyApiError> {
        let mut base: Url = base.parse().map_err(|_| DailyApiError::Url)?;
        if !is_safe(&base) {
            return Err(DailyApiError::Url);
        }
        base.path_segments_mut().map_err(|()| DailyApiError::Url)?.pop_if_empty();
        let client = Client::builder()
            .tls_backend_preconfigured(tls()?)
            .http1_only()
            .redirect(redirect::Policy::none())
            .referer(false)
            .retry(retry::never())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .build()
            .map_err(DailyApiError::Client)?;
        Ok(Self { client, base, limiter: Arc::new(Limiter::new()) })
    }

    /// The domain that a key belongs to.
    ///
    /// # Errors
    /// See [`DailyError`].
    pub async fn domain(&self, account: &DailyAccount) -> Result<DailyDomain, DailyError> {
        self.ask(account, Tier::Ordinary, Method::GET, &[], &[], None).await
    }

    /// Makes a room. A name that is taken is refused.
    ///
    /// # Errors
    /// See [`DailyError`].
    pub async fn create(&self, account: &DailyAccount, spec: &RoomSpec) -> Result<Room, DailyError> {
        self.ask(account, Tier::Ordinary, Method::POST, &["rooms"], &[], Some(spec.to_create().json())).await
    }

    /// A room by its name; one that has expired is not found.
    ///
    /// # Errors
    /// See [`DailyError`].
    pub async fn room(&self, account: &DailyAccount, name: &RoomName) -> Result<Room, DailyError> {
        self.ask(account, Tier::Ordinary, Method::GET, &["rooms", name.as_str()], &[], None).await
    }

    /// Gives a room another window, and everything else that it should have.
    ///
    /// # Errors
    /// See [`DailyError`].
    pub async fn update(&self, account: &DailyAccount, spec: &RoomSpec) -> Result<Room, DailyError> {
        let path = ["rooms", spec.name.as_str()];
        self.ask(account, Tier::Ordinary, Method::POST, &path, &[], Some(spec.to_update().json())).await
    }

    /// Takes a room away; one that is gone already, or has expired, is no failure.
    ///
    /// # Errors
    /// See [`DailyError`].
    pub async fn delete(&self, account: &DailyAccount, name: &RoomName) -> Result<(), DailyError> {
        let path = ["rooms", name.as_str()];
        match self.ask::<serde::de::IgnoredAny>(account, Tier::Slow, Method::DELETE, &path, &[], None).await {
            Ok(_) | Err(DailyError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        account: &DailyAccount,
        tier: Tier,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<T, DailyError> {
        let deadline = Instant::now() + DEADLINE;
        if timeout_at(deadline, self.limiter.turn(tier, account.organization_id)).await.is_err() {
            return Err(DailyError::RateLimited { retry_after: None });
        }
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.request(method, url).header(header::AUTHORIZATION, bearer(account));
        if let Some(body) = &body {
            request = request.json(body);
        }
        let outcome = timeout_at(deadline, exchange(request)).await;
        let answer = match outcome {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if error.is_connect() => return Err(DailyError::Unreachable(error)),
            Ok(Err(error)) => return Err(DailyError::NoAnswer(Some(error))),
            Err(_) => return Err(DailyError::NoAnswer(None)),
        };
        if !answer.status.is_success() {
            return Err(DailyError::of(answer.status, &answer.headers, &answer.body));
        }
        serde_json::from_slice(&answer.body).map_err(DailyError::Unreadable)
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

async fn exchange(request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
    let mut response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = MAX_BODY_BYTES.saturating_sub(body.len());
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if chunk.len() >= room {
            break;
        }
    }
    Ok(Answer { status, headers, body })
}

fn bearer(account: &DailyAccount) -> HeaderValue {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", account.api_key.as_str()))
        .expect("keys are checked to be visible ASCII");
    value.set_sensitive(true);
    value
}

/// A key goes out with every request.
fn is_safe(base: &Url) -> bool {
    base.query().is_none() && base.fragment().is_none() && is_reached_safely(base)
}

/// By TLS, or without leaving this machine; and without a password in the address.
pub(super) fn is_reached_safely(url: &Url) -> bool {
    let is_here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.username().is_empty()
        && url.password().is_none()
        && match url.scheme() {
            "https" => url.host().is_some(),
            "http" => is_here,
            _ => false,
        }
}

fn tls() -> Result<ClientConfig, DailyApiError> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(DailyApiError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
