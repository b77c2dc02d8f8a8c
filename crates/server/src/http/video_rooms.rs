//! Video rooms of appointments: where they stand, and links to them. A link is made when it is asked for and kept
//! nowhere; that it was given out is in the log before it is made.

mod recording;
mod room;

use std::sync::Arc;

use axum::extract::OriginalUri;
use axum::response::Response;
use carelog_domain::appointment::{Appointment, AppointmentStatus};
use carelog_domain::video_room::{
    ParticipantKind, RoomEnd, RoomFailure, RoomProvider, VideoRoom, VideoRoomCommand, VideoRoomRejection,
};
use carelog_domain::{AppointmentId, ParticipantId, PatientId, StreamKind, Timestamp};
use carelog_video::queries::{self, RoomFilter};
use carelog_video::{RoomRow, RoomState, room_id};
use cqrs_es::Aggregate as _;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use self::room::{AccessView, Room, participant_id};
use super::body::{PathId, PathName, Query};
use super::caller::Caller;
use super::command::{CommandAnswer, Done, Nothing, Wish, shown};
use super::freshness::View;
use super::page::{self, Fresh, Page};
use super::problem::Problem;
use super::{Api, access, schemas};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(grant))
        .routes(routes!(reissue))
        .routes(routes!(revoke))
        .merge(recording::routes())
}

/// The domain at Daily whose room an appointment has; nothing where that cannot be told any more.
pub(super) fn domain_of(
    caller: &Caller,
    appointment_id: AppointmentId,
) -> BoxFuture<'_, Result<Option<String>, Problem>> {
    Box::pin(async move { Room::load(caller, appointment_id).await?.domain_id(caller).await })
}

/// The video room of an appointment.
#[derive(Debug, Serialize, ToSchema)]
struct VideoRoomView {
    /// The room, as events name it.
    id: Uuid,
    /// Its version; 0 before anything happened to it.
    version: i64,
    /// The appointment.
    appointment_id: Uuid,
    /// The patient.
    patient_id: Uuid,
    /// Where it stands.
    #[schema(schema_with = schemas::room_state)]
    state: RoomState,
    /// Who runs it.
    #[schema(schema_with = schemas::room_provider)]
    provider: Option<RoomProvider>,
    /// How many rooms the appointment has had: one that moves after its end gets another.
    opening: u16,
    /// From when it can be entered.
    #[schema(value_type = Option<String>, format = DateTime)]
    opens_at: Option<Timestamp>,
    /// When it closes by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// Failures in a row of making, moving or closing it.
    attempt_count: u16,
    /// Why it failed last.
    #[schema(schema_with = schemas::room_failure)]
    failure_reason: Option<RoomFailure>,
    /// When it is tried again.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Timestamp>,
    /// Why it is closed.
    #[schema(schema_with = schemas::room_end)]
    end_reason: Option<RoomEnd>,
    /// When it changed last.
    #[schema(schema_with = schemas::moment)]
    updated_at: Timestamp,
}

impl VideoRoomView {
    fn of(appointment_id: AppointmentId, row: &RoomRow) -> Self {
        Self {
            id: room_id(appointment_id),
            version: row.version,
            appointment_id: appointment_id.uuid(),
            patient_id: row.patient_id.uuid(),
            state: row.state(),
            provider: row.provider,
            opening: row.opening,
            opens_at: row.window.map(|window| window.opens_at),
            expires_at: row.window.map(|window| window.expires_at),
            attempt_count: row.attempt_count,
            failure_reason: row.failure,
            next_attempt_at: row.next_attempt_at,
            end_reason: row.end,
            updated_at: row.updated_at,
        }
    }
}

/// Which rooms are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// `true` for those whose making, moving or closing does not succeed.
    failing: Option<bool>,
    /// Of one patient.
    patient_id: Option<Uuid>,
    /// The `next` of the page before.
    after: Option<String>,
    /// So many, 50 where it is absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// The `position` of a command that the list has to show.
    wait_for: Option<String>,
}

