//! One attempt, ready to be sent.

use std::fmt;

use bytes::Bytes;
use carelog_domain::webhook_subscription::WebhookFormat;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

use super::headers::ExtraHeaders;
use super::secret::WebhookSecret;
use super::signature::sign;
use super::url::WebhookUrl;

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
    pub fn signed(
        url: WebhookUrl,
        id: Uuid,
        timestamp_secs: i64,
        body: Bytes,
        secrets: &[WebhookSecret],
    ) -> Self {
        let headers = signed_headers(id, timestamp_secs, &body, secrets);
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

    pub(super) fn body(&self) -> Bytes {
        self.body.clone()
    }
}

/// The headers that describe and sign a body in [`BodyFormat::Plain`], see [`PreparedRequest::signed`].
pub fn signed_headers(id: Uuid, timestamp_secs: i64, body: &[u8], secrets: &[WebhookSecret]) -> HeaderMap {
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
