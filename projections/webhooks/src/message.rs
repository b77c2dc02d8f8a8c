//! A delivery's message without its sending: for those who fetch what they would receive.

use bytes::Bytes;
use carelog_domain::{DeliveryId, Timestamp};
use carelog_event_log::RecordedEvent;
use http::HeaderMap;

use crate::body::body;
use crate::directory::OpenSubscription;
use crate::sending::{BodyFormat, signed_headers};

/// What an attempt would carry: the exact bytes, and the headers that describe and sign them. The partner's own headers
/// are left out, because nobody may read them.
#[derive(Clone, Debug)]
pub struct Message {
    /// `content-type`, `webhook-id`, `webhook-timestamp` and `webhook-signature`, by every secret that is valid.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Message {
    /// The message of a delivery as it would be sent at `now`.
    pub fn signed(
        subscription: &OpenSubscription,
        delivery_id: DeliveryId,
        event: &RecordedEvent,
        now: Timestamp,
    ) -> Self {
        let body = body(subscription.format, delivery_id, event);
        let headers =
            signed_headers(delivery_id.uuid(), now.unix_seconds(), &body, subscription.valid_secrets(now));
        let mut message = Self { headers, body };
        BodyFormat::from(subscription.format).describe(&mut message.headers);
        message
    }
}
