//! What can be asked of a replay, and how it refuses.

use std::collections::BTreeSet;

use super::ReplayStatus;
use super::events::{ReplayEnd, ReplayedState};
use crate::Timestamp;
use crate::aggregate::rejections;
use crate::ids::SubscriptionId;
use crate::webhook_delivery::FinalReason;
use crate::webhook_subscription::EventFilter;

/// A wish about a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookReplayCommand {
    /// Send deliveries again.
    Request(RequestReplay),
    /// Tell that a further batch was asked for.
    Advance {
        /// Organization sequence up to which everything was asked for or skipped.
        place: i64,
        /// How many were asked for so far.
        requested: u32,
        /// How many were skipped so far.
        skipped: u32,
    },
    /// Tell that nothing is left.
    Complete {
        /// How many were asked for.
        requested: u32,
        /// How many were skipped.
        skipped: u32,
    },
    /// End it.
    Cancel {
        /// Why.
        reason: ReplayEnd,
    },
}

/// A replay to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestReplay {
    /// Which deliveries.
    pub selection: ReplaySelection,
    /// One more than the replays of the subscription so far.
    pub number: u32,
    /// How many those are.
    pub matching: u32,
    /// Organization sequences of the first and the last of their events.
    pub sequences: (i64, i64),
}

/// Which deliveries are to be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplaySelection {
    /// Of this subscription.
    pub subscription_id: SubscriptionId,
    /// Of these events.
    pub filter: EventFilter,
    /// In these states.
    pub states: BTreeSet<ReplayedState>,
    /// Of those that never arrived, for these reasons; for any where it is empty.
    pub reasons: BTreeSet<FinalReason>,
    /// Of events recorded at this moment or later.
    pub from: Option<Timestamp>,
    /// Of events recorded before this moment.
    pub until: Option<Timestamp>,
}

impl ReplaySelection {
    /// Refuses what can match nothing, whatever there is.
    ///
    /// # Errors
    /// The rejection.
    pub fn check(&self) -> Result<(), WebhookReplayRejection> {
        if self.states.is_empty() {
            return Err(WebhookReplayRejection::NoStates);
        }
        if !self.reasons.is_empty() && !self.states.contains(&ReplayedState::Failed) {
            return Err(WebhookReplayRejection::ReasonsWithoutFailed);
        }
        match (self.from, self.until) {
            (Some(from), Some(until)) if until <= from => {
                Err(WebhookReplayRejection::RangeIsEmpty { from, until })
            }
            _ => Ok(()),
        }
    }
}

rejections! {
    /// Why a replay refuses a command.
    pub enum WebhookReplayRejection {
        NotRequested = NotFound "not_requested", "there is no such replay";
        NoStates = Invalid "no_states", "a replay of deliveries in no state sends nothing";
        ReasonsWithoutFailed = Invalid "reasons_without_failed",
            "only deliveries that failed have a reason, and those are not asked for";
        RangeIsEmpty { from: Timestamp, until: Timestamp } = Invalid "range_is_empty",
            "the range ends at {until}, before anything of {from} could be in it";
        NothingMatches = Invalid "nothing_matches", "no delivery matches";
        UnderWay = Conflict "replay_under_way",
            "another replay of this subscription is under way: wait for its end, or cancel it";
        AlreadyEnded { status: ReplayStatus } = Conflict "already_ended", "the replay is already {status}";
        GoesBack { place: i64, given: i64 } = Conflict "goes_back",
            "the replay stands at {place} already and cannot advance to {given}";
    }
}
