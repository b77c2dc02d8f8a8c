//! What can happen to a webhook subscription. URL, headers and secrets can hold tokens, so they are sealed.

use std::collections::BTreeMap;

use super::filter::EventFilter;
use crate::personal::personal_structs;
use crate::{PartnerId, closed_enum, events, facts};

closed_enum! {
    /// How the body of a webhook is laid out.
    pub enum WebhookFormat {
        /// The plain envelope of Standard Webhooks.
        Standard = "standard",
        /// A structured CloudEvent.
        Cloudevents = "cloudevents",
    }
}

closed_enum! {
    /// Why sending stopped.
    pub enum DisableReason {
        /// Somebody paused it.
        Paused = "paused",
        /// The receiver answered 410.
        Gone = "gone",
        /// It failed for too long.
        Failing = "failing",
        /// The receiver answered with `webhook-delivery: disable`.
        ReceiverRequest = "receiver_request",
    }
}

personal_structs! {
    /// Where to send, and how to prove that it was us.
    pub struct SubscriptionSecrets {
        /// An `https` URL; its query may hold a token.
        pub url: String,
        /// The partner's own words about it.
        #[serde(default)]
        pub description: Option<String>,
        /// The signing secret, `whsec_…`.
        pub secret: String,
        /// Further request headers by name.
        #[serde(default)]
        pub headers: BTreeMap<String, String>,
    }

    /// New values; what is absent stays as it is.
    pub struct SubscriptionChange {
        /// An `https` URL.
        #[serde(default)]
        pub url: Option<String>,
        /// The partner's own words about it; none any more where it is empty.
        #[serde(default)]
        pub description: Option<String>,
        /// Further request headers by name, all of them.
        #[serde(default)]
        pub headers: Option<BTreeMap<String, String>>,
    }

    /// The secret that signs from now on.
    pub struct RotatedSecret {
        /// `whsec_…`.
        pub secret: String,
    }
}

facts! {
    /// A partner subscribed.
    pub struct WebhookSubscriptionCreated {
        /// The partner whose it is, and who alone reaches it beside the clinic; nothing where the clinic keeps it itself.
        pub partner_id: Option<PartnerId>,
        /// Which events it gets.
        pub filter: EventFilter,
        /// How bodies are laid out.
        pub format: WebhookFormat,
        /// At most so many deliveries a tick, where it differs from the default.
        pub per_tick_limit: Option<u16>,
    }
    personal Credential: SubscriptionSecrets;
}

facts! {
    /// URL, filter, headers, limit or description changed; what is absent stayed as it was.
    pub struct WebhookSubscriptionChanged {
        /// Which events it gets from now on.
        pub filter: Option<EventFilter>,
        /// At most so many deliveries a tick from now on.
        pub per_tick_limit: Option<u16>,
    }
    personal Credential: SubscriptionChange;
}

facts! {
    /// A new signing secret; both sign until the overlap is over.
    pub struct WebhookSubscriptionSecretRotated {
        /// How long the old secret signs too.
        pub overlap_seconds: u32,
    }
    personal Credential: RotatedSecret;
}

facts! {
    /// Sending stopped.
    pub struct WebhookSubscriptionDisabled {
        /// Why.
        pub reason: DisableReason,
    }
}

facts! {
    /// Sending goes on.
    pub struct WebhookSubscriptionEnabled {}
}

facts! {
    /// The partner unsubscribed.
    pub struct WebhookSubscriptionDeleted {}
}

facts! {
    /// Somebody asked for a delivery to this subscription alone, whatever its filter.
    pub struct WebhookSubscriptionTestRequested {}
}

events! {
    /// What can happen to a webhook subscription.
    pub enum WebhookSubscriptionEvent in WebhookSubscription {
        /// A partner subscribed.
        Created(WebhookSubscriptionCreated) = WebhookSubscriptionCreated,
        /// URL, filter, headers, limit or description changed.
        Changed(WebhookSubscriptionChanged) = WebhookSubscriptionChanged,
        /// A new signing secret replaces the old one after an overlap.
        SecretRotated(WebhookSubscriptionSecretRotated) = WebhookSubscriptionSecretRotated,
        /// Sending stopped.
        Disabled(WebhookSubscriptionDisabled) = WebhookSubscriptionDisabled,
        /// Sending goes on.
        Enabled(WebhookSubscriptionEnabled) = WebhookSubscriptionEnabled,
        /// The partner unsubscribed.
        Deleted(WebhookSubscriptionDeleted) = WebhookSubscriptionDeleted,
        /// Somebody asked for a delivery to this subscription alone, whatever its filter.
        TestRequested(WebhookSubscriptionTestRequested) = WebhookSubscriptionTestRequested,
    }
}
