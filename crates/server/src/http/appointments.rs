//! Appointments: booked, moved along to their end, and read.

mod view;

use std::sync::Arc;

use axum::extract::OriginalUri;
use axum::response::Response;
use carelog_domain::appointment::{
    Appointment, AppointmentCommand, AppointmentMode, AppointmentNote, AppointmentStatus, BookAppointment,
    CancellationReason, CancelledBy, ConfirmationChannel, RescheduleAppointment, RescheduleReason,
    TimePrecision,
};
use carelog_domain::{AppointmentId, PatientId, SpecialistId, StreamKind, Timestamp};
use carelog_records::queries::{self, AppointmentFilter};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) use self::view::AppointmentView;
use super::body::{PathId, Query};
use super::caller::Caller;
use super::command::{CommandAnswer, Done, Moment, Wish, shown};
use super::freshness::View;
use super::page::{self, Fresh, Page};
use super::problem::Problem;
use super::text::Lines;
use super::{Api, access, schemas};

const MAX_NOTE: usize = 4000;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(book, list))
        .routes(routes!(get))
        .routes(routes!(confirm))
        .routes(routes!(onboard))
        .routes(routes!(reschedule))
        .routes(routes!(start))
        .routes(routes!(complete))
        .routes(routes!(cancel))
        .routes(routes!(mark_no_show))
}

/// An appointment to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BookAppointmentBody {
    /// Its id; made by the server where it is absent.
    id: Option<Uuid>,
    /// For whom.
    patient_id: Uuid,
    /// With whom, once that is known.
    specialist_id: Option<Uuid>,
    /// When it begins; the day's midnight when only the day is known.
    #[schema(schema_with = schemas::moment)]
    starts_at: Timestamp,
    /// When it ends.
    #[schema(schema_with = schemas::moment)]
    ends_at: Option<Timestamp>,
    /// How exactly the beginning is known; `minute` where it is absent.
    #[schema(schema_with = schemas::time_precision)]
    starts_at_precision: Option<TimePrecision>,
    /// How they meet.
    #[schema(schema_with = schemas::appointment_mode)]
    mode: AppointmentMode,
    /// In words; kept encrypted.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 4000)]
    note: Option<Lines<MAX_NOTE>>,
    /// When it was made; now, where it is absent.
    #[schema(schema_with = schemas::moment)]
    occurred_at: Option<Timestamp>,
}

/// How an appointment was confirmed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConfirmAppointmentBody {
    /// How.
    #[schema(schema_with = schemas::confirmation_channel)]
    channel: ConfirmationChannel,
    /// When; now, where it is absent.
    #[schema(schema_with = schemas::moment)]
    occurred_at: Option<Timestamp>,
}

/// Where an appointment moves.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RescheduleAppointmentBody {
    /// When it is to begin.
    #[schema(schema_with = schemas::moment)]
    starts_at: Timestamp,
    /// When it is to end.
    #[schema(schema_with = schemas::moment)]
    ends_at: Option<Timestamp>,
    /// Why.
    #[schema(schema_with = schemas::reschedule_reason)]
    reason: RescheduleReason,
    /// When this was agreed; now, where it is absent.
    #[schema(schema_with = schemas::moment)]
    occurred_at: Option<Timestamp>,
}

/// How a consultation ended.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CompleteAppointmentBody {
    /// How long it took, in minutes.
    duration_minutes: Option<u16>,
    /// When it ended; now, where it is absent.
    #[schema(schema_with = schemas::moment)]
    occurred_at: Option<Timestamp>,
}

/// Why an appointment is called off.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CancelAppointmentBody {
    /// By whom; `clinic` where it is absent, and always `patient` for a patient's key.
    #[schema(schema_with = schemas::cancelled_by)]
    cancelled_by: Option<CancelledBy>,
    /// Why.
    #[schema(schema_with = schemas::cancellation_reason)]
    reason: CancellationReason,
    /// In words; kept encrypted.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 4000)]
    note: Option<Lines<MAX_NOTE>>,
    /// When; now, where it is absent.
    #[schema(schema_with = schemas::moment)]
    occurred_at: Option<Timestamp>,
}

/// Which appointments are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// How far they have come.
    #[param(schema_with = schemas::appointment_status, required = false)]
    status: Option<AppointmentStatus>,
    /// Of one patient.
    patient_id: Option<Uuid>,
    /// With one specialist.
    specialist_id: Option<Uuid>,
    /// Those that begin at this moment or later.
    #[param(schema_with = schemas::moment, required = false)]
    starts_from: Option<Timestamp>,
    /// Those that begin before this moment.
    #[param(schema_with = schemas::moment, required = false)]
    starts_before: Option<Timestamp>,
    /// The `next` of the page before.
    after: Option<String>,
    /// So many, 50 where it is absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// The `position` of a command that the list has to show.
    wait_for: Option<String>,
}

