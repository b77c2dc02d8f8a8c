//! What events make of rows, whole and in pieces.

mod log;

use std::collections::HashMap;
use std::hash::Hash;

use carelog_domain::appointment::{
    AppointmentCancelled, AppointmentConfirmed, AppointmentEvent, AppointmentOnboarded,
    AppointmentRescheduled, AppointmentStatus, CancellationReason, CancelledBy, ConfirmationChannel,
    RescheduleReason,
};
use carelog_domain::closed::Sha256Digest;
use carelog_domain::file::{
    ContentType, FileDeleted, FileDeletion, FileEvent, FileKind, FileLinkIssued, FileStatus, FileStored,
    FileUploadFailed, FileUploadRequested, LinkDisposition, StorageEncryption, UploadFailure,
};
use carelog_domain::legal_hold::{LegalHoldEvent, LegalHoldPlaced, LegalHoldReason, LegalHoldReleased};
use carelog_domain::organization::{
    OrganizationApiKeyRevoked, OrganizationEvent, OrganizationIntegrationConfigured,
    OrganizationIntegrationRemoved, OrganizationMemberRemoved, OrganizationSettings,
    OrganizationSettingsChanged,
};
use carelog_domain::patient::{
    PatientConsentGiven, PatientConsentWithdrawn, PatientErased, PatientKeysDestroyed,
    PatientLegalHoldPlaced, PatientLegalHoldReleased,
};
use carelog_domain::treatment_plan::{PlanOutcome, PlanStatus, SkipReason, TreatmentPlanCompleted};
use carelog_domain::{ApiKeyId, LegalHoldId, MemberId, PatientId};
use proptest::prelude::*;

use super::*;
use log::{
    APPOINTMENT, FORM, Log, ORGANIZATION, PATIENT, PLAN, SQUATS, WebhookNoise, at, done, events, skipped,
};

/// The tables, as far as a test needs them.
#[derive(Clone, Debug, Default, PartialEq)]
struct Tables {
    organizations: HashMap<OrganizationId, OrganizationRecord>,
    members: HashMap<RowKey, MemberRecord>,
    integrations: HashMap<IntegrationKey, IntegrationRecord>,
    api_keys: HashMap<RowKey, ApiKeyRecord>,
    patients: HashMap<RowKey, PatientRecord>,
    consents: HashMap<ConsentKey, ConsentRecord>,
    specialists: HashMap<RowKey, SpecialistRecord>,
    appointments: HashMap<RowKey, AppointmentRecord>,
    forms: HashMap<RowKey, FormRecord>,
    files: HashMap<RowKey, FileRecord>,
    plans: HashMap<RowKey, PlanRecord>,
    exercises: HashMap<ExerciseKey, PlanExerciseRecord>,
}

fn load<K: Eq + Hash + Copy, R: Clone>(
    table: &HashMap<K, R>,
    keys: &HashSet<K>,
    key: impl Fn(&R) -> K,
) -> Rows<K, R> {
    Rows::loaded(keys.iter().filter_map(|key| table.get(key).cloned()), key)
}

fn store<K: Eq + Hash + Copy, R: Clone>(table: &mut HashMap<K, R>, rows: &Rows<K, R>, key: impl Fn(&R) -> K) {
    table.extend(rows.changed().into_iter().map(|row| (key(row), row.clone())));
}

/// Once for each table: how its key is read off a row.
macro_rules! tables {
    ($do:ident) => {
        $do!(organizations, |r| r.organization_id);
        $do!(members, |r| (r.organization_id, r.member_id.uuid()));
        $do!(integrations, |r| (r.organization_id, r.integration));
        $do!(api_keys, |r| (r.organization_id, r.api_key_id.uuid()));
        $do!(patients, |r| (r.organization_id, r.patient_id.uuid()));
        $do!(consents, |r| (r.organization_id, r.patient_id.uuid(), r.consent));
        $do!(specialists, |r| (r.organization_id, r.specialist_id.uuid()));
        $do!(appointments, |r| (r.organization_id, r.appointment_id.uuid()));
        $do!(forms, |r| (r.organization_id, r.form_id.uuid()));
        $do!(files, |r| (r.organization_id, r.file_id.uuid()));
        $do!(plans, |r| (r.organization_id, r.treatment_plan_id.uuid()));
        $do!(exercises, |r| (r.organization_id, r.treatment_plan_id.uuid(), r.assignment_id));
    };
}