/// For whom a link is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct GrantAccessBody {
    /// In what part; by the role of the key where it is absent, and always `patient` for a patient's key.
    #[schema(schema_with = schemas::participant_kind)]
    participant: Option<ParticipantKind>,
}

/// Video rooms, the newest booking first.
#[utoipa::path(get, path = "/v1/video-rooms", tag = "video", params(ListQuery),
    responses((status = 200, description = "One page.", body = Page<VideoRoomView>)))]
async fn list(
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let window = page::Window::read(query.limit, query.after.as_deref())?;
    caller.wait_for(query.wait_for.as_deref(), View::Video).await?;
    let patient_id = query.patient_id.map(PatientId::new);
    let filter = RoomFilter { failing: query.failing.unwrap_or_default(), patient_id };
    let before = window.cursor().map(|cursor| cursor.number);
    let mut tx = caller.read().await?;
    let limit = window.limit_and_one();
    let rows = queries::list_rooms(&mut tx, caller.organization_id, filter, before, limit).await?;
    tx.commit().await?;
    let (rows, next) = window.cut(rows, |(_, row)| row.created_position);
    let items: Vec<VideoRoomView> = rows.iter().map(|(id, row)| VideoRoomView::of(*id, row)).collect();
    access::record_search(&caller, StreamKind::VideoRoom, rows.iter().map(|(_, row)| Some(row.patient_id)))
        .await?;
    Ok(Page { items, next }.respond(&uri))
}

/// The video room of an appointment.
#[utoipa::path(get, path = "/v1/appointments/{appointment_id}/video-room", tag = "video",
    params(("appointment_id" = Uuid, Path), Fresh),
    responses((status = 200, description = "It; not found where the appointment is not by video.", body = VideoRoomView)))]
async fn get(caller: Caller, PathId(id): PathId, Query(fresh): Query<Fresh>) -> Result<Response, Problem> {
    let appointment_id = AppointmentId::new(id);
    caller.wait_for(fresh.wait_for.as_deref(), View::Video).await?;
    let mut tx = caller.read().await?;
    let row = queries::get_room(&mut tx, caller.organization_id, appointment_id).await?;
    tx.commit().await?;
    let row = row.ok_or_else(Problem::not_found)?;
    caller.may_touch(row.patient_id).await?;
    access::record_read(&caller, StreamKind::VideoRoom, room_id(appointment_id), Some(row.patient_id))
        .await?;
    shown(row.version, &VideoRoomView::of(appointment_id, &row))
}

/// Give out a link to the video room of an appointment; another one with each call, also under the same idempotency key.
#[utoipa::path(post, path = "/v1/appointments/{appointment_id}/video-room/access", tag = "video",
    params(("appointment_id" = Uuid, Path)), request_body = GrantAccessBody,
    responses((status = 201, description = "A link, shown this once.", body = AccessView)))]
async fn grant(
    caller: Caller,
    PathId(id): PathId,
    headers: HeaderMap,
    wish: Wish<GrantAccessBody>,
) -> Result<Response, Problem> {
    let appointment_id = AppointmentId::new(id);
    caller.may_touch_appointment(appointment_id).await?;
    require_kept(&caller, appointment_id).await?;
    let room = Room::load(&caller, appointment_id).await?;
    // Nothing is given out that could not be made.
    let account = room.account(&caller).await?;
    let participant = part(&caller, wish.body.participant);
    let terms = wish.terms.each_anew();
    let participant_id = participant_id(&caller, &room, participant);
    let now = caller.api.now();
    let command = VideoRoomCommand::GrantAccess { participant_id, participant, now };
    let done = caller.change::<VideoRoom>(&terms, room_id(appointment_id), None, command).await?;
    // As the log has it now: the window may just have moved, or the room been closed.
    let room = Room::load(&caller, appointment_id).await?;
    let view = match account {
        Some(account) => {
            room.open_to(&caller, &account, appointment_id, participant_id, participant, now).await?
        }
        None => room.embedded(&caller, &headers, appointment_id, participant_id).await?,
    };
    Ok(shown_once(&done, &view))
}

