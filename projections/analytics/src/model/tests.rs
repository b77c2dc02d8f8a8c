//! What events make of facts, whole and in pieces, with and without an erasure.

mod random;

use std::sync::Arc;

use carelog_domain::appointment::{
    AppointmentBooked, AppointmentCancelled, AppointmentCompleted, AppointmentConfirmed, AppointmentEvent,
    AppointmentMode, AppointmentRescheduled, AppointmentStarted, AppointmentStatus, CancellationReason,
    CancelledBy, ConfirmationChannel, RescheduleReason, TimePrecision,
};
use carelog_domain::form::{FormAssigned, FormEvent, FormSaved, FormSigned, Signatory};
use carelog_domain::patient::{PatientKeysDestroyed, PatientRegistered};
use carelog_domain::{Actor, Circumstances, CorrelationId, EventId, FormTemplateId, PatientId, StreamKind};
use carelog_event_log::StreamKey;
use carelog_vault::{PseudonymKey, PseudonymKind};
use uuid::Uuid;

use super::*;

const ORGANIZATION: OrganizationId = OrganizationId::new(Uuid::from_u128(1));

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn patient(number: u8) -> PatientId {
    PatientId::new(Uuid::from_u128(0x10 + u128::from(number)))
}

/// Events of one organization, in order.
#[derive(Clone, Debug, Default)]
struct Log(Vec<RecordedEvent>);

impl Log {
    fn append(&mut self, kind: StreamKind, id: u128, moment: Timestamp, event: impl Into<Event>) {
        let event: Event = event.into();
        let encoded = event.encode().unwrap();
        let position = i64::try_from(self.0.len()).unwrap() + 1;
        self.0.push(RecordedEvent {
            lane: 1,
            position,
            organization_sequence: position,
            stream: StreamKey { organization_id: ORGANIZATION, kind, id: Uuid::from_u128(id) },
            version: 1,
            event_id: EventId::new(Uuid::from_u128(u128::from(position.unsigned_abs()))),
            event_type: encoded.event_type,
            schema_version: encoded.event_type.schema_version(),
            occurred_at: moment,
            recorded_at: moment,
            circumstances: Circumstances::of(Actor::SYSTEM, CorrelationId::new(Uuid::nil())),
            subject: event.patient_id(Uuid::from_u128(id)),
            facts: Arc::from(encoded.facts),
            personal: None,
            network: None,
            leaf_hash: [0; 32],
        });
    }

    fn book(&mut self, id: u128, of: PatientId, booked: &str, starts: &str, precision: TimePrecision) {
        let starts_at = at(starts);
        let ends_at =
            (precision == TimePrecision::Minute).then(|| starts_at.saturating_add_micros(1_800_000_000));
        let booking = AppointmentBooked {
            patient_id: of,
            specialist_id: None,
            starts_at,
            ends_at,
            starts_at_precision: precision,
            mode: AppointmentMode::Video,
            personal: None,
        };
        self.append(StreamKind::Appointment, id, at(booked), AppointmentEvent::Booked(booking));
    }

    fn appointment(&mut self, id: u128, moment: &str, event: AppointmentEvent) {
        self.append(StreamKind::Appointment, id, at(moment), event);
    }
}

/// The tables, as far as a test needs them.
#[derive(Clone, Debug, Default, PartialEq)]
struct Tables {
    tombstones: HashSet<Key>,
    patients: HashMap<Key, PatientFact>,
    appointments: HashMap<Key, AppointmentFact>,
    exercises: HashMap<Key, ExerciseAssignmentFact>,
    sessions: Vec<ExerciseSessionFact>,
    forms: HashMap<Key, FormFact>,
    video_sessions: HashMap<Key, VideoSessionFact>,
    samples: Vec<VideoQualityFact>,
}

fn key() -> PseudonymKey {
    PseudonymKey::new([7; 32])
}

