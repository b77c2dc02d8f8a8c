//! Events with the names of what they are about, and which rows have to be there before they are folded.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use carelog_domain::appointment::AppointmentEvent;
use carelog_domain::form::FormEvent;
use carelog_domain::patient::PatientEvent;
use carelog_domain::treatment_plan::TreatmentPlanEvent;
use carelog_domain::video_room::VideoRoomEvent;
use carelog_domain::{CodecError, Event, OrganizationId, PatientId, StreamKind};
use carelog_event_log::RecordedEvent;
use carelog_vault::{Pseudonym, PseudonymKey, PseudonymKind};
use uuid::Uuid;

use super::{Key, exercise, video};

/// Pseudonyms that a page has asked for. Each is an HMAC, and most events of a page are about few streams and patients.
#[derive(Debug, Default)]
pub struct Asked {
    /// By kind as well: a form may have the id of an appointment.
    records: HashMap<(StreamKind, OrganizationId, Uuid), Pseudonym>,
    patients: HashMap<(OrganizationId, PatientId), Patient>,
}

/// Under which names analytics know a patient.
#[derive(Clone, Copy, Debug)]
struct Patient {
    id: PatientId,
    pseudonym: Pseudonym,
    tombstone: Pseudonym,
}

/// Something that an event is about.
#[derive(Clone, Copy, Debug)]
struct Named<T> {
    name: T,
    /// Whether no event before it in its page is about it.
    is_first: bool,
}

/// Gives what was asked for before, or makes it.
fn ask<K: Eq + std::hash::Hash, T: Copy>(
    asked: &mut HashMap<K, T>,
    id: K,
    make: impl FnOnce() -> T,
) -> Named<T> {
    match asked.entry(id) {
        Entry::Occupied(known) => Named { name: *known.get(), is_first: false },
        Entry::Vacant(slot) => Named { name: *slot.insert(make()), is_first: true },
    }
}

/// An event together with the key of its organization's pseudonyms, and those that are asked for more than once.
#[derive(Debug)]
pub struct Known<'a> {
    pub(super) recorded: &'a RecordedEvent,
    pub(super) key: &'a PseudonymKey,
    /// Nothing of the kinds that leave no facts. Boxed: thousands side by side are megabytes that each page asks the
    /// system for.
    pub(super) event: Option<Box<Event>>,
    /// The record that the event's stream is, where rows are about it.
    pub(super) stream: Pseudonym,
    /// Of the row that it makes or changes.
    pub(super) row: Option<Key>,
    is_first_of_row: bool,
    /// Whom the event is about.
    patient: Option<Named<Patient>>,
}

impl<'a> Known<'a> {
    /// Reads an event, if it is of a kind that leaves facts. The events of a page are asked for in their order.
    ///
    /// # Errors
    /// When its facts are not those of its type.
    pub fn of(
        recorded: &'a RecordedEvent,
        key: &'a PseudonymKey,
        asked: &mut Asked,
    ) -> Result<Self, CodecError> {
        let mut known = Self {
            recorded,
            key,
            event: None,
            stream: Pseudonym::stored(Uuid::nil()),
            row: None,
            is_first_of_row: false,
            patient: None,
        };
        match recorded.stream.kind {
            StreamKind::Organization
            | StreamKind::Patient
            | StreamKind::Appointment
            | StreamKind::Form
            | StreamKind::TreatmentPlan
            | StreamKind::VideoRoom => known.read(decode(recorded)?, asked),
            StreamKind::LegalHold
            | StreamKind::Accounting
            | StreamKind::Specialist
            | StreamKind::File
            | StreamKind::WebhookSubscription
            | StreamKind::WebhookDelivery
            | StreamKind::WebhookReplay
            | StreamKind::VideoNotice
            | StreamKind::Access => {}
        }
        Ok(known)
    }

    fn read(&mut self, event: Event, asked: &mut Asked) {
        let (organization_id, key) = (self.organization_id(), self.key);
        let stream_id = self.recorded.stream.id;
        self.patient = event.patient_id(stream_id).map(|id| {
            ask(&mut asked.patients, (organization_id, id), || Patient {
                id,
                pseudonym: key.pseudonym(PseudonymKind::Patient, id.uuid()),
                tombstone: key.pseudonym(PseudonymKind::Erased, id.uuid()),
            })
        });
        let kind = self.recorded.stream.kind;
        let mut record = |id| {
            let place = (kind, organization_id, id);
            ask(&mut asked.records, place, || key.pseudonym(PseudonymKind::Record, id))
        };
        let row = match &event {
            Event::Patient(_) => self.patient.map(|patient| patient.of(patient.name.pseudonym)),
            Event::Appointment(_) | Event::Form(_) => {
                let stream = record(stream_id);
                self.stream = stream.name;
                Some(stream)
            }
            Event::TreatmentPlan(event) => {
                self.stream = record(stream_id).name;
                exercise::assignment_of(event).map(|id| record(self.part(id.uuid())))
            }
            Event::VideoRoom(event) => {
                self.stream = record(stream_id).name;
                video::session_of(event).map(|id| record(self.part(id)))
            }
            Event::Organization(_)
            | Event::LegalHold(_)
            | Event::Accounting(_)
            | Event::Specialist(_)
            | Event::File(_)
            | Event::WebhookSubscription(_)
            | Event::WebhookDelivery(_)
            | Event::WebhookReplay(_)
            | Event::VideoNotice(_)
            | Event::Access(_) => None,
        };
        self.row = row.map(|row| (organization_id, row.name));
        self.is_first_of_row = row.is_some_and(|row| row.is_first);
        self.event = Some(Box::new(event));
    }

