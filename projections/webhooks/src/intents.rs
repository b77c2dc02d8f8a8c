//! What the fold wants done: effects, and changes of the queues in which they wait.

use carelog_domain::SubscriptionId;
use carelog_domain::webhook_subscription::{
    WebhookSubscriptionChanged, WebhookSubscriptionCreated, WebhookSubscriptionEvent,
};
use carelog_event_log::RecordedEvent;
use carelog_event_log::effects::{NewEffect, QueueChange, QueueSetting, Wish};

/// A delivery to be made, once; its step is the subscription.
pub(crate) fn deliver(event: &RecordedEvent, subscription_id: SubscriptionId) -> Wish {
    effect(event, subscription_id.uuid())
}

/// What one event leads to; the step tells what to do.
pub(crate) fn effect(event: &RecordedEvent, step: uuid::Uuid) -> Wish {
    Wish::Effect(NewEffect {
        organization_id: event.stream.organization_id,
        source_event_id: event.event_id,
        step,
        lane: event.lane,
        position: event.position,
    })
}

/// What a change of a subscription means for its queue, if anything. The version goes with it, so that nothing that is
/// taken later is sent as the subscription was before.
pub(crate) fn queue_change(event: &RecordedEvent, change: &WebhookSubscriptionEvent) -> Option<Wish> {
    queue_setting(change).map(|setting| {
        Wish::Queue(QueueChange {
            organization_id: event.stream.organization_id,
            step: event.stream.id,
            position: event.position,
            setting,
            revision: Some(event.version),
        })
    })
}

/// What a change of a subscription means for the deliveries that wait.
fn queue_setting(change: &WebhookSubscriptionEvent) -> Option<QueueSetting> {
    match change {
        WebhookSubscriptionEvent::Created(WebhookSubscriptionCreated { per_tick_limit, .. }) => {
            per_tick_limit.map(QueueSetting::PerTick)
        }
        WebhookSubscriptionEvent::Changed(WebhookSubscriptionChanged { per_tick_limit, .. }) => {
            Some(per_tick_limit.map_or(QueueSetting::Revised, QueueSetting::PerTick))
        }
        WebhookSubscriptionEvent::SecretRotated(_) => Some(QueueSetting::Revised),
        WebhookSubscriptionEvent::TestRequested(_) => None,
        WebhookSubscriptionEvent::Enabled(_) => Some(QueueSetting::Open),
        WebhookSubscriptionEvent::Disabled(_) | WebhookSubscriptionEvent::Deleted(_) => {
            Some(QueueSetting::Closed)
        }
    }
}
