//! Video rooms of appointments: where they stand, and links to them. A link is made when it is asked for and shown
//! once; that it was given out is in the log before it is made.

use std::sync::Arc;

use axum::extract::OriginalUri;
use axum::response::Response;
use carelog_domain::video_room::{
    ParticipantKind, RoomAddress, RoomEnd, RoomFailure, RoomProvider, RoomWindow, VideoRoom,
    VideoRoomCommand, VideoRoomEvent, VideoRoomRejection,
};
use carelog_domain::{AppointmentId, ParticipantId, PatientId, StreamKind, Timestamp};
use carelog_event_log::{RecordedEvent, SealedPlace, StreamKey, derived_id};
use carelog_video::daily::{DailyAccount, MeetingToken, RoomName, TokenClaims};
use carelog_video::queries::{self, RoomFilter};
use carelog_video::{RoomRow, RoomState, room_id};
use cqrs_es::Aggregate;
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::body::{PathId, Query};
use super::caller::Caller;
use super::command::{Terms, Wish, shown};
use super::freshness::View;
use super::page::{self, Fresh, Page};
use super::problem::Problem;
use super::{Api, access, schemas};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get)).routes(routes!(grant))
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

/// A way into a room, for one person. It is not shown again, and a further request makes a further one.
#[derive(Serialize, ToSchema)]
struct AccessView {
    /// Where the room is.
    url: String,
    /// What opens it, for a page that hands it over by script.
    token: String,
    /// Both in one, for a browser.
    join_url: String,
    /// The id under which events tell of this person; the same for each link to the same person.
    participant_id: Uuid,
    /// In what part.
    #[schema(schema_with = schemas::participant_kind)]
    participant: ParticipantKind,
    /// From when it works.
    #[schema(schema_with = schemas::moment)]
    valid_from: Timestamp,
    /// Until when.
    #[schema(schema_with = schemas::moment)]
    valid_until: Timestamp,
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
    access::record_search(&caller, StreamKind::VideoRoom, patient_id, items.len()).await?;
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

/// Give out a link to the video room of an appointment.
#[utoipa::path(post, path = "/v1/appointments/{appointment_id}/video-room/access", tag = "video",
    params(("appointment_id" = Uuid, Path)), request_body = GrantAccessBody,
    responses((status = 201, description = "A link, shown this once.", body = AccessView)))]
async fn grant(caller: Caller, PathId(id): PathId, wish: Wish<GrantAccessBody>) -> Result<Response, Problem> {
    let appointment_id = AppointmentId::new(id);
    caller.may_touch_appointment(appointment_id).await?;
    let account = account(&caller).await?;
    let room = Room::load(&caller, appointment_id).await?;
    let participant = part(&caller, wish.body.participant);
    let participant_id = participant_id(&caller, &wish.terms, &room, participant);
    let now = caller.api.now();
    let command = VideoRoomCommand::GrantAccess { participant_id, participant, now };
    let done = caller.change::<VideoRoom>(&wish.terms, room_id(appointment_id), None, command).await?;
    // As the log has it now: the window may just have moved, or the room been closed.
    let room = Room::load(&caller, appointment_id).await?;
    let view = room.open_to(&caller, &account, appointment_id, participant_id, participant, now).await?;
    let mut response = done.respond(StatusCode::CREATED, &view);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// A patient is the patient. Others say for whom the link is, or take it for themselves.
fn part(caller: &Caller, asked: Option<ParticipantKind>) -> ParticipantKind {
    match caller.bound_to() {
        Some(_) => ParticipantKind::Patient,
        None => asked.unwrap_or(ParticipantKind::Specialist),
    }
}

/// One id for the patient and one for each specialist, so that a second connection ends the first; a guest is another
/// with each link. Nobody can tell from it who it is.
fn participant_id(
    caller: &Caller,
    terms: &Terms,
    room: &Room,
    participant: ParticipantKind,
) -> ParticipantId {
    let person = match participant {
        ParticipantKind::Patient => room.patient_id.map(PatientId::uuid),
        ParticipantKind::Specialist => caller
            .principal
            .as_ref()
            .map(|principal| principal.specialist_id.map_or(principal.api_key_id.uuid(), Uuid::from)),
        ParticipantKind::Guest => None,
    };
    ParticipantId::new(match person {
        Some(person) => derived_id(room.id, person.as_bytes()),
        None => terms.id_of_new(caller, None),
    })
}

async fn account(caller: &Caller) -> Result<DailyAccount, Problem> {
    let mut tx = caller.read().await?;
    let account = caller.api.video.daily(&mut tx, caller.organization_id).await?;
    tx.commit().await?;
    account.ok_or_else(|| {
        Problem::new(StatusCode::CONFLICT, "video_provider_not_configured")
            .detail("the organization has no provider of video rooms")
    })
}

/// A room as the log has it.
struct Room {
    id: Uuid,
    patient_id: Option<PatientId>,
    state: VideoRoom,
    /// Told when it was made last.
    created: Option<RecordedEvent>,
}

impl Room {
    async fn load(caller: &Caller, appointment_id: AppointmentId) -> Result<Self, Problem> {
        let id = room_id(appointment_id);
        let stream = StreamKey { organization_id: caller.organization_id, kind: StreamKind::VideoRoom, id };
        let mut room = Self { id, patient_id: None, state: VideoRoom::default(), created: None };
        for event in caller.api.log().stream(&stream, 0).await? {
            let change: VideoRoomEvent = event.decode_as().map_err(|error| Problem::internal(&error))?;
            room.patient_id = event.subject;
            if matches!(change, VideoRoomEvent::Created(_)) {
                room.created = Some(event);
            }
            room.state.apply(change);
        }
        Ok(room)
    }

    async fn open_to(
        &self,
        caller: &Caller,
        account: &DailyAccount,
        appointment_id: AppointmentId,
        participant_id: ParticipantId,
        participant: ParticipantKind,
        now: Timestamp,
    ) -> Result<AccessView, Problem> {
        let window: RoomWindow =
            self.state.window().ok_or_else(|| Problem::rejected(&VideoRoomRejection::NotOpen))?;
        let address = self.address(caller).await?;
        let claims = TokenClaims {
            domain_id: &address.account,
            room: &RoomName::of(appointment_id, self.state.opening_count()),
            participant_id,
            is_owner: participant == ParticipantKind::Specialist,
            window,
            issued_at: now,
        };
        let token = MeetingToken::sign(account, &claims).map_err(|error| Problem::internal(&error))?;
        Ok(AccessView {
            join_url: format!("{}?t={}", address.url, token.reveal()),
            url: address.url,
            token: token.reveal().to_owned(),
            participant_id: participant_id.uuid(),
            participant,
            valid_from: window.opens_at,
            valid_until: window.expires_at,
        })
    }

    async fn address(&self, caller: &Caller) -> Result<RoomAddress, Problem> {
        let part = self.created.as_ref().and_then(|event| Some((event, event.personal.as_ref()?)));
        let (event, part) = part.ok_or_else(|| Problem::fault("a video room is open and has no address"))?;
        let json = SealedPlace::of(event).open(caller.api.log().vault(), &part.sealed).await?;
        let json = json.ok_or_else(|| Problem::fault("the key to a video room's address is destroyed"))?;
        serde_json::from_slice(&json).map_err(|error| Problem::internal(&error))
    }
}
