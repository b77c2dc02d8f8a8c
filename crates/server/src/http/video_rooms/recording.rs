//! Recording a consultation: asked for here, and carried out by the worker. Without the clinic's setting and the
//! patient's consent there is none; both are read from the log itself, which knows what was withdrawn a moment ago.

use std::sync::Arc;

use axum::response::Response;
use carelog_domain::AppointmentId;
use carelog_domain::video_room::{RecordingEnd, VideoRoom, VideoRoomCommand, VideoRoomRejection};
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::Api;
use super::super::body::PathId;
use super::super::caller::Caller;
use super::super::command::{CommandAnswer, Nothing, Wish};
use super::super::problem::Problem;
use super::{Room, room_id};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(start)).routes(routes!(stop))
}

/// Ask that a consultation be recorded. The recording begins as soon as somebody is in the room; in an embedded room, as
/// soon as its specialist is.
#[utoipa::path(post, path = "/v1/appointments/{appointment_id}/video-room/recording/start", tag = "video",
    params(("appointment_id" = Uuid, Path)), request_body = Nothing,
    responses((status = 202, description = "Asked for.", body = CommandAnswer)))]
async fn start(caller: Caller, PathId(id): PathId, wish: Wish<Nothing>) -> Result<Response, Problem> {
    let appointment_id = AppointmentId::new(id);
    caller.may_touch_appointment(appointment_id).await?;
    let room = Room::load(&caller, appointment_id).await?;
    let patient_id = room.patient_id.ok_or_else(|| Problem::rejected(&VideoRoomRejection::NotCreated))?;
    let leave = caller.api.video.leave(caller.organization_id, patient_id).await?;
    let command = VideoRoomCommand::RequestRecording { leave, now: caller.api.now() };
    let done = caller.change::<VideoRoom>(&wish.terms, room_id(appointment_id), None, command).await?;
    caller.api.rooms.wake(appointment_id).await;
    Ok(done.respond(StatusCode::ACCEPTED, &done.answer))
}

/// Ask that the recording end. What was recorded until then is kept.
#[utoipa::path(post, path = "/v1/appointments/{appointment_id}/video-room/recording/stop", tag = "video",
    params(("appointment_id" = Uuid, Path)), request_body = Nothing,
    responses((status = 202, description = "Asked for.", body = CommandAnswer)))]
async fn stop(caller: Caller, PathId(id): PathId, wish: Wish<Nothing>) -> Result<Response, Problem> {
    let appointment_id = AppointmentId::new(id);
    caller.may_touch_appointment(appointment_id).await?;
    let command = VideoRoomCommand::RequestRecordingStop { reason: RecordingEnd::Requested };
    let done = caller.change::<VideoRoom>(&wish.terms, room_id(appointment_id), None, command).await?;
    caller.api.rooms.wake(appointment_id).await;
    Ok(done.respond(StatusCode::ACCEPTED, &done.answer))
}