impl Tables {
    fn of<'a>(pages: impl IntoIterator<Item = &'a [RecordedEvent]>) -> Self {
        let mut tables = Self::default();
        for page in pages {
            tables.apply(page).unwrap();
        }
        tables
    }

    /// As the projector does.
    fn apply(&mut self, page: &[RecordedEvent]) -> Result<(), FoldError> {
        let key = key();
        let mut asked = Asked::default();
        let events: Vec<_> = page.iter().map(|event| Known::of(event, &key, &mut asked).unwrap()).collect();
        let needed = Needed::by(&events);
        let mut state = State {
            tombstones: needed.tombstones.into_iter().filter(|key| self.tombstones.contains(key)).collect(),
            patients: loaded(&self.patients, &needed.patients),
            appointments: loaded(&self.appointments, &needed.appointments),
            exercises: loaded(&self.exercises, &needed.exercises),
            forms: loaded(&self.forms, &needed.forms),
            video_sessions: loaded(&self.video_sessions, &needed.video_sessions),
            ..State::default()
        };
        for event in &events {
            state.apply(event)?;
        }
        written(&mut self.patients, state.patients.changes(), |r| (r.organization_id, r.patient));
        written(&mut self.appointments, state.appointments.changes(), |r| (r.organization_id, r.appointment));
        written(&mut self.exercises, state.exercises.changes(), |r| (r.organization_id, r.assignment));
        written(&mut self.forms, state.forms.changes(), |r| (r.organization_id, r.form));
        written(&mut self.video_sessions, state.video_sessions.changes(), |r| (r.organization_id, r.session));
        self.sessions.extend(state.sessions);
        self.samples.extend(state.samples);
        self.tombstones.extend(state.new_tombstones.into_keys());
        let is_kept = |patient| !state.erased.contains(&(ORGANIZATION, patient));
        self.patients.retain(|_, row| is_kept(row.patient));
        self.appointments.retain(|_, row| is_kept(row.patient));
        self.exercises.retain(|_, row| is_kept(row.patient));
        self.sessions.retain(|row| is_kept(row.patient));
        self.forms.retain(|_, row| is_kept(row.patient));
        self.video_sessions.retain(|_, row| is_kept(row.patient));
        self.samples.retain(|row| is_kept(row.patient));
        Ok(())
    }

    fn appointment(&self) -> &AppointmentFact {
        self.appointments.values().next().unwrap()
    }
}

fn loaded<R: Clone>(table: &HashMap<Key, R>, keys: &[Key]) -> Rows<R> {
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len(), "a row is looked up once");
    Rows::loaded(keys.iter().filter_map(|key| Some((*key, table.get(key)?.clone()))))
}

/// As the tables take it: what is made is not there yet, and what is changed is.
fn written<R: Clone>(table: &mut HashMap<Key, R>, changes: Changes<'_, R>, key: impl Fn(&R) -> Key) {
    for row in changes.made {
        assert!(table.insert(key(row), row.clone()).is_none(), "a row is made twice");
    }
    for row in changes.changed {
        assert!(table.insert(key(row), row.clone()).is_some(), "a row that is not there is changed");
    }
}

fn whole(log: &Log) -> Tables {
    Tables::of([log.0.as_slice()])
}

#[test]
fn an_appointment_is_followed_to_its_end() {
    let patient_id = patient(1);
    let mut log = Log::default();
    log.book(7, patient_id, "2026-03-01T12:03:00Z", "2026-03-05T09:30:00Z", TimePrecision::Minute);
    let confirmed = AppointmentConfirmed { patient_id, channel: ConfirmationChannel::Reminder };
    log.appointment(7, "2026-03-04T09:00:00Z", AppointmentEvent::Confirmed(confirmed));
    log.appointment(7, "2026-03-05T09:38:00Z", AppointmentEvent::Started(AppointmentStarted { patient_id }));
    let completed = AppointmentCompleted { patient_id, duration_minutes: Some(28) };
    log.appointment(7, "2026-03-05T10:06:00Z", AppointmentEvent::Completed(completed));

    let tables = whole(&log);

    let fact = tables.appointment();
    assert_eq!((fact.lead_days, fact.weekday, fact.start_hour), (4, 4, Some(9)));
    assert_eq!(fact.booked_at.moment(), at("2026-03-01T12:00:00Z"));
    assert_eq!(
        (fact.punctuality_minutes, fact.planned_minutes, fact.length_minutes),
        (Some(5), Some(30), Some(25))
    );
    assert_eq!((fact.is_reminded, fact.is_confirmed), (true, false));
    let path = [
        AppointmentStatus::Booked,
        AppointmentStatus::Confirmed,
        AppointmentStatus::Started,
        AppointmentStatus::Completed,
    ];
    assert_eq!((fact.status_path.as_slice(), fact.status), (path.as_slice(), AppointmentStatus::Completed));
    assert_eq!((fact.position, fact.last_position), (1, 4));
}