impl Tables {
    fn of_pages<'a>(pages: impl IntoIterator<Item = &'a [RecordedEvent]>) -> Self {
        let mut tables = Self::default();
        for page in pages {
            tables.apply(page).unwrap();
        }
        tables
    }

    fn of(page: &[RecordedEvent]) -> Self {
        Self::of_pages([page])
    }

    fn apply(&mut self, page: &[RecordedEvent]) -> Result<(), FoldError> {
        let events: Vec<_> = page.iter().filter_map(|event| DecodedEvent::of(event).unwrap()).collect();
        let needed = Needed::by(&events);
        let mut state = State::default();
        macro_rules! load_table {
            ($table:ident, $key:expr) => {
                state.$table = load(&self.$table, &needed.$table, $key);
            };
        }
        tables!(load_table);
        for event in &events {
            state.apply(event)?;
        }
        macro_rules! store_table {
            ($table:ident, $key:expr) => {
                store(&mut self.$table, &state.$table, $key);
            };
        }
        tables!(store_table);
        self.erase(&state.patients_to_check());
        Ok(())
    }

    /// As the statements of the projector do.
    fn erase(&mut self, candidates: &HashSet<RowKey>) {
        for key in candidates {
            let Some(erased_at) = self.patients.get(key).and_then(|row| row.erased_at) else { continue };
            let is_theirs = |patient_id: PatientId| patient_id.uuid() == key.1;
            for row in self.appointments.values_mut().filter(|row| is_theirs(row.patient_id)) {
                if row.personal.take().is_some() {
                    row.erased_at = Some(erased_at);
                }
            }
            for row in self.plans.values_mut().filter(|row| is_theirs(row.patient_id)) {
                if row.personal.take().is_some() {
                    row.erased_at = Some(erased_at);
                }
            }
            for row in self.exercises.values_mut().filter(|row| is_theirs(row.patient_id)) {
                if row.personal.take().is_some() {
                    row.erased_at = Some(erased_at);
                }
            }
            for row in self.forms.values_mut().filter(|row| is_theirs(row.patient_id)) {
                if row.personal.take().is_some() {
                    row.erased_at = Some(erased_at);
                }
            }
        }
    }

    fn appointment(&self) -> &AppointmentRecord {
        &self.appointments[&(ORGANIZATION, APPOINTMENT)]
    }

    fn patient(&self) -> &PatientRecord {
        &self.patients[&(ORGANIZATION, PATIENT.uuid())]
    }
}

proptest! {
    #[test]
    fn rows_do_not_depend_on_how_the_log_is_cut_into_pages(
        log in events(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.index(log.len() + 1)).collect();
        cuts.extend([0, log.len()]);
        cuts.sort_unstable();
        let pages = cuts.windows(2).map(|cut| &log[cut[0]..cut[1]]);

        prop_assert_eq!(Tables::of_pages(pages), Tables::of(&log));
    }

    #[test]
    fn no_row_of_an_erased_patient_keeps_anything_sealed(log in events()) {
        let tables = Tables::of(&log);

        let is_erased = |patient_id: PatientId| tables
            .patients
            .get(&(ORGANIZATION, patient_id.uuid()))
            .is_some_and(|row| row.erased_at.is_some());
        prop_assert!(tables.patients.values().all(|r| r.erased_at.is_none() || r.personal.is_none()));
        prop_assert!(tables.appointments.values().all(|r| !is_erased(r.patient_id) || r.personal.is_none()));
        prop_assert!(tables.plans.values().all(|r| !is_erased(r.patient_id) || r.personal.is_none()));
        prop_assert!(tables.exercises.values().all(|r| !is_erased(r.patient_id) || r.personal.is_none()));
        prop_assert!(tables.forms.values().all(|r| !is_erased(r.patient_id) || r.personal.is_none()));
    }

    #[test]
    fn a_row_shows_the_last_event_of_its_stream(log in events()) {
        let tables = Tables::of(&log);

        for row in tables.appointments.values() {
            let id = row.appointment_id.uuid();
            let last = log.iter().rfind(|event| event.stream.id == id).unwrap();
            prop_assert_eq!((row.stamp.version, row.stamp.position), (last.version, last.position));
        }
    }
}

