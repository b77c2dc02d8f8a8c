//! One event of every type, for tests. Each personal value contains [`CANARY`].

use std::collections::BTreeMap;

use serde_json::json;
use uuid::Uuid;

use crate::access::{
    AccessAnalyticsLinkIssued, AccessAnalyticsQueried, AccessDenied, AccessDisclosureMade, AccessEvent,
    AccessRecordExported, AccessRecordViewed, AccessTrailQueried, AnalyticsDimension, AnalyticsFormat,
    AnalyticsView, CellValue, DenialReason, Disclosure, DisclosureExclusion, Interaction, YearMonth,
};
use crate::accounting::{
    AccountingEvent, AccountingResumed, AccountingSuspended, AgencyKind, AgencyStatement, StatementForm,
};
use crate::appointment::{
    AppointmentBooked, AppointmentCancelled, AppointmentCompleted, AppointmentConfirmed, AppointmentEvent,
    AppointmentMode, AppointmentNoShow, AppointmentNote, AppointmentOnboarded, AppointmentRescheduled,
    AppointmentStarted, CancellationReason, CancelledBy, ConfirmationChannel, RescheduleReason,
    TimePrecision,
};
use crate::closed::Sha256Digest;
use crate::file::{
    ContentType, FileDeleted, FileDeletion, FileEvent, FileKind, FileLinkIssued, FileName, FileStored,
    FileUploadFailed, FileUploadRequested, LinkDisposition, StorageEncryption, UploadFailure,
};
use crate::form::{
    FormAnswers, FormAssigned, FormEvent, FormSaved, FormSigned, FormVoided, Signatory, VoidReason,
};
use crate::legal_hold::{LegalHoldEvent, LegalHoldPlaced, LegalHoldReason, LegalHoldReleased};
use crate::organization::{
    IntegrationCredentials, IntegrationKind, OrganizationApiKeyIssued, OrganizationApiKeyRevoked,
    OrganizationEvent, OrganizationIntegrationConfigured, OrganizationIntegrationRemoved,
    OrganizationMemberAdded, OrganizationMemberRemoved, OrganizationProfile, OrganizationPseudonymEpochBegun,
    OrganizationPseudonymKeyDestroyed, OrganizationRegistered, OrganizationSettingsChanged, Scope,
    StaffProfile,
};
use crate::patient::{
    ConsentKind, ErasureGround, PatientAccountingResumed, PatientAccountingSuspended, PatientConsentGiven,
    PatientConsentWithdrawn, PatientDetails, PatientDetailsChanged, PatientErased, PatientErasureRequested,
    PatientEvent, PatientKeysDestroyed, PatientLegalHoldPlaced, PatientLegalHoldReleased, PatientOnboarded,
    PatientRegistered,
};
use crate::specialist::{
    DeactivationReason, Profession, SpecialistAdded, SpecialistDeactivated, SpecialistEvent,
};
use crate::treatment_plan::{
    ExerciseInstructions, PlanIntent, PlanOutcome, SkipReason, TreatmentPlanCompleted, TreatmentPlanCreated,
    TreatmentPlanEvent, TreatmentPlanExerciseAssigned, TreatmentPlanExerciseCompleted,
    TreatmentPlanExerciseSkipped,
};
use crate::video_notice::{NoticeBody, NoticeKind, VideoNoticeEvent, VideoNoticeReceived};
use crate::video_room::{
    DiscardReason, NetworkState, ParticipantKind, RecordingEnd, RecordingStep, RoomAddress, RoomChange,
    RoomEnd, RoomFailure, RoomProvider, VideoRoomAccessGranted, VideoRoomAccessRevoked,
    VideoRoomChangeFailed, VideoRoomCreated, VideoRoomCreationFailed, VideoRoomEvent, VideoRoomExpired,
    VideoRoomExtended, VideoRoomMoved, VideoRoomParticipantJoined, VideoRoomParticipantLeft,
    VideoRoomQualitySampled, VideoRoomRecordingDiscarded, VideoRoomRecordingFailed,
    VideoRoomRecordingRequested, VideoRoomRecordingStarted, VideoRoomRecordingStopRequested,
    VideoRoomRecordingStopped, VideoRoomRecordingStored,
};
use crate::webhook_delivery::{
    AttemptDetail, AttemptOutcome, FinalReason, WebhookDeliveryAnswersExpunged, WebhookDeliveryAttempted,
    WebhookDeliveryDelivered, WebhookDeliveryEmitted, WebhookDeliveryEvent, WebhookDeliveryExhausted,
    WebhookDeliveryRedeliveryRequested,
};
use crate::webhook_replay::{
    ReplayEnd, ReplayedState, WebhookReplayAdvanced, WebhookReplayCancelled, WebhookReplayCompleted,
    WebhookReplayEvent, WebhookReplayRequested,
};
use crate::webhook_subscription::{
    DisableReason, EventFilter, RotatedSecret, SubscriptionChange, SubscriptionSecrets, WebhookFormat,
    WebhookSubscriptionChanged, WebhookSubscriptionCreated, WebhookSubscriptionDeleted,
    WebhookSubscriptionDisabled, WebhookSubscriptionEnabled, WebhookSubscriptionEvent,
    WebhookSubscriptionSecretRotated, WebhookSubscriptionTestRequested,
};
use crate::{Event, EventType, Personal, PurposeOfUse, Role, StreamKind, Timestamp};

