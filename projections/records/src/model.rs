//! The pure fold: which rows a page builds upon, and what its events make of them.

mod appointment;
mod file;
mod form;
mod organization;
mod patient;
mod plan;
mod row;
mod rows;
mod specialist;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use carelog_domain::organization::{IntegrationKind, OrganizationEvent};
use carelog_domain::patient::{ConsentKind, PatientEvent};
use carelog_domain::treatment_plan::TreatmentPlanEvent;
use carelog_domain::{AssignmentId, CodecError, Event, OrganizationId, StreamKind};
use carelog_event_log::{RecordedEvent, StreamKey};
use uuid::Uuid;

pub use appointment::AppointmentRecord;
pub use file::FileRecord;
pub use form::FormRecord;
pub use organization::{
    ApiKeyRecord, IntegrationRecord, IntegrationStatus, MemberRecord, MemberStatus, OrganizationRecord,
};
pub use patient::{ConsentRecord, PatientRecord, PatientStatus};
pub use plan::{PlanExerciseRecord, PlanRecord, SessionCounts};
pub use row::{FoldError, SealedColumns, Stamp};
pub use rows::Rows;
pub use specialist::{SpecialistRecord, SpecialistStatus};

/// A row that belongs to an organization and has an id of its own.
pub type RowKey = (OrganizationId, Uuid);
/// A row of an organization's integration.
pub type IntegrationKey = (OrganizationId, IntegrationKind);
/// A row of a patient's consent.
pub type ConsentKey = (OrganizationId, Uuid, ConsentKind);
/// A row of an exercise of a treatment plan.
pub type ExerciseKey = (OrganizationId, Uuid, AssignmentId);

/// An event of a kind that has rows here.
#[derive(Clone, Debug)]
pub struct DecodedEvent<'a> {
    recorded: &'a RecordedEvent,
    event: Event,
}

impl<'a> DecodedEvent<'a> {
    /// Decodes an event; nothing comes back for the kinds that have no rows here.
    ///
    /// # Errors
    /// When the facts are not those of the type.
    pub fn of(recorded: &'a RecordedEvent) -> Result<Option<Self>, CodecError> {
        match recorded.stream.kind {
            StreamKind::Organization
            | StreamKind::Patient
            | StreamKind::LegalHold
            | StreamKind::Specialist
            | StreamKind::Appointment
            | StreamKind::Form
            | StreamKind::File
            | StreamKind::TreatmentPlan => Ok(Some(Self { recorded, event: recorded.decode()? })),
            StreamKind::Accounting
            | StreamKind::VideoRoom
            | StreamKind::WebhookSubscription
            | StreamKind::WebhookDelivery
            | StreamKind::WebhookReplay
            | StreamKind::VideoNotice
            | StreamKind::Access => Ok(None),
        }
    }
}

/// The rows that a page builds upon.
#[derive(Clone, Debug, Default)]
pub struct Needed {
    /// Clinics.
    pub organizations: HashSet<OrganizationId>,
    /// Members of their staff.
    pub members: HashSet<RowKey>,
    /// Their integrations.
    pub integrations: HashSet<IntegrationKey>,
    /// Their keys.
    pub api_keys: HashSet<RowKey>,
    /// Patients.
    pub patients: HashSet<RowKey>,
    /// What they agreed to.
    pub consents: HashSet<ConsentKey>,
    /// Specialists.
    pub specialists: HashSet<RowKey>,
    /// Appointments.
    pub appointments: HashSet<RowKey>,
    /// Forms.
    pub forms: HashSet<RowKey>,
    /// Files.
    pub files: HashSet<RowKey>,
    /// Treatment plans.
    pub plans: HashSet<RowKey>,
    /// Their exercises.
    pub exercises: HashSet<ExerciseKey>,
}