#[test]
fn a_length_that_was_not_told_is_from_the_start_to_the_end() {
    let patient_id = patient(1);
    let completed = AppointmentEvent::Completed(AppointmentCompleted { patient_id, duration_minutes: None });
    let mut log = Log::default();
    log.book(7, patient_id, "2026-03-01T12:03:00Z", "2026-03-05T09:30:00Z", TimePrecision::Minute);
    log.appointment(7, "2026-03-05T09:42:00Z", AppointmentEvent::Started(AppointmentStarted { patient_id }));
    log.appointment(7, "2026-03-05T10:11:00Z", completed.clone());
    let mut unknown = Log::default();
    unknown.book(7, patient_id, "2026-03-01T12:03:00Z", "2026-03-05T03:00:00Z", TimePrecision::Day);
    unknown.appointment(
        7,
        "2026-03-05T09:42:00Z",
        AppointmentEvent::Started(AppointmentStarted { patient_id }),
    );
    unknown.appointment(7, "2026-03-05T10:11:00Z", completed);

    let lengths = [&log, &unknown].map(|log| whole(log).appointment().length_minutes);

    assert_eq!(lengths, [Some(30), None]);
}

#[test]
fn where_only_the_day_is_known_days_are_the_clinics() {
    for (booked, starts, lead_days, weekday) in [
        // Vitória, three hours behind: booked at 18:38 on a Friday, for that day.
        ("2016-04-29T21:38:08Z", "2016-04-29T03:00:00Z", 0, 5),
        // Booked at 23:30 there, when it was Saturday in UTC, for Saturday.
        ("2016-04-30T02:30:00Z", "2016-04-30T03:00:00Z", 1, 6),
        // Berlin, two hours ahead: booked a week before Monday, at 08:00.
        ("2026-06-01T06:00:00Z", "2026-06-07T22:00:00Z", 7, 1),
        // Booked at 00:30 on the day itself.
        ("2026-06-07T22:30:00Z", "2026-06-07T22:00:00Z", 0, 1),
    ] {
        let mut log = Log::default();
        log.book(7, patient(1), booked, starts, TimePrecision::Day);

        let tables = whole(&log);

        let fact = tables.appointment();
        assert_eq!((fact.lead_days, fact.weekday, fact.start_hour), (lead_days, weekday, None), "{booked}");
    }
}

#[test]
fn an_appointment_that_moves_and_is_called_off_late_tells_so() {
    let patient_id = patient(1);
    let mut log = Log::default();
    log.book(7, patient_id, "2026-03-01T12:00:00Z", "2026-03-05T00:00:00Z", TimePrecision::Day);
    let moved = AppointmentRescheduled {
        patient_id,
        starts_at: at("2026-03-12T14:00:00Z"),
        ends_at: None,
        reason: RescheduleReason::PatientRequest,
    };
    log.appointment(7, "2026-03-02T12:00:00Z", AppointmentEvent::Rescheduled(moved));
    let cancelled = AppointmentCancelled {
        patient_id,
        cancelled_by: CancelledBy::Patient,
        reason: CancellationReason::Illness,
        personal: None,
    };
    log.appointment(7, "2026-03-12T11:30:00Z", AppointmentEvent::Cancelled(cancelled));

    let tables = whole(&log);

    let fact = tables.appointment();
    assert_eq!((fact.reschedule_count, fact.lead_days, fact.start_hour), (1, 11, Some(14)));
    assert_eq!((fact.cancelled_by, fact.cancel_notice_hours), (Some(CancelledBy::Patient), Some(2)));
}

#[test]
fn a_form_tells_how_long_it_took_and_whether_it_was_late() {
    let patient_id = patient(1);
    let assigned = FormAssigned {
        patient_id,
        template_id: FormTemplateId::new(Uuid::from_u128(5)),
        template_version: 2,
        appointment_id: None,
        due_at: Some(at("2026-03-03T00:00:00Z")),
    };
    let mut log = Log::default();
    log.append(StreamKind::Form, 8, at("2026-03-01T12:00:00Z"), FormEvent::Assigned(assigned));
    let saved = FormSaved { patient_id, answer_count: 3, personal: None };
    log.append(StreamKind::Form, 8, at("2026-03-02T12:00:00Z"), FormEvent::Saved(saved));
    let content_sha256 = carelog_domain::closed::Sha256Digest::new([1; 32]);
    let signed = FormSigned { patient_id, content_sha256, signed_by: Signatory::Patient };
    log.append(StreamKind::Form, 8, at("2026-03-03T14:30:00Z"), FormEvent::Signed(signed));

    let tables = whole(&log);

    let fact = tables.forms.values().next().unwrap();
    assert_eq!((fact.turnaround_hours, fact.is_late, fact.save_count), (Some(50), Some(true), 1));
}