#[test]
fn an_appointment_that_moves_is_no_longer_confirmed() {
    let mut log = Log::default();
    log.book(APPOINTMENT);
    log.appointment(AppointmentEvent::Confirmed(AppointmentConfirmed {
        patient_id: PATIENT,
        channel: ConfirmationChannel::Patient,
    }));
    log.appointment(AppointmentEvent::Onboarded(AppointmentOnboarded { patient_id: PATIENT }));
    log.appointment(AppointmentEvent::Rescheduled(AppointmentRescheduled {
        patient_id: PATIENT,
        starts_at: at(9_000),
        ends_at: None,
        reason: RescheduleReason::PatientRequest,
    }));

    let tables = Tables::of(&log.events);

    let row = tables.appointment();
    assert_eq!(row.status, AppointmentStatus::Booked);
    assert_eq!((row.starts_at, row.ends_at), (at(9_000), None));
    assert_eq!((row.confirmed_at, row.confirmation_channel, row.onboarded_at), (None, None, None));
    assert_eq!((row.reschedule_count, row.reschedule_reason), (1, Some(RescheduleReason::PatientRequest)));
}

#[test]
fn the_newest_note_wins_with_its_place() {
    let mut log = Log::default();
    log.book(APPOINTMENT);
    log.seal_last();
    log.appointment(AppointmentEvent::Cancelled(AppointmentCancelled {
        patient_id: PATIENT,
        cancelled_by: CancelledBy::Patient,
        reason: CancellationReason::Illness,
        personal: None,
    }));
    log.seal_last();

    let tables = Tables::of(&log.events);

    let (place, _) = tables.appointment().personal.as_ref().unwrap().parts();
    assert_eq!(place.version, 2);
    assert_eq!(place.subject, Some(PATIENT));
}

#[test]
fn an_event_without_its_row_is_refused() {
    let mut log = Log::default();
    log.book(APPOINTMENT);
    log.appointment(AppointmentEvent::Onboarded(AppointmentOnboarded { patient_id: PATIENT }));

    let refused = Tables::default().apply(&log.events[1..]);

    let expected = FoldError::NotThere {
        event_type: carelog_domain::EventType::AppointmentOnboarded,
        stream_id: APPOINTMENT,
        version: 2,
    };
    assert_eq!(refused, Err(expected));
}

#[test]
fn a_second_beginning_of_a_stream_is_refused() {
    let mut log = Log::default();
    log.book(APPOINTMENT);
    log.book(APPOINTMENT);

    let refused = Tables::default().apply(&log.events);

    assert!(matches!(refused, Err(FoldError::AlreadyThere { version: 2, .. })));
}

#[test]
fn erasure_reaches_appointments_and_forms_and_says_when() {
    let mut log = Log::default();
    log.register_patient(PATIENT);
    log.seal_last();
    log.book(APPOINTMENT);
    log.seal_last();
    log.assign_form(FORM);
    log.save_form(FORM);
    log.seal_last();
    log.patient(PatientEvent::KeysDestroyed(PatientKeysDestroyed { key_count: 2 }));
    let destroyed_at = log.now();
    log.patient(PatientEvent::Erased(PatientErased {}));

    let tables = Tables::of(&log.events);

    let (patient, appointment) = (tables.patient(), tables.appointment());
    let form = &tables.forms[&(ORGANIZATION, FORM)];
    assert_eq!(patient.status, PatientStatus::Erased);
    assert_eq!((patient.erased_at, &patient.personal), (Some(destroyed_at), &None));
    assert_eq!((appointment.erased_at, &appointment.personal), (Some(destroyed_at), &None));
    assert_eq!((form.erased_at, &form.personal), (Some(destroyed_at), &None));
}

