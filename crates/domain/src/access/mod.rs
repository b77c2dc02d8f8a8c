//! Who touched records: an account of reading, exporting, disclosing, querying and being refused.
//!
//! Each access is a stream of its own with a single event, so that recording one never waits for another.

mod analytics;
mod commands;
mod events;
#[cfg(test)]
mod tests;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use analytics::*;
pub use commands::*;
pub use events::*;

use crate::aggregate::write_all;
use crate::{Personal, StreamKind};

/// Whether the access is recorded; all that it needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    is_recorded: bool,
}

impl Access {
    /// Decides a command without changing anything.
    ///
    /// # Errors
    /// The rejection.
    pub fn decide(&self, command: AccessCommand) -> Result<Vec<AccessEvent>, AccessRejection> {
        if self.is_recorded {
            return Err(AccessRejection::AlreadyRecorded);
        }
        Ok(vec![match command {
            AccessCommand::RecordView(view) => AccessEvent::RecordViewed(AccessRecordViewed {
                target_kind: view.target_kind,
                target_id: view.target_id,
                patient_id: view.patient_id,
                record_count: view.record_count,
                interaction: view.interaction,
            }),
            AccessCommand::RecordExport { target_kind, patient_id, record_count } => {
                AccessEvent::RecordExported(AccessRecordExported { target_kind, patient_id, record_count })
            }
            AccessCommand::RecordDisclosure { patient_id, purpose, exclusion, disclosure } => {
                let personal = Some(Personal::Open(disclosure));
                AccessEvent::DisclosureMade(AccessDisclosureMade { patient_id, purpose, exclusion, personal })
            }
            AccessCommand::RecordTrailQuery { patient_id, entry_count } => {
                AccessEvent::TrailQueried(AccessTrailQueried { patient_id, entry_count })
            }
            AccessCommand::RecordAnalyticsQuery(query) => AccessEvent::AnalyticsQueried(query),
            AccessCommand::RecordAnalyticsLink(link) => AccessEvent::AnalyticsLinkIssued(link),
            AccessCommand::RecordDenial { reason, status } => {
                AccessEvent::Denied(AccessDenied { reason, status })
            }
        }])
    }
}

impl Aggregate for Access {
    const TYPE: &'static str = StreamKind::Access.as_str();
    type Command = AccessCommand;
    type Event = AccessEvent;
    type Error = AccessRejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: AccessCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), AccessRejection> {
        write_all(self.decide(command)?, self, sink).await;
        Ok(())
    }

    fn apply(&mut self, event: AccessEvent) {
        match event {
            AccessEvent::RecordViewed(_)
            | AccessEvent::RecordExported(_)
            | AccessEvent::DisclosureMade(_)
            | AccessEvent::TrailQueried(_)
            | AccessEvent::AnalyticsQueried(_)
            | AccessEvent::AnalyticsLinkIssued(_)
            | AccessEvent::Denied(_) => self.is_recorded = true,
        }
    }
}
