//! What can happen to a replay.

use crate::ids::SubscriptionId;
use crate::webhook_delivery::FinalReason;
use crate::webhook_subscription::EventFilter;
use crate::{Timestamp, closed_enum, events, facts};

closed_enum! {
    /// Where a delivery stands that is to be sent again.
    pub enum ReplayedState {
        /// It never arrived.
        Failed = "failed",
        /// The receiver has it, and is to get it once more.
        Delivered = "delivered",
    }
}

closed_enum! {
    /// Why a replay ended early.
    pub enum ReplayEnd {
        /// Somebody asked for it.
        Requested = "requested",
        /// The subscription was deleted.
        SubscriptionDeleted = "subscription_deleted",
    }
}

facts! {
    /// Somebody asked to send deliveries of a subscription again.
    pub struct WebhookReplayRequested {
        /// Whose deliveries.
        pub subscription_id: SubscriptionId,
        /// Numbers the replays of the subscription from 1.
        pub number: u32,
        /// Of which events.
        pub filter: EventFilter,
        /// In which states; sorted.
        pub states: Vec<ReplayedState>,
        /// Of those that never arrived, which; all where it is empty. Sorted.
        pub reasons: Vec<FinalReason>,
        /// Of events recorded at this moment or later.
        pub from: Option<Timestamp>,
        /// Of events recorded before this moment.
        pub until: Option<Timestamp>,
        /// How many deliveries matched.
        pub matching: u32,
        /// Organization sequence of the first event among them.
        pub first_sequence: i64,
        /// Organization sequence of the last; what comes afterwards is not sent again.
        pub last_sequence: i64,
    }
}

facts! {
    /// A further batch was asked for.
    pub struct WebhookReplayAdvanced {
        /// Whose deliveries.
        pub subscription_id: SubscriptionId,
        /// Organization sequence up to which everything was asked for or skipped.
        pub place: i64,
        /// How many were asked for so far.
        pub requested: u32,
        /// How many were skipped so far, because they were about to be sent anyway.
        pub skipped: u32,
    }
}

facts! {
    /// Everything that matched was asked for or skipped. Some of it may still wait to be sent.
    pub struct WebhookReplayCompleted {
        /// Whose deliveries.
        pub subscription_id: SubscriptionId,
        /// How many were asked for.
        pub requested: u32,
        /// How many were skipped.
        pub skipped: u32,
    }
}

facts! {
    /// It ended early; what was asked for by then is still sent.
    pub struct WebhookReplayCancelled {
        /// Whose deliveries.
        pub subscription_id: SubscriptionId,
        /// Why.
        pub reason: ReplayEnd,
    }
}

events! {
    /// What can happen to a replay.
    pub enum WebhookReplayEvent in WebhookReplay {
        /// Somebody asked to send deliveries of a subscription again.
        Requested(WebhookReplayRequested) = WebhookReplayRequested,
        /// A further batch was asked for.
        Advanced(WebhookReplayAdvanced) = WebhookReplayAdvanced,
        /// Everything that matched was asked for or skipped.
        Completed(WebhookReplayCompleted) = WebhookReplayCompleted,
        /// It ended early.
        Cancelled(WebhookReplayCancelled) = WebhookReplayCancelled,
    }
}
