//! Whether the patients and specialists that a command names exist.
//!
//! Streams are independent of each other, so nothing in the log forbids an appointment of a patient who was never
//! registered. The edge asks the log itself, because the records may lag behind, and remembers what it found for a
//! while, because an appointment is booked more often than a patient is registered.

use std::time::Duration;

use carelog_domain::patient::{Patient, PatientEvent};
use carelog_domain::{
    AppointmentId, FormId, OrganizationId, PatientId, SpecialistId, StreamKind, TreatmentPlanId,
};
use carelog_event_log::StreamKey;
use cqrs_es::Aggregate;
use moka::sync::Cache;
use uuid::Uuid;

use super::Api;
use super::caller::Caller;
use super::problem::Problem;

/// How long a found reference is believed; an erasure elsewhere is felt within this time.
const TRUST: Duration = Duration::from_secs(30);
const MAX_REFERENCES: u64 = 200_000;

/// References that were found a while ago.
#[derive(Clone, Debug)]
pub(super) struct References {
    found: Cache<(OrganizationId, StreamKind, Uuid), Option<PatientId>>,
}

impl References {
    pub(super) fn new() -> Self {
        Self { found: Cache::builder().max_capacity(MAX_REFERENCES).time_to_live(TRUST).build() }
    }

    /// Forgets a patient who is about to be erased.
    pub(super) fn forget_patient(&self, organization_id: OrganizationId, patient_id: PatientId) {
        self.found.invalidate(&(organization_id, StreamKind::Patient, patient_id.uuid()));
    }
}

impl Caller {
    /// Refuses a patient whom the organization does not know, or who is being erased.
    ///
    /// # Errors
    /// With a pointer to the field.
    pub(super) async fn require_patient(&self, patient_id: PatientId) -> Result<(), Problem> {
        let key = (self.organization_id, StreamKind::Patient, patient_id.uuid());
        if self.api.references.found.contains_key(&key) {
            return Ok(());
        }
        let mut patient = Patient::default();
        let events = self.stream(StreamKind::Patient, patient_id.uuid()).await?;
        let is_known = !events.is_empty();
        for event in &events {
            patient.apply(event.decode_as::<PatientEvent>().map_err(|error| Problem::internal(&error))?);
        }
        if !is_known || patient.erasure().is_some() {
            return Err(Problem::invalid("/patient_id", "is no patient of this organization"));
        }
        self.api.references.found.insert(key, Some(patient_id));
        Ok(())
    }

    /// Refuses a specialist whom the organization does not know.
    ///
    /// # Errors
    /// With a pointer to the field.
    pub(super) async fn require_specialist(&self, specialist_id: SpecialistId) -> Result<(), Problem> {
        match self.subject_of(StreamKind::Specialist, specialist_id.uuid()).await? {
            Some(_) => Ok(()),
            None => Err(Problem::invalid("/specialist_id", "is no specialist of this organization")),
        }
    }

    /// Refuses an appointment that is not this patient's.
    ///
    /// # Errors
    /// With a pointer to the field.
    pub(super) async fn require_appointment(
        &self,
        appointment_id: AppointmentId,
        patient_id: PatientId,
    ) -> Result<(), Problem> {
        match self.subject_of(StreamKind::Appointment, appointment_id.uuid()).await? {
            Some(Some(subject)) if subject == patient_id => Ok(()),
            Some(_) | None => Err(Problem::invalid("/appointment_id", "is no appointment of this patient")),
        }
    }

    /// Lets a patient's key touch appointments of that patient only. Other keys pass without a look.
    ///
    /// # Errors
    /// Not found, whether or not there is such an appointment.
    pub(super) async fn may_touch_appointment(&self, id: AppointmentId) -> Result<(), Problem> {
        self.may_touch_stream(StreamKind::Appointment, id.uuid()).await
    }

    /// Lets a patient's key touch forms of that patient only. Other keys pass without a look.
    ///
    /// # Errors
    /// Not found, whether or not there is such a form.
    pub(super) async fn may_touch_form(&self, id: FormId) -> Result<(), Problem> {
        self.may_touch_stream(StreamKind::Form, id.uuid()).await
    }

    /// Refuses a form that is not this patient's.
    ///
    /// # Errors
    /// With a pointer to the field.
    pub(super) async fn require_form(&self, form_id: FormId, patient_id: PatientId) -> Result<(), Problem> {
        match self.subject_of(StreamKind::Form, form_id.uuid()).await? {
            Some(Some(subject)) if subject == patient_id => Ok(()),
            Some(_) | None => Err(Problem::invalid("/form_id", "is no form of this patient")),
        }
    }

    /// Lets a patient's key touch treatment plans of that patient only. Other keys pass without a look.
    ///
    /// # Errors
    /// Not found, whether or not there is such a plan.
    pub(super) async fn may_touch_plan(&self, id: TreatmentPlanId) -> Result<(), Problem> {
        self.may_touch_stream(StreamKind::TreatmentPlan, id.uuid()).await
    }

    async fn may_touch_stream(&self, kind: StreamKind, id: Uuid) -> Result<(), Problem> {
        if self.bound_to().is_none() {
            return Ok(());
        }
        match self.subject_of(kind, id).await? {
            Some(Some(subject)) => self.may_touch(subject).await,
            Some(None) | None => Err(Problem::not_found()),
        }
    }

    /// Whom a stream is about, where there is such a stream. That never changes.
    async fn subject_of(&self, kind: StreamKind, id: Uuid) -> Result<Option<Option<PatientId>>, Problem> {
        let key = (self.organization_id, kind, id);
        if let Some(subject) = self.api.references.found.get(&key) {
            return Ok(Some(subject));
        }
        let events = self.stream(kind, id).await?;
        let subject = events.first().map(|event| event.subject);
        if let Some(subject) = subject {
            self.api.references.found.insert(key, subject);
        }
        Ok(subject)
    }

    pub(super) async fn stream(
        &self,
        kind: StreamKind,
        id: Uuid,
    ) -> Result<Vec<carelog_event_log::RecordedEvent>, Problem> {
        let key = StreamKey { organization_id: self.organization_id, kind, id };
        Ok(self.api.log().stream(&key, 0).await?)
    }
}

impl Api {
    pub(super) fn forget_patient(&self, organization_id: OrganizationId, patient_id: PatientId) {
        self.references.forget_patient(organization_id, patient_id);
    }
}
