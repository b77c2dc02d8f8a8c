//! The video room of an appointment: made, moved, entered, closed.
//!
//! Its stream tells what the provider did and what was given out. That a room is wanted, and when, follows from the
//! appointment; a worker compares the two and tells the outcome here. An appointment has one room at a time: one that
//! moves after its room has closed gets another, with the next number. What the provider tells may come twice or out
//! of order, so what is known already changes nothing.

mod commands;
mod course;
mod events;
mod recording;
#[cfg(test)]
mod tests;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use commands::*;
pub use events::*;
pub use recording::{RecordingPhase, Recordings};

use self::course::{Course, check_window};
use crate::aggregate::write_all;
use crate::{ParticipantId, Personal, StreamKind};

/// What a video room needs to know in order to decide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoRoom {
    course: Option<Course>,
}

type Decision = Result<Vec<VideoRoomEvent>, VideoRoomRejection>;

impl VideoRoom {
    /// When it can be entered; nothing while there is no room, or none any more.
    pub fn window(&self) -> Option<RoomWindow> {
        self.course.as_ref().and_then(|course| course.window)
    }

    /// How many rooms the appointment has had.
    pub fn opening_count(&self) -> u16 {
        self.course.as_ref().map_or(0, |course| course.opening)
    }

    /// Failures in a row of making it or, once it is there, of changing it.
    pub fn failure_count(&self) -> u16 {
        self.course.as_ref().map_or(0, |course| course.failures)
    }

    /// Who runs the newest room.
    pub fn provider(&self) -> Option<RoomProvider> {
        self.course.as_ref().and_then(|course| course.provider)
    }

    /// A participant's part and the number of their link; nothing where they have none, or it was revoked.
    pub fn link(&self, participant_id: ParticipantId) -> Option<(ParticipantKind, u16)> {
        self.course.as_ref().and_then(|course| course.link(participant_id))
    }

    /// Its recordings; nothing while nothing is known of it.
    pub fn recordings(&self) -> Option<&Recordings> {
        self.course.as_ref().map(|course| &course.recordings)
    }

    /// Decides a command without changing anything.
    ///
    /// # Errors
    /// The rejection.
    pub fn decide(&self, command: VideoRoomCommand) -> Decision {
        match (&self.course, command) {
            (course, VideoRoomCommand::Create(create)) => create_room(course.as_ref(), create),
            (course, VideoRoomCommand::FailCreation { appointment, reason, next_attempt_at }) => {
                fail_creation(course.as_ref(), appointment, reason, next_attempt_at)
            }
            (None, _) => Err(VideoRoomRejection::NotCreated),
            (Some(course), command) => course.decide(&command),
        }
    }
}

fn create_room(course: Option<&Course>, create: CreateRoom) -> Decision {
    if course.is_some_and(|course| course.window.is_some()) {
        return Err(VideoRoomRejection::AlreadyOpen);
    }
    check_window(create.window)?;
    Ok(vec![VideoRoomEvent::Created(VideoRoomCreated {
        patient_id: create.appointment.patient_id,
        appointment_id: create.appointment.appointment_id,
        provider: create.provider,
        opening: course.map_or(0, |course| course.opening).saturating_add(1),
        opens_at: create.window.opens_at,
        expires_at: create.window.expires_at,
        adopted: create.adopted,
        personal: create.address.map(Personal::Open),
    })])
}

fn fail_creation(
    course: Option<&Course>,
    appointment: RoomAppointment,
    reason: RoomFailure,
    next_attempt_at: Option<crate::Timestamp>,
) -> Decision {
    if course.is_some_and(|course| course.window.is_some()) {
        return Err(VideoRoomRejection::AlreadyOpen);
    }
    Ok(vec![VideoRoomEvent::CreationFailed(VideoRoomCreationFailed {
        patient_id: appointment.patient_id,
        appointment_id: appointment.appointment_id,
        attempt: course.map_or(0, |course| course.failures).saturating_add(1),
        reason,
        next_attempt_at,
    })])
}

impl Aggregate for VideoRoom {
    const TYPE: &'static str = StreamKind::VideoRoom.as_str();
    type Command = VideoRoomCommand;
    type Event = VideoRoomEvent;
    type Error = VideoRoomRejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: VideoRoomCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), VideoRoomRejection> {
        write_all(self.decide(command)?, self, sink).await;
        Ok(())
    }

    fn apply(&mut self, event: VideoRoomEvent) {
        match event {
            VideoRoomEvent::Created(created) => {
                let appointment = RoomAppointment {
                    patient_id: created.patient_id,
                    appointment_id: created.appointment_id,
                };
                let window = RoomWindow { opens_at: created.opens_at, expires_at: created.expires_at };
                self.course_of(appointment).open(created.opening, created.provider, window);
            }
            VideoRoomEvent::CreationFailed(failed) => {
                let appointment =
                    RoomAppointment { patient_id: failed.patient_id, appointment_id: failed.appointment_id };
                self.course_of(appointment).failures = failed.attempt;
            }
            later => {
                if let Some(course) = &mut self.course {
                    course.apply(&later);
                }
            }
        }
    }
}

impl VideoRoom {
    fn course_of(&mut self, appointment: RoomAppointment) -> &mut Course {
        self.course.get_or_insert_with(|| Course::of(appointment))
    }
}