impl Needed {
    /// What these events build upon. The row of a stream that begins among them is not there yet.
    pub fn by(events: &[DecodedEvent<'_>]) -> Self {
        let mut needed = Self::default();
        let mut born: HashSet<StreamKey> = HashSet::new();
        for DecodedEvent { recorded, event } in events {
            if recorded.version == 1 {
                born.insert(recorded.stream);
            } else if !born.contains(&recorded.stream) {
                needed.row_of_stream(recorded.stream);
            }
            needed.rows_within_stream(recorded.stream, event);
        }
        needed
    }

    fn row_of_stream(&mut self, stream: StreamKey) {
        let key = (stream.organization_id, stream.id);
        match stream.kind {
            StreamKind::Organization => self.organizations.insert(stream.organization_id),
            StreamKind::Patient => self.patients.insert(key),
            StreamKind::Specialist => self.specialists.insert(key),
            StreamKind::Appointment => self.appointments.insert(key),
            StreamKind::Form => self.forms.insert(key),
            StreamKind::File => self.files.insert(key),
            StreamKind::TreatmentPlan => self.plans.insert(key),
            // Its row is the patient's, whichever stream began first.
            StreamKind::LegalHold
            | StreamKind::Accounting
            | StreamKind::VideoRoom
            | StreamKind::WebhookSubscription
            | StreamKind::WebhookDelivery
            | StreamKind::WebhookReplay
            | StreamKind::VideoNotice
            | StreamKind::Access => false,
        };
    }

    fn rows_within_stream(&mut self, stream: StreamKey, event: &Event) {
        let organization_id = stream.organization_id;
        match event {
            Event::Organization(event) => self.rows_within_organization(organization_id, event),
            Event::Patient(PatientEvent::ConsentGiven(given)) => {
                self.consents.insert((organization_id, stream.id, given.consent));
            }
            Event::Patient(PatientEvent::ConsentWithdrawn(withdrawn)) => {
                self.consents.insert((organization_id, stream.id, withdrawn.consent));
            }
            Event::LegalHold(_) => {
                self.patients.insert((organization_id, stream.id));
            }
            Event::TreatmentPlan(event) => {
                let key = plan::exercise_of(event).map(|id| (organization_id, stream.id, id));
                self.exercises.extend(key);
            }
            Event::Patient(
                PatientEvent::Registered(_)
                | PatientEvent::Onboarded(_)
                | PatientEvent::DetailsChanged(_)
                | PatientEvent::AccountingSuspended(_)
                | PatientEvent::AccountingResumed(_)
                | PatientEvent::ErasureRequested(_)
                | PatientEvent::KeysDestroyed(_)
                | PatientEvent::LegalHoldPlaced(_)
                | PatientEvent::LegalHoldReleased(_)
                | PatientEvent::Erased(_),
            )
            | Event::Accounting(_)
            | Event::Specialist(_)
            | Event::Appointment(_)
            | Event::Form(_)
            | Event::File(_)
            | Event::VideoRoom(_)
            | Event::WebhookSubscription(_)
            | Event::WebhookDelivery(_)
            | Event::WebhookReplay(_)
            | Event::VideoNotice(_)
            | Event::Access(_) => {}
        }
    }

    fn rows_within_organization(&mut self, organization_id: OrganizationId, event: &OrganizationEvent) {
        match event {
            OrganizationEvent::Registered(_)
            | OrganizationEvent::SettingsChanged(_)
            | OrganizationEvent::PseudonymEpochBegun(_)
            | OrganizationEvent::PseudonymKeyDestroyed(_) => false,
            OrganizationEvent::IntegrationConfigured(configured) => {
                self.integrations.insert((organization_id, configured.integration))
            }
            OrganizationEvent::IntegrationRemoved(removed) => {
                self.integrations.insert((organization_id, removed.integration))
            }
            OrganizationEvent::MemberAdded(added) => {
                self.members.insert((organization_id, added.member_id.uuid()))
            }
            OrganizationEvent::MemberRemoved(removed) => {
                self.members.insert((organization_id, removed.member_id.uuid()))
            }
            OrganizationEvent::ApiKeyIssued(issued) => {
                self.api_keys.insert((organization_id, issued.api_key_id.uuid()))
            }
            OrganizationEvent::ApiKeyRevoked(revoked) => {
                self.api_keys.insert((organization_id, revoked.api_key_id.uuid()))
            }
        };
    }
}

/// The rows that a page is about.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Clinics.
    pub organizations: Rows<OrganizationId, OrganizationRecord>,
    /// Members of their staff.
    pub members: Rows<RowKey, MemberRecord>,
    /// Their integrations.
    pub integrations: Rows<IntegrationKey, IntegrationRecord>,
    /// Their keys.
    pub api_keys: Rows<RowKey, ApiKeyRecord>,
    /// Patients.
    pub patients: Rows<RowKey, PatientRecord>,
    /// What they agreed to.
    pub consents: Rows<ConsentKey, ConsentRecord>,
    /// Specialists.
    pub specialists: Rows<RowKey, SpecialistRecord>,
    /// Appointments.
    pub appointments: Rows<RowKey, AppointmentRecord>,
    /// Forms.
    pub forms: Rows<RowKey, FormRecord>,
    /// Files.
    pub files: Rows<RowKey, FileRecord>,
    /// Treatment plans.
    pub plans: Rows<RowKey, PlanRecord>,
    /// Their exercises.
    pub exercises: Rows<ExerciseKey, PlanExerciseRecord>,
}

