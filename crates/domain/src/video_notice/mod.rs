//! What a provider of video rooms told by its webhook, as it arrived.
//!
//! Each notice is a stream of its own with a single event, whose id follows from the provider's own name for it: one that
//! comes again finds its stream there. What it means for a room is worked out afterwards, from the log.

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
use crate::{Personal, StreamKind};

/// Whether the notice is there; all that it needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoNotice {
    is_received: bool,
}

impl VideoNotice {
    /// Decides a command without changing anything.
    ///
    /// # Errors
    /// The rejection.
    pub fn decide(&self, command: VideoNoticeCommand) -> Result<Vec<VideoNoticeEvent>, VideoNoticeRejection> {
        let VideoNoticeCommand::Receive(received) = command;
        if self.is_received {
            return Err(VideoNoticeRejection::AlreadyReceived);
        }
        Ok(vec![VideoNoticeEvent::Received(VideoNoticeReceived {
            patient_id: received.patient_id,
            appointment_id: received.appointment_id,
            provider: received.provider,
            kind: received.kind,
            sent_at: received.sent_at,
            personal: Some(Personal::Open(received.body)),
        })])
    }
}

impl Aggregate for VideoNotice {
    const TYPE: &'static str = StreamKind::VideoNotice.as_str();
    type Command = VideoNoticeCommand;
    type Event = VideoNoticeEvent;
    type Error = VideoNoticeRejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: VideoNoticeCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), VideoNoticeRejection> {
        write_all(self.decide(command)?, self, sink).await;
        Ok(())
    }

    fn apply(&mut self, event: VideoNoticeEvent) {
        match event {
            VideoNoticeEvent::Received(_) => self.is_received = true,
        }
    }
}