/// Stands in every personal value and nowhere else.
pub(crate) const CANARY: &str = "Musterfrau";

/// What may differ from one event to the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variation {
    pub(crate) id: u128,
    pub(crate) moment: Timestamp,
    pub(crate) number: u16,
    pub(crate) flag: bool,
}

impl Variation {
    pub(crate) fn fixed() -> Self {
        Self {
            id: 0x0190_0000_0000_7000_8000_0000_0000_0000,
            moment: at("2026-03-02T09:30:00Z"),
            number: 7,
            flag: true,
        }
    }

    fn uuid(self, step: u128) -> Uuid {
        Uuid::from_u128(self.id.wrapping_add(step))
    }

    fn id<T: From<Uuid>>(self, step: u128) -> T {
        T::from(self.uuid(step))
    }

    fn optional<T>(self, value: T) -> Option<T> {
        self.flag.then_some(value)
    }
}

/// A moment from its RFC 3339 text.
pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn organization_profile() -> OrganizationProfile {
    OrganizationProfile { name: format!("{CANARY} Clinic"), time_zone: format!("Europe/{CANARY}") }
}

pub(crate) fn staff_profile() -> StaffProfile {
    StaffProfile { name: format!("Dr {CANARY}"), email: format!("{CANARY}@clinic.example") }
}

pub(crate) fn patient_details() -> PatientDetails {
    PatientDetails {
        name: Some(format!("Erika {CANARY}")),
        email: Some(format!("{CANARY}@example.org")),
        phone: Some(format!("+49 30 {CANARY}")),
        birth_date: Some(format!("1964-08-12 {CANARY}")),
        external_reference: Some(format!("P-{CANARY}")),
    }
}

pub(crate) fn appointment_note() -> AppointmentNote {
    AppointmentNote { note: format!("{CANARY} asks for an interpreter") }
}

pub(crate) fn form_answers() -> FormAnswers {
    let answers =
        [("pain".to_owned(), json!(format!("{CANARY}: 4"))), ("sleep".to_owned(), json!([CANARY, 2]))];
    FormAnswers { answers: BTreeMap::from(answers) }
}

pub(crate) fn file_name() -> FileName {
    FileName { name: format!("X-ray of {CANARY}.pdf") }
}

pub(crate) fn plan_intent() -> PlanIntent {
    PlanIntent { title: format!("Knee of {CANARY}"), goal: Some(format!("{CANARY} climbs stairs")) }
}

pub(crate) fn exercise_instructions() -> ExerciseInstructions {
    ExerciseInstructions { instructions: format!("{CANARY} keeps the heels down") }
}

pub(crate) fn credentials() -> IntegrationCredentials {
    let settings = [("api_key".to_owned(), format!("secret-{CANARY}"))];
    IntegrationCredentials { settings: BTreeMap::from(settings) }
}

