//! An appointment as the API shows it.

use carelog_domain::appointment::{
    AppointmentMode, AppointmentNote, AppointmentStatus, CancellationReason, CancelledBy,
    ConfirmationChannel, RescheduleReason, TimePrecision,
};
use carelog_domain::{SpecialistId, Timestamp};
use carelog_records::AppointmentRecord;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::caller::Caller;
use super::super::opening::{Opened, open};
use super::super::problem::Problem;
use super::super::schemas;

/// An appointment.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct AppointmentView {
    /// Its id.
    id: Uuid,
    /// Its version.
    pub(super) version: i64,
    /// For whom.
    patient_id: Uuid,
    /// With whom.
    specialist_id: Option<Uuid>,
    /// How far it has come.
    #[schema(schema_with = schemas::appointment_status)]
    status: AppointmentStatus,
    /// When it begins.
    #[schema(schema_with = schemas::moment)]
    starts_at: Timestamp,
    /// When it ends.
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Option<Timestamp>,
    /// How exactly the beginning is known.
    #[schema(schema_with = schemas::time_precision)]
    starts_at_precision: TimePrecision,
    /// How they meet.
    #[schema(schema_with = schemas::appointment_mode)]
    mode: AppointmentMode,
    /// How it was confirmed.
    #[schema(value_type = Option<String>)]
    confirmation_channel: Option<ConfirmationChannel>,
    /// When it was confirmed at its present time.
    #[schema(value_type = Option<String>, format = DateTime)]
    confirmed_at: Option<Timestamp>,
    /// When the patient checked in.
    #[schema(value_type = Option<String>, format = DateTime)]
    onboarded_at: Option<Timestamp>,
    /// When the consultation began.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When it was completed, cancelled or found to be a no-show.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// How long the consultation took.
    duration_minutes: Option<u16>,
    /// How often it moved.
    reschedule_count: u16,
    /// Why it moved last.
    #[schema(value_type = Option<String>)]
    reschedule_reason: Option<RescheduleReason>,
    /// Who called it off.
    #[schema(value_type = Option<String>)]
    cancelled_by: Option<CancelledBy>,
    /// Why it was called off.
    #[schema(value_type = Option<String>)]
    cancellation_reason: Option<CancellationReason>,
    /// The newest note, in words.
    note: Option<String>,
    /// Whether there was a note that is gone for ever.
    erased: bool,
    /// When it was made.
    #[schema(schema_with = schemas::moment)]
    created_at: Timestamp,
    /// When it changed last.
    #[schema(schema_with = schemas::moment)]
    updated_at: Timestamp,
}

impl AppointmentView {
    pub(in crate::http) async fn of(caller: &Caller, record: AppointmentRecord) -> Result<Self, Problem> {
        let note: Opened<AppointmentNote> = open(caller.api.log().vault(), record.personal.as_ref()).await?;
        let (note, erased) = note.or_erased(record.erased_at.is_some()).split();
        Ok(Self {
            id: record.appointment_id.uuid(),
            version: record.stamp.version,
            patient_id: record.patient_id.uuid(),
            specialist_id: record.specialist_id.map(SpecialistId::uuid),
            status: record.status,
            starts_at: record.starts_at,
            ends_at: record.ends_at,
            starts_at_precision: record.starts_at_precision,
            mode: record.mode,
            confirmation_channel: record.confirmation_channel,
            confirmed_at: record.confirmed_at,
            onboarded_at: record.onboarded_at,
            started_at: record.started_at,
            ended_at: record.ended_at,
            duration_minutes: record.duration_minutes,
            reschedule_count: record.reschedule_count,
            reschedule_reason: record.reschedule_reason,
            cancelled_by: record.cancelled_by,
            cancellation_reason: record.cancellation_reason,
            note: note.map(|note| note.note),
            erased,
            created_at: record.stamp.created_at,
            updated_at: record.stamp.updated_at,
        })
    }
}
