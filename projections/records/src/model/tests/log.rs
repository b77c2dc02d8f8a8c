//! A log for tests, written by hand or at random.

use std::collections::HashMap;
use std::sync::Arc;

use carelog_domain::appointment::{
    AppointmentBooked, AppointmentCancelled, AppointmentCompleted, AppointmentConfirmed, AppointmentEvent,
    AppointmentMode, AppointmentNoShow, AppointmentOnboarded, AppointmentRescheduled, AppointmentStarted,
    CancellationReason, CancelledBy, ConfirmationChannel, RescheduleReason, TimePrecision,
};
use carelog_domain::closed::Sha256Digest;
use carelog_domain::form::{
    FormAssigned, FormEvent, FormSaved, FormSigned, FormVoided, Signatory, VoidReason,
};
use carelog_domain::legal_hold::{LegalHoldEvent, LegalHoldReason};
use carelog_domain::organization::{
    IntegrationKind, OrganizationApiKeyIssued, OrganizationApiKeyRevoked, OrganizationEvent,
    OrganizationIntegrationConfigured, OrganizationIntegrationRemoved, OrganizationMemberAdded,
    OrganizationMemberRemoved, OrganizationRegistered, OrganizationSettingsChanged, Scope,
};
use carelog_domain::patient::{
    ConsentKind, ErasureGround, PatientConsentGiven, PatientDetailsChanged, PatientErased,
    PatientErasureRequested, PatientEvent, PatientKeysDestroyed, PatientLegalHoldPlaced,
    PatientLegalHoldReleased, PatientOnboarded, PatientRegistered,
};
use carelog_domain::specialist::{
    DeactivationReason, Profession, SpecialistAdded, SpecialistDeactivated, SpecialistEvent,
};
use carelog_domain::treatment_plan::{
    PlanOutcome, SkipReason, TreatmentPlanCompleted, TreatmentPlanCreated, TreatmentPlanEvent,
    TreatmentPlanExerciseAssigned, TreatmentPlanExerciseCompleted, TreatmentPlanExerciseSkipped,
};
use carelog_domain::{
    Actor, ApiKeyId, AssignmentId, Circumstances, CorrelationId, Event, EventId, EventType, ExerciseId,
    FormTemplateId, KeyId, LegalHoldId, MemberId, OrganizationId, PatientId, Role, Sealed, SpecialistId,
    StreamKind, Timestamp,
};
use carelog_event_log::{RecordedEvent, SealedPart, StreamKey};
use proptest::prelude::*;
use uuid::Uuid;

pub(super) const ORGANIZATION: OrganizationId = OrganizationId::new(Uuid::from_u128(1));
pub(super) const PATIENT: PatientId = PatientId::new(Uuid::from_u128(0x10));
pub(super) const APPOINTMENT: Uuid = Uuid::from_u128(0x100);
pub(super) const FORM: Uuid = Uuid::from_u128(0x200);
pub(super) const PLAN: Uuid = Uuid::from_u128(0x500);
pub(super) const SQUATS: AssignmentId = AssignmentId::new(Uuid::from_u128(0x600));

/// So many seconds after the epoch.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH.saturating_add_micros(seconds * 1_000_000)
}

/// Events of one organization, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) events: Vec<RecordedEvent>,
    versions: HashMap<StreamKey, i64>,
}

impl Log {
    pub(super) fn append(&mut self, kind: StreamKind, id: Uuid, event: impl Into<Event>) {
        let event: Event = event.into();
        let encoded = event.encode().unwrap();
        let stream = StreamKey { organization_id: ORGANIZATION, kind, id };
        let version = self.versions.entry(stream).and_modify(|version| *version += 1).or_insert(1);
        let place = self.events.len() + 1;
        let position = i64::try_from(place).unwrap();
        self.events.push(RecordedEvent {
            lane: 1,
            position,
            organization_sequence: position,
            stream,
            version: *version,
            event_id: EventId::new(Uuid::from_u128(0x1_0000 + place as u128)),
            event_type: encoded.event_type,
            schema_version: encoded.event_type.schema_version(),
            occurred_at: at(position),
            recorded_at: at(position + 1),
            circumstances: Circumstances::of(Actor::SYSTEM, CorrelationId::new(Uuid::nil())),
            subject: event.patient_id(id),
            facts: Arc::from(encoded.facts),
            personal: None,
            network: None,
            leaf_hash: [0; 32],
        });
    }