/// Make an appointment.
#[utoipa::path(post, path = "/v1/appointments", tag = "appointments", request_body = BookAppointmentBody,
    responses((status = 201, description = "Made.", body = CommandAnswer)))]
async fn book(caller: Caller, wish: Wish<BookAppointmentBody>) -> Result<Response, Problem> {
    let body = wish.body;
    let patient_id = PatientId::new(body.patient_id);
    caller.may_touch(patient_id).await?;
    caller.require_patient(patient_id).await?;
    let specialist_id = body.specialist_id.map(SpecialistId::new);
    if let Some(specialist_id) = specialist_id {
        caller.require_specialist(specialist_id).await?;
    }
    let id = wish.terms.id_of_new(&caller, body.id);
    let command = AppointmentCommand::Book(BookAppointment {
        patient_id,
        specialist_id,
        starts_at: body.starts_at,
        ends_at: body.ends_at,
        starts_at_precision: body.starts_at_precision.unwrap_or(TimePrecision::Minute),
        mode: body.mode,
        note: note(body.note),
        booked_at: body.occurred_at.unwrap_or_else(|| caller.api.now()),
    });
    Ok(caller.create::<Appointment>(&wish.terms, id, body.occurred_at, command).await?.created())
}

/// Confirm an appointment.
#[utoipa::path(post, path = "/v1/appointments/{appointment_id}/confirm", tag = "appointments",
    params(("appointment_id" = Uuid, Path)), request_body = ConfirmAppointmentBody,
    responses((status = 200, description = "Confirmed.", body = CommandAnswer)))]
async fn confirm(
    caller: Caller,
    PathId(id): PathId,
    wish: Wish<ConfirmAppointmentBody>,
) -> Result<Response, Problem> {
    let command = AppointmentCommand::Confirm { channel: wish.body.channel };
    Ok(change(&caller, id, &wish, wish.body.occurred_at, command).await?.changed())
}

/// Check the patient in.
#[utoipa::path(post, path = "/v1/appointments/{appointment_id}/onboard", tag = "appointments",
    params(("appointment_id" = Uuid, Path)), request_body = Moment,
    responses((status = 200, description = "Checked in.", body = CommandAnswer)))]
async fn onboard(caller: Caller, PathId(id): PathId, wish: Wish<Moment>) -> Result<Response, Problem> {
    Ok(change(&caller, id, &wish, wish.body.occurred_at, AppointmentCommand::Onboard).await?.changed())
}

/// Move an appointment.
#[utoipa::path(post, path = "/v1/appointments/{appointment_id}/reschedule", tag = "appointments",
    params(("appointment_id" = Uuid, Path)), request_body = RescheduleAppointmentBody,
    responses((status = 200, description = "Moved.", body = CommandAnswer)))]
async fn reschedule(
    caller: Caller,
    PathId(id): PathId,
    wish: Wish<RescheduleAppointmentBody>,
) -> Result<Response, Problem> {
    let command = AppointmentCommand::Reschedule(RescheduleAppointment {
        starts_at: wish.body.starts_at,
        ends_at: wish.body.ends_at,
        reason: wish.body.reason,
        now: wish.body.occurred_at.unwrap_or_else(|| caller.api.now()),
    });
    Ok(change(&caller, id, &wish, wish.body.occurred_at, command).await?.changed())
}

/// Begin the consultation.
#[utoipa::path(post, path = "/v1/appointments/{appointment_id}/start", tag = "appointments",
    params(("appointment_id" = Uuid, Path)), request_body = Moment,
    responses((status = 200, description = "Begun.", body = CommandAnswer)))]
async fn start(caller: Caller, PathId(id): PathId, wish: Wish<Moment>) -> Result<Response, Problem> {
    Ok(change(&caller, id, &wish, wish.body.occurred_at, AppointmentCommand::Start).await?.changed())
}

/// End the consultation.
#[utoipa::path(post, path = "/v1/appointments/{appointment_id}/complete", tag = "appointments",
    params(("appointment_id" = Uuid, Path)), request_body = CompleteAppointmentBody,
    responses((status = 200, description = "Ended.", body = CommandAnswer)))]