impl State {
    /// Folds one event.
    ///
    /// # Errors
    /// When a row that it changes is missing, or one that it makes is there.
    pub fn apply(&mut self, event: &DecodedEvent<'_>) -> Result<(), FoldError> {
        let DecodedEvent { recorded, event } = event;
        let key = (recorded.stream.organization_id, recorded.stream.id);
        match event {
            Event::Organization(event) => self.apply_organization(event, recorded),
            Event::Patient(event) => self.apply_patient(key, event, recorded),
            Event::LegalHold(event) => {
                self.patients.change(key, |row| PatientRecord::hold(row, event, recorded))
            }
            Event::Specialist(event) => {
                self.specialists.change(key, |row| SpecialistRecord::apply(row, event, recorded))
            }
            Event::Appointment(event) => {
                self.appointments.change(key, |row| AppointmentRecord::apply(row, event, recorded))
            }
            Event::Form(event) => self.forms.change(key, |row| FormRecord::apply(row, event, recorded)),
            Event::File(event) => self.files.change(key, |row| FileRecord::apply(row, event, recorded)),
            Event::TreatmentPlan(event) => self.apply_plan(key, event, recorded),
            Event::Accounting(_)
            | Event::VideoRoom(_)
            | Event::WebhookSubscription(_)
            | Event::WebhookDelivery(_)
            | Event::WebhookReplay(_)
            | Event::VideoNotice(_)
            | Event::Access(_) => Ok(()),
        }
    }

    fn apply_organization(
        &mut self,
        event: &OrganizationEvent,
        recorded: &RecordedEvent,
    ) -> Result<(), FoldError> {
        let id = recorded.stream.organization_id;
        self.organizations.change(id, |row| OrganizationRecord::apply(row, event, recorded))?;
        match event {
            OrganizationEvent::Registered(_)
            | OrganizationEvent::SettingsChanged(_)
            | OrganizationEvent::PseudonymEpochBegun(_)
            | OrganizationEvent::PseudonymKeyDestroyed(_) => Ok(()),
            OrganizationEvent::IntegrationConfigured(configured) => {
                let integration = configured.integration;
                self.integrations.change((id, integration), |row| {
                    Ok(IntegrationRecord::configure(row, integration, recorded))
                })
            }
            OrganizationEvent::IntegrationRemoved(removed) => self
                .integrations
                .change((id, removed.integration), |row| IntegrationRecord::remove(row, recorded)),
            OrganizationEvent::MemberAdded(added) => self
                .members
                .change((id, added.member_id.uuid()), |row| Ok(MemberRecord::add(row, added, recorded))),
            OrganizationEvent::MemberRemoved(removed) => {
                self.members.change((id, removed.member_id.uuid()), |row| MemberRecord::remove(row, recorded))
            }
            OrganizationEvent::ApiKeyIssued(issued) => {
                self.api_keys.change((id, issued.api_key_id.uuid()), |row| {
                    ApiKeyRecord::issue(row.as_ref(), issued, recorded)
                })
            }
            OrganizationEvent::ApiKeyRevoked(revoked) => self
                .api_keys
                .change((id, revoked.api_key_id.uuid()), |row| ApiKeyRecord::revoke(row, recorded)),
        }
    }