    /// Gives the last event a personal part.
    pub(super) fn seal_last(&mut self) {
        let event = self.events.last_mut().unwrap();
        let sealed = Sealed {
            key_id: KeyId::new(Uuid::from_u128(0x77)),
            bytes: Arc::from(event.position.to_be_bytes().as_slice()),
        };
        event.personal = Some(SealedPart { sealed, key_commit: [0; 32] });
    }

    /// When the last event happened.
    pub(super) fn now(&self) -> Timestamp {
        self.events.last().unwrap().occurred_at
    }

    pub(super) fn organization(&mut self, event: OrganizationEvent) {
        self.append(StreamKind::Organization, ORGANIZATION.uuid(), event);
    }

    pub(super) fn patient(&mut self, event: PatientEvent) {
        self.append(StreamKind::Patient, PATIENT.uuid(), event);
    }

    pub(super) fn hold(&mut self, event: LegalHoldEvent) {
        self.append(StreamKind::LegalHold, PATIENT.uuid(), event);
    }

    pub(super) fn appointment(&mut self, event: AppointmentEvent) {
        self.append(StreamKind::Appointment, APPOINTMENT, event);
    }

    pub(super) fn register_organization(&mut self) {
        self.organization(OrganizationEvent::Registered(OrganizationRegistered { personal: None }));
    }

    pub(super) fn add_member(&mut self, member_id: MemberId) {
        let added = OrganizationMemberAdded { member_id, role: Role::Admin, personal: None };
        self.organization(OrganizationEvent::MemberAdded(added));
    }

    pub(super) fn issue_key(&mut self, api_key_id: ApiKeyId, member_id: MemberId) {
        self.organization(OrganizationEvent::ApiKeyIssued(OrganizationApiKeyIssued {
            api_key_id,
            role: Role::Admin,
            scopes: vec![Scope::Commands, Scope::Reads],
            specialist_id: None,
            member_id: Some(member_id),
            patient_id: None,
            secret_sha256: Sha256Digest::new([7; 32]),
            expires_at: None,
        }));
    }

    pub(super) fn register_patient(&mut self, patient_id: PatientId) {
        let registered = PatientRegistered { birth_year: Some(1964), personal: None };
        self.append(StreamKind::Patient, patient_id.uuid(), PatientEvent::Registered(registered));
    }

    pub(super) fn book(&mut self, id: Uuid) {
        self.book_for(id, PATIENT);
    }

    fn book_for(&mut self, id: Uuid, patient_id: PatientId) {
        let booked = AppointmentBooked {
            patient_id,
            specialist_id: None,
            starts_at: at(5_000),
            ends_at: Some(at(6_000)),
            starts_at_precision: TimePrecision::Minute,
            mode: AppointmentMode::Video,
            personal: None,
        };
        self.append(StreamKind::Appointment, id, AppointmentEvent::Booked(booked));
    }

    pub(super) fn assign_form(&mut self, id: Uuid) {
        self.assign_form_to(id, PATIENT);
    }

    fn assign_form_to(&mut self, id: Uuid, patient_id: PatientId) {
        let assigned = FormAssigned {
            patient_id,
            template_id: FormTemplateId::new(Uuid::from_u128(0x99)),
            template_version: 3,
            appointment_id: None,
            due_at: Some(at(7_000)),
        };
        self.append(StreamKind::Form, id, FormEvent::Assigned(assigned));
    }

    pub(super) fn save_form(&mut self, id: Uuid) {
        let saved = FormSaved { patient_id: PATIENT, answer_count: 4, personal: None };
        self.append(StreamKind::Form, id, FormEvent::Saved(saved));
    }