#[test]
fn a_patient_has_the_holds_that_are_in_force_in_their_order() {
    let mut log = Log::default();
    log.register_patient(PATIENT);
    let [one, two, three] = [1, 2, 3].map(|number| LegalHoldId::new(Uuid::from_u128(number)));
    for legal_hold_id in [three, one, two] {
        let reason = LegalHoldReason::Litigation;
        log.patient(PatientEvent::LegalHoldPlaced(PatientLegalHoldPlaced { legal_hold_id, reason }));
    }
    log.patient(PatientEvent::LegalHoldReleased(PatientLegalHoldReleased { legal_hold_id: one }));

    assert_eq!(Tables::of(&log.events).patient().legal_holds, [three, two]);
}

#[test]
fn holds_with_a_stream_of_their_own_change_nothing_that_tells_of_the_stream_of_the_patient() {
    let mut log = Log::default();
    log.register_patient(PATIENT);
    let [old, new, released] = [1, 2, 3].map(|number| LegalHoldId::new(Uuid::from_u128(number)));
    let reason = LegalHoldReason::Litigation;
    let placed = |legal_hold_id| LegalHoldEvent::Placed(LegalHoldPlaced { legal_hold_id, reason });
    log.patient(PatientEvent::LegalHoldPlaced(PatientLegalHoldPlaced { legal_hold_id: old, reason }));
    let before = Tables::of(&log.events).patient().clone();

    for event in [placed(new), placed(released)] {
        log.hold(event);
    }
    let held = Tables::of(&log.events).patient().clone();
    for legal_hold_id in [released, old] {
        log.hold(LegalHoldEvent::Released(LegalHoldReleased { legal_hold_id }));
    }
    let after = Tables::of(&log.events).patient().clone();

    assert_eq!(held.legal_holds, [old, new, released]);
    assert_eq!(after.legal_holds, [new]);
    assert_eq!([held.stamp, after.stamp], [before.stamp; 2]);
}

#[test]
fn what_was_sealed_before_the_erasure_and_arrives_after_it_is_dropped() {
    let mut log = Log::default();
    log.register_patient(PATIENT);
    log.patient(PatientEvent::KeysDestroyed(PatientKeysDestroyed { key_count: 2 }));
    let destroyed_at = log.now();
    log.book(APPOINTMENT);
    log.seal_last();

    let tables = Tables::of_pages(log.events.chunks(2));

    assert_eq!(tables.appointment().personal, None);
    assert_eq!(tables.appointment().erased_at, Some(destroyed_at));
}

#[test]
fn a_plan_and_its_exercise_count_what_was_done_and_skipped() {
    let mut log = Log::default();
    log.create_plan(PLAN, PATIENT);
    log.assign_exercise(PLAN, PATIENT, SQUATS);
    log.plan(done(PATIENT, SQUATS, 4));
    log.plan(skipped(PATIENT, SQUATS));
    let skipped_at = log.now();
    log.plan(TreatmentPlanEvent::Completed(TreatmentPlanCompleted {
        patient_id: PATIENT,
        outcome: PlanOutcome::GoalsReached,
        assigned_sessions: 3,
        completed_sessions: 1,
        skipped_sessions: 1,
    }));

    let tables = Tables::of_pages(log.events.chunks(2));

    let sessions = SessionCounts { assigned: 3, completed: 1, skipped: 1 };
    let plan = &tables.plans[&(ORGANIZATION, PLAN)];
    assert_eq!((plan.status, plan.outcome), (PlanStatus::Completed, Some(PlanOutcome::GoalsReached)));
    assert_eq!((plan.sessions, plan.completed_at, plan.stamp.version), (sessions, Some(log.now()), 5));
    let squats = &tables.exercises[&(ORGANIZATION, PLAN, SQUATS)];
    assert_eq!((squats.sessions, squats.last_session_at), (sessions, Some(skipped_at)));
    assert_eq!((squats.last_pain, squats.last_exertion), (Some(4), None));
    assert_eq!((squats.last_skip_reason, squats.stamp.version), (Some(SkipReason::Fatigue), 4));
}

