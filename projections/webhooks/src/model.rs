//! The pure fold: events in, rows and intended deliveries out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use carelog_domain::webhook_delivery::{
    AttemptDetail, AttemptOutcome, FinalReason, Phases, WebhookDeliveryEvent,
};
use carelog_domain::webhook_replay::WebhookReplayEvent;
use carelog_domain::webhook_subscription::{EventFilter, WebhookFormat, WebhookSubscriptionEvent};
use carelog_domain::{
    CodecError, DeliveryId, EventId, OrganizationId, PartnerId, StreamKind, SubscriptionId, Timestamp,
};
use carelog_event_log::effects::Wish;
use carelog_event_log::{RecordedEvent, SealedPart, derived_id};

use crate::intents::{deliver, effect, queue_change};
use crate::replay::ReplayPage;
pub use crate::state::{DeliveryState, SubscriptionStatus};

/// A subscription as far as matching needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// The partner whose it is; nothing where the clinic keeps it itself.
    pub partner_id: Option<PartnerId>,
    /// Which events it gets.
    pub filter: EventFilter,
    /// How bodies are laid out.
    pub format: WebhookFormat,
    /// Its limit a tick, where it differs from the default.
    pub per_tick_limit: Option<u16>,
    /// Whether it is sent to.
    pub status: SubscriptionStatus,
    /// Version of its stream.
    pub version: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub changed_at: Timestamp,
}

/// A sealed part of a subscription, as one event gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionPart {
    /// The event; its place opens the part.
    pub event: Arc<RecordedEvent>,
    /// The sealed part.
    pub part: SealedPart,
    /// How long the secret before this one stays valid.
    pub overlap_seconds: Option<u32>,
}

/// What the outcomes of one page made of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryProgress {
    /// Where it stands; nothing where none of the outcomes moved it.
    pub state: Option<DeliveryState>,
    /// Version of its stream.
    pub version: i64,
    /// Attempts so far; unchanged where no attempt is among the outcomes.
    pub attempt_count: Option<u16>,
    /// When it is tried again.
    pub next_attempt_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How the last attempt ended, and with which status.
    pub last: Option<(AttemptOutcome, Option<u16>)>,
}

/// A delivery that a page brought up.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDelivery {
    /// For whom.
    pub subscription_id: SubscriptionId,
    /// The event to deliver.
    pub event: Arc<RecordedEvent>,
    /// Where it stands at the end of the page.
    pub progress: DeliveryProgress,
}

/// One HTTP try.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// The delivery.
    pub key: DeliveryKey,
    /// Numbers the attempts of the delivery from 1.
    pub number: u16,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// What exactly was wrong, where the outcome does not tell.
    pub detail: Option<AttemptDetail>,
    /// HTTP status, where there was one.
    pub status: Option<u16>,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration_ms: u32,
    /// The parts of that.
    pub phases: Phases,
    /// The version of the subscription that told what to send.
    pub subscription_version: Option<i64>,
    /// When its end was recorded.
    pub recorded_at: Timestamp,
}

/// Names a subscription.
pub type SubscriptionKey = (OrganizationId, SubscriptionId);
/// Names a delivery.
pub type DeliveryKey = (OrganizationId, DeliveryId);

/// What a page comes to.
#[derive(Debug, Default, PartialEq)]
pub struct Page {
    /// The subscriptions of the page's organizations, before and after.
    pub subscriptions: BTreeMap<SubscriptionKey, Subscription>,
    /// Those that changed.
    pub changed_subscriptions: Vec<SubscriptionKey>,
    /// Sealed parts that were added.
    pub parts: Vec<SubscriptionPart>,
    /// Deliveries that were brought up.
    pub new_deliveries: BTreeMap<DeliveryKey, NewDelivery>,
    /// Deliveries from earlier pages that moved on.
    pub moved_deliveries: BTreeMap<DeliveryKey, DeliveryProgress>,
    /// Attempts.
    pub attempts: Vec<Attempt>,
    /// What happened to replays.
    pub replays: ReplayPage,
    /// What is to be done, and how.
    pub intents: Vec<Wish>,
    /// Deliveries that are to be made again, by the event that asks for it.
    pub redeliveries: BTreeMap<EventId, DeliveryKey>,
    /// How many deliveries were brought up that are not sent, because their subscription is not active.
    pub skipped_count: u64,
    /// Of events with lesser ids there are no deliveries any more.
    pub oldest: Option<EventId>,
}

/// The delivery of an event to a subscription has the same id wherever it is computed.
pub fn delivery_id(event_id: EventId, subscription_id: SubscriptionId) -> DeliveryId {
    DeliveryId::new(derived_id(event_id.uuid(), subscription_id.uuid().as_bytes()))
}