    pub(super) fn create_plan(&mut self, id: Uuid, patient_id: PatientId) {
        let created = TreatmentPlanCreated {
            patient_id,
            specialist_id: SpecialistId::new(Uuid::from_u128(0x98)),
            starts_at: at(8_000),
            week_count: 6,
            personal: None,
        };
        self.append(StreamKind::TreatmentPlan, id, TreatmentPlanEvent::Created(created));
    }

    pub(super) fn assign_exercise(&mut self, id: Uuid, patient_id: PatientId, assignment_id: AssignmentId) {
        let assigned = TreatmentPlanExerciseAssigned {
            patient_id,
            assignment_id,
            exercise_id: ExerciseId::new(Uuid::from_u128(0x97)),
            week: 2,
            session_count: 3,
            sets: 4,
            repetitions: Some(12),
            seconds: None,
            personal: None,
        };
        self.append(StreamKind::TreatmentPlan, id, TreatmentPlanEvent::ExerciseAssigned(assigned));
    }

    pub(super) fn plan(&mut self, event: TreatmentPlanEvent) {
        self.append(StreamKind::TreatmentPlan, PLAN, event);
    }

    /// The exercise of a plan that was assigned last.
    fn last_exercise(&self, plan_id: Uuid) -> Option<AssignmentId> {
        let of_plan = self.events.iter().filter(|event| event.stream.id == plan_id);
        of_plan.rev().find_map(|event| match event.decode().unwrap() {
            Event::TreatmentPlan(TreatmentPlanEvent::ExerciseAssigned(assigned)) => {
                Some(assigned.assignment_id)
            }
            _ => None,
        })
    }

    fn change_plan(&mut self, id: Uuid, patient_id: PatientId, choice: u8) {
        let event = match (choice % 4, self.last_exercise(id)) {
            (0, _) | (1 | 2, None) => {
                let assignment_id = AssignmentId::new(Uuid::from_u128(0x1000 + self.events.len() as u128));
                return self.assign_exercise(id, patient_id, assignment_id);
            }
            (1, Some(assignment_id)) => done(patient_id, assignment_id, choice % 11),
            (2, Some(assignment_id)) => skipped(patient_id, assignment_id),
            _ => TreatmentPlanEvent::Completed(TreatmentPlanCompleted {
                patient_id,
                outcome: PlanOutcome::Superseded,
                assigned_sessions: 3,
                completed_sessions: 1,
                skipped_sessions: 1,
            }),
        };
        self.append(StreamKind::TreatmentPlan, id, event);
    }

    fn is_voided(&self, form_id: Uuid) -> bool {
        let is_end = |event: &RecordedEvent| event.event_type == EventType::FormVoided;
        self.events.iter().any(|event| event.stream.id == form_id && is_end(event))
    }

    fn begun(&self, kind: StreamKind, id: Uuid) -> bool {
        self.versions.contains_key(&StreamKey { organization_id: ORGANIZATION, kind, id })
    }
}

/// One step of a random log: which stream, which kind of event, and whether it carries something personal.
#[derive(Clone, Copy, Debug)]
struct Move {
    kind: StreamKind,
    stream: u8,
    choice: u8,
    is_sealed: bool,
}

/// A log of a handful of streams, each of which begins as it has to and then does anything.
pub(super) fn events() -> impl Strategy<Value = Vec<RecordedEvent>> {
    let kind = prop::sample::select(vec![
        StreamKind::Organization,
        StreamKind::Patient,
        StreamKind::Specialist,
        StreamKind::Appointment,
        StreamKind::Form,
        StreamKind::TreatmentPlan,
    ]);
    let moves = (kind, 0_u8..3, any::<u8>(), any::<bool>())
        .prop_map(|(kind, stream, choice, is_sealed)| Move { kind, stream, choice, is_sealed });
    prop::collection::vec(moves, 1..60).prop_map(|moves| {
        let mut log = Log::default();
        for step in moves {
            log.take(step);
            if step.is_sealed {
                log.seal_last();
            }
        }
        log.events
    })
}

