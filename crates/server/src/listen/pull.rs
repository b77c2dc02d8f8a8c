//! Fetches messages from the API, one long poll after the other, through lost connections.

use std::time::Duration;

use anyhow::Context;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

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
    key: String,
    cursor: Option<String>,
    /// The first request takes the place only.
    takes_place: bool,
    pause: Duration,
}

impl Pull {
    pub(super) fn new(server: &Url, key: &str, subscription: Uuid, begins_now: bool) -> anyhow::Result<Self> {
        let mut url = server.clone();
        url.path_segments_mut()
            .map_err(|()| anyhow::anyhow!("{server} is no address of a server"))?
            .pop_if_empty()
            .extend(["v1", "webhook-subscriptions", &subscription.to_string(), "messages"]);
        let client = Client::builder().timeout(TIMEOUT).build().context("no HTTP client can be built")?;
        Ok(Self {
            client,
            url,
            key: key.to_owned(),
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
                    eprintln!("listening");
                }
                self.takes_place = false;
                self.pause = FIRST_PAUSE;
                self.cursor = Some(page.next);
                Ok(page.messages)
            }
            Answer::Refused(error) => Err(error),
            Answer::Lost { why, not_before } => {
                let pause = not_before.unwrap_or_default().max(self.pause).min(LONGEST_PAUSE);
                eprintln!("{why}; again in {} ms", pause.as_millis());
                tokio::time::sleep(pause).await;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                Ok(Vec::new())
            }
        }
    }

    async fn ask(&self) -> Answer {
        let mut url = self.url.clone();
        let wait = if self.takes_place { 0 } else { WAIT_SECONDS };
        url.query_pairs_mut().append_pair("wait", &wait.to_string());
        if let Some(cursor) = &self.cursor {
            url.query_pairs_mut().append_pair("after", cursor);
        }
        let lost =
            |error: reqwest::Error| Answer::Lost { why: chain(&error.without_url()), not_before: None };
        let response = match self.client.get(url).bearer_auth(&self.key).send().await {
            Ok(response) => response,
            Err(error) => return lost(error),
        };
        let status = response.status();
        if status.is_success() {
            return response.json().await.map_or_else(lost, Answer::Page);
        }
        let not_before =
            response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let problem: Value = response.json().await.unwrap_or_default();
        let of = |name: &str| problem.get(name).and_then(Value::as_str).map(str::to_owned);
        let detail = of("detail").or_else(|| of("title")).or_else(|| of("code"));
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            let why = format!("the server answers {status}");
            return Answer::Lost { why, not_before: not_before.map(Duration::from_secs) };
        }
        Answer::Refused(PullError::Refused { status, detail })
    }
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