    pub(super) const fn organization_id(&self) -> OrganizationId {
        self.recorded.stream.organization_id
    }

    /// Stands for the patient whom the event is about, once they are erased.
    pub(super) fn tombstone(&self) -> Option<Key> {
        self.patient.map(|patient| (self.organization_id(), patient.name.tombstone))
    }

    /// The pseudonym of a patient, most often of the one whom the event is about.
    pub(super) fn patient(&self, id: PatientId) -> Pseudonym {
        match self.patient {
            Some(patient) if patient.name.id == id => patient.name.pseudonym,
            _ => self.key.pseudonym(PseudonymKind::Patient, id.uuid()),
        }
    }

    pub(super) fn record(&self, id: Uuid) -> Pseudonym {
        self.key.pseudonym(PseudonymKind::Record, id)
    }

    /// An id within the stream: two plans may use the same for an exercise, and two rooms for a stay.
    pub(super) fn part(&self, id: Uuid) -> Uuid {
        Uuid::from_u128(self.stream.uuid().as_u128() ^ id.as_u128())
    }
}

impl<T> Named<T> {
    fn of<U>(&self, name: U) -> Named<U> {
        Named { name, is_first: self.is_first }
    }
}

/// Without its personal part, which stays closed.
fn decode(recorded: &RecordedEvent) -> Result<Event, CodecError> {
    Event::decode(recorded.event_type, recorded.schema_version, &recorded.facts, None)
}

/// Whether an event makes the row that it is about. What is not named here is looked up in vain, and no more than that.
const fn makes_a_row(event: &Event) -> bool {
    matches!(
        event,
        Event::Patient(PatientEvent::Registered(_))
            | Event::Appointment(AppointmentEvent::Booked(_))
            | Event::Form(FormEvent::Assigned(_))
            | Event::TreatmentPlan(TreatmentPlanEvent::ExerciseAssigned(_))
            | Event::VideoRoom(VideoRoomEvent::ParticipantJoined(_))
    )
}

/// Rows by their keys, each once.
#[derive(Clone, Debug, Default)]
pub struct Needed {
    /// Patients who may have been erased.
    pub tombstones: Vec<Key>,
    /// Patients.
    pub patients: Vec<Key>,
    /// Appointments.
    pub appointments: Vec<Key>,
    /// Exercises of plans.
    pub exercises: Vec<Key>,
    /// Forms.
    pub forms: Vec<Key>,
    /// Stays in video rooms.
    pub video_sessions: Vec<Key>,
    /// Patients of whom nothing is kept any more.
    pub erased: HashSet<Key>,
}

impl Needed {
    /// The rows that the events of a page build upon. Those that they make are not among them: where such a row stands
    /// in its table already, the table refuses another.
    pub fn by(events: &[Known<'_>]) -> Self {
        Self::of(events, |event| !makes_a_row(event))
    }

    /// The rows that the events of a page make, change or leave as they are.
    pub fn touched_by(events: &[Known<'_>]) -> Self {
        Self::of(events, |_| true)
    }

    fn of(events: &[Known<'_>], is_wanted: impl Fn(&Event) -> bool) -> Self {
        let mut needed = Self::default();
        for known in events {
            let Some(event) = known.event.as_deref() else { continue };
            if known.patient.is_some_and(|patient| patient.is_first) {
                needed.tombstones.extend(known.tombstone());
            }
            let row = known.row.filter(|_| known.is_first_of_row && is_wanted(event));
            match event {
                // Other events change nothing of a patient's row, or end it.
                Event::Patient(PatientEvent::Registered(_)) => {
                    needed.patients.extend(known.row.filter(|_| is_wanted(event)));
                }
                Event::Patient(PatientEvent::KeysDestroyed(_)) => needed.erased.extend(known.row),
                Event::Appointment(_) => needed.appointments.extend(row),
                Event::Form(_) => needed.forms.extend(row),
                Event::TreatmentPlan(_) => needed.exercises.extend(row),
                Event::VideoRoom(_) => needed.video_sessions.extend(row),
                Event::Patient(_)
                | Event::Organization(_)
                | Event::LegalHold(_)
                | Event::Accounting(_)
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