impl Log {
    fn take(&mut self, step: Move) {
        let patient_id = PatientId::new(Uuid::from_u128(0x10 + u128::from(step.stream)));
        let (kind, choice) = (step.kind, step.choice);
        let id = match kind {
            StreamKind::Organization => ORGANIZATION.uuid(),
            StreamKind::Patient => patient_id.uuid(),
            StreamKind::Appointment => Uuid::from_u128(0x100 + u128::from(step.stream)),
            StreamKind::TreatmentPlan => Uuid::from_u128(0x500 + u128::from(step.stream)),
            _ => Uuid::from_u128(0x200 + u128::from(step.stream)),
        };
        let is_begun = self.begun(kind, id);
        match kind {
            StreamKind::Organization if !is_begun => self.register_organization(),
            StreamKind::Organization => self.change_organization(step),
            StreamKind::Patient if !is_begun => self.register_patient(patient_id),
            StreamKind::Patient => self.append(kind, id, patient_event(choice)),
            StreamKind::Specialist => self.append(kind, id, specialist_event(is_begun)),
            StreamKind::Appointment if !is_begun => self.book_for(id, patient_id),
            StreamKind::Appointment => self.append(kind, id, appointment_event(choice, patient_id)),
            StreamKind::TreatmentPlan if !is_begun => self.create_plan(id, patient_id),
            StreamKind::TreatmentPlan => self.change_plan(id, patient_id, choice),
            _ if !is_begun => self.assign_form_to(id, patient_id),
            // Nothing follows on a voided form; there is always another appointment to book.
            _ if self.is_voided(id) => {
                let another = Uuid::from_u128(0x1000 + self.events.len() as u128);
                self.book_for(another, patient_id);
            }
            _ => self.append(kind, id, form_event(choice, patient_id)),
        }
    }

    fn change_organization(&mut self, step: Move) {
        let member_id = MemberId::new(Uuid::from_u128(0x300));
        let api_key_id = ApiKeyId::new(Uuid::from_u128(0x400));
        let integration = IntegrationKind::Daily;
        let happened = |event_type| self.events.iter().any(|event| event.event_type == event_type);
        match step.choice % 6 {
            0 if happened(EventType::OrganizationMemberAdded) => {
                let removed = OrganizationMemberRemoved { member_id };
                self.organization(OrganizationEvent::MemberRemoved(removed));
            }
            1 if !happened(EventType::OrganizationApiKeyIssued) => self.issue_key(api_key_id, member_id),
            1 => {
                let revoked = OrganizationApiKeyRevoked { api_key_id };
                self.organization(OrganizationEvent::ApiKeyRevoked(revoked));
            }
            2 if happened(EventType::OrganizationIntegrationConfigured) => {
                let removed = OrganizationIntegrationRemoved { integration, abandoned_open: false };
                self.organization(OrganizationEvent::IntegrationRemoved(removed));
            }
            2 | 3 => {
                let configured =
                    OrganizationIntegrationConfigured { integration, abandoned_open: false, personal: None };
                self.organization(OrganizationEvent::IntegrationConfigured(configured));
            }
            4 => {
                self.organization(OrganizationEvent::SettingsChanged(OrganizationSettingsChanged {
                    recording_enabled: step.is_sealed,
                    small_cell_threshold: 11,
                    waiting_room_minutes: u16::from(step.choice),
                    personal: None,
                }));
            }
            _ => self.add_member(member_id),
        }
    }
}