#[test]
fn an_exercise_that_was_not_assigned_is_refused() {
    let mut log = Log::default();
    log.create_plan(PLAN, PATIENT);
    log.plan(done(PATIENT, SQUATS, 4));

    let refused = Tables::default().apply(&log.events);

    assert!(matches!(refused, Err(FoldError::NotThere { version: 2, .. })));
}

#[test]
fn a_consent_can_be_taken_back_and_given_again() {
    let consent = ConsentKind::Recording;
    let mut log = Log::default();
    log.register_patient(PATIENT);
    log.patient(PatientEvent::ConsentGiven(PatientConsentGiven { consent, version: 1 }));
    let first_given_at = log.now();
    log.patient(PatientEvent::ConsentWithdrawn(PatientConsentWithdrawn { consent }));
    let withdrawn = Tables::of(&log.events);
    log.patient(PatientEvent::ConsentGiven(PatientConsentGiven { consent, version: 2 }));
    let given = Tables::of(&log.events);

    let key = (ORGANIZATION, PATIENT.uuid(), consent);
    assert!(withdrawn.consents[&key].withdrawn_at.is_some());
    let row = &given.consents[&key];
    assert_eq!((row.consent_version, row.given_at, row.withdrawn_at), (2, log.now(), None));
    assert_eq!(row.stamp.created_at, first_given_at);
    assert_eq!(given.patient().stamp.version, 4);
}

#[test]
fn an_organization_begins_with_the_default_settings() {
    let mut log = Log::default();
    log.register_organization();

    let tables = Tables::of(&log.events);

    assert_eq!(tables.organizations[&ORGANIZATION].settings, OrganizationSettings::default());
}

#[test]
fn settings_keep_the_profile_unless_a_new_one_comes_along() {
    let mut log = Log::default();
    log.register_organization();
    log.seal_last();
    log.organization(OrganizationEvent::SettingsChanged(OrganizationSettingsChanged {
        recording_enabled: true,
        small_cell_threshold: 20,
        waiting_room_minutes: 5,
        personal: None,
    }));

    let tables = Tables::of(&log.events);

    let row = &tables.organizations[&ORGANIZATION];
    assert!(row.settings.recording_enabled);
    assert_eq!(row.personal.as_ref().map(|sealed| sealed.place.version), Some(1));
    assert_eq!(row.stamp.version, 2);
}

#[test]
fn a_removed_integration_keeps_no_credentials() {
    let integration = IntegrationKind::Daily;
    let mut log = Log::default();
    log.register_organization();
    log.organization(OrganizationEvent::IntegrationConfigured(OrganizationIntegrationConfigured {
        integration,
        abandoned_open: false,
        personal: None,
    }));
    log.seal_last();
    let configured = Tables::of(&log.events);
    log.organization(OrganizationEvent::IntegrationRemoved(OrganizationIntegrationRemoved {
        integration,
        abandoned_open: false,
    }));
    let removed = Tables::of(&log.events);

    let key = (ORGANIZATION, integration);
    assert!(configured.integrations[&key].personal.is_some());
    assert_eq!(removed.integrations[&key].status, IntegrationStatus::Removed);
    assert_eq!(removed.integrations[&key].personal, None);
}