pub(crate) fn subscription_secrets() -> SubscriptionSecrets {
    SubscriptionSecrets {
        url: format!("https://partner.example/hook?token={CANARY}"),
        description: Some(format!("for {CANARY}")),
        secret: format!("whsec_{CANARY}"),
        headers: BTreeMap::from([("authorization".to_owned(), format!("Bearer {CANARY}"))]),
    }
}

pub(crate) fn subscription_change() -> SubscriptionChange {
    SubscriptionChange {
        url: Some(format!("https://partner.example/new?token={CANARY}")),
        description: None,
        headers: Some(BTreeMap::new()),
    }
}

pub(crate) fn rotated_secret() -> RotatedSecret {
    RotatedSecret { secret: format!("whsec_new_{CANARY}") }
}

pub(crate) fn agency_statement() -> AgencyStatement {
    AgencyStatement {
        agency: format!("{CANARY} Police"),
        official: Some(format!("Inspector {CANARY}")),
        statement: Some(format!("{CANARY} would be warned")),
    }
}

pub(crate) fn disclosure() -> Disclosure {
    Disclosure {
        recipient: format!("{CANARY} Health Insurance"),
        address: Some(format!("1 {CANARY} Street")),
        description: format!("discharge letter of {CANARY}"),
    }
}

pub(crate) fn room_address() -> RoomAddress {
    RoomAddress { url: format!("https://{CANARY}.daily.co/appt"), account: "7a1e6f0c".to_owned() }
}

/// One event of every type.
pub(crate) fn events(v: Variation) -> Vec<Event> {
    let mut events = Vec::new();
    events.extend(organization_events(v).into_iter().map(Event::from));
    events.extend(patient_events(v).into_iter().map(Event::from));
    events.extend(hold_events(v).into_iter().map(Event::from));
    events.extend(accounting_events(v).into_iter().map(Event::from));
    events.extend(specialist_events(v).into_iter().map(Event::from));
    events.extend(appointment_events(v).into_iter().map(Event::from));
    events.extend(form_events(v).into_iter().map(Event::from));
    events.extend(file_events(v).into_iter().map(Event::from));
    events.extend(plan_events(v).into_iter().map(Event::from));
    events.extend(video_room_events(v).into_iter().map(Event::from));
    events.extend(notice_events(v).into_iter().map(Event::from));
    events.extend(subscription_events(v).into_iter().map(Event::from));
    events.extend(delivery_events(v).into_iter().map(Event::from));
    events.extend(replay_events(v).into_iter().map(Event::from));
    events.extend(access_events(v).into_iter().map(Event::from));
    events
}

fn organization_events(v: Variation) -> Vec<OrganizationEvent> {
    vec![
        OrganizationEvent::Registered(OrganizationRegistered {
            personal: Some(Personal::Open(organization_profile())),
        }),
        OrganizationEvent::SettingsChanged(OrganizationSettingsChanged {
            recording_enabled: v.flag,
            small_cell_threshold: v.number,
            waiting_room_minutes: v.number,
            personal: v.optional(Personal::Open(organization_profile())),
        }),
        OrganizationEvent::IntegrationConfigured(OrganizationIntegrationConfigured {
            integration: IntegrationKind::Daily,
            abandoned_open: true,
            personal: Some(Personal::Open(credentials())),
        }),
        OrganizationEvent::IntegrationRemoved(OrganizationIntegrationRemoved {
            integration: IntegrationKind::Storage,
            abandoned_open: false,
        }),
        OrganizationEvent::MemberAdded(OrganizationMemberAdded {
            member_id: v.id(1),
            role: Role::Compliance,
            personal: Some(Personal::Open(staff_profile())),
        }),
        OrganizationEvent::MemberRemoved(OrganizationMemberRemoved { member_id: v.id(1) }),
        OrganizationEvent::ApiKeyIssued(OrganizationApiKeyIssued {
            api_key_id: v.id(2),
            role: Role::Specialist,
            scopes: vec![Scope::Commands, Scope::Reads],
            specialist_id: v.optional(v.id(3)),
            member_id: v.optional(v.id(1)),
            patient_id: None,
            secret_sha256: Sha256Digest::new([0xab; 32]),
            expires_at: v.optional(v.moment),
        }),
        OrganizationEvent::ApiKeyRevoked(OrganizationApiKeyRevoked { api_key_id: v.id(2) }),
        OrganizationEvent::PseudonymEpochBegun(OrganizationPseudonymEpochBegun {
            epoch: u32::from(v.number),
        }),
        OrganizationEvent::PseudonymKeyDestroyed(OrganizationPseudonymKeyDestroyed {
            epoch: u32::from(v.number),
        }),
    ]
}

