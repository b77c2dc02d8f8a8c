//! Facts about video consultations: each stay in a room, and how the networks did.

use carelog_domain::OrganizationId;
use carelog_domain::video_room::{NetworkState, ParticipantKind, VideoRoomEvent};
use carelog_vault::Pseudonym;
use uuid::Uuid;

use super::Known;
use super::analytic::{Coarse, analytic_facts, narrow};

const SECONDS_PER_MINUTE: u32 = 60;

analytic_facts! {
    /// A stay in a video room.
    pub struct VideoSessionFact in "video_session_facts"
    at {
        /// Place of the coming.
        pub position,
        /// Place of the newest event.
        pub last_position,
    }
    says {
        /// The clinic.
        pub organization_id: OrganizationId,
        /// The stay.
        pub session: Pseudonym,
        /// The appointment that the room is for.
        pub appointment: Pseudonym,
        /// The patient whose appointment it is.
        pub patient: Pseudonym,
        /// Who, where known.
        pub participant: Option<Pseudonym>,
        /// In what part, where known.
        pub participant_kind: Option<ParticipantKind>,
        /// When they came.
        pub joined_at: Coarse,
        /// How long they stayed; nothing while they are there.
        pub length_minutes: Option<i32>,
    }

    /// How a participant's network did.
    pub struct VideoQualityFact in "video_quality_facts"
    at {
        /// Its place.
        pub position,
    }
    says {
        /// The clinic.
        pub organization_id: OrganizationId,
        /// The stay.
        pub session: Pseudonym,
        /// The patient whose appointment it is.
        pub patient: Pseudonym,
        /// When it was measured.
        pub sampled_at: Coarse,
        /// How well it did.
        pub state: NetworkState,
        /// Round trip.
        pub round_trip_ms: Option<i32>,
        /// Jitter.
        pub jitter_ms: Option<i32>,
        /// Of a thousand packets.
        pub send_loss_permille: Option<u16>,
        /// Of a thousand packets.
        pub receive_loss_permille: Option<u16>,
        /// Sent.
        pub sent_kbps: Option<i32>,
        /// Received.
        pub received_kbps: Option<i32>,
        /// Since the sample before.
        pub freeze_count: Option<u16>,
    }
}

/// The stay that an event begins or ends.
pub(super) const fn session_of(event: &VideoRoomEvent) -> Option<Uuid> {
    match event {
        VideoRoomEvent::ParticipantJoined(joined) => Some(joined.session_id),
        VideoRoomEvent::ParticipantLeft(left) => Some(left.session_id),
        VideoRoomEvent::QualitySampled(_)
        | VideoRoomEvent::Created(_)
        | VideoRoomEvent::CreationFailed(_)
        | VideoRoomEvent::Moved(_)
        | VideoRoomEvent::ChangeFailed(_)
        | VideoRoomEvent::AccessGranted(_)
        | VideoRoomEvent::AccessRevoked(_)
        | VideoRoomEvent::Extended(_)
        | VideoRoomEvent::RecordingStarted(_)
        | VideoRoomEvent::RecordingStored(_)
        | VideoRoomEvent::RecordingRequested(_)
        | VideoRoomEvent::RecordingStopRequested(_)
        | VideoRoomEvent::RecordingStopped(_)
        | VideoRoomEvent::RecordingFailed(_)
        | VideoRoomEvent::RecordingDiscarded(_)
        | VideoRoomEvent::Expired(_) => None,
    }
}

impl VideoSessionFact {
    pub(super) fn apply(
        row: Option<&Self>,
        event: &VideoRoomEvent,
        known: &Known<'_>,
        session: Pseudonym,
    ) -> Option<Self> {
        let position = known.recorded.position;
        if let VideoRoomEvent::ParticipantJoined(joined) = event {
            let who = joined.participant_id.zip(joined.participant);
            let fact = Self {
                organization_id: known.organization_id(),
                position,
                last_position: position,
                session,
                appointment: known.record(joined.appointment_id.uuid()),
                patient: known.patient(joined.patient_id),
                participant: who.map(|(id, _)| known.record(id.uuid())),
                participant_kind: who.map(|(_, kind)| kind),
                joined_at: Coarse::cut(joined.joined_at),
                length_minutes: None,
            };
            return row.is_none().then_some(fact);
        }
        let mut row = row?.clone();
        row.last_position = position;
        if let VideoRoomEvent::ParticipantLeft(left) = event {
            row.length_minutes = Some(narrow((left.duration_seconds / SECONDS_PER_MINUTE).into()));
        }
        Some(row)
    }
}

impl VideoQualityFact {
    /// The sample that an event tells of.
    pub(super) fn of(event: &VideoRoomEvent, known: &Known<'_>) -> Option<Self> {
        let VideoRoomEvent::QualitySampled(sampled) = event else { return None };
        let whole = |number: Option<u32>| number.map(|number| narrow(number.into()));
        Some(Self {
            organization_id: known.organization_id(),
            position: known.recorded.position,
            session: known.record(known.part(sampled.session_id)),
            patient: known.patient(sampled.patient_id),
            sampled_at: Coarse::cut(sampled.sampled_at),
            state: sampled.state,
            round_trip_ms: whole(sampled.round_trip_ms),
            jitter_ms: whole(sampled.jitter_ms),
            send_loss_permille: sampled.send_loss_permille,
            receive_loss_permille: sampled.receive_loss_permille,
            sent_kbps: whole(sampled.sent_kbps),
            received_kbps: whole(sampled.received_kbps),
            freeze_count: sampled.freeze_count,
        })
    }
}
