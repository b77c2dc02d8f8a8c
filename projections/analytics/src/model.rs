//! The pure fold: what events make of facts.

mod analytic;
mod appointment;
mod exercise;
mod form;
mod known;
mod patient;
mod rows;
#[cfg(test)]
mod tests;
mod video;

use std::collections::{HashMap, HashSet};

use carelog_domain::organization::{OrganizationEvent, OrganizationSettings};
use carelog_domain::patient::PatientEvent;
use carelog_domain::{Event, EventType, OrganizationId, Timestamp};
use carelog_event_log::{Position, RecordedEvent};
use carelog_vault::Pseudonym;

use crate::sink::Facts;

pub use analytic::{Analytic, Coarse, Fact};
pub use appointment::AppointmentFact;
pub use exercise::{ExerciseAssignmentFact, ExerciseSessionFact, SessionOutcome};
pub use form::FormFact;
pub use known::{Asked, Known, Needed};
pub use patient::{AgeBand, PatientFact};
pub use rows::{Changes, FoldError, Rows};
pub use video::{VideoQualityFact, VideoSessionFact};

/// A row of an organization under a pseudonym.
pub type Key = (OrganizationId, Pseudonym);

/// How the rows of an organization are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrganizationRow {
    /// The clinic.
    pub organization_id: OrganizationId,
    /// Which of its keys its pseudonyms are made with.
    pub pseudonym_epoch: i32,
    /// Smaller groups of patients are not published.
    pub small_cell_threshold: u16,
    /// When the newest event was written to the log.
    pub newest_event_at: Timestamp,
    /// Its place.
    pub last_position: Position,
}

/// Up to where a page goes in the events of an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// When the newest event was written to the log.
    pub newest_event_at: Timestamp,
    /// Its place.
    pub last_position: Position,
}

impl Reach {
    /// How far a page goes for each of the organizations in it.
    pub fn of_each<'a>(page: impl IntoIterator<Item = &'a RecordedEvent>) -> HashMap<OrganizationId, Self> {
        let mut reached: HashMap<OrganizationId, Self> = HashMap::new();
        for event in page {
            let own = Self { newest_event_at: event.recorded_at, last_position: event.position };
            reached
                .entry(event.stream.organization_id)
                .and_modify(|reach| *reach = reach.and(own))
                .or_insert(own);
        }
        reached
    }

    fn and(self, other: Self) -> Self {
        Self {
            newest_event_at: self.newest_event_at.max(other.newest_event_at),
            last_position: self.last_position.max(other.last_position),
        }
    }
}

impl OrganizationRow {
    /// Of an organization whose first events reach so far.
    pub fn new(organization_id: OrganizationId, pseudonym_epoch: i32, reach: Reach) -> Self {
        Self {
            organization_id,
            pseudonym_epoch,
            small_cell_threshold: OrganizationSettings::default().small_cell_threshold,
            newest_event_at: reach.newest_event_at,
            last_position: reach.last_position,
        }
    }

    /// With a page of events more. What comes out of the quarantine is older than what came since.
    pub fn extend(&mut self, reach: Reach) {
        self.newest_event_at = self.newest_event_at.max(reach.newest_event_at);
        self.last_position = self.last_position.max(reach.last_position);
    }
}

/// The rows that a page is about.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Organizations.
    pub organizations: HashMap<OrganizationId, OrganizationRow>,
    /// Tombstones that stand in the table.
    pub tombstones: HashSet<Key>,
    /// Tombstones of this page, each with the place of its event.
    pub new_tombstones: HashMap<Key, Position>,
    /// Patients who were erased in this page.
    pub erased: HashSet<Key>,
    /// Patients.
    pub patients: Rows<PatientFact>,
    /// Appointments.
    pub appointments: Rows<AppointmentFact>,
    /// Exercises of plans.
    pub exercises: Rows<ExerciseAssignmentFact>,
    /// Sessions of exercises; never changed.
    pub sessions: Vec<ExerciseSessionFact>,
    /// Forms.
    pub forms: Rows<FormFact>,
    /// Stays in video rooms.
    pub video_sessions: Rows<VideoSessionFact>,
    /// How networks did; never changed.
    pub samples: Vec<VideoQualityFact>,
}

impl State {
    /// Counts every row as changed, and these patients as erased.
    pub(crate) fn touch(&mut self, erased: HashSet<Key>) {
        self.patients.touch();
        self.appointments.touch();
        self.exercises.touch();
        self.forms.touch();
        self.video_sessions.touch();
        self.erased = erased;
    }