fn shown_once(done: &Done, view: &AccessView) -> Response {
    let mut response = done.respond(StatusCode::CREATED, view);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Give somebody another link in place of the one they have, which ends with whatever device uses it. For rooms of
/// Carelog's own.
#[utoipa::path(post, path = "/v1/appointments/{appointment_id}/video-room/access/{participant_id}/reissue", tag = "video",
    params(("appointment_id" = Uuid, Path), ("participant_id" = Uuid, Path)), request_body = Nothing,
    responses((status = 201, description = "The new link.", body = AccessView)))]
async fn reissue(
    caller: Caller,
    PathId(appointment_id): PathId,
    PathName(participant_id): PathName<Uuid>,
    headers: HeaderMap,
    wish: Wish<Nothing>,
) -> Result<Response, Problem> {
    let (appointment_id, participant_id) =
        (AppointmentId::new(appointment_id), ParticipantId::new(participant_id));
    let terms = wish.terms.each_anew();
    let room = Room::load_own(&caller, appointment_id, participant_id).await?;
    let command = VideoRoomCommand::ReissueAccess { participant_id, now: caller.api.now() };
    let done = caller.change::<VideoRoom>(&terms, room.id, None, command).await?;
    caller.api.rooms.wake(appointment_id).await;
    let room = Room::load(&caller, appointment_id).await?;
    let view = room.embedded(&caller, &headers, appointment_id, participant_id).await?;
    Ok(shown_once(&done, &view))
}

/// Let somebody's link lead nowhere any more, and end the stay of whoever uses it. For rooms of Carelog's own.
#[utoipa::path(post, path = "/v1/appointments/{appointment_id}/video-room/access/{participant_id}/revoke", tag = "video",
    params(("appointment_id" = Uuid, Path), ("participant_id" = Uuid, Path)), request_body = Nothing,
    responses((status = 200, description = "Revoked.", body = CommandAnswer)))]
async fn revoke(
    caller: Caller,
    PathId(appointment_id): PathId,
    PathName(participant_id): PathName<Uuid>,
    wish: Wish<Nothing>,
) -> Result<Response, Problem> {
    let (appointment_id, participant_id) =
        (AppointmentId::new(appointment_id), ParticipantId::new(participant_id));
    let room = Room::load_own(&caller, appointment_id, participant_id).await?;
    let command = VideoRoomCommand::RevokeAccess { participant_id };
    let done = caller.change::<VideoRoom>(&wish.terms, room.id, None, command).await?;
    caller.api.rooms.wake(appointment_id).await;
    Ok(done.changed())
}

/// Refuses a room that is about to be closed: the provider may hear of it late.
async fn require_kept(caller: &Caller, appointment_id: AppointmentId) -> Result<(), Problem> {
    let mut appointment = Appointment::default();
    for event in caller.stream(StreamKind::Appointment, appointment_id.uuid()).await? {
        appointment.apply(event.decode_as().map_err(|error| Problem::internal(&error))?);
    }
    match appointment.status() {
        Some(AppointmentStatus::Cancelled | AppointmentStatus::NoShow) => {
            Err(Problem::rejected(&VideoRoomRejection::NotOpen))
        }
        Some(_) | None => Ok(()),
    }
}

/// A patient is the patient. Others say for whom the link is, or take it for themselves.
fn part(caller: &Caller, asked: Option<ParticipantKind>) -> ParticipantKind {
    match caller.bound_to() {
        Some(_) => ParticipantKind::Patient,
        None => asked.unwrap_or(ParticipantKind::Specialist),
    }
}
