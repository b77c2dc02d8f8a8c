//! One attempt, ready to be sent.

use std::fmt;

use bytes::Bytes;
use carelog_domain::webhook_subscription::WebhookFormat;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use uuid::Uuid;

use super::headers::ExtraHeaders;
use super::secret::WebhookSecret;
use super::signature::sign;
use super::url::WebhookUrl;
use crate::checkpoints::CHECKPOINT_HEADER;

const OUR_NAME: &str = concat!("Carelog/", env!("CARGO_PKG_VERSION"));
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// How the body is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFormat {
    /// Our own envelope: `application/json`.
    Plain,
    /// A structured CloudEvent: `application/cloudevents+json`.
    CloudEvent,
}

/// A request header as its owner may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownHeader {
    /// The name, in small letters.
    pub name: String,
    /// The value; nothing for the partner's own headers.
    pub value: Option<String>,
}

/// The URL, the exact bytes and their signature. Cheap to build and to send: the body is shared, not copied.
#[derive(Clone)]
pub struct PreparedRequest {
    url: WebhookUrl,
    timestamp_secs: i64,
    body: Bytes,
    headers: HeaderMap,
}

impl PreparedRequest {
    /// Signs `body` for one attempt.
    ///
    /// `id` stays the same on every attempt and replay, since receivers recognise repetitions by it;
    /// `timestamp_secs` is the time of this attempt in unix seconds; `secrets` are those valid now, the current
    /// one first.
    pub fn signed<'a>(
        url: WebhookUrl,
        id: Uuid,
        timestamp_secs: i64,
        body: Bytes,
        secrets: impl IntoIterator<Item = &'a WebhookSecret>,
    ) -> Self {
        let mut headers = signed_headers(id, timestamp_secs, &body, secrets);
        headers.insert(USER_AGENT, HeaderValue::from_static(OUR_NAME));
        Self { url, timestamp_secs, body, headers }
    }

    /// Names another format of the body than [`BodyFormat::Plain`].
    pub fn with_format(mut self, format: BodyFormat) -> Self {
        format.describe(&mut self.headers);
        self
    }

    /// Adds the partner's own headers.
    pub fn with_headers(mut self, extra: &ExtraHeaders) -> Self {
        self.headers.extend(extra.iter().map(|(name, value)| (name.clone(), value.clone())));
        self
    }

    /// Adds the newest checkpoint of the organization's log, where one was signed.
    pub fn with_checkpoint(mut self, checkpoint: Option<HeaderValue>) -> Self {
        self.headers.extend(checkpoint.map(|value| (CHECKPOINT_HEADER, value)));
        self
    }

    /// The method of every request.
    pub const METHOD: &'static str = "POST";

    /// Where it goes, without what stands after the path: a query may hold a credential.
    pub fn shown_url(&self) -> String {
        let mut url = self.url.as_url().clone();
        url.set_query(None);
        url.into()
    }

    /// Every header but those with which HTTP itself frames a request. The partner's own are named and not shown:
    /// their values are write-only.
    pub fn shown_headers(&self) -> Vec<ShownHeader> {
        self.headers
            .iter()
            .map(|(name, value)| {
                let shown = if value.is_sensitive() { None } else { value.to_str().ok() };
                ShownHeader { name: name.to_string(), value: shown.map(str::to_owned) }
            })
            .collect()
    }

    /// The bytes that were signed and are sent.
    pub fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// Where it goes.
    pub const fn url(&self) -> &WebhookUrl {
        &self.url
    }

    pub(super) const fn timestamp_secs(&self) -> i64 {
        self.timestamp_secs
    }

    pub(super) const fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

/// The headers that describe and sign a body in [`BodyFormat::Plain`], see [`PreparedRequest::signed`].
pub fn signed_headers<'a>(
    id: Uuid,
    timestamp_secs: i64,
    body: &[u8],
    secrets: impl IntoIterator<Item = &'a WebhookSecret>,
) -> HeaderMap {
    let mut id_text = Uuid::encode_buffer();
    let id_text: &str = id.hyphenated().encode_lower(&mut id_text);
    let signature = sign(secrets, id_text, timestamp_secs, body);

    let mut headers = HeaderMap::with_capacity(8);
    BodyFormat::Plain.describe(&mut headers);
    headers.insert(WEBHOOK_ID, HeaderValue::from_str(id_text).expect("a uuid is ASCII"));
    headers.insert(WEBHOOK_TIMESTAMP, timestamp_secs.into());
    headers.insert(WEBHOOK_SIGNATURE, HeaderValue::try_from(signature).expect("base64 is ASCII"));
    headers
}

impl fmt::Debug for PreparedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedRequest").field("url", &self.url).finish_non_exhaustive()
    }
}

impl BodyFormat {
    /// Names the format in the headers.
    pub(crate) fn describe(self, headers: &mut HeaderMap) {
        headers.insert(CONTENT_TYPE, self.content_type());
    }

    const fn content_type(self) -> HeaderValue {
        match self {
            Self::Plain => HeaderValue::from_static("application/json"),
            Self::CloudEvent => HeaderValue::from_static("application/cloudevents+json"),
        }
    }
}

impl From<WebhookFormat> for BodyFormat {
    fn from(format: WebhookFormat) -> Self {
        match format {
            WebhookFormat::Standard => Self::Plain,
            WebhookFormat::Cloudevents => Self::CloudEvent,
        }
    }
}
