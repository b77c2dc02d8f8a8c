//! What can happen to one event on its way to one subscription.

use crate::catalogue::EventType;
use crate::ids::{EventId, ReplayId, SubscriptionId};
use crate::{Timestamp, closed_enum, events, facts};

closed_enum! {
    /// How one HTTP try ended.
    pub enum AttemptOutcome {
        /// The receiver accepted it with a 2xx status.
        Success = "success",
        /// Another status.
        HttpStatus = "http_status",
        /// A redirect, which is never followed.
        Redirect = "redirect",
        /// The deadline over the whole exchange passed.
        Timeout = "timeout",
        /// Nobody listens on the port.
        ConnectRefused = "connect_refused",
        /// No connection for another reason.
        ConnectFailed = "connect_failed",
        /// The connection broke off.
        Reset = "reset",
        /// The host name has no address.
        DnsFailed = "dns_failed",
        /// The URL or its address is not allowed.
        BlockedUrl = "blocked_url",
        /// The certificate is not valid for the host.
        TlsCertificate = "tls_certificate",
        /// No TLS connection for another reason.
        TlsFailed = "tls_failed",
        /// The answer is no HTTP, or too large.
        InvalidResponse = "invalid_response",
        /// The worker was lost midway; the receiver may have got it.
        Unknown = "unknown",
    }
}

closed_enum! {
    /// What an outcome of TLS or of a look-up does not tell by itself.
    pub enum AttemptDetail {
        /// The certificate is out of date.
        TlsExpired = "tls_expired",
        /// The certificate is of the future.
        TlsNotYetValid = "tls_not_yet_valid",
        /// The certificate is for other names.
        TlsWrongHost = "tls_wrong_host",
        /// Nobody whom we trust has issued the certificate. One that has issued itself is among these: what such a
        /// certificate says of itself is not believed.
        TlsUnknownIssuer = "tls_unknown_issuer",
        /// A signature is wrong: that on the certificate, which was altered or comes from somebody who bears the name of
        /// an issuer whom we trust; or that by which the receiver shows that the certificate is its own.
        TlsBadSignature = "tls_bad_signature",
        /// The certificate was revoked.
        TlsRevoked = "tls_revoked",
        /// The certificate is refused for another reason.
        TlsCertificateRefused = "tls_certificate_refused",
        /// No version of TLS in common; 1.2 and 1.3 are spoken.
        TlsProtocol = "tls_protocol",
        /// No cipher, key exchange or signature in common.
        TlsCipher = "tls_cipher",
        /// The receiver broke the handshake off.
        TlsRefusedByReceiver = "tls_refused_by_receiver",
        /// The name does not exist, or has no address.
        DnsNoSuchName = "dns_no_such_name",
        /// The name servers failed or did not answer.
        DnsServerFailed = "dns_server_failed",
        /// Carelog runs on a machine that has no name servers configured.
        DnsNoServers = "dns_no_servers",
    }
}

closed_enum! {
    /// Why a delivery is not tried again.
    pub enum FinalReason {
        /// No attempts are left.
        Exhausted = "exhausted",
        /// The receiver asked to stop.
        Aborted = "aborted",
        /// The URL or its address is not allowed.
        BlockedUrl = "blocked_url",
        /// The subscription was disabled or deleted.
        Disabled = "disabled",
        /// The subscription was not active when the event came.
        SkippedInactive = "skipped_inactive",
        /// The receiver cannot take this kind of body.
        Unsupported = "unsupported",
    }
}

facts! {
    /// An event is to be delivered to a subscription.
    pub struct WebhookDeliveryEmitted {
        /// To which subscription.
        pub subscription_id: SubscriptionId,
        /// Which event.
        pub source_event_id: EventId,
        /// Its type.
        pub source_type: EventType,
        /// Its organization sequence.
        pub source_sequence: i64,
    }
}

facts! {
    /// One HTTP try ended, or its end is unknown.
    pub struct WebhookDeliveryAttempted {
        /// To which subscription.
        pub subscription_id: SubscriptionId,
        /// Numbers the attempts of the delivery from 1.
        pub number: u16,
        /// How it ended.
        pub outcome: AttemptOutcome,
        /// What exactly was wrong, where the outcome does not tell.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub detail: Option<AttemptDetail>,
        /// The HTTP status, when there was one.
        pub status: Option<u16>,
        /// When it began.
        pub started_at: Timestamp,
        /// How long it took.
        pub duration_ms: u32,
        /// How long the look-up of the name took, where there was one.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub lookup_ms: Option<u32>,
        /// How long it took to connect, TLS included, where no kept connection was used.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub connect_ms: Option<u32>,
        /// How long the head of the answer took to come.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub wait_ms: Option<u32>,
        /// How long its body took, as far as it was read.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub body_ms: Option<u32>,
        /// The version of the subscription's stream that told what to send; nothing where nothing was.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub subscription_version: Option<i64>,
        /// When the next one is due, if there is to be one.
        pub next_attempt_at: Option<Timestamp>,
    }
}

facts! {
    /// The receiver accepted it.
    pub struct WebhookDeliveryDelivered {
        /// To which subscription.
        pub subscription_id: SubscriptionId,
        /// In which attempt.
        pub number: u16,
        /// The replay that asked for this round, where one did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub replay_id: Option<ReplayId>,
    }
}

facts! {
    /// It will not be tried again.
    pub struct WebhookDeliveryExhausted {
        /// To which subscription.
        pub subscription_id: SubscriptionId,
        /// Why.
        pub reason: FinalReason,
        /// The replay that asked for this round, where one did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub replay_id: Option<ReplayId>,
    }
}

facts! {
    /// What was kept of the receiver's answers was removed for good, and nothing more is kept.
    pub struct WebhookDeliveryAnswersExpunged {
        /// Of which subscription.
        pub subscription_id: SubscriptionId,
    }
}

facts! {
    /// Somebody asked to send it again.
    pub struct WebhookDeliveryRedeliveryRequested {
        /// To which subscription.
        pub subscription_id: SubscriptionId,
        /// The replay that asked, where it was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub replay_id: Option<ReplayId>,
    }
}

events! {
    /// What can happen to one event on its way to one subscription.
    pub enum WebhookDeliveryEvent in WebhookDelivery {
        /// An event is to be delivered to a subscription.
        Emitted(WebhookDeliveryEmitted) = WebhookDeliveryEmitted,
        /// One HTTP try ended, or its end is unknown.
        Attempted(WebhookDeliveryAttempted) = WebhookDeliveryAttempted,
        /// The receiver accepted it.
        Delivered(WebhookDeliveryDelivered) = WebhookDeliveryDelivered,
        /// It will not be tried again.
        Exhausted(WebhookDeliveryExhausted) = WebhookDeliveryExhausted,
        /// Somebody asked to send it again.
        RedeliveryRequested(WebhookDeliveryRedeliveryRequested) = WebhookDeliveryRedeliveryRequested,
        /// What was kept of the receiver's answers was removed for good.
        AnswersExpunged(WebhookDeliveryAnswersExpunged) = WebhookDeliveryAnswersExpunged,
    }
}