#[test]
fn ages_come_in_bands_and_the_oldest_together() {
    for (born, band) in [
        (Some(2020), AgeBand::Minor),
        (Some(2008), AgeBand::From18),
        (Some(1964), AgeBand::From60),
        (Some(1936), AgeBand::From90),
        (Some(1901), AgeBand::From90),
        (None, AgeBand::Unknown),
    ] {
        let mut log = Log::default();
        let registered = PatientRegistered { birth_year: born, personal: None };
        log.append(
            StreamKind::Patient,
            0x11,
            at("2026-03-01T12:00:00Z"),
            PatientEvent::Registered(registered),
        );

        assert_eq!(whole(&log).patients.values().next().unwrap().age_band, band, "{born:?}");
    }
}

#[test]
fn what_comes_after_an_erasure_is_dropped_and_what_was_there_is_gone() {
    let (erased, other) = (patient(1), patient(2));
    let mut log = Log::default();
    log.book(7, erased, "2026-03-01T12:00:00Z", "2026-03-05T09:30:00Z", TimePrecision::Minute);
    log.book(8, other, "2026-03-01T12:00:00Z", "2026-03-05T09:30:00Z", TimePrecision::Minute);
    let destroyed = PatientEvent::KeysDestroyed(PatientKeysDestroyed { key_count: 2 });
    log.append(StreamKind::Patient, erased.uuid().as_u128(), at("2026-03-02T12:00:00Z"), destroyed);
    log.book(9, erased, "2026-03-03T12:00:00Z", "2026-03-06T09:30:00Z", TimePrecision::Minute);

    for size in 1..=4 {
        let tables = Tables::of(log.0.chunks(size));

        assert_eq!(tables.appointments.len(), 1, "pages of {size}");
        assert_eq!(tables.appointment().position, 2);
        let pseudonym = key().pseudonym(PseudonymKind::Patient, erased.uuid());
        assert!(tables.tombstones.iter().all(|(_, tombstone)| *tombstone != pseudonym));
    }
}

#[test]
fn a_form_may_have_the_id_of_an_appointment_in_the_same_page() {
    let mut log = Log::default();
    log.book(7, patient(1), "2026-03-01T12:00:00Z", "2026-03-05T09:30:00Z", TimePrecision::Minute);
    let assigned = FormAssigned {
        patient_id: patient(1),
        template_id: FormTemplateId::new(Uuid::from_u128(3)),
        template_version: 2,
        appointment_id: None,
        due_at: None,
    };
    log.append(StreamKind::Form, 7, at("2026-03-01T13:00:00Z"), FormEvent::Assigned(assigned));
    let started = AppointmentStarted { patient_id: patient(1) };
    log.appointment(7, "2026-03-05T09:38:00Z", AppointmentEvent::Started(started));
    let key = key();
    let mut asked = Asked::default();
    let events: Vec<_> = log.0.iter().map(|event| Known::of(event, &key, &mut asked).unwrap()).collect();

    let touched = Needed::touched_by(&events);
    let tables = whole(&log);

    assert_eq!((touched.appointments.len(), touched.forms.len()), (1, 1), "each is copied");
    assert_eq!((tables.appointments.len(), tables.forms.len()), (1, 1));
    assert_eq!(tables, Tables::of(log.0.chunks(1)));
}

#[test]
fn an_event_without_its_row_is_refused_and_so_is_a_second_beginning() {
    let mut log = Log::default();
    log.book(7, patient(1), "2026-03-01T12:00:00Z", "2026-03-05T09:30:00Z", TimePrecision::Minute);
    log.book(7, patient(1), "2026-03-01T12:00:00Z", "2026-03-05T09:30:00Z", TimePrecision::Minute);
    let started = AppointmentStarted { patient_id: patient(1) };
    log.appointment(9, "2026-03-05T09:38:00Z", AppointmentEvent::Started(started));

    let (twice, alone) = (Tables::default().apply(&log.0[..2]), Tables::default().apply(&log.0[2..]));

    assert_eq!(twice, Err(FoldError::AlreadyThere { event_type: EventType::AppointmentBooked, position: 2 }));
    assert_eq!(alone, Err(FoldError::NotThere { event_type: EventType::AppointmentStarted, position: 3 }));
}
