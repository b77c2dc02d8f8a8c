//! The webhook that an account sends to us: <https://docs.daily.co/reference/rest-api/webhooks>.

use http::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::client::DailyApi;
use super::limiter::Tier;
use super::{DailyAccount, DailyError, HookKey};

/// What is asked for. Whatever is lost all the same, the lists tell.
const EVENTS: [&str; 7] = [
    "meeting.started",
    "meeting.ended",
    "participant.joined",
    "participant.left",
    "recording.started",
    "recording.ready-to-download",
    "recording.error",
];

/// Where a webhook stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookState {
    /// It was there, and is sent to.
    Active,
    /// It was made, or made good, just now.
    Renewed,
}

#[derive(Deserialize)]
struct Webhook {
    uuid: String,
    url: String,
    #[serde(default)]
    hmac: Option<String>,
    state: String,
}

impl DailyApi {
    /// Sees to it that the account's webhook leads to `url`, is signed with our key, and is sent to. Daily stops sending
    /// after failures, until the webhook is changed.
    ///
    /// # Errors
    /// See [`DailyError`]; an address that does not answer Daily is refused.
    pub async fn keep_webhook(&self, account: &DailyAccount, url: &str) -> Result<HookState, DailyError> {
        let hmac = HookKey::of(account).to_base64();
        let found: Vec<Webhook> =
            self.ask(account, Tier::Ordinary, Method::GET, &["webhooks"], &[], None).await?;
        let ours = found.iter().find(|webhook| webhook.url == url);
        if ours.is_some_and(|ours| ours.state == "ACTIVE" && ours.hmac.as_ref().is_none_or(|is| *is == hmac))
        {
            return Ok(HookState::Active);
        }
        let body = json!({ "url": url, "retryType": "exponential", "eventTypes": EVENTS, "hmac": hmac });
        let path = match ours {
            Some(ours) => vec!["webhooks", ours.uuid.as_str()],
            None => vec!["webhooks"],
        };
        let _: IgnoredAny = self.ask(account, Tier::Ordinary, Method::POST, &path, &[], Some(body)).await?;
        Ok(HookState::Renewed)
    }
}