fn patient_events(v: Variation) -> Vec<PatientEvent> {
    vec![
        PatientEvent::Registered(PatientRegistered {
            birth_year: v.optional(1964),
            personal: v.optional(Personal::Open(patient_details())),
        }),
        PatientEvent::Onboarded(PatientOnboarded {}),
        PatientEvent::DetailsChanged(PatientDetailsChanged {
            personal: Some(Personal::Open(patient_details())),
        }),
        PatientEvent::ConsentGiven(PatientConsentGiven {
            consent: ConsentKind::Recording,
            version: v.number,
        }),
        PatientEvent::ConsentWithdrawn(PatientConsentWithdrawn { consent: ConsentKind::Recording }),
        PatientEvent::AccountingSuspended(PatientAccountingSuspended {
            suspension_id: v.id(9),
            agency_kind: AgencyKind::LawEnforcement,
            form: StatementForm::Written,
            stated_at: v.moment,
            ends_at: v.moment,
            personal: Some(Personal::Open(agency_statement())),
        }),
        PatientEvent::AccountingResumed(PatientAccountingResumed { suspension_id: v.id(9) }),
        PatientEvent::LegalHoldPlaced(PatientLegalHoldPlaced {
            legal_hold_id: v.id(4),
            reason: LegalHoldReason::Litigation,
        }),
        PatientEvent::LegalHoldReleased(PatientLegalHoldReleased { legal_hold_id: v.id(4) }),
        PatientEvent::ErasureRequested(PatientErasureRequested { ground: ErasureGround::PatientRequest }),
        PatientEvent::KeysDestroyed(PatientKeysDestroyed { key_count: v.number }),
        PatientEvent::Erased(PatientErased {}),
    ]
}

fn hold_events(v: Variation) -> Vec<LegalHoldEvent> {
    vec![
        LegalHoldEvent::Placed(LegalHoldPlaced {
            legal_hold_id: v.id(4),
            reason: LegalHoldReason::Litigation,
        }),
        LegalHoldEvent::Released(LegalHoldReleased { legal_hold_id: v.id(4) }),
    ]
}

fn accounting_events(v: Variation) -> Vec<AccountingEvent> {
    vec![
        AccountingEvent::Suspended(AccountingSuspended {
            suspension_id: v.id(9),
            agency_kind: AgencyKind::LawEnforcement,
            form: StatementForm::Written,
            stated_at: v.moment,
            ends_at: v.moment,
            personal: Some(Personal::Open(agency_statement())),
        }),
        AccountingEvent::Resumed(AccountingResumed { suspension_id: v.id(9) }),
    ]
}

fn specialist_events(_: Variation) -> Vec<SpecialistEvent> {
    vec![
        SpecialistEvent::Added(SpecialistAdded {
            profession: Profession::Physiotherapist,
            personal: Some(Personal::Open(staff_profile())),
        }),
        SpecialistEvent::Deactivated(SpecialistDeactivated { reason: DeactivationReason::Leave }),
    ]
}