#[test]
fn members_leave_and_keys_are_revoked() {
    let (member_id, api_key_id) =
        (MemberId::new(Uuid::from_u128(0x31)), ApiKeyId::new(Uuid::from_u128(0x41)));
    let mut log = Log::default();
    log.register_organization();
    log.add_member(member_id);
    log.issue_key(api_key_id, member_id);
    log.organization(OrganizationEvent::MemberRemoved(OrganizationMemberRemoved { member_id }));
    log.organization(OrganizationEvent::ApiKeyRevoked(OrganizationApiKeyRevoked { api_key_id }));

    let tables = Tables::of(&log.events);

    let member = &tables.members[&(ORGANIZATION, member_id.uuid())];
    let key = &tables.api_keys[&(ORGANIZATION, api_key_id.uuid())];
    assert_eq!(member.status, MemberStatus::Removed);
    assert_eq!(key.revoked_at, Some(log.now()));
    assert_eq!((key.stamp.version, key.member_id), (5, Some(member_id)));
}

#[test]
fn kinds_without_rows_are_not_even_decoded() {
    let noise = WebhookNoise::unreadable();

    assert!(DecodedEvent::of(&noise).unwrap().is_none());
    assert_eq!(Tables::of(&[noise]), Tables::default());
}

const FILE: Uuid = Uuid::from_u128(0x500);
const CONTENT: Sha256Digest = Sha256Digest::new([5; 32]);

fn upload_requested() -> FileEvent {
    FileEvent::UploadRequested(FileUploadRequested {
        patient_id: Some(PATIENT),
        form_id: None,
        kind: FileKind::FormAttachment,
        content_type: ContentType::Pdf,
        size_bytes: 7,
        content_sha256: CONTENT,
        part_bytes: None,
        expires_at: at(9_000),
        personal: None,
    })
}

fn file_stored() -> FileEvent {
    FileEvent::Stored(FileStored {
        patient_id: Some(PATIENT),
        form_id: None,
        kind: FileKind::FormAttachment,
        content_type: ContentType::Pdf,
        size_bytes: 7,
        content_sha256: CONTENT,
        encryption: StorageEncryption::Aes256,
    })
}

#[test]
fn a_file_is_requested_stored_linked_and_deleted() {
    let mut log = Log::default();
    log.append(StreamKind::File, FILE, upload_requested());
    log.append(StreamKind::File, FILE, file_stored());
    let link = FileLinkIssued {
        patient_id: Some(PATIENT),
        valid_seconds: 60,
        disposition: LinkDisposition::Attachment,
    };
    log.append(StreamKind::File, FILE, FileEvent::LinkIssued(link));
    let deleted = FileDeleted { patient_id: Some(PATIENT), reason: FileDeletion::Requested };
    log.append(StreamKind::File, FILE, FileEvent::Deleted(deleted));

    let [requested, _, linked, gone] = [1, 2, 3, 4].map(|count| Tables::of(&log.events[..count]).files);

    let row = &requested[&(ORGANIZATION, FILE)];
    assert_eq!((row.status, row.upload_expires_at, row.stored_at), (FileStatus::Requested, at(9_000), None));
    let row = &linked[&(ORGANIZATION, FILE)];
    assert_eq!((row.status, row.stamp.version), (FileStatus::Stored, 3));
    assert_eq!(row.encryption, Some(StorageEncryption::Aes256));
    let row = &gone[&(ORGANIZATION, FILE)];
    assert_eq!((row.status, row.deletion), (FileStatus::Deleted, Some(FileDeletion::Requested)));
    assert!(row.stored_at.is_some());
}

#[test]
fn an_upload_that_came_to_nothing_says_why() {
    let mut log = Log::default();
    log.append(StreamKind::File, FILE, upload_requested());
    let failed = FileUploadFailed { patient_id: Some(PATIENT), reason: UploadFailure::WrongHash };
    log.append(StreamKind::File, FILE, FileEvent::UploadFailed(failed));

    let row = &Tables::of(&log.events).files[&(ORGANIZATION, FILE)];

    assert_eq!((row.status, row.failure), (FileStatus::Failed, Some(UploadFailure::WrongHash)));
}
