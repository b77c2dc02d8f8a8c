//! A webhook subscription as its events tell of it.

use carelog_domain::webhook_subscription::{
    DisableReason, EventFilter, SubscriptionStatus, WebhookFormat, WebhookSubscriptionEvent,
};
use carelog_domain::{PartnerId, Sealed, Timestamp};
use carelog_event_log::{RecordedEvent, SealedPlace};
use uuid::Uuid;

/// A webhook subscription. Its URL and its words stay sealed, in parts that have to be put together in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastSubscription {
    /// The subscription.
    pub subscription_id: Uuid,
    /// The partner whose it is; nothing where the clinic keeps it itself.
    pub partner_id: Option<PartnerId>,
    /// The newest version among its events.
    pub version: i64,
    /// Whether events are sent.
    pub status: SubscriptionStatus,
    /// Why not.
    pub disable_reason: Option<DisableReason>,
    /// Which events.
    pub filter: EventFilter,
    /// How bodies are laid out.
    pub format: WebhookFormat,
    /// At most so many deliveries in a tick; nothing for the default.
    pub per_tick_limit: Option<u16>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When the last of its events was written.
    pub updated_at: Timestamp,
    /// What was said when it was made, and each change of it.
    pub parts: Vec<(SealedPlace, Sealed)>,
}

impl PastSubscription {
    /// The next event; nothing comes of a change of what is not there yet.
    pub(super) fn apply(
        before: Option<Self>,
        told: &WebhookSubscriptionEvent,
        recorded: &RecordedEvent,
    ) -> Option<Self> {
        let part = recorded.personal.as_ref().map(|part| (SealedPlace::of(recorded), part.sealed.clone()));
        if let WebhookSubscriptionEvent::Created(created) = told {
            return Some(Self {
                subscription_id: recorded.stream.id,
                partner_id: created.partner_id,
                version: recorded.version,
                status: SubscriptionStatus::Active,
                disable_reason: None,
                filter: created.filter.clone(),
                format: created.format,
                per_tick_limit: created.per_tick_limit,
                created_at: recorded.recorded_at,
                updated_at: recorded.recorded_at,
                parts: part.into_iter().collect(),
            });
        }
        let mut folded = before?;
        folded.version = recorded.version;
        folded.updated_at = recorded.recorded_at;
        match told {
            // The first made it above; of a new secret nothing is shown, and a test changes nothing.
            WebhookSubscriptionEvent::Created(_)
            | WebhookSubscriptionEvent::SecretRotated(_)
            | WebhookSubscriptionEvent::TestRequested(_) => {}
            WebhookSubscriptionEvent::Changed(changed) => {
                folded.filter = changed.filter.clone().unwrap_or(folded.filter);
                folded.per_tick_limit = changed.per_tick_limit.or(folded.per_tick_limit);
                folded.parts.extend(part);
            }
            WebhookSubscriptionEvent::Disabled(disabled) => {
                folded.status = SubscriptionStatus::Disabled;
                folded.disable_reason = Some(disabled.reason);
            }
            WebhookSubscriptionEvent::Enabled(_) => {
                folded.status = SubscriptionStatus::Active;
                folded.disable_reason = None;
            }
            WebhookSubscriptionEvent::Deleted(_) => folded.status = SubscriptionStatus::Deleted,
        }
        Some(folded)
    }
}