fn appointment_events(v: Variation) -> Vec<AppointmentEvent> {
    let patient_id = v.id(4);
    vec![
        AppointmentEvent::Booked(AppointmentBooked {
            patient_id,
            specialist_id: v.optional(v.id(3)),
            starts_at: v.moment,
            ends_at: v.optional(v.moment.saturating_add_micros(1)),
            starts_at_precision: TimePrecision::Minute,
            mode: AppointmentMode::Video,
            personal: v.optional(Personal::Open(appointment_note())),
        }),
        AppointmentEvent::Confirmed(AppointmentConfirmed {
            patient_id,
            channel: ConfirmationChannel::Reminder,
        }),
        AppointmentEvent::Onboarded(AppointmentOnboarded { patient_id }),
        AppointmentEvent::Rescheduled(AppointmentRescheduled {
            patient_id,
            starts_at: v.moment,
            ends_at: v.optional(v.moment.saturating_add_micros(1)),
            reason: RescheduleReason::PatientRequest,
        }),
        AppointmentEvent::Started(AppointmentStarted { patient_id }),
        AppointmentEvent::Completed(AppointmentCompleted {
            patient_id,
            duration_minutes: v.optional(v.number),
        }),
        AppointmentEvent::Cancelled(AppointmentCancelled {
            patient_id,
            cancelled_by: CancelledBy::Patient,
            reason: CancellationReason::Illness,
            personal: v.optional(Personal::Open(appointment_note())),
        }),
        AppointmentEvent::NoShow(AppointmentNoShow { patient_id }),
    ]
}

fn form_events(v: Variation) -> Vec<FormEvent> {
    let patient_id = v.id(4);
    vec![
        FormEvent::Assigned(FormAssigned {
            patient_id,
            template_id: v.id(5),
            template_version: v.number,
            appointment_id: v.optional(v.id(6)),
            due_at: v.optional(v.moment),
        }),
        FormEvent::Saved(FormSaved {
            patient_id,
            answer_count: v.number,
            personal: Some(Personal::Open(form_answers())),
        }),
        FormEvent::Signed(FormSigned {
            patient_id,
            content_sha256: Sha256Digest::new([0x0c; 32]),
            signed_by: Signatory::Guardian,
        }),
        FormEvent::Voided(FormVoided { patient_id, reason: VoidReason::Superseded }),
    ]
}

fn file_events(v: Variation) -> Vec<FileEvent> {
    let patient_id = Some(v.id(4));
    let (kind, content_type) = (FileKind::FormAttachment, ContentType::Pdf);
    let (size_bytes, content_sha256) = (i64::from(v.number), Sha256Digest::new([0x0d; 32]));
    vec![
        FileEvent::UploadRequested(FileUploadRequested {
            patient_id,
            form_id: v.optional(v.id(9)),
            kind,
            content_type,
            size_bytes,
            content_sha256,
            part_bytes: v.optional(i64::from(v.number)),
            expires_at: v.moment,
            personal: v.optional(Personal::Open(file_name())),
        }),
        FileEvent::Stored(FileStored {
            patient_id: v.optional(v.id(4)),
            form_id: v.optional(v.id(9)),
            kind,
            content_type,
            size_bytes,
            content_sha256,
            encryption: StorageEncryption::Aes256,
        }),
        FileEvent::UploadFailed(FileUploadFailed { patient_id, reason: UploadFailure::WrongHash }),
        FileEvent::LinkIssued(FileLinkIssued {
            patient_id,
            valid_seconds: v.number,
            disposition: LinkDisposition::Attachment,
        }),
        FileEvent::Deleted(FileDeleted { patient_id, reason: FileDeletion::PatientErased }),
    ]
}

fn plan_events(v: Variation) -> Vec<TreatmentPlanEvent> {
    let (patient_id, assignment_id, exercise_id) = (v.id(4), v.id(10), v.id(11));
    vec![
        TreatmentPlanEvent::Created(TreatmentPlanCreated {
            patient_id,
            specialist_id: v.id(3),
            starts_at: v.moment,
            week_count: 6,
            personal: v.optional(Personal::Open(plan_intent())),
        }),
        TreatmentPlanEvent::ExerciseAssigned(TreatmentPlanExerciseAssigned {
            patient_id,
            assignment_id,
            exercise_id,
            week: 2,
            session_count: 3,
            sets: 4,
            repetitions: v.optional(v.number),
            seconds: v.optional(v.number),
            personal: v.optional(Personal::Open(exercise_instructions())),
        }),
        TreatmentPlanEvent::ExerciseCompleted(TreatmentPlanExerciseCompleted {
            patient_id,
            assignment_id,
            exercise_id,
            week: 2,
            session: 1,
            duration_seconds: v.optional(v.number),
            pain: v.optional(3),
            exertion: v.optional(6),
        }),
        TreatmentPlanEvent::ExerciseSkipped(TreatmentPlanExerciseSkipped {
            patient_id,
            assignment_id,
            exercise_id,
            week: 2,
            session: 2,
            reason: SkipReason::NoTime,
        }),
        TreatmentPlanEvent::Completed(TreatmentPlanCompleted {
            patient_id,
            outcome: PlanOutcome::ProgrammeEnded,
            assigned_sessions: u32::from(v.number),
            completed_sessions: 5,
            skipped_sessions: 1,
        }),
    ]
}

