//! Recording a conversation in an embedded room: begun and ended by its specialist, made by the specialist's page, and
//! brought here piece by piece.
//!
//! The browsers talk to each other directly, so that nobody but a page could record them. What the server holds in its
//! hands is what becomes of it: a recording begins in the log, by the clinic's setting and the patient's consent as they
//! are at that moment, and each piece is kept only if both are in force and nobody has asked for the end.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use carelog_domain::RecordingId;
use carelog_domain::file::ContentType;
use carelog_domain::video_room::{
    RecordingEnd, RecordingPhase, Recordings, VideoRoomCommand, VideoRoomRejection,
};
use carelog_event_log::{ExecuteError, derived_id};
use carelog_files::sniff;
use carelog_video::{RecordingPieces, room_id};
use futures::future::BoxFuture;
use http::{HeaderMap, StatusCode, header};
use tracing::warn;

use super::door::{Guest, Shut};
use super::messages::{NotDone, RecordingView};
use super::telling::tell;
use super::{Rooms, admit};
use crate::http::Api;
use crate::http::body::collect_bytes;
use crate::http::caller::text;
use crate::http::problem::Problem;
use crate::http::service::Arrival;
use crate::recordings::RecordingFiles;

/// Largest piece: a page sends some 500 KB for five seconds.
const MAX_PIECE_BYTES: usize = 2 << 20;
/// Pieces of one recording: five seconds each, for eleven hours.
const MAX_PIECES: u32 = 8_000;
/// When to come again where the storage does not answer.
const RETRY_SECONDS: u64 = 2;

/// How it stands, for those in the room.
pub(super) fn view(recordings: &Recordings) -> Option<RecordingView> {
    recordings.is_wanted().then(|| RecordingView { id: running(recordings) })
}

fn running(recordings: &Recordings) -> Option<RecordingId> {
    recordings.known().find(|(_, phase)| *phase == RecordingPhase::Running).map(|(id, _)| id)
}

/// Begins a recording by the page of a guest; says what stands against it.
pub(super) fn begin<'a>(
    rooms: &'a Rooms,
    guest: &'a mut Guest,
) -> BoxFuture<'a, anyhow::Result<Result<(), NotDone>>> {
    Box::pin(async move {
        let (log, place, now) = (&rooms.system.log, guest.place(), rooms.now());
        // What was shown last may be some seconds old.
        match guest.refresh(log).await {
            Ok(()) => {}
            Err(Shut::Refused(..)) => return Ok(Err(NotDone::NotAllowed)),
            Err(Shut::Failed(error)) => return Err(error),
        }
        let leave = rooms.video.leave(place.organization_id, guest.patient_id).await?;
        let recordings = guest.recordings();
        // One that a page left behind is over; by now nothing more of it can come.
        let mut commands = Vec::from_iter(
            running(&recordings)
                .map(|recording_id| VideoRoomCommand::StopRecording { recording_id, stopped_at: now }),
        );
        if !recordings.is_wanted() || !commands.is_empty() {
            commands.push(VideoRoomCommand::RequestRecording { leave, now });
        }
        let number = recordings.known().count();
        let id = derived_id(room_id(place.appointment_id), format!("recording {number}").as_bytes());
        let recording_id = RecordingId::new(id);
        commands.push(VideoRoomCommand::StartRecording { recording_id, started_at: now, leave });
        for command in commands {
            match tell(log, place, command).await {
                Ok(()) | Err(ExecuteError::Rejected(VideoRoomRejection::AlreadyRecording)) => {}
                Err(ExecuteError::Rejected(rejection)) => {
                    end(rooms, guest).await?;
                    return Ok(Err(not_done(&rejection)));
                }
                Err(error) => return Err(error.into()),
            }
        }
        rooms.wake(place.appointment_id).await;
        Ok(Ok(()))
    })
}

fn not_done(rejection: &VideoRoomRejection) -> NotDone {
    match rejection {
        VideoRoomRejection::RecordingNotEnabled => NotDone::RecordingNotEnabled,
        VideoRoomRejection::NoRecordingConsent => NotDone::NoRecordingConsent,
        _ => NotDone::NotRecorded,
    }
}

