//! The pure fold of replays: what happened to them, and what became of the deliveries that they asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use carelog_domain::webhook_replay::WebhookReplayEvent;
use carelog_domain::{OrganizationId, ReplayId};
use carelog_event_log::RecordedEvent;

/// Names a replay.
type ReplayKey = (OrganizationId, ReplayId);

/// What a page comes to for replays.
#[derive(Debug, Default, PartialEq)]
pub struct ReplayPage {
    /// What happened to replays, in order.
    pub(crate) events: Vec<(Arc<RecordedEvent>, WebhookReplayEvent)>,
    /// What became of deliveries, by the replay that asked for them.
    pub(crate) counts: BTreeMap<ReplayKey, ReplayCounts>,
}

/// Deliveries that a replay asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplayCounts {
    pub(crate) requested: i32,
    pub(crate) delivered: i32,
    pub(crate) failed: i32,
}

impl ReplayPage {
    /// Whether the page holds nothing for any replay.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.counts.is_empty()
    }

    /// Counts a delivery's event for the replay that asked for it, where one did.
    pub(crate) fn count(
        &mut self,
        organization_id: OrganizationId,
        replay_id: Option<ReplayId>,
        count: impl FnOnce(&mut ReplayCounts),
    ) {
        if let Some(replay_id) = replay_id {
            count(self.counts.entry((organization_id, replay_id)).or_default());
        }
    }
}
