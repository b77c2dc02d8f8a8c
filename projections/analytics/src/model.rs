//! The pure fold: what events make of facts.

mod analytic;
mod appointment;
mod exercise;
mod form;
mod patient;
mod rows;
#[cfg(test)]
mod tests;
mod video;

use std::collections::{HashMap, HashSet};

use carelog_domain::organization::{OrganizationEvent, OrganizationSettings};
use carelog_domain::patient::PatientEvent;
use carelog_domain::{CodecError, Event, EventType, OrganizationId, PatientId, StreamKind, Timestamp};
use carelog_event_log::{Position, RecordedEvent};
use carelog_vault::{Pseudonym, PseudonymKey, PseudonymKind};
use uuid::Uuid;

use crate::sink::Facts;

pub use analytic::{Analytic, Coarse, Fact};
pub use appointment::AppointmentFact;
pub use exercise::{ExerciseAssignmentFact, ExerciseSessionFact, SessionOutcome};
pub use form::FormFact;
pub use patient::{AgeBand, PatientFact};
pub use rows::{FoldError, Rows};
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

impl OrganizationRow {
    /// Of an organization whose first event this is.
    pub fn new(recorded: &RecordedEvent, pseudonym_epoch: i32) -> Self {
        Self {
            organization_id: recorded.stream.organization_id,
            pseudonym_epoch,
            small_cell_threshold: OrganizationSettings::default().small_cell_threshold,
            newest_event_at: recorded.recorded_at,
            last_position: 0,
        }
    }
}

/// Pseudonyms that a page has asked for. Each is an HMAC, and most events of a page are about few streams and patients.
#[derive(Debug, Default)]
pub struct Asked(HashMap<(OrganizationId, PseudonymKind, Uuid), Pseudonym>);

/// An event together with the key of its organization's pseudonyms, and those that are asked for more than once.
#[derive(Debug)]
pub struct Known<'a> {
    recorded: &'a RecordedEvent,
    key: &'a PseudonymKey,
    /// Nothing of the kinds that leave no facts.
    event: Option<Event>,
    /// The record that the event's stream is.
    stream: Pseudonym,
    /// Of the patient whom the event is about.
    tombstone: Option<Key>,
    /// Of the row that it makes or changes.
    row: Option<Key>,
}

impl<'a> Known<'a> {
    /// Reads an event, if it is of a kind that leaves facts.
    ///
    /// # Errors
    /// When its facts are not those of its type.
    pub fn of(
        recorded: &'a RecordedEvent,
        key: &'a PseudonymKey,
        asked: &mut Asked,
    ) -> Result<Self, CodecError> {
        let event = match recorded.stream.kind {
            StreamKind::Organization
            | StreamKind::Patient
            | StreamKind::Appointment
            | StreamKind::Form
            | StreamKind::TreatmentPlan
            | StreamKind::VideoRoom => Some(decode(recorded)?),
            StreamKind::Specialist
            | StreamKind::File
            | StreamKind::WebhookSubscription
            | StreamKind::WebhookDelivery
            | StreamKind::WebhookReplay
            | StreamKind::VideoNotice
            | StreamKind::Access => None,
        };
        let mut known = Self {
            recorded,
            key,
            event: None,
            stream: Pseudonym::stored(Uuid::nil()),
            tombstone: None,
            row: None,
        };
        if let Some(event) = &event {
            known.stream = known.ask(asked, PseudonymKind::Record, recorded.stream.id).1;
            let tombstone = |patient: PatientId| known.ask(asked, PseudonymKind::Erased, patient.uuid());
            known.tombstone = recorded.subject.map(tombstone);
            known.row = known.row_of(event, asked);
        }
        Ok(Self { event, ..known })
    }

    fn row_of(&self, event: &Event, asked: &mut Asked) -> Option<Key> {
        let mut part = |id| self.ask(asked, PseudonymKind::Record, self.part(id));
        match event {
            Event::Patient(_) => Some(self.ask(asked, PseudonymKind::Patient, self.recorded.stream.id)),
            Event::Appointment(_) | Event::Form(_) => Some((self.organization_id(), self.stream)),
            Event::TreatmentPlan(event) => exercise::assignment_of(event).map(|id| part(id.uuid())),
            Event::VideoRoom(event) => video::session_of(event).map(part),
            Event::Organization(_)
            | Event::Specialist(_)
            | Event::File(_)
            | Event::WebhookSubscription(_)
            | Event::WebhookDelivery(_)
            | Event::WebhookReplay(_)
            | Event::VideoNotice(_)
            | Event::Access(_) => None,
        }
    }

    const fn organization_id(&self) -> OrganizationId {
        self.recorded.stream.organization_id
    }