    fn apply_patient(
        &mut self,
        key: RowKey,
        event: &PatientEvent,
        recorded: &RecordedEvent,
    ) -> Result<(), FoldError> {
        self.patients.change(key, |row| PatientRecord::apply(row, event, recorded))?;
        let (organization_id, patient_id) = key;
        match event {
            PatientEvent::ConsentGiven(given) => {
                self.consents.change((organization_id, patient_id, given.consent), |row| {
                    Ok(ConsentRecord::give(row, given, recorded))
                })
            }
            PatientEvent::ConsentWithdrawn(withdrawn) => {
                self.consents.change((organization_id, patient_id, withdrawn.consent), |row| {
                    ConsentRecord::withdraw(row, withdrawn, recorded)
                })
            }
            PatientEvent::Registered(_)
            | PatientEvent::Onboarded(_)
            | PatientEvent::DetailsChanged(_)
            | PatientEvent::AccountingSuspended(_)
            | PatientEvent::AccountingResumed(_)
            | PatientEvent::ErasureRequested(_)
            | PatientEvent::KeysDestroyed(_)
            | PatientEvent::LegalHoldPlaced(_)
            | PatientEvent::LegalHoldReleased(_)
            | PatientEvent::Erased(_) => Ok(()),
        }
    }

    fn apply_plan(
        &mut self,
        key: RowKey,
        event: &TreatmentPlanEvent,
        recorded: &RecordedEvent,
    ) -> Result<(), FoldError> {
        self.plans.change(key, |row| PlanRecord::apply(row, event, recorded))?;
        let Some(assignment_id) = plan::exercise_of(event) else { return Ok(()) };
        self.exercises
            .change((key.0, key.1, assignment_id), |row| PlanExerciseRecord::apply(row, event, recorded))
    }

    /// Patients whose sealed values may have to leave other tables: those whose keys are gone, and those about
    /// whom this page brought something sealed, which can arrive after the keys were destroyed.
    pub fn patients_to_check(&self) -> HashSet<RowKey> {
        let erased = self.patients.changed().into_iter().filter(|row| row.erased_at.is_some());
        let noted = self.appointments.changed().into_iter().filter(|row| row.personal.is_some());
        let answered = self.forms.changed().into_iter().filter(|row| row.personal.is_some());
        let named = self.files.changed().into_iter().filter(|row| row.personal.is_some());
        let planned = self.plans.changed().into_iter().filter(|row| row.personal.is_some());
        let instructed = self.exercises.changed().into_iter().filter(|row| row.personal.is_some());
        erased
            .map(|row| (row.organization_id, row.patient_id.uuid()))
            .chain(noted.map(|row| (row.organization_id, row.patient_id.uuid())))
            .chain(answered.map(|row| (row.organization_id, row.patient_id.uuid())))
            .chain(named.filter_map(|row| Some((row.organization_id, row.patient_id?.uuid()))))
            .chain(planned.map(|row| (row.organization_id, row.patient_id.uuid())))
            .chain(instructed.map(|row| (row.organization_id, row.patient_id.uuid())))
            .collect()
    }
}
