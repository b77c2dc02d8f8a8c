//! Sending deliveries of one subscription again, in bulk.
//!
//! A replay is carried out in batches, each of which ends with an `advanced` event, so that whoever goes on after a
//! crash knows where. That nothing is sent twice by one replay is not decided here: each delivery remembers which
//! replays asked for it. The streams of a subscription's replays have ids that follow from each other, so that two
//! that are asked for at the same moment meet in one stream, and one of them is refused.

mod commands;
mod events;
#[cfg(test)]
mod tests;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use commands::*;
pub use events::*;

use crate::aggregate::write_all;
use crate::ids::SubscriptionId;
use crate::{StreamKind, closed_enum};

closed_enum! {
    /// Where a replay stands.
    pub enum ReplayStatus {
        /// It goes on.
        Running = "running",
        /// Everything that matched was asked for or skipped.
        Completed = "completed",
        /// It ended early.
        Cancelled = "cancelled",
    }
}

/// What a replay needs to know in order to decide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookReplay {
    course: Option<Course>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Course {
    subscription_id: SubscriptionId,
    status: ReplayStatus,
    place: i64,
}

type Decision = Result<WebhookReplayEvent, WebhookReplayRejection>;

impl WebhookReplay {
    /// One that goes on, as a row tells it that was folded from its events: it has asked for or skipped everything up to
    /// the organization sequence `place`. It decides as one that was folded from them all.
    pub const fn running(subscription_id: SubscriptionId, place: i64) -> Self {
        Self { course: Some(Course { subscription_id, status: ReplayStatus::Running, place }) }
    }

    /// Where it stands; nothing before it is requested.
    pub fn status(&self) -> Option<ReplayStatus> {
        self.course.map(|course| course.status)
    }

    /// Decides a command without changing anything.
    ///
    /// # Errors
    /// The rejection.
    pub fn decide(
        &self,
        command: WebhookReplayCommand,
    ) -> Result<Vec<WebhookReplayEvent>, WebhookReplayRejection> {
        let event = match (self.course, command) {
            (None, WebhookReplayCommand::Request(request)) => request_replay(request),
            (None, _) => Err(WebhookReplayRejection::NotRequested),
            (Some(course), command) => course.decide(&command),
        }?;
        Ok(vec![event])
    }
}

fn request_replay(request: RequestReplay) -> Decision {
    request.selection.check()?;
    if request.matching == 0 {
        return Err(WebhookReplayRejection::NothingMatches);
    }
    let ReplaySelection { subscription_id, filter, states, reasons, from, until } = request.selection;
    let (first_sequence, last_sequence) = request.sequences;
    Ok(WebhookReplayEvent::Requested(WebhookReplayRequested {
        subscription_id,
        number: request.number,
        filter,
        states: states.into_iter().collect(),
        reasons: reasons.into_iter().collect(),
        from,
        until,
        matching: request.matching,
        first_sequence,
        last_sequence,
    }))
}

impl Course {
    fn decide(&self, command: &WebhookReplayCommand) -> Decision {
        let subscription_id = self.subscription_id;
        match (command, self.status) {
            (WebhookReplayCommand::Request(_), _) => Err(WebhookReplayRejection::UnderWay),
            (_, status @ (ReplayStatus::Completed | ReplayStatus::Cancelled)) => {
                Err(WebhookReplayRejection::AlreadyEnded { status })
            }
            (WebhookReplayCommand::Advance { place, .. }, ReplayStatus::Running) if *place <= self.place => {
                Err(WebhookReplayRejection::GoesBack { place: self.place, given: *place })
            }
            (WebhookReplayCommand::Advance { place, requested, skipped }, ReplayStatus::Running) => {
                Ok(WebhookReplayEvent::Advanced(WebhookReplayAdvanced {
                    subscription_id,
                    place: *place,
                    requested: *requested,
                    skipped: *skipped,
                }))
            }
            (WebhookReplayCommand::Complete { requested, skipped }, ReplayStatus::Running) => {
                Ok(WebhookReplayEvent::Completed(WebhookReplayCompleted {
                    subscription_id,
                    requested: *requested,
                    skipped: *skipped,
                }))
            }
            (WebhookReplayCommand::Cancel { reason }, ReplayStatus::Running) => {
                Ok(WebhookReplayEvent::Cancelled(WebhookReplayCancelled { subscription_id, reason: *reason }))
            }
        }
    }
}

impl Aggregate for WebhookReplay {
    const TYPE: &'static str = StreamKind::WebhookReplay.as_str();
    type Command = WebhookReplayCommand;
    type Event = WebhookReplayEvent;
    type Error = WebhookReplayRejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: WebhookReplayCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), WebhookReplayRejection> {
        write_all(self.decide(command)?, self, sink).await;
        Ok(())
    }

    fn apply(&mut self, event: WebhookReplayEvent) {
        match (event, &mut self.course) {
            (WebhookReplayEvent::Requested(requested), course) => {
                *course = Some(Course {
                    subscription_id: requested.subscription_id,
                    status: ReplayStatus::Running,
                    place: requested.first_sequence - 1,
                });
            }
            (WebhookReplayEvent::Advanced(advanced), Some(course)) => course.place = advanced.place,
            (WebhookReplayEvent::Completed(_), Some(course)) => course.status = ReplayStatus::Completed,
            (WebhookReplayEvent::Cancelled(_), Some(course)) => course.status = ReplayStatus::Cancelled,
            (
                WebhookReplayEvent::Advanced(_)
                | WebhookReplayEvent::Completed(_)
                | WebhookReplayEvent::Cancelled(_),
                None,
            ) => {}
        }
    }
}