fn subscription_events(v: Variation) -> Vec<WebhookSubscriptionEvent> {
    vec![
        WebhookSubscriptionEvent::Created(WebhookSubscriptionCreated {
            partner_id: v.optional(v.id(9)),
            filter: EventFilter::parse(&["appointment.*", "form.signed"]).unwrap(),
            format: WebhookFormat::Cloudevents,
            per_tick_limit: v.optional(v.number),
            personal: Some(Personal::Open(subscription_secrets())),
        }),
        WebhookSubscriptionEvent::Changed(WebhookSubscriptionChanged {
            filter: v.optional(EventFilter::all()),
            per_tick_limit: v.optional(v.number),
            personal: v.optional(Personal::Open(subscription_change())),
        }),
        WebhookSubscriptionEvent::SecretRotated(WebhookSubscriptionSecretRotated {
            overlap_seconds: 86_400,
            personal: Some(Personal::Open(rotated_secret())),
        }),
        WebhookSubscriptionEvent::Disabled(WebhookSubscriptionDisabled { reason: DisableReason::Gone }),
        WebhookSubscriptionEvent::Enabled(WebhookSubscriptionEnabled {}),
        WebhookSubscriptionEvent::Deleted(WebhookSubscriptionDeleted {}),
        WebhookSubscriptionEvent::TestRequested(WebhookSubscriptionTestRequested {}),
    ]
}

fn delivery_events(v: Variation) -> Vec<WebhookDeliveryEvent> {
    let subscription_id = v.id(7);
    vec![
        WebhookDeliveryEvent::Emitted(WebhookDeliveryEmitted {
            subscription_id,
            source_event_id: v.id(8),
            source_type: EventType::AppointmentBooked,
            source_sequence: i64::from(v.number),
        }),
        WebhookDeliveryEvent::Attempted(WebhookDeliveryAttempted {
            subscription_id,
            number: v.number,
            outcome: AttemptOutcome::HttpStatus,
            detail: v.optional(AttemptDetail::TlsExpired),
            status: v.optional(503),
            started_at: v.moment,
            duration_ms: 245,
            lookup_ms: v.optional(3),
            connect_ms: v.optional(41),
            wait_ms: v.optional(200),
            body_ms: v.optional(1),
            subscription_version: v.optional(i64::from(v.number)),
            next_attempt_at: v.optional(v.moment),
        }),
        WebhookDeliveryEvent::Delivered(WebhookDeliveryDelivered {
            subscription_id,
            number: v.number,
            replay_id: v.optional(v.id(9)),
        }),
        WebhookDeliveryEvent::Exhausted(WebhookDeliveryExhausted {
            subscription_id,
            reason: FinalReason::Exhausted,
            replay_id: v.optional(v.id(9)),
        }),
        WebhookDeliveryEvent::RedeliveryRequested(WebhookDeliveryRedeliveryRequested {
            subscription_id,
            replay_id: v.optional(v.id(9)),
        }),
        WebhookDeliveryEvent::AnswersExpunged(WebhookDeliveryAnswersExpunged { subscription_id }),
    ]
}