/// Ends the recording, if there is one.
pub(super) fn end<'a>(rooms: &'a Rooms, guest: &'a Guest) -> BoxFuture<'a, anyhow::Result<()>> {
    Box::pin(async move {
        let place = guest.place();
        let leave = rooms.video.leave(place.organization_id, guest.patient_id).await?;
        let reason = leave.end().unwrap_or(RecordingEnd::Requested);
        let stop = VideoRoomCommand::RequestRecordingStop { reason };
        match tell(&rooms.system.log, place, stop).await {
            Ok(()) | Err(ExecuteError::Rejected(_)) => {}
            Err(error) => return Err(error.into()),
        }
        rooms.wake(place.appointment_id).await;
        Ok(())
    })
}

/// `PUT /rooms/recordings/{recording_id}/{number}`, with the link's secret part as bearer token.
pub(super) async fn piece(
    State(api): State<Arc<Api>>,
    Extension(arrival): Extension<Arrival>,
    Path((recording_id, number)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    admit(&api, &headers, arrival)?;
    let unknown = || Problem::new(StatusCode::NOT_FOUND, "not_found");
    let recording_id: RecordingId = recording_id.parse().map_err(|_| unknown())?;
    let number: u32 = number.parse().map_err(|_| unknown())?;
    if number >= MAX_PIECES {
        return Err(Problem::new(StatusCode::CONFLICT, "recording_too_long"));
    }
    let token =
        text(&headers, header::AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
    let token = token.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "link_missing"))?;
    let guest = match Guest::of(&api.rooms.system, token).await {
        Ok(guest) => guest,
        Err(Shut::Refused(..)) => return Err(Problem::new(StatusCode::FORBIDDEN, "link_refused")),
        Err(Shut::Failed(error)) => return Err(unavailable(&error)),
    };
    if !guest.is_specialist() {
        return Err(Problem::new(StatusCode::FORBIDDEN, "not_allowed"));
    }
    may_go_on(&api, &guest, recording_id).await?;
    let piece = collect_bytes(&headers, body, MAX_PIECE_BYTES).await?;
    if piece.is_empty() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "body_missing"));
    }
    if number == 0 && !matches!(sniff(&piece), Some(ContentType::Webm | ContentType::Mp4)) {
        let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type");
        return Err(problem.detail("a recording is WebM or MP4"));
    }
    let place = guest.place();
    let pieces = RecordingPieces {
        organization_id: place.organization_id,
        appointment_id: place.appointment_id,
        recording_id,
    };
    let files = RecordingFiles(api.system.clone());
    files.keep_piece(pieces, number, piece).await.map_err(|error| unavailable(&error.into()))?;
    // What was allowed when the body began to arrive may not be any more, and nobody may look for pieces again.
    if let Err(problem) = may_go_on(&api, &guest, recording_id).await {
        files.remove_piece(pieces, number).await.map_err(|error| unavailable(&error.into()))?;
        return Err(problem);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Whether the recording goes on, and may.
async fn may_go_on(api: &Api, guest: &Guest, recording_id: RecordingId) -> Result<(), Problem> {
    let mut guest = guest.clone();
    match guest.refresh(&api.system.log).await {
        Ok(()) => {}
        Err(Shut::Refused(..)) => return Err(Problem::new(StatusCode::FORBIDDEN, "link_refused")),
        Err(Shut::Failed(error)) => return Err(unavailable(&error)),
    }
    let leave = api.rooms.video.leave(guest.place().organization_id, guest.patient_id).await;
    let leave = leave.map_err(|error| unavailable(&error.into()))?;
    leave.check().map_err(|rejection| Problem::rejected(&rejection))?;
    let recordings = guest.recordings();
    if recordings.is_wanted() && running(&recordings) == Some(recording_id) {
        return Ok(());
    }
    Err(Problem::rejected(&VideoRoomRejection::NotRecording))
}

fn unavailable(error: &anyhow::Error) -> Problem {
    warn!(error = format!("{error:#}"), "a piece of a recording is not kept; the page sends it again");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable").retry_after(RETRY_SECONDS)
}