async fn complete(
    caller: Caller,
    PathId(id): PathId,
    wish: Wish<CompleteAppointmentBody>,
) -> Result<Response, Problem> {
    let command = AppointmentCommand::Complete { duration_minutes: wish.body.duration_minutes };
    Ok(change(&caller, id, &wish, wish.body.occurred_at, command).await?.changed())
}

/// Call an appointment off.
#[utoipa::path(post, path = "/v1/appointments/{appointment_id}/cancel", tag = "appointments",
    params(("appointment_id" = Uuid, Path)), request_body = CancelAppointmentBody,
    responses((status = 200, description = "Called off.", body = CommandAnswer)))]
async fn cancel(
    caller: Caller,
    PathId(id): PathId,
    wish: Wish<CancelAppointmentBody>,
) -> Result<Response, Problem> {
    let cancelled_by = match caller.bound_to() {
        Some(_) => CancelledBy::Patient,
        None => wish.body.cancelled_by.unwrap_or(CancelledBy::Clinic),
    };
    let command = AppointmentCommand::Cancel {
        cancelled_by,
        reason: wish.body.reason,
        note: note(wish.body.note.clone()),
    };
    Ok(change(&caller, id, &wish, wish.body.occurred_at, command).await?.changed())
}

/// Tell that the patient did not come.
#[utoipa::path(post, path = "/v1/appointments/{appointment_id}/no-show", tag = "appointments",
    params(("appointment_id" = Uuid, Path)), request_body = Moment,
    responses((status = 200, description = "Noted.", body = CommandAnswer)))]
async fn mark_no_show(caller: Caller, PathId(id): PathId, wish: Wish<Moment>) -> Result<Response, Problem> {
    Ok(change(&caller, id, &wish, wish.body.occurred_at, AppointmentCommand::MarkNoShow).await?.changed())
}

/// Appointments, the newest booking first.
#[utoipa::path(get, path = "/v1/appointments", tag = "appointments", params(ListQuery),
    responses((status = 200, description = "One page.", body = Page<AppointmentView>)))]
async fn list(
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let window = page::Window::read(query.limit, query.after.as_deref())?;
    caller.wait_for(query.wait_for.as_deref(), View::Records).await?;
    let patient_id = caller.patient_meant(query.patient_id.map(PatientId::new)).await?;
    let filter = AppointmentFilter {
        status: query.status,
        patient_id,
        specialist_id: query.specialist_id.map(SpecialistId::new),
        starts_from: query.starts_from,
        starts_before: query.starts_before,
    };
    let mut tx = caller.read().await?;
    let records =
        queries::list_appointments(&mut tx, caller.organization_id, &filter, window.of_records()).await?;
    tx.commit().await?;
    let (records, next) = window.cut(records, |record| record.stamp.created_position);
    let about: Vec<_> = records.iter().map(|record| Some(record.patient_id)).collect();
    let mut items = Vec::with_capacity(records.len());
    for record in records {
        items.push(AppointmentView::of(&caller, record).await?);
    }
    access::record_search(&caller, StreamKind::Appointment, about.into_iter()).await?;
    Ok(Page { items, next }.respond(&uri))
}

/// One appointment.
#[utoipa::path(get, path = "/v1/appointments/{appointment_id}", tag = "appointments",
    params(("appointment_id" = Uuid, Path), Fresh),
    responses((status = 200, description = "It.", body = AppointmentView)))]
async fn get(caller: Caller, PathId(id): PathId, Query(fresh): Query<Fresh>) -> Result<Response, Problem> {
    caller.wait_for(fresh.wait_for.as_deref(), View::Records).await?;
    let mut tx = caller.read().await?;
    let record = queries::get_appointment(&mut tx, caller.organization_id, AppointmentId::new(id)).await?;
    tx.commit().await?;
    let record = record.ok_or_else(Problem::not_found)?;
    caller.may_touch(record.patient_id).await?;
    let patient_id = Some(record.patient_id);
    let view = AppointmentView::of(&caller, record).await?;
    access::record_read(&caller, StreamKind::Appointment, id, patient_id).await?;
    shown(view.version, &view)
}

async fn change<B>(
    caller: &Caller,
    id: Uuid,
    wish: &Wish<B>,
    occurred_at: Option<Timestamp>,
    command: AppointmentCommand,
) -> Result<Done, Problem> {
    caller.may_touch_appointment(AppointmentId::new(id)).await?;
    caller.change::<Appointment>(&wish.terms, id, occurred_at, command).await
}

fn note(text: Option<Lines<MAX_NOTE>>) -> Option<AppointmentNote> {
    text.map(|text| AppointmentNote { note: text.into() })
}