    /// The row of something that other events of the page are about too.
    fn ask(&self, asked: &mut Asked, kind: PseudonymKind, id: Uuid) -> Key {
        let organization_id = self.organization_id();
        let pseudonym =
            asked.0.entry((organization_id, kind, id)).or_insert_with(|| self.key.pseudonym(kind, id));
        (organization_id, *pseudonym)
    }

    fn record(&self, id: Uuid) -> Pseudonym {
        self.key.pseudonym(PseudonymKind::Record, id)
    }

    /// An id within the stream: two plans may use the same for an exercise, and two rooms for a stay.
    fn part(&self, id: Uuid) -> Uuid {
        Uuid::from_u128(self.stream.uuid().as_u128() ^ id.as_u128())
    }
}

/// Without its personal part, which stays closed.
fn decode(recorded: &RecordedEvent) -> Result<Event, CodecError> {
    Event::decode(recorded.event_type, recorded.schema_version, &recorded.facts, None)
}

/// The rows that a page builds upon.
#[derive(Clone, Debug, Default)]
pub struct Needed {
    /// Patients who may have been erased.
    pub tombstones: HashSet<Key>,
    /// Patients.
    pub patients: HashSet<Key>,
    /// Appointments.
    pub appointments: HashSet<Key>,
    /// Exercises of plans.
    pub exercises: HashSet<Key>,
    /// Forms.
    pub forms: HashSet<Key>,
    /// Stays in video rooms.
    pub video_sessions: HashSet<Key>,
    /// Patients of whom nothing is kept any more.
    pub erased: HashSet<Key>,
}

impl Needed {
    /// What these events build upon.
    pub fn by(events: &[Known<'_>]) -> Self {
        let mut needed = Self::default();
        for known in events {
            let Some(event) = &known.event else { continue };
            needed.tombstones.extend(known.tombstone);
            match event {
                Event::Patient(event) => {
                    needed.patients.extend(known.row);
                    if matches!(event, PatientEvent::KeysDestroyed(_)) {
                        needed.erased.extend(known.row);
                    }
                }
                Event::Appointment(_) => needed.appointments.extend(known.row),
                Event::Form(_) => needed.forms.extend(known.row),
                Event::TreatmentPlan(_) => needed.exercises.extend(known.row),
                Event::VideoRoom(_) => needed.video_sessions.extend(known.row),
                Event::Organization(_)
                | Event::Specialist(_)
                | Event::File(_)
                | Event::WebhookSubscription(_)
                | Event::WebhookDelivery(_)
                | Event::WebhookReplay(_)
                | Event::VideoNotice(_)
                | Event::Access(_) => {}
            }
        }
        needed
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
    /// Begins the row of an organization that has none.
    pub fn begin(&mut self, event: &RecordedEvent, pseudonym_epoch: i32) {
        let id = event.stream.organization_id;
        self.organizations.entry(id).or_insert_with(|| OrganizationRow::new(event, pseudonym_epoch));
    }

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
            patients: self.patients.changed(),
            appointments: self.appointments.changed(),
            exercises: self.exercises.changed(),
            sessions: self.sessions.iter().collect(),
            forms: self.forms.changed(),
            video_sessions: self.video_sessions.changed(),
            samples: self.samples.iter().collect(),
            erased: &self.erased,
        }
    }

    /// Folds one event.
    ///
    /// # Errors
    /// When a row that it changes is missing, or one that it makes is there.
    pub fn apply(&mut self, known: &Known<'_>) -> Result<(), FoldError> {
        if let Some(row) = self.organizations.get_mut(&known.organization_id()) {
            // What comes out of the quarantine is older than what came since.
            row.newest_event_at = row.newest_event_at.max(known.recorded.recorded_at);
            row.last_position = row.last_position.max(known.recorded.position);
        }
        let Some(event) = &known.event else { return Ok(()) };
        if known.tombstone.is_some_and(|key| self.is_erased(&key)) {
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
                Event::Specialist(_)
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
            | OrganizationEvent::ApiKeyRevoked(_) => {}
        }
    }

    fn apply_patient(&mut self, known: &Known<'_>, event: &PatientEvent, key: Key) -> Result<(), FoldError> {
        match event {
            PatientEvent::Registered(registered) => {
                self.patients.change(key, known.recorded, |row| PatientFact::register(row, registered, known))
            }
            PatientEvent::KeysDestroyed(_) => {
                let position = known.recorded.position;
                self.new_tombstones.extend(known.tombstone.map(|tombstone| (tombstone, position)));
                self.forget(key);
                Ok(())
            }
            PatientEvent::Onboarded(_)
            | PatientEvent::DetailsChanged(_)
            | PatientEvent::ConsentGiven(_)
            | PatientEvent::ConsentWithdrawn(_)
            | PatientEvent::ErasureRequested(_)
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
