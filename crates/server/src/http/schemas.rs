//! How types of the domain look in the API's document. The domain knows of no document, so they are described here.

use carelog_audit::{Action, LegalBasis, Outcome, Topic};
use carelog_domain::access::{AnalyticsDimension, AnalyticsFormat, AnalyticsView, DisclosureExclusion};
use carelog_domain::accounting::{AgencyKind, StatementForm};
use carelog_domain::appointment::{
    AppointmentMode, AppointmentStatus, CancellationReason, CancelledBy, ConfirmationChannel,
    RescheduleReason, TimePrecision,
};
use carelog_domain::file::{ContentType, FileKind, FileStatus, LinkDisposition};
use carelog_domain::form::{FormStatus, Signatory, VoidReason};
use carelog_domain::legal_hold::LegalHoldReason;
use carelog_domain::organization::{IntegrationKind, Scope};
use carelog_domain::patient::{ConsentKind, ErasureGround};
use carelog_domain::specialist::{DeactivationReason, Profession};
use carelog_domain::treatment_plan::{PlanOutcome, PlanStatus, SkipReason};
use carelog_domain::video_room::{ParticipantKind, RoomEnd, RoomFailure, RoomProvider};
use carelog_domain::webhook_delivery::{AttemptDetail, AttemptOutcome, FinalReason};
use carelog_domain::webhook_replay::{ReplayEnd, ReplayStatus, ReplayedState};
use carelog_domain::webhook_subscription::{EventFilter, SubscriptionStatus, WebhookFormat};
use carelog_domain::{EventType, PurposeOfUse, Role, StreamKind};
use carelog_records::{MemberStatus, PatientStatus, SpecialistStatus};
use carelog_video::RoomState;
use utoipa::openapi::schema::{ArrayBuilder, Object, ObjectBuilder, Type};
use utoipa::openapi::{Array, KnownFormat, SchemaFormat};

use super::disclosures::Excluded;
use super::trail::TrailFormat;
use crate::exports::ExportForm;
use crate::past::RecordKind;

fn names(names: impl Iterator<Item = &'static str>) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).build()
}

macro_rules! enums {
    ($($function:ident: $type:ty;)+) => {$(
        #[doc = concat!("The names of `", stringify!($type), "`.")]
        pub(super) fn $function() -> Object {
            names(<$type>::ALL.iter().map(|value| value.as_str()))
        }
    )+};
}

enums! {
    analytics_dimension: AnalyticsDimension;
    analytics_format: AnalyticsFormat;
    analytics_view: AnalyticsView;
    appointment_mode: AppointmentMode;
    appointment_status: AppointmentStatus;
    action: Action;
    attempt_detail: AttemptDetail;
    attempt_outcome: AttemptOutcome;
    cancellation_reason: CancellationReason;
    cancelled_by: CancelledBy;
    confirmation_channel: ConfirmationChannel;
    agency_kind: AgencyKind;
    statement_form: StatementForm;
    disclosure_exclusion: DisclosureExclusion;
    excluded: Excluded;
    consent_kind: ConsentKind;
    content_type: ContentType;
    deactivation_reason: DeactivationReason;
    erasure_ground: ErasureGround;
    event_type: EventType;
    final_reason: FinalReason;
    file_kind: FileKind;
    file_status: FileStatus;
    form_status: FormStatus;
    integration_kind: IntegrationKind;
    legal_basis: LegalBasis;
    legal_hold_reason: LegalHoldReason;
    link_disposition: LinkDisposition;
    member_status: MemberStatus;
    outcome: Outcome;
    participant_kind: ParticipantKind;
    patient_status: PatientStatus;
    plan_outcome: PlanOutcome;
    plan_status: PlanStatus;
    profession: Profession;
    purpose: PurposeOfUse;
    record_kind: RecordKind;
    replay_end: ReplayEnd;
    replay_status: ReplayStatus;
    replayed_state: ReplayedState;
    reschedule_reason: RescheduleReason;
    role: Role;
    room_end: RoomEnd;
    room_failure: RoomFailure;
    room_provider: RoomProvider;
    room_state: RoomState;
    scope: Scope;
    signatory: Signatory;
    skip_reason: SkipReason;
    specialist_status: SpecialistStatus;
    stream_kind: StreamKind;
    subscription_status: SubscriptionStatus;
    topic: Topic;
    trail_format: TrailFormat;
    export_form: ExportForm;
    time_precision: TimePrecision;
    void_reason: VoidReason;
    webhook_format: WebhookFormat;
}

/// Dimensions of a view.
pub(super) fn analytics_dimensions() -> Array {
    ArrayBuilder::new().items(analytics_dimension()).build()
}

/// A list of scopes.
pub(super) fn scopes() -> Array {
    ArrayBuilder::new().items(scope()).build()
}

/// States of deliveries that are sent again.
pub(super) fn replayed_states() -> Array {
    ArrayBuilder::new().items(replayed_state()).min_items(Some(1)).build()
}

/// Reasons of deliveries that failed.
pub(super) fn final_reasons() -> Array {
    ArrayBuilder::new().items(final_reason()).build()
}

/// The types of events that partners may receive.
pub(super) fn public_event_type() -> Object {
    names(EventType::public().map(EventType::as_str))
}

/// A filter over event types.
pub(super) fn event_filter() -> Array {
    let pattern =
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(EventFilter::known())).build();
    ArrayBuilder::new().items(pattern).min_items(Some(1)).build()
}

/// A moment, RFC 3339 in UTC.
pub(super) fn moment() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .build()
}

/// SHA-256 in hexadecimal digits.
pub(super) fn sha256() -> Object {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9a-f]{64}$")).build()
}
