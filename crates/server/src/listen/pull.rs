//! Fetches messages from the API, one long poll after the other, through lost connections.

use std::time::Duration;

use anyhow::Context;
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::arguments::{Hidden, SafeUrl};
use super::output::tell;

/// Messages of one answer. They are signed when it is given, and handed on one after the other at up to ten seconds
/// each: so many get to a slow receiver within the five minutes for which a signature is good.
const LIMIT: u8 = 20;
/// Longest answer. What a message says was part of a request of 256 KiB, and stands in two layers of JSON here.
const MAX_ANSWER_BYTES: usize = 32 << 20;
/// Longest refusal that is read.
const MAX_PROBLEM_BYTES: usize = 64 << 10;
/// How long the API holds a request without an answer.
const WAIT_SECONDS: u64 = 25;
/// Longest time for an answer, beyond which the connection counts as lost.
const TIMEOUT: Duration = Duration::from_secs(WAIT_SECONDS + 15);
/// Pauses after lost connections: doubled from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A message as the API tells it.
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    pub(super) id: Uuid,
    pub(super) event: String,
    pub(super) sequence: i64,
    pub(super) recorded_at: String,
    #[serde(with = "headers")]
    pub(super) headers: http::HeaderMap,
    pub(super) body: String,
}

#[derive(Deserialize)]
struct Page {
    messages: Vec<Message>,
    next: String,
}

/// Why there is nothing more to fetch.
#[derive(Debug, thiserror::Error)]
pub(super) enum PullError {
    /// The API will not answer otherwise to the same question.
    #[error("the server refuses: {status}{}", detail.as_deref().map(|detail| format!(", {detail}")).unwrap_or_default())]
    Refused {
        /// Its status.
        status: StatusCode,
        /// Its reason.
        detail: Option<String>,
    },
    /// Whatever answers there is not Carelog, or not to be trusted.
    #[error("the server's answer is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
}

/// Why an answer's body cannot be had.
enum BodyError {
    TooLong,
    Lost(reqwest::Error),
}

/// What became of one request.
enum Answer {
    Page(Page),
    Refused(PullError),
    /// No answer, or one that says to come again.
    Lost {
        why: String,
        not_before: Option<Duration>,
    },
}

/// A place among the messages of a subscription.
pub(super) struct Pull {
    client: Client,
    url: Url,
    key: Hidden,
    cursor: Option<String>,
    /// The first request takes the place only.
    takes_place: bool,
    pause: Duration,
}

impl Pull {
    pub(super) fn new(
        server: &SafeUrl,
        key: &Hidden,
        subscription: Uuid,
        begins_now: bool,
    ) -> anyhow::Result<Self> {
        let mut url = server.url().clone();
        url.path_segments_mut()
            .map_err(|()| anyhow::anyhow!("{} is no address of a server", server.url()))?
            .pop_if_empty()
            .extend(["v1", "webhook-subscriptions", &subscription.to_string(), "messages"]);
        let mut client = Client::builder().timeout(TIMEOUT);
        if server.is_plain() {
            // A proxy would get the key unencrypted, and could not find this machine.
            client = client.no_proxy();
        }
        let client = client.build().context("no HTTP client can be built")?;
        Ok(Self {
            client,
            url,
            key: key.clone(),
            cursor: begins_now.then(|| "now".to_owned()),
            takes_place: begins_now,
            pause: FIRST_PAUSE,
        })
    }

    /// The next messages; waits for them, and for the server where it is gone.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) async fn next(&mut self) -> Result<Vec<Message>, PullError> {
        match self.ask().await {
            Answer::Page(page) => {
                if self.takes_place {
                    tell(&"listening");
                }
                self.takes_place = false;
                self.pause = FIRST_PAUSE;
                self.cursor = Some(page.next);
                Ok(page.messages)
            }
            Answer::Refused(error) => Err(error),
            Answer::Lost { why, not_before } => {
                let pause = not_before.unwrap_or_default().max(self.pause).min(LONGEST_PAUSE);
                tell(&format_args!("{why}; again in {} ms", pause.as_millis()));
                tokio::time::sleep(pause).await;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                Ok(Vec::new())
            }
        }
    }

    async fn ask(&self) -> Answer {
        let mut url = self.url.clone();
        let wait = if self.takes_place { 0 } else { WAIT_SECONDS };
        url.query_pairs_mut().append_pair("wait", &wait.to_string()).append_pair("limit", &LIMIT.to_string());
        if let Some(cursor) = &self.cursor {
            url.query_pairs_mut().append_pair("after", cursor);
        }
        let lost =
            |error: reqwest::Error| Answer::Lost { why: chain(&error.without_url()), not_before: None };
        let response = match self.client.get(url).bearer_auth(self.key.reveal()).send().await {
            Ok(response) => response,
            Err(error) => return lost(error),
        };
        let status = response.status();
        if status.is_success() {
            return match body(response, MAX_ANSWER_BYTES).await {
                Ok(bytes) => {
                    serde_json::from_slice(&bytes).map_or_else(|error| unreadable(&error), Answer::Page)
                }
                Err(BodyError::Lost(error)) => lost(error),
                Err(BodyError::TooLong) => Answer::Refused(PullError::TooLong),
            };
        }
        let not_before =
            response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        // The status says enough where the body does not.
        let bytes = body(response, MAX_PROBLEM_BYTES).await.unwrap_or_default();
        let problem: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let of = |name: &str| problem.get(name).and_then(Value::as_str).map(str::to_owned);
        let detail = of("detail").or_else(|| of("title")).or_else(|| of("code"));
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            let why = format!("the server answers {status}");
            return Answer::Lost { why, not_before: not_before.map(Duration::from_secs) };
        }
        Answer::Refused(PullError::Refused { status, detail })
    }
}

fn unreadable(error: &serde_json::Error) -> Answer {
    Answer::Lost { why: format!("the server's answer is not understood: {error}"), not_before: None }
}

/// The bytes of an answer, unless they are too many.
async fn body(mut response: Response, max_bytes: usize) -> Result<Vec<u8>, BodyError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(BodyError::Lost)? {
        if bytes.len() + chunk.len() > max_bytes {
            return Err(BodyError::TooLong);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Headers from an object of names and values.
mod headers {
    use std::collections::HashMap;

    use http::HeaderMap;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderMap, D::Error> {
        let named = HashMap::<String, String>::deserialize(deserializer)?;
        HeaderMap::try_from(&named).map_err(D::Error::custom)
    }
}