/// Whether an event needs to know the subscriptions of its organization.
pub(crate) fn concerns_subscriptions(event: &RecordedEvent) -> bool {
    event.stream.kind == StreamKind::WebhookSubscription || is_announced(event)
}

fn is_announced(event: &RecordedEvent) -> bool {
    event.event_type.is_public() && event.circumstances.origin.is_announced()
}

impl Page {
    /// A page that begins with the subscriptions of its organizations. Events whose ids are less than `oldest` lead to
    /// no delivery.
    pub fn starting_with(
        subscriptions: BTreeMap<SubscriptionKey, Subscription>,
        oldest: Option<EventId>,
    ) -> Self {
        Self { subscriptions, oldest, ..Self::default() }
    }

    /// Leaves out what was asked for deliveries that are gone.
    pub fn forget(&mut self, gone: &BTreeSet<EventId>) {
        self.intents.retain(|wish| match wish {
            Wish::Effect(effect) => !gone.contains(&effect.source_event_id),
            Wish::Queue(_) => true,
        });
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// When the event's facts are not those of its type.
    pub fn fold(&mut self, event: &Arc<RecordedEvent>) -> Result<(), CodecError> {
        match event.stream.kind {
            StreamKind::WebhookSubscription => self.fold_subscription(event, &event.decode_as()?),
            StreamKind::WebhookDelivery => self.fold_delivery(event, &event.decode_as()?),
            StreamKind::WebhookReplay => self.fold_replay(event, event.decode_as()?),
            StreamKind::Organization
            | StreamKind::Patient
            | StreamKind::LegalHold
            | StreamKind::Accounting
            | StreamKind::Specialist
            | StreamKind::Appointment
            | StreamKind::Form
            | StreamKind::File
            | StreamKind::TreatmentPlan
            | StreamKind::VideoRoom
            | StreamKind::VideoNotice
            | StreamKind::Access => {
                if is_announced(event) {
                    self.fan_out(event);
                }
            }
        }
        Ok(())
    }

    fn fan_out(&mut self, event: &Arc<RecordedEvent>) {
        let organization_id = event.stream.organization_id;
        let first = (organization_id, SubscriptionId::new(uuid::Uuid::nil()));
        let last = (organization_id, SubscriptionId::new(uuid::Uuid::max()));
        let matching: Vec<_> = self
            .subscriptions
            .range(first..=last)
            .filter(|(_, subscription)| {
                subscription.status != SubscriptionStatus::Deleted
                    && subscription.filter.matches(event.event_type)
            })
            .map(|(key, subscription)| (key.1, subscription.status == SubscriptionStatus::Active))
            .collect();
        for (subscription_id, is_active) in matching {
            self.bring_up(event, subscription_id, is_active);
        }
    }

    /// Makes the delivery of an event to a subscription, which is sent where that is active.
    fn bring_up(&mut self, event: &Arc<RecordedEvent>, subscription_id: SubscriptionId, is_active: bool) {
        if self.oldest.is_some_and(|oldest| event.event_id < oldest) {
            return;
        }
        let state = if is_active {
            DeliveryState::Pending
        } else {
            DeliveryState::Failed(FinalReason::SkippedInactive)
        };
        let progress = DeliveryProgress {
            state: Some(state),
            version: 0,
            attempt_count: Some(0),
            next_attempt_at: None,
            finished_at: (!is_active).then_some(event.recorded_at),
            last: None,
        };
        if is_active {
            self.intents.push(deliver(event, subscription_id));
        } else {
            self.skipped_count += 1;
        }
        let key = (event.stream.organization_id, delivery_id(event.event_id, subscription_id));
        let delivery = NewDelivery { subscription_id, event: Arc::clone(event), progress };
        self.new_deliveries.insert(key, delivery);
    }

    fn fold_subscription(&mut self, event: &Arc<RecordedEvent>, change: &WebhookSubscriptionEvent) {
        let key = (event.stream.organization_id, SubscriptionId::new(event.stream.id));
        let mut overlap_seconds = None;
        match change {
            WebhookSubscriptionEvent::Created(created) => {
                let subscription = Subscription {
                    partner_id: created.partner_id,
                    filter: created.filter.clone(),
                    format: created.format,
                    per_tick_limit: created.per_tick_limit,
                    status: SubscriptionStatus::Active,
                    version: event.version,
                    created_at: event.recorded_at,
                    changed_at: event.recorded_at,
                };
                self.subscriptions.insert(key, subscription);
            }
            WebhookSubscriptionEvent::Changed(changed) => self.change(key, |subscription| {
                subscription.filter = changed.filter.clone().unwrap_or_else(|| subscription.filter.clone());
                subscription.per_tick_limit = changed.per_tick_limit.or(subscription.per_tick_limit);
            }),
            WebhookSubscriptionEvent::SecretRotated(rotated) => {
                overlap_seconds = Some(rotated.overlap_seconds);
            }
            WebhookSubscriptionEvent::Disabled(disabled) => self.change(key, |subscription| {
                subscription.status = SubscriptionStatus::Disabled(disabled.reason);
            }),
            WebhookSubscriptionEvent::Enabled(_) => {
                self.change(key, |subscription| subscription.status = SubscriptionStatus::Active);
            }
            WebhookSubscriptionEvent::Deleted(_) => {
                self.change(key, |subscription| subscription.status = SubscriptionStatus::Deleted);
            }
            WebhookSubscriptionEvent::TestRequested(_) => self.bring_up(event, key.1, true),
        }
        self.change(key, |subscription| {
            subscription.version = event.version;
            subscription.changed_at = event.recorded_at;
        });
        self.changed_subscriptions.push(key);
        self.intents.extend(queue_change(event, change));
        if let Some(part) = &event.personal {
            self.parts.push(SubscriptionPart {
                event: Arc::clone(event),
                part: part.clone(),
                overlap_seconds,
            });
        }
    }

    fn change(&mut self, key: SubscriptionKey, change: impl FnOnce(&mut Subscription)) {
        if let Some(subscription) = self.subscriptions.get_mut(&key) {
            change(subscription);
        }
    }

    fn fold_replay(&mut self, event: &Arc<RecordedEvent>, change: WebhookReplayEvent) {
        if let WebhookReplayEvent::Requested(_) = &change {
            self.intents.push(effect(event, event.stream.id));
        }
        self.replays.events.push((Arc::clone(event), change));
    }

    fn fold_delivery(&mut self, event: &Arc<RecordedEvent>, outcome: &WebhookDeliveryEvent) {
        let key = (event.stream.organization_id, DeliveryId::new(event.stream.id));
        match outcome {
            WebhookDeliveryEvent::Emitted(_) | WebhookDeliveryEvent::AnswersExpunged(_) => {
                self.advance(key, event, |_| {});
            }
            WebhookDeliveryEvent::Attempted(attempted) => {
                self.attempts.push(Attempt {
                    key,
                    number: attempted.number,
                    outcome: attempted.outcome,
                    detail: attempted.detail,
                    status: attempted.status,
                    started_at: attempted.started_at,
                    duration_ms: attempted.duration_ms,
                    phases: Phases {
                        lookup_ms: attempted.lookup_ms,
                        connect_ms: attempted.connect_ms,
                        wait_ms: attempted.wait_ms,
                        body_ms: attempted.body_ms,
                    },
                    subscription_version: attempted.subscription_version,
                    recorded_at: event.recorded_at,
                });
                self.advance(key, event, |progress| {
                    progress.state = Some(DeliveryState::Pending);
                    progress.attempt_count = Some(attempted.number);
                    progress.next_attempt_at = attempted.next_attempt_at;
                    progress.last = Some((attempted.outcome, attempted.status));
                });
            }
            WebhookDeliveryEvent::Delivered(delivered) => {
                self.replays.count(key.0, delivered.replay_id, |counts| counts.delivered += 1);
                self.advance(key, event, |progress| {
                    progress.end(DeliveryState::Delivered, event.recorded_at);
                });
            }
            WebhookDeliveryEvent::Exhausted(exhausted) => {
                self.replays.count(key.0, exhausted.replay_id, |counts| counts.failed += 1);
                self.advance(key, event, |progress| {
                    progress.end(DeliveryState::Failed(exhausted.reason), event.recorded_at);
                });
            }
            WebhookDeliveryEvent::RedeliveryRequested(requested) => {
                self.replays.count(key.0, requested.replay_id, |counts| counts.requested += 1);
                self.intents.push(deliver(event, requested.subscription_id));
                self.redeliveries.insert(event.event_id, key);
                self.advance(key, event, |progress| {
                    progress.state = Some(DeliveryState::Pending);
                    progress.finished_at = None;
                });
            }
        }
    }

    fn advance(
        &mut self,
        key: DeliveryKey,
        event: &RecordedEvent,
        change: impl FnOnce(&mut DeliveryProgress),
    ) {
        let progress = match self.new_deliveries.get_mut(&key) {
            Some(delivery) => &mut delivery.progress,
            None => self.moved_deliveries.entry(key).or_insert(DeliveryProgress {
                state: None,
                version: event.version,
                attempt_count: None,
                next_attempt_at: None,
                finished_at: None,
                last: None,
            }),
        };
        progress.version = event.version;
        change(progress);
    }
}

impl DeliveryProgress {
    fn end(&mut self, state: DeliveryState, at: Timestamp) {
        self.state = Some(state);
        self.next_attempt_at = None;
        self.finished_at = Some(at);
    }
}