fn video_room_events(v: Variation) -> Vec<VideoRoomEvent> {
    let (patient_id, appointment_id) = (v.id(4), v.id(5));
    let mut events = vec![
        VideoRoomEvent::Created(VideoRoomCreated {
            patient_id,
            appointment_id,
            provider: RoomProvider::Daily,
            opening: v.number,
            opens_at: v.moment,
            expires_at: v.moment,
            adopted: v.flag,
            personal: Some(Personal::Open(room_address())),
        }),
        VideoRoomEvent::CreationFailed(VideoRoomCreationFailed {
            patient_id,
            appointment_id,
            attempt: v.number,
            reason: RoomFailure::Unavailable,
            next_attempt_at: v.optional(v.moment),
        }),
        VideoRoomEvent::Moved(VideoRoomMoved {
            patient_id,
            appointment_id,
            opens_at: v.moment,
            expires_at: v.moment,
        }),
        VideoRoomEvent::ChangeFailed(VideoRoomChangeFailed {
            patient_id,
            appointment_id,
            change: RoomChange::Move,
            attempt: v.number,
            reason: RoomFailure::RateLimited,
            next_attempt_at: v.optional(v.moment),
        }),
        VideoRoomEvent::AccessGranted(VideoRoomAccessGranted {
            patient_id,
            appointment_id,
            participant_id: v.id(10),
            participant: ParticipantKind::Guest,
            link: v.number,
            valid_from: v.moment,
            valid_until: v.moment,
        }),
        VideoRoomEvent::AccessRevoked(VideoRoomAccessRevoked {
            patient_id,
            appointment_id,
            participant_id: v.id(10),
            link: v.number,
        }),
        VideoRoomEvent::Extended(VideoRoomExtended {
            patient_id,
            appointment_id,
            participant_id: v.id(10),
            planned_expires_at: v.moment,
            expires_at: v.moment,
        }),
    ];
    events.extend(stays_in_video_rooms(v));
    events
}

fn stays_in_video_rooms(v: Variation) -> Vec<VideoRoomEvent> {
    let (patient_id, appointment_id, recording_id) = (v.id(4), v.id(5), v.id(12));
    let (session_id, participant_id, participant) =
        (v.uuid(11), v.optional(v.id(10)), v.optional(ParticipantKind::Patient));
    vec![
        VideoRoomEvent::ParticipantJoined(VideoRoomParticipantJoined {
            patient_id,
            appointment_id,
            participant_id,
            participant,
            session_id,
            joined_at: v.moment,
        }),
        VideoRoomEvent::ParticipantLeft(VideoRoomParticipantLeft {
            patient_id,
            appointment_id,
            participant_id,
            participant,
            session_id,
            left_at: v.moment,
            duration_seconds: 1_500,
        }),
        VideoRoomEvent::QualitySampled(VideoRoomQualitySampled {
            patient_id,
            appointment_id,
            participant_id,
            session_id,
            sampled_at: v.moment,
            state: NetworkState::Warning,
            round_trip_ms: v.optional(84),
            jitter_ms: v.optional(12),
            send_loss_permille: v.optional(5),
            receive_loss_permille: v.optional(31),
            sent_kbps: v.optional(900),
            received_kbps: v.optional(1_100),
            freeze_count: v.optional(1),
        }),
        VideoRoomEvent::RecordingStarted(VideoRoomRecordingStarted {
            patient_id,
            appointment_id,
            recording_id,
            started_at: v.moment,
        }),
        VideoRoomEvent::RecordingStored(VideoRoomRecordingStored {
            patient_id,
            appointment_id,
            recording_id,
            file_id: v.id(13),
            duration_seconds: 1_500,
            size_bytes: 187_000_000,
        }),
        VideoRoomEvent::RecordingRequested(VideoRoomRecordingRequested { patient_id, appointment_id }),
        VideoRoomEvent::RecordingStopRequested(VideoRoomRecordingStopRequested {
            patient_id,
            appointment_id,
            reason: RecordingEnd::ConsentWithdrawn,
        }),
        VideoRoomEvent::RecordingStopped(VideoRoomRecordingStopped {
            patient_id,
            appointment_id,
            recording_id,
            stopped_at: v.moment,
            reason: RecordingEnd::Requested,
        }),
        VideoRoomEvent::RecordingFailed(VideoRoomRecordingFailed {
            patient_id,
            appointment_id,
            step: RecordingStep::Start,
            attempt: v.number,
            reason: RoomFailure::Unavailable,
            next_attempt_at: v.optional(v.moment),
        }),
        VideoRoomEvent::RecordingDiscarded(VideoRoomRecordingDiscarded {
            patient_id,
            appointment_id,
            recording_id,
            reason: DiscardReason::NoConsent,
        }),
        VideoRoomEvent::Expired(VideoRoomExpired {
            patient_id,
            appointment_id,
            reason: RoomEnd::AppointmentCancelled,
        }),
    ]
}

