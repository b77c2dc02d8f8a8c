//! A delivery that a worker holds, and what it may say of it to the ledger.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use carelog_domain::{DeliveryId, StreamKind, SubscriptionId, Timestamp};
use carelog_event_log::effects::{Effect, LEASE, Report, Sign};
use carelog_event_log::runtime::Reaction;
use carelog_event_log::{RecordedEvent, StreamKey};
use uuid::Uuid;

use crate::answers::KeptAnswer;
use crate::model::delivery_id;

/// What is left to write down of a delivery once its outcome is in the log.
#[derive(Debug)]
pub(crate) struct Finished {
    /// To the ledger.
    pub(crate) report: Report,
    /// What is kept of the receiver's answer.
    pub(crate) answer: Option<KeptAnswer>,
}

impl From<Report> for Finished {
    fn from(report: Report) -> Self {
        Self { report, answer: None }
    }
}

/// A delivery that a worker holds.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) effect: Effect,
    /// The event that the effect follows from: the one to deliver, or a request to deliver it again.
    pub(crate) cause: Arc<RecordedEvent>,
    pub(crate) delivery_id: DeliveryId,
    /// Whether the delivery's stream may have events already.
    pub(crate) may_have_begun: bool,
    taken_at: Instant,
}

impl Task {
    /// Straight from the projector's transaction.
    pub(crate) fn fresh(reaction: Reaction) -> Self {
        let delivery_id = Self::delivery_id(&reaction.effect, &reaction.event);
        let may_have_begun = reaction.event.stream.kind == StreamKind::WebhookDelivery;
        Self {
            effect: reaction.effect,
            cause: reaction.event,
            delivery_id,
            may_have_begun,
            taken_at: Instant::now(),
        }
    }

    /// From the ledger, where it was taken at `taken_at` or a little later.
    pub(crate) fn claimed(
        effect: Effect,
        cause: Arc<RecordedEvent>,
        begun: &HashSet<Uuid>,
        taken_at: Instant,
    ) -> Self {
        let delivery_id = Self::delivery_id(&effect, &cause);
        let may_have_begun = begun.contains(&delivery_id.uuid());
        Self { effect, cause, delivery_id, may_have_begun, taken_at }
    }

    /// Which delivery an effect is about.
    pub(crate) fn delivery_id(effect: &Effect, cause: &RecordedEvent) -> DeliveryId {
        if cause.stream.kind == StreamKind::WebhookDelivery {
            return DeliveryId::new(cause.stream.id);
        }
        delivery_id(cause.event_id, SubscriptionId::new(effect.step))
    }

    pub(crate) fn subscription_id(&self) -> SubscriptionId {
        SubscriptionId::new(self.effect.step)
    }

    /// Where its outcomes stand.
    pub(crate) fn stream(&self) -> StreamKey {
        StreamKey {
            organization_id: self.effect.organization_id,
            kind: StreamKind::WebhookDelivery,
            id: self.delivery_id.uuid(),
        }
    }

    pub(crate) fn done(&self) -> Report {
        Report { effect: self.effect, next_at: None, sign: Sign::None }
    }

    /// To be taken up again at this moment.
    pub(crate) fn again_at(&self, at: Timestamp) -> Report {
        Report { effect: self.effect, next_at: Some(at), sign: Sign::None }
    }

    /// To be taken up again although nothing was done with it. One that was abandoned keeps its lease: only the end of
    /// that tells the next holder that it may have been sent.
    pub(crate) fn untouched(&self, at: Timestamp) -> Option<Report> {
        self.effect.abandoned_since.is_none().then(|| self.again_at(at))
    }

    /// Whether so much of the lease is over that its rest may be too short for an attempt.
    pub(crate) fn is_stale(&self) -> bool {
        self.taken_at.elapsed() > LEASE / 2
    }
}