    /// What a page changed.
    pub fn facts(&self) -> Facts<'_> {
        Facts {
            patients: self.patients.changes(),
            appointments: self.appointments.changes(),
            exercises: self.exercises.changes(),
            sessions: self.sessions.iter().collect(),
            forms: self.forms.changes(),
            video_sessions: self.video_sessions.changes(),
            samples: self.samples.iter().collect(),
            erased: &self.erased,
        }
    }

    /// Folds one event.
    ///
    /// # Errors
    /// When a row that it changes is missing, or one that it makes is there.
    pub fn apply(&mut self, known: &Known<'_>) -> Result<(), FoldError> {
        let Some(event) = known.event.as_deref() else { return Ok(()) };
        if known.tombstone().is_some_and(|key| self.is_erased(&key)) {
            return Ok(());
        }
        let recorded = known.recorded;
        match (event, known.row) {
            (Event::Organization(event), _) => self.apply_settings(known.organization_id(), event),
            (Event::Patient(event), Some(key)) => self.apply_patient(known, event, key)?,
            (Event::Appointment(event), Some(key)) => {
                self.appointments.change(key, recorded, |row| AppointmentFact::apply(row, event, known))?;
            }
            (Event::Form(event), Some(key)) => {
                self.forms.change(key, recorded, |row| FormFact::apply(row, event, known))?;
            }
            (Event::TreatmentPlan(event), Some(key)) => {
                self.sessions.extend(ExerciseSessionFact::of(event, known));
                self.exercises
                    .change(key, recorded, |row| ExerciseAssignmentFact::apply(row, event, known, key.1))?;
            }
            (Event::VideoRoom(event), Some(key)) => self
                .video_sessions
                .change(key, recorded, |row| VideoSessionFact::apply(row, event, known, key.1))?,
            (Event::VideoRoom(event), None) => self.samples.extend(VideoQualityFact::of(event, known)),
            // Without a row, they leave no facts.
            (Event::Patient(_) | Event::Appointment(_) | Event::Form(_) | Event::TreatmentPlan(_), None)
            | (
                Event::LegalHold(_)
                | Event::Accounting(_)
                | Event::Specialist(_)
                | Event::File(_)
                | Event::WebhookSubscription(_)
                | Event::WebhookDelivery(_)
                | Event::WebhookReplay(_)
                | Event::VideoNotice(_)
                | Event::Access(_),
                _,
            ) => {}
        }
        Ok(())
    }

    fn is_erased(&self, tombstone: &Key) -> bool {
        self.tombstones.contains(tombstone) || self.new_tombstones.contains_key(tombstone)
    }

    fn apply_settings(&mut self, organization_id: OrganizationId, event: &OrganizationEvent) {
        match event {
            OrganizationEvent::SettingsChanged(changed) => {
                if let Some(row) = self.organizations.get_mut(&organization_id) {
                    row.small_cell_threshold = changed.small_cell_threshold;
                }
            }
            OrganizationEvent::Registered(_)
            | OrganizationEvent::IntegrationConfigured(_)
            | OrganizationEvent::IntegrationRemoved(_)
            | OrganizationEvent::MemberAdded(_)
            | OrganizationEvent::MemberRemoved(_)
            | OrganizationEvent::ApiKeyIssued(_)
            | OrganizationEvent::ApiKeyRevoked(_)
            | OrganizationEvent::PseudonymEpochBegun(_)
            | OrganizationEvent::PseudonymKeyDestroyed(_) => {}
        }
    }

    fn apply_patient(&mut self, known: &Known<'_>, event: &PatientEvent, key: Key) -> Result<(), FoldError> {
        match event {
            PatientEvent::Registered(registered) => {
                self.patients.change(key, known.recorded, |row| PatientFact::register(row, registered, known))
            }
            PatientEvent::KeysDestroyed(_) => {
                let position = known.recorded.position;
                self.new_tombstones.extend(known.tombstone().map(|tombstone| (tombstone, position)));
                self.forget(key);
                Ok(())
            }
            PatientEvent::Onboarded(_)
            | PatientEvent::DetailsChanged(_)
            | PatientEvent::ConsentGiven(_)
            | PatientEvent::ConsentWithdrawn(_)
            | PatientEvent::AccountingSuspended(_)
            | PatientEvent::AccountingResumed(_)
            | PatientEvent::ErasureRequested(_)
            | PatientEvent::LegalHoldPlaced(_)
            | PatientEvent::LegalHoldReleased(_)
            | PatientEvent::Erased(_) => Ok(()),
        }
    }

    /// Drops what the page knows of a patient; the tables follow.
    fn forget(&mut self, patient: Key) {
        let (organization_id, pseudonym) = patient;
        let is_other = |of: OrganizationId, row: Pseudonym| of != organization_id || row != pseudonym;
        self.patients.retain(|row| is_other(row.organization_id, row.patient));
        self.appointments.retain(|row| is_other(row.organization_id, row.patient));
        self.exercises.retain(|row| is_other(row.organization_id, row.patient));
        self.sessions.retain(|row| is_other(row.organization_id, row.patient));
        self.forms.retain(|row| is_other(row.organization_id, row.patient));
        self.video_sessions.retain(|row| is_other(row.organization_id, row.patient));
        self.samples.retain(|row| is_other(row.organization_id, row.patient));
        self.erased.insert(patient);
    }
}

/// Why a row does not fit an event.
const fn misfit(event_type: EventType, position: Position, is_missing: bool) -> FoldError {
    if is_missing {
        FoldError::NotThere { event_type, position }
    } else {
        FoldError::AlreadyThere { event_type, position }
    }
}
