//! Hands a message to a program on the developer's machine.

use std::time::{Duration, Instant};

use anyhow::Context;
use reqwest::{Client, StatusCode, Url, redirect};

use super::arguments::SafeUrl;
use super::pull::{Message, chain};

/// As long as Carelog waits for a receiver.
const TIMEOUT: Duration = Duration::from_secs(10);
const USER_AGENT: &str = concat!("Carelog/", env!("CARGO_PKG_VERSION"));

/// Where to.
pub(super) struct Forwarder {
    client: Client,
    url: Url,
}

/// What came of it.
pub(super) struct Forwarded {
    pub(super) outcome: Result<StatusCode, String>,
    /// Until the head of the answer.
    pub(super) milliseconds: u128,
}

impl Forwarded {
    /// Whether Carelog would take it for delivered.
    pub(super) fn is_accepted(&self) -> bool {
        self.outcome.as_ref().is_ok_and(StatusCode::is_success)
    }
}

impl Forwarder {
    pub(super) fn new(url: &SafeUrl) -> anyhow::Result<Self> {
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .build();
        Ok(Self { client: client.context("no HTTP client can be built")?, url: url.url().clone() })
    }

    /// Sends the bytes and headers as they came.
    pub(super) async fn hand_on(&self, message: &Message) -> Forwarded {
        let request =
            self.client.post(self.url.clone()).headers(message.headers.clone()).body(message.body.clone());
        let begun = Instant::now();
        let answered = request.send().await;
        let milliseconds = begun.elapsed().as_millis();
        let outcome = answered.map(|answer| answer.status()).map_err(|error| chain(&error.without_url()));
        Forwarded { outcome, milliseconds }
    }
}
