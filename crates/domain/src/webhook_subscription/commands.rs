//! What can be asked of a subscription, and how it refuses.

use super::events::{DisableReason, RotatedSecret, SubscriptionChange, SubscriptionSecrets, WebhookFormat};
use super::filter::EventFilter;
use crate::PartnerId;
use crate::aggregate::rejections;

/// A wish about a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookSubscriptionCommand {
    /// Subscribe.
    Create(CreateSubscription),
    /// Change it; what is absent stays as it is.
    Change {
        /// Which events it gets.
        filter: Option<EventFilter>,
        /// At most so many deliveries a tick.
        per_tick_limit: Option<u16>,
        /// URL, description and headers.
        change: Option<SubscriptionChange>,
    },
    /// Sign with a new secret.
    RotateSecret {
        /// The new one.
        secret: RotatedSecret,
        /// How long the old one signs too; at most seven days.
        overlap_seconds: u32,
    },
    /// Stop sending.
    Disable {
        /// Why.
        reason: DisableReason,
    },
    /// Send again.
    Enable,
    /// Unsubscribe for good.
    Delete,
    /// Send something that says nothing but that it arrives.
    RequestTest,
}

/// A subscription to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSubscription {
    /// The partner whose it is; nothing where the clinic keeps it itself.
    pub partner_id: Option<PartnerId>,
    /// Which events it gets.
    pub filter: EventFilter,
    /// How bodies are laid out.
    pub format: WebhookFormat,
    /// At most so many deliveries a tick, where it differs from the default.
    pub per_tick_limit: Option<u16>,
    /// Where to send, and how to prove that it was us.
    pub secrets: SubscriptionSecrets,
}

impl SubscriptionChange {
    /// Whether it changes nothing.
    pub const fn is_empty(&self) -> bool {
        self.url.is_none() && self.description.is_none() && self.headers.is_none()
    }
}

rejections! {
    /// Why a subscription refuses a command.
    pub enum WebhookSubscriptionRejection {
        NotCreated = NotFound "not_created", "there is no such subscription";
        AlreadyCreated = Conflict "already_created", "the subscription already exists";
        AlreadyDeleted = NotFound "already_deleted", "the subscription was deleted";
        PerTickLimitOutOfRange { given: u16, maximum: u16 } = Invalid "per_tick_limit_out_of_range",
            "a limit of {given} deliveries a tick is not between 1 and {maximum}";
        NothingChanged = Conflict "nothing_changed", "the subscription already is as asked";
        OverlapTooLong { given_seconds: u32, maximum_seconds: u32 } = Invalid "overlap_too_long",
            "an overlap of {given_seconds} s is longer than {maximum_seconds} s";
        AlreadyDisabled { reason: DisableReason } = Conflict "already_disabled",
            "the subscription is already disabled for the reason {reason}";
        NotDisabled = Conflict "not_disabled", "the subscription is not disabled";
        NotActive { reason: DisableReason } = Conflict "not_active",
            "the subscription is disabled for the reason {reason}: enable it, then test it";
    }
}