pub(crate) fn notice_body() -> NoticeBody {
    NoticeBody { json: format!(r#"{{"payload":{{"user_name":"{CANARY}"}}}}"#) }
}

fn notice_events(v: Variation) -> Vec<VideoNoticeEvent> {
    vec![VideoNoticeEvent::Received(VideoNoticeReceived {
        patient_id: v.id(4),
        appointment_id: v.id(5),
        provider: RoomProvider::Daily,
        kind: NoticeKind::ParticipantLeft,
        sent_at: v.moment,
        personal: Some(Personal::Open(notice_body())),
    })]
}

fn replay_events(v: Variation) -> Vec<WebhookReplayEvent> {
    let subscription_id = v.id(7);
    vec![
        WebhookReplayEvent::Requested(WebhookReplayRequested {
            subscription_id,
            number: u32::from(v.number),
            filter: EventFilter::parse(&["appointment.*", "form.signed"]).unwrap(),
            states: vec![ReplayedState::Failed, ReplayedState::Delivered],
            reasons: vec![FinalReason::Exhausted],
            from: v.optional(v.moment),
            until: v.optional(v.moment),
            matching: u32::from(v.number),
            first_sequence: i64::from(v.number),
            last_sequence: i64::from(v.number),
        }),
        WebhookReplayEvent::Advanced(WebhookReplayAdvanced {
            subscription_id,
            place: i64::from(v.number),
            requested: 100,
            skipped: 1,
        }),
        WebhookReplayEvent::Completed(WebhookReplayCompleted { subscription_id, requested: 120, skipped: 2 }),
        WebhookReplayEvent::Cancelled(WebhookReplayCancelled {
            subscription_id,
            reason: ReplayEnd::Requested,
        }),
    ]
}

fn access_events(v: Variation) -> Vec<AccessEvent> {
    vec![
        AccessEvent::RecordViewed(AccessRecordViewed {
            target_kind: StreamKind::Patient,
            target_id: v.uuid(4),
            patient_id: v.optional(v.id(4)),
            record_count: 1,
            interaction: Interaction::Read,
        }),
        AccessEvent::RecordExported(AccessRecordExported {
            target_kind: StreamKind::Appointment,
            patient_id: v.optional(v.id(4)),
            record_count: 12,
        }),
        AccessEvent::DisclosureMade(AccessDisclosureMade {
            patient_id: v.id(4),
            purpose: PurposeOfUse::Payment,
            exclusion: v.optional(DisclosureExclusion::Authorization),
            personal: Some(Personal::Open(disclosure())),
        }),
        AccessEvent::TrailQueried(AccessTrailQueried { patient_id: v.optional(v.id(4)), entry_count: 40 }),
        AccessEvent::AnalyticsQueried(AccessAnalyticsQueried {
            view: AnalyticsView::AppointmentPatterns,
            format: AnalyticsFormat::Csv,
            dimension: v.optional(AnalyticsDimension::Month),
            values: v.optional(CellValue::Number(1)).into_iter().collect(),
            from: v.optional(YearMonth::new(2026, 3)).flatten(),
            until: None,
            cell_count: u32::from(v.number),
            withheld_count: 1,
            link_id: v.optional(v.id(4)),
        }),
        AccessEvent::AnalyticsLinkIssued(AccessAnalyticsLinkIssued {
            view: AnalyticsView::ClinicUtilisation,
            dimension: v.optional(AnalyticsDimension::Month),
            values: vec![],
            from: v.optional(YearMonth::new(2026, 3)).flatten(),
            until: None,
            expires_at: v.moment,
        }),
        AccessEvent::Denied(AccessDenied { reason: DenialReason::MissingScope, status: 403 }),
    ]
}
