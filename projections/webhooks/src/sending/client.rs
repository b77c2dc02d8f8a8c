//! The one client that all attempts share.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use carelog_domain::webhook_delivery::AttemptDetail;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Body, Client, Method, Request, Response, redirect, retry};
use tokio::time::{Instant, timeout_at};

use super::classify::classify;
use super::outcome::{AttemptOutcome, BodyEnd, DeliveryControl, OutcomeKind, ResponseBody, kind_of_status};
use super::phases::{MarkConnections, Marks, marked};
use super::request::PreparedRequest;
use super::resolver::Vetting;
use super::schedule::parse_retry_after;
use super::tls;

/// Read from a response body before the connection is dropped.
const READ_BODY_BYTES: usize = 16 * 1024;
/// Kept of it. Receivers echo personal data, so this stays small.
const KEPT_BODY_BYTES: usize = 1024;
/// Enough for the attempts that may be in flight to one host, so that each of them finds a connection again.
const IDLE_CONNECTIONS_PER_HOST: usize = 128;
/// Short, because the address behind a connection was checked when it was opened.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
const WEBHOOK_DELIVERY: HeaderName = HeaderName::from_static("webhook-delivery");
/// Response headers that help to understand a failure or to find the request in the receiver's own log.
static KEPT_HEADERS: [HeaderName; 7] = [
    RETRY_AFTER,
    WEBHOOK_DELIVERY,
    WWW_AUTHENTICATE,
    HeaderName::from_static("request-id"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-correlation-id"),
    HeaderName::from_static("x-amzn-requestid"),
];
/// Kept of a header's value.
const KEPT_VALUE_BYTES: usize = 256;

/// What an operator may set.
pub struct SenderOptions {
    /// Where attempts may go.
    pub vetting: Vetting,
    /// Certificates (PEM, one or more) trusted beside the public roots.
    pub extra_root_pem: Option<Vec<u8>>,
    /// Over name lookup, connection, TLS, head and body together.
    pub deadline: Duration,
    /// Over name lookup, connection and TLS, inside the deadline.
    pub connect_timeout: Duration,
}

/// Sends attempts. Cheap to clone; all clones share the connections.
#[derive(Clone, Debug)]
pub struct Sender {
    client: Client,
    vetting: Vetting,
    deadline: Duration,
}

/// Why no sender could be built.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    #[error("the extra root certificates are not PEM certificates")]
    RootPem,
    #[error("tls for webhooks cannot be set up")]
    Tls(#[source] rustls::Error),
    #[error("the http client for webhooks cannot be built")]
    Client(#[source] reqwest::Error),
}

impl SenderOptions {
    /// 10 s for an attempt, 3 s of them to connect, public roots.
    pub const fn new(vetting: Vetting) -> Self {
        Self {
            vetting,
            extra_root_pem: None,
            deadline: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
        }
    }
}

impl Sender {
    /// Builds the client.
    pub fn new(options: SenderOptions) -> Result<Self, SenderError> {
        let client = Client::builder()
            .tls_backend_preconfigured(tls::client_config(options.extra_root_pem.as_deref())?)
            .dns_resolver(options.vetting.clone())
            .https_only(true)
            .http1_only()
            .redirect(redirect::Policy::none())
            .referer(false)
            .retry(retry::never())
            .no_proxy()
            .connect_timeout(options.connect_timeout)
            .connector_layer(MarkConnections)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_PER_HOST)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tcp_nodelay(true)
            .build()
            .map_err(SenderError::Client)?;
        Ok(Self { client, vetting: options.vetting, deadline: options.deadline })
    }

    /// Makes one attempt. Returns by the deadline, whatever the receiver does.
    pub async fn post(&self, prepared: &PreparedRequest) -> AttemptOutcome {
        let start = Instant::now();
        let deadline = start + self.deadline;
        // The client asks its resolver about names only.
        let host = prepared.url().as_url().host();
        if host.is_none_or(|host| self.vetting.policy().check_host(&host).is_err()) {
            return AttemptOutcome::without_head(OutcomeKind::BlockedUrl, None, start.elapsed());
        }
        let exchange = timeout_at(deadline, self.client.execute(to_request(prepared)));
        let (answered, marks) = marked(exchange).await;
        let clock = Clock { start, deadline, marks };
        match answered {
            Ok(Ok(response)) => read_response(response, prepared.timestamp_secs(), &clock).await,
            Ok(Err(error)) => {
                let (kind, detail) = classify(&error);
                clock.without_head(kind, detail)
            }
            Err(_) => clock.without_head(OutcomeKind::Timeout, None),
        }
    }
}

/// The times of one attempt.
struct Clock {
    start: Instant,
    deadline: Instant,
    marks: Marks,
}

impl Clock {
    fn without_head(&self, kind: OutcomeKind, detail: Option<AttemptDetail>) -> AttemptOutcome {
        let now = Instant::now();
        let phases = self.marks.phases(self.start, None, now);
        AttemptOutcome { phases, ..AttemptOutcome::without_head(kind, detail, now - self.start) }
    }
}

fn to_request(prepared: &PreparedRequest) -> Request {
    let mut request = Request::new(Method::POST, prepared.url().as_url().clone());
    request.headers_mut().clone_from(prepared.headers());
    *request.body_mut() = Some(Body::from(prepared.body()));
    request
}

/// The head decides; what the body does afterwards is only noted.
async fn read_response(response: Response, now_secs: i64, clock: &Clock) -> AttemptOutcome {
    let head = Instant::now();
    let status = response.status();
    let kind = kind_of_status(status);
    let headers = response.headers();
    let retry_after = text_of(headers, &RETRY_AFTER).and_then(|value| parse_retry_after(value, now_secs));
    let control = text_of(headers, &WEBHOOK_DELIVERY).and_then(DeliveryControl::parse);
    let mut kept = kept_headers(headers);
    let content_type = text_of(headers, &CONTENT_TYPE).map(cut);
    if kind == OutcomeKind::Redirect {
        kept.extend(redirect_host(&response).map(|host| ("location", host)));
    }
    let body = read_body(response, clock.deadline).await;
    if !body.prefix.is_empty() {
        kept.extend(content_type.map(|content_type| ("content-type", content_type)));
    }
    let end = Instant::now();
    AttemptOutcome {
        kind,
        status: Some(status),
        duration: end - clock.start,
        phases: clock.marks.phases(clock.start, Some(head), end),
        headers: kept,
        body,
        retry_after,
        control,
        detail: None,
    }
}

fn kept_headers(headers: &HeaderMap) -> Vec<(&'static str, String)> {
    KEPT_HEADERS.iter().filter_map(|name| Some((name.as_str(), cut(text_of(headers, name)?)))).collect()
}

/// Values are visible ASCII, so any byte is a boundary.
fn cut(value: &str) -> String {
    value.chars().take(KEPT_VALUE_BYTES).collect()
}

fn text_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Never the path of the target, which may name a person.
fn redirect_host(response: &Response) -> Option<String> {
    let target = response.url().join(text_of(response.headers(), &LOCATION)?).ok()?;
    target.host_str().map(str::to_owned)
}

/// Reads to the end if it is near, so that the connection can be used again; drops the connection otherwise.
async fn read_body(mut response: Response, deadline: Instant) -> ResponseBody {
    let mut prefix = BytesMut::new();
    let mut read_bytes = 0;
    let end = loop {
        let chunk: Bytes = match timeout_at(deadline, response.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => break BodyEnd::Complete,
            Ok(Err(_)) => break BodyEnd::Broken,
            Err(_) => break BodyEnd::TimedOut,
        };
        let wanted = chunk.len().min(KEPT_BODY_BYTES - prefix.len());
        prefix.extend(chunk.iter().take(wanted));
        read_bytes += chunk.len();
        if read_bytes > READ_BODY_BYTES {
            break BodyEnd::CutOff;
        }
    };
    ResponseBody { prefix: prefix.freeze(), read_bytes, end }
}

#[cfg(test)]
mod tests;
