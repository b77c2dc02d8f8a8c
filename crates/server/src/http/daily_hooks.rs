//! Where Daily tells what happens in rooms: one address for each organization.
//!
//! What comes in is checked, put into the log as it came, and answered; what it means is worked out from the log. No key
//! of ours is asked for: the signature says who sent it. An organization that has no account is answered like one whose
//! signature does not fit. What comes again is answered as before and stored once, because Daily repeats what it could
//! not see an answer to, and stops sending after refusals.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use carelog_domain::video_notice::{NoticeBody, ReceiveNotice, VideoNotice, VideoNoticeCommand};
use carelog_domain::video_room::RoomProvider;
use carelog_domain::{
    Actor, AppointmentId, Circumstances, CorrelationId, OrganizationId, PatientId, StreamKind,
};
use carelog_event_log::{ExecuteError, Scope, StreamKey, derived_id, new_id};
use carelog_video::daily::{HookKey, HookNotice, HookRefusal, PROBE, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use carelog_video::{queries, room_id};
use http::StatusCode;
use uuid::Uuid;

use super::caller::text;
use super::problem::Problem;
use super::reading::read;
use super::{Api, body};

/// The route, without the organization.
pub(super) const PATH: &str = "/v1/hooks/daily/{organization_id}";
/// Daily's notices have a kilobyte or two.
const MAX_BYTES: usize = 64 << 10;

/// Takes a notice in.
pub(super) async fn receive(
    State(api): State<Arc<Api>>,
    Path(organization_id): Path<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let received = take(&api, &organization_id, request).await;
    let result = match &received {
        Ok(result) => result,
        Err(problem) => problem.code(),
    };
    metrics::counter!("carelog_video_notices_total", "result" => result.to_owned()).increment(1);
    received.map(|_| StatusCode::OK)
}

async fn take(api: &Api, organization_id: &str, request: Request) -> Result<&'static str, Problem> {
    let organization_id = OrganizationId::new(organization_id.parse::<Uuid>().map_err(|_| refused())?);
    let (parts, payload) = request.into_parts();
    let bytes = body::collect(&parts.headers, payload, MAX_BYTES).await?;
    // Not signed as far as is known, and nothing follows from it.
    if bytes == PROBE {
        return Ok("probe");
    }
    let mut tx = read(&api.system.databases.core_system, organization_id, None).await?;
    let Some(account) = api.video.daily(&mut tx, organization_id).await? else {
        // Nobody can tell whether the signature of one that does not open fits: it is to come again.
        return Err(if api.video.has_daily(&mut tx, organization_id).await? {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable")
        } else {
            refused()
        });
    };
    let (timestamp, signature) =
        (text(&parts.headers, TIMESTAMP_HEADER), text(&parts.headers, SIGNATURE_HEADER));
    HookKey::of(&account).verify(timestamp, signature, &bytes, api.now()).map_err(problem)?;
    let notice = HookNotice::read(&bytes).map_err(problem)?;
    // The webhook tells of the whole domain; rooms that are not ours are not our business.
    let Some((appointment_id, _)) = notice.room else { return Ok("foreign_room") };
    let room = queries::get_room(&mut tx, organization_id, appointment_id).await?;
    tx.commit().await?;
    let patient_id = match room {
        Some(room) => Some(room.patient_id),
        None => patient_in(api, organization_id, appointment_id).await?,
    };
    let Some(patient_id) = patient_id else { return Ok("foreign_room") };
    let json = String::from_utf8(bytes.to_vec()).map_err(|_| problem(HookRefusal::Malformed))?;
    let command = VideoNoticeCommand::Receive(ReceiveNotice {
        patient_id,
        appointment_id,
        provider: RoomProvider::Daily,
        kind: notice.kind,
        sent_at: notice.sent_at,
        body: NoticeBody { json },
    });
    store(api, organization_id, &notice.id, command).await
}

/// Whose room it is, as the log says: the row may not be there yet, or not again.
async fn patient_in(
    api: &Api,
    organization_id: OrganizationId,
    appointment_id: AppointmentId,
) -> Result<Option<PatientId>, Problem> {
    let stream = StreamKey { organization_id, kind: StreamKind::VideoRoom, id: room_id(appointment_id) };
    let events = api.log().stream(&stream, 0).await?;
    Ok(events.first().and_then(|event| event.subject))
}

/// Under an id that follows from Daily's own, so that what comes again is known.
async fn store(
    api: &Api,
    organization_id: OrganizationId,
    id: &str,
    command: VideoNoticeCommand,
) -> Result<&'static str, Problem> {
    let scope = Scope::new(organization_id, Circumstances::of(Actor::SYSTEM, CorrelationId::new(new_id())));
    let stream_id = derived_id(organization_id.uuid(), format!("daily notice {id}").as_bytes());
    match api.log().execute::<VideoNotice>(&scope, stream_id, command).await {
        Ok(_) => Ok("stored"),
        Err(ExecuteError::Rejected(_)) => Ok("repeated"),
        // Of a patient who was erased, nothing is kept any more.
        Err(ExecuteError::Seal(carelog_event_log::SealError::SubjectErased)) => Ok("erased"),
        Err(error) => Err(error.into()),
    }
}

fn refused() -> Problem {
    problem(HookRefusal::WrongSignature)
}

fn problem(refusal: HookRefusal) -> Problem {
    let (status, code) = match refusal {
        HookRefusal::Unsigned => (StatusCode::UNAUTHORIZED, "notice_unsigned"),
        HookRefusal::WrongSignature => (StatusCode::UNAUTHORIZED, "notice_signature_wrong"),
        HookRefusal::OutsideWindow => (StatusCode::UNAUTHORIZED, "notice_outside_window"),
        HookRefusal::Malformed => (StatusCode::UNPROCESSABLE_ENTITY, "notice_malformed"),
    };
    Problem::new(status, code).detail(refusal.to_string())
}