fn patient_event(choice: u8) -> PatientEvent {
    let consent = ConsentKind::Recording;
    let legal_hold_id = LegalHoldId::new(Uuid::from_u128(u128::from(choice % 3)));
    match choice % 10 {
        0 => PatientEvent::Onboarded(PatientOnboarded {}),
        1 | 2 => PatientEvent::DetailsChanged(PatientDetailsChanged { personal: None }),
        3 => PatientEvent::ConsentGiven(PatientConsentGiven { consent, version: 1 }),
        4 => PatientEvent::ConsentGiven(PatientConsentGiven { consent: ConsentKind::Research, version: 2 }),
        5 => {
            let ground = ErasureGround::PatientRequest;
            PatientEvent::ErasureRequested(PatientErasureRequested { ground })
        }
        6 => PatientEvent::KeysDestroyed(PatientKeysDestroyed { key_count: 2 }),
        7 => {
            let reason = LegalHoldReason::Complaint;
            PatientEvent::LegalHoldPlaced(PatientLegalHoldPlaced { legal_hold_id, reason })
        }
        8 => PatientEvent::LegalHoldReleased(PatientLegalHoldReleased { legal_hold_id }),
        _ => PatientEvent::Erased(PatientErased {}),
    }
}

fn specialist_event(is_begun: bool) -> SpecialistEvent {
    if is_begun {
        SpecialistEvent::Deactivated(SpecialistDeactivated { reason: DeactivationReason::Left })
    } else {
        let added = SpecialistAdded { profession: Profession::Physiotherapist, personal: None };
        SpecialistEvent::Added(added)
    }
}

fn appointment_event(choice: u8, patient_id: PatientId) -> AppointmentEvent {
    match choice % 7 {
        0 => {
            let channel = ConfirmationChannel::Reminder;
            AppointmentEvent::Confirmed(AppointmentConfirmed { patient_id, channel })
        }
        1 => AppointmentEvent::Onboarded(AppointmentOnboarded { patient_id }),
        2 => AppointmentEvent::Rescheduled(AppointmentRescheduled {
            patient_id,
            starts_at: at(8_000 + i64::from(choice)),
            ends_at: (choice > 100).then(|| at(9_000)),
            reason: RescheduleReason::Other,
        }),
        3 => AppointmentEvent::Started(AppointmentStarted { patient_id }),
        4 => AppointmentEvent::Completed(AppointmentCompleted { patient_id, duration_minutes: Some(30) }),
        5 => AppointmentEvent::Cancelled(AppointmentCancelled {
            patient_id,
            cancelled_by: CancelledBy::Clinic,
            reason: CancellationReason::Technical,
            personal: None,
        }),
        _ => AppointmentEvent::NoShow(AppointmentNoShow { patient_id }),
    }
}

fn form_event(choice: u8, patient_id: PatientId) -> FormEvent {
    match choice % 3 {
        0 => FormEvent::Saved(FormSaved { patient_id, answer_count: 4, personal: None }),
        1 => FormEvent::Signed(FormSigned {
            patient_id,
            content_sha256: Sha256Digest::new([choice; 32]),
            signed_by: Signatory::Guardian,
        }),
        _ => FormEvent::Voided(FormVoided { patient_id, reason: VoidReason::Superseded }),
    }
}

pub(super) fn done(patient_id: PatientId, assignment_id: AssignmentId, pain: u8) -> TreatmentPlanEvent {
    TreatmentPlanEvent::ExerciseCompleted(TreatmentPlanExerciseCompleted {
        patient_id,
        assignment_id,
        exercise_id: ExerciseId::new(Uuid::from_u128(0x97)),
        week: 2,
        session: 1,
        duration_seconds: Some(600),
        pain: Some(pain),
        exertion: None,
    })
}

pub(super) fn skipped(patient_id: PatientId, assignment_id: AssignmentId) -> TreatmentPlanEvent {
    TreatmentPlanEvent::ExerciseSkipped(TreatmentPlanExerciseSkipped {
        patient_id,
        assignment_id,
        exercise_id: ExerciseId::new(Uuid::from_u128(0x97)),
        week: 2,
        session: 2,
        reason: SkipReason::Fatigue,
    })
}

/// An event that is no business of this projection.
pub(super) struct WebhookNoise;

impl WebhookNoise {
    pub(super) fn unreadable() -> RecordedEvent {
        let mut log = Log::default();
        log.register_organization();
        let mut event = log.events.remove(0);
        event.stream.kind = StreamKind::WebhookDelivery;
        event.event_type = EventType::WebhookDeliveryAttempted;
        event.facts = Arc::from(b"not json".as_slice());
        event
    }
}
