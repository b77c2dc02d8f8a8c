//! Webhooks: <https://docs.daily.co/reference/rest-api/webhooks>. An address has to answer a test when it is registered;
//! after three failures in a row nothing is sent any more until the webhook is changed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::StatusCode;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::rooms::{Refusal, Reply};
use super::{Domain, Shared, lock};

/// For a whole exchange.
const PATIENCE: Duration = Duration::from_secs(5);
/// Before each further try of a notice.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(800)];
/// Failures in a row after which nothing is sent any more.
const BREAKS_AFTER: u32 = 3;
const TYPES: &[&str] = &[
    "meeting.started",
    "meeting.ended",
    "participant.joined",
    "participant.left",
    "waiting-participant.joined",
    "waiting-participant.left",
    "recording.started",
    "recording.ready-to-download",
    "recording.error",
];

/// A webhook of the fake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeWebhook {
    /// Its id.
    pub uuid: String,
    /// Where it leads.
    pub url: String,
    /// The key of its signatures, in base64.
    pub hmac: String,
    /// `ACTIVE` or `FAILED`.
    pub state: &'static str,
    failed_count: u32,
    types: Vec<String>,
}

impl FakeWebhook {
    fn to_json(&self, domain_id: &str) -> Value {
        json!({
            "uuid": self.uuid, "url": self.url, "hmac": self.hmac, "retryType": "exponential", "state": self.state,
            "eventTypes": self.types, "failedCount": self.failed_count, "domainId": domain_id,
        })
    }
}

/// The address in a wish for a webhook.
pub(super) fn url_of(body: &[u8]) -> Option<String> {
    serde_json::from_slice::<Value>(body).ok()?.get("url")?.as_str().map(str::to_owned)
}

impl Domain {
    pub(super) fn list_webhooks(&self) -> Value {
        self.webhook.iter().map(|webhook| webhook.to_json(&self.id)).collect()
    }

    /// Makes the domain's webhook, or changes the one of that id. `answers` says whether the address did.
    pub(super) fn put_webhook(&mut self, uuid: Option<&str>, body: &Value, answers: bool) -> Reply {
        let known = self.webhook.as_ref().map(|webhook| webhook.uuid.as_str());
        match (uuid, known) {
            (None, Some(_)) => return Err(Refusal::invalid("the domain has a webhook already")),
            (Some(uuid), known) if known != Some(uuid) => return Err(Refusal::not_found("no such webhook")),
            _ => {}
        }
        let Some(asked) = body.as_object() else { return Err(Refusal::invalid("expected an object")) };
        let is_known =
            |key: &String| matches!(key.as_str(), "url" | "basicAuth" | "retryType" | "eventTypes" | "hmac");
        if let Some(unknown) = asked.keys().find(|key| !is_known(key)) {
            return Err(Refusal::invalid(format!("unknown parameter '{unknown}'")));
        }
        if !matches!(body["retryType"].as_str(), None | Some("circuit-breaker" | "exponential")) {
            return Err(Refusal::invalid("retryType is circuit-breaker or exponential"));
        }
        let types: Vec<String> = body["eventTypes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        if let Some(unknown) = types.iter().find(|name| !TYPES.contains(&name.as_str())) {
            return Err(Refusal::invalid(format!("unknown event type '{unknown}'")));
        }
        let (Some(url), Some(hmac)) = (body["url"].as_str(), body["hmac"].as_str()) else {
            return Err(Refusal::invalid("url and hmac are texts"));
        };
        if STANDARD.decode(hmac).is_err() {
            return Err(Refusal::invalid("hmac is base64"));
        }
        if !answers {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "invalid-request-error",
                "non-200 status code",
            ));
        }
        let webhook = FakeWebhook {
            uuid: format!("{}-hook", self.id),
            url: url.to_owned(),
            hmac: hmac.to_owned(),
            state: "ACTIVE",
            failed_count: 0,
            types,
        };
        Ok(self.webhook.insert(webhook).to_json(&self.id))
    }
}

impl Shared {
    /// Whether an address answers Daily's test.
    pub(super) async fn answers_test(&self, url: &str) -> bool {
        self.post(url, "", br#"{"test":"test"}"#).await == Some(200)
    }

    /// Sends what happened to the webhook of a domain, and again where it is not answered with 200.
    pub(super) fn tell(self: &Arc<Self>, api_key: &str, kind: &str, payload: &Value) {
        let now = self.unix_seconds();
        let (webhook, id) = {
            let mut domains = lock(&self.domains);
            let Some(domain) = domains.get_mut(api_key) else { return };
            domain.notice_count += 1;
            let wanted = |webhook: &&FakeWebhook| webhook.types.iter().any(|name| name == kind);
            let Some(webhook) = domain.webhook.as_ref().filter(wanted) else { return };
            if webhook.state != "ACTIVE" || domain.loses_notices {
                return;
            }
            (webhook.clone(), domain.notice_count)
        };
        let body = json!({
            "version": "1.1.0", "type": kind, "id": format!("{kind}-{now}-{id}"), "payload": payload, "event_ts": now,
        });
        let (shared, api_key) = (Arc::clone(self), api_key.to_owned());
        self.tasks.spawn(async move { shared.send(&api_key, &webhook, body.to_string().as_bytes()).await });
    }

    async fn send(&self, api_key: &str, webhook: &FakeWebhook, body: &[u8]) {
        for pause in PAUSES {
            let timestamp = self.unix_seconds().to_string();
            let key = STANDARD.decode(&webhook.hmac).unwrap_or_default();
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
            mac.update(timestamp.as_bytes());
            mac.update(b".");
            mac.update(body);
            let signature = STANDARD.encode(mac.finalize().into_bytes());
            let headers = format!("X-Webhook-Timestamp: {timestamp}\r\nX-Webhook-Signature: {signature}\r\n");
            let is_taken = self.post(&webhook.url, &headers, body).await == Some(200);
            let is_over = {
                let mut domains = lock(&self.domains);
                let Some(webhook) = domains.get_mut(api_key).and_then(|domain| domain.webhook.as_mut())
                else {
                    return;
                };
                webhook.failed_count = if is_taken { 0 } else { webhook.failed_count + 1 };
                if webhook.failed_count >= BREAKS_AFTER {
                    webhook.state = "FAILED";
                }
                is_taken || webhook.state == "FAILED"
            };
            if is_over {
                return;
            }
            sleep(pause).await;
        }
    }

    /// The status of the answer; nothing where there was none.
    async fn post(&self, url: &str, headers: &str, body: &[u8]) -> Option<u16> {
        let (_, rest) = url.split_once("://")?;
        let (host, path) = rest.split_once('/')?;
        let resolved = lock(&self.hosts).get(host).copied();
        let address: SocketAddr = resolved.or_else(|| host.parse().ok())?;
        let exchange = async {
            let mut stream = TcpStream::connect(address).await.ok()?;
            let head = format!(
                "POST /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{headers}\
                 Content-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).await.ok()?;
            stream.write_all(body).await.ok()?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.ok()?;
            std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
        };
        timeout(PATIENCE, exchange).await.ok().flatten()
    }
}
